// Making elements, and writing tokens and numbers. Text from a run becomes text nodes, never markup.

/** An HTML element. Attributes: a function listens to that event, "--x" is a property of its style, true is
 * an attribute without a value; null and false leave it out. Children: nodes and strings; null is skipped. */
function el(name, attributes = {}, ...children) {
  return furnish(document.createElement(name), attributes, children);
}

/** Add children to an element, as `el` takes them. */
const add = (node, ...children) => furnish(node, {}, children);

function svg(name, attributes = {}, ...children) {
  return furnish(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function furnish(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (value !== null && value !== undefined && value !== false)
      node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const BLANK = /[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}\u2800]/u;

/** The parts of a token: strings, and {code} for each character that is not seen or would move others. */
function tokenParts(token) {
  const parts = [""];
  const carried = token.replace(/^(#*)(?=\p{M})/u, "$1\u25cc"); // a mark on its own needs something to sit on
  const ordinary = /^ | $| {2}/.test(token) ? null : " "; // a single space between others is seen
  for (const character of carried) {
    if (!BLANK.test(character) || character === ordinary) parts.push(parts.pop() + character);
    else
      parts.push({ code: "U+" + character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") }, "");
  }
  return parts.filter((part) => part !== "");
}

/** A token as an element that keeps its direction of writing to itself. */
function tokenNode(token) {
  const part = (one) => (one.code ? el("span", { class: "code" }, one.code) : one);
  return el("bdi", { class: "token" }, tokenParts(token).map(part));
}

/** A token as a string, for labels: within marks that keep its direction of writing to itself. */
function tokenText(token) {
  return (
    "\u2068" +
    tokenParts(token)
      .map((part) => (part.code ? `<${part.code}>` : part))
      .join("") +
    "\u2069"
  );
}

const known = (value) => typeof value === "number" && Number.isFinite(value);

/** A whole number in groups of three: 4 000. */
const spaced = (number) => String(Math.round(number)).replace(/\B(?=(\d{3})+$)/g, "\u202f");

/** A number for an axis: 500, 4k, 2.5k, 1.2M. */
function short(number) {
  for (const [size, letter] of [
    [1e15, "P"],
    [1e12, "T"],
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ])
    if (Math.abs(number) >= size) return Number((number / size).toPrecision(3)) + letter;
  return String(Number(number.toPrecision(3)));
}

/** A share: 31 %, 0.4 %. */
function perCent(share) {
  if (!known(share)) return "–";
  const digits = share >= 0.0995 || share === 0 ? 0 : 1;
  return (100 * share).toFixed(digits) + "\u202f%";
}

/** A value of a curve. */
function figure(value, percent) {
  if (!known(value)) return "–";
  if (percent) return (100 * value).toFixed(1) + "\u202f%";
  return Math.abs(value) >= 1000 ? spaced(value) : String(Number(value.toPrecision(4)));
}

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400
    ? `${Number((seconds / 60).toPrecision(3))} min`
    : `${Number((seconds / 3600).toPrecision(3))} h`;
}

const interval = ([low, high], write = perCent) => (known(low) ? `${write(low)} to ${write(high)}` : "–");

/** A large number of things, in words: plural("evaluation", 2) is "2 evaluations". */
const plural = (word, count) => `${spaced(count)} ${word}${count === 1 ? "" : "s"}`;
