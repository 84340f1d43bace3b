"""The settings of pre-training."""

from dataclasses import dataclass

from minielectra import objectives
from minielectra.errors import InputError
from minielectra.settings import setting
from minielectra.training.training_config import TrainingConfig


@dataclass(frozen=True)
class PretrainingConfig(TrainingConfig):
    """How a model is pre-trained.

    Defaults follow the paper's text; what the released code does differently is an option.
    """

    objective: str = setting(
        "electra",
        "what is minimised; mlm: the same encoder, trained as BERT would be",
        choices=objectives.names,
    )
    seq_length: int = setting(128, "tokens per sequence", at_least=8, at_most=1 << 16)

    generator_width: float = setting(
        0.25, "generator's hidden size, as a share of the discriminator's", above=0, at_most=8
    )
    generator_depth: float = setting(
        1.0, "generator's layers, as a share of the discriminator's", above=0, at_most=8
    )
    tie_encoders: bool = setting(
        False,
        "one full-size encoder for both towers (paper, section 3.2); generator_width and _depth do not apply",
    )

    mask_fraction: float = setting(0.15, "share of a sequence's tokens that are chosen", above=0, at_most=1)
    mask_keep_fraction: float = setting(
        0.0,
        "share of the chosen tokens shown unchanged instead of as [MASK]; released code: 0.15",
        at_least=0,
        at_most=1,
    )
    mask_random_fraction: float = setting(
        0.0,
        "share of the chosen tokens shown as a random word (BERT: 0.1; ELECTRA: 0)",
        at_least=0,
        at_most=1,
    )
    mask_with_replacement: bool = setting(
        False, "whether a position may be chosen twice; released code: true"
    )
    sample_temperature: float = setting(
        1.0, "temperature of the generator's samples", at_least=1e-3, at_most=1e3
    )

    gen_weight: float = setting(1.0, "weight of the generator's loss", at_least=0)
    disc_weight: float = setting(50.0, "λ, weight of the discriminator's loss", at_least=0)
    warmup_steps: int = setting(
        0, "steps in which the learning rate rises; 0: warmup_fraction of the run", at_least=0
    )

    single_segment_fraction: float = setting(0.1, "share of examples with one segment", at_least=0, at_most=1)
    short_fraction: float = setting(
        0.05, "share of examples with a random, shorter length", at_least=0, at_most=1
    )
    initialization: str = setting(
        "official",
        "where training starts: see electra/initialization.py",
        choices=("official", "local_attention"),
    )
    word_vectors: str = setting(
        "random",
        "where the word vectors start; cooccurrence: from which words stand beside which in the text",
        choices=("random", "cooccurrence"),
    )

    def __post_init__(self):
        super().__post_init__()
        if self.mask_keep_fraction + self.mask_random_fraction > 1.0:
            raise InputError("mask_keep_fraction and mask_random_fraction add up to more than 1")

    @property
    def masked_per_example(self):
        """K, the number of positions chosen in a full-length example.

        Shorter ones leave some of these slots unused.
        """
        return max(1, round(self.mask_fraction * self.seq_length))
