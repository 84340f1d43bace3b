"""Parameters in one flat buffer, thin layers that declare what they need of it, the encoder, and forward-only
passes.

A layer takes arrays and a `PassContext` and calls `ops`. It knows nothing of ELECTRA, of batches or of
training.
"""
