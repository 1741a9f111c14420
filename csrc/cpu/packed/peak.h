// Multiply-adds from registers alone: what a core does at best. Returns the operations of `rounds`
// rounds; `values` holds 32 zeros and takes the sums; each
// chain begins with one of its own, so that no two are the same.
static double peak(long rounds, float* values) {
    constexpr int CHAINS = 2 * TILE;
    const elem* zeros = reinterpret_cast<const elem*>(values);
    const auto w = load_weights(zeros);
    vec acc[CHAINS];
    UNROLL for (int i = 0; i < CHAINS; ++i) acc[i] = splat(values[i]);
    for (long r = 0; r < rounds; ++r) {
        const auto x = broadcast(zeros + (r & 1) * DEPTH);  // or the product would leave the loop
        UNROLL for (int i = 0; i < CHAINS; ++i) acc[i] = multiply_add(acc[i], x, w);
    }
    vec sum{};
    UNROLL for (int i = 0; i < CHAINS; ++i) sum += acc[i];
    store(values, sum);
    return 2.0 * DEPTH * V * CHAINS * double(rounds);
}
