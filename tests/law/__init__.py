"""Laws of the house, checked by machine so that nobody has to remember them."""
