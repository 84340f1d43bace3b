"""ELECTRA itself:

a tower's configuration, the two towers, corruption of a batch, and where training starts.
"""
