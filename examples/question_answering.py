"""Answer questions from a text: from a pre-trained run to a prediction.

    python examples/question_answering.py runs/books train-v1.1.json dev-v1.1.json \\
        "When was it built?" "The bridge was built in 1894."

The files are SQuAD's (https://rajpurkar.github.io/SQuAD-explorer), version 1.1 or 2.0. A run of a few minutes
learns little of this task. A pre-trained ELECTRA-small learns it well: instead of the run, give its directory
in Hugging Face's layout.
"""

import sys
import tempfile
from pathlib import Path

from minielectra.finetuning.directory import Finetuned
from minielectra.finetuning.experiment import format_results, run_experiment
from minielectra.finetuning.experiment_settings import ExperimentSettings
from minielectra.finetuning.readers.squad_json import Question

if len(sys.argv) != 6:
    sys.exit(__doc__)
run, train, dev, question, context = sys.argv[1:]

with tempfile.TemporaryDirectory() as folder:
    out = Path(folder) / "model"
    settings = ExperimentSettings(task="squad", model=run, train=train, dev=dev, out=out)
    print(format_results(run_experiment(settings, {"epochs": 2.0})))

    mine = Question("mine", question, context, answers=(), impossible=False)
    (prediction,) = Finetuned(out).predict([mine])
    for entry in prediction["best"][:5]:
        print(f"{entry['score']:.3f}  {entry['answer']}")
