"""The PyTorch side: transformers' ELECTRA with our weights, the joint objective, and ELECTRA's optimizer.

It is written from the definitions (Clark et al. 2020; google-research/electra) and shares nothing with
minielectra but its configurations, parameter names and `MaskedBatch`. B sequences of T tokens, K chosen
positions each, V words.
"""

import dataclasses

import numpy as np
import torch
import transformers

# PyTorch's idle threads spin: on two cores, beside our two shards, a step took twenty times as long.
torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

EMBEDDINGS = "electra.embeddings."  # with the dot: `embeddings_project` is each tower's own
KINDS = {
    "generator": "ElectraForMaskedLM",
    "discriminator": "ElectraForPreTraining",
    "corrector": "ElectraForMaskedLM",
}
SPECIAL = (0, 1, 2)  # ids that are never sampled without a network


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


def word_counts(vocab_size):
    """How often each word occurs, as objectives and their twins are told: [V] int64."""
    counts = np.arange(vocab_size) + 1
    counts[list(SPECIAL)] = 0
    return counts


def cross_entropy(x, labels):
    """Binary cross-entropy of each logit. x [B, T], labels [B, T] bool"""
    y, log_sigmoid = labels.to(x.dtype), torch.nn.functional.logsigmoid
    return -(y * log_sigmoid(x) + (1 - y) * log_sigmoid(-x))


