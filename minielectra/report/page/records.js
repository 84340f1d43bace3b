// The detection records of a run: what the discriminator said of every held-out token at every evaluation.
//
// Dimensions: E evaluations; P places, which are B held-out sequences of T tokens each. Place p of evaluation
// e is element e * P + p of `seen` and `scores`. A score is a level of 0 to 999: the probability of being
// replaced in thousandths, rounded up, less one. So a token is flagged at a threshold of t thousandths if its
// level is at least t.

const SPECIALS = ["[PAD]", "[CLS]", "[SEP]"];

class Records {
  static async from(packed) {
    return new Records(packed, await unpack(packed));
  }

  constructor(packed, arrays) {
    this.tokens = packed.tokens;
    this.chosen = packed.chosen; // tokens to show at first
    this.passage = packed.passage; // the sequence to show at first
    this.count = packed.count; // evaluations of the run; the page may hold fewer
    this.ids = new Map(packed.tokens.map((token, id) => [token, id]));
    this.steps = Array.from(arrays.steps.values);
    this.trainCounts = arrays.trainCounts.values;
    [this.sequences, this.length] = arrays.originals.shape;
    this.originals = arrays.originals.values; // [P]
    this.scores = arrays.scores.values; // [E * P]
    this.evaluations = this.steps.length;
    this.places = this.originals.length;
    const special = SPECIALS.map((token) => this.ids.get(token));
    this.counted = Uint8Array.from(this.originals, (id) => !special.includes(id)); // [P]: ordinary tokens
    this.valid = Uint8Array.from(this.originals, (id) => id !== special[0]); // [P]: not padding
    this.masked = arrays.places.values; // the places that are masked …
    this.seen = this.#seen(arrays.samples.values); // … and what the discriminator saw everywhere: [E * P]
    this.occurrences = new Map(); // of each token that was looked at
  }

  #seen(samples) {
    const seen = new this.originals.constructor(this.evaluations * this.places),
      slots = this.masked.length;
    for (let e = 0; e < this.evaluations; e++) {
      seen.set(this.originals, e * this.places);
      for (let k = 0; k < slots; k++) seen[e * this.places + this.masked[k]] = samples[e * slots + k];
    }
    return seen;
  }

  isReplaced(e, place) {
    return this.seen[e * this.places + place] !== this.originals[place];
  }

  /** The newest evaluation that is not later than a step; null: the last one. */
  evaluationAt(step) {
    if (step === null) return this.evaluations - 1;
    return Math.max(
      0,
      this.steps.findLastIndex((own) => own <= step),
    );
  }

  /** The levels of a token at each evaluation, where it was replaced and where original: both sorted. */
  occurrencesOf(id) {
    if (!this.occurrences.has(id)) {
      const found = [];
      for (let e = 0; e < this.evaluations; e++) {
        const replaced = [],
          original = [];
        for (let place = 0, at = e * this.places; place < this.places; place++, at++)
          if (this.seen[at] === id && this.counted[place])
            (this.originals[place] === id ? original : replaced).push(this.scores[at]);
        found.push({
          replaced: Uint16Array.from(replaced).sort(),
          original: Uint16Array.from(original).sort(),
        });
      }
      this.occurrences.set(id, found);
    }
    return this.occurrences.get(id);
  }

  /** Detection of a token over training, smoothed as in tokens.png: {value, low, high} of each measure. */
  curvesOf(id, threshold) {
    const found = this.occurrencesOf(id),
      width = smoothingWindow(this.evaluations);
    const rates = (kind) => {
      const flagged = smooth(
        found.map((own) => atLeast(own[kind], threshold)),
        width,
      );
      const total = smooth(
        found.map((own) => own[kind].length),
        width,
      );
      return {
        ...banded(flagged.map((k, e) => wilson(k, total[e]))),
        value: flagged.map((k, e) => ratio(k, total[e])),
        total,
      };
    };
    const recall = rates("replaced"),
      alarms = rates("original");
    const auc = smooth(
      found.map((own) => aucOf(own.replaced, own.original)),
      width,
      found.map((own) => own.replaced.length),
    );
    const band = auc.map((value, e) => aucInterval(value, recall.total[e], alarms.total[e]));
    return { auc: { value: auc, ...banded(band) }, recall, alarms };
  }

  /** The distinct (original, replacement) pairs of `last` evaluations up to e, and how often each fooled. */
  pairs(e, last, threshold) {
    const pairs = new Map(),
      first = Math.max(0, e - last + 1);
    for (let row = first; row <= e; row++)
      for (const place of this.masked) {
        if (!this.isReplaced(row, place) || !this.counted[place]) continue;
        const at = row * this.places + place,
          original = this.originals[place],
          replacement = this.seen[at];
        const key = original * this.tokens.length + replacement;
        if (!pairs.has(key)) pairs.set(key, { original, replacement, total: 0, fooled: 0, sum: 0, place });
        const pair = pairs.get(key);
        pair.total++;
        pair.fooled += this.scores[at] < threshold;
        pair.sum += (this.scores[at] + 0.5) / RUN_DATA.levels;
      }
    return { pairs: [...pairs.values()], evaluations: e - first + 1 };
  }

  /** How many tokens of evaluation e, without padding, have each level: {replaced, original}. */
  histogram(e) {
    const replaced = new Float64Array(RUN_DATA.levels),
      original = new Float64Array(RUN_DATA.levels);
    for (let place = 0; place < this.places; place++)
      if (this.valid[place])
        (this.isReplaced(e, place) ? replaced : original)[this.scores[e * this.places + place]]++;
    return { replaced, original };
  }
}

const banded = (intervals) => ({
  low: intervals.map(([low]) => low),
  high: intervals.map(([, high]) => high),
});

/** {name: {values, shape}} of what packed_records.py packed. */
async function unpack({ arrays, data }) {
  const packed = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const unpacked = {};
  for (const { name, shape, bytes: width, at } of arrays) {
    const size = shape.reduce((a, b) => a * b, 1);
    const values = new { 2: Uint16Array, 4: Uint32Array, 8: Float64Array }[width](size);
    for (let weight = 0, place = at; weight < width; weight++)
      for (let i = 0; i < size; i++, place++) values[i] += bytes[place] * 2 ** (8 * weight);
    unpacked[name] = { values, shape };
  }
  return unpacked;
}
