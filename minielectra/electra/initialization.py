"""Where training starts.

`official` (BERT's and ELECTRA's): every matrix is drawn from a normal distribution of standard deviation
`initializer_range`, cut off at two deviations; biases are 0 and LayerNorm's weights 1. From there a masked
language model first learns word frequencies and nothing else, for tens of millions of tokens: until attention
has found the neighbouring words, there is nothing else to learn from.

`local_attention` starts with attention that already looks at neighbours, so that a run of minutes learns
something:

- Linear weights have deviation 1/√fan-in, and word vectors 1/√E, so that signals keep their size from the
  first step.
- The position table starts as sines and cosines, as strong as the word vectors, on the first features.
- The embedding projection passes these features through.
- In the first layer, each head's key projection starts as the identity on these features, and its query
  projection as the rotation by an offset (−1, +1, −2, +2, …). The product of the two is then largest at that
  offset, so the head looks at that neighbour.

With `word_vectors=cooccurrence`, either of them starts with word vectors of the same size that come from the
training text (electra/word_vectors.py). The output bias of the masked language model starts with the
logarithms of the words' frequencies. So a run need not begin by learning which words are frequent and which
are alike.

Everything stays trainable and the architecture is ELECTRA's, so checkpoints are interchangeable. Only the
start differs.
"""

import numpy as np

from minielectra.backend import Purpose, blas_threads
from minielectra.electra.word_vectors import cooccurrence_vectors, log_frequencies, spread

FASTEST = 2.5  # radians per position: tells direct neighbours apart
SHARPNESS = 1.5  # scale of the query: 16 features then give a neighbour half the attention (docs/LOG.md)
FREQUENCIES = 16  # at most; each takes two features
_WORDS = "word_embeddings.weight"


def initialize(objective, seed, tokens=None):
    """Fill the parameters of a pre-training objective, as `initialization` and `word_vectors` of its settings
    say.

    tokens [N] int: the training text, for word vectors from co-occurrence; without it they are random. A pure
    function of text and seed.
    """
    random = np.random.default_rng([seed, Purpose.INITIALIZATION])
    config, seq_length = objective.model_config, objective.config.seq_length
    local = objective.config.initialization == "local_attention"
    towers = objective.towers.values()
    parameters = objective.parameters
    state = {}
    for name, shape in parameters.shapes.items():
        if name.endswith(".bias") or ".difference." in name:
            state[name] = np.zeros(shape)
        elif "LayerNorm" in name:
            state[name] = np.ones(shape)
        else:
            deviation = shape[-1] ** -0.5 if local else config.initializer_range
            state[name] = deviation * truncated_normal(random, shape)
    width = _position_width(config, towers) if local else 0
    tables = [name.removesuffix(_WORDS) for name in state if name.endswith(_WORDS)]
    tables = [prefix for prefix in tables if ".difference." not in prefix]
    if local:
        for prefix in tables:
            _positions(state, prefix, config, width, seq_length)
        for tower in towers:
            _look_at_neighbours(state, tower.prefix, tower.config, width, seq_length)
    if tokens is not None and objective.config.word_vectors == "cooccurrence":
        deviation = config.embedding_size**-0.5 if local else config.initializer_range
        _words_from_text(state, tables, spread(tokens), towers, width, deviation, random)
    for prefix in tables:
        state[f"{prefix}{_WORDS}"][config.pad_token_id] = 0.0  # as Hugging Face does
    parameters.load_state(state)


def _words_from_text(state, tables, tokens, towers, start, deviation, random):
    """Set the word vectors from feature `start` on, and the bias of each masked language model.

    tables: the prefixes of the embeddings, which all get the same word vectors.
    """
    table = state[f"{tables[0]}{_WORDS}"]
    width = table.shape[1] - start
    with blas_threads(1):  # with more, sums in another order would change the last bits
        vectors = cooccurrence_vectors(tokens, len(table), min(width, len(table) - 1), random)
    for prefix in tables:
        words = state[f"{prefix}{_WORDS}"]
        words[:, start : start + vectors.shape[1]] = deviation * np.sqrt(width) * vectors
    for tower in towers:
        bias = f"{tower.prefix}generator_lm_head.bias"
        if bias in state:
            state[bias] = log_frequencies(tokens, len(table))


def truncated_normal(random, shape):
    """Standard normal numbers [*shape], none beyond two deviations.

    Those are drawn again, as by TensorFlow's truncated_normal.
    """
    x = random.standard_normal(shape)
    while (far := np.abs(x) > 2.0).any():
        x[far] = random.standard_normal(np.count_nonzero(far))
    return x


def frequencies(count, seq_length):
    """`count` angular frequencies [count], in radians per position.

    They fall from FASTEST down to half a period per sequence.
    """
    return np.geomspace(FASTEST, np.pi / seq_length, count)


def _position_width(config, towers):
    """How many features carry the position: two per frequency.

    At most a head's width, and half of every other width.
    """
    widths = [config.embedding_size // 2]
    for tower in towers:
        widths.append(tower.config.hidden_size // tower.config.num_attention_heads)
        widths.append(tower.config.hidden_size // 2)
    return 2 * min(FREQUENCIES, min(widths) // 2)


def _positions(state, prefix, config, width, seq_length):
    """Set position[t] = (cos ω t, sin ω t) for each ω, with the mean square of the word vectors.

    prefix: of the names of the embeddings, of which two towers may have one set each.
    """
    angle = np.arange(config.max_position_embeddings)[:, None] * frequencies(width // 2, seq_length)
    waves = np.stack([np.cos(angle), np.sin(angle)], axis=2).reshape(len(angle), width)
    table = state[f"{prefix}position_embeddings.weight"]
    table[:, width:] = 0.0
    table[:, :width] = waves * np.sqrt(2.0 / config.embedding_size)
    state[f"{prefix}{_WORDS}"][:, :width] = 0.0  # else a head would see itself in its own word
    state[f"{prefix}token_type_embeddings.weight"][:, :width] = 0.0


def _look_at_neighbours(state, prefix, config, width, seq_length):
    """Set the projections of a tower's first layer so that each head looks at one neighbour."""
    project = state.get(f"{prefix}electra.embeddings_project.weight")
    if project is not None:
        project[:width] = 0.0
        project[:width, :width] = np.eye(width)
    first = f"{prefix}electra.encoder.layer.0.attention.self."
    head_width = config.hidden_size // config.num_attention_heads
    for head in range(config.num_attention_heads):
        offset = (head // 2 + 1) * (1 if head % 2 else -1)
        rows = slice(head * head_width, head * head_width + width)
        for part, matrix in (("query", rotation(offset, width, seq_length)), ("key", np.eye(width))):
            weight = state[f"{first}{part}.weight"]
            weight[rows] = 0.0
            weight[rows, :width] = SHARPNESS * matrix


def rotation(offset, width, seq_length):
    """The matrix [width, width] that turns (cos ω t, sin ω t) into (cos ω (t + offset), sin ω (t + offset))
    for every ω.
    """
    matrix = np.zeros((width, width))
    for i, omega in enumerate(frequencies(width // 2, seq_length)):
        c, s = np.cos(omega * offset), np.sin(omega * offset)
        matrix[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[c, -s], [s, c]]
    return matrix
