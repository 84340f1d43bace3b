"""Commands on runs: train, plot.

They import what they need when they run, so that `--help` answers at once.
"""

from dataclasses import dataclass
from pathlib import Path

from minielectra.cli.command import Given, Options, command
from minielectra.cli.overrides import Overrides
from minielectra.cli.streams import readable
from minielectra.errors import InputError
from minielectra.pretraining.run_settings import RunSettings
from minielectra.settings import Settings, setting

# What `train` prints at its end.
SHOWN = (
    *("gen_loss", "unigram_entropy", "gen_accuracy", "corrector_loss"),
    *("disc_auc", "disc_recall", "disc_precision"),
)

# What docs/objectives.md explains.
OBJECTIVE = (
    *("objective", "mlm_weight", "mlm_anneal", "copy_gate", "disc_weight", "mask_fraction"),
    *("sampler", "unigram_fraction", "sample_temperature", "train_generator", "adversarial"),
    *("embeddings", "tie_encoders", "generator_width", "generator_depth"),
    *("two_stage", "discriminator_start", "rewarm"),
)


@dataclass(frozen=True)
class TrainOptions(Settings):
    """The options of `train` that are not settings of a run."""

    resume: str | None = setting(None, "continue this run, with its own settings", metavar="RUN")
    out: str | None = setting(None, "folder of the new run", metavar="DIR", shown_default="runs/PRESET-DATE")


@command(
    Options(TrainOptions),
    Given(RunSettings, title="settings of a run"),
    Overrides(("batch_size", "seq_length", *OBJECTIVE)),
    examples=(
        "",
        "--corpus books/*.txt --minutes 30 --out runs/books",
        "--preset small --vocab vocab.txt --corpus prepared --steps 20000",
        "--resume runs/books",
        "--resume runs/books --steps 40000",
        "--init exported --corpus law/ --out runs/law --set learning_rate=5e-4",
    ),
)
def train(options, given, overrides):
    """Pre-train a generator and a discriminator.

    Starts a run or, with --resume, continues one. The last line of output is the folder of the run. With
    --resume, --steps makes a run longer: it goes on like a run of so many steps, so that the learning rate
    rises to where it then is, and falls to 0 at the new end.
    """
    from minielectra.pretraining.run_clock import now

    started = now()
    from minielectra.pretraining.plateau import plateau_message
    from minielectra.pretraining.start import resume_run, start_run
    from minielectra.runs import run_folder
    from minielectra.training.interruptions import Interrupted

    try:
        if options.resume:
            if options.out is not None:
                raise InputError(f"--out does not apply to --resume, which continues in {options.resume}")
            folder, metrics = resume_run(options.resume, given, overrides, started)
        else:
            folder, metrics = start_run(RunSettings(**given, overrides=overrides), options.out, started)
    except Interrupted as stop:
        print(f"{stop}; continue with:\n  minielectra train --resume {stop.folder}")
        return 130
    _draw(folder)
    shown = {name: value for name, value in metrics.items() if name in SHOWN and value is not None}
    print("  ".join(f"{name} {value:.3f}" for name, value in shown.items()))
    if message := plateau_message(folder, run_folder.load(folder), metrics):
        print(message)
    print(folder)
    return 0


@dataclass(frozen=True)
class PlotOptions(Settings):
    """The options of `plot`."""

    folder: str = setting(help="a run", metavar="RUN", positional=True)
    tokens: str | None = setting(
        None, "word pieces to follow in tokens.png", metavar="A,B,…", shown_default="a mix"
    )
    sentence: str | None = setting(
        None, "also draw a film strip: this sentence, scored at every checkpoint", metavar="TEXT"
    )
    out: str | None = setting(None, "folder for the pictures", metavar="DIR", shown_default="RUN/plots")


@command(
    Options(PlotOptions),
    examples=("runs/books", 'runs/books --tokens the,not,with --sentence "He eat fish."'),
)
def plot(options):
    """Draw the pictures of a run.

    Prints the name of each file.
    """
    tokens = [token for token in readable(options.tokens or "").split(",") if token] or None
    paths = _draw(options.folder, options.out, tokens)
    if options.sentence is not None:
        paths.append(_draw_sentence(options.folder, readable(options.sentence), paths[0].parent))
    print(*paths, sep="\n")


def _draw(folder, out=None, tokens=None):
    from minielectra.plots.draw import draw_all

    return draw_all(folder, out, tokens)


def _draw_sentence(folder, sentence, out):
    """Draw the film strip of a sentence into the folder `out` -> its path."""
    from minielectra.detect import score_at_checkpoints
    from minielectra.plots import fonts, style
    from minielectra.plots.film_strip import film_strip_sentence

    pieces, scores, steps = score_at_checkpoints(folder, sentence)
    fig = film_strip_sentence(pieces, scores, steps, f"“{sentence}”")
    path = style.save(fig, Path(out) / "film_strip_sentence.png")
    fonts.tell_lacking()
    return path
