"""The PyTorch side: transformers' ELECTRA with our weights, the joint objective, and ELECTRA's optimizer.

It is written from the definitions (Clark et al. 2020; google-research/electra) and shares nothing with
minielectra but its configurations, parameter names and `MaskedBatch`. B sequences of T tokens, K chosen
positions each, V words.
"""

import dataclasses

import torch
import transformers

# PyTorch's idle threads spin: on two cores, beside our two shards, a step took twenty times as long.
torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

EMBEDDINGS = "electra.embeddings."  # with the dot: `embeddings_project` is each tower's own
KINDS = {"generator": "ElectraForMaskedLM", "discriminator": "ElectraForPreTraining"}


def build(kind, config, dtype):
    """transformers' model of class name `kind` for our ElectraConfig: eager attention, no dropout."""
    settings = transformers.ElectraConfig(**dataclasses.asdict(config))
    module = (
        getattr(transformers, kind)._from_config(settings, attn_implementation="eager", dtype=dtype).eval()
    )
    # transformers gives the [PAD] row of the word table no gradient; the original TensorFlow code does, and
    # so do we.
    module.electra.embeddings.word_embeddings.padding_idx = None
    return module


@torch.no_grad()
def copy(arrays, parameters):
    """Copy {name: NumPy array} into {name: torch parameter}; the names must be the same."""
    assert arrays.keys() == parameters.keys(), sorted(arrays.keys() ^ parameters.keys())
    for name, parameter in parameters.items():
        parameter.copy_(torch.from_numpy(arrays[name]))


def gradients(parameters):
    """{name: NumPy array} of the gradients of {name: torch parameter}."""
    return {name: parameter.grad.numpy() for name, parameter in parameters.items()}


def integers(array):
    """A NumPy array of integers or booleans as the int64 tensor that torch indexes with."""
    return torch.from_numpy(array).long()


class Tower:
    """One standalone tower: `parameters` {Hugging Face's name: tensor}, and its logits."""

    def __init__(self, kind, config, arrays, dtype):
        """kind: class name; arrays: {name: NumPy array}; dtype: torch's."""
        self.module = build(kind, config, dtype)
        self.parameters = dict(self.module.named_parameters())
        copy(arrays, self.parameters)

    def logits(self, ids, valid, segments):
        """ids, segments [B, T] int, valid [B, T] bool or None -> [B, T, V], or [B, T] of the discriminator"""
        mask = None if valid is None else integers(valid)
        return self.module(integers(ids), attention_mask=mask, token_type_ids=integers(segments)).logits


