"""Which models there are in what the user names: a run, a folder of models, or "mini"."""

from pathlib import Path
from typing import NamedTuple

from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.finetuning.directory import Finetuned
from minielectra.formats.reading import read_json
from minielectra.pretrained.shipped import locate
from minielectra.pretraining.exported_pair import KINDS, open_towers
from minielectra.pretraining.load import is_run, load_pretraining, load_tokenizer


class OpenedSource(NamedTuple):
    """What was found."""

    models: dict  # {"discriminator" and "generator", as far as they are there; or "": Electra}
    tokenizer: WordPieceTokenizer
    finetuned: Finetuned | None = None  # if the only model, "", has a head that was fine-tuned
    directory: Path | None = None  # of that one


def open_source(source) -> OpenedSource:
    """Open a run, a folder that `export` or `finetune` wrote, a model's directory, or "mini".

    Raises InputError if it is none of these, or damaged.
    """
    directory = locate(source)
    if is_run(directory):
        objective, tokenizer = load_pretraining(directory)
        towers = objective.towers
        return OpenedSource({name: towers[name] for name in KINDS if name in towers}, tokenizer)
    towers = open_towers(directory)
    if towers:
        name, tower = next(iter(towers.items()))
        return OpenedSource(towers, load_tokenizer(directory / name, tower.config.vocab_size))
    if (name := _tower_name(directory)) is not None:
        model = KINDS[name].from_pretrained(directory)
        return OpenedSource({name: model}, load_tokenizer(directory, model.config.vocab_size))
    finetuned = Finetuned(directory)
    return OpenedSource({"": finetuned.model}, finetuned.tokenizer, finetuned, directory)


def _tower_name(directory):
    """A name in KINDS if a directory holds such a tower alone; None if it holds something else."""
    missing = f"{directory}: neither a run (run.json) nor a model's directory (config.json)"
    classes = read_json(directory / "config.json", missing).get("architectures")
    return next((name for name, kind in KINDS.items() if classes == [kind.__name__]), None)
