"""The fine-tuning loop: one seed, from a new head to the parameters with the best development score."""

from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from minielectra.backend import Purpose, to_host
from minielectra.errors import InputError
from minielectra.finetuning.sequences import epoch_batches, pad_batch
from minielectra.nn.inference import logits_of
from minielectra.optim.schedule import learning_rate
from minielectra.training.engine import make_engine
from minielectra.training.not_finite import advice

EVALUATIONS = 10  # per training, at least: enough for a learning curve


class LabelledSet(NamedTuple):
    """Examples with the sequences they were encoded to."""

    examples: list
    encoded: list  # of Encoded, at least one per example


@dataclass
class SeedResult:
    """What training with one seed led to."""

    seed: int
    history: list  # of {"epoch", "step", "loss", scores on the development set …}, one entry per evaluation
    best: dict  # the entry of `history` with the best main score
    flat: np.ndarray | None  # [P] the parameters at that evaluation, on the host; None: not kept
    task_settings: dict  # `task.settings` at that evaluation, with what was tuned


@dataclass
class Standing:
    """Where training with one seed stands; the engine has the weights and what the optimizer remembers."""

    seed: int
    step: int  # steps done
    history: list  # see SeedResult
    losses: list  # of the steps since the last evaluation
    best: SeedResult | None  # so far


class Plan(NamedTuple):
    """How long to train, and when to evaluate. Steps count from 0."""

    steps_per_epoch: int
    steps: int
    warmup: int  # steps
    evaluate_every: int  # steps, within an epoch

    def evaluates_after(self, step):
        """Whether an evaluation follows: regularly, at the end of an epoch, and at the end."""
        done = step % self.steps_per_epoch + 1
        left = self.steps_per_epoch - done
        soon = left + 1 <= self.evaluate_every // 2  # the evaluation at the end of the epoch is near
        regular = done % self.evaluate_every == 0 and not soon
        return regular or left == 0 or step + 1 == self.steps


def make_plan(config, n_train, n_dev):
    """The Plan for `n_train` sequences to train on and `n_dev` to evaluate on."""
    steps_per_epoch = -(-n_train // config.batch_size)
    steps = max(1, round(config.epochs * steps_per_epoch))
    evaluations = -(-EVALUATIONS // max(1, round(config.epochs)))  # per epoch
    every = steps_per_epoch // max(1, evaluations)
    every = max(every, n_dev // config.batch_size, 1)  # so that evaluating takes less than half of the time
    return Plan(steps_per_epoch, steps, round(config.warmup_fraction * steps), min(steps_per_epoch, every))


def finetune(
    objective, task, train, dev, tokenizer, seed, threads=None, progress=True, label="", keeper=None
):
    """Train a FinetuningObjective -> SeedResult.

    train: list of Encoded; dev: LabelledSet, which chooses the best evaluation (a NaN counts as the worst
    score); label: what the progress bar says; keeper: a `finetuning.unfinished.Keeper`, which saves now and
    then, and brings back what an earlier process saved. Raises InputError if the loss stops being a finite
    number, and what the keeper raises.
    """
    config = objective.config
    plan, main_metric = make_plan(config, len(train), len(dev.encoded)), task.metrics[0]
    lengths = [len(sequence.ids) for sequence in train]
    with closing(make_engine(objective, threads)) as engine:
        now = Standing(seed, 0, [], [], None)
        if keeper is not None:
            now = keeper.restore(engine, now)
        batches = None  # of the epoch; they follow from the seed and its number
        bar = tqdm(total=plan.steps, initial=now.step, desc=label, unit="step", disable=not progress)
        with bar:
            while now.step < plan.steps:
                if keeper is not None:
                    keeper.save_if_due(engine, now, plan.steps)
                epoch, place = divmod(now.step, plan.steps_per_epoch)
                if place == 0 or batches is None:
                    order = np.random.default_rng([seed, Purpose.EPOCH_ORDER, epoch])
                    batches = epoch_batches(lengths, config.batch_size, order)
                batch = pad_batch([train[i] for i in batches[place]], tokenizer.pad_id)
                rate = learning_rate(now.step, plan.steps, config.learning_rate, plan.warmup)
                result = engine.step(batch, rate, seed, now.step)
                if not result.finite:
                    raise InputError(
                        f"the loss is not finite at step {now.step + 1} of seed {seed}; {advice(config)}"
                    )
                now.losses.append(result.losses[0])
                now.step += 1
                bar.update()
                if plan.evaluates_after(now.step - 1):
                    scores = evaluate(engine.objective.model, task, dev, tokenizer, tune=True)
                    reached = {"epoch": now.step / plan.steps_per_epoch, "step": now.step}
                    now.history.append({**reached, "loss": float(np.mean(now.losses)), **scores})
                    now.losses = []
                    if now.best is None or better(scores, now.best.best, main_metric):
                        flat = to_host(engine.objective.parameters.flat).copy()
                        now.best = SeedResult(seed, now.history, now.history[-1], flat, task.settings)
                    _show(bar, now.history[-1], main_metric, now.best)
    return now.best


def predict(model, task, examples, encoded, tokenizer):
    """A head model's predictions -> list, one per example, as the task's `decode` makes them."""
    ids, segments = [sequence.ids for sequence in encoded], [sequence.segments for sequence in encoded]
    return task.decode(logits_of(model, ids, tokenizer.pad_id, segments), encoded, examples)


def evaluate(model, task, labelled, tokenizer, tune=False):
    """A head model's scores on a LabelledSet -> {metric: value}. tune: whether to fit the threshold first."""
    predictions = predict(model, task, *labelled, tokenizer)
    if tune:
        predictions = task.tune(labelled.examples, predictions)
    return task.score(labelled.examples, predictions)


def better(scores, others, metric):
    """Whether `scores` are better than `others`, both {metric: value}. NaN is the worst score."""
    first, second = (float(np.nan_to_num(found[metric], nan=-np.inf)) for found in (scores, others))
    return first > second


def _show(bar, entry, metric, best):
    shown = {"loss": entry["loss"], metric: entry[metric], "best": best.best[metric]}
    bar.set_postfix({name: f"{value:.3f}" for name, value in shown.items()})
