"""Commands on tasks: finetune, predict, evaluate.

They import what they need when they run, so that `--help` answers at once.
"""

import dataclasses
import time
from dataclasses import dataclass

from minielectra.cli.command import Given, Options, command
from minielectra.errors import InputError
from minielectra.finetuning.experiment_settings import ExperimentSettings
from minielectra.finetuning.finetuning_config import OPTIONS, FinetuningConfig
from minielectra.finetuning.tasks.contract import FORMS
from minielectra.pretraining.run_settings import RunSettings
from minielectra.settings import Settings, setting


@dataclass(frozen=True)
class FinetuneOptions(Settings):
    """The options of `finetune` that are not settings of an experiment."""

    resume: str | None = setting(
        None, "continue the unfinished fine-tuning in this folder, with its own settings", metavar="DIR"
    )


@command(
    Options(FinetuneOptions),
    Given(ExperimentSettings, unless="resume"),
    Given(FinetuningConfig, OPTIONS, "training"),
    examples=(
        "sst-2 --model runs/books --train SST-2/train.tsv --dev SST-2/dev.tsv --out sst --seeds 3 --control",
        "classification --model runs/books --train questions.csv --text question --label type",
        "tagging --model exported/discriminator --train train.conll --dev dev.conll --tag 1",
        "squad --model runs/books --train train-v2.0.json --dev dev-v2.0.json",
        "--resume runs/squad-20260102-030405",
    ),
)
def finetune(about, given, options):
    """Fine-tune a pre-trained model for a task.

    Prints a table of scores on the development set. The last line of output is the folder of the model. With
    --resume, or if it is given again, a command that was stopped goes on where it was.
    """
    from minielectra.finetuning.experiment import format_results, resume_experiment, run_experiment
    from minielectra.formats.huggingface import is_our_own
    from minielectra.formats.locks import unused
    from minielectra.training.interruptions import Interrupted

    try:
        if about.resume:
            if "out" in given:
                raise InputError(f"--out does not apply to --resume, which continues in {about.resume}")
            out = about.resume
            results = resume_experiment(out, given, options)
        else:
            settings = ExperimentSettings(**given)
            out = settings.out or str(unused(f"runs/{settings.task}-{time.strftime('%Y%m%d-%H%M%S')}"))
            results = run_experiment(dataclasses.replace(settings, out=out), options)
    except Interrupted as stop:
        print(f"{stop}; continue with:\n  minielectra finetune --resume {stop.folder}")
        return 130
    _draw(out)
    print(format_results(results))
    if is_our_own(out):
        print("the model reads a mix of layers: predict and evaluate can open it, transformers cannot")
    print(out)
    return 0


# How files are written, for directories in which no task.json says so.
READING = Given(
    ExperimentSettings,
    ("text", "pair", "label", "word", "tag", "separator"),
    "files for a classifier that transformers wrote",
)


@dataclass(frozen=True)
class PredictOptions(Settings):
    """The options of `predict`."""

    directory: str = setting(
        help="a folder that `finetune` wrote, or transformers' directory of a classifier",
        metavar="DIR",
        positional=True,
    )
    file: str = setting(
        help="a file as for training, labels not needed; or plain lines: texts (a TAB between the two of a "
        "pair) or sentences to tag, blank ones too; - for standard input",
        metavar="FILE|-",
        positional=True,
    )
    json: bool = setting(False, "print one JSON object per example")
    form: str | None = setting(
        None,
        "how FILE is written: like the training file, or as plain lines",
        choices=FORMS,
        shown_default="its name tells, or its header, columns or labels; standard input: lines",
    )
    gold: bool = setting(False, "also print the file's own labels: before the prediction, in JSON as `gold`")
    official: str | None = setting(
        None,
        "also write the predictions as official scorers read them: GLUE's submission (index and prediction), "
        "SQuAD's JSON, conlleval's columns (word, tag, predicted tag)",
        metavar="FILE",
    )


@command(
    Options(PredictOptions),
    Options(RunSettings, only=("device",)),
    READING,
    examples=(
        "sst reviews.txt",
        "squad-model dev.json --json --official answers.json",
        "sst SST-2/test.tsv --official SST-2.tsv",
        "tagger sentences.txt --form lines",
        "sst - < reviews.txt",
    ),
)
def predict(options, settings, reading):
    """Predict with a fine-tuned model."""
    from minielectra.finetuning.directory import Finetuned
    from minielectra.formats.files import write_text
    from minielectra.formats.json_text import json_text

    model = Finetuned(options.directory, settings.device, reading)
    task = model.task
    examples = task.read(options.file, labelled=False, form=options.form)
    if options.official:
        task.check_official(examples)  # before the long part
    predictions = model.predict(examples)
    if options.official:
        write_text(options.official, task.official_format(examples, predictions))
    for example, prediction in zip(examples, predictions, strict=True):
        if options.json:
            print(json_text(task.report(example, prediction, options.gold)))
        else:
            print(task.show(example, prediction, options.gold))


@dataclass(frozen=True)
class EvaluateOptions(Settings):
    """The options of `evaluate`."""

    directory: str = setting(
        help="a folder that `finetune` wrote, or transformers' directory of a classifier",
        metavar="DIR",
        positional=True,
    )
    file: str = setting(help="a labelled file, as for training", metavar="FILE", positional=True)
    json: bool = setting(False, "print one JSON object")


@command(
    Options(EvaluateOptions),
    Options(RunSettings, only=("device",)),
    READING,
    examples=("sst SST-2/dev.tsv --json",),
)
def evaluate(options, settings, reading):
    """Score a fine-tuned model on a labelled file."""
    from minielectra.finetuning.directory import Finetuned
    from minielectra.formats.json_text import json_text

    scores = Finetuned(options.directory, settings.device, reading).evaluate(options.file)
    print(
        json_text(scores)
        if options.json
        else "\n".join(f"{name:22} {value:.6g}" for name, value in scores.items())
    )


def _draw(folder):
    from minielectra.plots.development_scores import draw

    draw(folder)
