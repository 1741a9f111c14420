// Max pools of growing odd windows and stride 1 over one map, as SPP has them; NHWC with pixel
// pitches.
//
//     y_k      largest cell of the size_k x size_k window around each pixel, cells inside the map
//     code_k   16 * row + column of that cell inside the window, which may begin outside the map:
//     of
//              equal cells the first, row by row, as in pool.cu; NaN is the largest value
//     grad_x   other + sum over k of the grad_y_k whose window has its largest cell here
//
// A window of size s over windows of size r is one of r + s - 1, so each pool reads what the one
// before gave. Code c of the window at row i, column j becomes 16 * i + j + c: the order of codes
// is that of cells in every window, and the smallest code of the largest values is that of the
// window read directly.
//
// A thread takes PACK channels of a pixel, a block a tile of pixels, whose windows overlap.
#include "cuda_api.h"
#include "pixels.cuh"

namespace {

constexpr int LANES = 8, COLUMNS = 8, LINES = 4;  // packs of channels, pixels of a tile
constexpr int THREADS = LANES * COLUMNS * LINES;
constexpr int RESIDENT = 2;  // blocks of a multiprocessor; for more, ptxas would spill
constexpr int LARGEST = 15;  // a window whose codes fit into a byte

int64_t parts(int size, int each) {
    return (size + each - 1) / each;
}

// COUNT codes, which lie as their values do.
template <int COUNT>
struct CodeWord;
template <>
struct CodeWord<1> {
    using type = uint8_t;
};
template <>
struct CodeWord<2> {
    using type = uint16_t;
};
template <>
struct CodeWord<4> {
    using type = uint32_t;
};
template <>
struct CodeWord<8> {
    using type = uint64_t;
};

template <int COUNT>
struct Codes {
    using Word = typename CodeWord<COUNT>::type;
    static constexpr Word ONES = Word(~Word(0)) / 255;  // 1 in every byte
    union {
        Word all = 0;
        uint8_t one[COUNT];
    };

    __device__ void load_from(const uint8_t* p) { all = load(reinterpret_cast<const Word*>(p)); }
    __device__ void store_to(uint8_t* p) const { store(reinterpret_cast<Word*>(p), all); }
    __device__ bool hold(int code) const {
        Word zeros = all ^ Word(ONES * Word(code));  // a byte that is 0 borrows from its high bit
        return (Word(zeros - ONES) & Word(~zeros) & Word(ONES * Word(128))) != 0;
    }
};

// The first channel and the pixel of this thread.
template <int COUNT>
struct Spot {
    int64_t n;
    int c, x, y;

    __device__ explicit Spot(const YoloSpp& t) {
        int64_t tile = blockIdx.x;
        int thread = int(threadIdx.x);
        c = (part_of(tile, t.c, LANES * COUNT) * LANES + thread % LANES) * COUNT;
        x = part_of(tile, t.w, COLUMNS) * COLUMNS + thread / LANES % COLUMNS;
        y = part_of(tile, t.h, LINES) * LINES + thread / LANES / COLUMNS;
        n = tile;
    }
    __device__ bool inside(const YoloSpp& t) const {
        return n < t.n && c < t.c && x < t.w && y < t.h;
    }
    __device__ int64_t pixel(const YoloSpp& t, int row, int column) const {
        return (n * t.h + row) * t.w + column;
    }

