/* Training of one cell's network, step after step, on one core: forward, backward, SGD.

Activations lie as [pixel][channel][lane], an image a lane: every loop runs over lanes, whatever the number of channels, and
what one cell needs stays in the core's own cache. Lanes beyond the batch (`L` is the batch rounded up) hold anything in
activations and zero in gradients; sums over the batch leave them out.

A network is a list of `Instruction`s; backward goes through it from its end. Weights of a convolution lie as
[tap][in][out]. `REAL` is float or double. */
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#ifndef REAL
#define REAL float
#endif
#if defined(__AVX512F__)
#define BYTES 64
#define WIDE 4
#elif defined(__AVX__)
#define BYTES 32
#define WIDE 2
#else
#define BYTES 16
#define WIDE 4
#endif
#define LANES ((int)(BYTES / sizeof(REAL)))
#define TALL 4
#define TILE (1 << 19)
#define MOMENTUM ((REAL)0.1)
#define EPS 1e-5
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define INLINE static inline __attribute__((always_inline))

typedef REAL real;
typedef real V __attribute__((vector_size(BYTES), may_alias));
typedef __typeof__((V){0} <= (V){0}) I;

enum { CONV, NORM, RELU, ADD, POOL, HALVE, ZERO, HEAD };

typedef struct {
  int64_t op, in, out, cin, cout, height, width, kernel, stride;
  int64_t weight;  /* where its parameters begin */
  int64_t grad_in; /* where its input's gradient lies; -1: nobody asks */
  int64_t grad_out;
  int64_t add;      /* forward adds to what is there */
  int64_t grad_add; /* so does backward */
  int64_t stats;    /* where mean and 1 / deviation are kept; -1: no batch norm follows */
  int64_t running;
} Instruction;

typedef struct {
  int64_t instructions, images, lanes, classes, parameters, pixels_in; /* pixels_in: values of a batch, x lanes */
  int64_t gradients, packed, sums, logits;                              /* where these lie in the workspace */
  double momentum, weight_decay;
} Network;

typedef struct {
  const real *x, *w;
} Panel;

typedef struct {
  real *shift;
  V *one, *two; /* sums of what is beyond the shift, and of its squares */
} Sums;

INLINE V splat(real a) { return a - (V){0}; }

INLINE real exponential(real x) { return sizeof(real) == 4 ? (real)expf((float)x) : (real)exp((double)x); }

INLINE V positive(V x) { return (V)((I)x & ~(x <= 0)); } /* keeps NaN */

INLINE real sum(V x) {
  real s = 0;
  for (int i = 0; i < LANES; i++) s += x[i];
  return s;
}

/* All lanes in the first vectors of a batch, in the last one those that hold an image. */
INLINE I mask(const Network *net, int64_t v) {
  I m;
  for (int i = 0; i < LANES; i++) m[i] = v * LANES + i < net->images ? -1 : 0;
  return m;
}

/* `high` x `wide` vectors of dst[out][lane] = sum over panels of w[k][out] x[k][lane]. */
INLINE void tile(const int high, const int wide, real *dst, const Panel *panels, int count, int64_t inner, int64_t outs,
                 int64_t L, int add, const Sums *sums, int first, int64_t c, int64_t v, const I *masks) {
  V acc[8][WIDE];
  UNROLL for (int i = 0; i < high; i++) UNROLL for (int j = 0; j < wide; j++) acc[i][j] = splat(0);
  for (int p = 0; p < count; p++) {
    const real *x = panels[p].x + v * LANES, *w = panels[p].w + c;
    for (int64_t k = 0; k < inner; k++, x += L, w += outs) {
      V xs[WIDE];
      UNROLL for (int j = 0; j < wide; j++) xs[j] = ((const V *)x)[j];
      UNROLL for (int i = 0; i < high; i++) {
        V wi = splat(w[i]);
        UNROLL for (int j = 0; j < wide; j++) acc[i][j] += wi * xs[j];
      }
    }
  }
  UNROLL for (int i = 0; i < high; i++) {
    V *to = (V *)(dst + (c + i) * L) + v;
    UNROLL for (int j = 0; j < wide; j++) {
    if (add) acc[i][j] += to[j];
    to[j] = acc[i][j];
  }
  }
  if (!sums) return;
  UNROLL for (int i = 0; i < high; i++) {
    if (first) sums->shift[c + i] = acc[i][0][0];
    V shift = splat(sums->shift[c + i]), one = sums->one[c + i], two = sums->two[c + i];
    UNROLL for (int j = 0; j < wide; j++) {
      V d = (V)((I)(acc[i][j] - shift) & masks[v + j]);
      one += d;
      two += d * d;
    }
    sums->one[c + i] = one, sums->two[c + i] = two;
  }
}

