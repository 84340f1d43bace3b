"""The fast operations against the plain ones: odd sizes, one row, one token, strides; and their workspace."""

import numpy as np
import pytest

from minielectra.backend import Workspace, scratch
from minielectra.ops.fast import attention as fast_attention
from minielectra.ops.fast import blocks
from minielectra.ops.fast import gelu as fast_gelu
from minielectra.ops.fast import layernorm as fast_layernorm
from minielectra.ops.fast import linear as fast_linear
from minielectra.ops.fast import losses as fast_losses
from minielectra.ops.reference import attention, gelu, layernorm, linear, losses


def linear_case(module, random, n, options):
    x, w, b, dy = random((n, 7)), random((5, 7)), random((5,)), random((n, 5))
    y, cache = module.linear_forward(x, w, b, **options)
    dw, db = random((5, 7)), random((5,))
    return y, module.linear_backward(dy, cache, dw, db, **options), dw, db


def layernorm_case(module, random, n, options):
    x, w, b, dy = random((n, 7)), random((7,)), random((7,)), random((n, 7))
    y, cache = module.layernorm_forward(x, w, b, 1e-12, **options)
    dw, db = random((7,)), random((7,))
    return y, module.layernorm_backward(dy, cache, dw, db, **options), dw, db


def gelu_case(module, random, n, options):
    y, cache = module.gelu_forward(3 * random((n, 7)), **options)
    return y, module.gelu_backward(random((n, 7)), cache)


def gelu_tanh_case(module, random, n, options):
    y, cache = module.gelu_tanh_forward(3 * random((n, 7)), **options)
    return y, module.gelu_tanh_backward(random((n, 7)), cache)


def attention_case(module, random, n, options, mask=False, keep=False, spread=1.0):
    """Heads are strided views of [B, T, N·D], as in the encoder."""
    q, k, v, do = (random((3, n, 2, 5)).swapaxes(1, 2) for _ in range(4))
    q = q * random((1,)).dtype.type(spread)
    valid = np.arange(n) < np.array([[n], [1], [max(1, n - 1)]])
    mask = attention.additive_mask(valid, q.dtype) if mask else None
    keep = random((3, 2, n, n)) < 0.7 if keep else None
    transposed = keep.swapaxes(-1, -2) if keep is not None and module is fast_attention else keep
    o, cache = module.attention_forward(
        q, k, v, mask, transposed, 1.25 if keep is not None else 1.0, **options
    )
    return o, *module.attention_backward(do, cache, **options)


def masked_case(*arguments):
    return attention_case(*arguments, mask=True)


def dropped_case(*arguments):
    return attention_case(*arguments, mask=True, keep=True)


def large_scores_case(*arguments):
    """Scores of hundreds, whose exponentials overflow without the row's maximum taken away."""
    return attention_case(*arguments, spread=100.0)


def cross_entropy_case(module, random, n, options):
    loss, cache = module.cross_entropy_forward(5 * random((n, 7)), np.arange(n) % 7, random((n,)), 3.0)
    return np.asarray(loss), module.cross_entropy_backward(cache, 2.0)


CASES = [
    (linear_case, linear, fast_linear),
    (layernorm_case, layernorm, fast_layernorm),
    (gelu_case, gelu, fast_gelu),
    (gelu_tanh_case, gelu, fast_gelu),
    (attention_case, attention, fast_attention),
    (masked_case, attention, fast_attention),
    (dropped_case, attention, fast_attention),
    (large_scores_case, attention, fast_attention),
    (cross_entropy_case, losses, fast_losses),
]
every_case = pytest.mark.parametrize(
    ("case", "plain", "quick"), CASES, ids=lambda case: getattr(case, "__name__", "")
)


def numbers(seed, dtype=np.float32):
    generator = np.random.default_rng(seed)
    return lambda shape: generator.standard_normal(shape).astype(dtype)


