// The register tile, heart of the direct and the Winograd convolution:
//
//     acc[k][p] += w[tap, c, k] * x[tap, c, p]      k: one or two vectors of output channels,
//                                                   p: P neighbouring output pixels
//
// Each w is loaded once and used P times, each x is read by KV multiply-adds.
//
// What the next tile to the right reads is fetched ahead: line by line between the steps, which
// memory answers sooner than all lines at once, except that the steps of short vectors are too
// short for that.

struct TileCall {
    const void* x;     // first pixel, first channel block: elem, or float where it is planar
    const long* taps;  // offset of each tap from x
    int tap_count;
    int blocks;     // channel blocks to sum over
    long x_block;   // elements between channel blocks of x
    long step;      // elements between neighbouring pixels of x, read only where STEP is 0
    int pixels;     // of the tile, read only by matrix tiles
    const void* w;  // [blocks][taps][CV / DEPTH][KV * V][DEPTH], of x's type
    long ahead;     // elements from w to what the next tile will read: fetched into L2
    elem* y;        // first pixel of the first output block
    long y_block;
    float* sums;  // where the results go in fp32 instead of to y, unless null
    long sums_block;
    const float* bias;  // null: store the bare sums (or what `resume` continues)
    const elem* residual;
    long residual_block;
    float slope;  // activation max(x, slope x), unless it is a gate; a residual is added after it
    Gate gate;
    bool stream;         // y is written past the caches
    bool resume;         // start from what y holds instead of zero
    Deferred* deferred;  // where the sums wait for their gate instead of being stored, unless null
};

template <int P>
INLINE void put_row(const TileCall& a, elem* y, const vec (&v)[P]) {
    if (a.stream)
        UNROLL for (int p = 0; p < P; ++p) Streamed::put(y + p * V, v[p]);
    else
        UNROLL for (int p = 0; p < P; ++p) store(y + p * V, v[p]);
}

// Pixels first .. first + N of output block k with their gate.
template <int N>
INLINE void put_gated(const TileCall& a, const vec* acc, int k, int first) {
    const vec bias = load(a.bias + k * V);
    vec v[N];
    UNROLL for (int i = 0; i < N; ++i) v[i] = acc[first + i] + bias;
    gate_all(a.gate, v);
    if (a.residual) {
        const elem* r = a.residual + k * a.residual_block + first * V;
        UNROLL for (int i = 0; i < N; ++i) v[i] += load(r + i * V);
    }
    put_row(a, a.y + k * a.y_block + first * V, v);
}

// A few vectors at a time: their operations fill each other's waits, more would not fit the
// registers beside the sums.
template <int P, int KV>
INLINE void store_gated(const TileCall& a, const vec (&acc)[KV][P]) {
    constexpr int N = V < 16 ? 2 : 4, REST = P % N;
    UNROLL for (int k = 0; k < KV; ++k) {
        UNROLL for (int p = 0; p + N <= P; p += N) put_gated<N>(a, acc[k], k, p);
        if constexpr (REST > 0) put_gated<REST>(a, acc[k], k, P - REST);
    }
}

template <int P, int KV>
INLINE void store_tile(const TileCall& a, vec (&acc)[KV][P]) {
    if (a.gate != Gate::none && a.bias) return store_gated(a, acc);
    UNROLL for (int k = 0; k < KV; ++k) {
        if (a.bias) {
            const vec bias = load(a.bias + k * V), slope = splat(a.slope);
            UNROLL for (int p = 0; p < P; ++p) {
                const vec v = acc[k][p] + bias;
                acc[k][p] = larger(v, slope * v);
            }
        }
        if (a.sums) {
            float* sums = a.sums + k * a.sums_block;
            UNROLL for (int p = 0; p < P; ++p) store(sums + p * V, acc[k][p]);
            continue;
        }
        if (a.residual) {
            const elem* r = a.residual + k * a.residual_block;
            UNROLL for (int p = 0; p < P; ++p) acc[k][p] += load(r + p * V);
        }
        put_row(a, a.y + k * a.y_block, acc[k]);
    }
}

template <int P, int KV>
INLINE void defer(const TileCall& a, const vec (&acc)[KV][P]) {
    Deferred& d = *a.deferred;
    finish_deferred<KV>(d);
    UNROLL for (int k = 0; k < KV; ++k) {
        const vec bias = load(a.bias + k * V);
        float* sums = d.room + k * DEFERRED_TILE * V;
        UNROLL for (int p = 0; p < P; ++p) store(sums + p * V, acc[k][p] + bias);
    }
    d.gate = a.gate;
    d.pixels = P;
    d.sums = d.room;
    d.y = a.y;
    d.y_block = a.y_block;
    d.residual = a.residual;
    d.residual_block = a.residual_block;
    d.stream = a.stream;
}

