// Runs the blocks of a launch: schedules fibers, keeps barriers, shared memory and copies in
// flight. Compiled without the thread sanitizer.
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "counters.h"
#include "emulator.h"

namespace emulator {

void scheduler_sees_the_block();

Thread* self = nullptr;
Index3 block_index;
dim3 block_size, grid_size;

namespace {

enum class State { ready, at_block_barrier, at_warp, done };
constexpr int NAN_BYTE = 0xff;  // NaN in every floating-point type

struct Copy {
    void* target;
    const void* source;
    size_t bytes, valid;
};

struct Runner : Thread {
    Fiber fiber;
    State state = State::done;
    Site site = {"", 0};       // where it waits
    const char* what = "";     // for what
    void* argument = nullptr;  // of the warp operation it waits in
    int block_token = 0, warp_token = 0;
    size_t next_array = 0;
    std::vector<Copy> open;  // copies issued since the last commit
    std::vector<std::vector<Copy>> groups;
};

struct Warp {
    unsigned living, waiting;
    char tokens[2];
};

struct Array {
    size_t bytes = 0;
    void* data = nullptr;
};

// One machine per process: launches from several threads take turns.
struct Machine {
    std::mutex turn;
    std::vector<std::unique_ptr<Runner>> runners;
    std::vector<Warp> warps;
    std::vector<Array> arrays;
    Array dynamic;
    const std::function<void()>* body = nullptr;
    const char* kernel = "";
    unsigned threads = 0, at_barrier = 0, done = 0;
    char block_tokens[2], array_token;
    std::string error, taken;
    bool failed = false;
    int order = 0;  // of lanes and blocks: 0 forward, 1 reverse, 2 random
    uint64_t random = 1;
    unsigned ends = 0;  // first and last blocks that run; 0: all
};
Machine machine;

Runner& running() {
    return *static_cast<Runner*>(self);
}

void wait(State state, const char* what, Site site) {
    Runner& me = running();
    me.state = state;
    me.what = what;
    me.site = site;
    me.fiber.pause();
}

void enter() {
    Runner& me = running();
    me.fiber.entered();
    (*machine.body)();
    if (!me.open.empty() || !me.groups.empty())
        fail({"", 0}, "thread %u ended with asynchronous copies in flight", me.linear);
    me.fiber.leaving();
    me.state = State::done;
    me.fiber.finish();
}

uint64_t random_below(uint64_t bound) {
    machine.random ^= machine.random << 13;
    machine.random ^= machine.random >> 7;
    machine.random ^= machine.random << 17;
    return machine.random % bound;
}

void arrange(std::vector<unsigned>& order) {
    for (unsigned i = 0; i < order.size(); ++i) order[i] = i;
    if (machine.order == 1)
        for (unsigned i = 0; i < order.size(); ++i) order[i] = unsigned(order.size()) - 1 - i;
    if (machine.order == 2)
        for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_below(i)]);
}

void poison(Array& array, size_t bytes) {
    if (array.bytes != bytes) {
        std::free(array.data);
        size_t rounded = (bytes + 127) / 128 * 128;
        array = {bytes, bytes == 0 ? nullptr : std::aligned_alloc(128, rounded)};
    }
    if (bytes != 0) std::memset(array.data, NAN_BYTE, bytes);
}

void free_arrays() {
    for (Array& array : machine.arrays) std::free(array.data);
    machine.arrays.clear();
}

void prepare_block() {
    machine.threads = block_size.x * block_size.y * block_size.z;
    machine.at_barrier = machine.done = 0;
    free_arrays();
    poison(machine.dynamic, machine.dynamic.bytes);  // before any thread may begin
    while (machine.runners.size() < machine.threads)
        machine.runners.push_back(std::make_unique<Runner>());
    machine.warps.assign((machine.threads + 31) / 32, Warp{0, 0, {}});
    for (unsigned i = 0; i < machine.threads; ++i) {
        Runner& runner = *machine.runners[i];
        unsigned plane = block_size.x * block_size.y;
        runner.index = {i % block_size.x, i / block_size.x % block_size.y, i / plane};
        runner.linear = i;
        runner.state = State::ready;
        runner.block_token = runner.warp_token = 0;
        runner.next_array = 0;
        runner.open.clear();
        runner.groups.clear();
        runner.fiber.start(enter);
        ++machine.warps[i / 32].living;
    }
}

