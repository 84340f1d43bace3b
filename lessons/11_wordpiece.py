# %% [markdown]
# # 11 · Words cut into pieces, sentences packed into sequences
#
# **You will be able to** turn any English text into the ids that lesson 7 looks up: learn a vocabulary of
# word pieces, cut words with it, and pack sentences into sequences of one length.
#
# **Time** 40 minutes · **needs** 7, 9 · **runs** 3 s
#
# A **corpus** is the text that a model learns from. With an id for every word in it, the table of embeddings
# grows without end, and most words are too rare to learn anything about. With an id for every letter nothing
# is unknown, but a sentence becomes several times as long, and the cost of attention grows like T².
# **WordPiece** is a compromise: a frequent word has an id of its own, and a rare word is cut into **word
# pieces**, stretches of letters that have an id each. A piece that continues a word is written with ## in
# front: “unaffable” becomes `un ##aff ##able`.

# %%
from collections import Counter
from itertools import pairwise

import numpy as np
from course import begin

from minielectra.data.dataset.packing import assemble, pack
from minielectra.data.text.corpus import corpus_documents
from minielectra.data.text.default_corpus import default_corpus
from minielectra.data.text.sentences import split_sentences
from minielectra.data.wordpiece import WordPieceTokenizer
from minielectra.data.wordpiece.normalization import TextNormalizer
from minielectra.data.wordpiece.vocabulary import SPECIAL_TOKENS
from minielectra.data.wordpiece.vocabulary_training import train_vocabulary
from minielectra.plots.style import BLUE, INK, SKY, VERMILION, figure

lesson = begin("11_wordpiece")


# %% Long form: cut one word
# Given a vocabulary, the rule is: from where you are, take the longest piece that it contains, and go on
# after that piece.
def cut(word, vocabulary, show=False):
    pieces, start = [], 0
    while start < len(word):
        tried = []
        for end in range(len(word), start, -1):  # the longest first
            tried.append(("##" if start else "") + word[start:end])
            if tried[-1] in vocabulary:
                break
        else:  # the loop ended without a break: no piece fits here, so the word *as a whole* is unknown
            return ["[UNK]"]
        if show:
            print(f"at letter {start}: {', '.join(tried)} ✓")
        pieces.append(tried[-1])
        start = end
    return pieces


vocabulary = {"u", "un", "##n", "##a", "##aff", "##f", "##able", "##b", "##le", "##s"}
pieces = cut("unaffable", vocabulary, show=True)
print("unaffable →", *pieces, "  unstable →", *cut("unstable", vocabulary))

# %% A mistake, and a check that misses it: pieces without ##
# Leave out the ##, and every letter is still there: a check that joins the pieces and compares letters is
# satisfied.
one, two = ["the", "in", "##put"], ["the", "in", "put"]  # "the input", "the in put"
bare = [[piece.removeprefix("##") for piece in pieces] for pieces in (one, two)]
print("all letters there:", all("".join(pieces) == "theinput" for pieces in bare))
# A check that asks for the *text* back exposes it: two texts have become the same pieces, and nothing can
# turn these back into both.
print(f"the same pieces: {bare[0] == bare[1]} without ##, {one == two} with it")
assert bare[0] == bare[1] and one != two


# %% Long form: learn the pieces
# Where does the vocabulary come from? Start from letters. Count neighbouring pieces in all words, merge the
# most frequent pair into one piece, and repeat. (This way of learning pieces is called byte-pair encoding,
# or BPE.)
def learn(counts, merges, show=False):
    """{word: count} -> the letters, and the merged pieces in order.

    Pairs are counted afresh for each merge, which is slow but simple.
    """
    splits = {word: [word[0], *("##" + letter for letter in word[1:])] for word in counts}
    letters, found = sorted({piece for pieces in splits.values() for piece in pieces}), []
    for _ in range(merges):
        pairs = Counter()
        for word, pieces in splits.items():
            for pair in pairwise(pieces):  # (first, second), (second, third), …
                pairs[pair] += counts[word]
        # The most frequent pair; among equals, the first in alphabetical order.
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        found.append(best[0] + best[1].removeprefix("##"))
        for pieces in splits.values():
            for k in range(len(pieces)):  # merging makes the list shorter; a slice after its end is empty
                if pieces[k : k + 2] == [*best]:
                    pieces[k : k + 2] = [found[-1]]
        if show:
            words = "   ".join(" ".join(pieces) for pieces in splits.values())
            print(f"{best[0]:>4} + {best[1]:4} {pairs[best]} times:   {words}")
    return letters, found


