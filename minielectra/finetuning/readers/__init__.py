"""Readers: one per file format, from the bytes of a file to a list of examples, without model or tokenizer.

lines.py: bytes to lines, shared by all. rows.py: lines to fields. json_values.py: JSON and JSON Lines.
tables.py: texts with labels (table_detection.py finds out how to read a file). conll.py: tagged words in
columns (column_detection.py finds out whether a file is in columns). squad_json.py: questions about a text.

What other programs tolerate in released files is tolerated here. What is left out is counted and told in one
line on standard error. What would change a label in silence is an error.
"""
