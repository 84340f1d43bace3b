# %% [markdown]
# # 11 · Words cut into pieces, sentences packed into sequences
#
# **You will be able to** turn any English text into the ids that lesson 7 looks up: learn a vocabulary of word pieces, cut words
# with it, and pack sentences into sequences of one length.
#
# **Time** 40 minutes · **needs** 7, 9 · **runs** 3 s
#
# A **corpus** is the text a model learns from. With an id for every word of it, the table of embeddings grows without end, and
# most words are too rare to learn anything about. With an id for every letter nothing is unknown, but a sentence is several times
# as long, and attention costs T². **WordPiece** lies between: a frequent word has an id of its own, a rare one is cut into
# **word pieces**, stretches of letters that have one each. A piece that continues a word is written with ## in front: “unaffable”
# becomes `un ##aff ##able`.

# %%
from collections import Counter
from itertools import pairwise

import numpy as np
from course import begin

from minielectra.data.dataset.packing import make_batch, pack
from minielectra.data.text.corpus import read_documents
from minielectra.data.text.default_corpus import default_corpus
from minielectra.data.text.sentences import split_sentences
from minielectra.data.wordpiece.normalisation import Normaliser
from minielectra.data.wordpiece.tokenizer import SPECIAL_TOKENS, WordPieceTokenizer
from minielectra.data.wordpiece.vocabulary_training import train_vocabulary
from minielectra.plots.style import BLUE, INK, SKY, VERMILION, figure

lesson = begin("11_wordpiece")


# %% Long form: cut one word
# With a vocabulary given, the rule is: from where you stand, take the longest piece that it has, and go on behind it.
def cut(word, vocabulary, show=False):
    pieces, start = [], 0
    while start < len(word):
        tried = []
        for end in range(len(word), start, -1):  # the longest first
            tried.append(("##" if start else "") + word[start:end])
            if tried[-1] in vocabulary:
                break
        else:  # the loop ended without a break: there is no piece for this place, and the word is unknown *as a whole*
            return ["[UNK]"]
        if show:
            print(f"at letter {start}: {', '.join(tried)} ✓")
        pieces.append(tried[-1])
        start = end
    return pieces


vocabulary = {"u", "un", "##n", "##a", "##aff", "##f", "##able", "##b", "##le", "##s"}
print("unaffable →", *cut("unaffable", vocabulary, show=True), "  unstable →", *cut("unstable", vocabulary))

# %% A mistake, and a check that misses it: pieces without ##
# Leave the ## out, and every letter is still there: a check that joins the pieces and compares letters is satisfied.
one, two = ["the", "in", "##put"], ["the", "in", "put"]  # "the input", "the in put"
bare = [[piece.removeprefix("##") for piece in pieces] for pieces in (one, two)]
print("all letters there:", all("".join(pieces) == "theinput" for pieces in bare))
# A check that wants the *text* back exposes it: two texts have become the same pieces, and nothing can turn these back into both.
print(f"the same pieces: {bare[0] == bare[1]} without ##, {one == two} with it")
assert bare[0] == bare[1] and one != two


# %% Long form: learn the pieces
# Where does the vocabulary come from? Start from letters. Count neighbouring pieces over all words; merge the most frequent pair
# into one piece; repeat.
def learn(counts, merges, show=False):
    """{word: count} -> the letters, the merged pieces in order. Pairs are counted anew for each merge: slow but plain."""
    splits = {word: [word[0], *("##" + letter for letter in word[1:])] for word in counts}
    letters, found = sorted({piece for pieces in splits.values() for piece in pieces}), []
    for _ in range(merges):
        pairs = Counter()
        for word, pieces in splits.items():
            for pair in pairwise(pieces):  # (first, second), (second, third), …
                pairs[pair] += counts[word]
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))  # the most frequent; of equals the first by text
        found.append(best[0] + best[1].removeprefix("##"))
        for pieces in splits.values():
            for k in range(len(pieces)):  # merging makes the list shorter; behind its end a slice is empty
                if pieces[k : k + 2] == [*best]:
                    pieces[k : k + 2] = [found[-1]]
        if show:
            print(f"{best[0]:>4} + {best[1]:4} {pairs[best]} times:   {'   '.join(' '.join(p) for p in splits.values())}")
    return letters, found


counts = Counter({"low": 5, "lower": 2, "newest": 6, "widest": 3})  # how often each word occurs in a very small corpus
letters, found = learn(counts, merges=5, show=True)
print("lowest, which never occurred →", *cut("lowest", {*letters, *found}))

