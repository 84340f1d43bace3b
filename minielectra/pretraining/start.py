"""Starting a run, and continuing one: settings checked before anything is written, pictures drawn at the end."""

import datetime
import shutil
from pathlib import Path

from minielectra import backend
from minielectra.data.text.corpus import find_corpus_files
from minielectra.errors import InputError
from minielectra.formats.exported_pair import FREE, read_towers
from minielectra.pretraining.pretraining_config import configure
from minielectra.pretraining.run_data import read_tokenizer
from minielectra.pretraining.trainer import Trainer
from minielectra.runs import run_folder

DEFAULTS = {
    "preset": "tiny", "corpus": None, "vocab": None, "steps": None, "minutes": None, "eval_every": None,
    "checkpoint_every": None, "seed": 0, "threads": None, "workers": None, "device": "cpu",
    "init": None,
}  # fmt: skip
MACHINE = ("threads", "workers")  # settings that change no result, so that a resumed run may have others


def launch(given, overrides, out, default_minutes, started=None):
    """Begin a run and take it to its end -> (folder, last metrics).

    given: settings by name, those not given left out; overrides: {configuration field: value}; out: folder, or None for
    runs/<preset>-<date>. Raises InputError, with nothing written, for settings that cannot work.
    """
    settings = DEFAULTS | given | {"overrides": overrides}
    if not settings["steps"] and not settings["minutes"]:
        settings["minutes"] = default_minutes
    configure(settings["preset"], overrides)
    backend.load(settings["device"])
    if settings["init"]:
        settings |= _initial(settings)
    if settings["vocab"]:
        read_tokenizer(settings["vocab"])
        settings["vocab"] = str(Path(settings["vocab"]).resolve())
    if settings["corpus"]:
        if not _is_prepared(settings["corpus"]):
            find_corpus_files(settings["corpus"])
        settings["corpus"] = [str(Path(path).resolve()) for path in settings["corpus"]]
    if out is None:
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        out = Path("runs") / f"{settings['preset']}-{stamp}"
    run_folder.create(out, settings)
    try:
        trainer = Trainer(out, started)
    except InputError:  # unusable text, most likely: leave no empty run behind
        shutil.rmtree(out)
        raise
    return _finish(trainer)


def resume(folder, given, overrides, started=None):
    """Take a run from its last checkpoint to its end -> (folder, last metrics).

    Settings may be repeated but not changed: InputError where one contradicts the run's own.
    """
    info = run_folder.load(folder)
    own = info["settings"]
    if "corpus" in given:
        given = given | {"corpus": [str(Path(path).resolve()) for path in given["corpus"]]}
    if "init" in given:
        given = given | {"init": str(Path(given["init"]).resolve())}
    if "vocab" in given:
        given = given | {"vocab": str(Path(given["vocab"]).resolve())}
    known = (
        own | own["overrides"] | info.get("config", {}) | info.get("pretraining", {}) | {"steps": info.get("steps", own["steps"])}
    )
    for name, value in (given | overrides).items():
        if name not in MACHINE and name in known and known[name] != value:
            raise InputError(
                f"{folder}: was begun with {name} {known[name]}, not {value}; resume it as it was, or start a new run"
            )
    return _finish(Trainer(folder, started, {name: given[name] for name in MACHINE if name in given}))


def _initial(settings):
    """The settings that follow from --init: the weights' own sizes and vocabulary, which cannot be chosen again."""
    source, overrides = settings["init"], settings["overrides"]
    fields, _, tower = read_towers(source, overrides.get("objective", "electra"))
    for name, value in overrides.items():
        if name not in FREE and fields.get(name, value) != value:
            raise InputError(f"--init {source}: has {name} {fields[name]}, not {value}; leave {name} out")
    vocab = read_tokenizer(tower).vocab
    if len(vocab) != fields["vocab_size"]:
        raise InputError(f"{tower}: the vocabulary has {len(vocab)} pieces, the model {fields['vocab_size']}")
    if settings["vocab"] and read_tokenizer(settings["vocab"]).vocab != vocab:
        raise InputError(f"--init {source}: was trained with another vocabulary than {settings['vocab']}; leave --vocab out")
    overrides = fields | overrides
    _, pretraining = configure(settings["preset"], overrides)
    if pretraining.tie_encoders:
        read_towers(source, pretraining.objective, tied=True)  # raises where the two are not one
    return {"init": str(Path(source).resolve()), "vocab": str(tower), "overrides": overrides}


def _is_prepared(corpus):
    return len(corpus) == 1 and (Path(corpus[0]) / "dataset.json").is_file()


def _finish(trainer):
    from minielectra.plots.draw import draw_all  # matplotlib takes a second to import: only when there is something to draw

    try:
        metrics = trainer.run()
    finally:
        trainer.trainee.close()
    draw_all(trainer.folder)
    return trainer.folder, metrics
