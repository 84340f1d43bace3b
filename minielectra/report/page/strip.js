// The film strip: a held-out passage as the discriminator saw and judged it, at the step that is chosen.

function drawStrip() {
  const section = document.getElementById("strip");
  add(section, el("div", { class: "sides" }, RECORDS.map(passagePanel)));
}

function passagePanel(records, run) {
  const sequence = () => Math.min(state.passages[run] ?? records.passage, records.sequences - 1);
  const go = (number) => {
    const passages = [...state.passages];
    passages[run] = (number + records.sequences) % records.sequences;
    change({ passages, place: null });
  };
  const number = el("input", {
    type: "number",
    min: 1,
    max: records.sequences,
    "aria-label": "number of the passage",
    change: () => go(Math.min(records.sequences, Math.max(1, Math.round(+number.value) || 1)) - 1),
  });
  const turn = (by, sign, label) =>
    el("button", { type: "button", "aria-label": label, click: () => go(sequence() + by) }, sign);
  const controls = el(
    "p",
    { class: "row tight" },
    turn(-1, "‹", "previous passage"),
    "passage ",
    number,
    ` of ${spaced(records.sequences)}`,
    turn(1, "›", "next passage"),
    el(
      "button",
      { type: "button", click: () => change({ passages: state.passages.with(run, null), place: null }) },
      "a typical one",
    ),
  );
  const count = el("p", { class: "count", role: "status" });
  const passage = el("div", {
    class: "passage",
    role: "group",
    "aria-label": "passage; arrow keys go from token to token",
    keydown: roam,
  });
  const strip = el("div", { class: "strip", "aria-hidden": "true" });
  const history = new Chart({
    title: "One token over training",
    unit: "probability of “replaced”",
    height: 170,
    tag: "h4",
  });

  function roam(event) {
    const cells = [...passage.children],
      now = cells.indexOf(document.activeElement);
    const moves = {
      ArrowLeft: now - 1,
      ArrowUp: now - 1,
      ArrowRight: now + 1,
      ArrowDown: now + 1,
      Home: 0,
      End: cells.length - 1,
    };
    const next = cells[moves[event.key]];
    if (!next) return;
    next.focus();
    event.preventDefault();
  }

  const places = () => {
    const first = sequence() * records.length;
    return Array.from({ length: records.length }, (_, t) => first + t).filter(
      (place) => records.valid[place],
    );
  };
  const chosen = (own) =>
    own.includes(sequence() * records.length + state.place) && state.place !== null
      ? sequence() * records.length + state.place
      : null;

  function drawPassage() {
    const own = places(),
      e = records.evaluationAt(state.step),
      selected = chosen(own);
    number.value = sequence() + 1;
    const focused = [...passage.children].indexOf(document.activeElement);
    passage.replaceChildren(
      ...own.map((place, k) =>
        cell(records, e, place, place === selected, k === Math.max(0, own.indexOf(selected))),
      ),
    );
    if (focused >= 0) passage.children[Math.min(focused, own.length - 1)]?.focus();
    const judged = own.map((place) => [
      records.isReplaced(e, place),
      records.scores[e * records.places + place] >= state.threshold,
    ]);
    const tally = (was) => [
      judged.filter(([replaced, flagged]) => replaced === was && flagged).length,
      judged.filter(([replaced]) => replaced === was).length,
    ];
    const [caught, replaced] = tally(true),
      [alarms, original] = tally(false);
    count.textContent =
      `At step ${spaced(records.steps[e])}, ${caught} of ${plural("replaced token", replaced)} are flagged` +
      `, and ${alarms} of ${plural("original", original)}.`;
    strip.querySelector(".now")?.setAttribute("y", e);
  }

  function drawAll() {
    strip.replaceChildren(...stripOf(records, places(), chosen(places()), sequence() * records.length));
    drawPassage();
    drawHistory();
  }

  function drawHistory() {
    const place = chosen(places());
    history.node.hidden = place === null;
    if (place === null) return;
    const levels = records.steps.map((_, e) => records.scores[e * records.places + place]);
    const notes = records.steps.map((_, e) => {
      const word = `reads ${tokenText(records.tokens[records.seen[e * records.places + place]])}`;
      return records.isReplaced(e, place) ? `${word}, replaced` : word;
    });
    const token = tokenText(records.tokens[records.originals[place]]);
    history.draw({
      series: [
        { label: token, x: records.steps, y: levels.map(probability), color: "vermilion", shape: 0, notes },
        {
          label: `threshold ${thresholdText()}`,
          x: records.steps,
          y: records.steps.map(() => state.threshold / RUN_DATA.levels),
          baseline: true,
          silent: true,
        },
      ],
      rangeY: [0, 1],
      formatY: perCent,
      xName: "step",
      formatX: short,
      mark: state.step ?? undefined,
      pick: (x) => chooseStep(x),
      summary: `original: ${token}`,
    });
  }

  watch(["passages", "place"], drawAll);
  watch(["step", "threshold"], () => {
    drawPassage();
    drawHistory();
  });
  const panel = el(
    "div",
    { class: "side" },
    RECORDS.length > 1 ? el("h3", {}, tokenNode(RUN_DATA.runs[run].name)) : null,
    controls,
    count,
    passage,
    strip,
    history.node,
  );
  drawAll();
  return panel;
}

