"""Adding an objective or an optimizer means adding one file: here each is written, found and trained."""

import importlib
import sys
from contextlib import closing

import numpy as np
import pytest
from small import make_batch, small_objective

from minielectra import objectives, optim
from minielectra.errors import InputError
from minielectra.pretraining.bench import bench
from minielectra.pretraining.evaluation import Evaluator
from minielectra.pretraining.presets import configure
from minielectra.training.contracts import Objective, Optimizer
from minielectra.training.engine import make_engine

COPYING = '''
"""Nothing is hidden: the model only has to repeat the words it sees."""

import dataclasses

from minielectra.electra.towers import ElectraForMaskedLM
from minielectra.objectives.base import PretrainingObjective, generator_backward, generator_forward
from minielectra.objectives.mlm import MaskedLMOutcome


class Copying(PretrainingObjective):
    def __init__(self, model_config, config, **memory):
        super().__init__(model_config, config, **memory)
        self.generator = ElectraForMaskedLM(model_config, self.parameters, "generator.")
        self.towers = {"generator": self.generator}

    def forward(self, batch, normalizers, context, uniform=None, samples=None):
        seen = dataclasses.replace(batch, masked_ids=batch.input_ids)
        loss, cache = generator_forward(self.generator, seen, normalizers.chosen, context)
        return MaskedLMOutcome(loss, cache.loss.p), cache

    def backward(self, cache, context):
        generator_backward(self.generator, cache, self.config.gen_weight, context)


OBJECTIVE = Copying
'''

# One optimizer with one moment, where Adam has two, and one with none.
MOMENTUM = '''
"""Gradient descent with momentum: m ← β₁ m + g,  p ← p − lr (m + decay · p)."""

from minielectra.optim.buffer_blocks import cut_blocks


class Momentum:
    MOMENTS = ("momentum",)

    def __init__(self, parameters, config, moments, rate_factor=None):
        self.parameters, self.config, self.moments = parameters, config, moments
        self.blocks = cut_blocks(parameters, config.weight_decay, rate_factor)

    @classmethod
    def flops(cls, parameters, config, names=None):
        return 0, 5 * sum(parameters[name].value.size for name in names or parameters)

    def share(self, index, count):
        return range(len(self.blocks))[index::count]

    def update(self, gradient, rate, scale=1.0, step=0, blocks=None):
        for start, stop, decay, factor in self.blocks if blocks is None else blocks:
            p, m = self.parameters.flat[start:stop], self.moments[0, start:stop]
            m *= self.config.adam_beta1
            m += scale * gradient[start:stop]
            p -= rate * factor * (m + decay * p)

    def reset(self):
        self.moments[...] = 0

    def state(self):
        return {"momentum": self.moments[0]}

    def load_state(self, arrays):
        self.moments[0] = arrays["momentum"]


OPTIMIZER = Momentum
'''
DESCENT = '''
"""Gradient descent: p ← p − lr (g + decay · p)."""

from minielectra.optim.buffer_blocks import cut_blocks


class Descent:
    MOMENTS = ()

    def __init__(self, parameters, config, moments=None, rate_factor=None):
        self.parameters = parameters
        self.blocks = cut_blocks(parameters, config.weight_decay, rate_factor)

    @classmethod
    def flops(cls, parameters, config, names=None):
        return 0, 5 * sum(parameters[name].value.size for name in names or parameters)

    def share(self, index, count):
        return range(len(self.blocks))[index::count]

    def update(self, gradient, rate, scale=1.0, step=0, blocks=None):
        for start, stop, decay, factor in self.blocks if blocks is None else blocks:
            p = self.parameters.flat[start:stop]
            p -= rate * factor * (scale * gradient[start:stop] + decay * p)

    def reset(self):
        pass

    def state(self):
        return {}

    def load_state(self, arrays):
        pass


OPTIMIZER = Descent
'''


