/* A supernet's step: edges mix operations by weights; SGD on the shared parameters, and the slope of the loss by the weights.

Layouts, instructions and names as in `cell_kernels.c`. `mix[i]` is the place in `weights` of what instruction `i` adds to a node,
-1 where nothing mixes. Batch norm takes the batch's own statistics everywhere: running ones would mix those of all paths. */
#include "cell_kernels.c"

/* Partial channels (PC-DARTS): of a node's channels the first 1 / K are mixed, the others pass with the weight of the whole edge;
   then channel g (C / K) + r becomes r K + g. PART takes the first ones, SPREAD puts what was mixed among the node's channels, PASS
   the others. The instruction's `stride` is K, and of PASS `weight` is the number of the edge's options. */
enum { PART = HEAD + 1, SPREAD, PASS };

static void mixed_norm(const Network *net, const Instruction *at, real w, const real *y, real *out, const real *params,
                       real *work, real *running) {
  int64_t C = at->cin, vectors = net->lanes / LANES;
  real scale[C], offset[C];
  for (int64_t c = 0; c < C; c++) {
    affine(net, at, c, params, work, running, 1, scale + c, offset + c);
    scale[c] *= w, offset[c] *= w;
  }
  const V *from = (const V *)y;
  V *to = (V *)out;
  for (int64_t p = 0; p < at->height * at->width; p++)
    for (int64_t c = 0; c < C; c++) {
      V a = splat(scale[c]), b = splat(offset[c]);
      if (at->add)
        for (int64_t v = 0; v < vectors; v++, to++, from++) *to += *from * a + b;
      else
        for (int64_t v = 0; v < vectors; v++, to++, from++) *to = *from * a + b;
    }
}

/* As `norm_gradient`, times the weight; the sum over the batch of gradient times what the norm gave is the weight's own. */
static double mixed_norm_gradient(const Network *net, const Instruction *at, real w, const real *y, const real *dout, real *dx,
                                  const real *params, const real *stats, real *gradients, real *work) {
  int64_t C = at->cin, vectors = net->lanes / LANES, P = at->height * at->width;
  double n = (double)net->images * P, slope = 0;
  Sums sums;
  I masks[vectors];
  masks_of(net, masks);
  begin_sums(net, work, C, &sums);
  const V *g = (const V *)dout, *x = (const V *)y;
  for (int64_t p = 0; p < P; p++)
    for (int64_t c = 0; c < C; c++) {
      V mean = splat(stats[at->stats + c]), one = sums.one[c], two = sums.two[c];
      for (int64_t v = 0; v < vectors; v++, g++, x++) one += *g, two += *g * (*x - mean);
      sums.one[c] = one, sums.two[c] = two;
    }
  real a[C], b[C], d[C];
  for (int64_t c = 0; c < C; c++) {
    double mean = stats[at->stats + c], inverse = stats[at->stats + C + c];
    double one = sum(sums.one[c]), two = sum(sums.two[c]), gain = w * params[at->weight + c] * inverse;
    slope += params[at->weight + c] * inverse * two + params[at->weight + C + c] * one;
    gradients[at->weight + c] = (real)(w * two * inverse);
    gradients[at->weight + C + c] = (real)(w * one);
    double bend = -gain * inverse * inverse * two / n;
    a[c] = (real)gain, b[c] = (real)bend, d[c] = (real)(-gain * one / n - bend * mean);
  }
  g = (const V *)dout, x = (const V *)y;
  V *to = (V *)dx;
  for (int64_t p = 0; p < P; p++)
    for (int64_t c = 0; c < C; c++) {
      V ga = splat(a[c]), xb = splat(b[c]), off = splat(d[c]);
      for (int64_t v = 0; v < vectors; v++, g++, x++, to++) *to = (V)((I)(ga * *g + (xb * *x + off)) & masks[v]);
    }
  return slope;
}

