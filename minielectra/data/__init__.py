"""From text to arrays: corpora, WordPiece, prepared folders, training examples.

Data walks through three rooms:

    text/        files               -> documents, lines, sentences
    wordpiece/   a sentence          -> word pieces, as ids
    dataset/     the ids of a corpus -> a prepared folder -> examples -> arrays [B, T]

`windows.py` serves the models that are already trained: it cuts a text that is too long for one into windows.
"""
