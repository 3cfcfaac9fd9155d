/* What an attack on trained networks needs: the gradient of the loss with respect to the images, in evaluation.

Batch norm is then a scale and an offset from its running statistics. Layouts, instructions and names as in `cell_kernels.c`. */
#include "cell_kernels.c"

static void head_image_gradient(const Network *net, const Instruction *at, const real *x, real *dx, const real *params,
                                real *running, real *work) {
  int64_t C = at->cin, L = net->lanes, P = at->height * at->width, vectors = L / LANES, K = net->classes;
  const V *logits = (const V *)(work + net->logits); /* by now their gradient */
  const real *weight = params + at->weight + 2 * C;
  for (int64_t c = 0; c < C; c++) {
    real scale, offset;
    affine(net, at, c, params, work, running, 0, &scale, &offset);
    for (int64_t v = 0; v < vectors; v++) {
      V from = splat(0);
      for (int64_t k = 0; k < K; k++) from += weight[k * C + c] * logits[k * vectors + v];
      from *= scale / (real)P;
      for (int64_t p = 0; p < P; p++) {
        V at_x = ((const V *)(x + (p * C + c) * L))[v];
        ((V *)(dx + (p * C + c) * L))[v] = (V)((I)from & ~(at_x * scale + offset <= 0));
      }
    }
  }
}

static void norm_image_gradient(const Network *net, const Instruction *at, const real *dout, real *dx, const real *params,
                                real *running, real *work) {
  int64_t C = at->cin, vectors = net->lanes / LANES;
  real scale[C], offset;
  for (int64_t c = 0; c < C; c++) affine(net, at, c, params, work, running, 0, scale + c, &offset);
  const V *g = (const V *)dout;
  V *to = (V *)dx;
  for (int64_t p = 0; p < at->height * at->width; p++)
    for (int64_t c = 0; c < C; c++)
      for (int64_t v = 0; v < vectors; v++, g++, to++) *to = *g * scale[c];
}

/* The gradient of the mean cross entropy of each batch, laid out as `images`. */
void image_gradients(const Network *net, const Instruction *code, int64_t batches, const real *images, const int64_t *labels,
                     real *params, real *running, real *work, real *gradients) {
  int64_t L = net->lanes;
  for (int64_t b = 0; b < batches; b++) {
    const real *batch = images + b * net->pixels_in;
    forward(net, code, batch, params, running, work, 0);
    loss_of(net, labels + b * net->images, work + net->logits);
    for (int64_t i = net->instructions - 1; i >= 0; i--) {
      const Instruction *at = code + i;
      const real *x = at->in < 0 ? batch : work + at->in, *dy = work + at->grad_out;
      real *dx = work + at->grad_in;
      int64_t row = at->cin * L, values = at->height * at->width * row / LANES;
      switch (at->op) {
        case CONV:
          if (at->in < 0) conv_input_gradient(net, at, dy, gradients + b * net->pixels_in, params, work);
          else conv_input_gradient(net, at, dy, dx, params, work);
          break;
        case NORM: norm_image_gradient(net, at, dy, dx, params, running, work); break;
        case RELU:
          for (int64_t v = 0; v < values; v++) ((V *)dx)[v] = (V)((I)((V *)dx)[v] & ~(((const V *)x)[v] <= 0));
          break;
        case ADD:
          if (at->grad_add) for (int64_t v = 0; v < values; v++) ((V *)dx)[v] += ((const V *)dy)[v];
          else memcpy(dx, dy, values * sizeof(V));
          break;
        case POOL: pool(at, dy, dx, row, 1, at->grad_add); break;
        case HALVE: halve_gradient(at, dy, dx, row); break;
        case HEAD: head_image_gradient(net, at, x, dx, params, running, work); break;
      }
    }
  }
}