/* dst[out][lane], one pixel of a convolution. */
static void pixel(real *dst, const Panel *panels, int count, int64_t inner, int64_t outs, int64_t L, int add,
                  const Sums *sums, int first, const I *masks) {
  int64_t vectors = L / LANES, v = 0;
#define ROWS(tallest, wide)                                                                                     \
  {                                                                                                             \
    int64_t c = 0;                                                                                              \
    int begins = first && v == 0;                                                                               \
    for (; c + tallest <= outs; c += tallest)                                                                   \
      tile(tallest, wide, dst, panels, count, inner, outs, L, add, sums, begins, c, v, masks);                  \
    for (; c < outs; c++) tile(1, wide, dst, panels, count, inner, outs, L, add, sums, begins, c, v, masks);    \
    v += wide;                                                                                                  \
  }
  while (WIDE == 4 && vectors - v >= 4) ROWS(4, WIDE)
  if (WIDE == 4 && vectors - v == 3) ROWS(4, 3)
  while (vectors - v >= 2) {
    if (outs % 8) ROWS(4, 2)
    else ROWS(8, 2)
  }
  if (vectors > v) {
    if (outs % 8) ROWS(4, 1)
    else ROWS(8, 1)
  }
#undef ROWS
}

static void begin_sums(const Network *net, real *work, int64_t channels, Sums *sums) {
  sums->shift = work + net->sums;
  sums->one = (V *)(work + net->sums + (channels + LANES - 1) / LANES * LANES);
  sums->two = sums->one + channels;
  memset(sums->one, 0, 2 * channels * sizeof(V));
}

static void masks_of(const Network *net, I *masks) {
  for (int64_t v = 0; v < net->lanes / LANES; v++) masks[v] = mask(net, v);
}

INLINE int64_t side(int64_t n, int64_t stride) { return (n + stride - 1) / stride; }

static void conv(const Network *net, const Instruction *at, const real *x, real *y, const real *params, real *stats,
                 real *work, int training) {
  int64_t L = net->lanes, H = at->height, W = at->width, k = at->kernel, s = at->stride, pad = k / 2;
  Panel panels[9];
  Sums sums;
  I masks[L / LANES];
  masks_of(net, masks);
  int counted = training && at->stats >= 0;
  if (counted) begin_sums(net, work, at->cout, &sums);
  for (int64_t oy = 0; oy < side(H, s); oy++)
    for (int64_t ox = 0; ox < side(W, s); ox++) {
      int count = 0;
      for (int64_t ty = 0; ty < k; ty++)
        for (int64_t tx = 0; tx < k; tx++) {
          int64_t iy = oy * s + ty - pad, ix = ox * s + tx - pad;
          if (iy < 0 || iy >= H || ix < 0 || ix >= W) continue;
          panels[count].x = x + (iy * W + ix) * at->cin * L;
          panels[count++].w = params + at->weight + (ty * k + tx) * at->cin * at->cout;
        }
      int64_t to = oy * side(W, s) + ox;
      pixel(y + to * at->cout * L, panels, count, at->cin, at->cout, L, at->add, counted ? &sums : 0, to == 0, masks);
    }
  if (!counted) return;
  double n = (double)net->images * side(H, s) * side(W, s);
  for (int64_t c = 0; c < at->cout; c++) {
    double one = sum(sums.one[c]) / n, two = sum(sums.two[c]) / n, variance = two - one * one;
    stats[at->stats + c] = sums.shift[c] + one;
    stats[at->stats + at->cout + c] = variance < 0 ? 0 : variance; /* as 1 / deviation once the norm has seen it */
  }
}