# %% [markdown]
# # Collapsed form
#
# The library does the same with less work: it corrects the counts of those words that hold the merged pair, and leaves the rest.
# Its vocabulary begins with five **special tokens**, which stand for no text: lesson 7's [PAD], [CLS] and [SEP], which now closes
# every segment; [UNK] for an unknown word; [MASK] for what lesson 12 does. The letters follow, then the merges in their order.
# What cuts text with a vocabulary is called a **tokenizer**.
#
# Before anything is cut, text is brought to one form, its **normalisation**: lower case; accents off (é is taken apart into e and
# a mark, and the mark is dropped); control characters out, such as a zero-width space; every punctuation mark a word of its own,
# $ and + among them. All of this looks at one character at a time: the library has it as a table from characters to text.

# %% Collapsed form in code
normalise = Normaliser().words
print("Don't stop, Zoë! →", normalise("Don't stop, Zoë!"))

# A corpus that every installation holds: the documentation of Python, NumPy and Matplotlib, gathered in ten seconds at its first
# use. It comes as documents, each about one topic, and a document as its paragraphs, each a line.
source = default_corpus()  # the path of a file, or the documents themselves where none can be written
source = source if isinstance(source, list) else list(read_documents(source))
documents, others = source[::3], source[1::9]  # a third to learn from, and some to look at afterwards
lines = [line for document in documents for line in document]
tokenizer = WordPieceTokenizer(train_vocabulary(lines, 8192))
first = len(SPECIAL_TOKENS) + sum(len(piece.removeprefix("##")) == 1 for piece in tokenizer.vocab)  # where the merges begin
print(f"{sum(map(len, lines))} characters → {len(tokenizer)} pieces; the first merges:", *tokenizer.vocab[first:][:9])

# %% Check
# Learning: 30 merges on English, ours against the library's.
letters, found = learn(Counter(word for line in lines[:400] for word in normalise(line)), merges=30)
assert [*SPECIAL_TOKENS, *letters, *found] == train_vocabulary(lines[:400], len(SPECIAL_TOKENS) + len(letters) + 30)
# Cutting, and back again: a piece with ## joins what stands before it.
words = [word for line in lines[:3000] for word in normalise(line)]
ids, _ = tokenizer.encode_lines(lines[:3000])
assert [tokenizer.vocab[i] for i in ids] == [piece for word in words for piece in cut(word, tokenizer.ids)]
assert normalise(tokenizer.decode(ids)) == words
print(f"30 merges, the {len(ids)} pieces of 3000 lines, and their words again: the same")

# %% See: what the size of the vocabulary does
# Merges stand in order, so the first V entries of a vocabulary are the vocabulary of size V.
sentence, sizes = "Unfamiliar words are recognised by their pieces", (first, 300, 1000, len(tokenizer))
unseen = Counter(word for document in others for line in document for word in normalise(line))
fig = figure(
    9.5, 3.5, "The larger the vocabulary, the fewer pieces a word is cut into",
    "One sentence and four sizes V of vocabulary: a box is a piece, dark at a word's beginning, light where it continues one.\n"
    "Right, in red: the mean number of pieces a word, over text that the vocabulary was not learned from.",
)  # fmt: skip
ax = fig.subplots()
for y, size in enumerate(sizes):
    entries, x = set(tokenizer.vocab[:size]), 0.0
    for piece in (piece for word in normalise(sentence) for piece in cut(word, entries)):
        begins, shown = not piece.startswith("##"), piece.removeprefix("##")
        x += 0.6 * begins
        box = ax.barh(y, len(shown) - 0.14, left=x, height=0.62, color=BLUE if begins else SKY)
        ax.bar_label(box, [shown], label_type="center", color="white" if begins else INK, family="monospace")
        x += len(shown)
    mean = sum(count * len(cut(word, entries)) for word, count in unseen.items()) / unseen.total()
    ax.text(x + 1, y, f"{mean:.2f}", va="center", fontsize=11, fontweight="bold", color=VERMILION)
    ax.text(0, y, f"V = {size}", ha="right", va="center", fontsize=9)
ax.set(xlim=(-3.5, x + 3), ylim=(3.6, -0.6))
ax.set_axis_off()
lesson.figure(fig)

