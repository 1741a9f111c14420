// From the raw maps of [yolo] heads to boxes that survived suppression, three launches for a batch.
//
//     collect    cells whose objectness is above the threshold, in Darknet's order: head by head,
//                row by row, cell by cell, anchor by anchor. One block an image, so that the order
//                needs no sorting and no atomics
//     entries    of each such cell the box, relative to the image, and objectness * class score
//                where that is above the threshold, else 0. One warp a cell
//     suppress   Darknet's per-class suppression. One block a class and image: members are ranked
//                by counting, then each one standing fells the later ones that are too similar
//
// Thresholds and the places of the images are read from memory of the device, so that a recorded
// CUDA graph serves them all.
#include "activation.cuh"
#include "cuda_api.h"
#include "pixels.cuh"

namespace {

constexpr int COLLECTORS = 1024, WARPS = 8, SUPPRESSORS = 256;
constexpr int MOST = YOLO_DETECT_MOST;

struct Cell {
    int grid, pixel, anchor;
};

__device__ __forceinline__ Cell cell_at(const YoloDetect& t, int number) {
    int grid = 0, size = 0;
    for (; grid < t.grid_count; ++grid, number -= size) {
        size = t.grids[grid].h * t.grids[grid].w * t.grids[grid].anchors;
        if (number < size) break;
    }
    if (grid == t.grid_count) return {-1, 0, 0};
    int anchors = t.grids[grid].anchors;
    return {grid, number / anchors, number % anchors};
}

// The values of one box: x, y, w, h, objectness, classes.
template <class T>
__device__ __forceinline__ const T* entry_of(const YoloDetect& t, Cell at, int image) {
    const YoloGrid& grid = t.grids[at.grid];
    int64_t pixel = int64_t(image) * grid.h * grid.w + at.pixel;
    return row_of<T>(grid.x, pixel) + at.anchor * (5 + t.classes);
}

template <class T>
__device__ __forceinline__ float value_at(const T* entry, bool activated) {
    float v = widen(load(entry));
    return activated ? v : sigmoid(v);
}

// How many threads before this one in the block vote yes; `total` of the whole block.
__device__ __forceinline__ int votes_before(bool vote, int (&sums)[32], int& total) {
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, votes = __ballot_sync(~0u, vote);
    if (lane == 0) store_shared(&sums[warp], popcount(votes));
    __syncthreads();
    int before = popcount(votes & ((1u << lane) - 1));
    total = 0;
    for (unsigned i = 0; i < blockDim.x / 32; ++i) {
        int sum = load_shared(&sums[i]);
        if (i < warp) before += sum;
        total += sum;
    }
    __syncthreads();  // sums are free again
    return before;
}

template <class T>
__global__ void __launch_bounds__(COLLECTORS) collect_kernel(YoloDetect t, int cells) {
    SHARED(int, sums, [32]);
    int image = int(blockIdx.x), count = 0;
    float thresh = load(t.settings);
    for (int first = 0; first < cells; first += COLLECTORS) {
        int number = first + int(threadIdx.x), total;
        Cell at = cell_at(t, number);
        bool use = false;
        if (at.grid >= 0)
            use = value_at(entry_of<T>(t, at, image) + 4, t.grids[at.grid].activated) > thresh;
        int place = count + votes_before(use, sums, total);
        if (use && place < t.capacity) store(t.cells + image * t.capacity + place, number);
        count += total;
    }
    if (threadIdx.x == 0) store(t.counts + image, count);
}

// settings: thresh, nms, then of each image the input's width and height, left, top, and width and
// height of the image on the input, and the input's sizes over those.
constexpr int PLACE = 8;

template <class T>
__device__ __forceinline__ float4 box_of(const YoloDetect& t, Cell at, const T* entry, int image) {
    const YoloGrid& grid = t.grids[at.grid];
    float x = value_at(entry, grid.activated), y = value_at(entry + 1, grid.activated);
    float w = widen(load(entry + 2)), h = widen(load(entry + 3));
    float shift = (grid.scale_x_y - 1.f) / 2.f;
    x = (grid.scale_x_y * x - shift + float(at.pixel % grid.w)) / float(grid.w);
    y = (grid.scale_x_y * y - shift + float(at.pixel / grid.w)) / float(grid.h);
    w = (grid.activated ? 4.f * (w * w) : exp(w)) * grid.widths[at.anchor];
    h = (grid.activated ? 4.f * (h * h) : exp(h)) * grid.heights[at.anchor];
    const float* place = t.settings + 2 + image * PLACE;
    float4 box;
    box.x = (x * load(place) - load(place + 2)) / load(place + 4);
    box.y = (y * load(place + 1) - load(place + 3)) / load(place + 5);
    box.z = w * load(place + 6);
    box.w = h * load(place + 7);
    return box;
}

__device__ __forceinline__ bool finite(float4 b) {
    float sum = b.x * 0.f + b.y * 0.f + b.z * 0.f + b.w * 0.f;
    return sum == 0.f;
}

template <class T>
__global__ void __launch_bounds__(32 * WARPS) entries_kernel(YoloDetect t) {
    int image = int(blockIdx.y), found = load(t.counts + image);
    int i = int(blockIdx.x) * WARPS + int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
    if (i >= (found < t.capacity ? found : t.capacity)) return;
    int64_t row = int64_t(image) * t.capacity + i;
    Cell at = cell_at(t, load(t.cells + row));
    const T* entry = entry_of<T>(t, at, image);
    bool activated = t.grids[at.grid].activated;
    float4 box = box_of(t, at, entry, image);
    float thresh = load(t.settings), objectness = value_at(entry + 4, activated);
    bool whole = finite(box);
    for (int c = lane; c < t.classes; c += 32) {
        float prob = objectness * value_at(entry + 5 + c, activated);
        store(t.probs + row * t.classes + c, whole && prob > thresh ? prob : 0.f);
    }
    if (lane == 0) store(reinterpret_cast<float4*>(t.boxes) + row, box);
}

__device__ __forceinline__ float overlap(float a, float b, float size_a, float size_b) {
    float right = fminf(a + size_a / 2.f, b + size_b / 2.f);
    float left = fmaxf(a - size_a / 2.f, b - size_b / 2.f);
    return right > left ? right - left : 0.f;
}

__device__ __forceinline__ float hull(float a, float b, float size_a, float size_b) {
    return fmaxf(a + size_a / 2.f, b + size_b / 2.f) - fminf(a - size_a / 2.f, b - size_b / 2.f);
}

// IoU, less the distance of the centres over the hull's diagonal (both squared) to the power of
// beta where beta is not negative: Darknet's DIoU.
__device__ __forceinline__ float similarity(float4 a, float4 b, float beta) {
    float shared = overlap(a.x, b.x, a.z, b.z) * overlap(a.y, b.y, a.w, b.w);
    float all = a.z * a.w + b.z * b.w - shared;
    float iou = shared / (all == 0.f ? 1.f : all);
    if (beta < 0.f) return iou;
    float width = hull(a.x, b.x, a.z, b.z), height = hull(a.y, b.y, a.w, b.w);
    float diagonal = width * width + height * height;
    float dx = a.x - b.x, dy = a.y - b.y, distance = dx * dx + dy * dy;
    return iou - powf(distance / (diagonal == 0.f ? 1.f : diagonal), beta);
}

// Whether box i comes before box j in Darknet's array when it is the turn of class c: it sorts the
// same array class by class, so that ties fall to the class before, and last to the first order.
__device__ __forceinline__ bool before(const float* probs, int classes, int c, int i, int j) {
    const float *a = probs + int64_t(i) * classes, *b = probs + int64_t(j) * classes;
    for (; c >= 0; --c) {
        float p = load(a + c), q = load(b + c);
        if (p != q) return p > q;
    }
    return i < j;
}

__global__ void __launch_bounds__(SUPPRESSORS) suppress_kernel(YoloDetect t) {
    SHARED(int, sums, [32]);
    SHARED(int, members, [MOST]);
    SHARED(int, sorted, [MOST]);
    SHARED(unsigned char, standing, [MOST]);
    int c = int(blockIdx.x), image = int(blockIdx.y), found = load(t.counts + image), count = 0;
    if (found > t.capacity) found = t.capacity;
    int64_t row = int64_t(image) * t.capacity;
    const float* probs = t.probs + row * t.classes;
    for (int first = 0; first < found; first += SUPPRESSORS) {
        int i = first + int(threadIdx.x), total;
        bool member = i < found && load(probs + int64_t(i) * t.classes + c) > 0.f;
        int place = count + votes_before(member, sums, total);
        if (member) store_shared(&members[place], i);
        if (i < found) store(t.kept + (row + i) * t.classes + c, (unsigned char)(member));
        count += total;
    }
    __syncthreads();
    for (int m = int(threadIdx.x); m < count; m += SUPPRESSORS) {
        int i = load_shared(&members[m]), rank = 0;
        for (int other = 0; other < count; ++other) {
            int j = load_shared(&members[other]);
            rank += j != i && before(probs, t.classes, c, j, i);
        }
        store_shared(&sorted[rank], i);
        store_shared(&standing[m], (unsigned char)(1));
    }
    __syncthreads();
    const float4* boxes = reinterpret_cast<const float4*>(t.boxes) + row;
    float limit = load(t.settings + 1);
    for (int r = 0; r < count; ++r) {
        if (load_shared(&standing[r]) == 0) continue;  // the same for all threads
        float4 box = load(boxes + load_shared(&sorted[r]));
        for (int s = r + 1 + int(threadIdx.x); s < count; s += SUPPRESSORS) {
            if (load_shared(&standing[s]) == 0) continue;
            int i = load_shared(&sorted[s]);
            if (!(similarity(box, load(boxes + i), t.beta) > limit)) continue;
            store_shared(&standing[s], (unsigned char)(0));
            store(t.kept + (row + i) * t.classes + c, (unsigned char)(0));
        }
        __syncthreads();
    }
}

bool taken(const YoloDetect& t) {
    if (t.images < 0 || t.images > 65535 || t.classes < 1 || t.classes > 65535) return false;
    if (t.grid_count < 1 || t.grid_count > YOLO_DETECT_GRIDS) return false;
    if (t.capacity < 1 || t.capacity > MOST) return false;
    for (int g = 0; g < t.grid_count; ++g)
        if (t.grids[g].anchors < 1 || t.grids[g].anchors > YOLO_DETECT_ANCHORS) return false;
    return true;
}

}  // namespace

