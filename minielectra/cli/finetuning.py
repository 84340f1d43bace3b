"""Commands on tasks: finetune, predict, evaluate.

They import what they need when they run, so that `--help` answers at once.
"""

import dataclasses
import json
import time
from dataclasses import dataclass

from minielectra.cli.command import Given, Options, command
from minielectra.finetuning.experiment_settings import ExperimentSettings
from minielectra.finetuning.finetuning_config import OPTIONS, FinetuningConfig
from minielectra.pretraining.run_settings import RunSettings
from minielectra.settings import Settings, setting


@command(
    Options(ExperimentSettings),
    Given(FinetuningConfig, OPTIONS, "training"),
    examples=(
        "sst-2 --model runs/books --train SST-2/train.tsv --dev SST-2/dev.tsv --out sst --seeds 3 --control",
        "classification --model runs/books --train questions.csv --text question --label type",
        "tagging --model exported/discriminator --train train.conll --dev dev.conll --tag 1",
        "squad --model runs/books --train train-v2.0.json --dev dev-v2.0.json",
    ),
)
def finetune(settings, options):
    """Fine-tune a pre-trained model for a task.

    Prints a table of scores on the development set. The last line of output is the folder of the model.
    """
    from minielectra.finetuning.experiment import format_results, run_experiment

    if settings.out is None:
        settings = dataclasses.replace(settings, out=f"runs/{settings.task}-{time.strftime('%Y%m%d-%H%M%S')}")
    results = run_experiment(settings, options)
    _draw(settings.out)
    print(format_results(results), settings.out, sep="\n")


@dataclass(frozen=True)
class PredictOptions(Settings):
    """The options of `predict`."""

    directory: str = setting(help="a folder that `finetune` wrote", metavar="DIR", positional=True)
    file: str = setting(
        help="a file as for training, labels not needed; or plain lines: texts (a TAB between the two of a "
        "pair) or sentences to tag; - for standard input",
        metavar="FILE|-",
        positional=True,
    )
    json: bool = setting(False, "print one JSON object per example")
    official: str | None = setting(
        None, "squad: also write the answers in the form that SQuAD's own script reads", metavar="FILE"
    )


@command(
    Options(PredictOptions),
    Options(RunSettings, only=("device",)),
    examples=(
        "sst reviews.txt",
        "squad-model dev.json --json --official answers.json",
        "sst - < reviews.txt",
    ),
)
def predict(options, settings):
    """Predict with a fine-tuned model."""
    from minielectra.finetuning.directory import Finetuned
    from minielectra.formats.files import write_text

    model = Finetuned(options.directory, settings.device)
    examples = model.task.read(options.file, labelled=False)
    predictions = model.predict(examples)
    if options.official:
        write_text(options.official, model.task.official_format(examples, predictions))
    for example, prediction in zip(examples, predictions, strict=True):
        report = (
            model.task.report(example, prediction) if options.json else model.task.show(example, prediction)
        )
        print(json.dumps(report) if options.json else report)


@dataclass(frozen=True)
class EvaluateOptions(Settings):
    """The options of `evaluate`."""

    directory: str = setting(help="a folder that `finetune` wrote", metavar="DIR", positional=True)
    file: str = setting(help="a labelled file, as for training", metavar="FILE", positional=True)
    json: bool = setting(False, "print one JSON object")


@command(
    Options(EvaluateOptions),
    Options(RunSettings, only=("device",)),
    examples=("sst SST-2/dev.tsv --json",),
)
def evaluate(options, settings):
    """Score a fine-tuned model on a labelled file."""
    from minielectra.finetuning.directory import Finetuned

    scores = Finetuned(options.directory, settings.device).evaluate(options.file)
    print(
        json.dumps(scores)
        if options.json
        else "\n".join(f"{name:22} {value:.6g}" for name, value in scores.items())
    )


def _draw(folder):
    from minielectra.plots.finetuning import draw

    draw(folder)
