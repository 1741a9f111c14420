#include "pool_memory.h"

namespace yolo::packed {

Memory MemoryPool::take(long floats) {
    std::lock_guard lock(mutex_);
    auto best = free_.end();
    for (auto it = free_.begin(); it != free_.end(); ++it) {
        const bool fits = it->floats() >= floats && it->floats() <= floats + floats / 4;
        if (fits && (best == free_.end() || it->floats() < best->floats())) best = it;
    }
    if (best != free_.end()) {
        Memory found = std::move(*best);
        free_.erase(best);
        return found;
    }
    for (long gone = 0; gone < floats && !free_.empty();) {
        gone += free_.front().floats();
        free_.pop_front();
    }
    return Memory(floats, Memory::Uninitialised{});
}

void MemoryPool::give(Memory memory) {
    std::lock_guard lock(mutex_);
    free_.push_back(std::move(memory));
}

// Never destroyed: tensors may outlive every static object.
MemoryPool& MemoryPool::instance() {
    static MemoryPool* pool = new MemoryPool;
    return *pool;
}

}  // namespace yolo::packed
