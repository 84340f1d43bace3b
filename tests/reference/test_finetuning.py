"""Fine-tuning beside PyTorch: logits, losses, every gradient, and the first steps of training, for each head.

The other side is transformers' model of the same name, with losses written from their definitions. A mix of
layers, which transformers does not have, is written from its definition too.
"""

from dataclasses import asdict

import numpy as np
import pytest
import torch
import transformers

from minielectra.finetuning.finetuning_config import FinetuningConfig
from minielectra.finetuning.heads import (
    ElectraForQuestionAnswering,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
    HeadConfig,
)
from minielectra.finetuning.objective import MIX_RATE, FinetuningObjective
from minielectra.finetuning.sequences import TaskBatch
from minielectra.finetuning.task_losses import AnsweringLoss, ClassificationLoss, RegressionLoss, TaggingLoss
from minielectra.nn.layers import PassContext
from minielectra.training.engine import make_engine

from . import twins
from .checks import CONFIG, fill, make_tokens, relative_errors, torch_dtype
from .test_towers import precisions, small

CASES = {  # model, labels, loss
    "classification": (ElectraForSequenceClassification, ("a", "b", "c"), ClassificationLoss()),
    "regression": (ElectraForSequenceClassification, ("score",), RegressionLoss()),
    "tagging": (ElectraForTokenClassification, ("a", "b", "c", "d"), TaggingLoss()),
    "answering": (ElectraForQuestionAnswering, ("start", "end"), AnsweringLoss()),
}
cases = pytest.mark.parametrize("case", CASES)
readouts = pytest.mark.parametrize("readout", ["last", "mix"])


def make(case, dtype, seed=0, readout="last", **settings):
    """-> our objective, transformers' model with the same weights, and its parameters {name: tensor}."""
    kind, labels, loss = CASES[case]
    fields = asdict(CONFIG)
    settings = FinetuningConfig(dropout=0.0, bias_correction=False, **settings)
    config = HeadConfig(**fields, labels=labels, readout=readout)
    objective = FinetuningObjective(config, settings, kind, loss, dtype=dtype)
    fill(objective.parameters, seed)
    theirs = transformers.ElectraConfig(**fields, num_labels=len(labels), classifier_dropout=0.0)
    make_module = getattr(transformers, kind.__name__)._from_config
    module = make_module(theirs, attn_implementation="eager", dtype=torch_dtype(dtype)).eval()
    module.electra.embeddings.word_embeddings.padding_idx = None  # as in twins.build
    if readout == "mix":
        module.layer_mix = torch.nn.Module()
        for name, size in (("weights", CONFIG.num_hidden_layers + 1), ("scale", 1)):
            number = torch.nn.Parameter(torch.zeros(size, dtype=torch_dtype(dtype)))
            module.layer_mix.register_parameter(name, number)
    parameters = dict(module.named_parameters())
    twins.copy(objective.parameters.state(), parameters)
    return objective, module, parameters


def make_batch(case, seed):
    labels = CASES[case][1]
    ids, valid, segments = make_tokens(CONFIG, seed)
    random = np.random.default_rng([seed, 9])
    per_token = (valid * (random.random(valid.shape) < 0.7)).astype(np.float32)
    per_token[:, 0] = 1.0
    if case == "tagging":
        return TaskBatch(
            ids, segments, valid, random.integers(0, len(labels), ids.shape, dtype=np.int32), per_token
        )
    if case == "answering":
        targets = np.array([random.choice(np.flatnonzero(row), 2) for row in per_token], np.int32)
        return TaskBatch(ids, segments, valid, targets, per_token)
    if case == "regression":
        targets = random.standard_normal(len(ids), np.float32)
    else:
        targets = random.integers(0, len(labels), len(ids))
    return TaskBatch(ids, segments, valid, targets, np.ones(len(ids), np.float32))


def their_logits(case, module, ids, valid, segments):
    """[B, L], or [B, T, L] if there are logits for every token."""
    if hasattr(module, "layer_mix"):
        out = module.electra(ids, valid, segments, output_hidden_states=True)
        shares = torch.softmax(module.layer_mix.weights, dim=0)
        layers = zip(shares, out.hidden_states, strict=True)
        hidden = module.layer_mix.scale * sum(share * layer for share, layer in layers)
        return (module.qa_outputs if case == "answering" else module.classifier)(hidden)
    out = module(ids, valid, segments)
    return torch.stack([out.start_logits, out.end_logits], -1) if case == "answering" else out.logits


def their_loss(case, module, batch):
    ids, valid, segments = map(twins.integers, (batch.input_ids, batch.valid, batch.segments))
    logits = their_logits(case, module, ids, valid, segments)
    cross_entropy, mse_loss = torch.nn.functional.cross_entropy, torch.nn.functional.mse_loss
    if case == "answering":
        closed = torch.from_numpy(batch.weights) == 0
        first, last = twins.integers(batch.targets).T
        start, end = (logits[..., i].masked_fill(closed, -torch.inf) for i in (0, 1))
        return (cross_entropy(start, first) + cross_entropy(end, last)) / 2
    if case == "tagging":
        used = batch.weights > 0
        return cross_entropy(logits[used], twins.integers(batch.targets[used]))
    if case == "regression":
        return mse_loss(logits[:, 0], torch.from_numpy(batch.targets).to(logits.dtype))
    return cross_entropy(logits, twins.integers(batch.targets))


