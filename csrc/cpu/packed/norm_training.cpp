#include "norm_training.h"

#include <cmath>

#include "shares.h"

namespace yolo::packed {
namespace {

// The kernels' view of a call. Arrays in the workspace, each of whole blocks: the four parameters,
// the two means of backward, then the partial sums of every image.
class Call {
 public:
    Call(const Kernels& kernels, const NormSize& size, float* workspace, int threads)
        : kernels_(kernels), size_(size), workspace_(workspace), threads_(threads) {
        norm.z = view(nullptr);
        norm.partial = workspace + 6L * physical();
    }

    Norm norm{};

    View view(const float* data) const {
        return packed_view(kernels_, data ? data : workspace_, size_.n, size_.channels,
                           size_.height, size_.width);
    }
    int physical() const {
        return (size_.channels + kernels_.lanes - 1) / kernels_.lanes * kernels_.lanes;
    }
    float* array(int i) const { return workspace_ + i * physical(); }

    void parameters(const NormParameters& p) {
        norm.mean = filled(0, p.mean), norm.rstd = filled(1, p.rstd);
        norm.scale = filled(2, p.scale), norm.bias = filled(3, p.bias);
    }

    void run(void (*kernel)(const Norm&, const Share&)) const {
        share(threads_, [&](const Share& s) { kernel(norm, s); });
    }

    // body(first, second) of each image's partial pair of channel c
    template <class F>
    void each_image(int c, F body) const {
        const int lanes = kernels_.lanes, blocks = physical() / lanes;
        for (int n = 0; n < size_.n; ++n) {
            const float* pair = norm.partial + (long(n) * blocks + c / lanes) * 2 * lanes;
            body(double(pair[c % lanes]), double(pair[lanes + c % lanes]));
        }
    }

 private:
    const float* filled(int i, const float* values) const {
        float* out = array(i);
        for (int c = 0; c < physical(); ++c) out[c] = c < size_.channels ? values[c] : 0.f;
        return out;
    }

    const Kernels& kernels_;
    const NormSize& size_;
    float* workspace_;
    int threads_;
};

}  // namespace

long norm_workspace(const Kernels& kernels, const NormSize& size) {
    const long physical = (size.channels + kernels.lanes - 1) / kernels.lanes * kernels.lanes;
    return physical * (6 + 2L * size.n);
}

void norm_moments(const Kernels& kernels, const NormSize& size, const float* z, float* workspace,
                  int threads) {
    Call call(kernels, size, workspace, threads);
    call.norm.z = call.view(z);
    call.run(kernels.training->moments);
}

float* norm_partial(const Kernels& kernels, const NormSize& size, float* workspace) {
    return Call(kernels, size, workspace, 1).norm.partial;
}

void norm_statistics(const Kernels& kernels, const NormSize& size, double momentum, double eps,
                     float* rolling_mean, float* rolling_var, float* mean, float* rstd,
                     float* workspace) {
    const Call call(kernels, size, workspace, 1);
    const double pixels = double(size.height) * size.width, count = pixels * size.n;
    for (int c = 0; c < size.channels; ++c) {
        double m = 0, squares = 0, seen = 0;
        call.each_image(c, [&](double one, double one_squares) {
            const double delta = one - m;
            squares += one_squares + delta * delta * seen * pixels / (seen + pixels);
            m += delta * pixels / (seen + pixels);
            seen += pixels;
        });
        const double unbiased = count > 1 ? squares / (count - 1) : 0;
        mean[c] = float(m);
        rstd[c] = float(1 / std::sqrt(squares / count + eps));
        rolling_mean[c] = float((1 - momentum) * rolling_mean[c] + momentum * m);
        rolling_var[c] = float((1 - momentum) * rolling_var[c] + momentum * unbiased);
    }
}

void norm_act_forward(const Kernels& kernels, const NormSize& size, Input z,
                      const NormParameters& parameters, Activation activation, Output y,
                      float* workspace, int threads) {
    Call call(kernels, size, workspace, threads);
    call.parameters(parameters);
    call.norm.z = call.view(z.data), call.norm.y = call.view(y.data);
    if (z.image) call.norm.z.image = z.image;
    if (y.image) call.norm.y.image = y.image;
    call.norm.activation = activation;
    call.run(kernels.training->norm_act);
}

Norm norm_act_sums(const Kernels& kernels, const NormSize& size, Input dy, const float* z,
                   const NormParameters& parameters, Activation activation, bool from_batch,
                   float* grad_scale, float* grad_bias, float* workspace, int threads) {
    Call call(kernels, size, workspace, threads);
    call.parameters(parameters);
    call.norm.z = call.view(z), call.norm.dy = call.view(dy.data);
    if (dy.image) call.norm.dy.image = dy.image;
    call.norm.activation = activation;
    call.run(kernels.training->norm_sums);
    float *mean_g = call.array(4), *mean_gx = call.array(5);
    const double count = double(size.n) * size.height * size.width;
    for (int c = 0; c < call.physical(); ++c) {
        mean_g[c] = mean_gx[c] = 0.f;
        if (c >= size.channels) continue;
        double g = 0, gx = 0;
        call.each_image(c, [&](double one, double one_x) { g += one, gx += one_x; });
        grad_bias[c] = float(g), grad_scale[c] = float(gx);
        if (from_batch) mean_g[c] = float(g / count), mean_gx[c] = float(gx / count);
    }
    call.norm.mean_g = mean_g, call.norm.mean_gx = mean_gx;
    return call.norm;
}

void norm_act_backward(const Kernels& kernels, const NormSize& size, Input dy, const float* z,
                       const NormParameters& parameters, Activation activation, bool from_batch,
                       float* dz, float* grad_scale, float* grad_bias, float* workspace,
                       int threads) {
    Norm norm = norm_act_sums(kernels, size, dy, z, parameters, activation, from_batch, grad_scale,
                              grad_bias, workspace, threads);
    norm.dz = packed_view(kernels, dz, size.n, size.channels, size.height, size.width);
    share(threads, [&](const Share& s) { kernels.training->norm_grad(norm, s); });
}

}  // namespace yolo::packed
