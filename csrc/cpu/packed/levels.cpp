#if __has_include(<unistd.h>)
#include <unistd.h>
#endif

#include <algorithm>
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

static const Kernels& trusted(const Kernels& level) {
    if (level.agrees && !level.agrees())
        throw std::invalid_argument(std::string("the kernels '") + level.name +
                                    "' compute wrong products on this processor; YOLO_ISA=avx512 "
                                    "does without them. Please report this");
    return level;
}

std::vector<const Kernels*> levels(Precision precision) {
    std::vector<const Kernels*> found;
    const bool half = precision == Precision::bf16;
    if (half)
        found = {amx(), avx512bf16(), portable_bf16(), amx_model()};
    else
        found = {avx512(), avx2(), portable()};
    found.erase(std::remove(found.begin(), found.end(), nullptr), found.end());
    return found;
}

const Kernels& choose(const char* name, Precision precision) {
    if (!name || !*name) name = std::getenv("YOLO_ISA");
    const bool best = !name || !*name, half = precision == Precision::bf16;
    if (half && best && !avx512bf16())
        throw std::invalid_argument(
            "bf16 needs a processor with AVX512-BF16, which this one lacks");
    std::string have;
    for (const Kernels* level : levels(precision)) {
        if (best || is_called(*level, name)) return trusted(*level);
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