/* y (+)= w x, over `values` vectors. */
static void scaled(const real *x, real *y, real w, int64_t values, int add) {
  for (int64_t v = 0; v < values; v++) ((V *)y)[v] = add ? ((V *)y)[v] + w * ((const V *)x)[v] : w * ((const V *)x)[v];
}

/* The sum of x times dy; lanes beyond the batch are 0 in dy, and finite in x. */
static double dot(const real *x, const real *dy, int64_t values) {
  double total = 0;
  for (int64_t v = 0; v < values;) {
    V part = splat(0); /* A few hundred terms in float32, then float64: sums over whole images would lose digits. */
    for (int64_t end = v + 256 < values ? v + 256 : values; v < end; v++) part += ((const V *)x)[v] * ((const V *)dy)[v];
    total += sum(part);
  }
  return total;
}

/* `lanes` of y (+)= w x. */
static void moved(const real *x, real *y, real w, int64_t lanes, int add) { scaled(x, y, w, lanes / LANES, add); }

static real edge_weight(const Instruction *at, const real *weights) {
  real w = 0;
  for (int64_t c = 0; c < at->weight; c++) w += weights[c];
  return w;
}

/* PART, SPREAD and PASS with weight w. What lies at y and is not written is cleared unless they add. */
static void partial(const Instruction *at, const real *x, real *y, real w, int64_t L) {
  int64_t K = at->stride, C = at->op == SPREAD ? at->cout : at->cin, part = C / K, outs = at->op == PART ? part : C;
  if (!at->add) memset(y, 0, at->height * at->width * outs * L * sizeof(real));
  for (int64_t p = 0; p < at->height * at->width; p++, x += at->cin * L, y += outs * L) {
    if (at->op == PART) moved(x, y, 1, part * L, 1);
    if (at->op == SPREAD)
      for (int64_t r = 0; r < part; r++) moved(x + r * L, y + r * K * L, 1, L, 1);
    if (at->op == PASS)
      for (int64_t c = part; c < C; c++) moved(x + c * L, y + (c % part * K + c / part) * L, w, L, 1);
  }
}

/* Their gradients; that by the weight of the edge, of PASS. */
static double partial_gradient(const Instruction *at, const real *x, const real *dy, real *dx, real w, int64_t L) {
  int64_t K = at->stride, C = at->op == SPREAD ? at->cout : at->cin, part = C / K, outs = at->op == PART ? part : C;
  double slope = 0;
  if (!at->grad_add) memset(dx, 0, at->height * at->width * at->cin * L * sizeof(real));
  for (int64_t p = 0; p < at->height * at->width; p++, x += at->cin * L, dx += at->cin * L, dy += outs * L) {
    if (at->op == PART) moved(dy, dx, 1, part * L, 1);
    if (at->op == SPREAD)
      for (int64_t r = 0; r < part; r++) moved(dy + r * K * L, dx + r * L, 1, L, 1);
    if (at->op == PASS)
      for (int64_t c = part; c < C; c++) {
        const real *from = dy + (c % part * K + c / part) * L;
        slope += dot(x + c * L, from, L / LANES);
        moved(from, dx + c * L, w, L, 1);
      }
  }
  return slope;
}

static void mixed_forward(const Network *net, const Instruction *code, const int64_t *mix, const real *weights,
                          const real *images, const real *params, real *running, real *work) {
  Network one = *net;
  one.instructions = 1;
  for (int64_t i = 0; i < net->instructions; i++) {
    const Instruction *at = code + i;
    if (at->op >= PART) {
      partial(at, work + at->in, work + at->out, at->op == PASS ? edge_weight(at, weights + mix[i]) : 1, net->lanes);
      continue;
    }
    if (mix[i] < 0) {
      forward(&one, at, images, params, running, work, 1);
      continue;
    }
    const real *x = work + at->in;
    real *y = work + at->out, w = weights[mix[i]];
    int64_t row = at->cin * net->lanes, values = at->height * at->width * row / LANES;
    switch (at->op) {
      case NORM: mixed_norm(net, at, w, x, y, params, work, running); break;
      case ADD: scaled(x, y, w, values, at->add); break;
    }
  }
}

