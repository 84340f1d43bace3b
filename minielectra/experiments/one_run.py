"""One run of an experiment, in a process of its own: pre-train, then score.

    python -m minielectra.experiments.one_run < job

The job is one line of JSON; grid_runner.py writes it. Standard input then stays open: when it closes, because
the parent was stopped or killed, the run saves a checkpoint and ends. What went wrong is printed as one line
of JSON. The exit status is 0, 130 if it was stopped, or 2 for a problem.
"""

import _thread
import contextlib
import dataclasses
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from minielectra import backend
from minielectra.errors import InputError, reason
from minielectra.experiments import model_scores
from minielectra.experiments.experiment_file import PairSettings
from minielectra.experiments.grid import Run
from minielectra.experiments.task_data import TaskSettings
from minielectra.finetuning.backbone import Backbone, read_backbone, untrained
from minielectra.formats.files import make_folder, write_text
from minielectra.formats.json_text import json_text
from minielectra.formats.locks import LOCK_NAME, locked
from minielectra.pretraining.load import load_pretraining
from minielectra.pretraining.presets import configure
from minielectra.pretraining.run_data import read_tokenizer
from minielectra.pretraining.run_settings import RunSettings
from minielectra.pretraining.start import resume_run, start_run
from minielectra.runs import run_folder
from minielectra.runs.checkpoints import prune
from minielectra.training.interruptions import Interrupted

RESULT_FORMAT = "minielectra-experiment-result-1"
CORPUS, TASKS, RUNS, RESULTS = "corpus", "tasks", "runs", "results"  # folders in that of the experiment
EVALUATIONS = 4  # of a run
PATIENCE = 120.0  # seconds that an orphan of a killed experiment has to save and end


def job_of(folder, run, tasks, finetuning_seeds, pairs):
    """What the process is told -> JSON-able dict. tasks {name: TaskSettings}; pairs: PairSettings or None."""
    used = {name: task for name, task in tasks.items() if task.selection == run.selection}
    return {
        "folder": str(folder),
        "run": dataclasses.asdict(run),
        "tasks": {name: dataclasses.asdict(task) for name, task in used.items()},
        "finetuning_seeds": list(finetuning_seeds),
        "pairs": None if pairs is None or run.selection or run.trained_as else dataclasses.asdict(pairs),
    }


def settings_of(job):
    """What of a job decides its result: a finished result is used again if these are the same."""
    tasks = {
        name: {key: value for key, value in task.items() if key not in ("train", "test")}
        for name, task in job["tasks"].items()
    }
    return {name: job[name] for name in ("run", "finetuning_seeds", "pairs")} | {"tasks": tasks}


def result_path(folder, name):
    """Where the result of the run `name` is; it is there as a whole or not at all."""
    return Path(folder) / RESULTS / f"{name}.json"


def do(job):
    """Take a run to its end, from where it is, and write its result. Raises InputError and Interrupted."""
    folder, run = Path(job["folder"]), Run(**job["run"])
    begin = time.monotonic()
    place = folder / RUNS / (run.trained_as or run.name)
    seconds = 0.0
    if run.steps:
        _wait_for_orphan(place)
        seconds = _pretrain(folder, place, run)
    scores = _score(folder, place, run, job)
    total = time.monotonic() - begin
    result = {"format": RESULT_FORMAT, "settings": settings_of(job), "metrics": _last_metrics(place, run)}
    result |= {"pretraining_seconds": round(seconds, 1), "seconds_of_this_process": round(total, 1)}
    make_folder(folder / RESULTS)
    write_text(result_path(folder, run.name), json_text(result | {"scores": scores}, indent=1) + "\n")
    if run.steps:
        prune(place, 1)


def _pretrain(folder, place, run):
    """Start or resume a pre-training run -> seconds of training, all processes together."""
    settings = RunSettings(
        preset=run.preset,
        corpus=[str(folder / CORPUS)],
        steps=run.steps,
        eval_every=-(-run.steps // EVALUATIONS),
        keep=2,
        seed=run.seed,
        threads=1,
        workers="plain",
        overrides=run.overrides,
    )
    if not (place / "run.json").exists():
        metrics = start_run(settings, place)[1]
        return metrics["seconds"]
    own, wanted = run_folder.load(place)["settings"], settings.to_dict()
    for name in ("preset", "steps", "seed", "overrides"):
        if own.get(name) != wanted[name]:
            raise InputError(
                f"{place}: was begun with {name} {own.get(name)}, but the file now says {wanted[name]}; "
                "choose another --out, or remove that folder"
            )
    return resume_run(place, {}, {})[1]["seconds"]


def _score(folder, place, run, job):
    """All scores of a run -> JSON-able dict."""
    tasks = {name: TaskSettings(**values) for name, values in job["tasks"].items()}
    if run.budget:
        backbone = read_backbone(str(place))
    else:
        tokenizer = read_tokenizer(RunSettings(vocab=str(folder / CORPUS)))
        fields = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_id}
        model_config, config = configure(run.preset, run.overrides | fields)
        backbone = untrained(Backbone(model_config, {}, tokenizer, config), run.seed)
    found = {"finetuned": {}, "frozen": {}}
    for name, settings in tasks.items():
        if settings.finetuned:
            found["finetuned"][name] = [
                model_scores.finetuned_score(backbone, name, settings, folder / TASKS, run.finetuning, seed)
                for seed in job["finetuning_seeds"]
            ]
        if settings.frozen and not run.trained_as and not run.selection:
            metric, layers = model_scores.frozen_scores(backbone, name, settings, folder / TASKS)
            found["frozen"][name] = {"metric": metric, "layers": layers}
    if job["pairs"] and run.budget:
        objective, tokenizer = load_pretraining(place)
        found["pairs"] = model_scores.pair_scores(objective, tokenizer, PairSettings(**job["pairs"]).per_kind)
    return found


def _last_metrics(place, run):
    """The last line of metrics.jsonl, for the record."""
    from minielectra.runs.metrics_log import read_metrics

    return (read_metrics(place) or [{}])[-1] if run.budget else {}


def _wait_for_orphan(place):
    """Wait until nobody works in the run's folder: the process of a killed experiment may still be saving."""
    until = time.monotonic() + PATIENCE
    while place.is_dir():
        try:
            with locked(place / LOCK_NAME, place):
                return
        except InputError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def _follow(stream):
    """Interrupt this process when `stream` ends."""
    while stream.read(1):
        pass
    _thread.interrupt_main()


def main():
    """Do the job on standard input -> exit status."""
    backend.set_blas_threads(1)
    job = json.loads(sys.stdin.readline())
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may ignore it, as under nohup
    threading.Thread(target=_follow, args=(sys.stdin,), daemon=True).start()
    status, message = 2, None
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            do(job)
        status = 0
    except (Interrupted, KeyboardInterrupt):
        status = 130
    except InputError as error:
        message = {"problem": str(error), "everywhere": False}
    except OSError as error:  # a full disk: the other runs would find it full, too
        where = f"{error.filename}: " if error.filename else ""
        message = {"problem": f"{where}{reason(error)}", "everywhere": True}
    except MemoryError:
        message = {"problem": "there is not enough memory; use fewer --jobs", "everywhere": True}
    if message:
        print(json_text(message), flush=True)
    return status


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # the thread that reads standard input would keep it open
