"""Clipping by the global norm: a gradient that is too long is shortened, and keeps its direction."""


def clip_scale(norm, limit):
    """The factor that brings a gradient of this norm down to `limit`, or 1 if it is short enough.

    limit 0: no limit.
    """
    return limit / norm if limit and norm > limit else 1.0
