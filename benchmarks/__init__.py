"""Figures that README.md quotes: each script prints its own; `make bench` runs all and writes RESULTS.md."""
