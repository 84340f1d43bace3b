"""Text as people write it: files in, lines and sentences out.

`corpus_files.py` finds and opens the files that the user names, `corpus.py` reads their lines, and
`sentences.py` splits the lines. If the user names none, `default_corpus.py` makes a file from the
documentation of the installed packages: `documentation.py` gathers it, and `prose.py` tells sentences from
code. The next room, `wordpiece/`, turns sentences into ids.
"""