/* Gradients of the parameters where they are asked for; `slope` gains the gradient of the loss by the weights. */
static void mixed_backward(const Network *net, const Instruction *code, const int64_t *mix, const real *weights,
                           const real *images, const real *params, real *work, double *slope, int learning) {
  Network one = *net;
  one.instructions = 1;
  for (int64_t i = net->instructions - 1; i >= 0; i--) {
    const Instruction *at = code + i;
    if (at->op >= PART) {
      real w = at->op == PASS ? edge_weight(at, weights + mix[i]) : 1;
      double found = partial_gradient(at, work + at->in, work + at->grad_out, work + at->grad_in, w, net->lanes);
      if (at->op == PASS)
        for (int64_t c = 0; c < at->weight; c++) slope[mix[i] + c] += found;
      continue;
    }
    if (mix[i] < 0) {
      if (at->op != CONV || learning) backward(&one, at, images, params, work);
      else if (at->grad_in >= 0) conv_input_gradient(net, at, work + at->grad_out, work + at->grad_in, params, work);
      continue;
    }
    const real *x = work + at->in, *dy = work + at->grad_out;
    real *dx = work + at->grad_in, w = weights[mix[i]];
    int64_t row = at->cin * net->lanes, values = at->height * at->width * row / LANES;
    switch (at->op) {
      case NORM:
        slope[mix[i]] += mixed_norm_gradient(net, at, w, x, dy, dx, params, work, work + net->gradients, work);
        break;
      case ADD:
        slope[mix[i]] += dot(x, dy, values);
        scaled(dy, dx, w, values, at->grad_add);
        break;
    }
  }
}

/* `steps` steps of SGD with Nesterov momentum on the parameters in `ranges` (start, length), those that the network uses: others
   rest, with their momentum. losses[steps] before each. */
void mixed_learn(const Network *net, const Instruction *code, const int64_t *mix, const real *weights, const int64_t *ranges,
                 int64_t count, int64_t steps, const real *images, const int64_t *labels, const double *rates, real *params,
                 real *momentum, real *running, real *work, double *slope, double *losses) {
  real *gradients = work + net->gradients, m = (real)net->momentum, decay = (real)net->weight_decay;
  for (int64_t s = 0; s < steps; s++) {
    const real *x = images + s * net->pixels_in;
    mixed_forward(net, code, mix, weights, x, params, running, work);
    losses[s] = loss_of(net, labels + s * net->images, work + net->logits);
    mixed_backward(net, code, mix, weights, x, params, work, slope, 1);
    real rate = (real)rates[s];
    for (int64_t r = 0; r < count; r++)
      for (int64_t i = ranges[2 * r]; i < ranges[2 * r] + ranges[2 * r + 1]; i++) {
        real g = gradients[i] + decay * params[i];
        momentum[i] = m * momentum[i] + g;
        params[i] -= rate * (g + m * momentum[i]);
      }
  }
}

/* Logits [batch][class][lane] and losses of each batch; where `slope` is given, it gains the gradient by the weights. */
void mixed_score(const Network *net, const Instruction *code, const int64_t *mix, const real *weights, int64_t batches,
                 const real *images, const int64_t *labels, const real *params, real *running, real *work,
                 double *slope, double *losses, real *logits) {
  int64_t each = net->classes * net->lanes;
  for (int64_t b = 0; b < batches; b++) {
    const real *x = images + b * net->pixels_in;
    mixed_forward(net, code, mix, weights, x, params, running, work);
    memcpy(logits + b * each, work + net->logits, each * sizeof(real));
    losses[b] = loss_of(net, labels + b * net->images, work + net->logits);
    if (slope) mixed_backward(net, code, mix, weights, x, params, work, slope, 0);
  }
}
