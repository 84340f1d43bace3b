"""A tokenizer.json, as newer versions of transformers write it: vocabulary, rules and added tokens."""

from pathlib import Path

from minielectra.data.wordpiece.added_tokens import AddedToken, storable
from minielectra.data.wordpiece.rules import Rules, truth
from minielectra.errors import InputError, shown
from minielectra.formats.reading import read_json


class TokenizerJson:
    """A tokenizer.json, opened."""

    def __init__(self, path: Path):
        """Raises InputError unless it is a WordPiece tokenizer like BERT's."""
        self.path, content = path, read_json(path, f"{path}: missing")
        parts = [content.get(name) for name in ("model", "normalizer", "pre_tokenizer")]
        self.model, self.normalizer, self.pre_tokenizer = (
            part if isinstance(part, dict) else {} for part in parts
        )
        self.tokens = content.get("added_tokens") or []
        vocab, model = self.model.get("vocab"), self.model
        wordpiece = isinstance(vocab, dict) and model.get("continuing_subword_prefix", "##") == "##"
        if not wordpiece or model.get("type", "WordPiece") != "WordPiece":
            raise InputError(f"{path}: not a WordPiece tokenizer like BERT's; give the directory a vocab.txt")
        self._expect(model, "unk_token", "[UNK]")
        self._expect(model, "max_input_chars_per_word", 100)

    def pieces(self) -> list[str]:
        """The vocabulary, in the order of ids."""
        vocab = self.model["vocab"]
        pieces = {i: piece for piece, i in vocab.items() if isinstance(i, int)}
        for piece in vocab:
            if not storable(piece):
                raise InputError(f"{self.path}: the piece {shown(piece)} is not one line of text; remove it")
        if sorted(pieces) != list(range(len(vocab))):
            last = len(vocab) - 1
            raise InputError(f"{self.path}: the ids of its {len(vocab)} pieces are not 0 … {last}, each once")
        return [pieces[i] for i in range(len(pieces))]

    def rules(self, strict: bool) -> Rules:
        """The rules without added tokens.

        strict: nothing else can say what is missing. Raises InputError if they are not like BERT's.
        """
        if self.normalizer.get("type") != "BertNormalizer":
            kind = shown(str(self.normalizer.get("type")))
            raise InputError(
                f"{self.path}: its normalizer is {kind}, not BertNormalizer; only BERT's is supported"
            )
        if self.pre_tokenizer.get("type") != "BertPreTokenizer" and (strict or self.pre_tokenizer):
            kind = shown(str(self.pre_tokenizer.get("type")))
            raise InputError(
                f"{self.path}: its pre_tokenizer is {kind}, not BertPreTokenizer; only BERT's is supported"
            )
        self._expect(self.normalizer, "clean_text", True)
        return Rules(
            truth(self.normalizer, "lowercase", True, self.path),
            truth(self.normalizer, "strip_accents", None, self.path),
            truth(self.normalizer, "handle_chinese_chars", True, self.path),
        )

    def added(self) -> dict[str, AddedToken]:
        """{content: token} of the added tokens."""
        if not isinstance(self.tokens, list) or not all(isinstance(entry, dict) for entry in self.tokens):
            raise InputError(f"{self.path}: added_tokens is not a list of tokens")
        tokens = (AddedToken.from_file(self.path, t.get("content"), t.get("id"), t) for t in self.tokens)
        return {token.content: token for token in tokens}

    def _expect(self, part: dict, name: str, value) -> None:
        if part.get(name, value) != value:
            found = shown(str(part[name]))
            raise InputError(f"{self.path}: {name} is {found}; only {value} is supported")