static void conv_input_gradient(const Network *net, const Instruction *at, const real *dy, real *dx, const real *params,
                                real *work) {
  int64_t L = net->lanes, H = at->height, W = at->width, k = at->kernel, s = at->stride, pad = k / 2;
  int64_t cin = at->cin, cout = at->cout, OH = side(H, s), OW = side(W, s);
  real *turned = work + net->packed; /* [tap][out][in] */
  for (int64_t t = 0; t < k * k; t++)
    for (int64_t i = 0; i < cin; i++)
      for (int64_t o = 0; o < cout; o++) turned[(t * cout + o) * cin + i] = params[at->weight + (t * cin + i) * cout + o];
  Panel panels[9];
  for (int64_t iy = 0; iy < H; iy++)
    for (int64_t ix = 0; ix < W; ix++) {
      int count = 0;
      for (int64_t ty = 0; ty < k; ty++)
        for (int64_t tx = 0; tx < k; tx++) {
          int64_t oy = iy + pad - ty, ox = ix + pad - tx;
          if (oy < 0 || ox < 0 || oy % s || ox % s || oy / s >= OH || ox / s >= OW) continue;
          panels[count].x = dy + (oy / s * OW + ox / s) * cout * L;
          panels[count++].w = turned + (ty * k + tx) * cout * cin;
        }
      real *to = dx + (iy * W + ix) * cin * L;
      if (count || !at->grad_add) pixel(to, panels, count, cout, cin, L, at->grad_add, 0, 0, 0);
    }
}

#if defined(__GNUC__) && !defined(__clang__)
/* The sums of LANES vectors, in one: each step adds neighbours of two vectors into one. */
INLINE V sums_of(const V *a) {
  V t[LANES];
  UNROLL for (int i = 0; i < LANES; i++) t[i] = a[i];
  UNROLL for (int h = 1; h < LANES; h *= 2) {
    I low, high;
    UNROLL for (int i = 0; i < LANES; i++) {
      int r = i % (2 * h), from = i - r;
      low[i] = r < h ? from + r : LANES + from + r - h;
      high[i] = low[i] + h;
    }
    UNROLL for (int i = 0; i < LANES / (2 * h); i++)
        t[i] = __builtin_shuffle(t[2 * i], t[2 * i + 1], low) + __builtin_shuffle(t[2 * i], t[2 * i + 1], high);
  }
  return t[0];
}
#else
INLINE V sums_of(const V *a) {
  V t;
  for (int i = 0; i < LANES; i++) t[i] = sum(a[i]);
  return t;
}
#endif

/* dw[in][out] of one tap for `high` inputs and `wide` outputs: what output rows `from` to `to` add. */
INLINE void tap(const int high, const int wide, const real *x, const real *dy, real *dw, const Instruction *at, int64_t L,
                int64_t ty, int64_t tx, int64_t i0, int64_t o0, int64_t from, int64_t to) {
  int64_t H = at->height, W = at->width, s = at->stride, pad = at->kernel / 2, OW = side(W, s);
  V acc[TALL * TALL];
  UNROLL for (int i = 0; i < TALL * TALL; i++) acc[i] = splat(0);
  for (int64_t oy = from; oy < to; oy++) {
    int64_t iy = oy * s + ty - pad;
    if (iy < 0 || iy >= H) continue;
    for (int64_t ox = 0; ox < OW; ox++) {
      int64_t ix = ox * s + tx - pad;
      if (ix < 0 || ix >= W) continue;
      const real *a = x + ((iy * W + ix) * at->cin + i0) * L, *b = dy + ((oy * OW + ox) * at->cout + o0) * L;
      for (int64_t n = 0; n < L; n += LANES) {
        V bs[TALL];
        UNROLL for (int o = 0; o < wide; o++) bs[o] = *(const V *)(b + o * L + n);
        UNROLL for (int i = 0; i < high; i++) {
          V ai = *(const V *)(a + i * L + n);
          UNROLL for (int o = 0; o < wide; o++) acc[i * TALL + o] += ai * bs[o];
        }
      }
    }
  }
  real flat[TALL * TALL];
  if (high * wide == 1)
    flat[0] = sum(acc[0]);
  else
    for (int i = 0; i < TALL * TALL; i += LANES) {
      V part = sums_of(acc + i);
      memcpy(flat + i, &part, sizeof part);
    }
  for (int i = 0; i < high; i++)
    for (int o = 0; o < wide; o++) dw[(i0 + i) * at->cout + o0 + o] += flat[i * TALL + o];
}