# how often each word occurs in a very small corpus
counts = Counter({"low": 5, "lower": 2, "newest": 6, "widest": 3})
letters, found = learn(counts, merges=5, show=True)
print("lowest, which never occurred →", *cut("lowest", {*letters, *found}))

# %% [markdown]
# # Collapsed form
#
# The library does the same with less work: it corrects the counts only for words that contain the merged
# pair. Its vocabulary begins with five **special tokens**, which stand for no text: lesson 7's [PAD], [CLS]
# and [SEP], which now closes every segment; [UNK] for an unknown word; and [MASK], for lesson 12. The letters
# follow, then the merges in their order. A program that cuts text with a vocabulary is called a
# **tokenizer**.
#
# Before text is cut, it is brought into a standard form, which is called its **normalisation**. It is put
# into lower case. Accents are removed (é is taken apart into e and a mark, and the mark is dropped), and so
# are control characters, such as a zero-width space. Every punctuation mark becomes a word of its own, and so
# do $ and +. All of this looks at one character at a time, so the library keeps it in a table from characters
# to text.

# %% Collapsed form in code
normalise = TextNormalizer().words
print("Don't stop, Zoë! →", normalise("Don't stop, Zoë!"))

# Every installation has a corpus: the documentation of Python, NumPy and Matplotlib. Collecting it takes ten
# seconds, at its first use. It consists of documents, each about one topic. A document consists of
# paragraphs, one per line.
source = default_corpus()  # the path of a file, or the documents themselves if no file can be written
source = source if isinstance(source, list) else list(corpus_documents(source))
documents, others = source[::3], source[1::9]  # a third to learn from, and some to look at afterwards
lines = [line for document in documents for line in document]
tokenizer = WordPieceTokenizer(train_vocabulary(lines, 8192))
n_letters = sum(len(piece.removeprefix("##")) == 1 for piece in tokenizer.vocab)
first = len(SPECIAL_TOKENS) + n_letters  # where the merges begin
merges = tokenizer.vocab[first:]
print(f"{sum(map(len, lines))} characters → {len(tokenizer)} pieces; the first merges:", *merges[:9])

# %% Check
# Learning: 30 merges on English, ours against the library's.
letters, found = learn(Counter(word for line in lines[:400] for word in normalise(line)), merges=30)
ours = [*SPECIAL_TOKENS, *letters, *found]
assert ours == train_vocabulary(lines[:400], len(ours))
# Cutting, and back again: a piece with ## joins what stands before it.
words = [word for line in lines[:3000] for word in normalise(line)]
ids, _ = tokenizer.encode_lines(lines[:3000])
assert [tokenizer.vocab[i] for i in ids] == [piece for word in words for piece in cut(word, tokenizer.ids)]
assert normalise(tokenizer.decode(ids)) == words
print(f"30 merges, the {len(ids)} pieces of 3000 lines, and their words again: the same")

# %% See: what the size of the vocabulary does
# Merges stand in order, so the first V entries of a vocabulary are the vocabulary of size V.
sentence = "Unfamiliar words are recognised by their pieces"
sizes = (first, 300, 1000, len(tokenizer))
unseen = Counter(word for document in others for line in document for word in normalise(line))
fig = figure(
    9.5,
    3.5,
    "The larger the vocabulary, the fewer pieces a word is cut into",
    "One sentence and four sizes V of the vocabulary. A box is a piece: dark if it begins a word,\n"
    "light if it continues one. Right, in red: the mean number of pieces per word, in text that\n"
    "the vocabulary was not learned from.",
)
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
# A network needs sequences of one length T. With one sentence per sequence, and padding after it, most of the
# arithmetic would be spent on padding. **Packing** fills sequences with consecutive sentences: they are
# gathered until T is reached or the document ends. What does not fit becomes the beginning of the next
# example. About half of the text becomes segment 0, the rest segment 1:
#
#     [CLS] a a a a [SEP] b b b b b [SEP] [PAD] [PAD]
#       0   0 0 0 0   0   1 1 1 1 1   1     0     0        segment
#
# So an example is three numbers: where it starts among all tokens of the corpus, where it splits, and where
# it ends. In the library one example in ten has a single segment (it splits where it ends), and one in twenty
# is short on purpose, because such text exists too.

