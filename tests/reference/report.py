"""`python -m tests.reference.report`: measures everything again, writes docs/correctness.md and the short table in README.md.

Takes two minutes. The same versions on the same machine give the same figures but for last digits.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from minielectra import backend
from minielectra.data.wordpiece.tokenizer import WordPieceTokenizer
from minielectra.errors import InputError
from minielectra.gradcheck import checker as gradcheck
from minielectra.pretraining.pretraining_config import PRESETS

from . import checks, round_trips
from .mutation import CHECKS
from .test_finetuning import CASES, first_steps, loss_and_gradients
from .test_mutations import MUTANTS, seen_by_finite_differences
from .test_towers import KINDS, preset_config
from .test_training import OPTIMIZERS

ROOT = Path(__file__).resolve().parents[2]
MARKERS = ("<!-- correctness -->", "<!-- /correctness -->")
SECTION = "## What is where"  # in README.md, before which the table goes when its markers are not there yet


def table(header, rows):
    """Markdown. header: column titles; rows: tuples of strings."""
    lines = (f"| {' | '.join(line)} |" for line in (header, *rows))
    return "\n".join([next(lines), "|---" * len(header) + "|", *lines])


def figure(value):
    """An error as text, one digit: 3e-7, 0.02, 41."""
    if not np.isfinite(value):
        return "∞"
    text = f"{value:.0f}" if value >= 1 or value == 0 else f"{value:.1g}"
    return text.replace("e-0", "e-")


def device():
    """(CuPy or None, the sentence about it)."""
    try:
        return backend.load("gpu"), "The CuPy columns were computed on a GPU, the rest on the CPU."
    except InputError:
        return None, "No GPU was at hand when this was written: the CuPy columns are missing."


def joint_section(xp):
    """(Markdown of the tensor-by-tensor table, {column: worst error})."""
    columns = {
        "NumPy, float64": checks.joint_errors(dtype=np.float64),
        "NumPy, float32": checks.joint_errors(dtype=np.float32),
        "NumPy, finite differences": checks.difference_errors(),
    }
    if xp is not None:
        columns |= {
            "CuPy, float64": checks.joint_errors(dtype=np.float64, xp=xp),
            "CuPy, float32": checks.joint_errors(dtype=np.float32, xp=xp),
            "CuPy, finite differences": checks.difference_errors(xp=xp),
        }
    names = [name for name in columns["NumPy, float64"] if not name.endswith("loss")]
    rows = [(f"`{name}`", *(figure(errors[name]) for errors in columns.values())) for name in names]
    worst = {column: checks.worst(errors)[1] for column, errors in columns.items()}
    rows.append(("**worst**", *(f"**{figure(error)}**" for error in worst.values())))
    return table(("tensor", *columns), rows), worst


def losses_section():
    """(Markdown of the two losses by themselves)."""
    rows = []
    for objective in ("electra", "mlm"):
        settings = replace(checks.SETTINGS, objective=objective)
        both = [checks.joint_errors(settings=settings, dtype=dtype) for dtype in checks.TOLERANCE]
        rows += [(objective, name, *(figure(errors[name]) for errors in both)) for name in both[0] if name.endswith("loss")]
    return table(("objective", "loss", "float64", "float32"), rows)


def towers_section():
    """(Markdown, {precision: worst error}) of the presets' widths."""
    rows, worst = [], dict.fromkeys(checks.TOLERANCE, 0.0)
    for preset in PRESETS:
        for kind in KINDS:
            config = preset_config(preset, kind)
            cells = []
            for dtype in worst:
                name, error = checks.worst(checks.tower_errors(kind, config, dtype, count=2, length=19))
                worst[dtype] = max(worst[dtype], error)
                cells.append(f"{figure(error)} `{name.removeprefix('electra.')}`")
            sizes = (config.vocab_size, config.embedding_size, config.hidden_size, config.num_hidden_layers)
            rows.append((preset, "generator" if kind == KINDS[0] else "discriminator", *map(str, sizes), *cells))
    header = ("preset", "tower", "V", "E", "H", "layers", "float64, worst tensor", "float32, worst tensor")
    return table(header, rows), worst


def training_section():
    """(Markdown, {(optimiser, dtype): Trajectory})."""
    found = {
        (name, dtype): checks.training_trajectory(settings=settings, dtype=dtype)
        for name, settings in OPTIMIZERS.items()
        for dtype in checks.TOLERANCE
    }
    exact = found["electra", np.float64]
    steps = [
        (str(step), f"{ours[0]:.12f}", f"{theirs[0]:.12f}", f"{ours[1]:.12f}", f"{theirs[1]:.12f}", f"{theirs[2]:.2f}")
        for step, (ours, theirs) in enumerate(zip(exact.ours, exact.theirs, strict=True))
    ]
    header = ("step", "generator's loss, here", "PyTorch", "discriminator's loss, here", "PyTorch", "gradient's norm")
    rows = []
    for (name, dtype), trajectory in found.items():
        errors = trajectory.errors
        losses = max(error for key, error in errors.items() if key not in trajectory.weights)
        keys = [error for key, error in trajectory.weights.items() if key.endswith(".key.bias")]
        others = {key: error for key, error in trajectory.weights.items() if not key.endswith(".key.bias")}
        where, error = checks.worst(others)
        rows.append((name, dtype.__name__, figure(losses), f"{figure(error)} `{where}`", figure(max(keys))))
    summary = table(("optimiser", "precision", "worst loss or norm", "worst weight", "worst key bias"), rows)
    return f"{table(header, steps)}\n\n{summary}", found


