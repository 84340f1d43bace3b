"""The configuration of one tower, under Hugging Face's field names."""

import dataclasses
from dataclasses import dataclass

from minielectra.errors import InputError
from minielectra.settings import Settings, setting

WIDEST = 1 << 17  # ten times the widest of today's models; what is larger is a slip
# Choices stand here because this file needs no NumPy.
SAMPLERS = NETWORK, UNIGRAM, UNIFORM = "generator", "unigram", "uniform"  # electra/noise.py
SHARING = SHARED, GDES, SEPARATE = "shared", "gdes", "separate"  # of embeddings: nn/shared_tables.py
# Hugging Face's names. nn/layers.py says which operation each means.
ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish")


@dataclass(frozen=True)
class ElectraConfig(Settings):
    """One tower.

    Names, meanings and defaults are those of Hugging Face's `ElectraConfig`: ELECTRA-small's encoder.
    """

    vocab_size: int = setting(30522, "word pieces", at_least=1, at_most=1 << 24)
    embedding_size: int = setting(128, "features of an embedding", at_least=1, at_most=WIDEST)
    hidden_size: int = setting(256, "features of a token inside the encoder", at_least=1, at_most=WIDEST)
    num_hidden_layers: int = setting(12, "transformer blocks", at_least=1, at_most=1000)
    num_attention_heads: int = setting(
        4, "attention heads per block; they divide hidden_size", at_least=1, at_most=WIDEST
    )
    intermediate_size: int = setting(
        1024, "features inside each block's feed-forward network", at_least=1, at_most=4 * WIDEST
    )
    hidden_act: str = setting("gelu", "activation", choices=ACTIVATIONS)
    hidden_dropout_prob: float = setting(0.1, "dropout of features", at_least=0, below=1)
    attention_probs_dropout_prob: float = setting(0.1, "dropout of attention's weights", at_least=0, below=1)
    max_position_embeddings: int = setting(
        512, "the longest sequence, in tokens", at_least=1, at_most=1 << 20
    )
    type_vocab_size: int = setting(2, "kinds of segments", at_least=1, at_most=1000)
    initializer_range: float = setting(0.02, "standard deviation of first weights", at_least=0, below=1)
    layer_norm_eps: float = setting(1e-12, "added to the variance in layer norm", at_least=0, below=1)
    pad_token_id: int = setting(0, "id of [PAD]", at_least=0)

    def __post_init__(self):
        super().__post_init__()
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size {self.hidden_size} is not divisible by num_attention_heads "
                f"{self.num_attention_heads}: every head needs the same number of features"
            )
        if self.pad_token_id >= self.vocab_size:
            raise InputError(
                f"pad_token_id {self.pad_token_id} is not in the vocabulary of {self.vocab_size}"
            )

    def to_huggingface(self):
        """The fields as a config.json holds them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_huggingface(cls, fields):
        """From the fields of a config.json.

        Those that do not concern the computation are ignored. Raises InputError.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in fields.items() if name in known and value is not None})

    def generator(self, width, depth=1.0):
        """The configuration of a generator `width` times as wide and `depth` times as deep (paper, section
        3.2).

        Hidden size, feed-forward size and heads scale with the width. Embedding sizes stay, because the
        tables are shared.
        """

        def scaled(size, factor):
            # A third of something divisible by 3 must not come out one too low
            return int(size * factor + 1e-9)

        return dataclasses.replace(
            self,
            hidden_size=scaled(self.hidden_size, width),
            intermediate_size=scaled(self.intermediate_size, width),
            num_attention_heads=max(1, scaled(self.num_attention_heads, width)),
            num_hidden_layers=max(1, scaled(self.num_hidden_layers, depth)),
        )
