#include "update.h"

#include <algorithm>

#include "threads.h"

namespace yolo::cpu {
namespace {

constexpr int64_t PIECE = 1 << 14;  // values of a task

template <typename T>
T clamped(T value, T limit) {
    return value > limit ? limit : value < -limit ? -limit : value;
}

// GRAD: there is a gradient. HELD: some limit or clip holds.
template <bool GRAD, bool HELD, typename T>
void update_piece(const Parameter<T>& p, T momentum, int64_t begin, int64_t end) {
    T* __restrict weight = p.weight, * __restrict update = p.update;
    const T* __restrict grad = p.grad;
    for (int64_t i = begin; i < end; ++i) {
        T u = GRAD ? update[i] - grad[i] : update[i];
        if (HELD && p.limit != 0) u = clamped(u, p.limit);
        u -= p.decay * weight[i];
        T w = weight[i] + p.rate * u;
        if (HELD && p.clip != 0) w = clamped(w, p.clip);
        weight[i] = w;
        update[i] = momentum * u;
    }
}

template <typename T>
void update_piece(const Parameter<T>& p, T momentum, int64_t begin, int64_t end) {
    const bool held = p.limit != 0 || p.clip != 0;
    if (p.grad)
        return held ? update_piece<true, true>(p, momentum, begin, end)
                    : update_piece<true, false>(p, momentum, begin, end);
    return held ? update_piece<false, true>(p, momentum, begin, end)
                : update_piece<false, false>(p, momentum, begin, end);
}

}  // namespace

template <typename T>
void update(const std::vector<Parameter<T>>& parameters, T momentum, int threads) {
    struct Piece {
        const Parameter<T>* parameter;
        int64_t begin;
    };
    std::vector<Piece> pieces;
    for (const Parameter<T>& p : parameters)
        for (int64_t begin = 0; begin < p.count; begin += PIECE) pieces.push_back({&p, begin});
    parallel(threads, int64_t(pieces.size()), [&](int64_t task, int) {
        const Piece& piece = pieces[task];
        const int64_t end = std::min(piece.begin + PIECE, piece.parameter->count);
        update_piece(*piece.parameter, momentum, piece.begin, end);
    });
}

template void update(const std::vector<Parameter<float>>&, float, int);
template void update(const std::vector<Parameter<double>>&, double, int);

}  // namespace yolo::cpu
