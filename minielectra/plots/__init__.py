"""Pictures of a run: per-token detection learning curves and what goes with them. Reads a run folder; imports no model.

| file | picture |
|---|---|
| `learning.py` | losses, accuracies and AUC beside their baselines |
| `tokens.py` | detection of chosen tokens over training |
| `groups.py` | detection by frequency, position, word class, place in the word |
| `acquisition.py` | when each token was acquired: heat map, and against frequency |
| `confusions.py` | which replacement fooled the discriminator for which original |
| `film_strip.py` | one passage, token by token, over training |
| `calibration.py` | reliability diagram and ROC curves |
| `records.py`, `statistics.py`, `words.py`, `style.py` | reading a run; intervals and acquisition; kinds of tokens; one look |

`draw_all(run_dir)` draws them all. Everything uses matplotlib's object-oriented API: no pyplot, no display, safe in threads.
"""

from minielectra.plots.draw import draw_all
from minielectra.plots.film_strip import film_strip_sentence
from minielectra.runs.detection_records import DetectionRecords

__all__ = ["DetectionRecords", "draw_all", "film_strip_sentence"]
