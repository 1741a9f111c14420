#if __has_include(<unistd.h>)
#include <unistd.h>
#endif

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "packed.h"

namespace yolo::packed {

// Whether `level` is the one meant: its own name, or that of the instruction set it builds on.
static bool is_called(const Kernels& level, const std::string& name) {
    const std::string own = level.name;
    return own == name || own == name + "bf16" || own == name + "_bf16";
}

const Kernels& choose(const char* name, Precision precision) {
    if (!name || !*name) name = std::getenv("YOLO_ISA");
    const bool best = !name || !*name, half = precision == Precision::bf16;
    if (half && best && !avx512bf16())
        throw std::invalid_argument(
            "bf16 needs a processor with AVX512-BF16, which this one lacks");
    std::string have;
    for (const Kernels* level : {avx512(), avx2(), portable(), avx512bf16(), portable_bf16()}) {
        if (!level || (level->element == 2) != half) continue;
        if (best || is_called(*level, name)) return *level;
        have += std::string(have.empty() ? "" : ", ") + level->name;
    }
    throw std::invalid_argument("YOLO_ISA: no " + std::string(half ? "bf16 " : "") +
                                "kernels for '" + std::string(name) +
                                "' on this processor; there are: " + have);
}

static long cache_bytes(int what, long otherwise) {
    const long bytes = what < 0 ? 0 : sysconf(what);
    return bytes > 0 ? bytes : otherwise;
}

Caches read_caches() {
#if defined(_SC_LEVEL1_DCACHE_SIZE)
    return {cache_bytes(_SC_LEVEL1_DCACHE_SIZE, 32 << 10),
            cache_bytes(_SC_LEVEL2_CACHE_SIZE, 512 << 10),
            cache_bytes(_SC_LEVEL3_CACHE_SIZE, 8 << 20)};
#else
    return {cache_bytes(-1, 64 << 10), cache_bytes(-1, 1 << 20), cache_bytes(-1, 8 << 20)};
#endif
}

}  // namespace yolo::packed