class Positions:
    """The chosen positions of a MaskedBatch, as tensors."""

    def __init__(self, batch):
        self.ids, self.positions = integers(batch.input_ids), integers(batch.positions)
        self.valid, self.weights = torch.from_numpy(batch.valid), torch.from_numpy(batch.weights)
        self.rows = torch.arange(len(self.ids))[:, None]
        self.original, self.used = self.ids[self.rows, self.positions], self.weights > 0

    def mean(self, x):
        """The weighted mean of x [B, K]."""
        weights = self.weights.to(x.dtype)
        return (weights * x).sum() / weights.sum()


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
    """Every objective of pre-training: its towers, what they share, and its losses, from their definitions.

    `parameters` carry minielectra's joint names: `electra.embeddings.…` for the tables that towers share, the
    rest under `generator.` and `discriminator.` (which the corrector belongs to, too); with tied encoders
    everything under the latter.
    """

    def __init__(self, objective, dtype):
        """objective: one of pre-training, whose weights are copied; dtype: torch's."""
        self.settings, self.counts = objective.config, word_counts(objective.model_config.vocab_size)
        self.towers = {
            name: build(KINDS[name], tower.config, dtype) for name, tower in objective.towers.items()
        }
        judges = [module for name, module in self.towers.items() if name != "generator"]
        for module in judges[1:]:  # two heads on one encoder
            module.electra = judges[0].electra
        first, self.differences = next(iter(self.towers.values())).electra.embeddings, {}
        if self.settings.embeddings == "shared":
            for module in self.towers.values():
                module.electra.embeddings = first
        if self.settings.embeddings == "gdes":
            self.shared = first
            self.differences = {
                name: torch.nn.Parameter(torch.zeros_like(weight))
                for name, weight in first.named_parameters()
            }
        if tied := self.settings.tie_encoders:
            self.towers["generator"].electra = judges[0].electra
            if "corrector" in self.towers:  # which then has the generator's head, too
                self.towers["generator"] = self.towers["corrector"]
        for module in self.towers.values():
            if hasattr(module, "generator_lm_head"):
                module.generator_lm_head.weight = module.electra.embeddings.word_embeddings.weight
        self.parameters = {}
        for tower, module in self.towers.items():
            for name, parameter in module.named_parameters():
                judge = tower != "generator"
                joint = f"{'discriminator' if judge or tied else tower}.{name}"
                if name.startswith(EMBEDDINGS):
                    if self.differences and judge:
                        continue
                    joint = joint if self.settings.embeddings == "separate" and judge else name
                self.parameters[joint] = parameter
        self.parameters |= {
            f"discriminator.difference.{EMBEDDINGS}{name}": difference
            for name, difference in self.differences.items()
        }
        if self.settings.adversarial:
            for name in ("generator.baseline.weight", "generator.baseline.bias"):
                empty = torch.empty(objective.parameters.shapes[name], dtype=dtype)
                self.parameters[name] = torch.nn.Parameter(empty)
        copy(objective.parameters.state(), self.parameters)

    def run(self, tower, ids, batch):
        """The logits of a tower. ids [B, T]"""
        inputs = {"attention_mask": integers(batch.valid), "token_type_ids": integers(batch.segments)}
        module, tables = self.towers[tower], {}
        if self.differences and tower != "generator":  # stop-gradient(the generator's) + difference
            tables = {
                f"{EMBEDDINGS}{name}": weight.detach() + self.differences[name]
                for name, weight in self.shared.named_parameters()
            }
        return torch.func.functional_call(module, tables, (ids,), inputs).logits

    def losses(self, batch, samples=None, uniform=None):
        """-> losses, and the generator's probabilities [B, K, V].

        batch: MaskedBatch, on the host; samples [B, K] int to corrupt with, or uniform [B·K] to draw them
        with. The losses are "total" and those of "generator", "discriminator" and "corrector" that there are,
        0-d tensors.
        """
        at = Positions(batch)
        settings, found, p, total = self.settings, {}, None, 0.0
        if "generator" in self.towers:
            log_p = self.run("generator", integers(batch.masked_ids), batch)[at.rows, at.positions]
            log_p = log_p.log_softmax(-1)
            found["generator"] = at.mean(-log_p.gather(-1, at.original[..., None])[..., 0])
            total, p = settings.gen_weight * found["generator"], log_p.detach().exp()
        if list(self.towers) == ["generator"]:
            return found | {"total": total}, p

        if uniform is None:
            samples = integers(samples)
        else:
            samples = self.draw(p, torch.from_numpy(uniform).reshape(at.original.shape))
        from_network = settings.sampler == "generator"
        drawn = at.used
        if settings.objective == "electric" and from_network:
            drawn = at.used & (torch.arange(samples.shape[1]) % 2 == 0)
        corrupted = at.ids.clone()
        for b, k in drawn.nonzero():
            corrupted[b, at.positions[b, k]] = samples[b, k]
        if settings.objective in ("electra", "electra-15", "rtd+mlm"):
            replaced = corrupted != at.ids  # a right guess is an original token
            each = cross_entropy(self.run("discriminator", corrupted, batch), replaced)
            every = settings.objective != "electra-15"
            found["discriminator"] = each[at.valid].mean() if every else at.mean(each[at.rows, at.positions])
        if settings.objective in ("replace-mlm", "rtd+mlm"):
            log_p = self.run("corrector", corrupted, batch)[at.rows, at.positions].log_softmax(-1)
            found["corrector"] = at.mean(-log_p.gather(-1, at.original[..., None])[..., 0])
        if settings.objective == "all-tokens-mlm":
            chance = self.run("corrector", corrupted, batch).softmax(-1)
            chance = chance.gather(-1, at.ids[..., None])[..., 0]
            if settings.copy_gate:
                write = self.run("discriminator", corrupted, batch).sigmoid()
                chance = (1 - write) * (corrupted == at.ids) + write * chance
            found["corrector"] = -chance[at.valid].log().mean()
        if settings.objective == "electric":
            found["discriminator"] = self.contrast(batch, at, corrupted, drawn, p)
        if settings.adversarial:
            found["adversary"] = self.adversary(batch, at, each, samples)
            total = settings.gen_weight * found["adversary"]
        total = total + settings.disc_weight * found.get("discriminator", 0.0)
        return found | {"total": total + settings.mlm_weight * found.get("corrector", 0.0)}, p

    def adversary(self, batch, at, each, samples):
        """REINFORCE, and its baseline. each [B, T]: the discriminator's loss of every token."""
        module, reward = self.towers["generator"], each.detach()[at.rows, at.positions]
        mask, segments = integers(batch.valid), integers(batch.segments)
        hidden = module.electra(integers(batch.masked_ids), mask, segments).last_hidden_state
        logits = module.generator_lm_head(module.generator_predictions(hidden))[at.rows, at.positions]
        u = hidden.detach()[at.rows, at.positions] @ self.parameters["generator.baseline.weight"][0]
        u = u + self.parameters["generator.baseline.bias"]
        log_policy = (logits / self.settings.sample_temperature).log_softmax(-1)
        log_policy = log_policy.gather(-1, samples[..., None])[..., 0]
        expected, log_sigmoid = torch.exp(-reward), torch.nn.functional.logsigmoid
        b = -log_sigmoid(u.detach())
        fit = -(expected * log_sigmoid(u) + (1 - expected) * log_sigmoid(-u))
        return at.mean(-(reward - b) * log_policy + fit)

    def contrast(self, batch, at, corrupted, drawn, p):
        """Noise-contrastive estimation of the energies, example by example."""
        energy = self.run("discriminator", corrupted, batch)
        total, law = 0.0, self.law(energy.dtype)
        for b in range(len(corrupted)):
            noise = {int(at.positions[b, k]) for k in drawn[b].nonzero()[:, 0]}
            if p is not None and self.settings.sampler == "generator":
                tempered = p[b] ** (1.0 / self.settings.sample_temperature)
                tempered = tempered / tempered.sum(-1, keepdim=True)
                known = {
                    int(at.positions[b, k]): (at.weights[b, k], tempered[k, corrupted[b, at.positions[b, k]]])
                    for k in at.used[b].nonzero()[:, 0]
                }
            else:
                known = {
                    t: (1.0, law[corrupted[b, t]])
                    for t in at.valid[b].nonzero()[:, 0].tolist()
                    if law[corrupted[b, t]] > 0
                }
            k = len(noise & known.keys())
            n = max(len(known) - k, 1), max(k, 1)
            for t, (weight, q) in known.items():
                text = n[0] * torch.exp(-energy[b, t])
                share = n[1] * q / (n[1] * q + text)
                total = total - weight * torch.log(share if t in noise else 1 - share)
        everywhere = self.settings.sampler != "generator"
        return total / (at.valid.sum() if everywhere else at.weights.sum())

    def law(self, dtype):
        """The distribution of samples without a network, [V]."""
        p = torch.from_numpy(self.counts).to(dtype)
        p = (p > 0).to(dtype) if self.settings.sampler == "uniform" else p
        p = p ** (1.0 / self.settings.sample_temperature)
        return p / p.sum()

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
