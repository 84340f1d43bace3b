"""Readers: one per file format, from the bytes of a file to a list of examples, without model or tokenizer.

lines.py: bytes to lines, shared by all. tables.py: texts with labels (table_detection.py finds out how to
read a file). conll.py: tagged words in columns. squad_json.py: questions about a text.
"""
