// Any token, and how its detection developed; several are compared.

const COLORS = ["blue", "vermilion", "green", "purple", "orange", "sky"];

function drawTokens() {
  const section = document.getElementById("tokens");
  const vocabulary = new Map(); // token → how often it was replaced and original at the last evaluation
  for (const records of RECORDS) {
    const last = (records.evaluations - 1) * records.places;
    for (const token of records.tokens)
      if (!vocabulary.has(token)) vocabulary.set(token, { token, replaced: 0, original: 0 });
    for (let place = 0; place < records.places; place++)
      if (records.counted[place])
        vocabulary.get(records.tokens[records.seen[last + place]])[
          records.isReplaced(records.evaluations - 1, place) ? "replaced" : "original"
        ]++;
  }
  const entries = [...vocabulary.values()],
    plain = (text) => text.normalize("NFKC").toLocaleLowerCase();
  const find = (text) => {
    const wanted = plain(text),
      rank = ({ token }) =>
        token === text ? 0 : plain(token) === wanted ? 1 : plain(token).startsWith(wanted) ? 2 : 3;
    const evidence = ({ replaced, original }) => Math.min(replaced, original) * 1e6 + replaced + original;
    return entries
      .filter(({ token }) => plain(token).includes(wanted))
      .sort((a, b) => rank(a) - rank(b) || evidence(b) - evidence(a));
  };
  const search = combobox({
    id: "token-search",
    label: "Search a token",
    placeholder: "the, ##ing, …",
    find,
    line: ({ token, replaced, original }) => [
      tokenNode(token),
      el("small", {}, `${spaced(replaced)} replaced, ${spaced(original)} original`),
    ],
    choose: ({ token }) => addToken(token),
  });
  const chips = el("ul", { class: "chips", "aria-label": "tokens shown" });
  const full = el("p", { class: "note", role: "status" });
  const chart = new Chart({ title: "Detection over training", height: 320 });
  const table = el("div", { class: "scroll" }),
    how = el("p", { class: "note" });
  add(
    section,
    el("div", { class: "row" }, search, choice("measure", MEASURES, "measure")),
    chips,
    full,
    runsKey(),
    chart.node,
    how,
    table,
    thinned("scores", (run) => [run.detection.evaluations.length, run.detection.count]),
  );
  const draw = () => {
    chips.replaceChildren(...followed().map(chip));
    full.textContent =
      followed().length === MOST_TOKENS
        ? "Six tokens at most; the next one takes the place of the first."
        : "";
    chart.draw(tokenCurves());
    how.textContent = howToRead();
    table.replaceChildren(tokenTable());
  };
  watch(["tokens", "measure", "threshold", "step", "highlight"], draw);
  draw();
}

/** The tokens shown: those chosen, or those with the most evidence in a mix of kinds. */
const followed = () =>
  state.tokens ?? RECORDS[0].chosen.slice(0, 4 / RECORDS.length).map((id) => RECORDS[0].tokens[id]);

function addToken(token) {
  if (!followed().includes(token)) change({ tokens: [...followed(), token].slice(-MOST_TOKENS) });
}

function chip(token, i) {
  const remove = () => {
    change({ tokens: followed().filter((own) => own !== token) });
    (
      document.querySelector(".chips li button:last-child") ?? document.getElementById("token-search")
    ).focus();
  };
  const mark = svg("path", { class: "marker", d: SHAPES[i], transform: "translate(7 7) scale(1.2)" });
  const shines = state.highlight === token;
  const highlight = () => {
    change({ highlight: shines ? "" : token });
    document.querySelectorAll(".chips li")[i].querySelector("button").focus();
  };
  return el(
    "li",
    { "--color": `var(--${COLORS[i]})` },
    svg("svg", { width: 14, height: 14, "aria-hidden": "true" }, mark),
    el(
      "button",
      { type: "button", click: highlight, "aria-pressed": String(shines), title: "highlight" },
      tokenNode(token),
    ),
    el("button", { type: "button", click: remove, "aria-label": `remove ${tokenText(token)}` }, "×"),
  );
}

