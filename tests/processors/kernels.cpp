// The packed kernels of another processor against sums in double precision: a program of its own,
// so that it can be built by a cross-compiler and run by an emulator. Prints each case; exit code 1
// if an error is too large. Arguments: levels, by name; without them, all that the processor has.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "../../csrc/cpu/packed/plan.h"

using namespace yolo::packed;

namespace {

std::mt19937 generator(1);

// Values that bf16 holds too, so that both precisions start from the same numbers.
std::vector<float> random(long n, float scale = 1) {
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> values(n);
    for (float& v : values) {
        v = normal(generator);
        unsigned bits;
        std::memcpy(&bits, &v, 4);
        bits &= 0xffff0000u;
        std::memcpy(&v, &bits, 4);
    }
    return values;
}

struct Case {
    const char* name;
    Algorithm algorithm;
    int c, h, w, k, size, stride;
    double limit, bf16_limit;
};

// leaky(x * weight + bias) of one image; depthwise where `each`
std::vector<double> reference(const Case& a, const std::vector<float>& x,
                              const std::vector<float>& weight, const std::vector<float>& bias,
                              int oh, int ow) {
    const bool each = a.algorithm == Algorithm::depthwise;
    const int depth = each ? 1 : a.c, pad = a.size / 2;
    std::vector<double> y(long(a.k) * oh * ow);
    for (int k = 0; k < a.k; ++k)
        for (int p = 0; p < oh; ++p)
            for (int q = 0; q < ow; ++q) {
                double sum = bias[k];
                for (int d = 0; d < depth; ++d)
                    for (int r = 0; r < a.size; ++r)
                        for (int s = 0; s < a.size; ++s) {
                            const int h = p * a.stride + r - pad, w = q * a.stride + s - pad;
                            if (h < 0 || w < 0 || h >= a.h || w >= a.w) continue;
                            const int c = each ? k : d;
                            sum += double(x[(long(c) * a.h + h) * a.w + w]) *
                                   weight[((long(k) * depth + d) * a.size + r) * a.size + s];
                        }
                y[(long(k) * oh + p) * ow + q] = sum > 0 ? sum : 0.1 * sum;
            }
    return y;
}

double relative(const std::vector<float>& y, const std::vector<double>& expected) {
    double error = 0, norm = 0;
    for (size_t i = 0; i < y.size(); ++i) {
        error += (y[i] - expected[i]) * (y[i] - expected[i]);
        norm += expected[i] * expected[i];
    }
    return std::sqrt(error / norm);
}

// Channels are made multiples of the lanes, so that dense weights need no padding.
bool holds(const Kernels& kernels, Case a) {
    const int pad = a.size / 2, lanes = kernels.lanes;
    a.c = (a.c + lanes - 1) / lanes * lanes;
    a.k = (a.k + lanes - 1) / lanes * lanes;
    const int oh = (a.h + 2 * pad - a.size) / a.stride + 1;
    const int ow = (a.w + 2 * pad - a.size) / a.stride + 1;
    const long taps = long(a.size) * a.size, depth = a.algorithm == Algorithm::depthwise ? 1 : a.c;
    const auto x = random(long(a.c) * a.h * a.w), bias = random(a.k);
    const auto weight = random(a.k * depth * taps, float(1 / std::sqrt(double(depth * taps))));
    std::vector<float> y(long(a.k) * oh * ow, NAN);
    std::vector<int> channels(a.k);
    for (int i = 0; i < a.k; ++i) channels[i] = i;

    const Buffer in{0, 1, a.c / lanes, a.h, a.w, 2},
        out{Plan::size(kernels, in), 1, a.k / lanes, oh, ow, 1};
    Plan plan(kernels, 2, out.offset + Plan::size(kernels, out));
    const Slice from{plan.buffer(in), 0, in.blocks}, to{plan.buffer(out), 0, out.blocks};
    plan.input(from, a.c, 0);
    plan.conv(a.algorithm, from, to, nullptr, weight.data(), bias.data(),
              {a.size, a.size, a.stride, a.stride, pad, pad, 1, 1}, yolo::Activation::leaky);
    plan.output(to, 1, channels, {});
    plan.run(0, plan.steps(), {const_cast<float*>(x.data()), y.data()});

    const double error = relative(y, reference(a, x, weight, bias, oh, ow));
    const double limit = kernels.element == 2 ? a.bf16_limit : a.limit;
    const bool good = error <= limit;  // false for NaN
    std::printf("%-14s %-10s %.1e %s\n", kernels.name, a.name, error, good ? "" : "TOO LARGE");
    return good;
}

}  // namespace

int main(int count, char** names) {
    const Case cases[] = {
        {"1x1", Algorithm::direct, 24, 13, 17, 40, 1, 1, 5e-6, 6e-3},
        {"3x3", Algorithm::direct, 16, 13, 17, 24, 3, 1, 5e-6, 6e-3},
        {"3x3 / 2", Algorithm::direct, 16, 15, 18, 20, 3, 2, 5e-6, 6e-3},
        {"3x3 wide", Algorithm::direct, 16, 5, 71, 40, 3, 1, 5e-6, 6e-3},
        {"5x5 / 3", Algorithm::direct, 8, 16, 19, 12, 5, 3, 5e-6, 6e-3},
        {"depthwise", Algorithm::depthwise, 20, 13, 17, 20, 3, 1, 5e-6, 6e-3},
        {"winograd2", Algorithm::winograd2, 32, 13, 17, 36, 3, 1, 1e-5, 6e-3},
        {"winograd4", Algorithm::winograd4, 32, 13, 17, 36, 3, 1, 3e-5, 0},
        {"phases", Algorithm::phases, 32, 13, 17, 36, 3, 2, 1e-5, 0},
    };
    bool good = true;
    for (Precision precision : {Precision::fp32, Precision::bf16})
        for (const Kernels* level : levels(precision)) {
            const auto named = [=](const char* name) { return !std::strcmp(name, level->name); };
            if (count > 1 && std::none_of(names + 1, names + count, named)) continue;
            const Kernels& kernels = choose(level->name, precision);  // where it is tried
            for (const Case& one : cases)
                if (kernels.element == 4 || one.bf16_limit > 0) good &= holds(kernels, one);
        }
    std::printf("best in bf16: %s\n", levels(Precision::bf16).front()->name);
    return good ? 0 : 1;
}
