// The page: fields to type into, and the result below them, anew at every keystroke.
//
// Text only ever becomes text nodes, so that nothing in it can act as markup.

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const find = (id) => document.getElementById(id);

const about = read("about");
const bytes = Uint8Array.from(atob(read("weights")), (char) => char.charCodeAt(0)).buffer;
const tasks = new Tasks(about, new Model(about.config, about.arrays, bytes), new WordPiece(about.tokenizer));

const percent = (share) => `${Math.round(100 * share)} %`;
const whole = (text) => text.replace(/\p{Surrogate}/gu, "\ufffd"); // without halves of characters
const quoted = (text) => `“${whole(text)}”`;

// What each kind of model shows. `show` returns the sentence that sums up the result.
const KINDS = {
  detection: {
    heading: "Which word does not belong?",
    lead: "Type a sentence. The stronger a word is marked, the surer the model is that it was exchanged.",
    explanation:
      "The model is a discriminator, trained as ELECTRA: a second network wrote words into sentences, and " +
      "this one learned to tell which were not there before. It gives each word a probability. Grammar and " +
      "rare words are hard for a small model.",
    fields: ["Your sentence"],
    examples: [
      ["The President of the United States is speak to the Congress."],
      ["She drank a cup of hot mountain and went to bed."],
      ["The file is read from the banana."],
    ],
    legend: true,
    show([text], [mirror]) {
      const words = wordsOf(tasks.detect(text), text);
      paint(mirror, text, words.map((word) => ({ ...word, strength: word.probability })));
      list("pieces", words.map(({ text, pieces, probability }) => ({
        text,
        number: percent(probability),
        title: pieces.map((piece) => `${piece.text} ${percent(piece.probability)}`).join(", "),
        strength: probability,
        strong: probability > 0.2,
      })));
      if (!words.length) return "";
      const top = words.reduce((a, b) => (b.probability > a.probability ? b : a));
      const share = percent(top.probability);
      return `Fits least: ${quoted(top.text)}. The model gives ${share} that it was replaced.`;
    },
  },
  classification: {
    heading: about.labels?.length === 1 ? "What number fits?" : "Which label fits?",
    lead: `Type ${about.pair ? "two texts" : "a text"}. The model answers at every keystroke.`,
    explanation: "The model is an ELECTRA encoder that was fine-tuned on texts with labels.",
    fields: about.pair ? ["First text", "Second text"] : ["Your text"],
    examples: about.pair
      ? [
          ["A man plays the guitar on a stage.", "Somebody makes music."],
          ["The shop opens at nine in the morning.", "The shop is never open before noon."],
        ]
      : [["A charming film, if a little long."], ["Nothing in this story works, least of all the jokes."]],
    show([text, second]) {
      const scores = tasks.classify(text, about.pair === "optional" && !second ? undefined : second);
      if (about.labels.length === 1) {
        list("bars", [{ text: about.labels[0], number: scores[0].toFixed(3), share: 0, strong: true }]);
        return `Predicted: ${scores[0].toFixed(2)}.`;
      }
      const best = scores.indexOf(Math.max(...scores));
      list("bars", scores.map((score, i) => ({
        text: about.labels[i], number: percent(score), share: score, strong: i === best,
      })));
      return `${quoted(about.labels[best])}, with a probability of ${percent(scores[best])}.`;
    },
  },
  tagging: {
    heading: "What is each word?",
    lead: "Type a sentence. Every word gets a tag.",
    explanation: "The model is an ELECTRA encoder that was fine-tuned on sentences with a tag for each word.",
    fields: ["Your sentence"],
    examples: [["Anna Schmidt moved from Berlin to Oslo in May."], ["The old engine breaks again."]],
    show([text], [mirror]) {
      const words = tasks.tag(text), tag = ({ label }) => about.labels[label];
      const found = about.spans ? spansOf(words) : [];
      paint(mirror, text, found.map((span) => ({ ...span, hue: hueOf(span.kind), strength: 0.4 })));
      list("pieces", words.map((word) => ({
        text: text.slice(word.start, word.end),
        number: tag(word),
        title: percent(word.probability),
        hue: tag(word) === "O" ? undefined : hueOf(about.spans ? about.spans[word.label][1] : tag(word)),
        strength: tag(word) === "O" ? 0 : 0.3 * word.probability,
        strong: tag(word) !== "O",
      })));
      if (!words.length) return "";
      if (!about.spans) return "Every word with its tag:";
      if (!found.length) return "No names or phrases found.";
      const named = found.map(({ start, end, kind }) => `${quoted(text.slice(start, end))} (${kind})`);
      return `Found: ${named.join(", ")}.`;
    },
  },
  answering: {
    heading: "Ask a text",
    lead: "Type a question and a text. The model marks the answer.",
    explanation: "The model is an ELECTRA encoder, fine-tuned to find where an answer starts and ends.",
    fields: ["Your question", "The text that holds the answer"],
    examples: ["When did the ship leave?", "Where did it arrive?", "What did it carry?"].map((question) => [
      question,
      "The ship left Lisbon on a Tuesday in June, with 40 sailors and a cargo of cork. It reached Boston " +
        "five weeks later.",
    ]),
    show([question, context], [, mirror]) {
      const nothing = { answers: [], none: true };
      const { answers, none } = question.trim() ? tasks.answer(question, context) : nothing;
      paint(mirror, context, none ? [] : [{ ...answers[0], strength: 0.4 }]);
      list("bars", answers.slice(0, 5).map(({ start, end, score }, i) => ({
        text: context.slice(start, end), number: percent(score), share: score, strong: !none && i === 0,
      })));
      if (!question.trim() || !context.trim()) return "";
      if (none) return "The text seems not to answer that.";
      return `Answer: ${quoted(context.slice(answers[0].start, answers[0].end))}.`;
    },
  },
};

