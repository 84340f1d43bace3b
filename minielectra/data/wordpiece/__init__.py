"""WordPiece, the tokenizer of BERT and ELECTRA: text in, ids out, and back.

A sentence is normalized and cut into words (`normalization.py`), and each word into the longest pieces of a
vocabulary (`tokenizer.py`). Tokens that were added to the vocabulary later are not cut (`added_tokens.py`).
The vocabulary comes from a file (`vocabulary.py`), with its rules (`rules.py`) from a model's directory
(`tokenizer_files.py`, `tokenizer_json.py`), or is learned from text (`vocabulary_training.py`). The next
room, `dataset/`, stores the ids of a whole corpus.
"""

from minielectra.data.wordpiece.tokenizer import WordPieceTokenizer

__all__ = ["WordPieceTokenizer"]
