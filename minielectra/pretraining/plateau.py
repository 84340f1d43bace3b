"""Saying in plain words that a run ended on the plateau on which masked language models start."""

from minielectra.pretraining.presets import DEFAULT_STEPS

NEAR = 0.3  # nats under the unigram level
BLIND = 0.65  # AUC
FEWEST_STEPS = 100  # who asks for fewer does not expect the model to learn anything


def on_plateau(row):
    """Whether a model has learnt how frequent words are, and nothing else. row: of metrics.jsonl."""
    auc = row.get("disc_auc")
    if row.get("gen_loss") is None:  # without a generator there is no such plateau
        return False
    return row["unigram_entropy"] - row["gen_loss"] < NEAR and (auc is None or auc < BLIND)


def plateau_message(folder, info, row):
    """What to tell the user at the end of a run that learnt too little -> text of a few lines, or "".

    info: the contents of its run.json; row: its last evaluation.
    """
    settings = info["settings"]
    wanted_so_few = row["step"] < FEWEST_STEPS and not settings.get("minutes")
    if wanted_so_few or not on_plateau(row):
        return ""
    text = (
        "This model has learnt how frequent each word is, and little else: predicting by frequency alone "
        f"gives a loss of {row['unigram_entropy']:.2f}, and it has {row['gen_loss']:.2f}."
    )
    if row.get("disc_auc") is not None:
        text += f" So it can hardly tell which words were replaced (AUC {row['disc_auc']:.2f}, chance 0.50)."
    usual = DEFAULT_STEPS.get(settings.get("preset"), 0)
    steps = max(2 * row["step"], min(usual, 100 * row["step"]))
    advice = f"Train longer: minielectra train --resume {folder} --steps {steps}"
    pretraining = info.get("pretraining", {})
    if pretraining.get("initialization") == "official" and not settings.get("init"):
        advice += "\nOr leave this stage sooner, with a new run and --set initialization=local_attention"
    return f"{text}\n{advice}"