// "threads 0-31 wait in __syncthreads at file:line", one line for each run of equal threads
std::string who_waits_where() {
    std::string text;
    for (unsigned i = 0; i < machine.threads;) {
        const Runner& first = *machine.runners[i];
        unsigned end = i + 1;
        for (; end < machine.threads; ++end) {
            const Runner& next = *machine.runners[end];
            if (next.state != first.state || next.site.line != first.site.line) break;
        }
        char line[300];
        if (first.state == State::done)
            std::snprintf(line, sizeof line, "\n  threads %u-%u have ended", i, end - 1);
        else
            std::snprintf(line, sizeof line, "\n  threads %u-%u wait in %s at %s:%d", i, end - 1,
                          first.what, first.site.file, first.site.line);
        text += line;
        i = end;
    }
    return text;
}

void report(const std::string& message) {
    char place[200];
    std::snprintf(place, sizeof place, "%s, block (%u, %u, %u): ", machine.kernel, block_index.x,
                  block_index.y, block_index.z);
    if (machine.error.empty()) machine.error = place + message;
    machine.failed = true;
}

void open_block_barrier() {
    machine.at_barrier = 0;
    if (counting) ++counters.block_barriers;
    for (unsigned i = 0; i < machine.threads; ++i)
        if (machine.runners[i]->state == State::at_block_barrier)
            machine.runners[i]->state = State::ready;
}

void run_one(Runner& runner) {
    self = &runner;
    runner.fiber.resume();
    if (runner.fiber.overflowed()) report("a thread ran over the end of its stack");
    if (runner.state == State::done) {
        ++machine.done;
        --machine.warps[runner.linear / 32].living;
    }
}

// Returns false when a thread failed or no thread can go on.
bool run_block(std::vector<unsigned>& order) {
    prepare_block();
    while (machine.done < machine.threads && !machine.failed) {
        bool ran = false;
        arrange(order);
        for (unsigned i : order) {
            if (machine.runners[i]->state != State::ready) continue;
            ran = true;
            run_one(*machine.runners[i]);
            if (machine.failed) return false;
        }
        if (machine.at_barrier > 0 && machine.at_barrier + machine.done == machine.threads)
            open_block_barrier();
        else if (!ran)
            report("deadlock" + who_waits_where());
    }
    scheduler_sees_the_block();
    if (counting) count_block();
    return !machine.failed;
}

}  // namespace

void launch(dim3 grid, dim3 block, size_t dynamic_bytes, const char* name,
            const std::function<void()>& body) {
    std::lock_guard<std::mutex> turn(machine.turn);
    if (machine.failed) return;  // as on a GPU: after a failed kernel nothing runs
    machine.kernel = name;
    machine.body = &body;
    grid_size = grid;
    block_size = block;
    unsigned threads = block.x * block.y * block.z;
    if (threads == 0 || threads > 1024 || dynamic_bytes > (227u << 10) || grid.y > 65535 ||
        grid.z > 65535 || grid.x == 0 || grid.y == 0 || grid.z == 0)
        return report("launch outside the limits of a GPU");
    poison(machine.dynamic, dynamic_bytes);
    std::vector<unsigned> order(threads), blocks(size_t(grid.x) * grid.y * grid.z);
    arrange(blocks);
    for (unsigned i : blocks) {
        if (machine.ends != 0 && i >= machine.ends && i + machine.ends < blocks.size()) continue;
        block_index = {i % grid.x, i / grid.x % grid.y, i / (grid.x * grid.y)};
        if (!run_block(order)) break;
    }
    free_arrays();
}

const char* take_error() {
    machine.taken.swap(machine.error);
    machine.error.clear();
    machine.failed = false;
    return machine.taken.c_str();
}

void fail(Site site, const char* format, ...) {
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    report(std::string(text) + " at " + site.file + ":" + std::to_string(site.line));
    running().fiber.finish();
}