/** The middle of a level, as a probability. */
const probability = (level) => (level + 0.5) / RUN_DATA.levels;

/** The class that says whether the text on a heat, in per cent, is dark or light. */
const warmth = (heat) => (heat >= 75 ? "hot" : heat >= 60 ? "warm" : "");

function cell(records, e, place, selected, reachable) {
  const at = e * records.places + place;
  const share = probability(records.scores[at]);
  const heat = Math.round(100 * share);
  const replaced = records.isReplaced(e, place);
  const flagged = records.scores[at] >= state.threshold;
  const token = records.tokens[records.seen[at]];
  const original = records.tokens[records.originals[place]];
  const truth = replaced ? `replaced; original ${tokenText(original)}` : "original";
  const select = () => change({ place: selected ? null : place % records.length });
  return el(
    "button",
    {
      type: "button",
      click: select,
      tabindex: reachable ? 0 : -1,
      "aria-pressed": String(selected),
      "--heat": `${heat}%`,
      class: `cell ${warmth(heat)} ${replaced ? "replaced" : ""}`,
      "aria-label": `${tokenText(token)}: ${perCent(share)}${flagged ? ", flagged" : ""}; ${truth}`,
    },
    tokenNode(token),
    el("small", {}, heat, flagged ? " ⚑" : ""),
    replaced ? el("small", { class: "was" }, tokenNode(original)) : null,
  );
}

/** The whole of the training at once: a row for each evaluation, a column for each token. */
function stripOf(records, own, selected, first) {
  const rows = records.evaluations,
    columns = own.length;
  const drawn = svg("svg", {
    viewBox: `0 0 ${columns} ${rows}`,
    preserveAspectRatio: "none",
    height: Math.min(rows * 9, 340),
  });
  const framed = svg("g", {}); // after the others, so that they do not cover the frames
  for (let e = 0; e < rows; e++)
    own.forEach((place, k) => {
      const replaced = records.isReplaced(e, place),
        share = probability(records.scores[e * records.places + place]);
      const look = { class: replaced ? "heat replaced" : "heat", "--heat": `${(100 * share).toFixed(0)}%` };
      (replaced ? framed : drawn).append(svg("rect", { x: k, y: e, width: 1, height: 1, ...look }));
    });
  drawn.append(framed);
  if (selected !== null)
    drawn.append(svg("rect", { class: "outline", x: own.indexOf(selected), y: 0, width: 1, height: rows }));
  drawn.append(
    svg("rect", {
      class: "outline now",
      x: 0,
      y: records.evaluationAt(state.step),
      width: columns,
      height: 1,
    }),
  );
  drawn.addEventListener("click", (event) => {
    const box = drawn.getBoundingClientRect(),
      k = Math.floor(((event.clientX - box.left) / box.width) * columns);
    change({ place: own[Math.min(k, columns - 1)] - first });
    chooseStep(
      records.steps[Math.min(rows - 1, Math.floor(((event.clientY - box.top) / box.height) * rows))],
    );
  });
  const [from, to] = [records.steps[0], records.steps.at(-1)].map(spaced);
  return [
    el(
      "p",
      { class: "note" },
      `The whole training: rows from step ${from} (top) to step ${to} (bottom), a column for each token.`,
    ),
    drawn,
  ];
}
