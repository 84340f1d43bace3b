"""The trainer: from a run's folder to a trained model in it, from the beginning or from the last checkpoint.

There is one path for both. Everything that a step needs is a function of (settings, seed, step), and a
checkpoint adds the weights and what the optimizer remembers. So a run that was killed at any moment and
resumed ends with the same bits as one that was not.
"""

import math
import time
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from minielectra import backend, objectives
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.initialization import initialize
from minielectra.errors import InputError
from minielectra.optim.schedule import learning_rate
from minielectra.pretraining.batches import Batches, held_out_batch, prefetched
from minielectra.pretraining.evaluation import Evaluator, unigram_loss
from minielectra.pretraining.exported_pair import read_towers
from minielectra.pretraining.fixed_corruption import make_fixed_corruption
from minielectra.pretraining.presets import configure
from minielectra.pretraining.pretraining_config import PretrainingConfig
from minielectra.pretraining.run_data import open_dataset
from minielectra.pretraining.run_settings import DEFAULT_CHECKPOINTS, DEFAULT_EVALUATIONS, RunSettings
from minielectra.runs import run_folder
from minielectra.runs.checkpoints import list_checkpoints, load_checkpoint, save_checkpoint
from minielectra.runs.detection_records import DetectionLog
from minielectra.runs.metrics_log import MetricsLog
from minielectra.training.engine import make_engine
from minielectra.training.interruptions import Interrupted, interruptible

EVALUATION_TOKENS = 32768  # size of the evaluation set, if the held-out part has that many
CLOSING_SECONDS = 12.0  # what a run of --minutes keeps for its last checkpoint and its pictures
CALIBRATION_STEPS = 30


@dataclass
class RunningLosses:
    """Sums of the training losses since the last evaluation."""

    steps: int = 0
    gen_loss: float = 0.0
    disc_loss: float = 0.0

    def add(self, result):
        """Add a StepResult."""
        self.steps += 1
        self.gen_loss += result.gen_loss
        self.disc_loss += result.disc_loss or 0.0


