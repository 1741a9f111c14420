// Matrix products borrowed from SciPy: it publishes its BLAS as function pointers, which Python
// hands over once.  Nothing is linked.
#pragma once

#include <cstdint>

namespace yolo::cpu {

// Fortran sgemm and dgemm; get and set the thread number of that library, or both null.
struct BlasTable {
    void *sgemm, *dgemm, *get_threads, *set_threads;
};

void use_blas(const BlasTable& table);

// C (m x n) = op(A) (m x depth) op(B) (depth x n) + beta C, everything column by column, as BLAS
// has it: a row-major matrix read so is its own transpose.
template <typename T>
void gemm(char op_a, char op_b, int64_t m, int64_t n, int64_t depth, const T* a, int64_t lda,
          const T* b, int64_t ldb, T beta, T* c, int64_t ldc);

// While one of these lives, the library's own threads rest, because ours call it side by side; the
// last to go restores what was set.  width(t) is the number of threads that may call gemm at once:
// t, or 1 when the library's threads are not ours to control.
class BlasAlone {
 public:
    BlasAlone();
    ~BlasAlone();
    BlasAlone(const BlasAlone&) = delete;
    BlasAlone& operator=(const BlasAlone&) = delete;
    static int width(int threads);
};

}  // namespace yolo::cpu
