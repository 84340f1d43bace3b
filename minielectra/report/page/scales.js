// What charts are made of: markers, round numbers for the axes, ranges.

/** Markers, so that color is not all that tells curves apart. */
const SHAPES = [
  "M-3.4 0a3.4 3.4 0 1 0 6.8 0a3.4 3.4 0 1 0-6.8 0",
  "M-3-3H3V3H-3z",
  "M0-4.4L4.4 0L0 4.4L-4.4 0z",
  "M0-4.2L4 3.2H-4z",
  "M0 4.2L4-3.2H-4z",
  "M-1.2-4H1.2V-1.2H4V1.2H1.2V4H-1.2V1.2H-4V-1.2H-1.2z",
];

/** Round numbers from low to high, about `count` of them. */
function ticks(low, high, count) {
  if (!(high > low)) return [low];
  const rough = (high - low) / count,
    power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
  return found;
}

/** The range of values with a margin: [low, high]. */
function extent(values, margin) {
  const finite = values.filter(known);
  if (!finite.length) return [0, 1];
  const low = finite.reduce((a, b) => Math.min(a, b)),
    high = finite.reduce((a, b) => Math.max(a, b));
  const room = margin * (high - low) || Math.abs(high) * 0.05 || 1;
  return [low - room, high + room];
}
