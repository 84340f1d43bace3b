"""What is measured: minielectra beside its PyTorch twin, as figures {tensor name: relative error}.

Tests compare the figures with a tolerance, the mutation test wants to see them fail, the report prints them.
The relative error of a tensor is ‖ours − theirs‖ / ‖theirs‖. Each tensor is measured on its own, so that an
error in a bias cannot hide behind a matrix.

B sequences of T tokens, K chosen positions each, M = B·K, V words.
"""

from dataclasses import dataclass

import numpy as np
import torch

from minielectra import objectives
from minielectra.backend import Purpose, RandomStream, to_device, to_host
from minielectra.electra import towers as models
from minielectra.electra.corruption import MaskedBatch
from minielectra.electra.electra_config import ElectraConfig
from minielectra.gradcheck.checker import compare
from minielectra.nn.layers import PassContext
from minielectra.optim import schedule
from minielectra.pretraining.pretraining_config import PretrainingConfig
from minielectra.training.engine import make_engine
from minielectra.training.step import shard_slices

from . import twins

TOLERANCE = {np.float64: 1e-9, np.float32: 1e-5}
LOSSES = {
    "gen_loss": "generator's loss",
    "disc_loss": "discriminator's loss",
    "corrector_loss": "corrector's loss",
    "adversarial_loss": "adversary's loss",
}
STEPS, WARMUP, PEAK = 20, 5, 1e-2