/* As many rows at once as leave their part of x and dy in the second cache. */
static void conv_weight_gradient(const Network *net, const Instruction *at, const real *x, const real *dy, real *gradients) {
  int64_t k = at->kernel, cin = at->cin, cout = at->cout, L = net->lanes, rows = side(at->height, at->stride), i, o;
  int64_t row = (cin * at->stride * at->stride + cout) * side(at->width, at->stride) * L * (int64_t)sizeof(real);
  int64_t some = row < TILE ? TILE / row : 1;
  memset(gradients + at->weight, 0, k * k * cin * cout * sizeof(real));
  for (int64_t a = 0; a < rows; a += some) {
    int64_t b = a + some < rows ? a + some : rows;
    for (int64_t t = 0; t < k * k; t++) {
      real *dw = gradients + at->weight + t * cin * cout;
      for (i = 0; i + TALL <= cin; i += TALL) {
        for (o = 0; o + TALL <= cout; o += TALL) tap(TALL, TALL, x, dy, dw, at, L, t / k, t % k, i, o, a, b);
        for (; o < cout; o++) tap(TALL, 1, x, dy, dw, at, L, t / k, t % k, i, o, a, b);
      }
      for (; i < cin; i++) {
        for (o = 0; o + TALL <= cout; o += TALL) tap(1, TALL, x, dy, dw, at, L, t / k, t % k, i, o, a, b);
        for (; o < cout; o++) tap(1, 1, x, dy, dw, at, L, t / k, t % k, i, o, a, b);
      }
    }
  }
}

/* What batch norm multiplies by and adds, of one channel; in training the running figures move. */
static void affine(const Network *net, const Instruction *at, int64_t c, const real *params, real *stats, real *running,
                   int training, real *scale, real *offset) {
  int64_t C = at->cin;
  double mean, inverse, n = (double)net->images * at->height * at->width;
  if (training) {
    double variance = stats[at->stats + C + c];
    mean = stats[at->stats + c];
    inverse = 1 / sqrt(variance + EPS);
    stats[at->stats + C + c] = (real)inverse;
    real *rm = running + at->running + c, *rv = rm + C;
    *rm += MOMENTUM * ((real)mean - *rm);
    *rv += MOMENTUM * ((real)(variance * n / (n > 1 ? n - 1 : 1)) - *rv);
  } else {
    mean = running[at->running + c];
    inverse = 1 / sqrt((double)running[at->running + C + c] + EPS);
  }
  *scale = (real)(params[at->weight + c] * inverse);
  *offset = (real)(params[at->weight + C + c] - mean * params[at->weight + c] * inverse);
}

