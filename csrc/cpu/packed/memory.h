// Aligned memory for weights and activations, zeroed unless told otherwise; large pieces ask for
// huge pages, because a forward streams through more 4 KB pages than the processor keeps
// translations for.
#pragma once

#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace yolo::packed {

class Memory {
 public:
    Memory() = default;
    struct Uninitialised {};
    explicit Memory(long floats) : Memory(floats, Uninitialised{}) {
        if (floats > 0) std::memset(data_, 0, size_t(floats) * sizeof(float));
    }
    Memory(long floats, Uninitialised) : floats_(floats) {
        if (floats <= 0) return;
        constexpr size_t HUGE = size_t{2} << 20;
        size_t bytes = size_t(floats) * sizeof(float), align = bytes >= HUGE ? HUGE : 64;
        bytes = (bytes + align - 1) / align * align;
        data_ = static_cast<float*>(std::aligned_alloc(align, bytes));
        if (!data_) throw std::bad_alloc();
#ifdef __linux__
        if (align == HUGE) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
    }
    Memory(Memory&& other) noexcept { swap(other); }
    Memory& operator=(Memory&& other) noexcept {
        swap(other);
        return *this;
    }
    ~Memory() { std::free(data_); }

    float* data() const { return data_; }
    long floats() const { return floats_; }

 private:
    void swap(Memory& other) {
        std::swap(data_, other.data_);
        std::swap(floats_, other.floats_);
    }
    float* data_ = nullptr;
    long floats_ = 0;
};

}  // namespace yolo::packed