int yolo_cuda_detect(const YoloDetect* call, void* stream_) {
    YoloDetect t = *call;
    if (!taken(t)) return YOLO_BAD_SHAPE;
    if (t.type == YOLO_FLOAT64) return YOLO_BAD_TYPE;
    if (reinterpret_cast<uintptr_t>(t.boxes) % 16 != 0) return YOLO_NOT_ALIGNED;
    if (t.images == 0) return YOLO_OK;
    auto stream = static_cast<Stream>(stream_);
    int cells = 0;
    for (int g = 0; g < t.grid_count; ++g)
        cells += t.grids[g].h * t.grids[g].w * t.grids[g].anchors;
    unsigned images = unsigned(t.images);
    int status = with_type(t.type, [=](auto zero) {
        using T = decltype(zero);
        if constexpr (sizeof(T) != sizeof(double)) {
            LAUNCH(collect_kernel<T>, dim3(images), dim3(COLLECTORS), 0, stream, t, cells);
            LAUNCH(entries_kernel<T>, dim3(blocks_for(t.capacity, WARPS), images), dim3(32 * WARPS),
                   0, stream, t);
        }
        return YOLO_OK;
    });
    if (status != YOLO_OK) return status;
    LAUNCH(suppress_kernel, dim3(unsigned(t.classes), images), dim3(SUPPRESSORS), 0, stream, t);
    return launch_status();
}
