"""The trainer: from a run's folder to a trained model in it, from the beginning or from the last checkpoint.

There is one path for both. Everything that a step needs is a function of (settings, seed, step), and a
checkpoint adds the weights and what the optimizer remembers. What the clock decides is recorded before the
step that it is about. So a run that was killed at any moment and resumed ends with the same bits as one that
was not.
"""

import sys
import time
from contextlib import closing
from pathlib import Path

from minielectra import backend, objectives
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.initialization import initialize
from minielectra.errors import InputError
from minielectra.pretraining.batches import Batches, held_out_batch, prefetched
from minielectra.pretraining.choose_schedule import choose_schedule
from minielectra.pretraining.evaluation import Evaluator, unigram_loss
from minielectra.pretraining.exported_pair import read_towers
from minielectra.pretraining.fixed_corruption import make_fixed_corruption
from minielectra.pretraining.flops import run_flops, step_flops
from minielectra.pretraining.presets import configure
from minielectra.pretraining.pretraining_config import PretrainingConfig
from minielectra.pretraining.run_bar import RunBar, describe
from minielectra.pretraining.run_clock import now
from minielectra.pretraining.run_data import open_dataset
from minielectra.pretraining.run_settings import RunSettings
from minielectra.pretraining.running_losses import RunningLosses
from minielectra.runs import run_folder
from minielectra.runs.checkpoints import (
    best_of,
    list_checkpoints,
    load_checkpoint,
    newest_whole,
    prune,
    save_checkpoint,
)
from minielectra.runs.detection_records import DetectionLog
from minielectra.runs.metrics_log import MetricsLog
from minielectra.training.engine import make_engine
from minielectra.training.interruptions import Interrupted, interruptible
from minielectra.training.not_finite import advice

EVALUATION_TOKENS = 32768  # size of the evaluation set, if the held-out part has that many


