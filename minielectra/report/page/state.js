// What is shown, kept in the address after "#": a link to it, a reload or a bookmark shows the same again.

const MEASURES = { auc: "AUC", recall: "recall", alarms: "false alarms" };
const AXES = {
  step: "training step",
  tokens: "tokens trained on",
  seconds: "training time",
  flops: "operations",
};
const COLUMNS = ["original", "replacement", "fooled", "total", "share", "score"]; // of the confusions
const MOST_TOKENS = 6; // as many as there are colours

const DEFAULTS = {
  axis: "step", // of the learning curves
  step: null, // of training; null: the latest
  threshold: 500, // thousandths
  measure: "auc",
  highlight: "", // the token whose curves stand out
  tokens: null, // those followed; null: a mix
  passages: [null, null], // the sequence shown, of each run; null: a typical one
  place: null, // the token of the passages whose history is shown
  sort: "fooled",
  rising: false, // whether confusions are sorted upwards
  original: "", // confusions of originals with these characters …
  replacement: "", // … by replacements with these
  setting: "", // settings with these characters
  differences: false, // only settings that differ
};

const oneOf = (names) => (text) => (names.includes(text) ? text : undefined);
const whole = (low, high) => (text) =>
  /^\d{1,15}$/.test(text) && +text >= low && +text <= high ? +text : undefined;
const anything = (text) => text.slice(0, 200);
const truth = (text) => (text === "1" ? true : undefined);

// How each entry is read from the address; what makes no sense there is passed over.
const READERS = {
  axis: oneOf(Object.keys(AXES)),
  step: whole(0, Number.MAX_SAFE_INTEGER),
  threshold: whole(1, 999),
  measure: oneOf(Object.keys(MEASURES)),
  highlight: anything,
  place: whole(0, 1e6),
  sort: oneOf(COLUMNS),
  rising: truth,
  original: anything,
  replacement: anything,
  setting: anything,
  differences: truth,
};

const state = { ...DEFAULTS };
const watchers = []; // [names, function]

/** Call `draw` whenever one of these entries changes. */
function watch(names, draw) {
  watchers.push([names, draw]);
}

function change(changes) {
  const changed = Object.keys(changes).filter(
    (name) => JSON.stringify(changes[name]) !== JSON.stringify(state[name]),
  );
  if (!changed.length) return;
  Object.assign(state, changes);
  const wait = written + BETWEEN - performance.now();
  if (wait <= 0) writeAddress();
  else pending ??= setTimeout(writeAddress, wait);
  announce(changed);
}

const BETWEEN = 350; // milliseconds: browsers refuse an address that changes more often for long
let written = -Infinity;
let pending = null;

function writeAddress() {
  clearTimeout(pending);
  pending = null;
  written = performance.now();
  history.replaceState(history.state, "", "#" + fragment());
}

function announce(changed) {
  for (const [names, draw] of watchers) if (names.some((name) => changed.includes(name))) draw();
}

function fragment() {
  const words = new URLSearchParams();
  for (const name of Object.keys(READERS))
    if (state[name] !== DEFAULTS[name]) words.set(name, state[name] === true ? "1" : state[name]);
  if (state.tokens)
    for (const token of state.tokens.length ? state.tokens : [""]) words.append("token", token);
  state.passages.forEach((passage, run) => passage !== null && words.set(`passage${run + 1}`, passage));
  return words.toString();
}

/** Take over what the address says. */
function readFragment() {
  const words = new URLSearchParams(location.hash.slice(1)),
    read = { ...DEFAULTS };
  for (const [name, reader] of Object.entries(READERS)) {
    const value = words.has(name) ? reader(words.get(name)) : undefined;
    if (value !== undefined) read[name] = value;
  }
  if (words.has("token"))
    read.tokens = [...new Set(words.getAll("token").filter(Boolean))].slice(0, MOST_TOKENS);
  read.passages = DEFAULTS.passages.map(
    (_, run) => whole(0, 1e6)(words.get(`passage${run + 1}`) ?? "") ?? null,
  );
  Object.assign(state, read);
}

addEventListener("hashchange", () => {
  if (location.hash.slice(1) === fragment()) return;
  clearTimeout(pending);
  pending = null;
  readFragment();
  announce(Object.keys(DEFAULTS));
});
