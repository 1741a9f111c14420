// This file is compiled without the thread sanitizer: only kernels are instrumented.
#include "fiber.h"

#include <cstdlib>
#include <cstring>
#include <new>

#ifdef EMULATOR_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifdef EMULATOR_TSAN
extern "C" {
void* __tsan_create_fiber(unsigned);
void __tsan_destroy_fiber(void*);
void __tsan_switch_to_fiber(void*, unsigned);
void* __tsan_get_current_fiber();
void __tsan_acquire(void*);
void __tsan_release(void*);
void __tsan_read_range(void*, unsigned long);
void __tsan_write_range(void*, unsigned long);
}
#endif

namespace emulator {
namespace {

#if defined(EMULATOR_ASAN) || defined(EMULATOR_TSAN)
constexpr size_t STACK_BYTES = 256 << 10;
#else
constexpr size_t STACK_BYTES = 64 << 10;
#endif
constexpr uint64_t CANARY = 0x5afe57ac5afe57acULL;  // at the far end of every stack

#ifdef YOLO_FIBER_UCONTEXT
ucontext_t scheduler;
#else
void* scheduler = nullptr;
#endif
#ifdef EMULATOR_ASAN
const void* scheduler_stack = nullptr;
size_t scheduler_bytes = 0;
#endif
#ifdef EMULATOR_TSAN
void* scheduler_sanitizer = nullptr;
char started, ended;  // tokens: the scheduler before the block, the block before the scheduler
#endif

}  // namespace

// emulator_switch(save, load): pushes the callee-saved registers, stores the stack pointer in
// *save, and goes on where `load` was stored.
#if defined(__x86_64__)
extern "C" void emulator_switch(void** save, void* load);
asm(R"(.text
.globl emulator_switch
.hidden emulator_switch
.type emulator_switch,@function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp,(%rdi)
    movq %rsi,%rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulator_switch,.-emulator_switch)");
constexpr size_t SAVED_WORDS = 6;

static void* first_frame(char* top, void (*entry)()) {
    void** sp = reinterpret_cast<void**>(top);
    *--sp = nullptr;  // the return address that `entry` must never use; keeps the stack aligned
    *--sp = reinterpret_cast<void*>(entry);
    sp -= SAVED_WORDS;
    std::memset(sp, 0, SAVED_WORDS * sizeof(void*));
    return sp;
}
#elif defined(__aarch64__)
extern "C" void emulator_switch(void** save, void* load);
asm(R"(.text
.globl emulator_switch
.hidden emulator_switch
.type emulator_switch,%function
emulator_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size emulator_switch,.-emulator_switch)");

static void* first_frame(char* top, void (*entry)()) {
    void** sp = reinterpret_cast<void**>(top) - 20;
    std::memset(sp, 0, 160);
    sp[11] = reinterpret_cast<void*>(entry);  // x30
    return sp;
}
#endif

Fiber::Fiber() : stack_(static_cast<char*>(std::aligned_alloc(64, STACK_BYTES))) {
    if (stack_ == nullptr) throw std::bad_alloc();
}

Fiber::~Fiber() {
#ifdef EMULATOR_TSAN
    if (sanitizer_ != nullptr) __tsan_destroy_fiber(sanitizer_);
#endif
    std::free(stack_);
}

void Fiber::start(void (*entry)()) {
#ifdef EMULATOR_ASAN
    __asan_unpoison_memory_region(stack_, STACK_BYTES);  // a finished fiber unwound no frames
#endif
#ifdef EMULATOR_TSAN
    if (sanitizer_ != nullptr) __tsan_destroy_fiber(sanitizer_);
    sanitizer_ = __tsan_create_fiber(0);
    scheduler_sanitizer = __tsan_get_current_fiber();
    __tsan_release(&started);
#endif
    std::memcpy(stack_, &CANARY, sizeof CANARY);
#ifdef YOLO_FIBER_UCONTEXT
    getcontext(&here_);
    here_.uc_stack.ss_sp = stack_;
    here_.uc_stack.ss_size = STACK_BYTES;
    here_.uc_link = nullptr;
    makecontext(&here_, entry, 0);
#else
    here_ = first_frame(stack_ + STACK_BYTES, entry);
#endif
}

void Fiber::resume() {
#ifdef EMULATOR_ASAN
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, stack_, STACK_BYTES);
#endif
#ifdef EMULATOR_TSAN
    __tsan_switch_to_fiber(sanitizer_, 1);  // 1: no happens-before edge, or races would hide
#endif
#ifdef YOLO_FIBER_UCONTEXT
    swapcontext(&scheduler, &here_);
#else
    emulator_switch(&scheduler, here_);
#endif
#ifdef EMULATOR_ASAN
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

void Fiber::pause() {
#ifdef EMULATOR_ASAN
    __sanitizer_start_switch_fiber(&fake_stack_, scheduler_stack, scheduler_bytes);
#endif
#ifdef EMULATOR_TSAN
    __tsan_switch_to_fiber(scheduler_sanitizer, 1);
#endif
#ifdef YOLO_FIBER_UCONTEXT
    swapcontext(&here_, &scheduler);
#else
    emulator_switch(&here_, scheduler);
#endif
#ifdef EMULATOR_ASAN
    __sanitizer_finish_switch_fiber(fake_stack_, nullptr, nullptr);
#endif
}

void Fiber::finish() {
#ifdef EMULATOR_ASAN
    __sanitizer_start_switch_fiber(nullptr, scheduler_stack, scheduler_bytes);
#endif
#ifdef EMULATOR_TSAN
    __tsan_switch_to_fiber(scheduler_sanitizer, 1);
#endif
#ifdef YOLO_FIBER_UCONTEXT
    setcontext(&scheduler);
#else
    emulator_switch(&here_, scheduler);
#endif
    std::abort();
}

void Fiber::entered() {
#ifdef EMULATOR_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_bytes);
#endif
#ifdef EMULATOR_TSAN
    __tsan_acquire(&started);
#endif
}

void Fiber::leaving() {
#ifdef EMULATOR_TSAN
    __tsan_release(&ended);
#endif
}

bool Fiber::overflowed() const {
    return std::memcmp(stack_, &CANARY, sizeof CANARY) != 0;
}

#ifdef EMULATOR_TSAN
void release(void* token) {
    __tsan_release(token);
}
void acquire(void* token) {
    __tsan_acquire(token);
}
void reads(const void* address, size_t bytes) {
    if (bytes != 0) __tsan_read_range(const_cast<void*>(address), bytes);
}
void writes(void* address, size_t bytes) {
    if (bytes != 0) __tsan_write_range(address, bytes);
}
void scheduler_sees_the_block() {
    __tsan_acquire(&ended);
}
#else
void release(void*) {}
void acquire(void*) {}
void reads(const void*, size_t) {}
void writes(void*, size_t) {}
void scheduler_sees_the_block() {}
#endif

}  // namespace emulator
