"""How often does a model find the wrong word? In every sentence, one word was replaced at random.

    python benchmarks/odd_word.py mini PREPARED
    python benchmarks/odd_word.py runs/books PREPARED --sentences 200

The sentences come from the held-out part of PREPARED, a folder that `minielectra prepare` wrote with the
model's own vocabulary (--vocab RUN/vocab.txt; that of mini is in minielectra/pretrained/mini/discriminator).
The new word is about as frequent as the old one, and has as many pieces. Words and sentences are the same for
every model with this vocabulary (pretraining/fixed_corruption.py). The interval is Wilson's.
"""

import argparse
import sys
from math import sqrt
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from minielectra.data.dataset.prepared import Dataset
from minielectra.errors import InputError
from minielectra.pretraining.fixed_corruption import make_fixed_corruption, score_fixed_corruption
from minielectra.pretraining.load import load_discriminator


def find_odd_words(source, prepared, sentences=None):
    """Score the model `source` on a prepared folder -> {"sentences", "fixed_top1", "fixed_auc"}.

    sentences: how many at most, spread over the held-out part; None: all of the corruption's. Raises
    InputError if the vocabularies differ, or if there is no sentence.
    """
    model, tokenizer = load_discriminator(source)
    dataset = Dataset.open(prepared)
    if dataset.tokenizer.vocab != tokenizer.vocab:
        raise InputError(f"{prepared}: was prepared with another vocabulary than that of {source}")
    fixed = make_fixed_corruption(dataset, model.config.max_position_embeddings)
    if fixed is None:
        raise InputError(f"{prepared}: its held-out part has no sentence that can be used")
    count = min(sentences or len(fixed.wrong), len(fixed.wrong))
    chosen = [i * len(fixed.wrong) // count for i in range(count)]
    fixed = type(fixed)(*(array[chosen] for array in fixed))
    return {"sentences": count, **score_fixed_corruption(model, fixed)}


def interval(share, count, z=1.96):
    """The 95 % interval of a share that was found in `count` trials -> lowest, highest (Wilson 1927)."""
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    width = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return middle - width, middle + width


def main():
    """Print the share of sentences in which the wrong word ranks first."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="a run, a model directory, or mini")
    parser.add_argument("prepared", help="a folder that `prepare` wrote")
    parser.add_argument("--sentences", type=int, help="at most so many (default: 512)")
    options = parser.parse_args()
    try:
        found = find_odd_words(options.model, options.prepared, options.sentences)
    except InputError as error:
        sys.exit(f"odd_word: {error}")
    low, high = interval(found["fixed_top1"], found["sentences"])
    print(
        f"the wrong word ranks first in {100 * found['fixed_top1']:.1f} % of {found['sentences']} sentences "
        f"(95 % interval {100 * low:.1f} to {100 * high:.1f} %); AUC over all words {found['fixed_auc']:.3f}"
    )


if __name__ == "__main__":
    main()
