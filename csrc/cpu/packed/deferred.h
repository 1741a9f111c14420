// The sums of a tile whose mish or swish is computed between the multiply-adds of the next one:
// what is no multiplication in it costs nothing there, and its waits are filled. It takes
// registers, which a smaller tile leaves it; AVX2 has too few.

#if defined(USE_AVX512) && !defined(USE_AMX)
constexpr bool DEFERS = true;
#else
constexpr bool DEFERS = false;
#endif
constexpr int DEFERRED_TILE = 12;  // pixels

struct Deferred {
    Gate gate;
    int pixels = 0;  // that wait
    const float* sums;
    elem* y;
    long y_block;
    const elem* residual;
    long residual_block;
    bool stream;  // y is written past the caches
    alignas(64) float room[2 * DEFERRED_TILE * V];
};

// One step of the first pixel that waits, KV vectors.
template <int KV>
INLINE void step_deferred(Deferred& d, int step, Gated (&m)[KV]) {
    UNROLL for (int k = 0; k < KV; ++k)
        gate_step(d.gate, step, load(d.sums + k * DEFERRED_TILE * V), m[k]);
    if (step + 1 < GATE_STEPS) return;
    if (d.residual) {
        UNROLL for (int k = 0; k < KV; ++k) m[k].r += load(d.residual + k * d.residual_block);
        d.residual += V;
    }
    if (d.stream)
        UNROLL for (int k = 0; k < KV; ++k) Streamed::put(d.y + k * d.y_block, m[k].r);
    else
        UNROLL for (int k = 0; k < KV; ++k) store(d.y + k * d.y_block, m[k].r);
    d.sums += V;
    d.y += V;
    --d.pixels;
}

// Those that no tile follows.
template <int KV>
INLINE void finish_deferred(Deferred& d) {
    while (d.pixels > 0) {
        Gated m[KV];
        UNROLL for (int step = 0; step < GATE_STEPS; ++step) step_deferred(d, step, m);
    }
}