def finetuning_section():
    """(Markdown, {precision: worst error of a loss or gradient}, worst error of six steps)."""
    rows, gradients, steps = [], dict.fromkeys(checks.TOLERANCE, 0.0), 0.0
    for case in CASES:
        cells = []
        for dtype in gradients:
            name, error = checks.worst(loss_and_gradients(case, dtype))
            gradients[dtype] = max(gradients[dtype], error)
            cells.append(f"{figure(error)} `{name.removeprefix('electra.')}`")
        losses, moved = first_steps(case)
        name, error = checks.worst(losses | moved)
        steps = max(steps, error)
        rows.append((case, *cells, f"{figure(error)} `{name.removeprefix('electra.')}`"))
    return table(("head", "float64, worst tensor", "float32, worst tensor", "six steps, float64"), rows), gradients, steps


def round_trips_section():
    """(Markdown, worst absolute difference of a logit or None where there is no data)."""
    if reason := round_trips.missing_data():
        return f"Not measured: {reason.split(';')[0].split('/')[-1]} is missing.", None
    tokenizer = WordPieceTokenizer.from_file(round_trips.VOCABULARY)
    rows, worst = [], 0.0
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            batch = round_trips.encode(tokenizer, round_trips.sentences())
            found, seconds, problems = round_trips.differences(kind, round_trips.small_config(kind), batch, folder)
            tokenizer.save(folder / "ours")
            first = round_trips.contents(folder / "ours")
            same = round_trips.resaved(kind, folder / "ours", folder / "again") == first
        worst = max(worst, *found.values())
        here, there = (figure(found[way]) for way in ("opened here", "opened there"))
        rows.append((f"`{kind}`", here, there, str(problems or "none"), "yes" if same else "NO", f"{seconds:.2f} s"))
    header = ("model", "saved there, opened here", "saved here, opened there", "missing or unexpected keys",
              "saved again: same bytes", "opened here in")  # fmt: skip
    return table(header, rows), worst


def mutants_section():
    """(Markdown, number caught, number hidden from finite differences)."""
    rows, caught, hidden = [], 0, 0
    for mutant in MUTANTS:
        with pytest.MonkeyPatch.context() as patch:
            mutant.patch(patch)
            measure, limit = CHECKS[mutant.check]
            name, error = checks.worst(measure())
            seen = seen_by_finite_differences()
        caught += not error <= limit
        hidden += not seen
        rows.append((mutant.name, mutant.check, f"`{name}`", figure(error), figure(limit), "yes" if seen else "no"))
    header = ("mutant", "check that caught it", "worst figure", "error", "limit", "gradient check sees it")
    return table(header, rows), caught, hidden


def write_readme(rows):
    """Put the short table between the markers in README.md, and the markers there where they are missing."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    body = f"""{MARKERS[0]}
The model, its gradients and its training (without dropout) are computed a second time by PyTorch and `transformers`, with the same
weights, and compared tensor by tensor; every gradient also with finite differences. The whole account is
[docs/correctness.md](docs/correctness.md).

{table(("compared", "worst relative error", "tolerance"), rows)}
{MARKERS[1]}"""
    if MARKERS[0] in text:
        before, rest = text.split(MARKERS[0])
        text = before + body + rest.split(MARKERS[1])[1]
    else:
        before, rest = text.split(SECTION)
        text = f"{before}## Correct to the last digit\n\n{body}\n\n{SECTION}{rest}"
    path.write_text(text, encoding="utf-8")


def main():
    xp, sentence = device()
    tensors, joint = joint_section(xp)
    towers, widths = towers_section()
    steps, trajectories = training_section()
    heads, tuned, tuning = finetuning_section()
    trips, logits = round_trips_section()
    mutants, caught, hidden = mutants_section()
    python = ".".join(map(str, sys.version_info[:3]))
    versions = f"Python {python}, NumPy {np.__version__}, PyTorch {torch.__version__}, transformers {transformers.__version__}"
    c = checks.CONFIG
    document = f"""# Correct to the last digit

Written by `python -m tests.reference.report`, which measures everything anew; `python -m pytest tests/reference` holds the same
figures against tolerances. {versions}.

## What is compared with what

minielectra computes with NumPy and derives every gradient by hand. Its *twin* is PyTorch: `transformers`' ELECTRA models with our
weights copied in (eager attention), one embeddings module shared by both towers, the losses and the optimiser written down from
their definitions. Nothing is shared but parameter names, configurations and the batch. The gradients are PyTorch's autograd.

