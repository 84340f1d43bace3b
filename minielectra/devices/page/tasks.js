// From texts to results, as `detect` and `predict` compute them.
//
// about: {kind, model, tokenizer, maxLength, labels, …}, see minielectra/devices/page_contents.py.

class Tasks {
  constructor(about, model, tokenizer) {
    Object.assign(this, { about, model, tokenizer });
    [this.cls, this.sep] = ["[CLS]", "[SEP]"].map((token) => tokenizer.special[token]);
  }

  // Every piece of a text with the probability that it was replaced: {text, start, end, word, probability}.
  detect(text) {
    const pieces = this.tokenizer.encode(text, true);
    for (const { start, stop, keepFrom, keepTo } of windows(pieces.length, this.about.maxLength - 2)) {
      const logits = this.model.detection(this.sequence(pieces.slice(start, stop)));
      for (let i = keepFrom; i < keepTo; i++) pieces[i].probability = sigmoid(logits[1 + i - start]);
    }
    return pieces;
  }

  // The probability of every label, or a list of the predicted number alone.
  classify(text, second) {
    const first = this.tokenizer.encode(text);
    let ids, segments;
    if (second === undefined) {
      ids = this.sequence(first.slice(0, this.about.maxLength - 2));
      segments = ids.map(() => 0);
    } else {
      const other = this.tokenizer.encode(second);
      while (first.length + other.length > this.about.maxLength - 3)
        (first.length > other.length ? first : other).pop(); // of the longer one
      [ids, segments] = this.pair(first, other);
    }
    const logits = this.model.classification(ids, segments);
    return logits.length === 1 ? [logits[0] * this.about.scale] : [...softmax(Float64Array.from(logits))];
  }

  // Every word of a text with its tag: {start, end, label, probability}, label an index. A word's tag is read
  // at its first piece.
  tag(text) {
    const pieces = this.tokenizer.encode(text), count = this.about.labels.length, words = [];
    for (const { start, stop, keepFrom, keepTo } of windows(pieces.length, this.about.maxLength - 2)) {
      const ids = this.sequence(pieces.slice(start, stop));
      const logits = this.model.tokens(ids, ids.map(() => 0), "classifier");
      for (let i = keepFrom; i < keepTo; i++) {
        const piece = pieces[i];
        if (i && pieces[i - 1].word === piece.word) {
          words.at(-1).end = piece.end;
          continue;
        }
        const at = (1 + i - start) * count, p = softmax(Float64Array.from(logits.subarray(at, at + count)));
        const label = p.indexOf(Math.max(...p));
        words.push({ start: piece.start, end: piece.end, label, probability: p[label] });
      }
    }
    return words;
  }

  // The answers to a question in a text, best first: {answers: [{start, end, score}], none}; `none` says
  // whether the best answer is that there is none.
  answer(question, context) {
    const { maxLength, impossible, threshold } = this.about;
    const query = this.tokenizer.encode(question).slice(0, Math.min(ANSWERS.longestQuestion, maxLength >> 1));
    const pieces = this.tokenizer.encode(context), begin = query.length + 2;
    const spans = contextWindows(pieces.length, maxLength - query.length - 3);
    const owner = bestWindow(spans, pieces.length);
    const found = [];
    let none = Infinity;
    spans.forEach(([start, stop], w) => {
      const [ids, segments] = this.pair(query, pieces.slice(start, stop));
      const logits = this.model.tokens(ids, segments, "qa_outputs");
      none = Math.min(none, logits[0] + logits[1]);
      const here = pieces.slice(start, stop).map((piece, i) => {
        const at = 2 * (begin + i);
        return { ...piece, first: logits[at], last: logits[at + 1], starts: owner[start + i] === w };
      });
      found.push(...answersIn(here));
    });
    if (!found.length) return { answers: [], none: true };
    const best = bestOfEachText(found, context), top = best[0].logit;
    const weights = best.map(({ logit }) => Math.exp(logit - top));
    const total = weights.reduce((a, b) => a + b) + (impossible ? Math.exp(Math.min(none - top, 700)) : 0);
    const answers = best.map(({ start, end }, i) => ({ start, end, score: weights[i] / total }));
    return { answers, none: impossible && none - top > threshold };
  }