// Whether a cache line of T begins at `offset`: one prefetch a line will do.
template <class T>
constexpr bool new_line(int offset) {
    return offset * sizeof(T) % 64 == 0;
}

// One step: D channels of x by their weights. PACKED: of packed x, whose weights are many.
template <class T, int P, int KV, int D, bool PACKED>
INLINE void add_products(vec (&acc)[KV][P], const T* x, long step, const T* w, long ahead) {
    decltype(load_weights(w)) wk[KV];
    UNROLL for (int k = 0; k < KV; ++k) {
        wk[k] = load_weights(w + k * V * D);
        if (PACKED && new_line<T>(k * V * D)) __builtin_prefetch(w + ahead + k * V * D, 0, 2);
    }
    UNROLL for (int p = 0; p < P; ++p) {
        UNROLL for (int k = 0; k < KV; ++k) add_product(acc[k][p], x + p * step, wk[k]);
    }
}

// T: type of x and w. CV: channels a block, V for packed x, 1 for planar x (whose channels are
// taps).
template <class T, int P, int KV, int STEP, int CV>
static void tile(const TileCall& a) {
    constexpr int D = CV > 1 ? depth<T> : 1;
    constexpr bool MAY_DEFER = DEFERS && CV > 1 && P <= DEFERRED_TILE;
    static_assert(!MAY_DEFER || CV / D % GATE_STEPS == 0, "a tap ends within a pixel");
    constexpr int STEPS = CV > 1 && V < 16 ? 2 : 1;  // at once; more move sums through memory
    constexpr int LINE = 64 / sizeof(T),
                  LINES = STEP && STEP < LINE ? (P * STEP - 1) / LINE + 1 : P;
    constexpr int EARLY = V < 16 && CV > 1 ? LINES : 0;
    constexpr int IN_STEP = V >= 16 && CV > 1 ? (LINES * STEPS * D - 1) / CV + 1 : 0;
    vec acc[KV][P];
    UNROLL for (int k = 0; k < KV; ++k) {
        UNROLL for (int p = 0; p < P; ++p) acc[k][p] = vec{};
    }
    if (a.resume) {
        UNROLL for (int k = 0; k < KV; ++k) {
            UNROLL for (int p = 0; p < P; ++p) acc[k][p] = load(a.y + k * a.y_block + p * V);
        }
    }
    const long step = STEP ? STEP : a.step, line = STEP && STEP < LINE ? LINE : step;
    const T* w = static_cast<const T*>(a.w);
    const T* x = static_cast<const T*>(a.x);
    bool waiting = MAY_DEFER && a.deferred && a.deferred->pixels > 0;
    Gated m[KV]{};
    for (int block = 0; block < a.blocks; ++block, x += a.x_block)
        for (int t = 0; t < a.tap_count; ++t) {
            const T* xt = x + a.taps[t];
            const T *right = xt + P * step + (line - step), *last = right + (LINES - 1) * line;
            UNROLL for (int i = 0; i < EARLY; ++i) __builtin_prefetch(right + i * line);
            NO_UNROLL for (int c = 0; c < CV; c += STEPS * D) {
                UNROLL for (int i = 0; i < IN_STEP; ++i) {
                    __builtin_prefetch(right);
                    right = right < last ? right + line : last;
                }
                if (MAY_DEFER && waiting) {
                    const int turn = c / D % GATE_STEPS;
                    step_deferred(*a.deferred, turn, m);
                    waiting = turn + 1 < GATE_STEPS || a.deferred->pixels > 0;
                }
                UNROLL for (int i = 0; i < STEPS; ++i, xt += D, w += KV * V * D)
                    add_products<T, P, KV, D, (CV > 1)>(acc, xt, step, w, a.ahead);
            }
        }
    if constexpr (MAY_DEFER)
        if (a.deferred) return defer<P, KV>(a, acc);
    store_tile<P, KV>(a, acc);
}

using TileFn = void (*)(const TileCall&);

// TileTable<T, KV, STEP, CV>::at(p): the tile of p pixels, 1 <= p <= TILE
template <class T, int KV, int STEP, int CV>
struct TileTable {
    template <int P>
    static TileFn find(int p) {
        if constexpr (P == 0)
            return nullptr;
        else
            return p == P ? &tile<T, P, KV, STEP, CV> : find<P - 1>(p);
    }
    static TileFn at(int p) { return find<STEP ? TILE : 4>(p); }
};

// A row of n pixels in nearly equal tiles: at most two sizes, `first` of `size + 1`, the rest of
// `size`. Small remainders would leave the multipliers idle.
struct Tiling {
    int count, size, first;
    int at(int i) const { return size + (i < first); }
};
INLINE Tiling tile_row(int n, int limit) {
    const int count = ceil_div(n, limit);
    return {count, count ? n / count : 0, count ? n % count : 0};
}
