"""The FLOP counter against arrays that count: every matrix product of whole training steps, and by hand."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import cli, cli_here, train_here
from small import VARIANTS, make_batch, small_objective

from minielectra import objectives, ops, optim
from minielectra.backend import Workspace, register_array_type
from minielectra.electra.products import BatchShape
from minielectra.errors import InputError
from minielectra.nn.parameters import replica
from minielectra.pretraining.flops import (
    ELEMENTWISE,
    relative_to_bert,
    run_flops,
    step_flops,
    steps_within,
)
from minielectra.pretraining.presets import configure
from minielectra.runs.metrics_log import read_metrics
from minielectra.training.memory import make_optimizer, memory_of, memory_shape
from minielectra.training.step import training_step

tally = {"products": 0, "elementwise": 0}  # multiply-adds; results of elementwise operations


class Counting(np.ndarray):
    """An array that adds to `tally` what NumPy computes from it. Whatever comes from it counts too."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        plain = [x.view(np.ndarray) if isinstance(x, Counting) else x for x in inputs]
        given = out and tuple(x.view(np.ndarray) if isinstance(x, Counting) else x for x in out)
        result = getattr(ufunc, method)(*plain, **({"out": given} if out else {}), **options)
        if ufunc is np.matmul:
            # Zeros and ones only select and add: column sums, and the gradient of the table of segments
            if not any(((x == 0.0) | (x == 1.0)).all() and x.any() for x in plain):
                tally["products"] += result.size * plain[0].shape[-1]
        elif ufunc is not np.vecdot:
            tally["elementwise"] += np.size(plain[0] if method == "reduce" else result)
        return result.view(Counting) if isinstance(result, np.ndarray) else result

    def __array_function__(self, function, types, arguments, options):
        assert function not in (np.einsum, np.tensordot, np.inner), f"{function} is not counted"
        return super().__array_function__(function, types, arguments, options)


class CountingWorkspace(Workspace):
    def empty(self, shape, dtype):
        return super().empty(shape, dtype).view(Counting)


@contextmanager
def counting(monkeypatch):
    """Muon's orthogonalization gets arrays that count; and `tally` starts at 0."""
    real = ops.orthogonalize
    register_array_type(Counting, np)
    with monkeypatch.context() as patched:
        patched.setattr(ops, "orthogonalize", lambda g: real(g.view(Counting)))
        tally.update(products=0, elementwise=0)
        yield tally


def shards_of(objective, count):
    """The objective once per shard, and its optimizer, over memory that counts."""
    block = np.zeros(memory_shape(objective, count), np.float32)
    memory = memory_of(objective, block.view(Counting))
    memory.values[...] = objective.parameters.flat
    replicas = [replica(objective, np, memory.values, gradient) for gradient in memory.gradients]
    return replicas, make_optimizer(replicas[0], memory)


SETTINGS = {
    "as it is": {},
    "tied": {"tie_encoders": True},
    "no projection, deep generator": {"embedding_size": 16, "generator_width": 1.0, "generator_depth": 1.5},
}
CASES = {
    f"{name}, {about}": {"objective": name} | more
    for name in objectives.names()
    for about, more in SETTINGS.items()
}
CASES |= {
    f"{name}, muon": own | {"optimizer": "muon", "intermediate_size": 10} for name, own in VARIANTS.items()
}


@pytest.mark.parametrize("case", CASES)
def test_a_whole_step_multiplies_as_often_as_is_counted(case, monkeypatch):
    """Every objective and option there is, with dropout, padding and shards of different sizes."""
    drop = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    objective = small_objective(**drop, **CASES[case])
    for progress in (0.0, 0.7):
        replicas, optimizer = shards_of(objective, 2)
        batch = make_batch(0)
        batch.progress = progress
        with counting(monkeypatch) as found:
            result = training_step(
                replicas, optimizer, batch, 1e-3, seed=1, number=0, workspace=CountingWorkspace()
            )
        assert result.finite
        counted = step_flops(objective, progress)
        assert 2 * found["products"] == sum(counted.values()) - counted[ELEMENTWISE]


@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("name", ["adam", "muon"])
def test_an_update_is_counted_too(name, decay, monkeypatch):
    objective = small_objective(optimizer=name, weight_decay=decay)
    replicas, optimizer = shards_of(objective, 1)
    replicas[0].parameters.grad[...] = np.random.default_rng(0).standard_normal(objective.parameters.size)
    with counting(monkeypatch) as found:
        optimizer.update(replicas[0].parameters.grad, 1e-3, scale=0.5)
    products, elementwise = optim.find(name).flops(objective.parameters, objective.config)
    assert products == 2 * found["products"]
    assert (products > 0) == (name == "muon")
    # Muon also works on a few single numbers per matrix: its norm
    assert 0 <= found["elementwise"] - elementwise <= 3 * 2 * 6 * 4
    assert name == "muon" or found["elementwise"] == elementwise


def test_small_by_hand():
    """The figures in the docstring of pretraining/flops.py."""
    found = step_flops(objectives.make(*configure("small")))
    tokens, chosen = 128 * 128, 128 * 19
    assert found == {
        "generator, encoder": 6 * tokens * 794_624,
        "generator, head": 6 * chosen * 3_915_008,
        "discriminator, encoder": 6 * tokens * 10_256_384,
        "discriminator, head": 6 * tokens * 65_792,
        ELEMENTWISE: 14 * 14_196_219 + 14_114_560,
    }
    assert sum(found.values()) == 1_150_166_565_562


