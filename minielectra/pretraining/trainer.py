"""The trainer: from a run's folder to a trained model in it, from the beginning or from its last checkpoint.

There is one path for both. Everything a step needs is a function of (settings, seed, step); a checkpoint adds the parameters and
Adam's moments. So a run that was killed at any moment and resumed ends with the same bits as one that was not.
"""

import json
import math
import signal
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from minielectra import backend
from minielectra.electra.initialization import initialize
from minielectra.errors import InputError
from minielectra.formats.exported_pair import read_towers
from minielectra.formats.files import write_text
from minielectra.objectives.electra import ElectraPretraining
from minielectra.optim.schedule import learning_rate
from minielectra.pretraining.batches import Batches, held_out_batch, prefetched
from minielectra.pretraining.evaluation import Evaluator
from minielectra.pretraining.pretraining_config import configure
from minielectra.pretraining.run_data import open_dataset
from minielectra.runs import run_folder
from minielectra.runs.checkpoints import list_checkpoints, load_checkpoint, save_checkpoint
from minielectra.runs.detection_records import DetectionLog
from minielectra.runs.metrics_log import read_metrics
from minielectra.training.step import Trainee

EVALUATION_TOKENS = 32768  # size of the evaluation set, where the held-out part has that many
DEFAULT_EVALUATIONS, DEFAULT_CHECKPOINTS = 30, 8  # in a run, unless --eval-every and --checkpoint-every say otherwise
CLOSING_SECONDS = 12.0  # what a run of --minutes keeps back for its last checkpoint and its pictures
CALIBRATION_STEPS = 30


class Interrupted(Exception):
    """The user pressed Ctrl-C; everything up to `step` is saved in `folder`."""

    def __init__(self, step, folder):
        super().__init__(f"stopped after step {step}; everything is saved in {folder}")
        self.step, self.folder = step, folder


