"""Answer questions from a text: from a pre-trained run to a prediction.

    python examples/question_answering.py runs/books train-v1.1.json dev-v1.1.json "When was it built?" "The bridge was built in 1894."

The files are SQuAD's (https://rajpurkar.github.io/SQuAD-explorer), version 1.1 or 2.0. A model of minutes learns little of this task
(see README.md); a pre-trained ELECTRA-small in Hugging Face's layout, in the place of the run, learns it well.
"""

import sys
import tempfile
from pathlib import Path

from minielectra.finetuning.experiment import Finetuned, format_results, launch
from minielectra.finetuning.readers.squad_json import Question

if len(sys.argv) != 6:
    sys.exit(__doc__)
run, train, dev, question, context = sys.argv[1:]

with tempfile.TemporaryDirectory() as folder:
    out = Path(folder) / "model"
    print(format_results(launch("squad", run, train, dev, out, {"epochs": 2.0}, columns={}, seeds=1)))

    (prediction,) = Finetuned(out).predict([Question("mine", question, context, (), False)])
    for entry in prediction["best"][:5]:
        print(f"{entry['score']:.3f}  {entry['answer']}")
