"""Fine-tuning beside PyTorch: each head's logits, its loss with every gradient, and the first steps of training, with transformers'
model of the same name and the losses written from their definitions."""

import numpy as np
import pytest
import torch
import transformers

from minielectra.finetuning.finetuning_config import FinetuningConfig
from minielectra.finetuning.heads import HeadConfig
from minielectra.finetuning.objective import HEADS, Finetuning
from minielectra.finetuning.sequences import TaskBatch
from minielectra.nn.layers import Run
from minielectra.training.step import Trainee

from . import twins
from .checks import CONFIG, fill, make_tokens, relative_errors, torch_dtype
from .test_towers import precisions, small

CASES = {
    "classification": ("classification", ("a", "b", "c")),
    "regression": ("classification", ("score",)),
    "tagging": ("tagging", ("a", "b", "c", "d")),
    "answering": ("answering", ("start", "end")),
}
cases = pytest.mark.parametrize("case", CASES)


def make(case, dtype, seed=0, **settings):
    """-> our Finetuning model, and transformers' with the same weights."""
    head, labels = CASES[case]
    fields = {name: getattr(CONFIG, name) for name in CONFIG.__dataclass_fields__}
    config = HeadConfig(**fields, labels=labels)
    model = Finetuning(config, FinetuningConfig(head=head, dropout=0.0, bias_correction=False, **settings), dtype=dtype)
    fill(model.parameters, seed)
    theirs = transformers.ElectraConfig(**fields, num_labels=len(labels), classifier_dropout=0.0)
    module = getattr(transformers, HEADS[head].__name__)._from_config(
        theirs, attn_implementation="eager", dtype=torch_dtype(dtype)
    ).eval()  # fmt: skip
    module.electra.embeddings.word_embeddings.padding_idx = None  # as in twins.build
    parameters = dict(module.named_parameters())
    twins.copy(model.parameters.state(), parameters)
    return model, module, parameters


def make_batch(case, seed):
    head, labels = CASES[case]
    ids, valid, segments = make_tokens(CONFIG, seed)
    random = np.random.default_rng([seed, 9])
    per_token = (valid * (random.random(valid.shape) < 0.7)).astype(np.float32)
    per_token[:, 0] = 1.0
    if head == "tagging":
        return TaskBatch(ids, segments, valid, random.integers(0, len(labels), ids.shape, dtype=np.int32), per_token)
    if head == "answering":
        targets = np.array([random.choice(np.flatnonzero(row), 2) for row in per_token], np.int32)
        return TaskBatch(ids, segments, valid, targets, per_token)
    targets = random.standard_normal(len(ids), np.float32) if len(labels) == 1 else random.integers(0, len(labels), len(ids))
    return TaskBatch(ids, segments, valid, targets, np.ones(len(ids), np.float32))


def their_loss(case, module, batch):
    out = module(
        twins.integers(batch.input_ids), attention_mask=twins.integers(batch.valid),
        token_type_ids=twins.integers(batch.token_type_ids),
    )  # fmt: skip
    functional = torch.nn.functional
    if case == "answering":
        closed = torch.from_numpy(batch.weights) == 0
        targets = twins.integers(batch.targets)
        both = (out.start_logits, out.end_logits)
        return sum(functional.cross_entropy(x.masked_fill(closed, -torch.inf), targets[:, i]) for i, x in enumerate(both)) / 2
    if case == "tagging":
        return functional.cross_entropy(out.logits[batch.weights > 0], twins.integers(batch.targets[batch.weights > 0]))
    if case == "regression":
        return functional.mse_loss(out.logits[:, 0], torch.from_numpy(batch.targets).to(out.logits.dtype))
    return functional.cross_entropy(out.logits, twins.integers(batch.targets))


