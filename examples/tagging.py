"""Tag words: from a pre-trained run to a prediction.

    python examples/tagging.py runs/books train.conll dev.conll "She sells old books in Paris ."

The files have a word and its tag on every line and a blank line between sentences: parts of speech (any treebank of
https://universaldependencies.org, in columns), chunks (CoNLL-2000) or names (CoNLL-2003, WNUT-17; tags like B-person).
"""

import sys
import tempfile
from pathlib import Path

from minielectra.finetuning.experiment import Finetuned, format_results, launch
from minielectra.finetuning.readers.conll import Sentence

if len(sys.argv) < 5:
    sys.exit(__doc__)
run, train, dev, *texts = sys.argv[1:]

with tempfile.TemporaryDirectory() as folder:
    out = Path(folder) / "model"
    results = launch("tagging", run, train, dev, out, {"epochs": 3.0}, columns={}, seeds=1, control=True)
    print(format_results(results))

    model = Finetuned(out)
    sentences = [Sentence(text.split(), None, 0) for text in texts]
    for sentence, prediction in zip(sentences, model.predict(sentences), strict=True):
        print(*(f"{word}/{tag}" for word, tag in zip(sentence.words, prediction["labels"], strict=True)))
