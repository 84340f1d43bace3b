"""Tag words: from a pre-trained run to a prediction.

    python examples/tagging.py runs/books train.conll dev.conll "She sells old books in Paris ."

The files have a word and its tag on every line, and a blank line between sentences. The tags are parts of
speech (any treebank of https://universaldependencies.org, in columns), chunks (CoNLL-2000), or names
(CoNLL-2003 or WNUT-17, with tags like B-person).
"""

import sys
import tempfile
from pathlib import Path

from minielectra.finetuning.directory import Finetuned
from minielectra.finetuning.experiment import format_results, run_experiment
from minielectra.finetuning.experiment_settings import ExperimentSettings
from minielectra.finetuning.readers.conll import Sentence

if len(sys.argv) < 5:
    sys.exit(__doc__)
run, train, dev, *texts = sys.argv[1:]

with tempfile.TemporaryDirectory() as folder:
    out = Path(folder) / "model"
    settings = ExperimentSettings(task="tagging", model=run, train=train, dev=dev, out=out, control=True)
    print(format_results(run_experiment(settings, {"epochs": 3.0})))

    sentences = [Sentence(text.split(), tags=None, line=0) for text in texts]
    for sentence, prediction in zip(sentences, Finetuned(out).predict(sentences), strict=True):
        print(*(f"{word}/{tag}" for word, tag in zip(sentence.words, prediction["labels"], strict=True)))
