// The eight matrix registers of AMX: each up to 16 rows of 64 bytes, in the shape that was loaded.
// With AMX_MODEL a model in memory takes their place, so that what is built on them can be tested
// on any processor; it stops where the processor would fault.
//
//     dot<C, A, B>:  c[m][n] += a[m][2k] b[k][2n] + a[m][2k + 1] b[k][2n + 1]     for all k

struct alignas(64) MatrixShapes {
    unsigned char palette, start, unused[14];
    unsigned short bytes[16];  // of a row
    unsigned char rows[16];
};

#if defined(AMX_MODEL)

namespace model {
struct Registers {
    MatrixShapes shapes;
    unsigned char cell[8][16][64];
};
static thread_local Registers registers{};

static void expect(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "amx_model: %s\n", what);
    std::abort();
}
static int rows(int t) {
    expect(registers.shapes.palette == 1 && registers.shapes.rows[t], "a register without shape");
    return registers.shapes.rows[t];
}
static float number(const unsigned char* cell) {  // of a bfloat16
    const unsigned bits = unsigned(cell[0] | cell[1] << 8) << 16;
    float x;
    __builtin_memcpy(&x, &bits, 4);
    return x;
}
}  // namespace model

static void load_shapes(const MatrixShapes& shapes) {
    model::registers = {};
    model::registers.shapes = shapes;
}
static void release_matrices() {
    model::registers = {};
}
template <int T>
static void zero_matrix() {
    __builtin_memset(model::registers.cell[T], 0, 64 * model::rows(T));
}
template <int T>
static void load_matrix(const void* from, long stride) {
    for (int i = 0; i < model::rows(T); ++i)
        __builtin_memcpy(model::registers.cell[T][i], static_cast<const char*>(from) + i * stride,
                         model::registers.shapes.bytes[T]);
}
template <int T>
static void store_matrix(void* to, long stride) {
    for (int i = 0; i < model::rows(T); ++i)
        __builtin_memcpy(static_cast<char*>(to) + i * stride, model::registers.cell[T][i],
                         model::registers.shapes.bytes[T]);
}
template <int C, int A, int B>
static void dot() {
    auto& r = model::registers;
    const int depth = r.shapes.bytes[A] / 4, width = r.shapes.bytes[C] / 4;
    model::expect(model::rows(C) == model::rows(A) && model::rows(B) == depth &&
                      r.shapes.bytes[B] == r.shapes.bytes[C],
                  "shapes that do not fit each other");
    for (int m = 0; m < model::rows(C); ++m)
        for (int n = 0; n < width; ++n) {
            float even = 0, odd = 0, sum;
            for (int k = 0; k < depth; ++k) {
                const unsigned char *a = r.cell[A][m] + 4 * k, *b = r.cell[B][k] + 4 * n;
                even += model::number(a) * model::number(b);
                odd += model::number(a + 2) * model::number(b + 2);
            }
            __builtin_memcpy(&sum, r.cell[C][m] + 4 * n, 4);
            sum += even + odd;
            __builtin_memcpy(r.cell[C][m] + 4 * n, &sum, 4);
        }
}

#else

INLINE void load_shapes(const MatrixShapes& shapes) {
    asm volatile("ldtilecfg %0" ::"m"(shapes));
}
INLINE void release_matrices() {
    asm volatile("tilerelease" ::: "memory");
}
template <int T>
INLINE void zero_matrix() {
    asm volatile("tilezero %%tmm%c0" ::"i"(T));
}
template <int T>
INLINE void load_matrix(const void* from, long stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(T) : "memory");
}
template <int T>
INLINE void store_matrix(void* to, long stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(T) : "memory");
}
template <int C, int A, int B>
INLINE void dot() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
}

#endif
