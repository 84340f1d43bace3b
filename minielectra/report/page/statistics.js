// Statistics of few events: the arithmetic of minielectra/plots/statistics.py, where the sources are named.

const Z = 1.959964; // two-sided 95 % of the normal distribution

const ratio = (numerator, denominator) => (denominator > 0 ? numerator / denominator : NaN);

/** Wilson's 95 % interval of a proportion: [low, high]. */
function wilson(successes, total) {
  if (!(total > 0)) return [NaN, NaN];
  const share = successes / total,
    z2 = (Z * Z) / total;
  const centre = (share + z2 / 2) / (1 + z2);
  const half = (Z / (1 + z2)) * Math.sqrt((share * (1 - share)) / total + z2 / (4 * total));
  return [Math.max(centre - half, 0), Math.min(centre + half, 1)];
}

/** 95 % interval of an AUC (Hanley and McNeil): [low, high]. */
function aucInterval(auc, replaced, original) {
  const p = Math.max(replaced, 1),
    n = Math.max(original, 1);
  const q1 = auc / (2 - auc),
    q2 = (2 * auc * auc) / (1 + auc);
  const variance = (auc * (1 - auc) + (p - 1) * (q1 - auc * auc) + (n - 1) * (q2 - auc * auc)) / (p * n);
  const half = Z * Math.sqrt(Math.max(variance, 0));
  return [Math.max(auc - half, 0), Math.min(auc + half, 1)];
}

/** The chance that a replaced token has a higher score than an original one; a tie counts one half.
 * Both are sorted arrays of levels. NaN if one is empty. */
function aucOf(replaced, original) {
  let wins = 0,
    below = 0,
    upTo = 0;
  for (const level of replaced) {
    while (below < original.length && original[below] < level) below++;
    while (upTo < original.length && original[upTo] <= level) upTo++;
    wins += (below + upTo) / 2;
  }
  return ratio(wins, replaced.length * original.length);
}

/** How many evaluations to smooth over. */
const smoothingWindow = (evaluations) => 1 + 2 * Math.min(2, Math.floor(evaluations / 12));

/** Centred moving mean, narrower at both ends. The first evaluation, of the untrained model, stays apart. */
function smooth(values, width, weights = null) {
  const half = Math.floor(width / 2);
  return values.map((_, i) => {
    const first = i === 0 ? 0 : Math.max(1, i - half),
      last = i === 0 ? 0 : Math.min(values.length - 1, i + half);
    let sum = 0,
      total = 0;
    for (let j = first; j <= last; j++) {
      const weight = Number.isFinite(values[j]) ? (weights ? weights[j] : 1) : 0;
      if (weight > 0) {
        sum += weight * values[j];
        total += weight;
      }
    }
    return ratio(sum, total);
  });
}

/** The first step, other than 0, from which a curve stays at or above the threshold until the end, or NaN. */
function acquisitionStep(steps, curve, threshold) {
  let first = steps.length;
  while (first > 0 && curve[first - 1] >= threshold && !(first === 1 && steps[0] === 0 && steps.length > 1))
    first--;
  return first < steps.length ? steps[first] : NaN;
}

/** How many of a sorted array are at or above a level. */
function atLeast(sorted, level) {
  let low = 0,
    high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < level) low = middle + 1;
    else high = middle;
  }
  return sorted.length - low;
}
