"""Running an experiment: the folder, the processes, and what is done already.

    OUT/
      experiment.json   which file this is of
      corpus/           the text, prepared once for all runs
      tasks/            the examples of each task, cut once
      runs/NAME/        each pre-training run, as `train` writes it
      results/NAME.json the scores of each run; a run that has one is finished
      table.md, results.json, *.png
      .lock             while a process works in the folder

A run is a process with one BLAS thread (one_run.py). A run that has a result is never repeated; one that was
killed goes on from its checkpoint. If this process is killed, its runs notice, save and end.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

from tqdm import tqdm

from minielectra.backend import usable_cores
from minielectra.data.dataset import layout
from minielectra.data.dataset.prepare import prepare
from minielectra.data.dataset.prepared import Dataset
from minielectra.errors import InputError, shown
from minielectra.experiments.comparison import chosen_values
from minielectra.experiments.comparison_table import write_report
from minielectra.experiments.grid import report_runs, tuning_runs
from minielectra.experiments.one_run import CORPUS, RESULT_FORMAT, TASKS, job_of, result_path, settings_of
from minielectra.experiments.task_data import fingerprint, read_task, write_tasks
from minielectra.formats.files import write_json
from minielectra.formats.json_text import parse_json
from minielectra.formats.locks import claimed, vacant
from minielectra.formats.reading import read_json
from minielectra.training.interruptions import Interrupted, interruptible

FORMAT, FILE = "minielectra-experiment-1", "experiment.json"
SECONDS = 0.2  # between two looks at the processes
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def run_experiment_file(experiment, out, jobs=None):
    """Run what is not finished of an Experiment, and write table and pictures into the folder `out`.

    jobs: runs at the same time; default: one per core. -> the table, as text. Raises InputError for a folder
    that holds something else, and at the end if runs failed; Interrupted on Ctrl-C and the like, after the
    runs have saved.
    """
    out = Path(out)
    report_runs(experiment, {}), tuning_runs(experiment)  # they raise InputError for budgets too small
    found = {name: (task, read_task(name, task)) for name, task in experiment.tasks.items()}
    if not (out / FILE).exists() and not vacant(out):
        raise InputError(f"{out}: exists and holds no experiment; choose another --out")
    with claimed(out), interruptible() as stop:
        experiment = _begin(experiment, out, found)
        runner = _Runner(experiment, out, jobs or usable_cores(), stop)
        tuning = tuning_runs(experiment)
        tried, failed = runner.run_all(tuning)
        _check_all_done(failed)
        chosen = chosen_values(experiment, tuning, tried)
        runs = report_runs(experiment, chosen)
        results, failed = runner.run_all(runs)
        table = write_report(experiment, runs, results, chosen, out)
        _check_all_done(failed)
        return table


def _check_all_done(failed):
    """Raise InputError if runs failed. failed {name: message}."""
    if failed:
        name, problem = next(iter(failed.items()))
        others = f" ({len(failed)} runs failed)" if len(failed) > 1 else ""
        raise InputError(f"{name}: {problem}{others}; the same command tries again")


def _begin(experiment, out, found):
    """Make what all runs share, or check that what is there is of this file.

    -> the Experiment with the size of the vocabulary as it is: a small text may not have as many pieces as
    were asked for. found {name: (TaskSettings, TaskExamples)}.
    """
    path = Path(experiment.file.path).absolute()
    shared = {"corpus": experiment.corpus, "tasks": fingerprint(found), "values": experiment.file.values}
    record = {"format": FORMAT, "file": str(path), "title": experiment.title, **shared}
    if (out / FILE).exists():
        known = read_json(out / FILE, f"{out / FILE}: missing")
        if known.get("format") != FORMAT:
            raise InputError(f"{out}: holds no experiment of this version; choose another --out")
        if known.get("file") != str(path) and known.get("values") != shared["values"]:
            raise InputError(
                f"{out}: holds the experiment of {shown(known.get('file'))}; choose another --out"
            )
        if known.get("tasks") != shared["tasks"]:
            problem = "the examples of its tasks are not those that it began with"
            raise InputError(f"{out}: {problem}; bring them back, or choose another --out")
        vocab_size = known.get("values", {}).get("model", {}).get("vocab_size")
        if known.get("corpus") != shared["corpus"] or vocab_size != experiment.model.get("vocab_size"):
            raise InputError(f"{out}: was begun with another corpus or vocab_size; choose another --out")
    write_json(out / FILE, record)
    if not layout.is_prepared(out / CORPUS):
        size = experiment.configs(experiment.variants[experiment.baseline])[0].vocab_size
        prepare(experiment.corpus, out / CORPUS, size, progress=True)
    if not (out / TASKS).is_dir():
        write_tasks(found, out / TASKS)
    vocab_size = len(Dataset.open(out / CORPUS).tokenizer)
    return experiment._replace(model=experiment.model | {"vocab_size": vocab_size})


class _Runner:
    """Starts the processes of runs, at most so many at a time."""

    def __init__(self, experiment, out, jobs, stop):
        """stop: the event that Ctrl-C and the like set."""
        self.experiment, self.out, self.jobs, self.stop = experiment, out, jobs, stop

    def run_all(self, runs):
        """Take all runs to their ends -> {name: result}, {name: what went wrong}.

        Raises InputError for a problem that all runs would have, such as a full disk; Interrupted if the user
        stopped it.
        """
        waiting, results, failed = [], {}, {}
        for run in runs:
            result = self._finished(run)
            if result is None:
                waiting.append(run)
            else:
                results[run.name] = result
        running = {}
        bar = tqdm(total=len(runs), initial=len(results), desc=self.experiment.title[:40], unit="run")
        with bar, _stopping(running):
            while (waiting or running) and not self.stop.is_set():
                for run in self._ready(waiting, results, failed, self.jobs - len(running)):
                    running[self._start(run)] = run
                self.stop.wait(SECONDS)
                for process in [process for process in running if process.poll() is not None]:
                    run = running.pop(process)
                    problem, everywhere = _problem(process)
                    if problem:
                        failed[run.name] = problem
                        tqdm.write(f"{run.name}: {problem}", file=sys.stderr)
                        if everywhere:
                            raise InputError(f"{run.name}: {problem}; the same command goes on from here")
                    else:
                        results[run.name] = self._finished(run)
                        bar.update()
        if self.stop.is_set():
            raise Interrupted(len(results), self.out)
        return results, failed

    def _job(self, run):
        experiment = self.experiment
        return job_of(self.out, run, experiment.tasks, experiment.finetuning_seeds, experiment.pairs)

    def _finished(self, run):
        """The result of a run, or None. Raises InputError if it is of other settings than the file's."""
        path = result_path(self.out, run.name)
        if not path.exists():
            return None
        result = read_json(path, f"{path}: missing")
        if result.get("format") != RESULT_FORMAT or not isinstance(result.get("scores"), dict):
            raise InputError(f"{path}: damaged; remove it, and the run is scored again")
        wanted = parse_json(json.dumps(settings_of(self._job(run))))
        if (name := _difference(result.get("settings"), wanted)) is not None:
            raise InputError(
                f"{path}: was made with another value of {name} than {self.experiment.file.path} now says; "
                "choose another --out, or remove that file to score the run again"
            )
        return result

    def _ready(self, waiting, results, failed, count):
        """Take up to `count` runs that can start out of `waiting` -> list of Run.

        A run that scores another's model waits for that one; it fails with it.
        """
        ready = []
        for run in list(waiting):
            if run.trained_as in failed:
                waiting.remove(run)
                failed[run.name] = f"{run.trained_as} failed"
            elif len(ready) < count and (run.trained_as is None or run.trained_as in results):
                waiting.remove(run)
                ready.append(run)
        return ready

    def _start(self, run):
        """Start the process of a run -> Popen."""
        environment = os.environ | dict.fromkeys(THREADS, "1")
        own_group = {"start_new_session": True}  # Ctrl-C is for this process, which tells the others
        if os.name == "nt":
            own_group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        process = subprocess.Popen(
            [sys.executable, "-m", "minielectra.experiments.one_run"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
            **own_group,
        )
        with contextlib.suppress(OSError):  # it ended at once; its status says so
            process.stdin.write(json.dumps(self._job(run)) + "\n")
            process.stdin.flush()
        return process


@contextlib.contextmanager
def _stopping(running):
    """When the block ends, in whatever way, ask the processes that still run to save, and wait for them."""
    try:
        yield
    finally:
        for process in running:
            with contextlib.suppress(OSError):
                process.stdin.close()
        for process in running:
            process.wait()


def _problem(process):
    """Why a process that has ended failed -> (message or None, whether other runs would fail, too)."""
    with contextlib.suppress(OSError):
        process.stdin.close()
    with process.stdout, process.stderr:
        said, errors = process.stdout.read(), process.stderr.read()
    if process.returncode == 0:
        return None, False
    with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
        message = json.loads(said.splitlines()[-1])
        return message["problem"], message["everywhere"]
    last = (errors.strip().splitlines() or ["it said nothing"])[-1]
    return f"its process ended with status {process.returncode} ({shown(last, 200)})", False


def _difference(own, wanted):
    """The name of a setting that differs between two records of settings, or None. Causes come first."""
    if not isinstance(own, dict) or not isinstance(wanted, dict):
        return "record" if own != wanted else None
    names = sorted(own.keys() | wanted.keys(), key=lambda name: not isinstance(wanted.get(name), dict))
    for name in names:
        if own.get(name) != wanted.get(name):
            nested = isinstance(own.get(name), dict) and isinstance(wanted.get(name), dict)
            return _difference(own[name], wanted[name]) if nested else name
    return None