static void norm(const Network *net, const Instruction *at, const real *y, real *out, const real *params, real *stats,
                 real *running, int training) {
  int64_t C = at->cin, vectors = net->lanes / LANES;
  real scale[C], offset[C];
  for (int64_t c = 0; c < C; c++) affine(net, at, c, params, stats, running, training, scale + c, offset + c);
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

/* Gradients of batch norm: of its parameters, and of its input into dx. */
static void norm_gradient(const Network *net, const Instruction *at, const real *y, const real *dout, real *dx,
                          const real *params, const real *stats, real *gradients, real *work) {
  int64_t C = at->cin, vectors = net->lanes / LANES, P = at->height * at->width;
  double n = (double)net->images * P;
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
    double one = sum(sums.one[c]), two = sum(sums.two[c]), gain = params[at->weight + c] * inverse;
    gradients[at->weight + c] = (real)(two * inverse);
    gradients[at->weight + C + c] = (real)one;
    double slope = -gain * inverse * inverse * two / n;
    a[c] = (real)gain, b[c] = (real)slope, d[c] = (real)(-gain * one / n - slope * mean);
  }
  g = (const V *)dout, x = (const V *)y;
  V *to = (V *)dx;
  for (int64_t p = 0; p < P; p++)
    for (int64_t c = 0; c < C; c++) {
      V ga = splat(a[c]), xb = splat(b[c]), off = splat(d[c]);
      for (int64_t v = 0; v < vectors; v++, g++, x++, to++) *to = (V)((I)(ga * *g + (xb * *x + off)) & masks[v]);
    }
}

/* Average of the 3x3 neighbours that exist; backwards what each neighbour took of it. */
static void pool(const Instruction *at, const real *x, real *y, int64_t row, int backward, int add) {
  int64_t H = at->height, W = at->width, vectors = row / LANES;
  for (int64_t py = 0; py < H; py++)
    for (int64_t px = 0; px < W; px++) {
      const V *from[9];
      V share[9];
      int count = 0;
      for (int64_t qy = py ? py - 1 : 0; qy <= py + 1 && qy < H; qy++)
        for (int64_t qx = px ? px - 1 : 0; qx <= px + 1 && qx < W; qx++) {
          int64_t high = 1 + (qy > 0) + (qy < H - 1), wide = 1 + (qx > 0) + (qx < W - 1);
          from[count] = (const V *)(x + (qy * W + qx) * row);
          share[count++] = splat((real)1 / (real)(high * wide));
        }
      if (!backward)
        for (int i = 0; i < count; i++) share[i] = splat((real)1 / (real)count);
      V *to = (V *)(y + (py * W + px) * row);
      for (int64_t v = 0; v < vectors; v++) {
        V s = add ? to[v] : splat(0);
        for (int i = 0; i < count; i++) s += from[i][v] * share[i];
        to[v] = s;
      }
    }
}

/* Average of 2x2, the last row and column with what there is. */
static void halve(const Instruction *at, const real *x, real *y, int64_t row) {
  int64_t H = at->height, W = at->width;
  for (int64_t oy = 0; oy < side(H, 2); oy++)
    for (int64_t ox = 0; ox < side(W, 2); ox++) {
      V *to = (V *)(y + (oy * side(W, 2) + ox) * row);
      int64_t high = 2 * oy + 2 > H ? 1 : 2, wide = 2 * ox + 2 > W ? 1 : 2;
      V share = splat((real)1 / (real)(high * wide));
      for (int64_t v = 0; v < row / LANES; v++) {
        V s = splat(0);
        for (int64_t dy = 0; dy < high; dy++)
          for (int64_t dx = 0; dx < wide; dx++) s += ((const V *)(x + ((2 * oy + dy) * W + 2 * ox + dx) * row))[v];
        to[v] = s * share;
      }
    }
}

static void halve_gradient(const Instruction *at, const real *dy, real *dx, int64_t row) {
  int64_t H = at->height, W = at->width;
  for (int64_t iy = 0; iy < H; iy++)
    for (int64_t ix = 0; ix < W; ix++) {
      V *to = (V *)(dx + (iy * W + ix) * row);
      const V *from = (const V *)(dy + (iy / 2 * side(W, 2) + ix / 2) * row);
      int64_t high = (iy | 1) >= H ? 1 : 2, wide = (ix | 1) >= W ? 1 : 2;
      V share = splat((real)1 / (real)(high * wide));
      for (int64_t v = 0; v < row / LANES; v++) to[v] = at->grad_add ? to[v] + from[v] * share : from[v] * share;
    }
}

