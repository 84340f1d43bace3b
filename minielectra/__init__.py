"""ELECTRA from scratch: hand-written transformer layers with manual backpropagation on NumPy or CuPy arrays."""

__version__ = "0.1.0"
