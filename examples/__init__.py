"""What one can do with rqk, to run and to read."""
