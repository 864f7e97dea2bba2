"""The quality table: every method on every data set under one budget; `python -m app evaluate --all` makes it."""
