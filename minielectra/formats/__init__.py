"""Files that other programs read or write: safetensors, Hugging Face directories, and how any file is
written.

`files.py` writes so that nothing is ever half there. `weights.py` reads safetensors with suspicion.
`huggingface.py` is one model's directory.
"""
