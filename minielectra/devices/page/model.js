// The model: a forward pass of BERT's encoder and of ELECTRA's heads, for one sequence.
//
// T tokens, E embedding and H hidden features, A heads of D = H / A features, F features inside a block.
// [T, H] is a Float32Array of T rows, one after the other. A matrix of weights is W = s·Q: bytes Q [O, I],
// and a scale s for each row. Parameters have Hugging Face's names. Compare minielectra/nn and
// minielectra/ops.

const TOGETHER = 8; // tokens that a linear layer reads a weight for: reading it is most of the work

class Model {
  // config: as in config.json; arrays: {name: {shape, at, scales}}, places in `bytes`, an ArrayBuffer
  constructor(config, arrays, bytes) {
    this.config = config;
    this.heads = config.num_attention_heads;
    this.arrays = new Map();
    for (const [name, { shape, at, scales }] of Object.entries(arrays)) {
      const [rows, columns] = shape;
      if (columns === undefined) {
        this.arrays.set(name, new Float32Array(bytes, at, rows));
      } else {
        const numbers = new Int8Array(bytes, at, rows * columns);
        const scale = new Float32Array(bytes, scales, rows);
        this.arrays.set(name, { numbers, scale, rows, columns });
      }
    }
  }

  get(name) {
    return this.arrays.get(name);
  }

  // Row `index` of a table, added to y[at …].
  addRow(name, index, y, at) {
    const { numbers, scale, columns } = this.get(`electra.embeddings.${name}_embeddings.weight`);
    for (let i = 0; i < columns; i++) y[at + i] += scale[index] * numbers[index * columns + i];
  }

  // x [T, I] -> x Wᵀ + b [T, O]
  linear(x, name) {
    const { numbers, scale, rows, columns } = this.get(`${name}.weight`), bias = this.get(`${name}.bias`);
    const length = x.length / columns, y = new Float32Array(Math.ceil(length / TOGETHER) * TOGETHER * rows);
    const panel = new Float64Array(TOGETHER * columns); // a feature of all eight tokens, then the next, …
    for (let t = 0; t < length; t += TOGETHER) {
      panel.fill(0);
      for (let k = 0; k < TOGETHER && t + k < length; k++)
        for (let i = 0; i < columns; i++) panel[TOGETHER * i + k] = x[(t + k) * columns + i];
      for (let o = 0, w = 0; o < rows; o++) {
        let a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0;
        for (let p = 0; p < panel.length; p += TOGETHER, w++) {
          const q = numbers[w];
          a += q * panel[p], b += q * panel[p + 1], c += q * panel[p + 2], d += q * panel[p + 3];
          e += q * panel[p + 4], f += q * panel[p + 5], g += q * panel[p + 6], h += q * panel[p + 7];
        }
        let at = t * rows + o;
        y[at] = scale[o] * a + bias[o], y[at += rows] = scale[o] * b + bias[o];
        y[at += rows] = scale[o] * c + bias[o], y[at += rows] = scale[o] * d + bias[o];
        y[at += rows] = scale[o] * e + bias[o], y[at += rows] = scale[o] * f + bias[o];
        y[at += rows] = scale[o] * g + bias[o], y[at += rows] = scale[o] * h + bias[o];
      }
    }
    return y.subarray(0, length * rows);
  }

  // Each row of x [T, H] with mean 0 and variance 1, times the weight, plus the bias; in place.
  layerNorm(x, name) {
    const weight = this.get(`${name}.weight`), bias = this.get(`${name}.bias`), features = weight.length;
    for (let at = 0; at < x.length; at += features) {
      let mean = 0, variance = 0;
      for (let i = 0; i < features; i++) mean += x[at + i] / features;
      for (let i = 0; i < features; i++) variance += (x[at + i] - mean) ** 2 / features;
      const scale = 1 / Math.sqrt(variance + this.config.layer_norm_eps);
      for (let i = 0; i < features; i++) x[at + i] = (x[at + i] - mean) * scale * weight[i] + bias[i];
    }
    return x;
  }

