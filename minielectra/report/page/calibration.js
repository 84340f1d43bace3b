// What a probability is worth, and what each threshold gives.

const BINS = 12; // of the reliability diagram

function drawCalibration() {
  document.getElementById("calibration").append(el("div", { class: "sides" }, RECORDS.map(calibrationPanel)));
}

function calibrationPanel(records, run) {
  const table = el("div", { class: "scroll" });
  const chart = (title, unit) => new Chart({ title, unit, height: 230 });
  const reliability = chart("Is a probability true?", "share really replaced");
  const scores = chart("Scores of the tokens", "tokens, logarithmic");
  const thresholds = chart("What each threshold gives", "share");
  const roc = chart("ROC curve", "replaced flagged (recall)");
  const count = el("p", { class: "count", role: "status" });
  let judged = null;

  function draw() {
    judged = judgements(records.histogram(records.evaluationAt(state.step)));
    drawReliability(reliability, judged);
    follow();
  }

  function follow() {
    const now = judged.at(state.threshold);
    const both = `precision ${perCent(now.precision)}, recall ${perCent(now.recall)}`;
    count.textContent = `At threshold ${thresholdText()}: ${both}; ${stepWords(records)}.`;
    table.replaceChildren(thresholdTable(now));
    drawScores(scores, judged);
    drawThresholds(thresholds, judged);
    drawRoc(roc, judged);
  }

  watch(["step"], draw);
  watch(["threshold"], follow);
  draw();
  const title = RECORDS.length > 1 ? el("h3", {}, tokenNode(RUN_DATA.runs[run].name)) : null;
  const nodes = [thresholds, scores, reliability, roc].map((one) => one.node);
  return el("div", { class: "side" }, title, count, table, el("div", { class: "charts wide" }, nodes));
}

/** From the numbers of tokens with each level: what every threshold gives, and the sums it needs. */
function judgements({ replaced, original }) {
  const levels = RUN_DATA.levels,
    caught = new Float64Array(levels + 1),
    alarms = new Float64Array(levels + 1);
  for (let level = levels - 1; level >= 0; level--) {
    caught[level] = caught[level + 1] + replaced[level]; // replaced tokens at or above the level
    alarms[level] = alarms[level + 1] + original[level];
  }
  const at = (threshold) => {
    const hits = caught[threshold],
      falseAlarms = alarms[threshold],
      flagged = hits + falseAlarms;
    const precision = ratio(hits, flagged),
      recall = ratio(hits, caught[0]),
      alarmRate = ratio(falseAlarms, alarms[0]);
    return {
      hits,
      falseAlarms,
      flagged,
      precision,
      recall,
      alarmRate,
      f1: ratio(2 * hits, flagged + caught[0]),
      total: caught[0] + alarms[0],
      replaced: caught[0],
      original: alarms[0],
    };
  };
  return { at, replaced, original };
}

function thresholdTable(now) {
  const row = (name, meaning, share, k, n) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, name, el("small", {}, meaning)),
      el("td", { class: "strong" }, perCent(share)),
      el("td", {}, known(k) ? interval(wilson(k, n)) : ""),
      el("td", {}, known(k) ? `${spaced(k)} of ${spaced(n)}` : ""),
    );
  return el(
    "table",
    { class: "figures", "aria-label": "what the threshold gives" },
    headRow(["", "share", "95 % interval", "tokens"]),
    el(
      "tbody",
      {},
      row("precision", "of the flagged tokens, really replaced", now.precision, now.hits, now.flagged),
      row("recall", "of the replaced tokens, flagged", now.recall, now.hits, now.replaced),
      row("false alarms", "of the original tokens, flagged", now.alarmRate, now.falseAlarms, now.original),
      row("flagged", "of all tokens", ratio(now.flagged, now.total), now.flagged, now.total),
      row("F1", "harmonic mean of precision and recall", now.f1),
    ),
  );
}

const pickThreshold = (x) => change({ threshold: Math.min(990, Math.max(10, Math.round(x * 100) * 10)) });

/** Shares from 1 % to 99 %, one for each threshold that can be chosen. */
const GRID = Array.from({ length: 99 }, (_, i) => (i + 1) / 100);