# All dimensions are different. The generator has 18 hidden features in 1 head, and 22 inside its feed-forward
# network. In a much narrower model, a row whose variance happens to be small makes LayerNorm, and so float32
# on both sides, ten times less exact.
CONFIG = ElectraConfig(
    vocab_size=61,
    embedding_size=20,
    hidden_size=36,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=44,
    max_position_embeddings=17,
    type_vocab_size=3,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
SETTINGS = PretrainingConfig(
    generator_width=0.5,
    generator_depth=0.5,
    gen_weight=1.7,
    disc_weight=6.0,
    shards=2,
    batch_size=5,
    clip_norm=12.0,
    weight_decay=0.1,
)


# --- inputs


def fill(parameters, seed):
    """Nothing neutral: tables of order 1, weights of order 1/√fan-in, LayerNorm's around 1, biases not 0.

    What a block adds to its input is a little weaker, and biases are small. Otherwise all tokens would become
    the same vector, layer by layer (Dong et al. 2021), attention's gradients would be differences of equal
    numbers, and after twelve layers in float32 two correct digits would be left, in either library. This way
    six are left.
    """
    random = np.random.default_rng([seed, 1])
    for name, shape in parameters.shapes.items():
        x = random.standard_normal(shape, np.float32)  # the same numbers for both precisions
        if name.endswith("LayerNorm.weight"):
            x = 1.0 + 0.3 * x
        elif name.endswith("bias"):
            x *= 0.1
        elif twins.EMBEDDINGS not in name:
            x *= (0.4 if "output" in name else 1.0) * shape[-1] ** -0.5
        parameters[name].value[...] = to_device(x, parameters.xp)


def make_tokens(config, seed, count=5, length=11, padded=True):
    """-> ids [B, T] int32, valid [B, T] bool, segments [B, T] int32; lengths differ, and ids repeat."""
    random = np.random.default_rng([seed, 2])
    ids = random.integers(0, config.vocab_size, (count, length), dtype=np.int32)
    ids[:, 1::3] = ids[0, 1]  # one word many times: its gradients must add up
    lengths = random.integers(length // 2, length, count) if padded else np.full(count, length)
    lengths[0] = length
    valid = np.arange(length) < lengths[:, None]
    ids[~valid] = config.pad_token_id
    segments = random.integers(0, config.type_vocab_size, (count, length), dtype=np.int32)
    return ids, valid, segments


def make_batch(config, seed, slots=3, **sizes):
    """(MaskedBatch, samples [B, K]): some slots unused, weights that are not all 1, some samples right."""
    random = np.random.default_rng([seed, 3])
    ids, valid, segments = make_tokens(config, seed, **sizes)
    positions = np.stack([random.permutation(n)[:slots] for n in valid.sum(axis=1)]).astype(np.int32)
    # Numbers whose sums are exact in float32.
    weights = random.choice(np.float32([0.5, 0.75, 1.25, 1.5]), positions.shape)
    weights[1::3, -1] = 0.0
    original = np.take_along_axis(ids, positions, axis=1)
    masked = ids.copy()
    np.put_along_axis(masked, positions, np.where(weights > 0, 4, original), axis=1)
    samples = random.integers(0, config.vocab_size, positions.shape, dtype=np.int32)
    samples[:, 0] = original[:, 0]
    return MaskedBatch(ids, masked, segments, valid, positions, weights, not valid.all()), samples


# --- errors


def relative_errors(ours, theirs):
    """{name: relative error} of {name: NumPy array}, in float64.

    Key biases aside: a key bias adds one number to all scores of a row, softmax does not see it, so its
    gradient is zero by algebra and rounding noise on both sides. It is measured against the norm of the
    *query* bias's gradient in the same layer.
    """
    assert ours.keys() == theirs.keys(), sorted(ours.keys() ^ theirs.keys())
    errors = {}
    for name, reference in theirs.items():
        scale = np.linalg.norm(theirs[name.replace(".key.bias", ".query.bias")])
        errors[name] = float(np.linalg.norm(ours[name].astype(np.float64) - reference) / scale)
    return errors


def worst(errors):
    """(name, relative error) of the largest one; not-a-number is larger than anything."""
    return max(errors.items(), key=lambda item: np.inf if np.isnan(item[1]) else item[1])


def torch_dtype(dtype):
    """np.float32 or np.float64 -> torch's."""
    return {np.float32: torch.float32, np.float64: torch.float64}[dtype]


# --- what is measured


def tower_errors(kind, config, dtype, seed=0, padded=True, rows=None, workspace=None, **sizes):
    """One standalone tower: its logits, and every gradient for a random upstream gradient of mixed sign.

    kind: class name in both libraries. rows [M]: the generator's flat positions to predict, None: all.
    """
    model = getattr(models, kind)(config, dtype=dtype)
    fill(model.parameters, seed)
    twin = twins.Tower(kind, config, model.parameters.state(), torch_dtype(dtype))
    ids, valid, segments = make_tokens(config, seed, padded=padded, **sizes)
    valid = valid if padded else None
    context, where = PassContext(workspace), (rows,) if kind == "ElectraForMaskedLM" else ()
    logits, cache = model.forward(ids, valid, segments, *where, context)
    ours = {"logits": logits.copy()}  # with a workspace, what comes later may reuse memory
    upstream = np.random.default_rng([seed, 4]).standard_normal(logits.shape, np.float32).astype(dtype)
    model.backward(upstream.copy(), cache, context)
    ours |= {name: model.parameters[name].grad for name in model.parameters}

    logits = twin.logits(ids, valid, segments).reshape(ids.size, *upstream.shape[1:])
    logits = logits if rows is None else logits[twins.integers(rows)]
    (logits * torch.from_numpy(upstream)).sum().backward()
    return relative_errors(ours, {"logits": logits.detach().numpy(), **twins.gradients(twin.parameters)})


def joint_model(config=CONFIG, settings=SETTINGS, dtype=np.float64, seed=0, xp=np):
    """The objective that `settings` name, with non-neutral weights."""
    objective = objectives.make(config, settings, xp=xp, dtype=dtype)
    objective.set_noise(twins.word_counts(config.vocab_size), twins.SPECIAL)
    fill(objective.parameters, seed)
    return objective


def joint_gradients(objective, batch, samples, workspace=None):
    """Our objective on its own device -> {name: NumPy array}: its losses and every gradient."""
    context, parameters = PassContext(workspace), objective.parameters
    xp = parameters.xp
    parameters.zero_grad()
    samples = to_device(samples, xp)
    outcome, cache = objective.forward(batch.to_device(xp), batch.normalizers(), context, samples=samples)
    objective.backward(cache, context)
    found = {
        LOSSES[name]: np.asarray(float(loss))
        for name, loss in zip(objective.loss_names, outcome.losses, strict=True)
        if name in objective.computed(batch.progress)
    }
    return found | {name: to_host(parameters[name].grad) for name in parameters}


def joint_errors(config=CONFIG, settings=SETTINGS, dtype=np.float64, seed=0, xp=np, workspace=None, **sizes):
    """The objective, corruption handed in: its losses and every gradient, shared embeddings included."""
    objective = joint_model(config, settings, dtype, seed, xp)
    batch, samples = make_batch(config, seed, **sizes)
    twin = twins.Twin(objective, torch_dtype(dtype))
    losses, _ = twin.losses(batch, samples)
    twin.backward(losses["total"])
    theirs = {f"{name}'s loss": loss.detach().numpy() for name, loss in losses.items() if name != "total"}
    ours = joint_gradients(objective, batch, samples, workspace)
    return relative_errors(ours, theirs | twins.gradients(twin.parameters))


def difference_errors(config=CONFIG, settings=SETTINGS, seed=0, xp=np, **options):
    """The objective's gradients against finite differences of its NumPy forward pass, in float64.

    xp: where the gradients are computed. options: those of `gradcheck.compare`. Key biases are measured as in
    `relative_errors`. -> {tensor name: relative error}
    """
    device, host = joint_model(config, settings, seed=seed, xp=xp), joint_model(config, settings, seed=seed)
    batch, samples = make_batch(config, seed)
    gradients = joint_gradients(device, batch, samples)

    def total():
        outcome, _ = host.forward(batch, batch.normalizers(), PassContext(), samples=samples)
        return sum(w * loss for w, loss in zip(host.loss_weights, outcome.losses, strict=True))

    values = {name: host.parameters[name].value for name in host.parameters}
    results = compare(total, values, {name: gradients[name] for name in values}, **options)
    errors = {name: result.relative_error for name, result in results.items()}
    for name in (name for name in errors if name.endswith(".key.bias")):
        scale = np.linalg.norm(results[name.replace(".key.", ".query.")].numeric)
        errors[name] = float(np.linalg.norm(results[name].analytic - results[name].numeric) / scale)
    return errors


@dataclass
class Trajectory:
    """Some steps of training, ours and theirs."""

    ours: np.ndarray  # [steps, 3] generator's loss, discriminator's loss, norm of the gradient
    theirs: np.ndarray
    weights: dict  # {tensor name: ‖ours − theirs‖ / how far they moved}

    @property
    def errors(self):
        """All figures {name: relative error}, the losses' and norms' the largest of all steps."""
        figures = np.abs(self.ours / self.theirs - 1.0)
        named = dict(
            zip(
                ("generator's loss", "discriminator's loss", "gradient's norm"),
                figures.max(axis=0),
                strict=True,
            )
        )
        return {name: float(error) for name, error in named.items()} | self.weights


def training_trajectory(
    config=CONFIG, settings=SETTINGS, dtype=np.float64, seed=0, steps=STEPS, workers=None
):
    """The first steps of training: `Engine.step` as a run calls it, and the twin.

    workers: of the engine. The error of a tensor's final weights is relative to how far training moved it,
    and not to its size, because that would be misleading.
    """
    objective = joint_model(config, settings, dtype, seed)
    before = {name: array.copy() for name, array in objective.parameters.state().items()}
    twin, engine = twins.Twin(objective, torch_dtype(dtype)), make_engine(objective, workers=workers)
    adam = (twins.TorchAdamW if settings.bias_correction else twins.ElectraAdam)(twin.parameters, settings)
    ours, theirs = [], []
    for step in range(steps):
        batch, _ = make_batch(config, 100 + step, count=settings.batch_size)
        result = engine.step(batch, schedule.learning_rate(step, steps, PEAK, WARMUP), seed, step)
        ours.append((result.gen_loss, result.disc_loss, result.grad_norm))
        numbers = [  # those of the run: one stream per shard
            RandomStream((seed, Purpose.STEP, step, i)).uniform(batch.positions[part].size, dtype)
            for i, part in enumerate(shard_slices(len(batch.input_ids), settings.shards))
        ]
        losses, _ = twin.losses(batch, uniform=np.concatenate(numbers))
        twin.backward(losses["total"])
        norm = twins.clip(twin.parameters, settings.clip_norm)
        theirs.append((float(losses["generator"].detach()), float(losses["discriminator"].detach()), norm))
        adam.step(twins.schedule(step, steps, PEAK, WARMUP))
    moved = {name: array - before[name] for name, array in engine.objective.parameters.state().items()}
    engine.close()
    expected = {name: p.detach().numpy() - before[name] for name, p in twin.parameters.items()}
    return Trajectory(np.array(ours), np.array(theirs), relative_errors(moved, expected))