# %% [markdown]
# # From sentences to sequences
#
# A network wants sequences of one length T. A sentence to a sequence, and padding behind it, would spend most of the arithmetic
# on padding. **Packing** fills sequences with sentences that follow each other: they gather until T is reached or the document
# ends. What does not fit is the beginning of the next example. About half of the text becomes segment 0, the rest segment 1:
#
#     [CLS] a a a a [SEP] b b b b b [SEP] [PAD] [PAD]
#       0   0 0 0 0   0   1 1 1 1 1   1     0     0        segment
#
# So an example is three numbers: where among all tokens of the corpus it starts, where it splits, where it ends. The library
# gives one in ten a single segment (it splits where it ends) and makes one in twenty short on purpose: such text exists too.

# %% Packing, long form and collapsed form
T = 64
sentences = [[s for line in document for s in split_sentences(line)] for document in documents]
tokens, lengths = tokenizer.encode_lines(s for document in sentences for s in document)  # all tokens; how many each sentence has
starts = np.cumsum([0, *map(len, sentences)])[:-1]  # the number of each document's first sentence
examples = pack(lengths, starts, T)  # (start, split, end) of each


def write_out(start, split, end):
    """One example -> ids [T], segments [T]."""
    a = [tokenizer.cls_id, *tokens[start:split], tokenizer.sep_id]
    b = [*tokens[split:end], tokenizer.sep_id] if end > split else []
    padding = T - len(a) - len(b)
    return [*a, *b, *[tokenizer.pad_id] * padding], [0] * len(a) + [1] * len(b) + [0] * padding


by_hand = [write_out(*example) for example in examples[:500]]
ids, valid, segments = make_batch(tokens, examples[:500], T, tokenizer.special_ids)  # all at once; valid is False at padding
lesson.same("ids and segments of 500 examples", by_hand, np.stack([ids, segments], axis=1))
print(*(tokenizer.vocab[i] for i in ids[1]))
alone = np.minimum(lengths + 2, T).mean()
print(f"of {T} places {valid.sum(axis=1).mean():.0f} are in use; by a sentence alone it would be {alone:.0f}")

# %% [markdown]
# # Your turn
#
# Replace each `raise` with your own code and run the file again. Hints: `python lessons/11_wordpiece.py --hints`.


# %% Your turn 1: the fewest pieces
def fewest(word, vocabulary):
    """word (lower case), vocabulary (a set) -> the fewest pieces that make up the word; ["[UNK]"] where there is no way at all.

    `cut` takes no thought for the rest of a word: with {a, ab, ##c, ##bcd} it makes [UNK] of abcd."""
    raise NotImplementedError("yours to write")


def check_fewest(fewest):
    assert fewest("abcd", {"a", "ab", "##c", "##bcd"}) == ["a", "##bcd"], "abcd can be a ##bcd"
    assert fewest("abcdef", {"ab", "abc", "##cdef", "##d", "##e", "##f"}) == ["ab", "##cdef"], "abcdef can be ab ##cdef"
    assert fewest("abcd", {"a", "##b", "##d"}) == ["[UNK]"], "no piece covers the c: the word is [UNK]"


lesson.exercise(
    fewest, check_fewest,
    "Ask a smaller question: what are the fewest pieces for the first n letters? Answer it for n = 1, 2, 3, …, keep all answers.",
    "best[0] = []; best[n] is the shortest of best[m] + [piece from m to n] over those m < n where best[m] and that piece exist.",
)  # fmt: skip


# %% Your turn 2: normalisation
def to_words(text):
    """Text -> normalised words, as described under “Collapsed form”, without the library's table."""
    raise NotImplementedError("yours to write")


def check_words(to_words):
    for text in ("Don't PANIC (yet).", "Zoë à la carte", "zero\u200bwidth", "«¿Qué?»  tab\tand 3.14", *others[0]):
        assert to_words(text) == normalise(text), f"{text!r} should give {normalise(text)}, not {to_words(text)}"


lesson.exercise(
    to_words, check_words,
    "`unicodedata` of Python: normalize('NFD', text) takes é apart into e and its mark, category(character) says what each is.",
    "Category Mn is a mark on the letter before, Cc and Cf are controls, P… is punctuation; so is all of `string.punctuation`.",
    "A tab is category Cc and yet white space: ask for white space first. Put spaces round punctuation, and split at the end.",
)  # fmt: skip

# %% [markdown]
# # What comes next
#
# Text is ids now, in sequences of T. Lesson 12 hides some of them and lets an encoder guess: the text itself is the teacher.
#
# The real thing: `minielectra/data/wordpiece/tokenizer.py`, `wordpiece_training.py`, `normalisation.py`, `packing.py`; `prepare.py` does
# all of it for a corpus of any size. (Google never released how it learned its vocabulary; this is the way of the `tokenizers`
# library, and for the same vocabulary the ids agree with that library's.)

# %%
lesson.end()
