//! Recurrences as on paper.

/// mLSTM with states in and out, resets, and the log of the forget gate given.
pub(crate) const MLSTM_LOG_FORGET: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], i: [s], f: [s], r: bool[s], C0: [dk, dv], n0: [dk])
    -> (h: [s, dv], C: [dk, dv], n: [dk]) {
  scan s reset r {
    state C: [dk, dv] = C0
    state n: [dk] = n0
    C' = exp(f) * C + exp(i) * k * v
    n' = exp(f) * n + exp(i) * k
    yield h = sum[dk](q * C') / max(abs(sum[dk](q * n')), 1)
  }
}";

/// mLSTM, exponential forget gate.
pub(crate) const MLSTM_EXP: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], i: [s], f: [s]) -> (h: [s, dv]) {
  scan s {
    state C: [dk, dv] = 0
    state n: [dk] = 0
    C' = exp(f) * C + exp(i) * k * v
    n' = exp(f) * n + exp(i) * k
    yield h = sum[dk](q * C') / max(abs(sum[dk](q * n')), 1)
  }
}";

/// sLSTM without memory mixing, output gate included.
pub(crate) const SLSTM_PLAIN: &str = "
fn cell(z: [s, d], i: [s, d], f: [s, d], o: [s, d]) -> (y: [s, d]) {
  scan s {
    state c: [d] = 0
    state n: [d] = 0
    c' = sigmoid(f) * c + exp(i) * tanh(z)
    n' = sigmoid(f) * n + exp(i)
    yield y = sigmoid(o) * c' / n'
  }
}";

/// The token mixing of RWKV4.
pub(crate) const RWKV4: &str = "
fn cell(k: [s, d], v: [s, d], w: [d], u: [d]) -> (y: [s, d]) {
  scan s {
    state a: [d] = 0
    state b: [d] = 0
    a' = exp(-exp(w)) * a + exp(k) * v
    b' = exp(-exp(w)) * b + exp(k)
    yield y = (a + exp(u + k) * v) / (b + exp(u + k))
  }
}";

/// Two memories with gates of their own.
pub(crate) const TWO_MEMORIES: &str = "
fn cell(z: [s, d], i: [s, d], f: [s, d], g: [s, d], x: [s, d]) -> (y: [s, d]) {
  scan s {
    state a: [d] = 0
    state na: [d] = 0
    state b: [d] = 0
    state nb: [d] = 0
    a' = sigmoid(f) * a + exp(i) * z
    na' = sigmoid(f) * na + exp(i)
    b' = exp(g) * b + exp(x) * z
    nb' = exp(g) * nb + exp(x)
    yield y = a' / na' + b' / nb'
  }
}";

/// Gates for each key.
pub(crate) const PER_KEY: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], i: [s, dk], f: [s, dk]) -> (h: [s, dv]) {
  scan s {
    state C: [dk, dv] = 0
    state n: [dk] = 0
    C' = sigmoid(f) * C + exp(i) * k * v
    n' = sigmoid(f) * n + exp(i) * k
    yield h = sum[dk](q * C') / max(abs(sum[dk](q * n')), 1)
  }
}";

/// Attention with a running normaliser.
pub(crate) const ONLINE_SOFTMAX: &str = "
fn cell(x: [s], v: [s, dv]) -> (y: [s, dv]) {
  scan s {
    state a: [dv] = 0
    state z: [] = 0
    a' = a + exp(x) * v
    z' = z + exp(x)
    yield y = a' / z'
  }
}";

