"""Where fine-tuning begins: the encoder of a pre-trained model under a new head, or, as the control, no pre-training at all."""

import dataclasses
from pathlib import Path

import numpy as np

from minielectra.data.wordpiece.tokenizer import WordPieceTokenizer
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.initialization import initialize, truncated_normal
from minielectra.electra.towers import Electra
from minielectra.errors import InputError
from minielectra.finetuning.heads import HeadConfig
from minielectra.finetuning.objective import Finetuning
from minielectra.formats import huggingface
from minielectra.formats.weights import find_arrays
from minielectra.nn.parameters import misfits
from minielectra.objectives.electra import ElectraPretraining
from minielectra.pretraining.load import load_pretraining
from minielectra.pretraining.pretraining_config import PretrainingConfig

STREAM_HEAD = 6  # purpose of a random stream: every key is (seed, purpose, …)


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A pre-trained encoder."""

    config: ElectraConfig
    state: dict  # {name: array} of the encoder, the embeddings included, without a tower's prefix
    tokenizer: WordPieceTokenizer
    pretraining: PretrainingConfig  # how it was made, as far as is known: a control starts where it had started


def read_backbone(source):
    """The Backbone in a run, in a directory of Hugging Face's layout, or in a folder that `export` wrote (its discriminator).

    Raises InputError where there is none, where its weights do not fit, or where there is no vocabulary.
    """
    source = Path(source)
    if (source / "run.json").exists():
        model, tokenizer = load_pretraining(source)
        tower = model.discriminator or model.generator  # under the mlm objective the generator is the encoder
        return Backbone(tower.config, _encoder(huggingface.standalone_state(tower)), tokenizer, model.pretraining)
    if (source / "discriminator" / "config.json").exists():
        source = source / "discriminator"
    config = huggingface.load_config(source)
    arrays = _encoder(find_arrays(source))
    if problems := misfits(Electra.shapes(config), {name: array.shape for name, array in arrays.items()}):
        raise InputError(f"{source}: does not hold an ELECTRA encoder of config.json's sizes ({problems})")
    tokenizer = WordPieceTokenizer.from_pretrained(source)
    if len(tokenizer) > config.vocab_size:
        raise InputError(f"{source}: the vocabulary has {len(tokenizer)} pieces, the model only {config.vocab_size}")
    return Backbone(config, {name: array.read() for name, array in arrays.items()}, tokenizer, PretrainingConfig())


def _encoder(state):
    return {name: x for name, x in state.items() if name.startswith("electra.") and not name.endswith(huggingface.CONSTANT)}


def make_model(backbone, labels, finetuning, seed, from_scratch=False, xp=np):
    """A `Finetuning` model: the encoder of the backbone, or one that starts as the backbone did before its pre-training, and a new
    head (weights truncated normal of deviation `initializer_range`, biases 0).

    Of a pre-trained encoder the top `reinitialized_layers` start afresh too (Zhang et al. 2021, "Revisiting few-sample BERT
    fine-tuning", section 5): what they have learned is pre-training's own task.
    """
    drop = finetuning.dropout
    fields = {field.name: getattr(backbone.config, field.name) for field in dataclasses.fields(ElectraConfig)}
    fields |= {"hidden_dropout_prob": drop, "attention_probs_dropout_prob": drop}
    config = HeadConfig(**fields, labels=tuple(labels))
    encoder, afresh = backbone.state, finetuning.reinitialized_layers
    if from_scratch or afresh:
        fresh = ElectraPretraining(backbone.config, dataclasses.replace(backbone.pretraining, objective="mlm"))  # one full tower
        initialize(fresh, seed)
        start = _encoder(huggingface.standalone_state(fresh.generator))
        kept = config.num_hidden_layers - afresh
        top = tuple(f"electra.encoder.layer.{i}." for i in range(kept, config.num_hidden_layers))
        encoder = start if from_scratch else {name: (start if name.startswith(top) else encoder)[name] for name in encoder}
    random = np.random.default_rng([seed, STREAM_HEAD])
    model = Finetuning(config, finetuning, xp=xp)
    state = {}
    for name, shape in model.parameters.shapes.items():
        if name in encoder:
            state[name] = encoder[name]
        elif name.endswith(".bias"):
            state[name] = np.zeros(shape)
        else:
            state[name] = config.initializer_range * truncated_normal(random, shape)
    model.parameters.load_state(state)
    return model
