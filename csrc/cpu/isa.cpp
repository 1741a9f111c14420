// Which of the compiled instruction sets this machine runs.
#include <cstdlib>
#include <cstring>

#include "rows.h"

namespace yolo::cpu {

#if defined(__x86_64__)
#define EACH_ISA(use) use(avx512) use(avx2) use(base)
#else
#define EACH_ISA(use) use(base)
#endif

#define DECLARE(isa)                       \
    namespace isa {                        \
    extern const Rows<float> rows_float;   \
    extern const Rows<double> rows_double; \
    }
EACH_ISA(DECLARE)

namespace {

struct Level {
    const char* name;
    bool (*runs)();
    const Rows<float>* of_float;
    const Rows<double>* of_double;
};

#if defined(__x86_64__)
bool runs_avx2() {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
bool runs_avx512() {
    return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif
bool runs_base() {
    return true;
}

#define LEVEL(isa) {#isa, runs_##isa, &isa::rows_float, &isa::rows_double},
constexpr Level LEVELS[] = {EACH_ISA(LEVEL)};

bool is_level(const char* name) {
    for (const Level& level : LEVELS) {
        if (std::strcmp(name, level.name) == 0) return true;
    }
    return false;
}

// YOLO_ISA names the highest level to use; an unknown name changes nothing.
const Level& best() {
    const char* wanted = std::getenv("YOLO_ISA");
    bool allowed = !wanted || !is_level(wanted);
    for (const Level& level : LEVELS) {
        allowed = allowed || std::strcmp(wanted, level.name) == 0;
        if (allowed && level.runs()) return level;
    }
    return LEVELS[sizeof(LEVELS) / sizeof(Level) - 1];
}

const Level*& chosen() {
    static const Level* level = &best();
    return level;
}

}  // namespace

template <>
const Rows<float>& rows<float>() {
    return *chosen()->of_float;
}

template <>
const Rows<double>& rows<double>() {
    return *chosen()->of_double;
}

const char* isa_name() {
    return chosen()->name;
}

bool use_isa(const char* name) {
    for (const Level& level : LEVELS) {
        if (std::strcmp(name, level.name) != 0 || !level.runs()) continue;
        chosen() = &level;
        return true;
    }
    return false;
}

}  // namespace yolo::cpu
