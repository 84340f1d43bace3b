// WordPiece: a text becomes pieces of the vocabulary, each with the place in the text that it comes from.
// The same as minielectra/data/wordpiece, from which the table of characters was made. It comes with the page
// because browsers know different versions of Unicode.

class Characters {
  // table: {dropped, spaces, apart: [first, last, first, last, …] of code points; changed: {character: text};
  // decompose: whether accents, and so the parts of Korean syllables, are taken off}
  constructor(table) {
    this.table = table;
    this.known = new Map();
  }

  // What one character becomes: itself, a lower-cased letter, "" or, between spaces, a word of its own.
  normalized(char) {
    let text = this.known.get(char);
    if (text === undefined) {
      text = this.lookUp(char, char.codePointAt(0));
      this.known.set(char, text);
    }
    return text;
  }

  lookUp(char, code) {
    const { dropped, spaces, apart, changed, decompose } = this.table;
    if (Object.hasOwn(changed, char)) return changed[char];
    if (isWithin(code, dropped)) return "";
    if (isWithin(code, spaces)) return " ";
    if (isWithin(code, apart)) return ` ${char} `;
    return decompose && code >= 0xac00 && code <= 0xd7a3 ? char.normalize("NFD") : char;
  }
}

// Whether a number lies within one of the sorted ranges [first, last, first, last, …].
function isWithin(code, ranges) {
  let low = 0, high = ranges.length / 2;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (code > ranges[2 * middle + 1]) low = middle + 1;
    else high = middle;
  }
  return 2 * low < ranges.length && code >= ranges[2 * low];
}

class WordPiece {
  static longestWord = 100; // characters; a longer word is [UNK], as in BERT

  // pieces: in the order of their ids; special: {"[CLS]": id, …}; characters: for Characters
  constructor({ pieces, special, characters }) {
    this.pieces = pieces;
    this.ids = new Map(pieces.map((piece, id) => [piece, id]));
    this.longest = pieces.reduce((most, piece) => Math.max(most, [...piece].length), 0);
    this.special = special;
    this.characters = new Characters(characters);
  }

  // The pieces of a text: {id, text, start, end, word}, where text.slice(start, end) is what a piece comes
  // from, and word counts the words. A special token such as [MASK] is one piece, if that is allowed.
  encode(text, allowSpecial = false) {
    const found = [];
    let words = 0;
    const add = (from, to) => {
      for (const word of this.words(text, from, to)) {
        for (const [id, first, last] of this.cut(word.map(({ char }) => char))) {
          const [start, end] = [word[first].start, word[last - 1].end];
          found.push({ id, text: this.pieces[id], start, end, word: words });
        }
        words += 1;
      }
    };
    let from = 0;
    for (const match of allowSpecial ? text.matchAll(/\[(?:PAD|UNK|CLS|SEP|MASK)\]/g) : []) {
      add(from, match.index);
      from = match.index + match[0].length;
      const [token] = match;
      found.push({ id: this.special[token], text: token, start: match.index, end: from, word: words++ });
    }
    add(from, text.length);
    return found;
  }

  // The normalized words of text.slice(from, to), each a list of {char, start, end}.
  words(text, from, to) {
    const words = [];
    let word = [], start = from;
    for (const original of text.slice(from, to)) {
      const end = start + original.length;
      for (const char of this.characters.normalized(original)) {
        if (char !== " ") word.push({ char, start, end });
        else if (word.length) {
          words.push(word);
          word = [];
        }
      }
      start = end;
    }
    return word.length ? [...words, word] : words;
  }

  // A word, a list of characters -> [id, start, end] of its pieces, each the longest that fits; or one [UNK].
  cut(word) {
    const unknown = [[this.special["[UNK]"], 0, word.length]], found = [];
    if (word.length > WordPiece.longestWord) return unknown;
    for (let start = 0, end; start < word.length; start = end) {
      let id;
      for (end = Math.min(word.length, start + this.longest); end > start; end--) {
        id = this.ids.get((start ? "##" : "") + word.slice(start, end).join(""));
        if (id !== undefined) break;
      }
      if (id === undefined) return unknown;
      found.push([id, start, end]);
    }
    return found;
  }
}