/* Where the head's own values lie behind its logits: features, their gradient, then the sum of what batch norm passes on. */
static void head(const Network *net, const Instruction *at, const real *x, const real *params, real *stats, real *running,
                 real *work, int training) {
  int64_t C = at->cin, L = net->lanes, P = at->height * at->width, vectors = L / LANES, K = net->classes;
  I masks[vectors];
  masks_of(net, masks);
  V *logits = (V *)(work + net->logits), *features = logits + K * vectors;
  const real *weight = params + at->weight + 2 * C, *bias = weight + K * C;
  for (int64_t c = 0; c < C; c++) {
    if (training) {
      V one = splat(0), two = splat(0);
      for (int64_t p = 0; p < P; p++)
        for (int64_t v = 0; v < vectors; v++) one += (V)((I)((const V *)(x + (p * C + c) * L))[v] & masks[v]);
      double n = (double)net->images * P;
      real mean = (real)(sum(one) / n);
      for (int64_t p = 0; p < P; p++)
        for (int64_t v = 0; v < vectors; v++) {
          V d = (V)((I)(((const V *)(x + (p * C + c) * L))[v] - mean) & masks[v]);
          two += d * d;
        }
      stats[at->stats + c] = mean, stats[at->stats + C + c] = (real)(sum(two) / n);
    }
    real scale, offset;
    affine(net, at, c, params, stats, running, training, &scale, &offset);
    for (int64_t v = 0; v < vectors; v++) {
      V s = splat(0);
      for (int64_t p = 0; p < P; p++) s += positive(((const V *)(x + (p * C + c) * L))[v] * scale + offset);
      features[c * vectors + v] = s / (real)P;
    }
  }
  for (int64_t k = 0; k < K; k++)
    for (int64_t v = 0; v < vectors; v++) {
      V s = splat(bias[k]);
      for (int64_t c = 0; c < C; c++) s += weight[k * C + c] * features[c * vectors + v];
      logits[k * vectors + v] = s;
    }
}

/* Cross entropy, averaged over the batch; the logits become its gradient. */
static double loss_of(const Network *net, const int64_t *y, real *logits) {
  int64_t K = net->classes, L = net->lanes;
  double total = 0;
  for (int64_t n = 0; n < L; n++) {
    int held = n < net->images;
    real top = logits[n], all = 0;
    for (int64_t k = 1; k < K; k++) top = logits[k * L + n] > top ? logits[k * L + n] : top;
    real own = held ? logits[y[n] * L + n] - top : 0;
    for (int64_t k = 0; k < K; k++) all += logits[k * L + n] = exponential(logits[k * L + n] - top);
    if (held) total += log((double)all) - own;
    for (int64_t k = 0; k < K; k++) {
      real share = logits[k * L + n] / all - (held && y[n] == k);
      logits[k * L + n] = held ? share / (real)net->images : 0;
    }
  }
  return total / (double)net->images;
}

/* As `loss_of`, with a share of each class for each image: targets[image][class], in rows that may sum to anything. */
static double soft_loss_of(const Network *net, const real *targets, real *logits) {
  int64_t K = net->classes, L = net->lanes;
  double total = 0;
  for (int64_t n = 0; n < L; n++) {
    int held = n < net->images;
    const real *t = targets + n * K;
    real top = logits[n], all = 0;
    double own = 0, mass = 0;
    for (int64_t k = 1; k < K; k++) top = logits[k * L + n] > top ? logits[k * L + n] : top;
    for (int64_t k = 0; k < K; k++) {
      real beyond = logits[k * L + n] - top;
      if (held) own += (double)t[k] * (double)beyond, mass += (double)t[k];
      all += logits[k * L + n] = exponential(beyond);
    }
    if (held) total += mass * log((double)all) - own;
    for (int64_t k = 0; k < K; k++)
      logits[k * L + n] = held ? ((real)mass * (logits[k * L + n] / all) - t[k]) / (real)net->images : 0;
  }
  return total / (double)net->images;
}

