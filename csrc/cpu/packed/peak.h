// Multiply-adds from registers alone: what a core does at best. Returns the operations of `rounds`
// rounds; `values` holds 32 zeros and takes the sums; each
// chain begins with one of its own, so that no two are the same.
#if defined(USE_AMX)
static double peak(long rounds, float* values) {
    constexpr int SIDE = 16;
    shape_matrices(SIDE);
    load_matrix<X2>(values, 0);
    load_matrix<W2>(values, 0);
    for (long r = 0; r < rounds; ++r) {
        dot<SUMS, X2, W2>();
        dot<SUMS + 1, X2, W2>();
        dot<SUMS + 2, X2, W2>();
        dot<SUMS + 3, X2, W2>();
    }
    store_matrix<SUMS>(values, 0);
    release_matrices();
    return 2.0 * 4 * SIDE * SIDE * 2 * SIDE * double(rounds);
}
#else
static double peak(long rounds, float* values) {
    constexpr int CHAINS = 2 * TILE;
    const elem* zeros = reinterpret_cast<const elem*>(values);
    const auto w = load_weights(zeros);
    vec acc[CHAINS];
    UNROLL for (int i = 0; i < CHAINS; ++i) acc[i] = splat(values[i]);
    for (long r = 0; r < rounds; ++r) {
        const elem* x = zeros + (r & 1) * DEPTH;  // or the product would leave the loop
        UNROLL for (int i = 0; i < CHAINS; ++i) add_product(acc[i], x, w);
    }
    vec sum{};
    UNROLL for (int i = 0; i < CHAINS; ++i) sum += acc[i];
    store(values, sum);
    return 2.0 * DEPTH * V * CHAINS * double(rounds);
}
#endif
