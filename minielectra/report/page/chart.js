// A chart of curves in SVG: bands, a tooltip for the mouse, and a cursor for the keyboard and screen readers.
//
// The plot is a slider to assistive technology: its arrows move a cursor along the points, and the text of
// the tooltip is its value. A series is {label, x, y, color, shape, …}; see `chart.draw`.

const MARGIN = { top: 10, right: 24, bottom: 26, left: 52 };

class Chart {
  /** title: of the chart; tag: of its heading; unit: of the y axis; height: in pixels. */
  constructor({ title, unit = "", height = 210, tag = "h3" }) {
    this.title = title;
    this.height = height;
    this.at = null; // where the cursor is: an index of this.xs
    this.legend = el("ul", { class: "legend" });
    this.canvas = svg("svg", { "aria-hidden": "true" });
    this.tip = el("div", { class: "tip", "aria-hidden": "true", hidden: true });
    this.plot = el(
      "div",
      {
        class: "plot",
        role: "slider",
        tabindex: 0,
        "aria-label": `${title}: cursor`,
        "aria-valuemin": 0,
        pointermove: (event) => this.#point(event),
        click: (event) => this.#point(event, true),
        // After a finger is lifted, what it pointed at stays.
        pointerleave: (event) => event.pointerType !== "touch" && this.#leave(),
        focus: () => this.plot.matches(":focus-visible") && this.#moveTo(this.at ?? this.#resting()),
        blur: () => this.#leave(),
        keydown: (event) => this.#key(event),
      },
      this.canvas,
      this.tip,
    );
    const unitNode = unit ? el("span", { class: "unit" }, unit) : null;
    this.node = el(
      "figure",
      { class: "chart" },
      el("figcaption", {}, el(tag, {}, title), unitNode, this.legend),
      this.plot,
    );
    this.plot.style.minHeight = `${height}px`;
    this.width = 0; // known from the observer only: asking the page for it at every change is slow
    new ResizeObserver(([{ contentRect }]) => {
      this.width = Math.round(contentRect.width);
      if (this.spec) this.#paint();
    }).observe(this.plot);
  }

  /** Show curves. spec:
   * series: a list of {label, name (of its run), x, y, low, high (of a band), color, shape, dash, baseline,
   *   faint, points (with bars instead of a band), steps (a staircase), notes (a text for each point), silent
   *   (not in the tooltip)};
   * rangeX, rangeY: [low, high], by default what the curves need; symlog: y is a count on a logarithmic axis;
   * xName, formatX, formatY, formatTick (of the y axis): what stands beside numbers, how they are written;
   * mark: x of a line across; summary: a sentence for those who do not see the chart;
   * pick(x, index): what a click, Enter or, with drag, dragging does;
   * cursor: the x of the points, if they are those of every curve and do not rise; head(index): its name. */
  draw(spec) {
    this.spec = { formatX: short, formatY: (y) => figure(y), ...spec };
    this.spec.formatTick ??= this.spec.formatY;
    const before = this.xs;
    const xs =
      spec.cursor ?? spec.series.filter((one) => !one.baseline && !one.silent).flatMap((one) => [...one.x]);
    this.xs = spec.cursor ? [...xs] : [...new Set(xs.filter(known))].sort((a, b) => a - b);
    if (JSON.stringify(this.xs) !== JSON.stringify(before)) this.#leave(); // otherwise, the cursor stays
    this.plot.setAttribute("aria-valuemax", Math.max(0, this.xs.length - 1));
    const note = spec.summary ? `${this.title}. ${spec.summary}` : this.title;
    this.plot.setAttribute(
      "aria-label",
      spec.pick ? `${note}. Arrows read, Enter chooses` : `${note}. Arrows read`,
    );
    if (this.xs.length) this.#describe(this.at ?? this.#resting());
    const kinds = new Map(
      spec.series
        .filter((one) => one.label)
        .map((one) => [one.label, one])
        .reverse(),
    );
    this.legend.replaceChildren(...[...kinds.values()].reverse().map((one) => this.#legendOf(one)));
    this.#paint();
  }

  /** One line of the legend: a label that stands for the curves of both runs. */
  #legendOf(series) {
    const dash = series.name ? null : series.dash; // the dashes of runs are explained once for all charts
    const line = svg("line", { x1: 0, x2: 22, y1: 6, y2: 6, class: "curve", "stroke-dasharray": dash });
    const mark = series.baseline || series.shape === undefined ? null : this.#marker(series, 11, 6);
    return el(
      "li",
      { class: series.baseline ? "baseline" : "", "--color": `var(--${series.color ?? "ink"})` },
      svg("svg", { width: 22, height: 12, "aria-hidden": "true" }, line, mark),
      series.label,
    );
  }

  #marker(series, x, y) {
    return svg("path", {
      class: "marker",
      d: SHAPES[series.shape % SHAPES.length],
      transform: `translate(${x} ${y})`,
    });
  }

