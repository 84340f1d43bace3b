"""Floor 2: one operation a file, each a pair of pure functions with its derivation.

`y, cache = op_forward(x, …)` and `dx = op_backward(dy, cache, …)`. Gradients of parameters are *added* into arrays handed in; no
other argument is changed. Randomness is handed in, dtype follows the input, nothing is kept between calls.

These are the versions to read, and what the tests hold the versions of `fast` against, which training runs.
"""
