"""How a model is pre-trained: settings and presets."""

import dataclasses
import difflib
from dataclasses import dataclass

from minielectra.electra.electra_config import ElectraConfig, _check_types
from minielectra.errors import InputError


@dataclass(frozen=True)
class PretrainingConfig:
    """How a model is pre-trained. Defaults follow the paper's text; each deviation of the released code is an option."""

    objective: str = "electra"  # or "mlm": the discriminator's encoder trained as BERT would be, for comparison
    generator_width: float = 0.25  # generator's hidden size as a share of the discriminator's
    generator_depth: float = 1.0
    tie_encoders: bool = False  # one encoder of full size for both towers (paper, section 3.2): width and depth then say nothing
    mask_fraction: float = 0.15  # share of a sequence's tokens that are chosen
    mask_keep_fraction: float = 0.0  # chosen tokens shown unchanged instead of as [MASK]; released code: 0.15
    mask_random_fraction: float = 0.0  # chosen tokens shown as a random word (BERT: 0.1; ELECTRA: never)
    mask_with_replacement: bool = False  # released code: True, so that some positions are drawn twice
    sample_temperature: float = 1.0
    gen_weight: float = 1.0
    disc_weight: float = 50.0  # λ
    learning_rate: float = 5e-4  # at its peak
    warmup_steps: int = 0  # 0: `warmup_fraction` of the run
    warmup_fraction: float = 0.06
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-6  # added after the square root
    bias_correction: bool = False
    weight_decay: float = 0.01  # not on LayerNorm, not on biases
    clip_norm: float = 1.0  # of all gradients together; 0: no clipping
    batch_size: int = 128
    seq_length: int = 128
    single_segment_fraction: float = 0.1
    short_fraction: float = 0.05  # examples with a random shorter target length
    initialization: str = "official"  # or "local_attention": see electra/initialization.py
    shards: int = 2  # pieces a batch is cut into, each run by one thread; part of the result's last bits

    def __post_init__(self):
        _check_types(self)
        if self.objective not in ("electra", "mlm"):
            raise InputError(f"objective {self.objective!r} is not known: choose electra or mlm")
        if self.initialization not in ("official", "local_attention"):
            raise InputError(f"initialization {self.initialization!r} is not known: choose official or local_attention")
        for name in ("batch_size", "shards"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seq_length < 8:
            raise InputError(f"seq_length must be at least 8, got {self.seq_length}")
        for name in ("generator_width", "generator_depth", "mask_fraction", "sample_temperature", "learning_rate"):
            if not getattr(self, name) > 0.0:
                raise InputError(f"{name} must be greater than 0, got {getattr(self, name)}")
        for name in ("mask_fraction", "mask_keep_fraction", "mask_random_fraction", "single_segment_fraction", "short_fraction",
                     "warmup_fraction"):  # fmt: skip
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(f"{name} is a share between 0 and 1, got {getattr(self, name)}")
        for name in ("adam_beta1", "adam_beta2"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name} must be at least 0 and less than 1, got {getattr(self, name)}")
        if self.mask_keep_fraction + self.mask_random_fraction > 1.0:
            raise InputError("mask_keep_fraction and mask_random_fraction add up to more than 1")

    @property
    def masked_per_example(self):
        """K, the fixed number of positions chosen in a full-length example; shorter ones leave some of them unused."""
        return max(1, round(self.mask_fraction * self.seq_length))


# The official configurations: paper, table 6, and the released code (ELECTRA-small's generator is a quarter as wide).
PRESETS = {
    "tiny": (
        # Off the plateau within minutes on a laptop: docs/LOG.md has the measurements behind every one of these numbers.
        {"vocab_size": 512, "embedding_size": 128, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 512, "max_position_embeddings": 128, "hidden_dropout_prob": 0.0,
         "attention_probs_dropout_prob": 0.0},
        {"batch_size": 32, "seq_length": 32, "learning_rate": 2e-3, "disc_weight": 3.0, "adam_beta2": 0.98,
         "generator_width": 0.1875, "initialization": "local_attention"},
    ),
    "mini": (
        # To fine-tune, after an hour on two cores: whole words, and one encoder that both objectives train (docs/LOG.md).
        {"vocab_size": 8192, "embedding_size": 128, "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
         "intermediate_size": 512, "max_position_embeddings": 256, "hidden_dropout_prob": 0.0,
         "attention_probs_dropout_prob": 0.0},
        {"batch_size": 16, "seq_length": 64, "learning_rate": 1.5e-3, "disc_weight": 5.0, "adam_beta2": 0.98,
         "tie_encoders": True, "initialization": "local_attention"},
    ),
    "small": ({}, {}),
    "base": (
        {"embedding_size": 768, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
        {"generator_width": 1 / 3, "batch_size": 256, "seq_length": 512, "learning_rate": 2e-4},
    ),
    "large": (
        {"embedding_size": 1024, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
         "intermediate_size": 4096},
        {"batch_size": 2048, "seq_length": 512, "learning_rate": 2e-4, "mask_fraction": 0.25},
    ),
}  # fmt: skip


_FIELDS = {kind: {f.name: f for f in dataclasses.fields(kind)} for kind in (ElectraConfig, PretrainingConfig)}


def configure(preset="tiny", overrides=None):
    """(ElectraConfig, PretrainingConfig) of a preset, with `overrides` {field of either: value} on top.

    Raises: InputError for an unknown preset or field (with the known ones) and for values that cannot work together.
    """
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
    overrides = dict(overrides or {})
    for name in overrides:
        if not any(name in fields for fields in _FIELDS.values()):
            known = sorted(set().union(*_FIELDS.values()))
            guess = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {guess[0]}? " if guess else ""
            raise InputError(f"unknown field {name!r}: {hint}known fields are {', '.join(known)}")
    both = []
    for base, (kind, fields) in zip(PRESETS[preset], _FIELDS.items(), strict=True):
        both.append(kind(**{**base, **{k: v for k, v in overrides.items() if k in fields}}))
    model, pretraining = both
    if pretraining.objective == "mlm" and not {"mask_keep_fraction", "mask_random_fraction"} & set(overrides):
        pretraining = dataclasses.replace(pretraining, mask_keep_fraction=0.1, mask_random_fraction=0.1)  # BERT's 80/10/10
    if pretraining.seq_length > model.max_position_embeddings:
        raise InputError(
            f"seq_length {pretraining.seq_length} is longer than max_position_embeddings {model.max_position_embeddings}: "
            "shorten it, or raise the latter with --set"
        )
    model.generator(pretraining.generator_width, pretraining.generator_depth)  # checks the generator's sizes too
    return model, pretraining


def parse_field(text):
    """'FIELD=VALUE' -> (field, value of the field's type). Raises InputError where it is not of that form or type."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: write FIELD=VALUE")
    field = next((fields[name] for fields in _FIELDS.values() if name in fields), None)
    if field is None:
        configure(overrides={name: value})  # raises, with the list of known fields
    try:
        if field.type is bool:
            return name, {"true": True, "false": False, "1": True, "0": False}[value.lower()]
        return name, field.type(value)
    except (ValueError, KeyError):
        raise InputError(f"--set {text}: {name} is a {field.type.__name__}, {value!r} is not") from None
