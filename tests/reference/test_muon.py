"""Muon beside a PyTorch twin, step by step: the polynomial, momentum, decay, and Adam for the rest."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from minielectra.ops.reference.orthogonalize import COEFFICIENTS

from . import twins
from .checks import SETTINGS, training_trajectory, worst


class ElectraMuon(twins.ElectraAdam):
    """Muon for two-dimensional weights inside an encoder's layers, ElectraAdam for everything else."""

    @torch.no_grad()
    def step(self, rate):
        """One update at learning rate `rate` with the gradients at hand."""
        matrices = {n: p for n, p in self.parameters.items() if p.ndim == 2 and "encoder.layer" in n}
        everything = self.parameters
        self.parameters = {n: p for n, p in everything.items() if n not in matrices}
        super().step(rate)
        self.parameters = everything
        for name, p in matrices.items():
            m = self.first[name]
            m[...] = self.settings.muon_momentum * m + p.grad
            direction = polar_factor(p.grad + self.settings.muon_momentum * m)
            p *= 1 - rate * self.settings.weight_decay
            p -= rate * 0.2 * math.sqrt(max(p.shape)) * direction


def polar_factor(g):
    """The five steps on the singular values of an SVD instead of by products: another route to the same."""
    g = g / (torch.linalg.matrix_norm(g) + 1e-7)
    u, s, vt = torch.linalg.svd(g, full_matrices=False)
    for a, b, c in COEFFICIENTS:
        s = a * s + b * s**3 + c * s**5
    return (u * s) @ vt


@pytest.fixture
def muon(monkeypatch):
    monkeypatch.setattr(twins, "ElectraAdam", ElectraMuon)
    return replace(SETTINGS, optimizer="muon")


def test_twenty_steps_in_float64(muon):
    name, error = worst(training_trajectory(settings=muon).errors)
    assert error <= 1e-8, f"{name}: {error:.1e}"


def test_losses_in_float32(muon):
    trajectory = training_trajectory(settings=muon, dtype=np.float32)
    for name, error in trajectory.errors.items():
        if name not in trajectory.weights:
            assert error <= 1e-3, f"{name}: {error:.1e}"


def test_the_twin_would_notice_a_missing_look_ahead(muon):
    other = replace(muon, muon_momentum=0.9)
    ours = training_trajectory(settings=muon, steps=4).ours
    assert np.abs(ours / training_trajectory(settings=other, steps=4).ours - 1).max() > 1e-6