// The pieces of a text word by word. A word's probability is the mean of its pieces'.
function wordsOf(pieces, text) {
  const words = [];
  for (const piece of pieces) {
    if (words.at(-1)?.word !== piece.word) words.push({ word: piece.word, start: piece.start, pieces: [] });
    words.at(-1).pieces.push(piece);
  }
  return words.map(({ start, pieces }) => {
    const end = pieces.at(-1).end, sum = pieces.reduce((total, { probability }) => total + probability, 0);
    return { start, end, pieces, text: text.slice(start, end), probability: sum / pieces.length };
  });
}

// The spans that tags such as B-PER and I-PER mark: minielectra/finetuning/metrics/spans.py.
function spansOf(words) {
  const found = [];
  let letter = "O", kind = "_";
  for (const word of words) {
    const [nextLetter, nextKind] = about.spans[word.label];
    const other = nextLetter !== "O" && kind !== nextKind;
    const after = ["E", "S", "O"].includes(letter) && ["E", "I"].includes(nextLetter);
    if (["B", "S"].includes(nextLetter) || after || other)
      found.push({ start: word.start, end: word.end, kind: nextKind === "_" ? "span" : nextKind });
    else if (nextLetter !== "O" && found.length) found.at(-1).end = word.end;
    [letter, kind] = [nextLetter, nextKind];
  }
  return found;
}

// Colours that people with any common form of colour blindness tell apart (Okabe and Ito 2008).
const HUES = ["86 180 233", "230 159 0", "0 158 115", "204 121 167", "213 94 0", "0 114 178"];
const kinds = about.spans ? [...new Set(about.spans.map(([, kind]) => kind))] : about.labels ?? [];
const hueOf = (kind) => HUES[Math.max(0, kinds.indexOf(kind)) % HUES.length];

// Drawing.

function make(name, className, text) {
  const element = document.createElement(name);
  element.className = className;
  if (text !== undefined) element.textContent = whole(text);
  return element;
}

function tint(element, { strength, hue }) {
  if (strength !== undefined) element.style.setProperty("--strength", strength.toFixed(3));
  if (hue !== undefined) element.style.setProperty("--mark", hue);
}

// The text once more, with marks: {start, end, strength, hue}, in the order of the text.
function paint(mirror, text, marks) {
  const nodes = [];
  let from = 0;
  for (const mark of marks) {
    if (mark.start < from) continue; // two pieces of one character
    nodes.push(text.slice(from, mark.start));
    const element = make("mark", "", text.slice(mark.start, mark.end));
    tint(element, mark);
    nodes.push(element);
    from = mark.end;
  }
  mirror.replaceChildren(...nodes, `${text.slice(from)}\n`);
}

// The list below: {text, number, title, share, strength, hue, strong}.
function list(className, entries) {
  find("results").className = className;
  find("results").replaceChildren(...entries.map((entry) => {
    const item = make("li", entry.strong ? "strong" : "");
    tint(item, entry);
    if (entry.title) item.title = entry.title;
    if (entry.share !== undefined) {
      const bar = make("span", "bar");
      bar.style.width = `${100 * entry.share}%`;
      item.append(bar);
    }
    item.append(make("span", "text", entry.text), " ", make("span", "number", entry.number));
    return item;
  }));
}

// Typing.

const kind = KINDS[about.kind];
const areas = [], mirrors = [];
let waiting, announcing, milliseconds = 0;

function update() {
  const texts = areas.map(({ value }) => value), begin = performance.now();
  texts.forEach((text, i) => paint(mirrors[i], text, []));
  find("summary").textContent = kind.show(texts, mirrors) || "Type something above.";
  const first = milliseconds === 0; // slow, because the browser has not translated the script yet
  milliseconds = performance.now() - begin;
  find("speed").textContent = first ? "" : `${milliseconds.toFixed(0)} ms`;
  clearTimeout(announcing); // a screen reader hears the result when typing pauses
  announcing = setTimeout(() => (find("announcement").textContent = find("summary").textContent), 900);
  document.documentElement.dataset.ready = "yes"; // tests wait for it
}

// A small model keeps up with typing; a large one waits until it pauses.
function updateSoon() {
  clearTimeout(waiting);
  waiting = setTimeout(update, milliseconds > 100 ? 400 : 0);
}

function set(texts) {
  areas.forEach((area, i) => (area.value = texts[i] ?? ""));
  update();
}

function start() {
  const size = Object.values(about.arrays).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b), 0);
  const { num_hidden_layers: layers, hidden_size: hidden } = about.config;
  for (const name of ["heading", "lead", "explanation"]) find(name).textContent = kind[name];
  find("name").textContent = about.name;
  find("facts").textContent =
    `${(size / 1e6).toFixed(1)} million weights of one byte each, ${layers} layers, ` +
    `${hidden} features per word piece`;
  find("legend").hidden = !kind.legend;
  for (const name of kind.fields) {
    const field = find("field").content.cloneNode(true);
    const [label, area, mirror] = ["label", "textarea", ".mirror"].map((part) => field.querySelector(part));
    area.id = `text-${areas.push(area)}`;
    label.htmlFor = area.id;
    label.textContent = name;
    mirrors.push(mirror);
    area.addEventListener("input", updateSoon);
    find("fields").append(field);
  }
  for (const texts of kind.examples) {
    const button = make("button", "", texts[0]);
    button.type = "button";
    button.addEventListener("click", () => set(texts));
    find("examples").append(button);
  }
  // page.html#t=A+sentence opens the page with that sentence; a second t fills the second field
  const asked = new URLSearchParams(location.hash.slice(1)).getAll("t");
  set(asked.length ? asked : kind.examples[0]);
}

start();
