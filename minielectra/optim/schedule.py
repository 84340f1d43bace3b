"""The learning rate of each step: BERT's and ELECTRA's linear warm-up and decay."""


def learning_rate(step, steps, peak, warmup):
    """The rate of update number `step` (from 0) of `steps`: peak · (1 − step/steps) · min(1, step/warmup).

    The warm-up multiplies the line that already falls, as in the released code. warmup: in steps; 0: none.
    All three may also be times, or shares of a run (steps = 1): the rate then follows the clock.
    """
    return peak * (1.0 - step / steps) * min(1.0, step / warmup if warmup else 1.0)
