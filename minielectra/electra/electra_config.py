"""Configuration: the model's (Hugging Face's field names) and pre-training's, with the presets and the checks on both."""

import dataclasses
from dataclasses import dataclass

from minielectra.errors import InputError


@dataclass(frozen=True)
class ElectraConfig:
    """One tower. Field names, meanings and defaults are Hugging Face's `ElectraConfig`; defaults are ELECTRA-small's encoder."""

    vocab_size: int = 30522
    embedding_size: int = 128
    hidden_size: int = 256
    num_hidden_layers: int = 12
    num_attention_heads: int = 4
    intermediate_size: int = 1024
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0

    def __post_init__(self):
        _check_types(self)
        for name in ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                     "intermediate_size", "max_position_embeddings", "type_vocab_size"):  # fmt: skip
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size {self.hidden_size} is not divisible by num_attention_heads {self.num_attention_heads}: "
                "every head needs the same number of features"
            )
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name} must be at least 0 and less than 1, got {getattr(self, name)}")
        for name in ("initializer_range", "layer_norm_eps"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name} must be at least 0 and less than 1, got {getattr(self, name)}")
        if not 0 <= self.pad_token_id < self.vocab_size:
            raise InputError(f"pad_token_id {self.pad_token_id} is not in the vocabulary of {self.vocab_size}")
        if self.hidden_act not in ("gelu", "gelu_new", "gelu_pytorch_tanh"):
            raise InputError(f"hidden_act {self.hidden_act!r} is not known: choose gelu, gelu_new or gelu_pytorch_tanh")

    def to_huggingface(self):
        """The fields as a config.json holds them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_huggingface(cls, fields):
        """From the fields of a config.json; those that do not concern the computation are ignored. Raises InputError."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in fields.items() if name in known and value is not None})

    def generator(self, width, depth=1.0):
        """The generator's configuration: hidden size, feed-forward size and heads times `width`, layers times `depth`
        (paper, section 3.2). Embedding sizes stay: the tables are shared."""
        scaled = {
            "hidden_size": int(self.hidden_size * width + 1e-9),  # a width of 1/3 is a little less
            "intermediate_size": int(self.intermediate_size * width + 1e-9),
            "num_attention_heads": max(1, int(self.num_attention_heads * width + 1e-9)),
            "num_hidden_layers": max(1, int(self.num_hidden_layers * depth + 1e-9)),
        }
        return dataclasses.replace(self, **scaled)


def _check_types(config):
    """Values come from files and command lines: a wrong type is a clear error here, not a strange one later."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        wanted = (int, float) if field.type is float else field.type
        if not isinstance(value, wanted) or (isinstance(value, bool) and field.type is not bool):
            raise InputError(f"{field.name} must be of type {field.type.__name__}, got {value!r:.60}")
