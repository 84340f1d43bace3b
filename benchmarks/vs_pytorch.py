"""Time minielectra against PyTorch: training steps or inference, each contender in its own process, in turn.

python benchmarks/vs_pytorch.py --rounds 10 --picture speed.png
python benchmarks/vs_pytorch.py --check                   # do they compute the same?
python benchmarks/vs_pytorch.py --inference --sizes S
"""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import report
from benchmarks.check import check
from benchmarks.contenders import parse
from benchmarks.settings import INFERENCE_CASES, SIZES, Setting
from benchmarks.workers import Crew, spinning, use_cores

DEFAULTS = {
    "cpu": ["minielectra", "lean", "lean-bytes", "transformers"],
    "gpu": [
        "minielectra",
        "lean",
        "lean-compiled",
        "lean-tf32",
        "lean-compiled-tf32",
        "lean-bf16",
        "lean-compiled-bf16",
    ],
}
# A failure of one of these fails the whole; others are tried
EXPECTED = (
    "minielectra",
    "lean",
    "transformers",
)
GPU_PROBE = """
from minielectra import backend, errors
try:
    backend.load("gpu")
except errors.InputError as error:
    raise SystemExit(str(error))
"""


def arguments(argv=None):
    """The command line -> namespace."""
    listed = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = listed.add_argument
    add(
        "--sizes",
        type=_list(_size),
        default=list(SIZES),
        help="S: ELECTRA-small, 16 × 128; T: 4 layers × 128, 32 × 64 (default: both)",
    )
    add(
        "--dropout", type=_list(float), default=[0.0, 0.1], help="probabilities, with commas (default: 0,0.1)"
    )
    add("--rounds", type=int, default=8, help="turns of every contender (default: 8)")
    add("--steps-per-round", type=int, default=3, help="timed steps of one turn (default: 3)")
    add("--threads", type=int, default=2, help="cores for every contender (default: 2)")
    add(
        "--contenders",
        type=_list(_name),
        help="minielectra[:ENGINE], lean, transformers, with -bytes, -compiled, -tf32, -bf16 behind",
    )
    add(
        "--inference",
        action="store_true",
        help="time the discriminator's forward pass instead of training steps",
    )
    add("--check", action="store_true", help="time nothing; compare loss, gradients and logits instead")
    add("--busy", action="store_true", help="measure again while another process spins on one core")
    add("--device", choices=("cpu", "gpu"), default="cpu")
    for kind in ("json", "markdown", "picture"):
        add(f"--{kind}", metavar="FILE", help=f"write the result as {kind} too")
    return listed.parse_args(argv)


def _list(kind):
    def convert(text):
        try:
            return [kind(part) for part in text.split(",")]
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _size(text):
    if text not in SIZES:
        raise ValueError(f"unknown size {text!r}: choose from {', '.join(SIZES)}")
    return text


def _name(text):
    parse(text)
    return text


def training(a):
    """-> [Result], {library: version}"""
    results, versions = [], {}
    for size in a.sizes:
        for dropout in a.dropout:
            setting = Setting(size, dropout, a.threads, a.device)
            # without dropout, lean-bytes is lean
            names = a.contenders or [n for n in DEFAULTS[a.device] if dropout or n != "lean-bytes"]
            with Crew(names, setting) as crew:
                own = _results(crew, setting.title, setting.flops())
                for worker, answer in crew.ask("train"):
                    own[worker].before_mb = answer["before_mb"]
                _measure(crew, own, "run", a)
                for worker, answer in crew.ask("memory"):
                    own[worker].peak_mb = answer["peak_mb"]
                _collect(crew, own, results, versions)
    return results, versions


def inference(a):
    """-> [Result], {library: version}"""
    results, versions = [], {}
    for size in a.sizes:
        setting = Setting(size, 0.0, a.threads, a.device)
        names = a.contenders or [name for name in DEFAULTS[a.device] if name != "lean-bytes"]
        with Crew(names, setting) as crew:
            for case, title in INFERENCE_CASES.items():
                own = _results(crew, f"{size}: {title}")
                for worker, answer in crew.ask("plan", case=case):
                    own[worker].how = answer["how"]
                _measure(crew, own, "score", a)
                _collect(crew, own, results, versions)
    return results, versions


def _results(crew, title, flops=None):
    return {worker: report.Result(title, worker.name, flops=flops) for worker in crew.all}


def _measure(crew, own, do, a):
    """Fill the rounds of `own` {worker: Result}, and with --busy the others."""
    for busy in (False, True) if a.busy else (False,):
        with spinning() if busy else contextlib.nullcontext():
            title = next(iter(own.values())).setting + (", busy" if busy else "")
            answers = crew.rounds(
                a.rounds,
                do,
                lambda turn, title=title: _progress(title, turn, a.rounds),
                count=a.steps_per_round,
            )
        for worker, rounds in answers.items():
            times = [answer["ms"] for answer in rounds]
            if worker.failure is None and busy:
                own[worker].busy_rounds = times
            elif worker.failure is None:
                own[worker].rounds = times


def _progress(title, turn, rounds):
    if sys.stderr.isatty():
        print(
            f"\r\x1b[K{title}: round {turn + 1} of {rounds}",
            end="" if turn + 1 < rounds else "\r\x1b[K",
            file=sys.stderr,
            flush=True,
        )


def _collect(crew, own, results, versions):
    for worker, result in own.items():
        result.failure = worker.failure
        results.append(result)
        versions |= worker.versions


def run_check(a):
    """Print how far every contender is from minielectra -> exit code."""
    rows, ok = [], True
    for size in a.sizes:
        for padded in (False, True):
            names = a.contenders or ["minielectra", "lean", "transformers"]
            own, agree = check(names, Setting(size, 0.0, a.threads, a.device), padded)
            rows, ok = rows + own, ok and agree
    print(report.markdown(rows))
    return 0 if ok else 1


def main(argv=None):
    """-> exit code: 0; 1 if a contender that is expected to work failed; 2 if the device cannot be used."""
    a = arguments(argv)
    cores = use_cores(a.threads if a.device == "cpu" else 10**6)
    if a.device == "gpu":
        probe = subprocess.run(
            [sys.executable, "-c", GPU_PROBE],
            cwd=Path(__file__).resolve().parents[1],
            stderr=subprocess.PIPE,
            text=True,
        )
        if probe.returncode:
            print((probe.stderr.strip().splitlines() or ["no usable GPU"])[-1], file=sys.stderr)
            return 2
    if a.check:
        return run_check(a)
    results, versions = (inference if a.inference else training)(a)
    line = report.machine(cores, a.threads, versions)
    text = f"{line}\n\n{report.table(results)}\n"
    print(text)
    if a.markdown:
        Path(a.markdown).write_text(text, encoding="utf-8")
    if a.json:
        settings = {
            key: value for key, value in vars(a).items() if key not in ("json", "markdown", "picture")
        }
        content = {"machine": line, "settings": settings, "results": [result.as_dict() for result in results]}
        Path(a.json).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if a.picture:
        what = "Inference: the discriminator" if a.inference else "One ELECTRA training step"
        report.picture(results, line, a.picture, what)
    return int(any(result.failure for result in results if result.contender in EXPECTED))


if __name__ == "__main__":
    # as Ctrl-C, so that `timeout` and `kill` leave nothing running either
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; every worker is ended", file=sys.stderr)
        sys.exit(130)