@pytest.mark.parametrize(
    ("preset", "settings", "low", "high"),
    [
        ("tiny", {"generator_width": 0.25}, 1.07, 1.10),
        ("mini", {"generator_width": 0.25, "tie_encoders": False}, 1.07, 1.10),
        ("small", {}, 1.07, 1.10),
        ("small", {"generator_width": 0.5}, 1.24, 1.28),
        ("tiny", {}, 1.24, 1.28),
        ("tiny", {"tie_encoders": True}, 1.7, 1.8),
        ("mini", {}, 1.7, 1.81),
        ("small", {"tie_encoders": True}, 1.9, 2.0),
    ],
)
def test_what_a_step_costs_beside_one_of_berts(preset, settings, low, high):
    assert low < relative_to_bert(objectives.make(*configure(preset, settings))) < high


def test_relative_to_itself():
    assert relative_to_bert(objectives.make(*configure("tiny", {"objective": "mlm"}))) == 1.0


def changing(objective, share=0.25):
    """The same objective, whose first `share` of the run makes the generator's pass only."""
    real = objective.passes
    objective.passes = lambda shape, progress=0.0: real(shape)[: 1 if progress < share else None]
    return objective


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 999, 1000, 1001, 12_345])
def test_a_run_is_the_sum_of_its_steps(steps):
    objective = objectives.make(*configure("tiny"))
    each = sum(step_flops(objective).values())
    assert run_flops(objective, steps) == steps * each
    objective = changing(objective)
    first, later = (sum(step_flops(objective, progress).values()) for progress in (0.0, 0.25))
    assert first < later == each
    early = sum(step / steps < 0.25 for step in range(steps))
    assert run_flops(objective, steps) == early * first + (steps - early) * later


@pytest.mark.parametrize("change", [False, True])
def test_steps_within_a_budget(change):
    objective = objectives.make(*configure("tiny"))
    objective = changing(objective) if change else objective
    for budget in (1.2e10, 3.3e12, 1e15):
        steps = steps_within(budget, objective)
        assert run_flops(objective, steps) <= budget < run_flops(objective, steps + 1)
    with pytest.raises(InputError, match="1e\\+06 FLOPs do not pay for one step, which costs"):
        steps_within(1e6, objective)


def test_a_pass_without_a_backward_pass_costs_a_third():
    objective = objectives.make(*configure("tiny"))
    before = step_flops(objective)
    real = objective.passes
    objective.passes = lambda *about: [
        made._replace(backward=made.part != "generator") for made in real(*about)
    ]
    after = step_flops(objective)
    assert {part for part in before if after[part] != before[part]} == {
        "generator, encoder",
        "generator, head",
    }
    assert 3 * after["generator, head"] == before["generator, head"]


def test_the_sizes_of_a_batch():
    batch = make_batch(0)
    config = small_objective().config
    shape = BatchShape(config.batch_size, config.seq_length, config.masked_per_example)
    assert shape == (*batch.input_ids.shape, batch.positions.shape[1]) and shape.tokens == batch.valid.size


def test_a_run_records_what_it_cost(corpus, tmp_path):
    """At every evaluation, in whole numbers, and a resumed run goes on counting."""
    run = tmp_path / "run"
    train_here(run, corpus, "--steps", "4", "--eval-every", "2")
    rows = read_metrics(run)
    counted = json.loads(cli("flops", run, "--json").stdout)
    assert [row["flops"] for row in rows] == [row["step"] * counted["step"] for row in rows]
    assert counted["steps"] == 4 and counted["run"] == rows[-1]["flops"]
    cli_here("train", "--resume", run, "--steps", "6")
    assert read_metrics(run)[-1]["flops"] == 6 * counted["step"]


def test_a_run_that_did_not_count_yet(corpus, tmp_path):
    run = tmp_path / "run"
    train_here(run, corpus, "--steps", "2")
    (path,) = (run / "checkpoints").glob("*2/state.json")
    state = json.loads(path.read_text())
    del state["flops"]
    path.write_text(json.dumps(state))
    for sums in path.parent.glob("checksums*"):
        sums.unlink()
    cli_here("train", "--resume", run, "--steps", "3")
    before, after = read_metrics(run)[-2:]
    assert before["flops"] * 3 == after["flops"] * 2


def test_the_command(tmp_path):
    table = cli("flops", "--preset", "small").stdout
    assert "a step costs 1.079 times one of BERT's" in table and "1,000,000 steps" in table
    found = json.loads(
        cli("flops", "--preset", "small", "--objective", "mlm", "--budget", "1e15", "--json").stdout
    )
    assert set(found["parts"]) == {"generator, encoder", "generator, head", ELEMENTWISE}
    assert found["run"] <= 1e15 < found["run"] + found["step"] and found["relative_to_bert"] == 1.0
    for arguments, problem in (
        (("--budget", "1e3"), "1e+03 FLOPs do not pay for one step"),
        (("--budget", "1e15", "--steps", "3"), "not allowed with"),
        ((tmp_path,), "no run there"),
        ((tmp_path, "--preset", "tiny"), "has its own configuration"),
        (("--set", "hiden_size=3"), "did you mean hidden_size?"),
    ):
        assert problem in cli("flops", *arguments, check=2).stderr