class Twin:
    """The joint model: two towers over one embeddings module, and the objective of the paper's section 2.

    `parameters` carry minielectra's joint names: `electra.embeddings.…` once, the rest under `generator.` and
    `discriminator.`; with tied encoders everything under the latter.
    """

    def __init__(self, objective, dtype):
        """objective: one of pre-training, whose weights are copied; dtype: torch's."""
        self.settings = objective.config
        self.towers = {
            name: build(KINDS[name], tower.config, dtype) for name, tower in objective.towers.items()
        }
        shared = self.towers["generator"].electra.embeddings
        for module in self.towers.values():
            module.electra.embeddings = shared
        if tied := self.settings.tie_encoders:
            self.towers["generator"].electra = self.towers["discriminator"].electra
        # Tied, and it stays so.
        assert self.towers["generator"].generator_lm_head.weight is shared.word_embeddings.weight
        self.parameters = {
            name if name.startswith(EMBEDDINGS) else f"{'discriminator' if tied else tower}.{name}": parameter
            for tower, module in self.towers.items()
            for name, parameter in module.named_parameters()
        }
        copy(objective.parameters.state(), self.parameters)

    def losses(self, batch, samples=None, uniform=None):
        """-> losses, and the generator's probabilities [B, K, V].

        batch: MaskedBatch, on the host; samples [B, K] int to corrupt with, or uniform [B·K] to draw them
        with. The losses are {"total", "generator", "discriminator"}, 0-d tensors; the last only under the
        electra objective.
        """
        ids, positions, weights = (
            integers(batch.input_ids),
            integers(batch.positions),
            torch.from_numpy(batch.weights),
        )
        valid, segments = integers(batch.valid), integers(batch.segments)
        rows = torch.arange(len(ids))[:, None]
        original = ids[rows, positions]

        logits = self.towers["generator"](
            integers(batch.masked_ids), attention_mask=valid, token_type_ids=segments
        ).logits
        log_p = logits[rows, positions].log_softmax(-1)
        nll = -log_p.gather(-1, original[..., None])[..., 0]
        weights = weights.to(nll.dtype)
        found = {"generator": (weights * nll).sum() / weights.sum()}
        found["total"] = self.settings.gen_weight * found["generator"]
        p = log_p.detach().exp()
        if "discriminator" not in self.towers:
            return found, p

        samples = (
            integers(samples)
            if uniform is None
            else self.draw(p, torch.from_numpy(uniform).reshape(original.shape))
        )
        corrupted = ids.clone()
        for b, k in (weights > 0).nonzero():
            corrupted[b, positions[b, k]] = samples[b, k]
        replaced = (corrupted != ids).to(nll.dtype)  # a right guess is an original token
        x = self.towers["discriminator"](corrupted, attention_mask=valid, token_type_ids=segments).logits
        log_sigmoid = torch.nn.functional.logsigmoid
        each = -(replaced * log_sigmoid(x) + (1 - replaced) * log_sigmoid(-x))
        found["discriminator"] = each[valid == 1].mean()
        found["total"] = found["total"] + self.settings.disc_weight * found["discriminator"]
        return found, p

    def draw(self, p, uniform):
        """p [B, K, V], uniform [B, K] -> samples [B, K].

        Each is the first word whose cumulative probability exceeds the uniform number.
        """
        p = p ** (1.0 / self.settings.sample_temperature)
        cumulative = p.cumsum(-1)
        target = uniform.to(p.dtype)[..., None] * cumulative[..., -1:]
        return torch.searchsorted(cumulative, target, right=True)[..., 0].clamp(max=p.shape[-1] - 1)

    def backward(self, total):
        """Gradients of `total`, fresh, in `parameters`."""
        for parameter in self.parameters.values():
            parameter.grad = None
        total.backward()


def decayed(name):
    """Whether weight decay applies: to matrices and tables, not to LayerNorm and not to biases."""
    return not (name.endswith("bias") or "LayerNorm" in name)


def schedule(step, steps, peak, warmup):
    """The learning rate of update `step`, from 0: a line that falls to 0 at `steps`, times the warm-up."""
    line = peak * (steps - step) / steps
    return line * step / warmup if step < warmup else line


@torch.no_grad()
def clip(parameters, limit):
    """Scale all gradients so that their joint norm is at most `limit` -> the norm before."""
    norm = torch.sqrt(sum((parameter.grad**2).sum() for parameter in parameters.values()))
    if norm > limit:
        for parameter in parameters.values():
            parameter.grad *= limit / norm
    return float(norm)


class ElectraAdam:
    """Adam without bias correction, with ε added after the square root and decoupled decay.

    Source: google-research/electra, model/optimization.py.
    """

    def __init__(self, parameters, settings):
        """parameters {name: tensor}; settings: PretrainingConfig."""
        self.parameters, self.settings = parameters, settings
        self.first = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self.second = {name: torch.zeros_like(p) for name, p in parameters.items()}

    @torch.no_grad()
    def step(self, rate):
        """One update at learning rate `rate` with the gradients at hand."""
        s = self.settings
        for name, p in self.parameters.items():
            m, v = self.first[name], self.second[name]
            m[...] = s.adam_beta1 * m + (1 - s.adam_beta1) * p.grad
            v[...] = s.adam_beta2 * v + (1 - s.adam_beta2) * p.grad**2
            update = m / (v.sqrt() + s.adam_epsilon)
            if decayed(name):
                update = update + s.weight_decay * p
            p -= rate * update


class TorchAdamW:
    """torch.optim.AdamW itself, which corrects the bias of both moments."""

    def __init__(self, parameters, settings):
        """parameters {name: tensor}; settings: PretrainingConfig."""
        groups = [
            {
                "params": [p for name, p in parameters.items() if decayed(name)],
                "weight_decay": settings.weight_decay,
            },
            {"params": [p for name, p in parameters.items() if not decayed(name)], "weight_decay": 0.0},
        ]
        betas = (settings.adam_beta1, settings.adam_beta2)
        self.optimizer = torch.optim.AdamW(groups, betas=betas, eps=settings.adam_epsilon)

    def step(self, rate):
        """One update at learning rate `rate` with the gradients at hand."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
