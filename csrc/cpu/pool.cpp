#include "pool.h"

#include <algorithm>
#include <limits>

#include "rows.h"
#include "threads.h"

namespace yolo::cpu {
namespace {

// One plane, first along rows, then along columns: size_y + size_x steps for each output instead
// of size_y * size_x, and each step a whole row.  The earliest row wins ties, and in it the
// earliest column, so the winner is the first of the window row by row.
template <typename T>
class Plane {
 public:
    // scratch holds the rows' winners (h x q) and their places
    Plane(const PoolShape& shape, void* scratch)
        : shape_(shape),
          best_(static_cast<T*>(scratch)),
          at_(reinterpret_cast<int32_t*>(best_ + shape.h * shape.q)) {}

    void run(const T* x, T* y, int32_t* at) {
        std::fill(best_, best_ + shape_.h * shape_.q, LOWEST);
        if (at) std::fill(at_, at_ + shape_.h * shape_.q, -1);
        for (int64_t row = 0; row < shape_.h; ++row) along_row(x, row, at != nullptr);
        std::fill(y, y + shape_.pixels(), LOWEST);
        if (at) std::fill(at, at + shape_.pixels(), -1);
        for (int64_t p = 0; p < shape_.p; ++p) along_columns(p, y, at);
    }

 private:
    static constexpr T LOWEST = -std::numeric_limits<T>::infinity();

    void along_row(const T* x, int64_t row, bool with_index) {
        T* best = best_ + row * shape_.q;
        for (int64_t s = 0; s < shape_.size_x; ++s) {
            int64_t offset = s - shape_.offset_x;
            Range q = inside(offset, shape_.stride_x, shape_.w, shape_.q);
            int64_t first = row * shape_.w + q.first * shape_.stride_x + offset;
            int64_t count = q.last - q.first;
            if (count == 0) continue;
            if (!with_index) {
                rows<T>().largest(x + first, shape_.stride_x, best + q.first, count);
            } else {
                rows<T>().largest_at(x + first, shape_.stride_x, static_cast<int32_t>(first),
                                     nullptr, best + q.first, at_ + row * shape_.q + q.first,
                                     count);
            }
        }
    }

    void along_columns(int64_t p, T* y, int32_t* at) {
        int64_t top = p * shape_.stride_y - shape_.offset_y;
        int64_t last = std::min(top + shape_.size_y, shape_.h);
        for (int64_t row = std::max<int64_t>(top, 0); row < last; ++row) {
            const T* best = best_ + row * shape_.q;
            T* out = y + p * shape_.q;
            if (!at) {
                rows<T>().largest(best, 1, out, shape_.q);
            } else {
                rows<T>().largest_at(best, 1, 0, at_ + row * shape_.q, out, at + p * shape_.q,
                                     shape_.q);
            }
        }
    }

    PoolShape shape_;
    T* best_;
    int32_t* at_;
};

// body(first, last, worker) over runs of planes, a few for each thread.
template <typename Body>
void each_run(int64_t planes, int threads, Body body) {
    const int64_t runs = std::min<int64_t>(planes, int64_t{threads} * 8);
    parallel(threads, runs, [&](int64_t run, int worker) {
        body(planes * run / runs, planes * (run + 1) / runs, worker);
    });
}

}  // namespace

template <typename T>
void maxpool_forward(const PoolShape& shape, const T* x, T* y, int32_t* at, void* scratch,
                     int threads) {
    const int64_t bytes = maxpool_scratch(shape, sizeof(T));
    each_run(shape.planes(), threads, [&](int64_t first, int64_t last, int worker) {
        Plane<T> plane(shape, static_cast<char*>(scratch) + worker * bytes);
        for (int64_t i = first; i < last; ++i) {
            plane.run(x + i * shape.in_pixels(), y + i * shape.pixels(),
                      at ? at + i * shape.pixels() : nullptr);
        }
    });
}

template <typename T>
void maxpool_backward(const PoolShape& shape, const T* grad_y, const int32_t* at, T* grad_x,
                      int threads) {
    each_run(shape.planes(), threads, [&](int64_t first, int64_t last, int) {
        std::fill(grad_x + first * shape.in_pixels(), grad_x + last * shape.in_pixels(), T(0));
        for (int64_t i = first; i < last; ++i) {
            T* plane = grad_x + i * shape.in_pixels();
            for (int64_t j = i * shape.pixels(); j < (i + 1) * shape.pixels(); ++j) {
                if (at[j] >= 0) plane[at[j]] += grad_y[j];
            }
        }
    });
}

template <typename T>
void avgpool_forward(int64_t planes, int64_t pixels, const T* x, T* y, int threads) {
    each_run(planes, threads, [&](int64_t first, int64_t last, int) {
        for (int64_t i = first; i < last; ++i) {
            y[i] = static_cast<T>(rows<T>().sum(x + i * pixels, pixels) / pixels);
        }
    });
}

template <typename T>
void avgpool_backward(int64_t planes, int64_t pixels, const T* grad_y, T* grad_x, int threads) {
    each_run(planes, threads, [&](int64_t first, int64_t last, int) {
        for (int64_t i = first; i < last; ++i) {
            std::fill(grad_x + i * pixels, grad_x + (i + 1) * pixels, grad_y[i] / pixels);
        }
    });
}

#define INSTANTIATE(T)                                                                      \
    template void maxpool_forward<T>(const PoolShape&, const T*, T*, int32_t*, void*, int); \
    template void maxpool_backward<T>(const PoolShape&, const T*, const int32_t*, T*, int); \
    template void avgpool_forward<T>(int64_t, int64_t, const T*, T*, int);                  \
    template void avgpool_backward<T>(int64_t, int64_t, const T*, T*, int);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace yolo::cpu
