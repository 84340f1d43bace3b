"""`python -m tests.reference.report`: measure everything, write docs/correctness.md and a part of README.md.

Takes two minutes. The same versions on the same machine give the same figures, up to their last digits.
"""

import sys
import tempfile
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from minielectra import backend
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.errors import InputError
from minielectra.gradcheck import checker as gradcheck
from minielectra.pretraining.presets import PRESETS

from . import checks, round_trips
from .mutation import CHECKS
from .test_finetuning import CASES, first_steps, loss_and_gradients
from .test_mutations import MUTANTS, seen_by_finite_differences
from .test_towers import KINDS, preset_config
from .test_training import OPTIMIZERS

ROOT = Path(__file__).resolve().parents[2]
MARKERS = ("<!-- correctness -->", "<!-- /correctness -->")


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
    """(CuPy or None, the sentence that the report has about it)."""
    try:
        return backend.load("gpu"), "The CuPy columns were computed on a GPU, the others on the CPU."
    except InputError:
        return None, "This report was written on a machine without a GPU, so it has no columns for CuPy."


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
        rows += [
            (objective, name, *(figure(errors[name]) for errors in both))
            for name in both[0]
            if name.endswith("loss")
        ]
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
            rows.append(
                (preset, "generator" if kind == KINDS[0] else "discriminator", *map(str, sizes), *cells)
            )
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
        (
            str(step),
            f"{ours[0]:.12f}",
            f"{theirs[0]:.12f}",
            f"{ours[1]:.12f}",
            f"{theirs[1]:.12f}",
            f"{theirs[2]:.2f}",
        )
        for step, (ours, theirs) in enumerate(zip(exact.ours, exact.theirs, strict=True))
    ]
    header = (
        "step",
        "generator's loss, here",
        "PyTorch",
        "discriminator's loss, here",
        "PyTorch",
        "gradient's norm",
    )
    rows = []
    for (name, dtype), trajectory in found.items():
        errors = trajectory.errors
        losses = max(error for key, error in errors.items() if key not in trajectory.weights)
        keys = [error for key, error in trajectory.weights.items() if key.endswith(".key.bias")]
        others = {key: error for key, error in trajectory.weights.items() if not key.endswith(".key.bias")}
        where, error = checks.worst(others)
        rows.append((name, dtype.__name__, figure(losses), f"{figure(error)} `{where}`", figure(max(keys))))
    summary = table(("optimizer", "precision", "worst loss or norm", "worst weight", "worst key bias"), rows)
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
    return (
        table(("head", "float64, worst tensor", "float32, worst tensor", "six steps, float64"), rows),
        gradients,
        steps,
    )


def round_trips_section():
    """(Markdown, worst absolute difference of a logit, or None if the data for it is missing)."""
    if reason := round_trips.missing_data():
        return f"Not measured: {reason.split(';')[0].split('/')[-1]} is missing.", None
    tokenizer = WordPieceTokenizer.from_file(round_trips.VOCABULARY)
    rows, worst = [], 0.0
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            batch = round_trips.encode(tokenizer, round_trips.sentences())
            found, seconds, problems = round_trips.differences(
                kind, round_trips.small_config(kind), batch, folder
            )
            first = round_trips.with_tokenizer(kind, folder / "ours", tokenizer)
            same = round_trips.resaved(kind, folder / "ours", folder / "again") == first
        worst = max(worst, *found.values())
        here, there = (figure(found[way]) for way in ("opened here", "opened there"))
        rows.append(
            (f"`{kind}`", here, there, str(problems or "none"), "yes" if same else "NO", f"{seconds:.2f} s")
        )
    header = ("model", "saved there, opened here", "saved here, opened there")
    header += ("missing or unexpected keys", "saved again: same bytes", "opened here in")
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
        rows.append(
            (mutant.name, mutant.check, f"`{name}`", figure(error), figure(limit), "yes" if seen else "no")
        )
    header = ("mutant", "check that caught it", "worst figure", "error", "limit", "gradient check sees it")
    return table(header, rows), caught, hidden


def write_readme(paragraph):
    """Put a paragraph, wrapped, between the markers in README.md."""
    path = ROOT / "README.md"
    before, rest = path.read_text(encoding="utf-8").split(MARKERS[0])
    after = rest.split(MARKERS[1])[1]
    lines = textwrap.fill(paragraph, 110, break_long_words=False, break_on_hyphens=False)
    path.write_text(f"{before}{MARKERS[0]}\n{lines}\n{MARKERS[1]}{after}", encoding="utf-8")