@pytest.fixture
def add(tmp_path, monkeypatch):
    """add(room, name, text): write a module into a folder that belongs to the package `room`."""
    added = []

    def write(room, name, text):
        folder = tmp_path / room.__name__
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
        if str(folder) not in room.__path__:
            monkeypatch.setattr(room, "__path__", [*room.__path__, str(folder)])
        importlib.invalidate_caches()
        added.append((room, name))

    yield write
    for room, name in added:
        sys.modules.pop(f"{room.__name__}.{name}", None)
        if hasattr(room, name):
            delattr(room, name)


def train(workers, steps=30, rate=3e-2, **overrides):
    """-> weights, and the losses of each step on one batch"""
    batch = make_batch(0)
    with closing(make_engine(small_objective(**overrides), workers=workers)) as engine:
        results = [engine.step(batch, rate, 5, step) for step in range(steps)]
        assert all(result.finite for result in results)
        return engine.objective.parameters.flat.copy(), [result.losses for result in results]


def test_names():
    """What users may choose: every file of the room but the shared ones."""
    assert {"electra", "mlm"} <= set(objectives.names())
    assert {"adam", "muon"} <= set(optim.names())
    for room, contract, shared in ((objectives, Objective, "base"), (optim, Optimizer, "schedule")):
        assert shared not in room.names()
        needed = {name for name in vars(contract) if not name.startswith("_")}
        for name in room.names():
            kind = room.find(name)
            assert {part for part in needed if not hasattr(kind, part)} == set(), name


def test_an_objective_in_a_file_of_its_own(add):
    with pytest.raises(InputError, match="objective 'copying' is not known: choose all-tokens-mlm"):
        configure("tiny", {"objective": "copying"})
    before = objectives.names()
    add(objectives, "copying", COPYING)
    assert set(objectives.names()) == {*before, "copying"}
    flat, losses = train("threads", objective="copying")
    same, _ = train("plain", objective="copying")
    assert np.array_equal(flat, same)
    assert all(len(step) == 1 for step in losses) and losses[-1][0] < 0.8 * losses[0][0]
    assert train("plain", 1, objective="mlm")[1] != losses[:1]  # it is not another one under this name

    objective = small_objective(objective="copying")
    metrics, record = Evaluator(objective, make_batch(1), seed=0)()
    assert record is None and np.isfinite(metrics["gen_loss"])
    sizes = {"objective": "copying", "hidden_size": 16, "embedding_size": 8, "batch_size": 4}
    assert bench(*configure("tiny", sizes), steps=1, workers="plain")["gflops"] > 0


@pytest.mark.parametrize(("name", "text", "moments"), [("momentum", MOMENTUM, 1), ("descent", DESCENT, 0)])
def test_an_optimizer_in_a_file_of_its_own(add, name, text, moments):
    with pytest.raises(InputError, match=f"optimizer '{name}' is not known: choose adam"):
        configure("tiny", {"optimizer": name})
    before = optim.names()
    add(optim, name, text)
    assert set(optim.names()) == {*before, name}
    options = {"optimizer": name, "objective": "mlm", "clip_norm": 0.0, "weight_decay": 0.1}
    flat, losses = train("threads", **options)
    same, _ = train("plain", **options)
    assert np.array_equal(flat, same)
    assert losses[-1][0] < losses[0][0]
    with closing(make_engine(small_objective(**options), workers="plain")) as engine:
        assert type(engine.optimizer).__name__ == name.capitalize()
        assert len(engine.optimizer.state()) == moments

    # One step by hand.
    before = small_objective(**options).parameters
    after = small_objective(**options)
    with closing(make_engine(after, workers="plain")) as engine:
        engine.step(make_batch(0), 0.1, 5, 0)
        trained = engine.objective.parameters
        for parameter in before:
            decay = 0.0 if "LayerNorm" in parameter or parameter.endswith(".bias") else 0.1
            value = before[parameter].value
            expected = value - 0.1 * (trained[parameter].grad + decay * value)
            np.testing.assert_allclose(trained[parameter].value, expected, rtol=1e-5, atol=1e-7)
