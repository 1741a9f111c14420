#include "counters.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <vector>

namespace emulator {

Counters counters;
bool counting = false;

namespace {

struct Access {
    Space space;
    unsigned warp, lane;
    size_t bytes;
    const void* address;
};
// The k-th execution of one line by each lane of a warp is one request: lanes that diverged keep
// step as long as they run the line equally often.
using Request = std::tuple<const char*, int, Space, unsigned, unsigned>;  // site, warp, k
std::map<Request, std::vector<Access>> requests;
std::map<std::tuple<const char*, int, Space, unsigned>, unsigned> executions;  // by thread

void count_global(const std::vector<Access>& accesses) {
    std::set<uintptr_t> sectors;
    for (const Access& access : accesses) {
        auto begin = reinterpret_cast<uintptr_t>(access.address);
        for (uintptr_t s = begin / 32; s <= (begin + access.bytes - 1) / 32; ++s) sectors.insert(s);
        counters.global_bytes += access.bytes;
    }
    ++counters.global_requests;
    counters.global_sectors += sectors.size();
}

void count_shared(const std::vector<Access>& accesses) {
    const void* addresses[32] = {};
    for (const Access& access : accesses) addresses[access.lane] = access.address;
    count_shared_request(addresses, accesses[0].bytes);
}

}  // namespace

unsigned wavefronts(const void* const addresses[32], size_t bytes) {
    unsigned total = 0;
    unsigned together = bytes == 16 ? 8 : bytes == 8 ? 16 : 32;  // lanes served at once
    for (unsigned first = 0; first < 32; first += together) {
        std::set<uintptr_t> banks[32];
        for (unsigned i = first; i < first + together; ++i) {
            if (addresses[i] == nullptr) continue;
            auto begin = reinterpret_cast<uintptr_t>(addresses[i]) / 4;
            auto end = (reinterpret_cast<uintptr_t>(addresses[i]) + bytes + 3) / 4;
            for (uintptr_t word = begin; word < end; ++word) banks[word % 32].insert(word);
        }
        size_t worst = 0;
        for (const auto& words : banks) worst = std::max(worst, words.size());
        total += unsigned(worst);
    }
    return total;
}

void count_shared_request(const void* const addresses[32], size_t bytes) {
    // Requests are counted in wavefronts that a conflict-free access would take.
    unsigned lanes = 0;
    for (int i = 0; i < 32; ++i) lanes += addresses[i] != nullptr;
    size_t together = bytes == 16 ? 8 : bytes == 8 ? 16 : 32;
    counters.shared_requests += (lanes + together - 1) / together;
    counters.shared_wavefronts += wavefronts(addresses, bytes);
}

void count_shared_matrix(const void* const rows[32]) {
    count_shared_request(rows, 16);
}

void count_access(Space space, const void* address, size_t bytes, Site site) {
    if (bytes == 0) return;
    unsigned k = executions[{site.file, site.line, space, self->linear}]++;
    requests[{site.file, site.line, space, warp(), k}].push_back(
        {space, warp(), lane(), bytes, address});
}

void count_block() {
    for (const auto& [request, accesses] : requests) {
        Space space = accesses[0].space;
        if (space == Space::shared_read || space == Space::shared_write)
            count_shared(accesses);
        else
            count_global(accesses);
    }
    requests.clear();
    executions.clear();
}

}  // namespace emulator
