// out (rows x columns) [+]= left (rows x depth) * right (depth x columns), the classic tiled loop:
// a tile of both operands in shared memory, a small tile of the result in every thread's registers.
//
//     tile       rows 64   columns 64   depth 16     256 threads, 4 x 4 results each
//     left       kept as [depth][rows]: a step of the loop reads 4 neighbouring rows
#pragma once
#include "instructions.cuh"

// Element (row, column); a column stands for (image, pixel) where the matrix lies in a batch.
template <class T>
struct Matrix {
    T* data;
    int64_t row_step, column_step;  // in elements
    int64_t group_step;             // from one matrix of the batch (gridDim.z) to the next
    int pixels;                     // columns per image
    int64_t image_step;

    __device__ T* at(int64_t row, int column) const {
        int image = pixels == NO_IMAGES ? 0 : column / pixels;
        return data + row * row_step + image * image_step +
               int64_t(column - image * pixels) * column_step;
    }
    static constexpr int NO_IMAGES = 0;
};

template <class T>
Matrix<T> matrix(T* data, int64_t row_step, int64_t column_step, int64_t group_step) {
    return {data, row_step, column_step, group_step, Matrix<T>::NO_IMAGES, 0};
}

struct GemmSize {
    int rows, columns, depth, groups;
};

constexpr int TILE_ROWS = 64, TILE_COLUMNS = 64, TILE_DEPTH = 16;
constexpr int THREAD_ROWS = 4, THREAD_COLUMNS = 4;
constexpr int GEMM_THREADS = (TILE_ROWS / THREAD_ROWS) * (TILE_COLUMNS / THREAD_COLUMNS);
constexpr int ROW_PITCH = TILE_ROWS + 4;  // keeps rows aligned for vectors, shifts their banks

// Fills target[depth][lines] from a matrix whose lines are its rows (LINES_ARE_ROWS) or columns;
// neighbouring threads walk along the dimension that is contiguous in memory.
template <bool LINES_ARE_ROWS, class T>
__device__ void load_tile(T (*target)[ROW_PITCH], const Matrix<T>& from, int line0, int depth0,
                          int lines, int depth) {
    int64_t line_step = LINES_ARE_ROWS ? from.row_step : from.column_step;
    for (int i = int(threadIdx.x); i < TILE_ROWS * TILE_DEPTH; i += GEMM_THREADS) {
        int line = line_step == 1 ? i % TILE_ROWS : i / TILE_DEPTH;
        int d = line_step == 1 ? i / TILE_ROWS : i % TILE_DEPTH;
        T value = T(0);
        if (line0 + line < lines && depth0 + d < depth)
            value = LINES_ARE_ROWS ? load(from.at(line0 + line, depth0 + d))
                                   : load(from.at(depth0 + d, line0 + line));
        target[d][line] = value;
    }
}

template <class T>
__global__ void __launch_bounds__(GEMM_THREADS)
    gemm_kernel(GemmSize size, Matrix<T> left, Matrix<T> right, Matrix<T> out, const T* bias,
                bool accumulate) {
    static_assert(TILE_ROWS == TILE_COLUMNS, "load_tile serves both operands");
    SHARED(T, left_tile, [TILE_DEPTH][ROW_PITCH]);
    SHARED(T, right_tile, [TILE_DEPTH][ROW_PITCH]);
    int row0 = int(blockIdx.y) * TILE_ROWS, column0 = int(blockIdx.x) * TILE_COLUMNS;
    int my_row = int(threadIdx.x) / (TILE_COLUMNS / THREAD_COLUMNS) * THREAD_ROWS;
    int my_column = int(threadIdx.x) % (TILE_COLUMNS / THREAD_COLUMNS) * THREAD_COLUMNS;
    left.data += blockIdx.z * left.group_step;
    right.data += blockIdx.z * right.group_step;
    out.data += blockIdx.z * out.group_step;
    T sum[THREAD_ROWS][THREAD_COLUMNS] = {};
    for (int depth0 = 0; depth0 < size.depth; depth0 += TILE_DEPTH) {
        load_tile<true>(left_tile, left, row0, depth0, size.rows, size.depth);
        load_tile<false>(right_tile, right, column0, depth0, size.columns, size.depth);
        __syncthreads();
        UNROLL for (int d = 0; d < TILE_DEPTH; ++d) {
            UNROLL for (int i = 0; i < THREAD_ROWS; ++i) {
                UNROLL for (int j = 0; j < THREAD_COLUMNS; ++j) {
                    sum[i][j] += left_tile[d][my_row + i] * right_tile[d][my_column + j];
                }
            }
        }
        __syncthreads();
    }
    UNROLL for (int i = 0; i < THREAD_ROWS; ++i) {
        UNROLL for (int j = 0; j < THREAD_COLUMNS; ++j) {
            int row = row0 + my_row + i, column = column0 + my_column + j;
            if (row >= size.rows || column >= size.columns) continue;
            T* target = out.at(row, column);
            T start = accumulate ? *target : bias ? bias[blockIdx.z * size.rows + row] : T(0);
            store(target, start + sum[i][j]);
        }
    }
}

template <class T>
void gemm(GemmSize size, Matrix<T> left, Matrix<T> right, Matrix<T> out, const T* bias,
          bool accumulate, Stream stream) {
    if (size.rows <= 0 || size.columns <= 0) return;
    dim3 grid(blocks_for(size.columns, TILE_COLUMNS), blocks_for(size.rows, TILE_ROWS),
              unsigned(size.groups));
    auto kernel = gemm_kernel<T>;
    LAUNCH(kernel, grid, dim3(GEMM_THREADS), 0, stream, size, left, right, out, bias, accumulate);
}
