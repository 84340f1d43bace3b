"""The learning-rate schedule of BERT and ELECTRA."""


def learning_rate(step, steps, peak, warmup):
    """lr of update number `step` (from 0): peak · (1 − step/steps) · min(1, step/warmup). Warm-up multiplies the falling line."""
    return peak * (1.0 - step / steps) * min(1.0, step / warmup if warmup else 1.0)
