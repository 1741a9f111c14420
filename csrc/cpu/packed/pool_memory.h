// Memory for the activations of a training step, kept from step to step: a fresh page costs the
// kernel as much time as a kernel needs to fill it, and large pieces come in huge pages.
#pragma once

#include <cstddef>
#include <list>
#include <mutex>

#include "memory.h"

namespace yolo::packed {

class MemoryPool {
 public:
    // At least `floats` floats, uninitialised. Free pieces that fit are taken first; otherwise
    // those that have been free longest go back to the system, as much as is now asked of it.
    Memory take(long floats);
    void give(Memory memory);

    static MemoryPool& instance();

 private:
    std::mutex mutex_;
    std::list<Memory> free_;  // longest free first
};

// A piece of the pool; goes back to it in the end.
class Lease {
 public:
    explicit Lease(long floats) : memory_(MemoryPool::instance().take(floats)), floats_(floats) {}
    Lease(const Lease&) = delete;
    ~Lease() { MemoryPool::instance().give(std::move(memory_)); }
    float* data() const { return memory_.data(); }
    long floats() const { return floats_; }

 private:
    Memory memory_;
    long floats_;
};

}  // namespace yolo::packed