function tokenCurves() {
  const measure = state.measure;
  const series = followed().flatMap((token, k) =>
    RECORDS.flatMap((records, i) => {
      const id = records.ids.get(token);
      if (id === undefined) return [];
      const { value, low, high } = records.curvesOf(id, state.threshold)[measure];
      const name = RECORDS.length > 1 ? runNameText(i) : "";
      const faint = followed().includes(state.highlight) && token !== state.highlight;
      return [
        {
          label: tokenText(token),
          name,
          faint,
          x: records.steps,
          y: value,
          low,
          high,
          color: COLORS[k],
          shape: k,
          dash: DASHES[i],
        },
      ];
    }),
  );
  const share = measure !== "auc";
  const chance = { label: "chance", x: STEPS, y: STEPS.map(() => 0.5), baseline: true, silent: true };
  // An untrained model may flag everything, so it does not set the scale.
  const trained = series.flatMap((one) => one.y.slice(Math.min(1, one.y.length - 1)));
  const later = series.flatMap(({ low, high }) =>
    [low, high].flatMap((bound) => bound.slice(Math.ceil(bound.length / 2))),
  );
  const top = Math.min(1, 1.05 * [...trained, ...later].filter(known).reduce((a, b) => Math.max(a, b), 0.1));
  const ends = series.map((one) => `${one.name} ${one.label} ${figure(one.y.findLast(known), share)}`.trim());
  return {
    series: share ? series : [...series, chance],
    formatY: (value) => (share ? perCent(value) : known(value) ? value.toFixed(2) : "–"),
    rangeY: share ? [0, top] : extent([...trained, ...later, 0.45, 0.55], 0.03),
    xName: "step",
    formatX: short,
    mark: state.step ?? undefined,
    pick: (x) => chooseStep(x),
    summary: `${MEASURES[measure]}, at the end: ${ends.join(", ")}`,
  };
}

function howToRead() {
  const width = smoothingWindow(RECORDS[0].evaluations),
    pooled = width > 1 ? ` Smoothed over ${width} evaluations.` : "";
  const what = {
    auc:
      "The chance that the token gets a higher score where the generator wrote it (replaced) than where it " +
      "belongs (original). The threshold does not matter.",
    recall: "How often the token is flagged where the generator wrote it over another one.",
    alarms: "How often the token is flagged where it belongs.",
  }[state.measure];
  const method = state.measure === "auc" ? "Hanley–McNeil" : "Wilson";
  const acquired = `acquired: ${RUN_DATA.acquired.rule}`;
  const table = `The table: ${stepWords()}, threshold ${thresholdText()}; ${acquired}.`;
  return `${what}${pooled} Bands: 95 % intervals for one evaluation (${method}). ${table}`;
}

function tokenTable() {
  const several = RECORDS.length > 1,
    { auc: least, evaluations: enough } = RUN_DATA.acquired;
  const rows = followed().flatMap((token) =>
    RECORDS.map((records, i) => {
      const id = records.ids.get(token),
        e = records.evaluationAt(state.step);
      const names = [
        el("th", { scope: "row" }, tokenNode(token)),
        several ? el("td", {}, tokenNode(RUN_DATA.runs[i].name)) : null,
      ];
      if (id === undefined)
        return el("tr", {}, names, el("td", { colspan: 7 }, "not in the vocabulary of this run"));
      const { auc, recall, alarms } = records.curvesOf(id, state.threshold);
      const cell = (curve, write) =>
        el("td", {}, write(curve.value[e]), el("small", {}, interval([curve.low[e], curve.high[e]], write)));
      const two = (value) => (known(value) ? value.toFixed(2) : "–");
      const sure = records.evaluations >= enough && auc.low.at(-1) > 0.5;
      const when = sure ? acquisitionStep(records.steps, auc.value, least) : NaN;
      return el(
        "tr",
        {},
        names,
        cell(auc, two),
        cell(recall, perCent),
        cell(alarms, perCent),
        el("td", {}, `${recall.total[e].toFixed(0)} / ${alarms.total[e].toFixed(0)}`),
        el("td", {}, spaced(records.trainCounts[id])),
        el("td", {}, known(when) ? `step ${spaced(when)}` : "–"),
      );
    }),
  );
  const heads = [
    "AUC",
    `flagged where replaced`,
    `flagged where original`,
    "replaced / original",
    "in training text",
    "acquired",
  ];
  return el(
    "table",
    { "aria-label": "the tokens shown, in figures" },
    headRow(["token", ...(several ? ["run"] : []), ...heads]),
    el("tbody", {}, rows),
  );
}
