"""Solutions to lesson 19."""

import numpy as np


def batch_needed(gradients, ratio):
    signal = gradients.mean(axis=0)
    variance = ((gradients - signal) ** 2).sum(axis=1).mean()
    return int(np.ceil(variance / (ratio**2 * (signal**2).sum())))


def noise_without_return(gradients, n):
    N = len(gradients)
    variance = ((gradients - gradients.mean(axis=0)) ** 2).sum(axis=1).mean()
    return variance / n * (N - n) / (N - 1)
