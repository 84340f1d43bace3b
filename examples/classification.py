"""Classify texts: from a pre-trained run to a prediction.

    python examples/classification.py runs/books SST-2/train.tsv SST-2/dev.tsv "a charming and often affecting journey"

The files are GLUE's SST-2 (https://gluebenchmark.com/tasks), or any TSV with the columns `sentence` and `label`.
"""

import sys
import tempfile
from pathlib import Path

from minielectra.finetuning.experiment import Finetuned, format_results, launch
from minielectra.finetuning.readers.tables import Example

if len(sys.argv) < 5:
    sys.exit(__doc__)
run, train, dev, *texts = sys.argv[1:]

with tempfile.TemporaryDirectory() as folder:
    out = Path(folder) / "model"
    results = launch("sst-2", run, train, dev, out, {"epochs": 2.0}, columns={}, seeds=1, control=True)
    print(format_results(results))

    model = Finetuned(out)
    for text, prediction in zip(texts, model.predict([Example(text, None, None, 0) for text in texts]), strict=True):
        print(f"{prediction['label']}  {prediction['scores']}  {text}")
