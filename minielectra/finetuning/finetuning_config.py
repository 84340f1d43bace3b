"""How a model is fine-tuned: settings of the training, and defaults that suit the model and the task."""

import dataclasses
import re
from dataclasses import dataclass

from minielectra.errors import InputError, shown
from minielectra.settings import setting
from minielectra.training.training_config import TrainingConfig

# The options of `finetune`, in the order of its help. The other fields can be set from Python only.
OPTIONS = (
    "epochs",
    "learning_rate",
    "layer_decay",
    "batch_size",
    "max_length",
    "reinitialized_layers",
    "readout",
    "dropout",
    "warmup_fraction",
)
READOUT = re.compile("last|mix|[1-9][0-9]{0,3}")
# Hidden size at least -> learning rate, layer decay. From the paper (tables 6 and 7), except the last row,
# which was measured with models of few layers (docs/LOG.md).
RATES = ((1024, 5e-5, 0.9), (768, 1e-4, 0.8), (256, 3e-4, 0.8), (0, 1e-3, 0.9))


def _changed(name, default, **about):
    """The setting `name` of TrainingConfig with another default; about: what else differs (see `setting`)."""
    field = TrainingConfig.__dataclass_fields__[name]
    return dataclasses.field(default=default, metadata={**field.metadata, **about})


@dataclass(frozen=True)
class FinetuningConfig(TrainingConfig):
    """How a model is fine-tuned. Defaults are the paper's for small models (table 7)."""

    batch_size: int = _changed("batch_size", 32)
    learning_rate: float = _changed(
        "learning_rate",
        3e-4,
        help="learning rate of the head, at its peak",
        shown_default="5e-5 to 1e-3, by the model's size",
    )
    warmup_fraction: float = _changed("warmup_fraction", 0.1)
    # The released code has no bias correction, which makes the first steps of a short training far too long
    # (docs/LOG.md).
    bias_correction: bool = _changed("bias_correction", True)
    weight_decay: float = _changed("weight_decay", 0.0)

    layer_decay: float = setting(
        0.8,
        "factor on the learning rate for each layer further from the head",
        above=0,
        at_most=10,
        shown_default="0.8 or 0.9, by the model's size",
    )
    reinitialized_layers: int = setting(
        0, "number of top pre-trained layers that start from fresh weights", at_least=0, at_most=1000
    )
    readout: str = setting(
        "last",
        "what the head reads: the last layer; mix: a learned mix of all layers, the embeddings included; or "
        "the layer of this number, from 1, which leaves out those above it",
        metavar="last|mix|N",
    )
    epochs: float = setting(3.0, "passes over the training data", above=0, at_most=1e6)
    max_length: int = setting(
        128,
        "longest sequence in tokens, [CLS] and [SEP] included",
        at_least=8,
        at_most=1 << 16,
        shown_default="128, or 384 for squad; less if the model reads less",
    )
    dropout: float = setting(0.1, "probability of dropout, in all layers", at_least=0, below=1, metavar="P")

    def __post_init__(self):
        super().__post_init__()
        if not READOUT.fullmatch(self.readout):
            problem = f"must be last, mix, or the number of a layer, from 1; got {shown(self.readout)}"
            raise InputError(f"readout {problem}")

    def layers_of(self, model_config):
        """How many of the encoder's layers are used: all, or those up to the one that is read."""
        whole = self.readout in ("last", "mix")
        return model_config.num_hidden_layers if whole else int(self.readout)

    @classmethod
    def suited_to(cls, model_config, max_length, options):
        """The configuration for a model and a task: the options given; for the others, what suits the model.

        model_config: ElectraConfig of the pre-trained encoder; max_length: the task's default;
        options: {field: value}. Raises InputError for an option that the model cannot satisfy.
        """
        longest, depth = model_config.max_position_embeddings, model_config.num_hidden_layers
        rate, decay = next(others for size, *others in RATES if model_config.hidden_size >= size)
        suited = {"learning_rate": rate, "layer_decay": decay, "max_length": min(longest, max_length)}
        config = cls(**suited | options)
        if config.max_length > longest:
            raise InputError(
                f"--max-length {config.max_length}: the model reads at most {longest} tokens "
                "(max_position_embeddings); choose a smaller number"
            )
        layers = config.layers_of(model_config)
        if layers > depth:
            raise InputError(f"--readout {config.readout}: the model has {depth} layers; choose one of them")
        if config.reinitialized_layers > layers:
            used = f"the model has {depth}" if layers == depth else f"only {layers} of {depth} are used"
            raise InputError(
                f"--reinitialized-layers {config.reinitialized_layers}: {used}; choose a smaller number"
            )
        return config