static void head_gradient(const Network *net, const Instruction *at, const real *x, real *dx, const real *params,
                          const real *stats, real *gradients, real *work) {
  int64_t C = at->cin, L = net->lanes, P = at->height * at->width, vectors = L / LANES, K = net->classes;
  I masks[vectors];
  masks_of(net, masks);
  V *logits = (V *)(work + net->logits), *features = logits + K * vectors;
  const real *weight = params + at->weight + 2 * C;
  real *dweight = gradients + at->weight + 2 * C, *dbias = dweight + K * C;
  double n = (double)net->images * P;
  for (int64_t k = 0; k < K; k++) {
    V all = splat(0);
    for (int64_t v = 0; v < vectors; v++) all += logits[k * vectors + v];
    dbias[k] = sum(all);
    for (int64_t c = 0; c < C; c++) {
      V s = splat(0);
      for (int64_t v = 0; v < vectors; v++) s += logits[k * vectors + v] * (V)((I)features[c * vectors + v] & masks[v]);
      dweight[k * C + c] = sum(s);
    }
  }
  for (int64_t c = 0; c < C; c++) {
    real mean = stats[at->stats + c], inverse = stats[at->stats + C + c], gamma = params[at->weight + c];
    real scale = gamma * inverse, offset = params[at->weight + C + c] - mean * gamma * inverse;
    V from[vectors], one = splat(0), two = splat(0);
    for (int64_t v = 0; v < vectors; v++) {
      from[v] = splat(0);
      for (int64_t k = 0; k < K; k++) from[v] += weight[k * C + c] * logits[k * vectors + v];
      from[v] /= (real)P;
    }
    for (int64_t p = 0; p < P; p++)
      for (int64_t v = 0; v < vectors; v++) {
        V at_x = ((const V *)(x + (p * C + c) * L))[v], g = (V)((I)from[v] & ~(at_x * scale + offset <= 0));
        one += g, two += g * (at_x - mean);
      }
    double first = sum(one), second = sum(two), slope = -(double)scale * inverse * inverse * second / n;
    gradients[at->weight + c] = (real)(second * inverse);
    gradients[at->weight + C + c] = (real)first;
    real b = (real)slope, d = (real)(-scale * first / n - slope * mean);
    for (int64_t p = 0; p < P; p++)
      for (int64_t v = 0; v < vectors; v++) {
        V at_x = ((const V *)(x + (p * C + c) * L))[v], g = (V)((I)from[v] & ~(at_x * scale + offset <= 0));
        ((V *)(dx + (p * C + c) * L))[v] = (V)((I)(scale * g + (b * at_x + d)) & masks[v]);
      }
  }
}

static void forward(const Network *net, const Instruction *code, const real *images, const real *params, real *running,
                    real *work, int training) {
  int64_t L = net->lanes;
  for (int64_t i = 0; i < net->instructions; i++) {
    const Instruction *at = code + i;
    const real *x = at->in < 0 ? images : work + at->in;
    real *y = work + at->out;
    int64_t row = at->cin * L, values = at->height * at->width * row / LANES;
    switch (at->op) {
      case CONV: conv(net, at, x, y, params, work, work, training); break;
      case NORM: norm(net, at, x, y, params, work, running, training); break;
      case RELU: for (int64_t v = 0; v < values; v++) ((V *)y)[v] = positive(((const V *)x)[v]); break;
      case ADD:
        if (at->add) for (int64_t v = 0; v < values; v++) ((V *)y)[v] += ((const V *)x)[v];
        else memcpy(y, x, values * sizeof(V));
        break;
      case POOL: pool(at, x, y, row, 0, at->add); break;
      case HALVE: halve(at, x, y, row); break;
      case ZERO: memset(y, 0, values * sizeof(V)); break;
      case HEAD: head(net, at, x, params, work, running, work, training); break;
    }
  }
}

