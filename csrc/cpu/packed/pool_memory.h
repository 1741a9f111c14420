// Memory for the activations of a training step, kept from step to step: a fresh page costs the
// kernel as much time as a kernel needs to fill it.
#pragma once

#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

namespace yolo::packed {

// One range of addresses, from the beginning of which pieces are cut, each where the first gap that
// holds it is. Every step takes and gives the same in the same order, so that after the first one
// no page is new. Pages once used stay with the process.
class MemoryPool {
 public:
    float* take(long floats);  // uninitialised, aligned to PIECE
    void give(float* data);

    static MemoryPool& instance();

 private:
    MemoryPool();
    size_t gap(size_t bytes) const;  // how many pieces lie before the first gap of that size
    void grow(size_t end);

    static constexpr size_t PIECE = size_t{64} << 10;
    char* base_ = nullptr;
    size_t size_ = 0, usable_ = 0;  // reserved addresses, and how many of them are backed
    std::vector<std::pair<size_t, size_t>> used_;  // begin, end of each piece, in order
    std::mutex mutex_;
};

// A piece of the pool; goes back to it in the end.
class Lease {
 public:
    explicit Lease(long floats) : data_(MemoryPool::instance().take(floats)), floats_(floats) {}
    Lease(const Lease&) = delete;
    ~Lease() { MemoryPool::instance().give(data_); }
    float* data() const { return data_; }
    long floats() const { return floats_; }

 private:
    float* data_;
    long floats_;
};

void clear(float* data, long floats, int threads);  // to 0

}  // namespace yolo::packed
