"""The fine-tuning loop: one seed from a fresh head to the parameters that did best on the development set."""

from contextlib import closing
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from minielectra.backend import to_host
from minielectra.errors import InputError
from minielectra.finetuning.sequences import epoch_batches, make_batch
from minielectra.nn.inference import logits_of
from minielectra.optim.schedule import learning_rate
from minielectra.training.step import Trainee

STREAM_ORDER = 7  # purpose of a random stream: every key is (seed, purpose, …)
EVALUATIONS = 10  # in a run at least, so that there is a curve to see


@dataclass
class Outcome:
    """What one seed came to."""

    seed: int
    history: list  # of {"epoch", "step", "loss", and the scores on the development set}, one an evaluation
    best: dict  # the entry of `history` with the best main score
    state: object  # [P] the parameters at that point, on the host
    settings: dict  # the task's settings at that point (a tuned threshold)


def finetune(model, task, train, dev, tokenizer, seed, threads=None, progress=True, label=""):
    """Train a `Finetuning` model -> Outcome. train: list of Encoded; dev: (examples, list of Encoded).

    Evaluated at the end of every epoch, and oftener in short runs; a NaN in a score counts as the worst.
    """
    finetuning = model.settings[1]
    per_epoch = -(-len(train) // finetuning.batch_size)
    steps = max(1, round(finetuning.epochs * per_epoch))
    warmup = round(finetuning.warmup_fraction * steps)
    every = per_epoch // max(1, -(-EVALUATIONS // max(1, round(finetuning.epochs))))
    every = min(per_epoch, max(every, len(dev[1]) // finetuning.batch_size, 1))  # evaluating takes less than half of the time
    lengths = [len(sequence.ids) for sequence in train]
    history, best, losses = [], None, []
    with closing(Trainee(model, threads)) as trainee, tqdm(total=steps, desc=label, unit="step", disable=not progress) as bar:
        batches = []
        for step in range(steps):
            epoch, place = divmod(step, per_epoch)
            if place == 0:
                batches = epoch_batches(lengths, finetuning.batch_size, np.random.default_rng([seed, STREAM_ORDER, epoch]))
            rate = learning_rate(step, steps, finetuning.learning_rate, warmup)
            batch = make_batch([train[i] for i in batches[place]], tokenizer.pad_id)
            result = trainee.step(batch, rate, seed, step)
            if not result.finite:
                raise InputError(
                    f"the loss is not finite at step {step + 1} of seed {seed}; lower --learning-rate (now {finetuning.learning_rate})"
                )
            losses.append(result.losses[0])
            bar.update()
            if ((place + 1) % every == 0 and per_epoch - place > every // 2) or place + 1 == per_epoch or step + 1 == steps:
                scores, settings = evaluate(trainee.model.model, task, *dev, tokenizer, tune=True)
                entry = {"epoch": (step + 1) / per_epoch, "step": step + 1, "loss": float(np.mean(losses)), **scores}
                losses = []
                history.append(entry)
                main = task.metrics[0]
                if best is None or np.nan_to_num(entry[main], nan=-np.inf) > np.nan_to_num(best.best[main], nan=-np.inf):
                    best = Outcome(seed, history, entry, to_host(trainee.model.parameters.flat).copy(), settings)
                bar.set_postfix({"loss": f"{entry['loss']:.3f}", main: f"{entry[main]:.3f}", "best": f"{best.best[main]:.3f}"})
    return best


def predict(model, task, examples, encoded, tokenizer):
    """A head model's predictions for examples -> list, in the form that the task documents."""
    rows, segments = [sequence.ids for sequence in encoded], [sequence.segments for sequence in encoded]
    return task.decode(logits_of(model, rows, tokenizer.pad_id, segments), encoded, examples)


def evaluate(model, task, examples, encoded, tokenizer, tune=False):
    """A head model's scores on labelled examples -> {metric: value}, the task's settings; tune: choose the task's threshold here."""
    predictions = predict(model, task, examples, encoded, tokenizer)
    if tune and hasattr(task, "tune"):
        predictions = task.tune(examples, predictions)
    return task.score(examples, predictions), task.settings