static void backward(const Network *net, const Instruction *code, const real *images, const real *params, real *work) {
  int64_t L = net->lanes;
  real *gradients = work + net->gradients;
  for (int64_t i = net->instructions - 1; i >= 0; i--) {
    const Instruction *at = code + i;
    const real *x = at->in < 0 ? images : work + at->in;
    real *dx = work + at->grad_in;
    const real *dy = work + at->grad_out;
    int64_t row = at->cin * L, values = at->height * at->width * row / LANES;
    switch (at->op) {
      case CONV:
        conv_weight_gradient(net, at, x, dy, gradients);
        if (at->grad_in >= 0) conv_input_gradient(net, at, dy, dx, params, work);
        break;
      case NORM: norm_gradient(net, at, x, dy, dx, params, work, gradients, work); break;
      case RELU: /* in place: dx holds what the convolutions behind it sent back */
        for (int64_t v = 0; v < values; v++) ((V *)dx)[v] = (V)((I)((V *)dx)[v] & ~(((const V *)x)[v] <= 0));
        break;
      case ADD:
        if (at->grad_add) for (int64_t v = 0; v < values; v++) ((V *)dx)[v] += ((const V *)dy)[v];
        else memcpy(dx, dy, values * sizeof(V));
        break;
      case POOL: pool(at, dy, dx, row, 1, at->grad_add); break;
      case HALVE: halve_gradient(at, dy, dx, row); break;
      case HEAD: head_gradient(net, at, x, dx, params, work, gradients, work); break;
    }
  }
}

/* `steps` steps of SGD with Nesterov momentum; losses[steps] before each. Either `labels` or `targets`, the other is 0. */
static void learn(const Network *net, const Instruction *code, int64_t steps, const real *images, const int64_t *labels,
                  const real *targets, const double *rates, real *params, real *momentum, real *running, real *work,
                  double *losses) {
  real *gradients = work + net->gradients, m = (real)net->momentum, decay = (real)net->weight_decay;
  memset(gradients, 0, net->parameters * sizeof(real));
  for (int64_t s = 0; s < steps; s++) {
    const real *x = images + s * net->pixels_in;
    forward(net, code, x, params, running, work, 1);
    losses[s] = labels ? loss_of(net, labels + s * net->images, work + net->logits)
                       : soft_loss_of(net, targets + s * net->images * net->classes, work + net->logits);
    backward(net, code, x, params, work);
    real rate = (real)rates[s];
    for (int64_t i = 0; i < net->parameters; i++) {
      real g = gradients[i] + decay * params[i];
      momentum[i] = m * momentum[i] + g;
      params[i] -= rate * (g + m * momentum[i]);
    }
  }
}

void train(const Network *net, const Instruction *code, int64_t steps, const real *images, const int64_t *labels,
           const double *rates, real *params, real *momentum, real *running, real *work, double *losses) {
  learn(net, code, steps, images, labels, 0, rates, params, momentum, running, work, losses);
}

void train_soft(const Network *net, const Instruction *code, int64_t steps, const real *images, const real *targets,
                const double *rates, real *params, real *momentum, real *running, real *work, double *losses) {
  learn(net, code, steps, images, 0, targets, rates, params, momentum, running, work, losses);
}

/* The logits [batch][class][lane] of a trained network. */
void predict(const Network *net, const Instruction *code, int64_t batches, const real *images, real *params, real *running,
             real *work, real *logits) {
  int64_t each = net->classes * net->lanes;
  for (int64_t b = 0; b < batches; b++) {
    forward(net, code, images + b * net->pixels_in, params, running, work, 0);
    memcpy(logits + b * each, work + net->logits, each * sizeof(real));
  }
}

int64_t bytes_of_a_vector(void) { return BYTES; }

/* Ask for large pages: a workspace is some hundred megabytes for large networks, too many small pages to keep track of. */
void touch_pages(void *space, int64_t bytes) {
#ifdef MADV_HUGEPAGE
  uintptr_t page = 1 << 21, from = ((uintptr_t)space + page - 1) / page * page, to = ((uintptr_t)space + bytes) / page * page;
  if (to > from) madvise((void *)from, to - from, MADV_HUGEPAGE);
#else
  (void)space, (void)bytes;
#endif
}