 private:
    static __device__ int part_of(int64_t& number, int size, int each) {
        int count = (size + each - 1) / each, part = int(number % count);
        number /= count;
        return part;
    }
};

// One pool over the values and codes of the one before; over x there are none, each would be 0.
struct Level {
    YoloRows from, to;
    const uint8_t* before;
    uint8_t* codes;
    int size;
};

template <class T, int COUNT>
__global__ void __launch_bounds__(THREADS, RESIDENT) spp_kernel(YoloSpp t, Level level) {
    using N = typename Compute<T>::type;
    Spot<COUNT> at(t);
    if (!at.inside(t)) return;
    Values<T, COUNT> most;
    int best[COUNT];
    UNROLL for (int e = 0; e < COUNT; ++e) {
        most.at[e] = N(-INFINITY);
        best[e] = 256;
    }
    for (int i = 0; i < level.size; ++i) {
        int y = at.y + i - level.size / 2;
        if (y < 0 || y >= t.h) continue;
        for (int j = 0; j < level.size; ++j) {
            int x = at.x + j - level.size / 2;
            if (x < 0 || x >= t.w) continue;
            int64_t pixel = at.pixel(t, y, x);
            Values<T, COUNT> value;
            Codes<COUNT> codes;
            value.load_from(row_of<T>(level.from, pixel) + at.c);
            if (level.before != nullptr) codes.load_from(level.before + pixel * t.c + at.c);
            UNROLL for (int e = 0; e < COUNT; ++e) {
                N v = value.at[e], m = most.at[e];
                int code = codes.one[e] + 16 * i + j;
                bool larger = v > m || (v != v && m == m);
                bool equal = v == m || (v != v && m != m);
                if (!larger && !(equal && code < best[e])) continue;
                most.at[e] = v;
                best[e] = code;
            }
        }
    }
    int64_t pixel = at.pixel(t, at.y, at.x);
    most.store_to(row_of<T>(level.to, pixel) + at.c);
    if (level.codes == nullptr) return;
    Codes<COUNT> codes;
    UNROLL for (int e = 0; e < COUNT; ++e) {
        codes.one[e] = uint8_t(best[e]);
    }
    codes.store_to(level.codes + pixel * t.c + at.c);
}

// Adds what the windows around give to this pixel. Most codes are those of other cells.
template <class T, int COUNT>
__device__ __forceinline__ void gather(const YoloSpp& t, const Spot<COUNT>& at, int size,
                                       const YoloRows& grad_y, const uint8_t* all_codes,
                                       Values<T, COUNT>& total) {
    Values<T, COUNT> sum = {};
    for (int i = 0; i < size; ++i) {
        int y = at.y + size / 2 - i;
        if (y < 0 || y >= t.h) continue;
        for (int j = 0; j < size; ++j) {
            int x = at.x + size / 2 - j;
            if (x < 0 || x >= t.w) continue;
            int64_t pixel = at.pixel(t, y, x);
            Codes<COUNT> codes;
            codes.load_from(all_codes + pixel * t.c + at.c);
            if (!codes.hold(16 * i + j)) continue;
            Values<T, COUNT> grad;
            grad.load_from(row_of<T>(grad_y, pixel) + at.c);
            UNROLL for (int e = 0; e < COUNT; ++e) {
                if (codes.one[e] == 16 * i + j) sum.at[e] += grad.at[e];
            }
        }
    }
    UNROLL for (int e = 0; e < COUNT; ++e) {
        total.at[e] += sum.at[e];
    }
}

// The largest window first: with float the sums are those of autograd over pools one by one.
template <class T, int COUNT>
__global__ void __launch_bounds__(THREADS, RESIDENT) spp_grad_x_kernel(YoloSpp t) {
    Spot<COUNT> at(t);
    if (!at.inside(t)) return;
    int64_t pixel = at.pixel(t, at.y, at.x), values = int64_t(t.n) * t.h * t.w * t.c;
    Values<T, COUNT> total = {};
    if (t.other.data != nullptr) total.load_from(row_of<T>(t.other, pixel) + at.c);
    const auto* codes = static_cast<const uint8_t*>(t.codes);
    for (int k = t.levels - 1; k >= 0; --k)
        gather<T, COUNT>(t, at, t.size[k], t.y[k], codes + k * values, total);
    total.store_to(row_of<T>(t.x, pixel) + at.c);
}

template <class T, int COUNT>
int run(const YoloSpp& t, YoloPass pass, Stream stream) {
    int64_t tiles = t.n * parts(t.c, LANES * COUNT) * parts(t.w, COLUMNS) * parts(t.h, LINES);
    dim3 grid(blocks_for(tiles, 1)), block(THREADS);
    if (pass == YOLO_GRAD_X) {
        auto backward = spp_grad_x_kernel<T, COUNT>;
        LAUNCH(backward, grid, block, 0, stream, t);
        return launch_status();
    }
    auto forward = spp_kernel<T, COUNT>;
    int64_t values = int64_t(t.n) * t.h * t.w * t.c;
    Level level = {{}, t.x, nullptr, nullptr, 1};
    for (int k = 0; k < t.levels; ++k) {
        level.size = k == 0 ? t.size[0] : t.size[k] - t.size[k - 1] + 1;
        level.from = level.to, level.to = t.y[k], level.before = level.codes;
        if (t.codes != nullptr) level.codes = static_cast<uint8_t*>(t.codes) + k * values;
        LAUNCH(forward, grid, block, 0, stream, t, level);
    }
    return launch_status();
}

bool acceptable(const YoloSpp& t, YoloPass pass) {
    if (t.levels < 1 || t.levels > YOLO_SPP_LEVELS) return false;
    for (int k = 0; k < t.levels; ++k)
        if (t.size[k] % 2 != 1 || t.size[k] > LARGEST || t.size[k] < (k ? t.size[k - 1] : 1))
            return false;
    return pass == YOLO_FORWARD || (pass == YOLO_GRAD_X && t.codes != nullptr);
}

}  // namespace

int yolo_cuda_spp(const YoloSpp* call, YoloPass pass, void* s) {
    const YoloSpp& t = *call;
    if (!acceptable(t, pass)) return YOLO_BAD_SHAPE;
    if (int64_t(t.n) * t.c * t.h * t.w == 0) return YOLO_OK;
    return with_type(t.type, [&](auto type) {
        using T = decltype(type);
        bool wide = packs<T>(t.x, t.c) && packs<T>(t.other, t.c);
        for (int k = 0; k < t.levels; ++k) wide = wide && packs<T>(t.y[k], t.c);
        auto stream = static_cast<Stream>(s);
        return wide ? run<T, PACK<T>>(t, pass, stream) : run<T, 1>(t, pass, stream);
    });
}
