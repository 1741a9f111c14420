// Convolution through stored columns: the readable baseline. Any shape, stride, padding, dilation
// and groups; float and double; NCHW, NHWC or a slice of either (by strides). Deterministic.
//
//     columns[(c, r, s)][(n, p, q)] = x[n, c, p * stride + r * dilation - pad, ...]   0 outside x
//
//     pass          rows    columns   depth    left        right                lands in
//     forward       k       n*p*q     c*r*s    weight      columns of x         y
//     grad_x        c*r*s   n*p*q     k        weight^T    grad_y               columns, col2im
//     grad_weight   k       c*r*s     n*p*q    grad_y      columns of x, ^T     grad_weight
//
// Rows, columns and depth are those of one group. Images are taken a few at a time, as many as
// the workspace has room for.
#include "cuda_api.h"
#include "gemm.cuh"

namespace {

constexpr int THREADS = 256;
constexpr int64_t WORKSPACE_TARGET = int64_t(256) << 20;

int64_t rows_of(const ConvShape& a) {
    return int64_t(a.c) * a.r * a.s;
}
int pixels_of(const ConvShape& a) {
    return a.p * a.q;
}

// One thread per column, one row (c, r, s) per blockIdx.y: neighbours read neighbouring pixels.
template <class T>
__global__ void im2col_kernel(ConvShape a, const T* x, Strides step, T* columns, int images) {
    int count = images * a.p * a.q, rows = a.c * a.r * a.s;
    for (int row = int(blockIdx.y); row < rows; row += int(gridDim.y)) {
        int c = row / (a.r * a.s), r = row / a.s % a.r, s = row % a.s;
        int column = int(blockIdx.x * blockDim.x + threadIdx.x);
        if (column >= count) return;
        int n = column / (a.p * a.q), p = column / a.q % a.p, q = column % a.q;
        int h = p * a.stride_y + r * a.dilation_y - a.pad_y;
        int w = q * a.stride_x + s * a.dilation_x - a.pad_x;
        bool inside = h >= 0 && h < a.h && w >= 0 && w < a.w;
        T value = inside ? load(x + n * step.n + c * step.c + h * step.h + w * step.w) : T(0);
        store(columns + int64_t(row) * count + column, value);
    }
}

// grad_x[n, c, h, w] = sum over r, s of columns[(c, r, s)][(n, p, q)] with
// p * stride + r * dilation - pad = h: each pixel gathers, so no atomics and one fixed order.
template <class T>
__global__ void col2im_kernel(ConvShape a, const T* columns, T* grad_x, Strides step, int images) {
    int64_t count = int64_t(images) * a.p * a.q, total = int64_t(images) * a.c * a.h * a.w;
    int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= total) return;
    int w = int(i % a.w), h = int(i / a.w % a.h), c = int(i / a.w / a.h % a.c);
    int n = int(i / a.w / a.h / a.c);
    T sum = T(0);
    for (int r = 0; r < a.r; ++r) {
        int y = h + a.pad_y - r * a.dilation_y, p = y / a.stride_y;
        if (y < 0 || y % a.stride_y != 0 || p >= a.p) continue;
        for (int s = 0; s < a.s; ++s) {
            int z = w + a.pad_x - s * a.dilation_x, q = z / a.stride_x;
            if (z < 0 || z % a.stride_x != 0 || q >= a.q) continue;
            int64_t row = (int64_t(c) * a.r + r) * a.s + s;
            sum += load(columns + row * count + (int64_t(n) * a.p + p) * a.q + q);
        }
    }
    store(grad_x + n * step.n + c * step.c + h * step.h + w * step.w, sum);
}

template <class T>
struct Pass {
    ConvShape a;
    T* columns;
    int images_at_once;
    Stream stream;

    int group_rows() const { return int(rows_of(a)) / a.groups; }
    int filters() const { return a.k / a.groups; }

    void im2col(const T* x, Strides step, int images) const {
        dim3 grid(blocks_for(int64_t(images) * pixels_of(a), THREADS),
                  blocks_for(rows_of(a), 1, 65535));
        auto kernel = im2col_kernel<T>;
        LAUNCH(kernel, grid, dim3(THREADS), 0, stream, a, x, step, columns, images);
    }
    void col2im(T* grad_x, Strides step, int images) const {
        dim3 grid(blocks_for(int64_t(images) * a.c * a.h * a.w, THREADS));
        auto kernel = col2im_kernel<T>;
        LAUNCH(kernel, grid, dim3(THREADS), 0, stream, a, columns, grad_x, step, images);
    }
    Matrix<T> column_matrix(int images) const {
        int64_t count = int64_t(images) * pixels_of(a);
        return matrix(columns, count, 1, count * group_rows());
    }
    // y or grad_y as (filters of a group) x (n, p, q)
    Matrix<T> output_matrix(T* y, Strides step) const {
        return {y, step.c, step.w, step.c * filters(), pixels_of(a), step.n};
    }
    Matrix<T> weight_matrix(T* weight) const {
        return matrix(weight, group_rows(), 1, int64_t(filters()) * group_rows());
    }

