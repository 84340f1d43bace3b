"""Make the model that comes with minielectra from a finished run: int8 weights, and a card with figures.

    python benchmarks/ship_mini.py runs/mini                   # writes minielectra/pretrained/mini
    python benchmarks/ship_mini.py runs/mini --out elsewhere

Everything that the card says about the run is read from the run's files, or measured now with the weights as
they are shipped. The text of the card is in mini_card.md.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.odd_word import interval
from minielectra.electra.electra_config import ElectraConfig
from minielectra.electra.towers import ElectraForPreTraining
from minielectra.errors import InputError
from minielectra.formats.files import replacing_folder, write_text
from minielectra.pretraining.exported_pair import save_compact
from minielectra.pretraining.fixed_corruption import make_fixed_corruption, score_fixed_corruption
from minielectra.pretraining.load import load_pretraining
from minielectra.pretraining.presets import configure
from minielectra.pretraining.pretraining_config import PretrainingConfig
from minielectra.pretraining.run_data import is_prepared, open_dataset
from minielectra.pretraining.run_settings import RunSettings
from minielectra.runs import run_folder
from minielectra.runs.metrics_log import read_metrics

ROOT = Path(__file__).resolve().parents[1]
# The texts that the card describes.
SOURCES = [
    f"{name}.txt" for name in ("enwiki_sample", "gutenberg", "inaugural", "masc", "state_union", "valid")
]
LIMIT = 5_000_000  # bytes of the whole folder


def ship(run, out):
    """Write the folder `out`, in one step. Raises InputError if the run cannot be used or is too large."""
    objective, tokenizer = load_pretraining(run)
    if sorted(objective.towers) != ["discriminator", "generator"]:
        raise InputError(f"{run}: has not both towers")
    with replacing_folder(out, overwrite=True) as folder:
        save_compact(objective.towers, folder, tokenizer)
        card = (ROOT / "benchmarks" / "mini_card.md").read_text(encoding="utf-8")
        write_text(
            folder / "README.md", card.format(**_facts(run, objective), **_measured(run, objective, folder))
        )
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if size > LIMIT:
            raise InputError(
                f"{run}: {size:,} bytes as int8, at most {LIMIT:,} are shipped; train a smaller one"
            )
    return size


def _facts(run, objective):
    """{placeholder: text} of what the run's files say."""
    info, last = run_folder.load(run), read_metrics(run)[-1]
    config, gen_config = (objective.towers[name].config for name in ("discriminator", "generator"))
    settings, tokens = RunSettings.from_dict(info["settings"]), info["corpus"]["train_tokens"]
    sources = info["corpus"]["sources"]
    if sorted(sources) != SOURCES:
        raise InputError(
            f"{run}: learned from {', '.join(sources)}; mini_card.md describes {', '.join(SOURCES)}"
        )
    return {
        "parameters": f"{objective.parameters.size / 1e6:.2f}",
        "layers": config.num_hidden_layers,
        "hidden": config.hidden_size,
        "generator": "which has the same encoder and a head of its own"
        if objective.config.tie_encoders
        else f"{gen_config.hidden_size} wide",
        "longest": config.max_position_embeddings,
        "seq_length": objective.config.seq_length,
        "tokens": f"{tokens / 1e6:.1f}",
        "epochs": f"{last['tokens'] / tokens:.0f}",
        "steps": f"{last['step']:,}",
        "hours": f"{last['seconds'] / 3600:.1f}",
        "unigram_entropy": f"{last['unigram_entropy']:.2f}",
        "gen_loss": f"{last['gen_loss']:.2f}",
        "gen_accuracy": _percent(last["gen_accuracy"]),
        "disc_auc": f"{last['disc_auc']:.2f}",
        "disc_recall": _percent(last["disc_recall"]),
        "disc_precision": _percent(last["disc_precision"]),
        "replaced": _percent(1 - last["baseline_accuracy"]),
        "commands": "\n".join(_commands(info, settings)),
        "sources": ", ".join(sources),
    }


def _measured(run, objective, folder):
    """{placeholder: text} of what the shipped weights do, beside the run's own."""
    dataset = open_dataset(run, RunSettings.from_dict(run_folder.load(run)["settings"]))
    exact, rounded = (
        objective.towers["discriminator"],
        ElectraForPreTraining.from_pretrained(folder / "discriminator"),
    )
    fixed = make_fixed_corruption(dataset, exact.config.max_position_embeddings)
    scores = score_fixed_corruption(rounded, fixed)
    low, high = interval(scores["fixed_top1"], len(fixed.wrong))
    pair = [tower(fixed.input_ids, fixed.valid)[fixed.valid].astype(np.float64) for tower in (exact, rounded)]
    changes = np.abs(np.subtract(*(1 / (1 + np.exp(-logits)) for logits in pair)))
    return {
        "sentences": len(fixed.wrong),
        "top1": _percent(scores["fixed_top1"]),
        "low": _percent(low),
        "high": _percent(high),
        "auc": f"{scores['fixed_auc']:.2f}",
        "float_top1": _percent(score_fixed_corruption(exact, fixed)["fixed_top1"]),
        "mean_change": f"{changes.mean():.4f}",
        "largest_change": f"{changes.max():.3f}",
    }


def _percent(share):
    return f"{100 * share:.0f} %"


def _commands(info, settings):
    """The commands that make such a run: what differs from today's preset is spelled out."""
    preset = {}
    for config in configure(settings.preset):
        preset |= vars(config)
    recorded = vars(ElectraConfig(**info["config"])) | vars(PretrainingConfig(**info["pretraining"]))
    changed = [f"--set {name}={value}" for name, value in recorded.items() if value != preset[name]]
    corpus = "corpora"
    if settings.corpus and is_prepared(settings.corpus):
        corpus = "prepared"
        size = recorded["vocab_size"]
        yield f"python -m minielectra prepare --corpus corpora --out prepared --vocab-size {size}"
    train = (
        f"python -m minielectra train --preset {settings.preset} --corpus {corpus} --steps {info['steps']}"
    )
    yield " \\\n    ".join([f"{train} --seed {settings.seed} --out runs/mini", *changed])
    yield "python benchmarks/ship_mini.py runs/mini"


def main():
    """Read the command line, and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", help="a finished run of `train`")
    parser.add_argument("--out", type=Path, default=ROOT / "minielectra" / "pretrained" / "mini")
    options = parser.parse_args()
    try:
        size = ship(options.run, options.out)
    except InputError as error:
        sys.exit(f"ship_mini: {error}")
    print(f"{options.out}: {size:,} bytes")


if __name__ == "__main__":
    main()