def errors(ours, theirs):
    """`relative_errors`, but those of two biases under the answers are measured against their weights.

    Softmax over tokens does not see what all of them have in common. So these gradients are zero by algebra,
    and rounding noise on both sides.
    """
    found = relative_errors(ours, theirs)
    if "qa_outputs.bias" in theirs:
        for layer in ("qa_outputs", f"electra.encoder.layer.{CONFIG.num_hidden_layers - 1}.output.LayerNorm"):
            bias, weight = f"{layer}.bias", f"{layer}.weight"
            found[bias] = float(np.linalg.norm(ours[bias] - theirs[bias]) / np.linalg.norm(theirs[weight]))
    return found


def loss_and_gradients(case, dtype, readout="last"):
    """{tensor: relative error} of the loss and of every gradient."""
    objective, module, parameters = make(case, dtype, readout=readout)
    batch = make_batch(case, 1)
    outcome, cache = objective.forward(batch, batch.normalizers(), PassContext())
    objective.backward(cache, PassContext())
    expected = their_loss(case, module, batch)
    expected.backward()
    ours = {"loss": np.asarray(outcome.loss)}
    ours |= {name: objective.parameters[name].grad for name in objective.parameters}
    theirs = {"loss": expected.detach().numpy()} | twins.gradients(parameters)
    return errors(ours, theirs)


@precisions
@readouts
@cases
def test_loss_and_every_gradient(case, dtype, readout):
    small(loss_and_gradients(case, dtype, readout), dtype)


def first_steps(case, readout="last"):
    """Six steps, layer-wise decay included: ELECTRA's Adam for each parameter, at its own rate.

    -> {figure: relative error} of the losses and norms, {tensor: relative error} of how far the weights
    moved.
    """
    settings = {"layer_decay": 0.7, "weight_decay": 0.01, "batch_size": 5, "clip_norm": 3.0}
    objective, module, parameters = make(case, np.float64, readout=readout, **settings)
    before = {name: x.copy() for name, x in objective.parameters.state().items()}
    settings, engine, numbers = objective.config, make_engine(objective), {}
    # As in the released code: the head on top, then the layers, then the embeddings.
    depths = {name: CONFIG.num_hidden_layers + 2 for name in parameters}
    for name in parameters:
        if name.startswith("electra."):
            depths[name] = int(name.split(".")[3]) + 1 if name.startswith("electra.encoder") else 0
    adams = {name: twins.ElectraAdam({name: p}, settings) for name, p in parameters.items()}
    for step in range(6):
        batch, rate = make_batch(case, step), 1e-2 * (6 - step)
        result = engine.step(batch, rate, 0, step)
        module.zero_grad()
        expected = their_loss(case, module, batch)
        expected.backward()
        norm = twins.clip(parameters, settings.clip_norm)
        for name, adam in adams.items():
            own_rate = rate * 0.7 ** (CONFIG.num_hidden_layers + 2 - depths[name])
            adam.step(MIX_RATE * own_rate if name.startswith("layer_mix") else own_rate)
        pairs = {"loss": (result.losses[0], float(expected.detach())), "norm": (result.grad_norm, norm)}
        numbers |= {f"{name} of step {step + 1}": abs(a - b) / abs(b) for name, (a, b) in pairs.items()}
    moved = {name: x - before[name] for name, x in engine.objective.parameters.state().items()}
    engine.close()
    expected = {name: p.detach().numpy() - before[name] for name, p in parameters.items()}
    return numbers, errors(moved, expected)


@readouts
@cases
def test_first_steps_of_training(case, readout):
    for found in first_steps(case, readout):
        small(found, np.float64)


@cases
def test_a_directory_opens_in_transformers_and_predicts_the_same(case, tmp_path):
    model = make(case, np.float32)[0].model
    model.save_pretrained(tmp_path)
    kind = type(model)
    theirs, about = getattr(transformers, kind.__name__).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(about.values())
    assert tuple(theirs.config.id2label.values()) == CASES[case][1]
    ids, valid, segments = make_tokens(CONFIG, 5)
    logits = their_logits(case, theirs.eval(), *map(twins.integers, (ids, valid, segments)))
    np.testing.assert_allclose(model(ids, valid, segments), logits.detach().numpy(), rtol=1e-5, atol=1e-5)
    theirs.save_pretrained(tmp_path)
    again = kind.from_pretrained(tmp_path)
    assert again.config.labels == CASES[case][1]
    assert (again.parameters.flat == model.parameters.flat).all()


def test_transformers_refuses_a_mix_of_layers(tmp_path):
    """It would ignore the mix, and read the last layer."""
    make("classification", np.float32, readout="mix")[0].model.save_pretrained(tmp_path)
    for kind in (transformers.AutoConfig, transformers.AutoModelForSequenceClassification):
        with pytest.raises((ValueError, KeyError), match="minielectra"):
            kind.from_pretrained(tmp_path)
