"""Figures beside their peers, measured in the same run: `python -m benchmarks` prints all of them."""
