"""Files that other programs read or write, and how any file is written.

`files.py` writes so that nothing is ever half there. `weights.py` reads safetensors with suspicion.
`huggingface.py` is one model's directory. `locks.py` keeps two processes out of one folder. `json_text.py`
writes JSON without NaN.
"""
