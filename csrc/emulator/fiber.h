// A fiber: a stack and the place where its code stopped. One fiber runs one CUDA thread.
// Switching costs some 20 ns (x86-64, aarch64); elsewhere ucontext does the same more slowly.
// Sanitizers are told of every switch, so that a race between two CUDA threads is reported.
#pragma once
#include <cstddef>
#include <cstdint>

#if !defined(__x86_64__) && !defined(__aarch64__)
#define YOLO_FIBER_UCONTEXT
#include <ucontext.h>
#endif

namespace emulator {

class Fiber {
 public:
    Fiber();
    ~Fiber();
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    // Arms the fiber: the next resume() enters `entry` on a fresh stack.
    void start(void (*entry)());
    // Called from the scheduler: runs the fiber until it calls pause() or finish().
    void resume();
    // Called on the fiber: goes back to the scheduler.
    void pause();
    [[noreturn]] void finish();
    // First statement of `entry`, and the last one before finish().
    void entered();
    void leaving();
    bool overflowed() const;

 private:
    char* stack_;
    void* sanitizer_ = nullptr;
    void* fake_stack_ = nullptr;
#ifdef YOLO_FIBER_UCONTEXT
    ucontext_t here_;
#else
    void* here_ = nullptr;
#endif
};

// Happens-before edges for the thread sanitizer: all that was done before release(token) is
// visible after acquire(token). Nothing without the sanitizer.
void release(void* token);
void acquire(void* token);
// Memory touched on behalf of a CUDA thread by code that the sanitizer does not see.
void reads(const void* address, size_t bytes);
void writes(void* address, size_t bytes);

}  // namespace emulator
