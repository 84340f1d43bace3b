"""Clipping by the global norm."""


def clip_scale(norm, limit):
    """(norm, the factor that brings a gradient of this global norm down to `limit`); limit 0: factor 1."""
    return norm, (limit / norm if limit and norm > limit else 1.0)
