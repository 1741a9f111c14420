// exp that the compiler can turn into vector code.  For files compiled once per instruction set:
// everything is in the unnamed namespace, nothing comes from the standard library.
#pragma once

#include <cstdint>

namespace yolo::cpu {
namespace {

// exp(x) = 2^k exp(r) with k = round(x / ln 2), |r| <= ln(2) / 2, ln 2 split in two so that r keeps
// its digits.  Adding and subtracting ROUND rounds to the nearest integer.  The limits keep 2^k a
// normal number; a NaN passes through.  Relative error: float < 2e-7, double < 4e-16.
inline float exponential(float x) {
    constexpr float ROUND = 12582912.0f, LOG2E = 1.44269504f;
    constexpr float LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f;
    x = x < -87.3f ? -87.3f : x;
    x = x > 88.0f ? 88.0f : x;
    float shifted = x * LOG2E + ROUND, k = shifted - ROUND;
    float r = x - k * LN2_HIGH - k * LN2_LOW;
    float e = 1.9875691500e-4f;
    e = e * r + 1.3981999507e-3f;
    e = e * r + 8.3334519073e-3f;
    e = e * r + 4.1665795894e-2f;
    e = e * r + 1.6666665459e-1f;
    e = e * r + 5.0000001201e-1f;
    e = e * r * r + r + 1.0f;
    uint32_t bits = __builtin_bit_cast(uint32_t, shifted) << 23;
    return e * __builtin_bit_cast(float, bits + 0x3f800000u);
}

inline double exponential(double x) {
    constexpr double ROUND = 6755399441055744.0, LOG2E = 1.4426950408889634;
    constexpr double LN2_HIGH = 6.93145751953125e-1, LN2_LOW = 1.42860682030941723212e-6;
    x = x < -708.0 ? -708.0 : x;
    x = x > 709.0 ? 709.0 : x;
    double shifted = x * LOG2E + ROUND, k = shifted - ROUND;
    double r = x - k * LN2_HIGH - k * LN2_LOW;
    double e = 1.0 / 6227020800.0;  // Taylor to r^13: the next term is below 2e-17
    e = e * r + 1.0 / 479001600.0;
    e = e * r + 1.0 / 39916800.0;
    e = e * r + 1.0 / 3628800.0;
    e = e * r + 1.0 / 362880.0;
    e = e * r + 1.0 / 40320.0;
    e = e * r + 1.0 / 5040.0;
    e = e * r + 1.0 / 720.0;
    e = e * r + 1.0 / 120.0;
    e = e * r + 1.0 / 24.0;
    e = e * r + 1.0 / 6.0;
    e = e * r + 0.5;
    e = e * r * r + r + 1.0;
    uint64_t bits = __builtin_bit_cast(uint64_t, shifted) << 52;
    return e * __builtin_bit_cast(double, bits + 0x3ff0000000000000u);
}

}  // namespace
}  // namespace yolo::cpu