  #resting() {
    const { mark } = this.spec;
    return known(mark) ? this.#nearest(mark) : this.xs.length - 1;
  }

  #nearest(x) {
    let best = 0;
    this.xs.forEach((own, i) => {
      if (Math.abs(own - x) < Math.abs(this.xs[best] - x)) best = i;
    });
    return best;
  }

  #paint() {
    const { series, formatX, formatTick, mark, symlog } = this.spec;
    if (this.width < 60) return;
    const width = this.width,
      height = this.height,
      bend = symlog ? (y) => Math.log10(1 + y) : (y) => y;
    const all = (axis) => series.flatMap((one) => [...one[axis]]);
    const [lowX, highX] = this.spec.rangeX ?? extent(all("x"), 0.02);
    const [lowY, highY] = (this.spec.rangeY ?? extent(all("y"), 0.06)).map(bend);
    this.toX = (x) => MARGIN.left + ((x - lowX) / (highX - lowX || 1)) * (width - MARGIN.left - MARGIN.right);
    this.toY = (y) =>
      height -
      MARGIN.bottom -
      ((bend(y) - lowY) / (highY - lowY || 1)) * (height - MARGIN.top - MARGIN.bottom);
    const grid = svg("g", { class: "grid" });
    const ticksY = symlog
      ? [0, 1, 10, 100, 1e3, 1e4, 1e5, 1e6].filter((y) => bend(y) <= highY)
      : ticks(lowY, highY, height > 250 ? 6 : 5);
    for (const y of ticksY)
      grid.append(
        svg("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: this.toY(y), y2: this.toY(y) }),
        svg("text", { x: MARGIN.left - 7, y: this.toY(y) + 4, "text-anchor": "end" }, formatTick(y)),
      );
    for (const x of ticks(lowX, highX, width < 420 ? 3 : 5))
      grid.append(svg("text", { x: this.toX(x), y: height - 8, "text-anchor": "middle" }, formatX(x)));
    const clip = `clip${(Chart.clips = (Chart.clips ?? 0) + 1)}`;
    const area = {
      x: MARGIN.left - 5,
      y: MARGIN.top - 5,
      width: width - MARGIN.left - MARGIN.right + 10,
      height: height - MARGIN.top - MARGIN.bottom + 10,
    };
    const curves = svg(
      "g",
      { "clip-path": `url(#${clip})` },
      series.map((one) => this.#curve(one)),
    );
    this.rule = svg("line", {
      class: "rule",
      y1: MARGIN.top,
      y2: height - MARGIN.bottom,
      visibility: "hidden",
    });
    this.dots = svg("g");
    this.across = svg("line", { class: "mark", y1: MARGIN.top - 4, y2: height - MARGIN.bottom });
    this.moveMark(mark);
    this.canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.canvas.setAttribute("height", height);
    this.canvas.replaceChildren(
      svg("defs", {}, svg("clipPath", { id: clip }, svg("rect", area))),
      grid,
      this.across,
      curves,
      this.rule,
      this.dots,
    );
    if (this.at !== null) this.#moveTo(this.at);
  }

  /** Move the line across to x, or take it away if x is not a number. */
  moveMark(x) {
    this.spec.mark = x;
    this.across?.setAttribute("visibility", known(x) ? "visible" : "hidden");
    for (const end of ["x1", "x2"]) if (known(x)) this.across?.setAttribute(end, this.toX(x));
  }

  #curve(series) {
    const group = svg("g", {
      "--color": `var(--${series.color ?? "ink"})`,
      class: series.baseline ? "baseline" : series.faint ? "faint" : "",
    });
    const points = [];
    series.y.forEach((y, i) => known(y) && known(series.x[i]) && points.push(i));
    const place = (i, y = series.y[i]) => `${this.toX(series.x[i]).toFixed(1)} ${this.toY(y).toFixed(1)}`;
    const banded = points.filter((i) => known(series.low?.[i]));
    if (series.points || banded.length === 1) {
      for (const i of banded)
        group.append(
          svg("path", { class: "bar", d: `M${place(i, series.low[i])}L${place(i, series.high[i])}` }),
        );
    } else if (banded.length) {
      const back = [...banded].reverse().map((i) => place(i, series.low[i]));
      group.append(
        svg("path", {
          class: "band",
          d: `M${banded.map((i) => place(i, series.high[i])).join("L")}L${back.join("L")}z`,
        }),
      );
    }
    const join = (i, k) =>
      k && series.steps
        ? `H${this.toX(series.x[i]).toFixed(1)}V${this.toY(series.y[i]).toFixed(1)}`
        : `${k ? "L" : "M"}${place(i)}`;
    group.append(
      svg("path", { class: "curve", d: points.map(join).join(""), "stroke-dasharray": series.dash }),
    );
    if (series.shape !== undefined && !series.baseline) {
      const every = series.points ? 1 : Math.max(1, Math.ceil(points.length / 9)),
        first = series.points ? 0 : (points.length - 1) % every;
      points.forEach(
        (i, k) =>
          k % every === first &&
          group.append(this.#marker(series, this.toX(series.x[i]), this.toY(series.y[i]))),
      );
    }
    return group;
  }

  #point(event, chosen = false) {
    if (!this.toX || !this.xs.length) return;
    const left = event.clientX - this.plot.getBoundingClientRect().left;
    let best = 0;
    this.xs.forEach((x, i) => {
      if (Math.abs(this.toX(x) - left) < Math.abs(this.toX(this.xs[best]) - left)) best = i;
    });
    this.#moveTo(best);
    const dragged =
      event.buttons & 1 && this.spec.drag && Math.abs(event.movementX) > Math.abs(event.movementY);
    if ((chosen || dragged) && this.spec.pick) this.spec.pick(this.xs[best], best);
  }

  #key(event) {
    const last = this.xs.length - 1,
      now = this.at ?? this.#resting(),
      far = Math.max(1, Math.round(last / 10));
    const moves = {
      ArrowLeft: now - 1,
      ArrowDown: now - 1,
      ArrowRight: now + 1,
      ArrowUp: now + 1,
      Home: 0,
      End: last,
      PageUp: now + far,
      PageDown: now - far,
    };
    if (event.key in moves) this.#moveTo(Math.min(last, Math.max(0, moves[event.key])));
    else if (event.key === "Enter" && this.spec.pick && last >= 0) this.spec.pick(this.xs[now], now);
    else if (event.key === "Escape") return this.#leave();
    else return;
    event.preventDefault();
  }

  /** What each curve has at a point of the cursor: [series, index of its nearest point]. */
  #values(at) {
    const x = this.xs[at];
    return this.spec.series
      .filter((one) => !one.silent && (!one.baseline || one.y.some(known)))
      .map((one) => {
        if (this.spec.cursor) return [one, at];
        let best = -1;
        one.x.forEach((own, i) => {
          if (known(one.y[i]) && (best < 0 || Math.abs(own - x) < Math.abs(one.x[best] - x))) best = i;
        });
        return [one, best];
      })
      .filter(
        ([one, i]) => i >= 0 && (one.baseline || this.spec.cursor || Math.abs(one.x[i] - x) <= this.#reach()),
      );
  }

  #reach() {
    return this.xs.length > 1 ? (this.xs.at(-1) - this.xs[0]) / (this.xs.length - 1) : Infinity;
  }

  #head(at) {
    return this.spec.head
      ? this.spec.head(at)
      : `${this.spec.xName ?? ""} ${this.spec.formatX(this.xs[at])}`.trim();
  }

  #said(one, i) {
    const value = this.spec.formatY(one.y[i]);
    const band = known(one.low?.[i])
      ? ` (${this.spec.formatY(one.low[i])} – ${this.spec.formatY(one.high[i])})`
      : "";
    return value + band + (one.notes?.[i] ? `, ${one.notes[i]}` : "");
  }

  #describe(at) {
    this.plot.setAttribute("aria-valuenow", at);
    const words = this.#values(at).map(([one, i]) =>
      `${one.name ?? ""} ${one.label ?? ""} ${this.#said(one, i)}`.trim(),
    );
    this.plot.setAttribute("aria-valuetext", `${this.#head(at)}: ${words.join("; ")}`);
  }

  #moveTo(at) {
    if (at < 0 || !this.toX) return;
    if (Chart.pointed !== this) Chart.pointed?.#leave();
    Chart.pointed = this;
    this.at = at;
    const values = this.#values(at),
      x = this.toX(this.xs[at]);
    this.rule.setAttribute("x1", x);
    this.rule.setAttribute("x2", x);
    this.rule.setAttribute("visibility", "visible");
    const dot = ([one, i]) =>
      svg("circle", {
        class: "dot",
        r: 4.5,
        cx: this.toX(one.x[i]),
        cy: this.toY(one.y[i]),
        "--color": `var(--${one.color ?? "ink"})`,
      });
    this.dots.replaceChildren(...values.filter(([one, i]) => !one.baseline && known(one.y[i])).map(dot));
    const row = ([one, i]) =>
      el(
        "div",
        { "--color": `var(--${one.color ?? "ink"})` },
        el("i", {}),
        el("span", {}, one.name ? [one.name, " "] : null, one.label),
        el("b", {}, this.#said(one, i)),
      );
    this.tip.replaceChildren(el("strong", {}, this.#head(at)), ...values.map(row));
    this.tip.hidden = false;
    const room = this.plot.clientWidth - this.tip.offsetWidth;
    const beside = x > this.plot.clientWidth / 2 ? x - this.tip.offsetWidth - 14 : x + 14;
    this.tip.style.left = `${Math.max(0, Math.min(room, beside))}px`;
    this.#describe(at);
  }

  #leave() {
    this.at = null;
    this.tip.hidden = true;
    this.rule?.setAttribute("visibility", "hidden");
    this.dots?.replaceChildren();
    if (this.xs?.length) this.#describe(this.#resting());
  }
}
