"""Classify texts: from a pre-trained run to a prediction.

    python examples/classification.py runs/books SST-2/train.tsv SST-2/dev.tsv "a charming, affecting journey"

The files are GLUE's SST-2 (https://gluebenchmark.com/tasks), or any TSV with columns `sentence` and `label`.
"""

import sys
import tempfile
from pathlib import Path

from minielectra.finetuning.directory import Finetuned
from minielectra.finetuning.experiment import format_results, run_experiment
from minielectra.finetuning.experiment_settings import ExperimentSettings
from minielectra.finetuning.readers.tables import Example

if len(sys.argv) < 5:
    sys.exit(__doc__)
run, train, dev, *texts = sys.argv[1:]

with tempfile.TemporaryDirectory() as folder:
    out = Path(folder) / "model"
    settings = ExperimentSettings(task="sst-2", model=run, train=train, dev=dev, out=out, control=True)
    print(format_results(run_experiment(settings, {"epochs": 2.0})))

    examples = [Example(text, pair=None, label=None, line=0) for text in texts]
    for text, prediction in zip(texts, Finetuned(out).predict(examples), strict=True):
        print(f"{prediction['label']}  {prediction['scores']}  {text}")