class Trainer:
    """One run: `Trainer(folder).run()` takes it from where it is to its end."""

    def __init__(self, folder, started=None, machine=None, initial=None):
        """folder: a run's, with its run.json.

        started: time.monotonic() at which a budget of --minutes began; default: now. machine: settings that
        may differ from the run's own, because they change no result. initial: the weights that --init named,
        {name: array}, if they are read already.
        """
        self.folder = Path(folder)
        self.started = time.monotonic() if started is None else started
        self.info = run_folder.load(folder)
        self.settings = RunSettings.from_dict(self.info["settings"] | (machine or {}))
        self._initial = initial

    def run(self):
        """Train to the end -> the last metrics.

        Raises Interrupted on Ctrl-C and the like, after saving; InputError for text that cannot be used or a
        loss that is not finite.
        """
        settings = self.settings
        xp = backend.load(settings.device)
        dataset = self._open_dataset()
        self.model_config, self.config = self._configurations(dataset.tokenizer)
        objective = objectives.make(self.model_config, self.config, xp)
        self._initialize(objective)
        with closing(make_engine(objective, settings.threads, settings.workers)) as self.engine:
            self._set_up(dataset)
            return self._train()

    def _open_dataset(self):
        dataset = open_dataset(self.folder, self.settings)
        fingerprint = dataset.info.get("fingerprint")
        if self.info.get("corpus", {}).get("fingerprint", fingerprint) != fingerprint:
            raise InputError(
                f"{dataset.directory}: not the corpus this run began with; prepare that one again, "
                "or start a new run"
            )
        vocab = self.folder / "vocab.txt"
        known = "config" in self.info and vocab.is_file()
        if known and WordPieceTokenizer.from_file(vocab).vocab != dataset.tokenizer.vocab:
            raise InputError(
                f"{dataset.directory}: has a vocabulary other than {vocab}, with which this run began; "
                "prepare it again with that one, or start a new run"
            )
        return dataset

    def _configurations(self, tokenizer):
        """-> ElectraConfig, PretrainingConfig: those recorded in run.json or, before that, the settings'."""
        if "config" in self.info:
            return run_folder.configs(self.info, ElectraConfig, PretrainingConfig, self.folder)
        fields = self.info.get("fields", self.settings.overrides) | self._vocabulary_fields(tokenizer)
        return configure(self.settings.preset, fields)

    def _vocabulary_fields(self, tokenizer):
        """{field of ElectraConfig: value} that follow from the vocabulary, whatever the preset says.

        Raises InputError if the user wants [PAD] elsewhere.
        """
        size, chosen = len(tokenizer), self.settings.overrides
        if self.settings.init:  # weights with more rows than the vocabulary has pieces keep them
            size = max(size, chosen.get("vocab_size", size))
        elif chosen.get("pad_token_id", tokenizer.pad_id) != tokenizer.pad_id:
            raise InputError(
                f"pad_token_id {chosen['pad_token_id']}: [PAD] has the id {tokenizer.pad_id} in the "
                "vocabulary; leave pad_token_id out"
            )
        return {"vocab_size": size, "pad_token_id": tokenizer.pad_id}

    def _initialize(self, objective):
        """Weights to start from. They are overwritten if there is a checkpoint."""
        if self.settings.init and not list_checkpoints(self.folder):
            if self._initial is None:
                self._initial = read_towers(
                    self.settings.init, self.config.objective, self.config.tie_encoders
                )[1]
            objective.parameters.load_state(self._initial)
            self._initial = None
        else:
            initialize(objective, self.settings.seed)

    def _set_up(self, dataset):
        """Batches, evaluation, logs and the number of steps; all of it recorded in run.json and vocab.txt."""
        settings, config, tokenizer = self.settings, self.config, dataset.tokenizer
        # Where indexes into the corpus are kept, so that resuming need not read all of it.
        indexes = self.folder / "data"
        self.batches = Batches(dataset, config, settings.seed, indexes)
        count = max(1, EVALUATION_TOKENS // config.seq_length)
        held_out = held_out_batch(dataset, config, settings.seed, count, indexes)
        fixed = make_fixed_corruption(dataset, self.model_config.max_position_embeddings)
        self.evaluate = Evaluator(
            self.engine.objective, held_out, settings.seed, self.engine.n_workers, fixed
        )
        frequencies = dataset.train.token_counts(len(tokenizer), indexes)
        self.unigram_entropy = unigram_loss(frequencies, held_out, tokenizer.special_ids)
        self.metrics_log = MetricsLog(self.folder)
        self.detection_log = DetectionLog(self.folder, held_out, frequencies, tokenizer.special_ids)
        self.steps = self.info.get("steps") or settings.steps or self._calibrate(settings.minutes)
        every = self.info.get("every", {})
        self.eval_every = (
            every.get("evaluation") or settings.eval_every or max(1, self.steps // DEFAULT_EVALUATIONS)
        )
        self.checkpoint_every = (
            every.get("checkpoint") or settings.checkpoint_every or max(1, self.steps // DEFAULT_CHECKPOINTS)
        )
        tokenizer.save(self.folder)
        self.info = run_folder.with_configs(
            self.info,
            self.model_config,
            self.config,
            steps=self.steps,
            every={"evaluation": self.eval_every, "checkpoint": self.checkpoint_every},
            corpus={
                "fingerprint": dataset.info.get("fingerprint"),
                "sources": dataset.info.get("sources"),
                "train_tokens": dataset.train.n_tokens,
            },
            lowercase=tokenizer.lowercase,
        )
        run_folder.save(self.folder, self.info)

    def _train(self):
        step = self._restore()
        bar = tqdm(
            total=self.steps, initial=step, unit="step", desc="train", dynamic_ncols=True, smoothing=0.05
        )
        batches = prefetched(self.batches, step, self.steps)
        with bar, interruptible() as stop, closing(self.detection_log), closing(batches):
            if step == 0 and not self.metrics_log.rows:
                self._evaluate(0, bar)
            for batch in batches:
                self._step(step, batch)
                step += 1
                bar.update()
                if step % self.eval_every == 0 or step == self.steps:
                    self._evaluate(step, bar)
                if step % self.checkpoint_every == 0 or step == self.steps or stop.is_set():
                    self._save(step)
                if stop.is_set() and step < self.steps:
                    raise Interrupted(step, self.folder)
        return self.metrics_log.rows[-1]

    def _step(self, step, batch):
        config = self.config
        self.rate = rate_at(step, self.steps, config)
        result = self.engine.step(batch, self.rate, self.settings.seed, step)
        if not result.finite:
            raise InputError(
                f"{self.folder}: a loss or gradient is not finite at step {step + 1} (MLM {result.gen_loss}, "
                f"discriminator {result.disc_loss}, gradient norm {result.grad_norm}); "
                f"start a new run with a lower --set learning_rate (now {config.learning_rate})"
            )
        self.tokens += int(batch.valid.sum())
        self.running.add(result)

    def _evaluate(self, step, bar):
        seconds = time.monotonic() - self.clock
        metrics, record = self.evaluate()
        running, rows = self.running, self.metrics_log.rows
        last = rows[-1] if rows else {"tokens": 0, "seconds": 0.0}
        elapsed = seconds - last["seconds"]
        speed, gen_loss, disc_loss = None, None, None
        if running.steps:
            gen_loss = running.gen_loss / running.steps
            if "discriminator" in self.engine.objective.towers:
                disc_loss = running.disc_loss / running.steps
            if elapsed > 0:
                speed = round((self.tokens - last["tokens"]) / elapsed, 1)
        row = {
            "step": step,
            "tokens": self.tokens,
            "seconds": round(seconds, 3),
            **metrics,
            "unigram_entropy": self.unigram_entropy,
            "train_gen_loss": gen_loss,
            "train_disc_loss": disc_loss,
            "learning_rate": self.rate,
            "tokens_per_second": speed,
        }
        self.running = RunningLosses()
        if record is not None:
            self.detection_log.append(step, record)
        self.metrics_log.append(row)
        bar.set_postfix(progress(row), refresh=False)
        self.clock = time.monotonic() - seconds  # the training clock stands still during an evaluation

    def _save(self, step):
        self._rows_beyond_the_vocabulary()[...] = self.unused_rows  # weight decay has moved them
        state = {
            "tokens": self.tokens,
            "seconds": round(time.monotonic() - self.clock, 3),
            "running": list(astuple(self.running)),
        }
        save_checkpoint(self.folder, step, self.engine.objective.parameters, self.engine.optimizer, state)

    def _restore(self):
        """Go back to the last checkpoint, if there is one -> the number of steps taken."""
        step, state = 0, {"tokens": 0, "seconds": 0.0, "running": []}
        checkpoints = list_checkpoints(self.folder)
        if checkpoints:
            step, folder = checkpoints[-1]
            state = load_checkpoint(folder, self.engine.objective.parameters, self.engine.optimizer)
        self.unused_rows = self._rows_beyond_the_vocabulary().copy()
        for log in (self.metrics_log, self.detection_log):
            log.restore(step if checkpoints else -1)  # what no checkpoint covers is done again
        self.tokens, self.running, self.rate = state["tokens"], RunningLosses(*state["running"]), 0.0
        self.clock = time.monotonic() - state["seconds"]
        return step

    def _rows_beyond_the_vocabulary(self):
        """The rows of the word table that are no word piece's, usually none: a view of the weights."""
        words = self.engine.objective.towers["generator"].embeddings.word.value
        return words[len(self.batches.dataset.tokenizer) :]

    def _calibrate(self, minutes):
        """How many steps fit into a run of so many minutes, from the time of some steps at rate 0 and of an
        evaluation.
        """
        times = []
        begin = time.monotonic()
        for step, batch in enumerate(prefetched(self.batches, 0, CALIBRATION_STEPS)):
            self.engine.step(batch, 0.0, self.settings.seed, step)
            times.append(time.monotonic() - begin)
            begin += times[-1]
        self.engine.optimizer.reset()
        begin = time.monotonic()
        self.evaluate()
        evaluation = time.monotonic() - begin
        spent = time.monotonic() - self.started
        left = minutes * 60 - spent - CLOSING_SECONDS - evaluation * (DEFAULT_EVALUATIONS + 2)
        per_step = float(np.mean(times[CALIBRATION_STEPS // 3 :]))
        return max(10, int(left / per_step))


def rate_at(step, steps, config):
    """The learning rate of update number `step` (from 0) in a run of `steps`. config: PretrainingConfig."""
    warmup = config.warmup_steps or math.ceil(config.warmup_fraction * steps)
    return learning_rate(step, steps, config.learning_rate, warmup)


def progress(row):
    """The figures that matter, for the progress bar."""
    shown = {"MLM": row["gen_loss"], "AUC": row.get("disc_auc"), "recall": row.get("disc_recall")}
    text = {name: f"{value:.3f}" for name, value in shown.items() if value is not None}
    if row["tokens_per_second"]:
        text["tok/s"] = f"{row['tokens_per_second']:,.0f}"
    return text
