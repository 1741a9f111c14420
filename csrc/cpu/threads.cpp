#include "threads.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#ifndef _WIN32
#include <pthread.h>
#endif

namespace yolo::cpu {
namespace {

// A worker that has just finished expects the next layer's work within this time. What Python does
// between two layers is shorter, and a wake-up from sleep takes 100 us and more on virtual
// machines.
constexpr std::chrono::microseconds SPIN{500};
constexpr int64_t CLOSED = int64_t{1} << 32;

thread_local bool inside_task = false;

void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Polls for SPIN; true as soon as ready() holds.
template <typename Ready>
bool spin(Ready ready) {
    const auto end = std::chrono::steady_clock::now() + SPIN;
    do {
        for (int i = 0; i < 64; ++i) {
            if (ready()) return true;
            pause();
        }
    } while (std::chrono::steady_clock::now() < end);
    return false;
}

// Neighbouring tasks, a cache line for each run.
struct alignas(64) Run {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
};

class Pool {
 public:
    // False when another thread is using the pool.
    bool run(int threads, int64_t count, Task task, void* context) {
        std::unique_lock region(region_, std::try_to_lock);
        if (!region) return false;
        grow(threads - 1);
        open(threads, count, task, context);
        work(0);
        close();
        return true;
    }

    int size() const { return started_.load(); }

 private:
    void grow(int wanted) {
        for (int i = started_.load(); i < wanted; ++i) {
            std::thread(&Pool::live, this, i + 1, epoch_.load()).detach();
            started_.store(i + 1);
        }
    }

    void open(int threads, int64_t count, Task task, void* context) {
        width_ = threads, task_ = task, context_ = context;
        if (int(runs_.size()) < threads) runs_ = std::vector<Run>(threads);
        for (int64_t i = 0; i < threads; ++i) {
            runs_[i].next.store(count * i / threads);
            runs_[i].end = count * (i + 1) / threads;
        }
        gate_.store(0);
        epoch_.fetch_add(1);
        if (sleepers_.load() > 0) {
            {
                std::lock_guard wait_until_asleep(sleep_);
            }
            wake_.notify_all();
        }
    }

    // No worker may enter any more; those inside are waited for, those still asleep are not.
    void close() {
        gate_.fetch_or(CLOSED);
        while (!spin([this] { return gate_.load() == CLOSED; })) std::this_thread::yield();
    }

    bool enter() {
        int64_t gate = gate_.load();
        while (!(gate & CLOSED)) {
            if (gate_.compare_exchange_weak(gate, gate + 1)) return true;
        }
        return false;
    }

    // One's own run of tasks first, then what the others have left of theirs.
    void work(int worker) {
        inside_task = true;
        for (int i = 0; i < width_; ++i) {
            Run& run = runs_[(worker + i) % width_];
            for (int64_t task; (task = run.next.fetch_add(1)) < run.end;)
                task_(context_, task, worker);
        }
        inside_task = false;
    }

    // A late worker may enter the region after the one that woke it: every field it reads was
    // written before that region's gate opened.
    void live(int worker, uint64_t seen) {
        for (;;) {
            auto called = [&] { return epoch_.load() != seen; };
            if (!spin(called)) {
                std::unique_lock lock(sleep_);
                sleepers_.fetch_add(1);
                wake_.wait(lock, called);
                sleepers_.fetch_sub(1);
            }
            seen = epoch_.load();
            if (!enter()) continue;
            if (worker < width_) work(worker);
            gate_.fetch_sub(1);
        }
    }

    std::mutex region_, sleep_;
    std::condition_variable wake_;
    std::atomic<int> started_{0}, sleepers_{0};
    std::atomic<uint64_t> epoch_{0};
    std::atomic<int64_t> gate_{CLOSED};  // workers inside, plus CLOSED
    std::vector<Run> runs_;              // one for each worker
    int width_ = 0;
    Task task_ = nullptr;
    void* context_ = nullptr;
};

// Never destroyed: its threads sleep until the process ends.  A forked child has none of them and
// starts with a new pool.
std::atomic<Pool*> pool{nullptr};

Pool& the_pool() {
    static std::once_flag once;
    std::call_once(once, [] {
        pool.store(new Pool);
#ifndef _WIN32
        pthread_atfork(nullptr, nullptr, [] { pool.store(new Pool); });
#endif
    });
    return *pool.load();
}

void run_alone(int64_t count, Task run, void* context) {
    for (int64_t task = 0; task < count; ++task) run(context, task, 0);
}

}  // namespace

void run_tasks(int threads, int64_t count, Task run, void* context) {
    if (threads > count) threads = static_cast<int>(count);
    if (threads <= 1 || inside_task) return run_alone(count, run, context);
    if (!the_pool().run(threads, count, run, context)) run_alone(count, run, context);
}

int pool_size() {
    return the_pool().size();
}

}  // namespace yolo::cpu
