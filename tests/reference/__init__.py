"""minielectra against PyTorch and transformers: model, gradients and training in other people's code.

A package, so that its conftest does not take the place of the one above. Nothing here may use the network.
"""

import os

os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = (
    "1"  # before transformers is imported, by tests and report
)