class Trainer:
    """One run: `Trainer(folder).run()` takes it from where it is to its end."""

    def __init__(self, folder, started=None, machine=None):
        """folder: a run's, with its run.json; started: time.monotonic() at which a budget of --minutes began; machine: settings
        that may differ from the run's own, since they change no result (threads, workers)."""
        self.folder = Path(folder)
        self.started = time.monotonic() if started is None else started
        self.info = run_folder.load(folder)
        self.settings = s = self.info["settings"] | (machine or {})
        self.xp = backend.load(s["device"])
        dataset = open_dataset(self.folder, s)
        fingerprint = dataset.info.get("fingerprint")
        if self.info.get("corpus", {}).get("fingerprint", fingerprint) != fingerprint:
            raise InputError(
                f"{dataset.directory}: not the corpus this run began with; prepare that one again, or start a new run"
            )
        overrides = s["overrides"] | {"vocab_size": len(dataset.tokenizer)}
        self.config, self.pretraining = configure(s["preset"], overrides)
        model = ElectraPretraining(self.config, self.pretraining, xp=self.xp)
        if s.get("init") and not list_checkpoints(self.folder):
            model.parameters.load_state(read_towers(s["init"], self.pretraining.objective, self.pretraining.tie_encoders)[1])
        else:
            initialize(model, s["seed"])
        self.trainee = Trainee(model, s["threads"], s.get("workers"))
        indexes = self.folder / "data"  # what is kept of a corpus so that starting again need not read it
        self.batches = Batches(dataset, self.pretraining, s["seed"], indexes)
        count = max(1, EVALUATION_TOKENS // self.pretraining.seq_length)
        held_out = held_out_batch(dataset, self.pretraining, s["seed"], count, indexes)
        self.evaluate = Evaluator(self.trainee.model, held_out, s["seed"], self.trainee.count)
        frequencies = dataset.train.token_counts(len(dataset.tokenizer), indexes)
        special = dataset.tokenizer.special_ids
        self.log = DetectionLog(self.folder / "detection.npz", held_out, frequencies, special)
        self.unigram_entropy = unigram_loss(frequencies, held_out, special)
        dataset.tokenizer.save(self.folder / "vocab.txt")
        corpus = {"fingerprint": fingerprint, "sources": dataset.info.get("sources"), "train_tokens": dataset.train.n_tokens}
        steps = self.info.get("steps") or s["steps"] or self._calibrate(s["minutes"])
        self.info = run_folder.with_configs(
            self.info, self.config, self.pretraining, steps=steps, corpus=corpus, lowercase=dataset.tokenizer.lowercase
        )
        run_folder.save(self.folder, self.info)
        self.steps = steps
        self.eval_every = s["eval_every"] or max(1, steps // DEFAULT_EVALUATIONS)
        self.checkpoint_every = s["checkpoint_every"] or max(1, steps // DEFAULT_CHECKPOINTS)

    def run(self):
        """Train to the end. Returns the last metrics. Raises Interrupted on Ctrl-C, after saving; InputError where a loss is not
        finite."""
        step, state = self._restore()
        self.metrics = read_metrics(self.folder, up_to=step if step else -1)  # what no checkpoint covers is done again
        write_text(self.folder / "metrics.jsonl", "".join(json.dumps(entry) + "\n" for entry in self.metrics))
        self.tokens, self.running = state["tokens"], state["running"]
        self.clock = time.monotonic() - state["seconds"]
        bar = tqdm(total=self.steps, initial=step, unit="step", desc="train", dynamic_ncols=True, smoothing=0.05)
        with bar, interruptible() as stop, closing(prefetched(self.batches, step, self.steps)) as batches:
            if step == 0 and not self.metrics:
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
        return self.metrics[-1]

    def _step(self, step, batch):
        p = self.pretraining
        warmup = p.warmup_steps or math.ceil(p.warmup_fraction * self.steps)
        self.rate = learning_rate(step, self.steps, p.learning_rate, warmup)
        result = self.trainee.step(batch, self.rate, self.settings["seed"], step)
        if not result.finite:
            raise InputError(
                f"{self.folder}: a loss or gradient is not finite at step {step + 1} (MLM {result.gen_loss}, discriminator "
                f"{result.disc_loss}, gradient norm {result.grad_norm}); lower --set learning_rate (now {p.learning_rate}) and "
                "start anew"
            )
        self.tokens += int(batch.valid.sum())
        sums = [self.running[0] + 1, self.running[1] + result.gen_loss, self.running[2] + (result.disc_loss or 0.0)]
        self.running = sums

    def _evaluate(self, step, bar):
        seconds = time.monotonic() - self.clock
        metrics, record = self.evaluate()
        count, gen_loss, disc_loss = self.running
        last = self.metrics[-1] if self.metrics else {"tokens": 0, "seconds": 0.0}
        elapsed = seconds - last["seconds"]
        entry = {
            "step": step, "tokens": self.tokens, "seconds": round(seconds, 3), **metrics,
            "unigram_entropy": self.unigram_entropy,
            "train_gen_loss": gen_loss / count if count else None,
            "train_disc_loss": disc_loss / count if count and self.trainee.model.discriminator else None,
            "learning_rate": getattr(self, "rate", 0.0),
            "tokens_per_second": round((self.tokens - last["tokens"]) / elapsed, 1) if elapsed > 0 and count else None,
        }  # fmt: skip
        self.running = [0, 0.0, 0.0]
        if record is not None:
            self.log.append(step, record)
        self.metrics.append(entry)
        with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        bar.set_postfix(progress(entry), refresh=False)
        self.clock = time.monotonic() - seconds  # the training clock stands still while evaluating

    def _save(self, step):
        seconds = time.monotonic() - self.clock
        state = {"tokens": self.tokens, "seconds": round(seconds, 3), "running": self.running}
        save_checkpoint(self.folder, step, self.trainee, state)

    def _restore(self):
        checkpoints = list_checkpoints(self.folder)
        if not checkpoints:
            return 0, {"tokens": 0, "seconds": 0.0, "running": [0, 0.0, 0.0]}
        step, folder = checkpoints[-1]
        state = load_checkpoint(folder, self.trainee)
        self.log.restore(step)
        return step, state

    def _calibrate(self, minutes):
        """How many steps fit into a run of so many minutes, by timing some at learning rate 0 and an evaluation."""
        seed = self.settings["seed"]
        times = []
        begin = time.monotonic()
        for step, batch in enumerate(prefetched(self.batches, 0, CALIBRATION_STEPS)):
            self.trainee.step(batch, 0.0, seed, step)
            times.append(time.monotonic() - begin)
            begin += times[-1]
        self.trainee.optimizer.reset()
        begin = time.monotonic()
        self.evaluate()
        evaluation = time.monotonic() - begin
        left = minutes * 60 - (time.monotonic() - self.started) - CLOSING_SECONDS - evaluation * (DEFAULT_EVALUATIONS + 2)
        per_step = float(np.mean(times[CALIBRATION_STEPS // 3 :]))
        return max(10, int(left / per_step))


def progress(entry):
    """The figures that matter, for the progress bar."""
    shown = {"MLM": entry["gen_loss"], "AUC": entry.get("disc_auc"), "recall": entry.get("disc_recall")}
    text = {name: f"{value:.3f}" for name, value in shown.items() if value is not None}
    if entry["tokens_per_second"]:
        text["tok/s"] = f"{entry['tokens_per_second']:,.0f}"
    return text


def unigram_loss(counts, batch, special_ids):
    """The MLM loss, in nats, of predicting every held-out token by its frequency in the training text (plus one): the level of
    the plateau on which masked language models start."""
    tokens = batch.input_ids[~np.isin(batch.input_ids, list(special_ids))]
    probability = (counts + 1.0) / (counts + 1.0).sum()
    return float(-np.log(probability[tokens]).mean())


@contextmanager
def interruptible():
    """Within, Ctrl-C and a polite kill (SIGTERM) set the event instead of breaking off in the middle of a step."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handler(*_):
        if stop.is_set():
            sys.exit(130)  # the second Ctrl-C means now
        stop.set()

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