  sequence(pieces) {
    return [this.cls, ...pieces.map(({ id }) => id), this.sep];
  }

  // [CLS] first [SEP] second [SEP] -> ids, segments
  pair(first, second) {
    const ids = [...this.sequence(first), ...second.map(({ id }) => id), this.sep];
    return [ids, ids.map((_, i) => (i < first.length + 2 ? 0 : 1))];
  }
}

// Windows that overlap by half over `count` pieces, at most `room` in each. A piece is kept from the window
// that shows the most around it. See minielectra/data/windows.py.
function windows(count, room) {
  if (count <= room) return count ? [{ start: 0, stop: count, keepFrom: 0, keepTo: count }] : [];
  const starts = [];
  for (let start = 0; start < count - room; start += Math.max(1, room >> 1)) starts.push(start);
  starts.push(count - room);
  let kept = 0;
  return starts.map((start, i) => {
    const stop = start + room, keepFrom = kept;
    kept = i === starts.length - 1 ? count : (starts[i + 1] + stop + 1) >> 1;
    return { start, stop, keepFrom, keepTo: kept };
  });
}

// Answers. See minielectra/finetuning/answer_windows.py and tasks/answering.py.

const ANSWERS = { stride: 128, longest: 30, best: 20, longestQuestion: 64 };

function contextWindows(count, room) {
  const spans = [];
  for (let start = 0; ; start += Math.min(ANSWERS.stride, Math.max(1, room >> 1))) {
    spans.push([start, Math.min(start + room, count)]);
    if (start + room >= count) return spans;
  }
}

// For each piece the window with the most context on its poorer side.
function bestWindow(spans, count) {
  const most = new Array(count).fill(-Infinity), owner = new Array(count).fill(0);
  spans.forEach(([start, stop], w) => {
    for (let i = start; i < stop; i++) {
      const context = Math.min(i - start, stop - 1 - i) + 0.01 * (stop - start);
      if (context > most[i]) [owner[i], most[i]] = [w, context];
    }
  });
  return owner;
}

// The answers in one window. pieces: with the logits `first` and `last` of an answer that begins or ends
// there, and whether one that `starts` there counts in this window -> [{logit, start, end}].
function answersIn(pieces) {
  if (!pieces.length) return [];
  const places = pieces.map((_, i) => i);
  const by = (name) => (a, b) => pieces[b][name] - pieces[a][name];
  const firsts = places.filter((i) => pieces[i].starts).sort(by("first")).slice(0, ANSWERS.best);
  const lasts = [...places].sort(by("last")).slice(0, ANSWERS.best);
  const longest = (a) => a + ANSWERS.longest;
  let pairs = firsts.flatMap((a) => lasts.filter((b) => a <= b && b < longest(a)).map((b) => [a, b]));
  if (!pairs.length) {
    const both = ({ first, last }) => first + last;
    const best = places.reduce((a, b) => (both(pieces[b]) > both(pieces[a]) ? b : a));
    pairs = [[best, best]];
  }
  return pairs.map(([a, b]) => {
    return { logit: pieces[a].first + pieces[b].last, start: pieces[a].start, end: pieces[b].end };
  });
}

function bestOfEachText(found, context) {
  const best = new Map();
  for (const answer of found.sort((a, b) => b.logit - a.logit || b.start - a.start || b.end - a.end)) {
    const text = context.slice(answer.start, answer.end);
    if (!best.has(text)) best.set(text, answer);
    if (best.size === ANSWERS.best) break;
  }
  return [...best.values()];
}
