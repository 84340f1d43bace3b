"""From a run folder to its pictures."""

from pathlib import Path

from minielectra.errors import InputError
from minielectra.plots import style
from minielectra.plots.acquisition import acquisition_frequency, acquisition_heatmap
from minielectra.plots.calibration import calibration
from minielectra.plots.confusions import confusions
from minielectra.plots.film_strip import film_strip
from minielectra.plots.groups import groups
from minielectra.plots.learning import has_discriminator, learning
from minielectra.plots.statistics import token_auc
from minielectra.plots.tokens import tokens as draw_tokens
from minielectra.runs.detection_records import DetectionRecords
from minielectra.runs.metrics_log import load_metrics
from minielectra.runs.run_folder import load_settings


def draw_all(run_dir, out_dir=None, tokens=None):
    """Draw every picture of a run; each file is written beside its place and then renamed.

    run_dir: a run folder (`metrics.jsonl`, `vocab.txt`, `detection.npz`, `run.json`); out_dir: where the PNGs go, by default
    `run_dir/plots`; tokens: word pieces to follow in tokens.png instead of the default mix.
    Returns the paths written. A run without a discriminator (MLM objective) gets learning.png only.
    Raises InputError when the folder is no run, a file is damaged, or a token is not in the vocabulary.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise InputError(f"{run_dir} is not a run folder: no such directory")
    out_dir = Path(out_dir) if out_dir else run_dir / "plots"
    metrics, settings = load_metrics(run_dir), load_settings(run_dir)
    with_records = has_discriminator(metrics)
    records = DetectionRecords.load(run_dir) if with_records else None
    for token in tokens or ():
        if records is None:
            raise InputError(f"{run_dir} has no discriminator: there is no detection of {token!r} to draw")
        records.id_of(token)  # a misspelt token is reported before anything is drawn

    pictures = {"learning.png": lambda: learning(metrics, settings)}
    if records is not None:
        curves = token_auc(records)
        pictures |= {
            "tokens.png": lambda: draw_tokens(records, tokens, curves),
            "groups.png": lambda: groups(records),
            "acquisition_heatmap.png": lambda: acquisition_heatmap(records, curves=curves),
            "acquisition_frequency.png": lambda: acquisition_frequency(records, curves=curves),
            "confusions.png": lambda: confusions(records),
            "film_strip.png": lambda: film_strip(records),
            "calibration.png": lambda: calibration(records),
        }
    return [style.save(draw(), out_dir / name) for name, draw in pictures.items()]