def errors(ours, theirs):
    """`relative_errors`, but those of two biases under the answers measured against their weights: softmax over tokens does not see
    what all of them have in common, so these gradients are zero by algebra, and rounding noise on both sides."""
    found = relative_errors(ours, theirs)
    if "qa_outputs.bias" in theirs:
        for layer in ("qa_outputs", f"electra.encoder.layer.{CONFIG.num_hidden_layers - 1}.output.LayerNorm"):
            bias, weight = f"{layer}.bias", f"{layer}.weight"
            found[bias] = float(np.linalg.norm(ours[bias] - theirs[bias]) / np.linalg.norm(theirs[weight]))
    return found


def loss_and_gradients(case, dtype):
    """{tensor: relative error} of the loss and of every gradient."""
    model, module, parameters = make(case, dtype)
    batch = make_batch(case, 1)
    loss, cache = model.forward(batch, batch.normalizers(), Run())
    model.backward(cache, Run())
    expected = their_loss(case, module, batch)
    expected.backward()
    ours = {"loss": np.asarray(loss)} | {name: model.parameters[name].grad for name in model.parameters}
    theirs = {"loss": expected.detach().numpy()} | twins.gradients(parameters)
    return errors(ours, theirs)


@precisions
@cases
def test_loss_and_every_gradient(case, dtype):
    small(loss_and_gradients(case, dtype), dtype)


def first_steps(case):
    """Six steps, layer-wise decay included: ELECTRA's Adam for each parameter, at its own rate. -> {figure: relative error} of the
    losses and norms, {tensor: relative error} of how far the weights moved."""
    model, module, parameters = make(case, np.float64, layer_decay=0.7, weight_decay=0.01, batch_size=5, clip_norm=3.0)
    before = {name: x.copy() for name, x in model.parameters.state().items()}
    settings, trainee, numbers = model.settings[1], Trainee(model), {}
    depths = {
        name: CONFIG.num_hidden_layers + 2 for name in parameters
    }  # released code: the head; then the layers, the embeddings
    for name in parameters:
        if name.startswith("electra."):
            depths[name] = int(name.split(".")[3]) + 1 if name.startswith("electra.encoder") else 0
    adams = {name: twins.ElectraAdam({name: p}, settings) for name, p in parameters.items()}
    for step in range(6):
        batch, rate = make_batch(case, step), 1e-2 * (6 - step)
        result = trainee.step(batch, rate, 0, step)
        module.zero_grad()
        expected = their_loss(case, module, batch)
        expected.backward()
        norm = twins.clip(parameters, settings.clip_norm)
        for name, adam in adams.items():
            adam.step(rate * 0.7 ** (CONFIG.num_hidden_layers + 2 - depths[name]))
        pairs = {"loss": (result.losses[0], float(expected.detach())), "norm": (result.grad_norm, norm)}
        numbers |= {f"{name} of step {step + 1}": abs(a - b) / abs(b) for name, (a, b) in pairs.items()}
    moved = {name: x - before[name] for name, x in trainee.model.parameters.state().items()}
    trainee.close()
    expected = {name: p.detach().numpy() - before[name] for name, p in parameters.items()}
    return numbers, errors(moved, expected)


@cases
def test_first_steps_of_training(case):
    for found in first_steps(case):
        small(found, np.float64)


@cases
def test_a_directory_opens_in_transformers_and_predicts_the_same(case, tmp_path):
    model, _, _ = make(case, np.float32)
    model.model.save_pretrained(tmp_path)
    kind = type(model.model)
    theirs, about = getattr(transformers, kind.__name__).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(about.values())
    assert tuple(theirs.config.id2label.values()) == CASES[case][1]
    ids, valid, segments = make_tokens(CONFIG, 5)
    out = theirs.eval()(*map(twins.integers, (ids, valid, segments)))
    logits = torch.stack([out.start_logits, out.end_logits], -1) if case == "answering" else out.logits
    np.testing.assert_allclose(model.model(ids, valid, segments), logits.detach().numpy(), rtol=1e-5, atol=1e-5)
    theirs.save_pretrained(tmp_path)
    again = kind.from_pretrained(tmp_path)
    assert again.config.labels == CASES[case][1]
    assert (again.parameters.flat == model.parameters.flat).all()
