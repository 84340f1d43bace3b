"""Pictures of a run: per-token detection learning curves and what belongs to them.

In comes the folder of a run, out come PNGs; no model is imported. `draw_all(run_dir)` draws everything.

| file | picture |
|---|---|
| `learning.py` | losses, accuracies and AUC beside their baselines |
| `tokens.py` | detection of chosen tokens over training |
| `groups.py` | detection by frequency, position, word class, place in the word |
| `acquisition.py` | when each token was acquired: a heat map, and a plot against frequency |
| `confusions.py` | which replacements fooled the discriminator, and what the generator proposes |
| `film_strip.py` | one passage, token by token, over training |
| `calibration.py` | reliability diagram and ROC curves |
| `finetuning.py` | scores of a fine-tuned model over its training |
| `statistics.py`, `words.py` | intervals and acquisition; kinds of tokens |
| `style.py`, `fonts.py` | the common look; fonts for every script |

A function that draws returns a matplotlib Figure; `style.save` writes it. Everything uses matplotlib's
object-oriented API: no pyplot, no display, safe in threads.
"""

from minielectra.plots.draw import draw_all
from minielectra.plots.film_strip import film_strip_sentence

__all__ = ["draw_all", "film_strip_sentence"]
