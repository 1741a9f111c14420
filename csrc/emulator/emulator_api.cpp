#include "emulator_api.h"

#include <cstring>

#include "emulator.h"

void emulator_set_order(int order, uint64_t seed) {
    emulator::set_order(order, seed);
}

void emulator_set_ends(unsigned count) {
    emulator::set_ends(count);
}

void emulator_count(int on, uint64_t* values) {
    static_assert(sizeof(emulator::Counters) == 8 * sizeof(uint64_t), "eight counters");
    emulator::counting = on != 0;
    if (on != 0)
        emulator::counters = {};
    else if (values != nullptr)
        std::memcpy(values, &emulator::counters, sizeof emulator::counters);
}