function drawThresholds(chart, judged) {
  const rows = GRID.map((share) => judged.at(Math.round(share * RUN_DATA.levels)));
  const curve = (label, key, color, shape, count) => {
    const band = rows.map((now) => wilson(...count(now)));
    return { label, x: GRID, y: rows.map((now) => now[key]), ...banded(band), color, shape };
  };
  chart.draw({
    series: [
      curve("precision", "precision", "blue", 0, (now) => [now.hits, now.flagged]),
      curve("recall", "recall", "vermilion", 1, (now) => [now.hits, now.replaced]),
      curve("false alarms", "alarmRate", "green", 2, (now) => [now.falseAlarms, now.original]),
    ],
    rangeX: [0, 1],
    rangeY: [0, 1],
    formatX: perCent,
    formatY: perCent,
    xName: "threshold",
    mark: state.threshold / RUN_DATA.levels,
    pick: pickThreshold,
    drag: true,
  });
}

function drawScores(chart, judged) {
  const bins = 50,
    width = RUN_DATA.levels / bins,
    edges = Array.from({ length: bins + 1 }, (_, i) => i / bins);
  const sums = (counts) =>
    edges.map((_, i) => counts.slice(i * width, (i + 1) * width).reduce((a, b) => a + b, 0));
  const stairs = (label, counts, color) => {
    const y = sums(counts);
    y[bins] = y[bins - 1];
    return { label, x: edges, y, color, steps: true };
  };
  const series = [
    stairs("original", judged.original, "blue"),
    { ...stairs("replaced", judged.replaced, "vermilion"), dash: "5 2" },
  ];
  const top = Math.max(...series.flatMap((one) => one.y), 1);
  chart.draw({
    series,
    rangeX: [0, 1],
    rangeY: [0, 1.6 * top],
    symlog: true,
    formatX: perCent,
    formatY: spaced,
    mark: state.threshold / RUN_DATA.levels,
    pick: pickThreshold,
    drag: true,
    head: (i) =>
      `score ${perCent(edges[Math.min(i, bins - 1)])} to ${perCent(edges[Math.min(i, bins - 1) + 1])}`,
  });
}

function drawReliability(chart, judged) {
  const levels = RUN_DATA.levels,
    bins = Array.from({ length: BINS }, () => ({ sum: 0, replaced: 0, total: 0 }));
  for (let level = 0; level < levels; level++) {
    const bin = bins[Math.min(BINS - 1, Math.floor(probability(level) * BINS))],
      total = judged.replaced[level] + judged.original[level];
    bin.sum += total * probability(level);
    bin.replaced += judged.replaced[level];
    bin.total += total;
  }
  const used = bins.filter((bin) => bin.total),
    y = used.map((bin) => bin.replaced / bin.total),
    x = used.map((bin) => bin.sum / bin.total);
  const all = used.reduce((sum, bin) => sum + bin.total, 0);
  const error = used.reduce((sum, bin, i) => sum + bin.total * Math.abs(x[i] - y[i]), 0) / all;
  chart.draw({
    series: [
      {
        label: "discriminator",
        x,
        y,
        ...banded(used.map((bin) => wilson(bin.replaced, bin.total))),
        color: "vermilion",
        shape: 0,
        points: true,
        notes: used.map((bin) => plural("token", bin.total)),
      },
      { label: "perfectly calibrated", x: [0, 1], y: [0, 1], baseline: true, silent: true },
    ],
    rangeX: [0, 1],
    rangeY: [0, 1],
    formatX: perCent,
    formatY: perCent,
    xName: "mean score",
    summary: `Mean calibration error ${(100 * error).toFixed(1)} percentage points`,
  });
}

function drawRoc(chart, judged) {
  const thresholds = [1, ...[...GRID].reverse(), 0],
    rows = thresholds.map((share) => judged.at(Math.round(share * RUN_DATA.levels)));
  const x = rows.map((now) => now.alarmRate),
    now = judged.at(state.threshold);
  chart.draw({
    series: [
      { label: "discriminator", x, y: rows.map((row) => row.recall), color: "vermilion" },
      { label: "guessing", x: [0, 1], y: [0, 1], baseline: true, silent: true },
      {
        label: `threshold ${thresholdText()}`,
        x: [now.alarmRate],
        y: [now.recall],
        color: "blue",
        shape: 0,
        silent: true,
      },
    ],
    cursor: x,
    rangeX: [0, 1],
    rangeY: [0, 1],
    formatX: perCent,
    formatY: perCent,
    pick: (_, i) => pickThreshold(thresholds[i]),
    drag: true,
    head: (i) => `threshold ${perCent(thresholds[i])}: false alarms ${perCent(x[i])}, recall`,
    summary: `At the threshold, ${perCent(now.recall)} recall with ${perCent(now.alarmRate)} false alarms`,
  });
}
