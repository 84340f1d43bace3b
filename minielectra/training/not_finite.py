"""What to try if a loss or a gradient is no finite number: the setting that most likely caused it."""

# Settings in order of suspicion: {name: (whether a value is extreme, what to do)}. The learning rate is
# suspected if nothing else is, since any rate can be too high for some text.
_SUSPECTS = {
    "hidden_dropout_prob": (lambda value: value > 0.6, "lower"),
    "attention_probs_dropout_prob": (lambda value: value > 0.6, "lower"),
    "dropout": (lambda value: value > 0.6, "lower"),
    "initializer_range": (lambda value: value > 0.3, "lower"),
    "gen_weight": (lambda value: value > 1e4, "lower"),
    "disc_weight": (lambda value: value > 1e4, "lower"),
    "weight_decay": (lambda value: value > 10, "lower"),
    "layer_decay": (lambda value: value > 1.5, "lower"),
    "adam_epsilon": (lambda value: value < 1e-12, "raise"),
    "layer_norm_eps": (lambda value: value > 0.1, "lower"),
    "sample_temperature": (lambda value: value < 0.05, "raise"),
    "learning_rate": (lambda value: value > 5e-3, "lower"),
}


def advice(*configs):
    """What to change in these configurations -> "lower learning_rate (now 0.1)"."""
    found = {}
    for config in configs:
        found |= {name: getattr(config, name) for name in _SUSPECTS if hasattr(config, name)}
    extreme = [name for name, value in found.items() if _SUSPECTS[name][0](value)] or ["learning_rate"]
    names = sorted(extreme, key=list(_SUSPECTS).index)
    return " or ".join(f"{_SUSPECTS[name][1]} {name} (now {found[name]:g})" for name in names)
