// What several parts of the page share: names of runs, heads of tables, buttons, a note.

const DASHES = [null, "7 4"]; // of the curves of the first and the second run

/** The name of a run, with the line that its curves have. */
function runName(i) {
  const line = svg("line", { x1: 1, x2: 25, y1: 6, y2: 6, class: "curve", "stroke-dasharray": DASHES[i] });
  const drawn = svg("svg", { width: 26, height: 12, "aria-hidden": "true", class: "swatch" }, line);
  return el("span", { class: "run" }, drawn, tokenNode(RUN_DATA.runs[i].name));
}

/** Which line is which run's, for all charts of a section. */
const runsKey = () =>
  RUN_DATA.runs.length > 1
    ? el(
        "p",
        { class: "key" },
        RUN_DATA.runs.map((_, i) => runName(i)),
      )
    : null;

const runNameText = (i) => tokenText(RUN_DATA.runs[i].name);

/** The head of a table; a cell is a text or nodes. */
const headRow = (cells) =>
  el(
    "thead",
    {},
    el(
      "tr",
      {},
      cells.map((cell) => el("th", { scope: "col" }, cell)),
    ),
  );

/** Radio buttons for an entry of the state. names: {value: text}. */
function choice(legend, names, entry) {
  const option = ([value, text]) =>
    el(
      "label",
      {},
      el("input", { type: "radio", name: entry, value, change: () => change({ [entry]: value }) }),
      el("span", {}, text),
    );
  const node = el(
    "fieldset",
    { class: "choice" },
    el("legend", {}, legend),
    Object.entries(names).map(option),
  );
  const show = () =>
    node.querySelectorAll("input").forEach((input) => {
      input.checked = input.value === state[entry];
    });
  watch([entry], show);
  show();
  return node;
}

/** Say that the page holds fewer evaluations than the runs have, if so. count(run): [held, all]. */
function thinned(what, count) {
  const fewer = RUN_DATA.runs.map((run) => [run, ...count(run)]).filter(([, held, all]) => held < all);
  return el(
    "div",
    {},
    fewer.map(([run, held, all]) =>
      el(
        "p",
        { class: "note" },
        `To keep the file small, the page holds the ${what} of ` +
          `${spaced(held)} of the ${plural("evaluation", all)} of `,
        tokenNode(run.name),
        ", evenly spread.",
      ),
    ),
  );
}
