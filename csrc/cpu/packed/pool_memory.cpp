#include "pool_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <new>

#include "../threads.h"

namespace yolo::packed {
namespace {

constexpr size_t HUGE = size_t{2} << 20, MOST = size_t{1} << 40, LEAST = size_t{1} << 30;

size_t rounded(size_t bytes, size_t unit) {
    return (bytes + unit - 1) / unit * unit;
}

}  // namespace

// Addresses alone cost nothing; where they are limited, it takes as many as it gets.
MemoryPool::MemoryPool() {
    void* found = MAP_FAILED;
    for (size_ = MOST; size_ >= LEAST; size_ /= 2) {
        found = mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (found != MAP_FAILED) break;
    }
    if (found == MAP_FAILED) throw std::bad_alloc();
    const size_t lost = rounded(uintptr_t(found), HUGE) - uintptr_t(found);
    base_ = static_cast<char*>(found) + lost;
    size_ = (size_ - lost) / HUGE * HUGE;
}

float* MemoryPool::take(long floats) {
    std::lock_guard lock(mutex_);
    const size_t bytes = rounded(std::max(floats, 1L) * sizeof(float), PIECE), before = gap(bytes);
    const size_t begin = before ? used_[before - 1].second : 0;
    grow(begin + bytes);
    used_.insert(used_.begin() + long(before), {begin, begin + bytes});
    return reinterpret_cast<float*>(base_ + begin);
}

void MemoryPool::give(float* data) {
    std::lock_guard lock(mutex_);
    const size_t begin = size_t(reinterpret_cast<char*>(data) - base_);
    used_.erase(std::lower_bound(used_.begin(), used_.end(), std::pair(begin, size_t{0})));
}

size_t MemoryPool::gap(size_t bytes) const {
    size_t free = 0, before = 0;
    for (; before < used_.size() && used_[before].first - free < bytes; ++before)
        free = used_[before].second;
    return before;
}

void MemoryPool::grow(size_t end) {
    if (end <= usable_) return;
    end = rounded(end, HUGE);
    if (end > size_ || mprotect(base_ + usable_, end - usable_, PROT_READ | PROT_WRITE))
        throw std::bad_alloc();
#ifdef __linux__
    madvise(base_ + usable_, end - usable_, MADV_HUGEPAGE);
#endif
    usable_ = end;
}

void clear(float* data, long floats, int threads) {
    constexpr long RUN = 1 << 16;
    cpu::parallel(threads, (floats + RUN - 1) / RUN, [=](int64_t run, int) {
        std::fill(data + run * RUN, data + std::min(floats, (run + 1) * RUN), 0.f);
    });
}

// Never destroyed: tensors may outlive every static object.
MemoryPool& MemoryPool::instance() {
    static MemoryPool* pool = new MemoryPool;
    return *pool;
}

}  // namespace yolo::packed
