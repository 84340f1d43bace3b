"""Floor 2: one operation a file, each a pair of pure functions with its derivation.

`y, cache = op_forward(x, …)` and `dx = op_backward(dy, cache, …)`. Gradients of parameters are *added* into arrays handed in.
Randomness is handed in, dtype follows the input, nothing is kept between calls. `ws` is an optional `Workspace` to take memory
from; without one an operation allocates, with equal results.
"""
