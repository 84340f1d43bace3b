// Which replacement fooled the discriminator, for which original.

const LAST = 5; // evaluations that are pooled
const ROWS = 25; // shown at first, and more at a time

function drawConfusions() {
  const section = document.getElementById("confusions");
  const filter = (entry, label) => {
    const input = el("input", {
      type: "search",
      id: `filter-${entry}`,
      value: state[entry],
      autocomplete: "off",
      spellcheck: "false",
      input: () => change({ [entry]: input.value }),
    });
    watch([entry], () => {
      if (input.value !== state[entry]) input.value = state[entry];
    });
    return el("label", { class: "field" }, label, input);
  };
  add(
    section,
    el(
      "div",
      { class: "row" },
      filter("original", "original contains"),
      filter("replacement", "replacement contains"),
    ),
    el("div", { class: "sides" }, RECORDS.map(confusionPanel)),
  );
}

function confusionPanel(records, run) {
  let shown = ROWS;
  const count = el("p", { class: "count", role: "status" }),
    body = el("tbody"),
    heads = new Map();
  const more = el(
    "button",
    {
      type: "button",
      click: () => {
        shown += 4 * ROWS;
        draw();
      },
    },
    "show more",
  );
  const names = {
    original: "original",
    replacement: "replacement",
    fooled: "fooled",
    total: "times",
    share: "share that fooled",
    score: "mean score",
  };
  const sortBy = (column) =>
    change({
      sort: column,
      rising: state.sort === column ? !state.rising : column === "original" || column === "replacement",
    });
  for (const [column, name] of Object.entries(names))
    heads.set(
      column,
      el("th", { scope: "col" }, el("button", { type: "button", click: () => sortBy(column) }, name)),
    );

  function draw() {
    const { pairs, evaluations } = records.pairs(records.evaluationAt(state.step), LAST, state.threshold);
    const matches = (text, id) => records.tokens[id].toLocaleLowerCase().includes(text.toLocaleLowerCase());
    const wanted = pairs.filter(
      (pair) => matches(state.original, pair.original) && matches(state.replacement, pair.replacement),
    );
    const sorted = sortPairs(wanted, records);
    const fooled = wanted.reduce((sum, pair) => sum + pair.fooled, 0),
      total = wanted.reduce((sum, pair) => sum + pair.total, 0);
    const span =
      evaluations > 1 ? `the ${evaluations} evaluations up to ${stepWords(records)}` : stepWords(records);
    count.textContent = total
      ? `${spaced(fooled)} of ${plural("replacement", total)} (${perCent(fooled / total)}) went unnoticed ` +
        `at threshold ${thresholdText()}, in ${plural("distinct pair", wanted.length)}; ${span}.`
      : `No replacement of this kind; ${span}.`;
    body.replaceChildren(...sorted.slice(0, shown).map((pair) => confusionRow(pair, records, run)));
    more.hidden = sorted.length <= shown;
    for (const [column, head] of heads)
      head.setAttribute(
        "aria-sort",
        column !== state.sort ? "none" : state.rising ? "ascending" : "descending",
      );
  }

  watch(["sort", "rising", "original", "replacement", "step", "threshold"], draw);
  draw();
  const title = RECORDS.length > 1 ? el("h3", {}, tokenNode(RUN_DATA.runs[run].name)) : null;
  const table = el("table", { class: "sortable" }, el("thead", {}, el("tr", {}, [...heads.values()])), body);
  return el("div", { class: "side" }, title, count, el("div", { class: "scroll" }, table), more);
}

/** Pairs in the order of the state; of equal ones, those with more evidence come first. */
function sortPairs(pairs, records) {
  const key = {
    original: (pair) => records.tokens[pair.original],
    replacement: (pair) => records.tokens[pair.replacement],
    fooled: (pair) => pair.fooled,
    total: (pair) => pair.total,
    share: (pair) => pair.fooled / pair.total,
    score: (pair) => pair.sum / pair.total,
  }[state.sort];
  const sign = state.rising ? 1 : -1,
    compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const keyed = pairs.map((pair) => [key(pair), pair]);
  return keyed
    .sort(
      ([a, first], [b, second]) =>
        sign * compare(a, b) ||
        second.total - first.total ||
        first.original - second.original ||
        first.replacement - second.replacement,
    )
    .map(([, pair]) => pair);
}

function confusionRow(pair, records, run) {
  const share = pair.fooled / pair.total,
    sequence = Math.floor(pair.place / records.length);
  const look = () => {
    change({ passages: state.passages.with(run, sequence), place: pair.place % records.length });
    document.getElementById("strip").scrollIntoView();
  };
  const [low, high] = wilson(pair.fooled, pair.total);
  const [original, replacement] = [pair.original, pair.replacement].map((id) => records.tokens[id]);
  const label = `${tokenText(original)} → ${tokenText(replacement)}: show in a passage`;
  return el(
    "tr",
    {},
    el("td", {}, tokenNode(original)),
    el(
      "td",
      {},
      el(
        "button",
        { type: "button", class: "link", click: look, "aria-label": label },
        "→ ",
        tokenNode(replacement),
      ),
    ),
    el("td", {}, spaced(pair.fooled)),
    el("td", {}, spaced(pair.total)),
    el(
      "td",
      {},
      el(
        "span",
        { class: "share", "--share": `${(100 * share).toFixed(0)}%` },
        perCent(share),
        el("small", {}, interval([low, high])),
      ),
    ),
    el("td", {}, perCent(pair.sum / pair.total)),
  );
}