    void forward(const T* x, Strides x_step, const T* weight, const T* bias, T* y, Strides y_step) {
        for (int n = 0; n < a.n; n += images_at_once) {
            int images = a.n - n < images_at_once ? a.n - n : images_at_once;
            im2col(x + n * x_step.n, x_step, images);
            gemm({filters(), images * pixels_of(a), group_rows(), a.groups},
                 weight_matrix(const_cast<T*>(weight)), column_matrix(images),
                 output_matrix(y + n * y_step.n, y_step), bias, false, stream);
        }
    }
    void grad_x(const T* grad_y, Strides y_step, const T* weight, T* grad_x, Strides x_step) {
        Matrix<T> turned = weight_matrix(const_cast<T*>(weight));
        turned.column_step = turned.row_step;
        turned.row_step = 1;
        for (int n = 0; n < a.n; n += images_at_once) {
            int images = a.n - n < images_at_once ? a.n - n : images_at_once;
            gemm({group_rows(), images * pixels_of(a), filters(), a.groups}, turned,
                 output_matrix(const_cast<T*>(grad_y) + n * y_step.n, y_step),
                 column_matrix(images), static_cast<const T*>(nullptr), false, stream);
            col2im(grad_x + n * x_step.n, x_step, images);
        }
    }
    void grad_weight(const T* x, Strides x_step, const T* grad_y, Strides y_step, T* grad_weight) {
        for (int n = 0; n < a.n; n += images_at_once) {
            int images = a.n - n < images_at_once ? a.n - n : images_at_once;
            im2col(x + n * x_step.n, x_step, images);
            Matrix<T> turned = column_matrix(images);
            turned.column_step = turned.row_step;
            turned.row_step = 1;
            gemm({filters(), group_rows(), images * pixels_of(a), a.groups},
                 output_matrix(const_cast<T*>(grad_y) + n * y_step.n, y_step), turned,
                 weight_matrix(grad_weight), static_cast<const T*>(nullptr), n > 0, stream);
        }
    }
};

// Rows of y must follow each other at equal steps, so that (p, q) is one index.
bool flat(const ConvShape& a, Strides y) {
    return a.p == 1 || y.h == y.w * a.q;
}

template <class T>
int run(const YoloConv& call, YoloPass pass, Stream stream) {
    const ConvShape& a = call.shape;
    int64_t image_bytes = rows_of(a) * pixels_of(a) * int64_t(sizeof(T));
    int64_t fit = call.workspace_bytes / image_bytes;
    if (fit < 1 && a.n > 0) return YOLO_WORKSPACE_TOO_SMALL;
    Pass<T> p = {a, static_cast<T*>(call.workspace), int(fit < a.n ? fit : a.n), stream};
    auto* x = static_cast<T*>(call.x);
    auto* y = static_cast<T*>(call.y);
    auto* weight = static_cast<T*>(call.weight);
    if (pass == YOLO_FORWARD)
        p.forward(x, call.x_strides, weight, static_cast<const T*>(call.bias), y, call.y_strides);
    else if (pass == YOLO_GRAD_X)
        p.grad_x(y, call.y_strides, weight, x, call.x_strides);
    else
        p.grad_weight(x, call.x_strides, y, call.y_strides, weight);
    return launch_status();
}

}  // namespace

int64_t yolo_cuda_conv_im2col_workspace(const ConvShape* shape, YoloType type) {
    int64_t size = type == YOLO_FLOAT64 ? 8 : 4;
    int64_t image = rows_of(*shape) * pixels_of(*shape) * size;
    int64_t images = WORKSPACE_TARGET / image;
    // one GEMM indexes its columns with 32 bits
    int64_t most = ((int64_t(1) << 31) - 1) / pixels_of(*shape);
    if (images > most) images = most;
    if (images > shape->n) images = shape->n;
    return image * (images < 1 ? 1 : images);
}

int yolo_cuda_conv_im2col(const YoloConv* call, YoloPass pass, void* stream) {
    if (!consistent(call->shape) || !flat(call->shape, call->y_strides)) return YOLO_BAD_SHAPE;
    if (call->shape.groups > 65535 || call->shape.k > 65535 * TILE_ROWS) return YOLO_BAD_SHAPE;
    if (call->type == YOLO_FLOAT32) return run<float>(*call, pass, static_cast<Stream>(stream));
    if (call->type == YOLO_FLOAT64) return run<double>(*call, pass, static_cast<Stream>(stream));
    return YOLO_BAD_TYPE;
}