/// A bounded memory beside an unbounded one.
pub(crate) const MIXED: &str = "
fn cell(z: [s, d], i: [s, d], f: [s, d]) -> (y: [s, d]) {
  scan s {
    state c: [d] = 0
    state n: [d] = 0
    state e: [d] = 0
    c' = sigmoid(f) * c + exp(i) * z
    n' = sigmoid(f) * n + exp(i)
    e' = 0.9 * e + 0.1 * z
    yield y = tanh(e') + c' / n'
  }
}";

/// A state that is multiplied, not added to.
pub(crate) const PRODUCT: &str = "
fn cell(f: [s, d], z: [s, d]) -> (y: [s, d]) {
  scan s {
    state c: [d] = 1
    state n: [d] = 1
    c' = exp(f) * c * z
    n' = exp(f) * n
    yield y = c' / n'
  }
}";

/// Softmax over two gates, which cancels.
pub(crate) const COUPLED: &str = "
fn cell(z: [s, d], i: [s, d], f: [s, d]) -> (y: [s, d]) {
  scan s {
    state c: [d] = 0
    c' = exp(f) / (exp(f) + exp(i)) * c + exp(i) / (exp(f) + exp(i)) * z
    yield y = tanh(c')
  }
}";

/// Linear attention.
pub(crate) const LINEAR_ATTENTION: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv]) -> (h: [s, dv]) {
  scan s {
    state S: [dk, dv] = 0
    S' = S + k * v
    yield h = sum[dk](q * S')
  }
}";

/// mLSTM without its normaliser.
pub(crate) const NO_NORMALISER: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], i: [s], f: [s]) -> (h: [s, dv]) {
  scan s {
    state C: [dk, dv] = 0
    C' = sigmoid(f) * C + exp(i) * k * v
    yield h = sum[dk](q * C')
  }
}";

/// A bounded function of an unbounded state.
pub(crate) const TANH: &str = "
fn cell(z: [s, d], i: [s, d], f: [s, d]) -> (y: [s, d]) {
  scan s {
    state c: [d] = 0
    c' = exp(f) * c + exp(i) * z
    yield y = tanh(c')
  }
}";

/// The published recurrence: its author carries a scale.
pub(crate) const PUBLISHED: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], i: [s], f: [s]) -> (h: [s, dv]) {
  scan s {
    state C: [dk, dv] = 0
    state n: [dk] = 0
    state m: [] = 0
    m' = max(logsigmoid(f) + m, i)
    C' = exp(logsigmoid(f) + m - m') * C + exp(i - m') * k * v
    n' = exp(logsigmoid(f) + m - m') * n + exp(i - m') * k
    yield h = sum[dk](q * C') / (max(abs(sum[dk](q * n')), exp(-m')) + 1e-6)
  }
}";

/// The cell of the bundled library.
pub(crate) const MLSTM: &str = include_str!("../../../models/xl/cells/mlstm.xl");

/// The cell of the bundled library.
pub(crate) const SLSTM: &str = include_str!("../../../models/xl/cells/slstm.xl");

/// Linear attention with exponential feature maps.
pub(crate) const EXP_FEATURES: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv]) -> (y: [s, dv]) {
  scan s {
    state S: [dk, dv] = 0
    state z: [dk] = 0
    S' = S + exp(k) * v
    z' = z + exp(k)
    yield y = sum[dk](exp(q) * S') / sum[dk](exp(q) * z')
  }
}";

/// A constant decay: the scale must decay with it.
pub(crate) const CONSTANT_DECAY: &str = "
fn cell(z: [s, d], i: [s, d]) -> (y: [s, d]) {
  scan s {
    state c: [d] = 0
    state n: [d] = 0
    c' = 0.5 * c + exp(i) * z
    n' = 0.5 * n + exp(i)
    yield y = c' / n'
  }
}";

/// An input gate of two factors, one of which may vanish.
pub(crate) const TWO_FACTORS: &str = "
fn cell(z: [s, d], i: [s, d], g: [s, d], f: [s, d]) -> (y: [s, d]) {
  scan s {
    state c: [d] = 0
    state n: [d] = 0
    c' = sigmoid(f) * c + sigmoid(g) * (exp(i) * z)
    n' = sigmoid(f) * n + exp(i) * sigmoid(g)
    yield y = c' / n'
  }
}";

/// Steps that leave the states as they are.
pub(crate) const MASKED: &str = "
fn cell(z: [s, d], i: [s, d], f: [s, d], keep: bool[s]) -> (y: [s, d]) {
  scan s {
    state c: [d] = 0
    state n: [d] = 0
    c' = where(keep, c, sigmoid(f) * c + exp(i) * z)
    n' = where(keep, n, sigmoid(f) * n + exp(i))
    yield y = c' / (n' + 1)
  }
}";

/// Batch and heads, backwards, a divisor of another kind.
pub(crate) const BATCHED: &str = "
fn cell(q: [b, s, h, dk], k: [b, s, h, dk], v: [b, s, h, dv], i: [b, s, h], f: [b, s, h])
    -> (y: [b, s, h, dv]) {
  scan s reverse {
    state C: [b, h, dk, dv] = 0
    state n: [b, h, dk] = 0
    C' = v * (k * exp(i)) + C * sigmoid(f)
    n' = sigmoid(f) * n + exp(i) * k
    yield y = sum[dk](C' * q) / (1 + abs(sum[dk](n' * q)))
  }
}";

