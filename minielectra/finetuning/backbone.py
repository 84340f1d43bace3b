"""Where fine-tuning starts: an encoder, pre-trained or, as a control, from scratch, under a new head."""

import dataclasses
from typing import NamedTuple

import numpy as np

from minielectra import objectives
from minielectra.backend import Purpose
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.initialization import initialize, truncated_normal
from minielectra.electra.towers import Electra
from minielectra.errors import InputError
from minielectra.finetuning.heads import HeadConfig
from minielectra.finetuning.objective import FinetuningObjective
from minielectra.formats import huggingface
from minielectra.nn.mixed_encoder import START
from minielectra.nn.parameters import misfits
from minielectra.pretrained.shipped import locate
from minielectra.pretraining.load import is_run, load_pretraining, load_tokenizer, model_directory
from minielectra.pretraining.pretraining_config import PretrainingConfig


class Backbone(NamedTuple):
    """A pre-trained encoder."""

    config: ElectraConfig
    state: dict  # {name: array} of the encoder with its embeddings, without a tower's prefix
    tokenizer: WordPieceTokenizer
    pretraining: PretrainingConfig  # as far as known; a control starts from the weights that it started from


def read_backbone(source):
    """The Backbone in a run, a directory of Hugging Face's layout, a folder that `export` wrote, or "mini".

    Of the last two it is the discriminator. Raises InputError if there is no encoder, if its weights do not
    fit its configuration, or if there is no vocabulary.
    """
    source = locate(source)
    if is_run(source):
        objective, tokenizer = load_pretraining(source)
        tower = objective.encoder_tower
        return Backbone(tower.config, _encoder(tower.standalone_state()), tokenizer, objective.config)
    directory = model_directory(source)
    config = huggingface.load_config(directory, ElectraConfig)
    arrays = _encoder(huggingface.model_arrays(directory))
    where = f"{directory}: does not hold an encoder of the sizes in config.json"
    if config.num_hidden_layers > len(arrays):  # before a million layers are made
        raise InputError(f"{where} ({config.num_hidden_layers} layers, but only {len(arrays)} arrays)")
    expected = Electra(config).parameters.shapes  # takes no memory
    if problems := misfits(expected, {name: array.shape for name, array in arrays.items()}):
        raise InputError(f"{where} ({problems})")
    tokenizer = load_tokenizer(directory, config.vocab_size)
    state = {name: array.read() for name, array in arrays.items()}
    config = dataclasses.replace(config, pad_token_id=tokenizer.pad_id)
    return Backbone(config, state, tokenizer, PretrainingConfig())


def truncated(backbone, layers):
    """The Backbone with only its first layers, of which there are `layers`."""
    config = dataclasses.replace(backbone.config, num_hidden_layers=layers)
    names = Electra(config).parameters
    return backbone._replace(
        config=config, state={name: x for name, x in backbone.state.items() if name in names}
    )


def make_objective(backbone, task, config, seed, from_scratch=False, xp=np):
    """A FinetuningObjective for `task`: the encoder of the backbone, and a new head.

    The head's weights are drawn from a truncated normal distribution of standard deviation
    `initializer_range`; its biases are 0. The top `reinitialized_layers` of the encoder start from fresh
    weights too, since they learnt most about pre-training's own task (Zhang et al. 2021, "Revisiting
    few-sample BERT fine-tuning", section 5). from_scratch: all of the encoder does. A mix of layers starts as
    their mean.
    """
    backbone = truncated(backbone, config.layers_of(backbone.config))
    fields = {field.name: getattr(backbone.config, field.name) for field in dataclasses.fields(ElectraConfig)}
    fields |= {"hidden_dropout_prob": config.dropout, "attention_probs_dropout_prob": config.dropout}
    readout = "mix" if config.readout == "mix" else "last"
    model_config = HeadConfig(**fields, labels=tuple(task.labels), readout=readout)
    objective = FinetuningObjective(model_config, config, task.model_class, task.loss, xp=xp)
    state = _encoder_state(backbone, config.reinitialized_layers, seed, from_scratch)
    random = np.random.default_rng([seed, Purpose.HEAD])
    for name, shape in objective.parameters.shapes.items():
        if name in state:
            continue
        if name.endswith(".bias"):
            state[name] = np.zeros(shape)
        elif name in START:
            state[name] = np.full(shape, START[name])
        else:
            state[name] = model_config.initializer_range * truncated_normal(random, shape)
    objective.parameters.load_state(state)
    return objective


def _encoder_state(backbone, reinitialized_layers, seed, from_scratch):
    """{name: array} of the encoder that fine-tuning starts from."""
    if from_scratch:
        return untrained(backbone, seed).state
    if not reinitialized_layers:
        return dict(backbone.state)
    fresh = untrained(backbone, seed).state
    layers = range(backbone.config.num_hidden_layers)[-reinitialized_layers:]
    top = tuple(f"electra.encoder.layer.{i}." for i in layers)
    return backbone.state | {name: x for name, x in fresh.items() if name.startswith(top)}


def untrained(backbone, seed):
    """The same Backbone with the weights that its pre-training would start from with this seed."""
    objective = objectives.make(backbone.config, backbone.pretraining.as_mlm())
    initialize(objective, seed)
    return backbone._replace(state=_encoder(objective.encoder_tower.standalone_state()))


def _encoder(state):
    """The arrays of the encoder and its embeddings, of any {name: array}."""
    return {
        name: x
        for name, x in state.items()
        if name.startswith(huggingface.ENCODER) and not name.endswith(huggingface.CONSTANT)
    }
