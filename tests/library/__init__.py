"""The library as users hold it."""