  // ids, segments: T numbers -> hidden [T, H]
  encode(ids, segments) {
    const features = this.config.embedding_size;
    let x = new Float32Array(ids.length * features);
    ids.forEach((id, t) => {
      this.addRow("word", id, x, t * features);
      this.addRow("position", t, x, t * features);
      this.addRow("token_type", this.config.type_vocab_size > 1 ? segments[t] : 0, x, t * features);
    });
    x = this.layerNorm(x, "electra.embeddings.LayerNorm");
    if (this.get("electra.embeddings_project.weight")) x = this.linear(x, "electra.embeddings_project");
    const layers = [x];
    for (let l = 0; l < this.config.num_hidden_layers; l++) {
      x = this.block(x, `electra.encoder.layer.${l}`);
      layers.push(x);
    }
    const weights = this.get("layer_mix.weights");
    if (!weights) return x;
    return this.mix(layers, softmax(Float64Array.from(weights)), this.get("layer_mix.scale")[0]);
  }

  block(x, name) {
    const attended = this.attention(x, `${name}.attention.self`);
    const h = this.residual(attended, x, `${name}.attention.output`);
    const inner = activate(this.linear(h, `${name}.intermediate.dense`), this.config.hidden_act);
    return this.residual(inner, h, `${name}.output`);
  }

  residual(inner, x, name) {
    return this.layerNorm(add(this.linear(inner, `${name}.dense`), x), `${name}.LayerNorm`);
  }

  // Every token looks at all tokens: softmax(Q Kᵀ / √D) V, head by head.
  attention(x, name) {
    const [q, k, v] = ["query", "key", "value"].map((part) => this.linear(x, `${name}.${part}`));
    const hidden = this.config.hidden_size, width = hidden / this.heads, length = x.length / hidden;
    const y = new Float32Array(x.length), scores = new Float64Array(length);
    for (let first = 0; first < hidden; first += width) {
      for (let t = 0; t < length; t++) {
        const at = t * hidden + first;
        for (let s = 0; s < length; s++) {
          let sum = 0;
          for (let i = 0, b = s * hidden + first; i < width; i++) sum += q[at + i] * k[b + i];
          scores[s] = sum / Math.sqrt(width);
        }
        softmax(scores);
        for (let s = 0; s < length; s++)
          for (let i = 0, b = s * hidden + first; i < width; i++) y[at + i] += scores[s] * v[b + i];
      }
    }
    return y;
  }

  // The mix of layers that a head may read instead of the last one.
  mix(layers, shares, scale) {
    return layers[0].map((_, i) => layers.reduce((sum, x, l) => sum + scale * shares[l] * x[i], 0));
  }

  // Heads.

  // The logit of "replaced" for every token: [T]
  detection(ids) {
    const x = this.linear(this.encode(ids, ids.map(() => 0)), "discriminator_predictions.dense");
    return this.linear(activate(x, this.config.hidden_act), "discriminator_predictions.dense_prediction");
  }

  // A logit for every label: [L]
  classification(ids, segments) {
    const first = this.encode(ids, segments).subarray(0, this.config.hidden_size); // [CLS]
    return this.linear(activate(this.linear(first, "classifier.dense"), "gelu"), "classifier.out_proj");
  }

  // A logit for every token and label: [T, L]
  tokens(ids, segments, name) {
    return this.linear(this.encode(ids, segments), name);
  }
}

function add(x, y) {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
  return x;
}

// In place.
function softmax(x) {
  let most = -Infinity, total = 0;
  for (let i = 0; i < x.length; i++) most = Math.max(most, x[i]);
  for (let i = 0; i < x.length; i++) total += x[i] = Math.exp(x[i] - most);
  for (let i = 0; i < x.length; i++) x[i] /= total;
  return x;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

// erf(x / √2) as tanh(x P(x²)), within 2e-7: minielectra/ops/fast/gelu.py has the fit.
const ERF = [
  1.587624562e-9, -1.260543728e-7, 3.885317292e-6, -5.48691287e-5, -3.363232816e-5, 0.03633400888,
  0.7978847387,
];

function erfScaled(x) {
  const square = Math.min(x * x, 5.5 ** 2);
  let sum = 0;
  for (const coefficient of ERF) sum = sum * square + coefficient;
  return Math.tanh(x * sum);
}

const ACTIVATIONS = {
  gelu: (x) => 0.5 * x * (1 + erfScaled(x)),
  gelu_new: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  relu: (x) => Math.max(x, 0),
  silu: (x) => x * sigmoid(x),
};
ACTIVATIONS.gelu_pytorch_tanh = ACTIVATIONS.gelu_new;
ACTIVATIONS.swish = ACTIVATIONS.silu;

function activate(x, name) {
  const f = ACTIVATIONS[name];
  for (let i = 0; i < x.length; i++) x[i] = f(x[i]);
  return x;
}
