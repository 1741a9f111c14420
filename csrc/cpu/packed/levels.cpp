#if __has_include(<unistd.h>)
#include <unistd.h>
#endif

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "packed.h"

namespace yolo::packed {

const Kernels& choose(const char* name) {
    if (!name || !*name) name = std::getenv("YOLO_ISA");
    const Kernels* levels[] = {avx512(), avx2(), portable()};
    std::string have;
    for (const Kernels* level : levels) {
        if (!level) continue;
        if (!name || !*name || std::strcmp(name, level->name) == 0) return *level;
        have += std::string(have.empty() ? "" : ", ") + level->name;
    }
    throw std::invalid_argument("YOLO_ISA: no kernels for '" + std::string(name) +
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
