"""Models that come with minielectra: `shipped.py` says what the name of one means.

`mini/` is such a model, a compact pair (pretraining/exported_pair.py); its README.md is its card.
`benchmarks/ship_mini.py` makes the folder from a run.
"""
