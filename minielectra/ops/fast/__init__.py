"""The operations that are worth writing twice: the mathematics of `reference/` with less memory traffic.

They differ from the plain versions, which the tests hold them against, in three ways:

- Memory comes from a workspace, if one is handed in, and an input that nobody needs afterwards is
  *overwritten*. Each docstring says which.
- On NumPy, elementwise work is done in blocks that stay in the processor's cache from one pass to the next.
  On a GPU there is one large call. The size of a block is fixed and never read off the machine, because it
  can decide the last
  bit of a sum.
- Sums along an axis are products with a vector of ones: BLAS adds faster than a reduction does.

docs/speed.md says what each of these brings.
"""
