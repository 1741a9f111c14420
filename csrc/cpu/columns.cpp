#include "columns.h"

#include <algorithm>

#include "rows.h"

namespace yolo::cpu {
namespace {

// Where one tap reads: output (p, q) sees input (p * stride_y + y, q * stride_x + x), and only the
// q in `valid` lie inside the image.
struct Tap {
    int64_t y, x;
    Range valid;

    Tap(const ConvShape& shape, int64_t r, int64_t s)
        : y(r * shape.dilation_y - shape.pad_y),
          x(s * shape.dilation_x - shape.pad_x),
          valid(inside(x, shape.stride_x, shape.w, shape.q)) {}
};

// body(tap, channel, row of the columns)
template <typename Body>
void each_tap(const ConvShape& shape, int64_t channels, Body body) {
    for (int64_t r = 0; r < shape.r; ++r) {
        for (int64_t s = 0; s < shape.s; ++s) {
            Tap tap(shape, r, s);
            for (int64_t c = 0; c < channels; ++c) body(tap, c, (c * shape.r + r) * shape.s + s);
        }
    }
}

// body(p, first, last, at): the q of output row p within the pixels [first, last), and the place
// of the first of them in the columns.
template <typename Body>
void each_row(const ConvShape& shape, int64_t first, int64_t last, Body body) {
    for (int64_t p = first / shape.q; p * shape.q < last; ++p) {
        int64_t begin = std::max(first, p * shape.q), end = std::min(last, (p + 1) * shape.q);
        body(p, begin - p * shape.q, end - p * shape.q, begin - first);
    }
}

// Stride 1 and equal widths: a tap's columns are the plane itself, shifted, but for the pixels
// that fell off one end of a row and came in at the other.
bool shifts(const ConvShape& shape) {
    return shape.stride_y == 1 && shape.stride_x == 1 && shape.q == shape.w;
}

// Zeroes the columns of this tap that lie left or right of the image.
template <typename T>
void clear_sides(const ConvShape& shape, const Tap& tap, int64_t first, int64_t last, T* columns) {
    if (tap.valid.first == 0 && tap.valid.last == shape.q) return;
    each_row(shape, first, last, [&](int64_t, int64_t begin, int64_t end, int64_t at) {
        T* row = columns + at - begin;
        for (int64_t q = begin; q < std::min(end, tap.valid.first); ++q) row[q] = 0;
        for (int64_t q = std::max(begin, tap.valid.last); q < end; ++q) row[q] = 0;
    });
}

// The part of [first, last) whose shifted pixel lies in the plane.
Range shifted(const ConvShape& shape, const Tap& tap, int64_t first, int64_t last) {
    int64_t shift = tap.y * shape.w + tap.x;
    int64_t begin = std::clamp(-shift, first, last);
    return {begin, std::clamp(shape.in_pixels() - shift, begin, last)};
}

template <typename T>
void fill_shifted(const ConvShape& shape, const Tap& tap, const T* plane, int64_t first,
                  int64_t last, T* columns) {
    Range in = shifted(shape, tap, first, last);
    const T* from = plane + tap.y * shape.w + tap.x;
    std::fill(columns, columns + (in.first - first), T(0));
    std::copy(from + in.first, from + in.last, columns + (in.first - first));
    std::fill(columns + (in.last - first), columns + (last - first), T(0));
    clear_sides(shape, tap, first, last, columns);
}

template <typename T>
void fill_rows(const ConvShape& shape, const Tap& tap, const T* plane, int64_t first, int64_t last,
               T* columns) {
    each_row(shape, first, last, [&](int64_t p, int64_t begin, int64_t end, int64_t at) {
        int64_t y = p * shape.stride_y + tap.y;
        bool outside = y < 0 || y >= shape.h;
        int64_t from = outside ? end : std::clamp(tap.valid.first, begin, end);
        int64_t to = outside ? end : std::clamp(tap.valid.last, from, end);
        T* row = columns + at - begin;
        std::fill(row + begin, row + from, T(0));
        if (from < to) {
            const T* source = plane + y * shape.w + from * shape.stride_x + tap.x;
            rows<T>().gather(source, shape.stride_x, row + from, to - from);
        }
        std::fill(row + to, row + end, T(0));
    });
}

template <typename T>
void add_rows(const ConvShape& shape, const Tap& tap, const T* columns, int64_t first, int64_t last,
              T* plane) {
    each_row(shape, first, last, [&](int64_t p, int64_t begin, int64_t end, int64_t at) {
        int64_t y = p * shape.stride_y + tap.y;
        if (y < 0 || y >= shape.h) return;
        int64_t from = std::clamp(tap.valid.first, begin, end);
        int64_t to = std::clamp(tap.valid.last, from, end);
        if (from == to) return;
        T* target = plane + y * shape.w + from * shape.stride_x + tap.x;
        rows<T>().scatter(columns + at - begin + from, shape.stride_x, target, to - from);
    });
}

}  // namespace

template <typename T>
void fill_columns(const ConvShape& shape, const T* x, int64_t channels, int64_t first, int64_t last,
                  T* columns, int64_t pitch) {
    const bool shift = shifts(shape);
    each_tap(shape, channels, [&](const Tap& tap, int64_t c, int64_t row) {
        const T* plane = x + c * shape.in_pixels();
        if (shift) {
            fill_shifted(shape, tap, plane, first, last, columns + row * pitch);
        } else {
            fill_rows(shape, tap, plane, first, last, columns + row * pitch);
        }
    });
}

template <typename T>
void add_columns(const ConvShape& shape, T* columns, int64_t pitch, int64_t channels, int64_t first,
                 int64_t last, T* x) {
    const bool shift = shifts(shape);
    each_tap(shape, channels, [&](const Tap& tap, int64_t c, int64_t row) {
        T *plane = x + c * shape.in_pixels(), *from = columns + row * pitch;
        if (!shift) return add_rows(shape, tap, from, first, last, plane);
        clear_sides(shape, tap, first, last, from);
        Range in = shifted(shape, tap, first, last);
        rows<T>().add(from + (in.first - first), plane + in.first + tap.y * shape.w + tap.x,
                      in.last - in.first);
    });
}

#define INSTANTIATE(T)                                                                       \
    template void fill_columns<T>(const ConvShape&, const T*, int64_t, int64_t, int64_t, T*, \
                                  int64_t);                                                  \
    template void add_columns<T>(const ConvShape&, T*, int64_t, int64_t, int64_t, int64_t, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace yolo::cpu
