"""The parts of `python -m benchmarks.speed`: a file each, what they are measured by, and the page of their figures."""