void sync_block(Site site) {
    Runner& me = running();
    void* token = &machine.block_tokens[me.block_token];
    me.block_token ^= 1;  // two tokens in turn: an early thread cannot reach this one's next use
    release(token);
    ++machine.at_barrier;
    wait(State::at_block_barrier, "__syncthreads", site);
    acquire(token);
}

void* shared_array(size_t bytes) {
    size_t i = running().next_array++;
    if (i >= machine.arrays.size()) machine.arrays.resize(i + 1);
    if (machine.arrays[i].data == nullptr) {
        poison(machine.arrays[i], bytes);
        release(&machine.array_token);
    }
    acquire(&machine.array_token);
    return machine.arrays[i].data;
}

void* dynamic_shared_array() {
    return machine.dynamic.data;
}

void meet(const char* what, Site site, bool fence, void* argument, Act act) {
    Runner& me = running();
    Warp& warp = machine.warps[me.linear / 32];
    void* token = &warp.tokens[me.warp_token];
    if (fence) {
        me.warp_token ^= 1;
        release(token);
    }
    static char nothing;
    me.argument = argument == nullptr ? &nothing : argument;
    if (++warp.waiting < warp.living) {
        wait(State::at_warp, what, site);
    } else {
        void* lanes[32] = {};
        unsigned first = me.linear / 32 * 32;
        for (unsigned i = first; i < first + 32 && i < machine.threads; ++i) {
            Runner& other = *machine.runners[i];
            if (other.state == State::done) continue;
            if (&other != &me &&
                (std::strcmp(other.what, what) != 0 || other.site.line != site.line))
                fail(site, "thread %u calls %s while thread %u waits in %s at line %d", me.linear,
                     what, i, other.what, other.site.line);
            lanes[i - first] = other.argument;
            other.state = State::ready;
        }
        warp.waiting = 0;
        if (counting && fence) ++counters.warp_barriers;
        act(lanes);
    }
    if (fence) acquire(token);
}

Act whole_warp(Site site, Act act) {
    const Runner& me = running();
    if (machine.warps[me.linear / 32].living != 32)
        fail(site, "a warp operation needs 32 lanes, some have ended");
    return act;
}

unsigned ballot(bool vote, Site site) {
    struct Vote {
        bool yes;
        unsigned all;
    } mine = {vote, 0};
    meet("__ballot_sync", site, false, &mine, [](void* const lanes[32]) {
        unsigned all = 0;
        for (int i = 0; i < 32; ++i)
            if (lanes[i] != nullptr && static_cast<Vote*>(lanes[i])->yes) all |= 1u << i;
        for (int i = 0; i < 32; ++i)
            if (lanes[i] != nullptr) static_cast<Vote*>(lanes[i])->all = all;
    });
    return mine.all;
}

void copy_async(void* target, const void* source, size_t bytes, size_t valid, Site site) {
    if (reinterpret_cast<uintptr_t>(target) % bytes != 0 ||
        (valid != 0 && reinterpret_cast<uintptr_t>(source) % bytes != 0))
        fail(site, "cp.async of %zu bytes needs both addresses aligned to as many", bytes);
    writes(target, bytes);
    std::memset(target, NAN_BYTE, bytes);
    running().open.push_back({target, source, bytes, valid});
}

void copy_commit() {
    Runner& me = running();
    me.groups.push_back(std::move(me.open));
    me.open.clear();
}

void copy_wait(size_t groups_left) {
    auto& groups = running().groups;
    while (groups.size() > groups_left) {
        for (const Copy& copy : groups.front()) {
            reads(copy.source, copy.valid);
            writes(copy.target, copy.bytes);
            char* target = static_cast<char*>(copy.target);
            if (copy.valid != 0) std::memcpy(target, copy.source, copy.valid);
            std::memset(target + copy.valid, 0, copy.bytes - copy.valid);
        }
        groups.erase(groups.begin());
    }
}

void set_ends(unsigned count) {
    machine.ends = count;
}

void set_order(int order, uint64_t seed) {
    machine.order = order;
    machine.random = seed * 0x9e3779b97f4a7c15ULL + 1;
}

}  // namespace emulator
