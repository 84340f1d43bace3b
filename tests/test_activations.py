"""ReLU and SiLU: known values, fast versions against plain ones, names in configurations, a device."""

import dataclasses

import numpy as np
import pytest
from fake_device import FakeDevice
from hostile import CONFIG
from properties import given, settings, st

from minielectra import ops
from minielectra.backend import Workspace
from minielectra.electra import electra_config
from minielectra.electra.towers import ElectraForPreTraining
from minielectra.nn.layers import ACTIVATIONS
from minielectra.ops.fast import blocks
from minielectra.ops.fast import relu as fast_relu
from minielectra.ops.fast import silu as fast_silu
from minielectra.ops.reference import relu, silu

PAIRS = {
    "relu": (relu.relu_forward, relu.relu_backward, fast_relu.relu_forward, fast_relu.relu_backward),
    "silu": (silu.silu_forward, silu.silu_backward, fast_silu.silu_forward, fast_silu.silu_backward),
}
names = pytest.mark.parametrize("name", PAIRS)


def test_every_name_of_a_configuration_is_an_operation():
    assert tuple(ACTIVATIONS) == electra_config.ACTIVATIONS
    assert ACTIVATIONS["swish"] == ACTIVATIONS["silu"]


def test_relu_by_hand():
    x, dy = np.array([-2.0, -0.0, 0.0, 3.0]), np.array([5.0, 6.0, 7.0, 8.0])
    for forward, backward in (PAIRS["relu"][:2], PAIRS["relu"][2:]):
        y, cache = forward(x.copy())
        assert y.tolist() == [0.0, 0.0, 0.0, 3.0]
        assert backward(dy.copy(), cache).tolist() == [0.0, 0.0, 0.0, 8.0]  # the slope at the kink is 0


def test_silu_by_hand():
    x = np.array([0.0, np.log(3.0), -np.log(3.0)])  # where the sigmoid is 1/2, 3/4 and 1/4
    for forward, backward in (PAIRS["silu"][:2], PAIRS["silu"][2:]):
        y, cache = forward(x.copy())
        np.testing.assert_allclose(y, x * [0.5, 0.75, 0.25], rtol=1e-15)
        slope = [0.5, 0.75 + np.log(3.0) * 0.1875, 0.25 - np.log(3.0) * 0.1875]
        np.testing.assert_allclose(backward(np.ones(3), cache), slope, rtol=1e-15)


@names
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_values(name, dtype):
    x = np.array([-1e30, -1000.0, -90.0, 90.0, 1000.0, 1e30], dtype)
    for forward, backward in (PAIRS[name][:2], PAIRS[name][2:]):
        with np.errstate(all="raise", under="ignore"):
            y, cache = forward(x.copy())
            slope = backward(np.ones_like(x), cache)
        np.testing.assert_allclose(y, np.maximum(x, 0), rtol=1e-6, atol=1e-4)
        np.testing.assert_allclose(slope[2:], [0, 1, 1, 1], atol=1e-6)
        assert y.dtype == slope.dtype == dtype


@names
def test_what_is_no_number_stays_none(name):
    for forward in (PAIRS[name][0], PAIRS[name][2]):
        y, _ = forward(np.array([1.0, np.nan]))
        assert np.isnan(y[1]) and not np.isnan(y[0])


@names
@given(st.data())
@settings(max_examples=60, deadline=None)
def test_fast_equals_plain(name, data):
    plain, plain_backward, quick, quick_backward = PAIRS[name]
    shape = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=3))
    dtype, tolerance = data.draw(st.sampled_from([(np.float32, 4e-7), (np.float64, 1e-15)]))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = (data.draw(st.sampled_from([0.1, 3.0, 50.0])) * random.standard_normal(shape)).astype(dtype)
    dy = random.standard_normal(shape).astype(dtype)
    expected, cache = plain(x)
    workspace = Workspace() if data.draw(st.booleans()) else None
    y, quick_cache = quick(x.copy(), workspace=workspace)
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
    slope = plain_backward(dy, cache)
    np.testing.assert_allclose(
        quick_backward(dy.copy(), quick_cache), slope, rtol=tolerance, atol=4 * tolerance
    )
    alone, no_cache = quick(x.copy(), workspace=workspace, backward=False)
    assert no_cache is None and np.array_equal(alone, y)
    assert y.dtype == alone.dtype == dtype


@names
def test_blocks_change_no_bit(name, monkeypatch):
    x = np.random.default_rng(0).standard_normal((13, 7), np.float32)
    whole = PAIRS[name][2](x.copy())
    monkeypatch.setattr(blocks.blocks, "__defaults__", (10,))
    for a, b in zip(whole, PAIRS[name][2](x.copy()), strict=True):
        assert np.array_equal(a, b)


@names
def test_on_a_device(name):
    xp, x = FakeDevice(), np.random.default_rng(0).standard_normal((5, 7), np.float32)
    forward, backward = getattr(ops, f"{name}_forward"), getattr(ops, f"{name}_backward")
    y, cache = forward(xp.asarray(x))
    host, host_cache = forward(x.copy())
    assert np.array_equal(y.get(), host)
    dy = np.ones_like(x)
    assert np.array_equal(backward(xp.asarray(dy), cache).get(), backward(dy.copy(), host_cache))


@pytest.mark.parametrize("name", ["relu", "silu", "swish"])
def test_a_model_keeps_its_activation_on_disk(name, tmp_path):
    model = ElectraForPreTraining(dataclasses.replace(CONFIG, hidden_act=name))
    model.parameters.flat[...] = np.random.default_rng(0).standard_normal(model.parameters.size)
    model.save_pretrained(tmp_path)
    again = ElectraForPreTraining.from_pretrained(tmp_path)
    ids = np.arange(8).reshape(1, 8)
    assert again.config.hidden_act == name and np.array_equal(again(ids), model(ids))
