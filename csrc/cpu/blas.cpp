#include "blas.h"

#include <mutex>
#include <new>
#include <stdexcept>

#ifndef _WIN32
#include <pthread.h>
#endif

namespace yolo::cpu {
namespace {

template <typename T>
using Gemm = void (*)(char*, char*, int*, int*, int*, T*, T*, int*, T*, int*, T*, T*, int*);

BlasTable table{};
int users = 0;        // BlasAlone objects alive
int restored_to = 0;  // the library's thread number before the first of them

// Neither has a destructor that could run before the last kernel.
std::mutex& users_mutex() {
    static auto* mutex = new std::mutex;
    return *mutex;
}

int library_threads() {
    return reinterpret_cast<int (*)()>(table.get_threads)();
}
void library_threads(int n) {
    reinterpret_cast<void (*)(int)>(table.set_threads)(n);
}

// The child of a fork has only the forking thread, which is in no kernel.
void forked() {
    new (&users_mutex()) std::mutex;
    if (users > 0 && table.set_threads) library_threads(restored_to);
    users = 0;
}

template <typename T>
Gemm<T> routine() {
    return reinterpret_cast<Gemm<T>>(sizeof(T) == 4 ? table.sgemm : table.dgemm);
}

}  // namespace

void use_blas(const BlasTable& given) {
    users_mutex();
#ifndef _WIN32
    if (!table.sgemm) pthread_atfork(nullptr, nullptr, forked);
#endif
    table = given;
}

template <typename T>
void gemm(char op_a, char op_b, int64_t m, int64_t n, int64_t depth, const T* a, int64_t lda,
          const T* b, int64_t ldb, T beta, T* c, int64_t ldc) {
    int mm = static_cast<int>(m), nn = static_cast<int>(n), kk = static_cast<int>(depth);
    int la = static_cast<int>(lda), lb = static_cast<int>(ldb), lc = static_cast<int>(ldc);
    T one = 1;
    routine<T>()(&op_a, &op_b, &mm, &nn, &kk, &one, const_cast<T*>(a), &la, const_cast<T*>(b), &lb,
                 &beta, c, &lc);
}

template void gemm<float>(char, char, int64_t, int64_t, int64_t, const float*, int64_t,
                          const float*, int64_t, float, float*, int64_t);
template void gemm<double>(char, char, int64_t, int64_t, int64_t, const double*, int64_t,
                           const double*, int64_t, double, double*, int64_t);

BlasAlone::BlasAlone() {
    if (!table.sgemm) throw std::runtime_error("yolo._C: no BLAS given; import yolo.ops first");
    if (!table.set_threads) return;
    std::lock_guard lock(users_mutex());
    if (users++ > 0) return;
    restored_to = library_threads();
    if (restored_to != 1) library_threads(1);
}

BlasAlone::~BlasAlone() {
    if (!table.set_threads) return;
    std::lock_guard lock(users_mutex());
    if (--users == 0 && restored_to != 1) library_threads(restored_to);
}

int BlasAlone::width(int threads) {
    return table.set_threads ? threads : 1;
}

}  // namespace yolo::cpu
