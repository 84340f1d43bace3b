"""How a model is fine-tuned."""

from dataclasses import dataclass

from minielectra.errors import InputError


@dataclass(frozen=True)
class FinetuningConfig:
    """How a model is fine-tuned. Defaults are the paper's for small models (table 7); batches are by number of sequences."""

    head: str = "classification"  # a key of HEADS
    learning_rate: float = 3e-4  # of the head, at its peak
    layer_decay: float = 0.8  # the rate's factor for each layer further from the head
    reinitialized_layers: int = 0  # of the pre-trained encoder's, from the top: they start afresh
    epochs: float = 3.0
    warmup_fraction: float = 0.1
    batch_size: int = 32
    max_length: int = 128  # tokens of a sequence, [CLS] and [SEP] included
    dropout: float = 0.1
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-6
    bias_correction: bool = True  # the released code has none: in short runs first steps are then far too long (docs/LOG.md)
    shards: int = 2  # as in PretrainingConfig

    def __post_init__(self):
        for name in ("learning_rate", "epochs", "layer_decay"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise InputError(f"{name} must be greater than 0, got {getattr(self, name)}")
        for name in ("batch_size", "shards"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.reinitialized_layers < 0:
            raise InputError(f"reinitialized_layers must be at least 0, got {self.reinitialized_layers}")
        if self.max_length < 8:
            raise InputError(f"max_length must be at least 8, got {self.max_length}")
        for name in ("warmup_fraction", "dropout", "weight_decay"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name} must be at least 0 and less than 1, got {getattr(self, name)}")