/// The logarithm of a sum of exponentials.
pub(crate) const LOG_SUM: &str = "
fn cell(x: [s, d]) -> (y: [s, d]) {
  scan s {
    state z: [d] = 0
    z' = z + exp(x)
    yield y = log(z')
  }
}";

/// A memory that stores what another one says.
pub(crate) const STACKED: &str = "
fn cell(z: [s, d], i: [s, d], f: [s, d], g: [s, d], x: [s, d]) -> (y: [s, d]) {
  scan s {
    state c: [d] = 0
    state n: [d] = 0
    state a: [d] = 0
    state w: [d] = 0
    c' = sigmoid(f) * c + exp(i) * z
    n' = sigmoid(f) * n + exp(i)
    a' = sigmoid(g) * a + exp(x) * (c' / n')
    w' = sigmoid(g) * w + exp(x)
    yield y = a' / w'
  }
}";

/// A loop in a loop: softmax over l in every step, into a memory with a gate.
pub(crate) const NESTED: &str = "
fn cell(x: [s, l], v: [s, l], i: [s], f: [s]) -> (y: [s]) {
  scan s {
    state c: [] = 0
    state n: [] = 0
    let w = inner(x, v)
    c' = sigmoid(f) * c + exp(i) * w
    n' = sigmoid(f) * n + exp(i)
    yield y = c' / n'
  }
}
fn inner(x: [l], v: [l]) -> (y: []) {
  scan l {
    state a: [] = 0
    state z: [] = 0
    state y: [] = 0
    a' = a + exp(x) * v
    z' = z + exp(x)
    y' = a' / z'
  }
}";

/// Normalised by its own length.
pub(crate) const UNIT: &str = "
fn cell(z: [s, d], i: [s], f: [s]) -> (y: [s, d]) {
  scan s {
    state c: [d] = 0
    c' = sigmoid(f) * c + exp(i) * z
    yield y = c' / sqrt(sum[d](c' * c'))
  }
}";

/// Resets to the declared constants, which are not 0.
pub(crate) const RESET_TO_CONSTANTS: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], i: [s], f: [s], r: bool[s]) -> (h: [s, dv]) {
  scan s reset r {
    state C: [dk, dv] = 0.5
    state n: [dk] = 1
    C' = exp(f) * C + exp(i) * k * v
    n' = exp(f) * n + exp(i) * k
    yield h = sum[dk](q * C') / max(abs(sum[dk](q * n')), 1)
  }
}";

/// mLSTM whose divisor is smooth.
pub(crate) const SMOOTH: &str = "
fn cell(q: [s, dk], k: [s, dk], v: [s, dv], i: [s], f: [s]) -> (h: [s, dv]) {
  scan s {
    state C: [dk, dv] = 0
    state n: [dk] = 0
    C' = exp(f) * C + exp(i) * k * v
    n' = exp(f) * n + exp(i) * k
    let d = sum[dk](q * n')
    yield h = sum[dk](q * C') / sqrt(d * d + 1)
  }
}";

/// A memory that is read through a quotient, and one whose reader asks for what overflows.
pub(crate) const HALF: &str = "
fn cell(z: [s, d], i: [s, d], f: [s, d]) -> (y: [s, d], total: [s, d]) {
  scan s {
    state c: [d] = 0
    state n: [d] = 0
    state t: [d] = 0
    c' = sigmoid(f) * c + exp(i) * z
    n' = sigmoid(f) * n + exp(i)
    t' = t + exp(z)
    yield y = c' / n'
    yield total = t'
  }
}";

/// sLSTM without memory mixing, started from outside.
pub(crate) const SLSTM_STATES: &str = "
fn cell(z: [s, d], i: [s, d], f: [s, d], c0: [d], n0: [d]) -> (y: [s, d], c: [d], n: [d]) {
  scan s {
    state c: [d] = c0
    state n: [d] = n0
    c' = sigmoid(f) * c + exp(i) * tanh(z)
    n' = sigmoid(f) * n + exp(i)
    yield y = c' / n'
  }
}";

/// A softmax in every step, written as one writes it by hand.
pub(crate) const SOFTMAX_STEP: &str = "
fn cell(x: [s, d], z: [s, d], f: [s, d]) -> (y: [s, d]) {
  scan s {
    state c: [d] = 0
    let p = exp(x - rmax[d](x))
    c' = sigmoid(f) * c + p / sum[d](p) * z
    yield y = c'
  }
}";