@every_case
@pytest.mark.parametrize("rows", [1, 2, 13, 31])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-6), (np.float64, 1e-13)])
@pytest.mark.parametrize("block", [1, 40, None], ids=["small blocks", "odd blocks", "one block"])
def test_fast_equals_plain(case, plain, quick, rows, dtype, tolerance, block, monkeypatch):
    if block is not None:
        monkeypatch.setattr(blocks.blocks, "__defaults__", (block,))
    expected, found = (
        case(plain, numbers(4, dtype), rows, {}),
        case(quick, numbers(4, dtype), rows, {"workspace": Workspace()}),
    )
    assert len(expected) == len(found)
    if case is large_scores_case:
        tolerance *= 50  # the exponential of a score of hundreds: its absolute rounding is that much larger
    for a, b in zip(expected, found, strict=True):
        assert a.dtype == b.dtype == dtype and a.shape == b.shape
        # The scores of a single token have no gradient.
        assert np.linalg.norm(b - a) <= tolerance * max(np.linalg.norm(a), 1.0)


@every_case
@pytest.mark.parametrize("rows", [1, 2, 13])
def test_workspace_changes_no_bit(case, plain, quick, rows):
    workspace = Workspace()
    for other in (rows, rows + 3, rows, rows):  # arrays of other sizes, then the same ones again
        workspace.reset()
        case(quick, numbers(9), other, {"workspace": workspace})
        for chunk in workspace._chunks:
            chunk.view(np.float32)[...] = np.nan  # whatever is handed out holds rubbish
    workspace.reset()
    with_workspace, without = (
        case(quick, numbers(4), rows, {"workspace": workspace}),
        case(quick, numbers(4), rows, {}),
    )
    for a, b in zip(with_workspace, without, strict=True):
        assert np.array_equal(a, b) and not np.isnan(a).any()


def test_plain_operations_leave_their_arguments_alone():
    """All but the gradients, which they add to."""
    for case, plain, _ in CASES:
        seen, random = [], numbers(3)

        def remember(shape, random=random, seen=seen):
            array = random(shape)
            seen.append((array, array.copy()))
            return array

        case(plain, remember, 5, {})
        changed = sum(not np.array_equal(now, before) for now, before in seen)
        assert changed == (2 if case in (linear_case, layernorm_case) else 0), case.__name__


# --- the workspace


def test_a_step_after_the_first_allocates_nothing():
    workspace = Workspace()
    first = [
        workspace.empty((5, 7), np.float32),
        workspace.empty((3,), np.float64),
        workspace.empty((1 << 20,), np.uint8),
    ]
    workspace.reset()
    # More than there was: another chunk, which the next reset makes one with the first
    workspace.empty((2 << 20,), np.uint8)
    workspace.reset()
    size = workspace.nbytes
    for _ in range(3):
        workspace.reset()
        again = [workspace.empty(array.shape, array.dtype) for array in first]
        assert workspace.nbytes == size
        assert all(np.shares_memory(array, workspace._chunks[0]) for array in again)
        assert all(array.ctypes.data % 8 == 0 for array in again)
    workspace.reset()
    assert workspace.empty((5, 7), np.dtype(np.float32)) is again[0]


def test_arrays_in_use_never_overlap():
    random = np.random.default_rng(0)
    workspace = Workspace()
    for _ in range(20):
        workspace.reset()
        taken = []
        for _ in range(30):
            array = workspace.empty(
                tuple(random.integers(0, 70, 3)), random.choice([np.float32, np.float64, np.bool_, np.int32])
            )
            assert not any(np.shares_memory(array, other) for other in taken)
            taken.append(array)


def test_scratch_is_given_back():
    workspace = Workspace()
    before = workspace.empty((4,), np.float32)
    with scratch(workspace):
        inside = workspace.empty((4,), np.float32)
    after = workspace.empty((4,), np.float32)
    assert np.shares_memory(inside, after) and not np.shares_memory(before, after)
    with scratch(None):
        pass


def test_no_rows_at_all():
    assert fast_gelu.gelu_forward(np.zeros((0, 11), np.float32))[0].shape == (0, 11)
    assert fast_layernorm.layernorm_forward(np.zeros((0, 3), np.float32), np.ones(3), np.ones(3))[
        0
    ].shape == (0, 3)
