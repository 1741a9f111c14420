// The project's own thread pool.  PyTorch brings an OpenMP runtime; a second one would
// oversubscribe.
#pragma once

#include <cstdint>
#include <type_traits>

namespace yolo::cpu {

using Task = void (*)(void* context, int64_t task, int worker);

// Calls run(context, task, worker) for every task in [0, count) on at most `threads` threads, the
// caller among them, and returns when all are done.  worker is in [0, threads).  Each
// worker begins with a run of neighbouring tasks of its own; who is done early takes from the
// others', so results must not depend on who computes what. From inside a task, or while another
// thread uses the pool, the caller does all tasks itself.
void run_tasks(int threads, int64_t count, Task run, void* context);

// body(task, worker) for every task.
template <typename Body>
void parallel(int threads, int64_t count, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run_tasks(
        threads, count,
        [](void* context, int64_t task, int worker) {
            (*static_cast<Plain*>(context))(task, worker);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
}

// Threads that the pool has started so far (0 in a freshly forked child).
int pool_size();

}  // namespace yolo::cpu
