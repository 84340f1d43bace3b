"""The settings of pre-training."""

from dataclasses import dataclass, fields, replace

from minielectra import objectives
from minielectra.electra.electra_config import NETWORK, SAMPLERS, SHARED, SHARING
from minielectra.errors import InputError
from minielectra.settings import setting
from minielectra.training.training_config import TrainingConfig

_ONLY_WITH = {  # {field: objectives}
    "adversarial": ("electra",),
    "copy_gate": ("all-tokens-mlm",),
    "mlm_anneal": ("rtd+mlm",),
}
# Fields about a generator and a discriminator, beside tie_encoders.
_OF_PAIRS = (
    *("sampler", "unigram_fraction", "train_generator", "embeddings"),
    *("two_stage", "discriminator_start", "rewarm"),
    *_ONLY_WITH,
)


@dataclass(frozen=True)
class PretrainingConfig(TrainingConfig):
    """How a model is pre-trained.

    Defaults follow the paper's text; what the released code does differently is an option.
    """

    objective: str = setting(
        "electra",
        "what is minimised, see docs/objectives.md; mlm: the same encoder, trained as BERT would be",
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
    two_stage: float = setting(
        0.0,
        "share of the run in which only the generator learns; afterwards only the discriminator does. With "
        "rtd+mlm: in which the encoder learns as BERT does. 0: everything learns together",
        at_least=0,
        below=1,
    )
    discriminator_start: str = setting(
        "afresh",
        "with two_stage: whether the discriminator starts from the generator's weights, if it is as large",
        choices=("afresh", "generator"),
    )
    rewarm: bool = setting(
        False, "whether the learning rate rises once more after the share two_stage, for warmup_fraction"
    )
    sampler: str = setting(
        NETWORK,
        "what writes words at the chosen positions; unigram: words by their frequency; uniform: any words",
        choices=SAMPLERS,
    )
    unigram_fraction: float = setting(
        0.0,
        "share of the generator's samples that are words drawn by their frequency instead",
        at_least=0,
        below=1,
    )
    train_generator: bool | None = setting(
        None,
        "whether there is a generator, which unigram and uniform samples do not need",
        shown_default="if it samples, or if tie_encoders is true",
    )

    embeddings: str = setting(
        SHARED,
        "what the towers' embeddings share; gdes: the discriminator adds a difference of its own to the "
        "generator's, and never moves these (DeBERTaV3); separate: nothing",
        choices=SHARING,
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
    mlm_weight: float = setting(
        1.0,
        "weight of the loss of a full-size tower that predicts words (replace-mlm, all-tokens-mlm, rtd+mlm)",
        at_least=0,
    )
    mlm_anneal: float = setting(
        0.0,
        "with rtd+mlm: share of the run, from two_stage on, in which mlm_weight falls to 0; 0: it stays",
        at_least=0,
        at_most=1,
    )
    adversarial: bool = setting(
        False,
        "with electra: whether the generator learns to fool the discriminator, by REINFORCE, instead of "
        "learning to predict words (paper, appendix F)",
    )
    copy_gate: bool = setting(
        True, "with all-tokens-mlm: whether a gate decides between copying a token and writing a word"
    )
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
        for problem in self._contradictions():
            raise InputError(problem)

    def _contradictions(self):
        """Sentences about fields that do not work together."""
        own = {field.name: getattr(self, field.name) != field.default for field in fields(self)}
        for name, wanted in _ONLY_WITH.items():
            if own[name] and self.objective not in wanted:
                yield f"{name} only applies to --objective {' and '.join(wanted)}; leave {name} out"
        if self.objective == "mlm":
            for name in _OF_PAIRS:
                if own[name]:
                    yield f"{name} does not apply to --objective mlm, which has no generator; leave it out"
        if self.unigram_fraction and self.sampler != NETWORK:
            yield f"unigram_fraction goes with sampler=generator, not with sampler={self.sampler}"
        if self.unigram_fraction and (self.objective == "electric" or self.adversarial):
            yield "unigram_fraction does not go with electric and adversarial; add unigram_fraction=0"
        if self.train_generator is False and self.sampler == NETWORK:
            yield "train_generator=false needs sampler=unigram or sampler=uniform"
        if self.train_generator is False and self.tie_encoders:
            yield "tie_encoders needs a generator; leave train_generator out, or add tie_encoders=false"
        if self.embeddings != SHARED and self.tie_encoders:
            yield f"embeddings={self.embeddings} does not go with tied encoders; add tie_encoders=false"
        if self.embeddings != SHARED and not self.has_generator:
            yield f"embeddings={self.embeddings} needs a generator; leave it out, or add train_generator=true"
        for name in ("discriminator_start", "rewarm"):
            if own[name] and not self.two_stage:
                yield f"{name} needs two_stage, the share of the run after which the discriminator starts"
        if self.adversarial and (self.tie_encoders or self.sampler != NETWORK or self.two_stage):
            yield "adversarial needs tie_encoders=false, sampler=generator and no two_stage"
        if self.two_stage:
            yield from self._contradictions_in_stages()

    def _contradictions_in_stages(self):
        if self.objective == "rtd+mlm":
            if not self.mlm_weight:
                yield "two_stage trains words first, so mlm_weight must be greater than 0"
            if self.discriminator_start == "generator":
                yield "discriminator_start does not apply to rtd+mlm, which goes on with the same encoder"
            return
        if not self.has_generator:
            yield "two_stage needs a generator; leave it out, or add train_generator=true"
        if self.tie_encoders:
            yield "two_stage cannot freeze a tied encoder; add tie_encoders=false, or --objective rtd+mlm"
        if not self.tie_encoders and self.embeddings == SHARED:
            yield "two_stage freezes the generator with its embeddings: add embeddings=separate or gdes"
        if self.discriminator_start == "generator" and (self.generator_width, self.generator_depth) != (1, 1):
            yield "discriminator_start=generator needs generator_width=1 and generator_depth=1"

    def as_mlm(self):
        """The same with BERT's objective, without the options that do not apply to it."""
        defaults = {field.name: field.default for field in fields(self) if field.name in _OF_PAIRS}
        return replace(self, objective="mlm", **defaults)

    @property
    def has_generator(self):
        """Whether a generator is trained: one that samples, one whose encoder is shared, or on request."""
        if self.train_generator is None:
            return self.sampler == NETWORK or self.tie_encoders
        return self.train_generator

    @property
    def masked_per_example(self):
        """K, the number of positions chosen in a full-length example.

        Shorter ones leave some of these slots unused.
        """
        return max(1, round(self.mask_fraction * self.seq_length))
