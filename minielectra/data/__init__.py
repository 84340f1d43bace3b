"""Floor 4: corpus readers, the default corpus, WordPiece, packing, memory-mapped token files."""
