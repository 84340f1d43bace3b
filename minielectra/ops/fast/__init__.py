"""The operations of `functional` as training runs them: the same names, the same mathematics, less memory traffic.

What differs from the plain versions, which the tests hold these against:

- Memory comes from a workspace (`ws`), where there is one, and an input that nobody needs afterwards is *overwritten*; each
  docstring says which.
- On NumPy, elementwise work is done in blocks that stay in the processor's cache between one pass and the next (a GPU gets one
  large call). A block's size is fixed and never read off the machine: it may decide the last bit of a sum.
- Sums along an axis are products with a vector of ones: BLAS adds faster than a reduction does.

docs/speed.md has what each of these brings.
"""
