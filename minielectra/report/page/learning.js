// The summary and the learning curves, from the metrics of each evaluation.

function drawSummary() {
  const { runs, figures, live } = RUN_DATA,
    several = runs.length > 1;
  const head = document.getElementById("summary");
  add(
    head,
    el(
      "div",
      {},
      el("h1", {}, several ? "Two runs side by side" : ["Run ", tokenNode(runs[0].name)]),
      runs.map((run, i) =>
        el(
          "div",
          { class: "finding" },
          several ? runName(i) : null,
          el("p", {}, run.finding.replaceAll("\u2009", "\u202f")),
          about(run),
        ),
      ),
    ),
  );
  const last = (run, column) => (run.metrics[column] ?? []).findLast(known);
  const rows = figures.filter((one) => runs.some((run) => known(last(run, one.column))));
  const knows = (one) => {
    const baseline = one.knows_nothing,
      values = runs.map((run) => (typeof baseline === "string" ? last(run, baseline) : baseline));
    return [...new Set(values.filter(known).map((value) => figure(value, one.percent)))].join(" / ");
  };
  add(
    head,
    el(
      "div",
      { class: "scroll" },
      el(
        "table",
        { class: "figures" },
        el("caption", {}, `At the ${live ? "latest" : "last"} evaluation, on held-out text`),
        headRow(["figure", "knows nothing", ...runs.map((_, i) => (several ? runName(i) : "this run"))]),
        el(
          "tbody",
          {},
          rows.map((one) =>
            el(
              "tr",
              {},
              el("th", { scope: "row" }, one.label),
              el("td", {}, knows(one)),
              runs.map((run) => el("td", { class: "strong" }, figure(last(run, one.column), one.percent))),
            ),
          ),
        ),
      ),
    ),
  );
  if (several) {
    const fair = rows
      .filter((one) => one.compares)
      .map((one) => one.label)
      .join("; ");
    add(
      head,
      el(
        "p",
        { class: "note" },
        `To compare the runs, look at: ${fair}. The other figures also look better ` +
          "if a generator is bad, because bad replacements are easy to catch.",
      ),
    );
  }
}

function about(run) {
  const last = (column) => (run.metrics[column] ?? []).findLast(known),
    facts = [];
  if (run.preset) facts.push(`preset ${run.preset}`);
  if (known(run.seed)) facts.push(`seed ${run.seed}`);
  const planned =
    known(run.plannedSteps) && run.plannedSteps > last("step") ? ` of ${spaced(run.plannedSteps)}` : "";
  facts.push(`step ${spaced(last("step"))}${planned}`);
  if (known(last("tokens"))) facts.push(`${short(last("tokens"))} tokens`);
  if (known(last("seconds"))) facts.push(`${duration(last("seconds"))} of training`);
  facts.push(plural("evaluation", run.evaluations));
  return el(
    "ul",
    { class: "facts" },
    facts.map((fact) => el("li", {}, fact)),
  );
}

function drawLearning() {
  const section = document.getElementById("learning");
  const inEvery = ([axis]) => RUN_DATA.runs.every((run) => run.metrics[axis]?.some(known));
  const axes = Object.fromEntries(Object.entries(AXES).filter(inEvery));
  const charts = RUN_DATA.charts.map((spec) => [spec, new Chart({ title: spec.title, unit: spec.unit })]);
  add(
    section,
    choice("horizontal axis", axes, "axis"),
    runsKey(),
    el(
      "div",
      { class: "charts" },
      charts.map(([, chart]) => chart.node),
    ),
    ...RUN_DATA.runs.map(metricsTable),
    thinned("metrics", (run) => [run.metrics.step.length, run.evaluations]),
  );
  const draw = () => charts.forEach(([spec, chart]) => chart.draw(learningCurves(spec)));
  watch(["axis"], draw);
  watch(["step"], () => charts.forEach(([, chart]) => chart.moveMark(learningMark())));
  draw();
}

function learningCurves(spec) {
  const { runs } = RUN_DATA,
    axis = state.axis;
  const series = spec.series
    .flatMap((one, shape) =>
      runs.map((run, i) => {
        const steps = run.metrics.step,
          x = run.metrics[axis] ?? steps.map(() => NaN);
        const y = known(one.constant) ? steps.map(() => one.constant) : (run.metrics[one.column] ?? []);
        const name = runs.length > 1 && !known(one.constant) ? runNameText(i) : "";
        return { ...one, name, x, y, shape, dash: one.baseline ? null : DASHES[i], label: one.label };
      }),
    )
    .filter(
      (one, k, all) =>
        one.y.some(known) && !(known(one.constant) && all.findIndex((o) => o.constant === one.constant) < k),
    );
  const formatX = axis === "seconds" ? duration : short;
  const first = series.find((one) => !one.baseline),
    values = first?.y.filter(known) ?? [];
  const write = (value) => figure(value, spec.percent);
  return {
    series,
    formatX,
    formatY: write,
    formatTick: spec.percent ? perCent : short,
    xName: { step: "step", tokens: "tokens", seconds: "time", flops: "operations" }[axis],
    mark: learningMark(),
    pick: axis === "step" && STEPS.length ? (x) => chooseStep(x) : undefined,
    summary: first ? `${first.label}: from ${write(values[0])} to ${write(values.at(-1))}` : "",
  };
}

const learningMark = () => (state.axis === "step" ? state.step : null);

/** Every figure of every evaluation, as a table that is made when it is opened. */
function metricsTable(run, i) {
  const details = el(
    "details",
    {},
    el(
      "summary",
      {},
      "All figures as a table",
      RUN_DATA.runs.length > 1 ? [": ", tokenNode(run.name)] : null,
    ),
  );
  details.addEventListener("toggle", () => {
    if (!details.open || details.children.length > 1) return;
    const columns = Object.keys(run.metrics);
    const row = (_, e) =>
      el(
        "tr",
        {},
        columns.map((name, k) =>
          el(k ? "td" : "th", k ? {} : { scope: "row" }, figure(run.metrics[name][e])),
        ),
      );
    details.append(
      el(
        "div",
        { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "all figures" },
        el("table", {}, headRow(columns), el("tbody", {}, run.metrics.step.map(row))),
      ),
    );
  });
  return details;
}