The **relative error** of a tensor is ‖ours − theirs‖ / ‖theirs‖, for each tensor on its own, so that a mistake in one bias cannot
hide behind a large matrix. float64 shows that the mathematics is the same: its rounding is 1e-16, and what is left after some
hundred operations is near 1e-15. float32 is what training uses: its rounding is 6e-8, on both sides. Weights are random and
nothing is neutral (LayerNorm's γ ≠ 1, biases ≠ 0, all dimensions different); sequences are padded, have several segments, repeat
words, and leave some of the chosen slots unused.

One gradient is zero by algebra, that of the key biases (they add one number to all scores of a row, which softmax does not see).
It is compared with the size of the query bias's gradient of the same layer.

Finite differences involve no PyTorch: the gradient against central differences of our own forward pass
([gradcheck.py](../minielectra/gradcheck/checker.py), tolerance {figure(gradcheck.TOLERANCE)}). They find a wrong derivative, but not a wrong
model; PyTorch finds both. {sentence}

## The joint model, tensor by tensor

Error of every parameter's gradient: against PyTorch in both precisions, and against finite differences in float64. Vocabulary
{c.vocab_size}, embeddings {c.embedding_size}; discriminator {c.num_hidden_layers} layers of {c.hidden_size} in
{c.num_attention_heads} heads, feed-forward {c.intermediate_size}; generator half as wide and half as deep; gen_weight
{checks.SETTINGS.gen_weight:g}, disc_weight {checks.SETTINGS.disc_weight:g}; 5 sequences of up to 11 tokens.

{tensors}

The losses themselves:

{losses_section()}

## Presets at their real widths

One tower by itself at a preset's widths and vocabulary, at most two layers deep: logits, and every gradient for a random upstream
gradient. The generator has its own width; `tiny`, `mini` and `small` have two layers here, `base` and `large` one.

{towers}

## Twenty steps of training

Ours: `Trainee.step` as a run calls it, two shards on two threads, the official schedule with {checks.WARMUP} steps of warm-up,
clipping at {checks.SETTINGS.clip_norm}, weight decay {checks.SETTINGS.weight_decay}, no dropout. Twin: the whole batch at once, its
own softmax, its own samples from the same uniform numbers, its own labels, ELECTRA's Adam; and for `bias_correction`
torch.optim.AdamW itself. float64:

{steps}

The error of a weight is relative to *how far training moved it*. In float32 rounding feeds back through twenty updates that divide
gradients by their own size; key biases, whose gradient is rounding noise, then go their own ways, which no output sees.

## Fine-tuning

The heads beside transformers' of the same name: the task's loss and every gradient through the whole model; and six steps of
training with layer-wise decay, the loss, the gradient's norm and how far every weight moved, against ELECTRA's Adam with a rate of
its own for each parameter.

{heads}

## Round trips

ELECTRA-small as published (twelve layers, 30 522 words; for `ElectraForMaskedLM` its generator), initialised by transformers, on
eight sentences of real text, float32: the largest *absolute* difference of a logit.

{trips}

## Mutants

Does this suite see anything? {len(MUTANTS)} subtle mistakes are made in minielectra, one at a time; {caught} of them turn the check
named here red. {hidden} are *consistent*, backward being the derivative of a wrong forward or no derivative being concerned, so that
no gradient check can see them. Figures of chance are −log₁₀ of a p-value; ∞: impossible.

{mutants}
"""
    (ROOT / "docs" / "correctness.md").write_text(document, encoding="utf-8")

    exact, single = (trajectories["electra", dtype].errors for dtype in checks.TOLERANCE)
    moved = {name: error for name, error in single.items() if not name.endswith(".key.bias")}
    rows = [
        ("joint model, losses and every gradient, float64 against PyTorch", figure(joint["NumPy, float64"]), "1e-9"),
        ("— float32 against PyTorch", figure(joint["NumPy, float32"]), "1e-5"),
        ("— float64 against finite differences", figure(joint["NumPy, finite differences"]), figure(gradcheck.TOLERANCE)),
        ("towers at the widths of all presets, float64", figure(widths[np.float64]), "1e-9"),
        ("— float32", figure(widths[np.float32]), "1e-5"),
        ("twenty training steps, losses and every weight's path, float64", figure(checks.worst(exact)[1]), "1e-9"),
        ("— float32, key biases aside (their gradient is zero but for rounding)", figure(checks.worst(moved)[1]), "2e-3"),
        ("fine-tuning heads, losses and every gradient, float64", figure(tuned[np.float64]), "1e-9"),
        ("— float32", figure(tuned[np.float32]), "1e-5"),
        ("— six training steps with layer-wise decay, float64", figure(tuning), "1e-9"),
        ("ELECTRA-small through directories, both ways, float32 logits", f"{figure(logits)} (absolute)", "1e-5"),
        ("deliberate mistakes caught", f"{caught} of {len(MUTANTS)}", "all"),
    ]
    write_readme([row for row in rows if logits is not None or "directories" not in row[0]])
    assert caught == len(MUTANTS)


if __name__ == "__main__":
    main()
