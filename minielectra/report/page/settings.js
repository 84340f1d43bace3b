// Every setting of the run, with its meaning; of two runs, side by side.

function drawSettings() {
  const { runs } = RUN_DATA,
    several = runs.length > 1,
    section = document.getElementById("settings");
  const rows = new Map(); // "group name" → {group, name, meaning, values}
  runs.forEach((run, i) =>
    run.settings.forEach(({ group, name, value, meaning }) => {
      const key = JSON.stringify([group, name]);
      if (!rows.has(key)) rows.set(key, { group, name, meaning, values: runs.map(() => "–") });
      rows.get(key).values[i] = value;
    }),
  );
  const all = [...rows.values()];
  for (const row of all) row.differs = new Set(row.values).size > 1;
  const search = el("input", {
    type: "search",
    id: "filter-setting",
    value: state.setting,
    autocomplete: "off",
    spellcheck: "false",
    input: () => change({ setting: search.value }),
  });
  const differences = el("input", {
    type: "checkbox",
    change: () => change({ differences: differences.checked }),
  });
  const count = el("p", { class: "count", role: "status" }),
    table = el("div", { class: "scroll" });

  function draw() {
    if (search.value !== state.setting) search.value = state.setting;
    differences.checked = state.differences;
    const wanted = state.setting.toLocaleLowerCase();
    const shown = all.filter(
      (row) =>
        (row.differs || !state.differences) &&
        [row.name, row.meaning, ...row.values].some((text) => text.toLocaleLowerCase().includes(wanted)),
    );
    const different = several
      ? `; ${plural("setting", all.filter((row) => row.differs).length)} differ between the runs`
      : "";
    count.textContent = `${spaced(shown.length)} of ${plural("setting", all.length)}${different}.`;
    const groups = [...new Set(shown.map((row) => row.group))];
    const line = (row) =>
      el(
        "tr",
        { class: row.differs ? "differs" : "" },
        el("th", { scope: "row" }, el("code", {}, row.name)),
        row.values.map((value) => el("td", { class: "value" }, el("bdi", {}, value))),
        el(
          "td",
          { class: "meaning" },
          row.meaning.split("`").map((part, i) => (i % 2 ? el("code", {}, part) : part)),
        ),
      );
    const body = (group) =>
      el(
        "tbody",
        {},
        el("tr", {}, el("th", { class: "group", scope: "rowgroup", colspan: 2 + runs.length }, group)),
        shown.filter((row) => row.group === group).map(line),
      );
    table.replaceChildren(
      el(
        "table",
        { class: "settings" },
        headRow(["setting", ...runs.map((run) => (several ? tokenNode(run.name) : "value")), "meaning"]),
        groups.map(body),
      ),
    );
  }

  watch(["setting", "differences"], draw);
  draw();
  const only = several ? el("label", { class: "check" }, differences, "only those that differ") : null;
  add(
    section,
    el("div", { class: "row" }, el("label", { class: "field" }, "setting contains", search), only),
    count,
    table,
  );
}