class Trainer:
    """One run: `Trainer(folder).run()` takes it from where it is to its end."""

    def __init__(self, folder, started=None, machine=None, initial=None):
        """folder: a run's, with its run.json.

        started: `run_clock.now()` when a budget of --minutes began; default: now. machine: settings that
        may differ from the run's own, because they change no result. initial: the weights that --init named,
        {name: array}, if they are read already.
        """
        self.folder = Path(folder)
        self.started = now() if started is None else started
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
        self.frequencies = dataset.train.token_counts(len(dataset.tokenizer), self.folder / "data")
        objective.set_noise(self.frequencies, dataset.tokenizer.special_ids)
        self._initialize(objective, dataset)
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

    def _initialize(self, objective, dataset):
        """Weights to start from, or any if there is a checkpoint: it overwrites them."""
        if list_checkpoints(self.folder):
            initialize(objective, self.settings.seed)
        elif self.settings.init:
            if self._initial is None:
                self._initial = read_towers(self.settings.init, self.config)[1]
            objective.parameters.load_state(self._initial)
            self._initial = None
        else:
            initialize(objective, self.settings.seed, dataset.train.tokens)

    def _set_up(self, dataset):
        """Batches, evaluation, logs and the schedule; all of it recorded in run.json and vocab.txt."""
        settings, config, tokenizer = self.settings, self.config, dataset.tokenizer
        # Where indexes into the corpus are kept, so that resuming need not read all of it.
        indexes = self.folder / "data"
        self.batches = Batches(dataset, config, settings.seed, indexes)
        count = max(1, EVALUATION_TOKENS // config.seq_length)
        held_out = held_out_batch(dataset, config, settings.seed, count, indexes)
        fixed = make_fixed_corruption(dataset, self.model_config.max_position_embeddings)
        self.evaluate = Evaluator(self.engine.objective, held_out, settings.seed, self.engine.n_here, fixed)
        self.unigram_entropy = unigram_loss(self.frequencies, held_out, tokenizer.special_ids)
        self.metrics_log = MetricsLog(self.folder)
        self.detection_log = DetectionLog(self.folder, held_out, self.frequencies, tokenizer.special_ids)
        self.schedule, chosen = choose_schedule(
            self.folder, self.info, settings, config, self.evaluate.tokens, self.started
        )
        tokenizer.save(self.folder)
        self.info = run_folder.with_configs(
            self.info,
            self.model_config,
            self.config,
            **chosen,
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
        self.schedule.check_reaches(step)
        self.progress = 0.0  # of the step before
        if step:  # its rate, too, which an evaluation now would report
            before = self.schedule.plan(step - 1)
            self.rate, self.progress = self.schedule.rate(step - 1, before), before.fraction
        batches = prefetched(self.batches, step, self.schedule.steps or sys.maxsize)
        with (
            self._bar(step) as bar,
            interruptible() as stop,
            closing(self.schedule),
            closing(self.detection_log),
            closing(batches),
        ):
            self._evaluate_first(step, bar)
            for batch in batches:
                planned = self.schedule.plan(step)
                batch.progress = planned.fraction
                self._change_stage(planned.fraction)
                self._step(step, batch, self.schedule.rate(step, planned))
                self.flops += sum(step_flops(self.engine.objective, planned.fraction).values())
                step += 1
                bar.moved(planned)
                if planned.evaluate:
                    self._evaluate(step, bar)
                if planned.save or stop.is_set():
                    self._save_in_time(step)
                if planned.last:
                    break
                if stop.is_set():
                    raise Interrupted(step, self.folder)
        if self.schedule.steps is None:
            run_folder.save(self.folder, self.info | {"steps": step})
        return self.metrics_log.rows[-1]

    def _bar(self, step):
        """The bar, which begins by saying what is trained."""
        steps = self.schedule.steps
        number = "" if steps is None else f"{steps - step:,} more " if step else f"{steps:,} "
        about = describe(self.settings.preset, self.engine, self.config, f"{number}steps")
        return RunBar(about, step, self.schedule)

    def _change_stage(self, progress):
        """Begin the second stage, if this step is its first one."""
        if self.progress < self.config.two_stage <= progress:
            self.engine.collect()
            self.engine.objective.begin_second_stage()
            self.engine.spread()
        self.progress = progress

    def _step(self, step, batch, rate):
        config, self.rate = self.config, rate
        result = self.engine.step(batch, self.rate, self.settings.seed, step)
        objective = self.engine.objective
        losses = dict(zip(objective.loss_names, result.losses, strict=True))
        losses = {name: losses[name] for name in objective.computed(batch.progress)}
        if not result.finite:
            found = ", ".join(f"{name} {loss}" for name, loss in losses.items())
            raise InputError(
                f"{self.folder}: a loss or gradient is not finite at step {step + 1} ({found}, gradient norm "
                f"{result.grad_norm}); start a new run, and {advice(config, self.model_config)}"
            )
        self.tokens += int(batch.valid.sum())
        self.running.add(losses)

    def _evaluate_first(self, step, bar):
        """Evaluate before the next step, if nothing was evaluated yet or records were damaged."""
        rows = self.metrics_log.rows
        if self.detection_log.lost and rows and rows[-1]["step"] == step:  # only the record is missing
            _, record = self.evaluate()
            if record is not None:
                self.detection_log.append(step, record)
        elif self.detection_log.lost or not rows:
            self._evaluate(step, bar)

    def _evaluate(self, step, bar):
        begin, worked = now(), time.process_time()
        seconds = time.monotonic() - self.clock
        metrics, record = self.evaluate()
        slowness = (now() - begin) * self.engine.n_here / max(time.process_time() - worked, 1e-6)
        running, rows = self.running, self.metrics_log.rows
        last = {"tokens": 0, "seconds": 0.0} | (rows[-1] if rows else {})
        elapsed = seconds - last["seconds"]
        speed = None
        if running.state and elapsed > 0:
            speed = round((self.tokens - last["tokens"]) / elapsed, 1)
        names = dict.fromkeys(("gen_loss", "disc_loss", *self.engine.objective.loss_names))
        row = {
            "step": step,
            "tokens": self.tokens,
            "seconds": round(seconds, 3),
            "flops": self.flops,
            **metrics,
            "unigram_entropy": self.unigram_entropy,
            **{f"train_{name}": running.mean(name) for name in names},
            "learning_rate": self.rate,
            "tokens_per_second": speed,
        }
        self.running = RunningLosses()
        if record is not None:
            self.detection_log.append(step, record)
        self.metrics_log.append(row)
        self.clock = time.monotonic() - seconds  # the training clock stands still during an evaluation
        bar.evaluated(row, now() - begin)
        self.schedule.evaluated(now() - begin, slowness)

    def _save_in_time(self, step):
        """Save, and note how long that takes."""
        begin = now()
        self.schedule.record.flush()
        self._save(step)
        self.schedule.saved(now() - begin)

    def _save(self, step):
        self.engine.collect()
        for rows, unused in zip(self._rows_beyond_the_vocabulary(), self.unused_rows, strict=True):
            rows[...] = unused  # weight decay has moved them
        if self.unused_rows[0].size:
            self.engine.spread()
        own = score(self.metrics_log.rows)
        state = {
            "tokens": self.tokens,
            "seconds": round(time.monotonic() - self.clock, 3),
            "flops": self.flops,
            "running": self.running.state,
            "score": own,
            "best": best_of(self.folder, step, own),
        }
        save_checkpoint(self.folder, step, self.engine.objective.parameters, self.engine.optimizer, state)
        prune(self.folder, self.settings.keep)

    def _restore(self):
        """Go back to the newest whole checkpoint, if there is one -> the number of steps taken."""
        step, state = 0, {"tokens": 0, "seconds": 0.0, "running": []}
        checkpoint = newest_whole(self.folder, state)
        if checkpoint:
            step, folder = checkpoint
            state = load_checkpoint(folder, self.engine.objective.parameters, self.engine.optimizer)
            self.engine.spread()
            prune(self.folder, self.settings.keep)  # a process that was killed may not have come to it
        self.unused_rows = [rows.copy() for rows in self._rows_beyond_the_vocabulary()]
        for log in (self.metrics_log, self.detection_log):
            log.restore(step if checkpoint else -1)  # what no checkpoint covers is done again
        self.tokens, self.rate = state["tokens"], 0.0
        self.running = RunningLosses(state["running"], self.engine.objective.loss_names)
        self.clock = time.monotonic() - state["seconds"]
        counted = "flops" in state  # earlier versions did not count
        self.flops = state["flops"] if counted else run_flops(self.engine.objective, step)
        return step

    def _rows_beyond_the_vocabulary(self):
        """The rows of word tables that are no word piece's, usually none: for each table, a view of it."""
        parameters, first = self.engine.objective.parameters, len(self.batches.dataset.tokenizer)
        tables = [name for name in parameters if name.endswith("word_embeddings.weight")]
        return [parameters[name].value[first:] for name in tables]


def score(rows):
    """What a checkpoint is judged by, from the evaluations so far -> {"metric", "value", …}, or None.

    It is the AUC of the discriminator, on the fixed corruption if there is one, or else the loss of the
    corrector or of the generator.
    """
    for row in rows[-1:]:
        for metric in ("fixed_auc", "disc_auc", "corrector_loss", "gen_loss"):
            if row.get(metric) is not None:
                value = {"metric": metric, "value": row[metric], "evaluated_at": row["step"]}
                return value | {"higher_is_better": not metric.endswith("loss")}
    return None