# %% Packing, long form and collapsed form
T = 64
sentences = [[s for line in document for s in split_sentences(line)] for document in documents]
# All tokens, and how many each sentence has:
tokens, lengths = tokenizer.encode_lines(s for document in sentences for s in document)
starts = np.cumsum([0, *map(len, sentences)])[:-1]  # the number of each document's first sentence
examples = pack(lengths, starts, T)  # (start, split, end) of each


def write_out(start, split, end):
    """One example -> ids [T], segments [T]."""
    a = [tokenizer.cls_id, *tokens[start:split], tokenizer.sep_id]
    b = [*tokens[split:end], tokenizer.sep_id] if end > split else []
    padding = T - len(a) - len(b)
    return [*a, *b, *[tokenizer.pad_id] * padding], [0] * len(a) + [1] * len(b) + [0] * padding


by_hand = [write_out(*example) for example in examples[:500]]
# All at once; `valid` is False at padding.
ids, valid, segments = assemble(tokens, examples[:500], T, tokenizer.special_ids)
lesson.same("ids and segments of 500 examples", by_hand, np.stack([ids, segments], axis=1))
print(*(tokenizer.vocab[i] for i in ids[1]))
alone = np.minimum(lengths + 2, T).mean()
print(
    f"of {T} places {valid.sum(axis=1).mean():.0f} are in use; with one sentence each it would be {alone:.0f}"
)

# %% [markdown]
# # Your turn
#
# Replace each `raise` with your own code and run the file again. Hints: `python lessons/11_wordpiece.py
# --hints`.


# %% Your turn 1: the fewest pieces
def fewest(word, vocabulary):
    """The fewest pieces that make up a word in lower case; ["[UNK]"] if it cannot be done. vocabulary: a set.

    `cut` does not look ahead: with {a, ab, ##c, ##bcd} it turns abcd into [UNK].
    """
    raise NotImplementedError("yours to write")


def check_fewest(fewest):
    assert fewest("abcd", {"a", "ab", "##c", "##bcd"}) == ["a", "##bcd"], "abcd can be a ##bcd"
    longer = {"ab", "abc", "##cdef", "##d", "##e", "##f"}
    assert fewest("abcdef", longer) == ["ab", "##cdef"], "abcdef can be ab ##cdef"
    assert fewest("abcd", {"a", "##b", "##d"}) == ["[UNK]"], "no piece covers the c: the word is [UNK]"


lesson.exercise(
    fewest,
    check_fewest,
    "Ask a smaller question: what are the fewest pieces for the first n "
    "letters? Answer it for n = 1, 2, 3, … and keep all answers.",
    "best[0] = []; best[n] is the shortest of best[m] + [piece from m "
    "to n] over all m < n for which best[m] and that piece exist.",
)


# %% Your turn 2: normalisation
def to_words(text):
    """Text -> a list of normalised words, as “Collapsed form” describes, without the library's table."""
    raise NotImplementedError("yours to write")


def check_words(to_words):
    examples = "Don't PANIC (yet).", "Zoë à la carte", "zero\u200bwidth", "«¿Qué?»  tab\tand 3.14"
    for text in (*examples, *others[0]):
        expected, found = normalise(text), to_words(text)
        assert found == expected, f"{text!r} should give {expected}, not {found}"


lesson.exercise(
    to_words,
    check_words,
    "Python's `unicodedata` helps: normalize('NFD', text) takes é apart into e "
    "and its mark, and category(character) says what each character is.",
    "Category Mn is a mark on the letter before it, Cc and Cf are "
    "controls, P… is punctuation; so is all of `string.punctuation`.",
    "A tab has category Cc, and yet it is white space, so look for white "
    "space first. Put spaces around punctuation, and split at the end.",
)

# %% [markdown]
# # What comes next
#
# Text is now ids, in sequences of length T. Lesson 12 hides some of them and lets an encoder guess: the text
# itself is the teacher.
#
# The real thing: `tokenizer.py`, `vocabulary_training.py` and `normalization.py` in
# `minielectra/data/wordpiece/`; `packing.py` in `minielectra/data/dataset/`, where `prepare.py` does all of
# it for a corpus of any size. (Google never published the code that learned its vocabulary. This one works
# like the `tokenizers` library, and for the same vocabulary it gives the same ids.)

# %%
lesson.end()
