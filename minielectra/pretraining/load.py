"""A run's model, opened."""

from pathlib import Path

import numpy as np

from minielectra.data.wordpiece.tokenizer import WordPieceTokenizer
from minielectra.detect import detect
from minielectra.electra.towers import ElectraForPreTraining
from minielectra.errors import InputError
from minielectra.formats.exported_pair import save_towers
from minielectra.objectives.electra import ElectraPretraining
from minielectra.runs import run_folder
from minielectra.runs.checkpoints import list_checkpoints, load_parameters


def load_pretraining(run, checkpoint=None):
    """The joint model of a run at a checkpoint's folder (the last one by default) -> ElectraPretraining, WordPieceTokenizer.

    Raises InputError where there is no run, or no checkpoint in it yet.
    """
    info = run_folder.load(run)
    config, pretraining = run_folder.configs(info, run)
    if checkpoint is None:
        checkpoints = list_checkpoints(run)
        if not checkpoints:
            raise InputError(f"{run}: no checkpoint yet; continue the run with --resume {run}")
        checkpoint = checkpoints[-1][1]
    model = ElectraPretraining(config, pretraining)
    load_parameters(checkpoint, model.parameters)
    return model, WordPieceTokenizer.from_file(Path(run) / "vocab.txt", info.get("lowercase", True))


def load_discriminator(source):
    """A discriminator and its tokenizer from a run's folder or from a directory in Hugging Face's layout.

    Raises InputError where `source` is neither, or a run without a discriminator.
    """
    if (Path(source) / "run.json").exists():
        model, tokenizer = load_pretraining(source)
        if model.discriminator is None:
            raise InputError(f"{source}: was trained with --objective mlm and has no discriminator")
        return model.discriminator, tokenizer
    model, tokenizer = ElectraForPreTraining.from_pretrained(source), WordPieceTokenizer.from_pretrained(source)
    if len(tokenizer) > model.config.vocab_size:
        raise InputError(f"{source}: the vocabulary has {len(tokenizer)} pieces, the model only {model.config.vocab_size}")
    return model, tokenizer


def score_at_checkpoints(run, sentence):
    """One sentence at every checkpoint of a run -> tokens [n], scores [R, n], steps [R]: the film strip of `plot --sentence`."""
    results, steps = [], []
    for step, folder in list_checkpoints(run):
        model, tokenizer = load_pretraining(run, folder)
        if model.discriminator is None:
            raise InputError(f"{run}: was trained with --objective mlm and has no discriminator")
        results.append(detect(model.discriminator, tokenizer, sentence))
        steps.append(step)
    if not results:
        raise InputError(f"{run}: no checkpoint yet; continue the run with --resume {run}")
    if not results[0]["tokens"]:
        raise InputError("--sentence is empty: give at least one word")
    return results[0]["tokens"], np.array([result["replaced"] for result in results]), steps


def export(run, directory):
    """Write a run's towers as Hugging Face directories: `discriminator` and `generator` under `directory` -> their paths."""
    model, tokenizer = load_pretraining(run)
    return save_towers(model, directory, tokenizer)
