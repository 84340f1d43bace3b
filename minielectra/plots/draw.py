"""From the folder of a run to its pictures."""

from pathlib import Path

from minielectra.errors import InputError
from minielectra.plots import fonts, style
from minielectra.plots.acquisition import acquisition_frequency, acquisition_heatmap
from minielectra.plots.calibration import calibration
from minielectra.plots.confusions import confusions
from minielectra.plots.film_strip import film_strip
from minielectra.plots.groups import groups
from minielectra.plots.learning import has_discriminator, learning
from minielectra.plots.statistics import token_auc
from minielectra.plots.tokens import tokens as draw_tokens
from minielectra.runs import run_folder
from minielectra.runs.detection_records import DetectionRecords
from minielectra.runs.metrics_log import metric_columns


def draw_all(run_dir, out_dir=None, tokens=None):
    """Draw every picture of a run -> the paths of the PNGs.

    run_dir: the folder of a run, also while it goes on; out_dir: where the PNGs go, by default
    `run_dir/plots`; tokens: word pieces to follow in tokens.png instead of the default choice. A run without
    a discriminator (MLM objective) gets learning.png only.
    Raises InputError if the folder is not a run's, if a file is missing or damaged, or if a token is not in
    the vocabulary.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise InputError(f"{run_dir} is not a run folder: no such directory")
    out_dir = Path(out_dir) if out_dir else run_dir / "plots"
    settings, metrics = run_folder.load(run_dir)["settings"], metric_columns(run_dir)
    pictures = {"learning.png": lambda: learning(metrics, settings.get("preset"))}
    if has_discriminator(metrics):
        records = DetectionRecords.load(run_dir)
        for token in tokens or ():
            records.id_of(token)  # reports a misspelt token before anything is drawn
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
    elif tokens:
        raise InputError(f"{run_dir} has no discriminator: there is no detection of {tokens[0]!r} to draw")
    paths = [style.save(draw(), out_dir / name) for name, draw in pictures.items()]
    fonts.tell_lacking()
    return paths
