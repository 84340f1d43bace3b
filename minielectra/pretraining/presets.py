"""Presets, and the configurations that follow from a preset and the user's own values."""

import dataclasses

from minielectra.electra.electra_config import NETWORK, ElectraConfig
from minielectra.errors import InputError
from minielectra.pretraining.pretraining_config import PretrainingConfig
from minielectra.settings import find_field, parse_value

# Each preset: fields of ElectraConfig, then fields of PretrainingConfig, that differ from the defaults (which
# are ELECTRA-small's).
PRESETS = {
    # A few minutes on a laptop, in whole words. docs/tiny.md and docs/LOG.md have the measurements behind
    # these numbers.
    "tiny": (
        {
            "vocab_size": 4096,
            "embedding_size": 128,
            "hidden_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 512,
            "max_position_embeddings": 128,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        {
            "batch_size": 32,
            "seq_length": 64,
            "optimizer": "muon",
            "learning_rate": 3e-3,
            "adam_beta2": 0.98,
            "disc_weight": 10.0,
            "generator_width": 0.5,
            "unigram_fraction": 0.5,
            "initialization": "local_attention",
            "word_vectors": "cooccurrence",
        },
    ),
    # To be fine-tuned, after an hour and a half on two cores: whole words, and one encoder that both losses
    # train (docs/LOG.md). The model that comes with minielectra is older; its card has its settings.
    "mini": (
        {
            "vocab_size": 8192,
            "embedding_size": 128,
            "hidden_size": 256,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 1024,
            "max_position_embeddings": 256,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        {
            "batch_size": 32,
            "seq_length": 128,
            "optimizer": "muon",
            "learning_rate": 2.5e-3,
            "adam_beta2": 0.98,
            "disc_weight": 10.0,
            "tie_encoders": True,
            "unigram_fraction": 0.5,
            "single_segment_fraction": 0.5,
            "short_fraction": 0.3,
            "initialization": "local_attention",
            "word_vectors": "cooccurrence",
        },
    ),
    # The official ones: paper, table 6, and the released code.
    "small": ({}, {}),
    "base": (
        {"embedding_size": 768, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
        {"generator_width": 1 / 3, "batch_size": 256, "seq_length": 512, "learning_rate": 2e-4},
    ),
    "large": (
        {
            "embedding_size": 1024,
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
        },
        {"batch_size": 2048, "seq_length": 512, "learning_rate": 2e-4, "mask_fraction": 0.25},
    ),
}

# How many steps a run takes if nothing else is said. The official ones: paper, table 6.
DEFAULT_STEPS = {"tiny": 2_500, "mini": 6_000, "small": 1_000_000, "base": 766_000, "large": 400_000}

_KINDS = (ElectraConfig, PretrainingConfig)
_OWNERS = {field.name: kind for kind in _KINDS for field in dataclasses.fields(kind)}


def configure(preset="tiny", overrides=None):
    """The configurations of a preset with `overrides` {field of either: value} on top -> ElectraConfig,
    PretrainingConfig.

    Raises InputError for an unknown preset or field (with the known ones) and for values that cannot work
    together.
    """
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
    overrides = dict(overrides or {})
    for name in overrides:
        find_field(name, *_KINDS)
    model, pretraining = (
        kind(**(base | {name: value for name, value in overrides.items() if _OWNERS[name] is kind}))
        for base, kind in zip(_fields(preset, overrides), _KINDS, strict=True)
    )
    if pretraining.objective == "mlm" and not {"mask_keep_fraction", "mask_random_fraction"} & set(overrides):
        # BERT's 80/10/10.
        pretraining = dataclasses.replace(pretraining, mask_keep_fraction=0.1, mask_random_fraction=0.1)
    if pretraining.seq_length > model.max_position_embeddings:
        raise InputError(
            f"seq_length {pretraining.seq_length} is longer than max_position_embeddings "
            f"{model.max_position_embeddings}: shorten it, or raise the latter with --set"
        )
    # Raises InputError if the generator's sizes do not work.
    model.generator(pretraining.generator_width, pretraining.generator_depth)
    return model, pretraining


def _fields(preset, overrides):
    """The fields of a preset, without its words by frequency where no generator writes the others."""
    model, pretraining = PRESETS[preset]
    mixed = overrides.get("sampler", NETWORK) == NETWORK and not overrides.get("adversarial")
    if not mixed or overrides.get("objective") in ("mlm", "electric"):
        pretraining = {name: value for name, value in pretraining.items() if name != "unigram_fraction"}
    return model, pretraining


def parse_field(text):
    """'FIELD=VALUE' -> (field, value of the field's type).

    Raises InputError if it is not of that form or type.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: write FIELD=VALUE")
    try:
        return name, parse_value(find_field(name, *_KINDS), value)
    except InputError as error:
        raise InputError(f"--set {text}: {error}") from None