def main():
    xp, sentence = device()
    tensors, joint = joint_section(xp)
    towers, widths = towers_section()
    steps, trajectories = training_section()
    heads, tuned, tuning = finetuning_section()
    trips, logits = round_trips_section()
    mutants, caught, hidden = mutants_section()
    python = ".".join(map(str, sys.version_info[:3]))
    libraries = f"PyTorch {torch.__version__}, transformers {transformers.__version__}"
    versions = f"Python {python}, NumPy {np.__version__}, {libraries}"
    c = checks.CONFIG
    exact, rounded = figure(joint["NumPy, float64"]), figure(joint["NumPy, float32"])
    differences = figure(joint["NumPy, finite differences"])
    double, single = (trajectories["electra", dtype].errors for dtype in checks.TOLERANCE)
    trained = figure(checks.worst(double)[1])
    moved = {name: error for name, error in single.items() if not name.endswith(".key.bias")}
    rows = [
        ("joint model, losses and every gradient: float64 against PyTorch", exact, "1e-9"),
        ("— float32 against PyTorch", rounded, "1e-5"),
        ("— float64 against finite differences", differences, figure(gradcheck.TOLERANCE)),
        ("towers at the widths of all presets: float64", figure(widths[np.float64]), "1e-9"),
        ("— float32", figure(widths[np.float32]), "1e-5"),
        ("twenty training steps, losses and how far every weight moved: float64", trained, "1e-9"),
        ("— float32, without key biases, whose gradient is noise", figure(checks.worst(moved)[1]), "2e-3"),
        ("fine-tuning heads, losses and every gradient: float64", figure(tuned[np.float64]), "1e-9"),
        ("— float32", figure(tuned[np.float32]), "1e-5"),
        ("— six training steps with layer-wise decay, float64", figure(tuning), "1e-9"),
    ]
    if logits is not None:
        saved = "ELECTRA-small saved and opened, both ways: float32 logits"
        rows.append((saved, f"{figure(logits)} (absolute)", "1e-5"))
    rows.append(("deliberate mistakes caught", f"{caught} of {len(MUTANTS)}", "all"))
    document = f"""# Correct to the last digit

`python -m tests.reference.report` measures everything on this page and writes it.
`python -m pytest -m reference` compares the same figures with tolerances.
{versions}.

## In short

{table(("what is compared", "worst relative error", "tolerance"), rows)}

## What is compared with what

minielectra computes with NumPy and derives every gradient by hand. Its *twin* computes with PyTorch:
`transformers`' ELECTRA models with our weights copied in (eager attention), one embeddings module shared by
both towers, and losses and an optimizer written from their definitions. The gradients are those of
PyTorch's autograd. The two sides share nothing but parameter names, configurations and the batch.

The **relative error** of a tensor is ‖ours − theirs‖ / ‖theirs‖. Each tensor is measured on its own, so
that a mistake in one bias cannot hide behind a large matrix. float64 shows that the mathematics is the
same: it rounds at 1e-16, and after some hundred operations an error near 1e-15 is left. float32 is what
training uses: it rounds at 6e-8, on both sides. Weights are random and none is neutral (LayerNorm's γ ≠ 1,
biases ≠ 0, all dimensions different). Sequences are padded, have several segments, repeat words, and leave
some of the chosen slots unused.

One gradient is zero by algebra: that of the key biases. They add one number to all scores of a row, which
softmax does not see. Their error is measured relative to the norm of the query bias's gradient in the same
layer.

Finite differences need no PyTorch: they compare a gradient with central differences of our own forward pass
([checker.py](../minielectra/gradcheck/checker.py), tolerance {figure(gradcheck.TOLERANCE)}). They find a
wrong derivative but not a wrong model. PyTorch finds both. {sentence}

## The joint model, tensor by tensor

The error of every parameter's gradient: against PyTorch in both precisions, and against finite differences
in float64. The model has a vocabulary of {c.vocab_size} and embeddings of {c.embedding_size}. Its
discriminator has {c.num_hidden_layers} layers of {c.hidden_size} features in {c.num_attention_heads} heads,
with a feed-forward layer of {c.intermediate_size}; the generator is half as wide and half as deep.
gen_weight is {checks.SETTINGS.gen_weight:g} and disc_weight {checks.SETTINGS.disc_weight:g}. The batch has
5 sequences of up to 11 tokens.

{tensors}

The losses themselves:

{losses_section()}

## Presets at their real widths

One tower at a time, at a preset's widths and vocabulary: its logits, and every gradient for a random
upstream gradient. The generator has its own width. `tiny`, `mini` and `small` have two layers here, `base`
and `large` one.

{towers}

## Twenty steps of training

Ours: the training step as a run calls it, with two shards on two workers, the official schedule with
{checks.WARMUP} steps of warm-up, clipping at {checks.SETTINGS.clip_norm}, weight decay
{checks.SETTINGS.weight_decay} and no dropout. The twin takes the whole batch at once. It has its own
softmax, draws its own samples from the same uniform numbers, makes its own labels, and updates with
ELECTRA's Adam, or, for `bias_correction`, with torch.optim.AdamW itself. In float64:

{steps}

The error of a weight is relative to *how far training moved it*. In float32, rounding feeds back through
twenty updates that divide gradients by their own size. Key biases, whose gradient is rounding noise, then
drift apart, but no output depends on them.

## Fine-tuning

Each head is compared with the one of the same name in transformers: the task's loss, and every gradient
through the whole model. Six steps of training with layer-wise decay are compared too: the loss, the
gradient's norm, and how far every weight moved. There the twin is ELECTRA's Adam with a learning rate of
its own for each parameter.

{heads}

## Round trips

ELECTRA-small as published (twelve layers, 30 522 words; for `ElectraForMaskedLM`, its generator),
initialised by transformers, is run on eight sentences of real text in float32. The figures are the largest
*absolute* difference of a logit.

{trips}

## Mutants

Would this suite notice a mistake? We make {len(MUTANTS)} subtle mistakes in minielectra, one at a time.
{caught} of them make the check named here fail. No gradient check can see {hidden} of them, because they
are *consistent*: either the backward pass is the correct derivative of a wrong forward pass, or no
derivative is involved. For statistical checks, the figure is −log₁₀ of a p-value; ∞ means impossible.

{mutants}
"""
    (ROOT / "docs" / "correctness.md").write_text(document, encoding="utf-8")

    write_readme(
        "PyTorch and `transformers` compute the model, its gradients and its training a second time from the "
        f"same weights. No gradient of the joint model differs by more than {exact} (relative error in "
        f"float64; {rounded} in float32), and after twenty training steps, losses and weights agree to "
        f"{trained}. Finite differences agree to {differences}. The suite that checks this also catches "
        f"{caught} of {len(MUTANTS)} deliberate mistakes: [docs/correctness.md](docs/correctness.md)."
    )
    assert caught == len(MUTANTS)


if __name__ == "__main__":
    main()
