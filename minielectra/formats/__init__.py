"""Files that other programs read or write, and how any file is written.

`files.py` writes so that nothing is ever half there, `reading.py` reads what others may have made, and
`checksums.py` finds what was damaged later.
`weights.py` reads safetensors with suspicion, `int8_weights.py` is their form with one byte per weight.
`huggingface.py` is one model's directory. `locks.py` keeps two processes out of one folder. `json_text.py`
writes JSON without NaN, and reads it with suspicion. `html_page.py` writes a page that needs no other file.
`limits.py` is how much may be read.
"""
