// The page as a whole: its parts, the step and the threshold that they share, and following a training.

const RUN_DATA = JSON.parse(document.getElementById("contents").textContent);
let RECORDS = []; // of each run; empty if there is no discriminator
let STEPS = []; // of all evaluations of all runs

const stepWords = (records = RECORDS[0]) => `step ${spaced(records.steps[records.evaluationAt(state.step)])}`;
const thresholdText = () => perCent(state.threshold / RUN_DATA.levels);
/** The last step is "the latest", so that a page that is refreshed follows the training. */
const chooseStep = (step) => {
  const own = STEPS.findLast((one) => one <= step) ?? STEPS[0];
  change({ step: own === STEPS.at(-1) ? null : own });
};

async function start() {
  const { runs, live } = RUN_DATA;
  document.title = `${runs.map((run) => tokenText(run.name)).join(" and ")}: report`;
  if (runs.every((run) => run.detection))
    RECORDS = await Promise.all(runs.map((run) => Records.from(run.detection)));
  STEPS = [...new Set(RECORDS.flatMap((records) => records.steps))].sort((a, b) => a - b);
  readFragment();
  drawSummary();
  drawLearning();
  if (RECORDS.length) {
    drawBar();
    drawTokens();
    drawStrip();
    drawConfusions();
    drawCalibration();
  } else {
    document.querySelectorAll(".detection").forEach((node) => node.remove());
    const without = runs
      .filter((run) => !run.detection)
      .map((run) => tokenText(run.name))
      .join(" and ");
    document
      .getElementById("learning")
      .after(
        el(
          "p",
          { class: "note" },
          `${without}: trained without a discriminator, so there is no detection to show` +
            (runs.length > 1 ? " here. A report of the other run alone shows it." : "."),
        ),
      );
  }
  drawSettings();
  document.getElementById("version").textContent = RUN_DATA.version;
  if (live) goOn(live.seconds);
  returnToPlace();
  // The charts are painted in the next frame, once their widths are known.
  requestAnimationFrame(() => requestAnimationFrame(() => (document.documentElement.dataset.ready = "yes")));
}

/** The sliders for step and threshold, which hold for all that is below them. */
function drawBar() {
  const step = el("input", {
    type: "range",
    id: "step",
    min: 0,
    max: STEPS.length - 1,
    input: () => chooseStep(STEPS[+step.value]),
  });
  const threshold = el("input", {
    type: "range",
    id: "threshold",
    min: 1,
    max: 99,
    input: () => change({ threshold: 10 * threshold.value }),
  });
  const stepOutput = el("output", { for: "step" }),
    thresholdOutput = el("output", { for: "threshold" });
  const play = el("button", { type: "button", id: "play", click: () => (playing ? stop() : run()) }, "▶");
  let playing = null;

  function run() {
    if (state.step === null) chooseStep(STEPS[0]);
    playing = setInterval(() => {
      const next = STEPS.find((one) => one > (state.step ?? Infinity));
      if (next === undefined) stop();
      else chooseStep(next);
    }, 350);
    show();
  }

  function stop() {
    clearInterval(playing);
    playing = null;
    show();
  }

  function show() {
    const at = state.step ?? STEPS.at(-1);
    step.value = Math.max(
      0,
      STEPS.findLastIndex((one) => one <= at),
    );
    step.setAttribute("aria-valuetext", `step ${at}`);
    stepOutput.textContent = spaced(at);
    threshold.value = Math.round(state.threshold / 10);
    threshold.setAttribute("aria-valuetext", thresholdText());
    thresholdOutput.textContent = thresholdText();
    play.textContent = playing ? "❚❚" : "▶";
    play.setAttribute("aria-label", playing ? "pause" : "play the training");
  }

  document
    .getElementById("sliders")
    .append(
      el("span", { class: "slider" }, el("label", { for: "step" }, "step"), play, step, stepOutput),
      el(
        "span",
        { class: "slider" },
        el("label", { for: "threshold" }, "threshold"),
        threshold,
        thresholdOutput,
      ),
    );
  watch(["step", "threshold"], show);
  show();
}

/** While a run trains, load the page again from time to time, unless somebody is busy with it. */
function goOn(seconds) {
  const node = document.getElementById("live"),
    note = el("span", {});
  const paused = () => history.state?.paused === true;
  const pause = el("button", {
    type: "button",
    click: () => {
      history.replaceState({ ...history.state, paused: !paused() }, "");
      show();
    },
  });
  const show = () => {
    note.textContent = paused()
      ? "Training goes on; the page does not refresh."
      : `Training goes on; the page refreshes every ${Math.round(seconds)} s.`;
    pause.textContent = paused() ? "refresh again" : "pause";
  };
  let touched = 0;
  for (const event of ["keydown", "pointerdown", "pointermove", "input"])
    addEventListener(
      event,
      () => {
        touched = performance.now();
      },
      { passive: true },
    );
  setInterval(() => {
    const typing =
      document.activeElement?.matches("input[type=search]") && document.activeElement.value !== "";
    if (
      paused() ||
      document.hidden ||
      typing ||
      performance.now() - touched < 3000 ||
      performance.now() < 1000 * seconds
    )
      return;
    writeAddress();
    history.replaceState(
      { ...history.state, scroll: scrollY, focus: document.activeElement?.id, open: openDetails() },
      "",
    );
    location.reload();
  }, 500);
  node.hidden = false;
  node.append(note, pause);
  show();
}

const openDetails = () => [...document.querySelectorAll("details")].map((node) => node.open);

/** After a reload, go on where it happened. */
function returnToPlace() {
  const before = history.state;
  if (!known(before?.scroll)) return;
  document.querySelectorAll("details").forEach((node, i) => {
    node.open = before.open?.[i] ?? false;
  });
  if (before.focus) document.getElementById(before.focus)?.focus({ preventScroll: true });
  requestAnimationFrame(() => scrollTo(0, before.scroll));
  history.replaceState({ ...before, scroll: null }, "");
}

// Links within the page would replace what the address keeps after "#".
document.querySelectorAll("nav a, .skip").forEach((link) =>
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const section = document.getElementById(link.dataset.to);
    section.scrollIntoView();
    section.focus({ preventScroll: true });
  }),
);

start().catch((error) => {
  document
    .getElementById("summary")
    .append(
      el(
        "p",
        { class: "note", role: "alert" },
        `This page cannot be shown (${error.message}). It needs a browser of 2023 or later.`,
      ),
    );
  throw error;
});
