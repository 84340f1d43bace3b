"""Opening pre-trained models, in a run or in Hugging Face's layout; exporting the first as the second."""

from pathlib import Path

from minielectra import objectives
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.towers import ElectraForPreTraining
from minielectra.errors import InputError
from minielectra.pretrained.shipped import DEFAULT, locate
from minielectra.pretraining.exported_pair import FULL_SIZE_FIRST
from minielectra.pretraining.pretraining_config import PretrainingConfig
from minielectra.runs import run_folder
from minielectra.runs.checkpoints import list_checkpoints, load_parameters


def load_pretraining(run, checkpoint=None):
    """The model of a run -> an `objectives.base.PretrainingObjective`, WordPieceTokenizer.

    run: its folder, or that of one of its checkpoints; checkpoint: the latter's, by default the last one's.
    Raises InputError if there is no run, or no checkpoint.
    """
    if _is_checkpoint(run):
        run, checkpoint = Path(run).parent.parent, run
    info = run_folder.load(run)
    model_config, config = run_folder.configs(info, ElectraConfig, PretrainingConfig, run)
    checkpoint = _checkpoints(run)[-1][1] if checkpoint is None else checkpoint
    objective = objectives.make(model_config, config)
    load_parameters(checkpoint, objective.parameters)
    return objective, WordPieceTokenizer.from_file(Path(run) / "vocab.txt", info.get("lowercase", True))


def load_discriminator(source=DEFAULT):
    """A discriminator with its tokenizer -> ElectraForPreTraining, WordPieceTokenizer.

    source: a run, a model directory in Hugging Face's layout, a folder that `export` wrote, or "mini", the
    model that comes with minielectra. Raises InputError if it is none of these, or if it has no
    discriminator.
    """
    source = locate(source)
    if is_run(source):
        objective, tokenizer = load_pretraining(source)
        return _discriminator(objective, source), tokenizer
    directory = model_directory(source)
    model = ElectraForPreTraining.from_pretrained(directory)
    return model, load_tokenizer(directory, model.config.vocab_size)


def discriminators(run):
    """A run's discriminator at every checkpoint: yields (step, ElectraForPreTraining, WordPieceTokenizer).

    Raises InputError if the run has no checkpoint or no discriminator.
    """
    for step, folder in _checkpoints(run):
        objective, tokenizer = load_pretraining(run, folder)
        yield step, _discriminator(objective, run), tokenizer


# What counts as a pre-trained model: a run, a directory in Hugging Face's layout, or a folder of `export`.


def is_run(source):
    """Whether `source` is the folder of a run, or of one of its checkpoints."""
    return (Path(source) / "run.json").exists() or _is_checkpoint(source)


def _is_checkpoint(source):
    source = Path(source).absolute()
    run = source.parent.parent
    return source.parent.name == "checkpoints" and (source / "state.json").exists() and is_run(run)


def model_directory(source):
    """The directory in Hugging Face's layout that `source` means -> Path.

    That is `source` itself, unless it is a folder that `export` wrote: then it is the discriminator inside,
    or the corrector or generator if there is no other, as after training with --objective mlm.
    """
    source = Path(source)
    inside = [source, *(source / name for name in FULL_SIZE_FIRST)]
    return next((directory for directory in inside if (directory / "config.json").exists()), source)


def load_tokenizer(directory, vocab_size):
    """The tokenizer in the directory of a model with `vocab_size` rows in its word table.

    The table may have more rows than the vocabulary has pieces, if it was padded to a round number. Raises
    InputError if there is no vocabulary, or if it has more pieces than the model has rows.
    """
    tokenizer = WordPieceTokenizer.from_pretrained(directory)
    if len(tokenizer) > vocab_size:
        raise InputError(
            f"{directory}: the vocabulary has {len(tokenizer)} pieces, but the model only "
            f"{vocab_size}; use the vocab.txt that the model was trained with"
        )
    return tokenizer


def _checkpoints(run):
    """[(step, folder)] of a run's checkpoints. Raises InputError if there are none."""
    checkpoints = list_checkpoints(run)
    if not checkpoints:
        raise InputError(f"{run}: no checkpoint yet; continue the run with --resume {run}")
    return checkpoints


def _discriminator(objective, run):
    """The discriminator among an objective's towers. Raises InputError if there is none."""
    if "discriminator" not in objective.towers:
        name = objective.config.objective
        raise InputError(f"{run}: was trained with --objective {name} and has no discriminator")
    return objective.towers["discriminator"]
