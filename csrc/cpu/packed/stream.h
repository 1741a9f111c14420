// Stores of whole maps. One that no cache keeps until its reader comes is written past the caches,
// which spares the reading of each line before it is overwritten.

constexpr long STREAM_BYTES = 8 << 20;

struct Cached {
    static void put(elem* p, vec v) { store(p, v); }
    static void finish() {}
};

#if defined(USE_BF16)
using Streamed = Cached;
#elif defined(USE_AVX512)
struct Streamed {
    static void put(float* p, vec v) { _mm512_stream_ps(p, v); }
    static void finish() { _mm_sfence(); }
};
#elif defined(USE_AVX2)
struct Streamed {
    static void put(float* p, vec v) { _mm256_stream_ps(p, v); }
    static void finish() { _mm_sfence(); }
};
#else
using Streamed = Cached;
#endif

// Whether the map y is to be written past the caches.
INLINE bool streams(const View& y) {
    const bool aligned = reinterpret_cast<unsigned long>(y.data) % sizeof(vec) == 0;
    return aligned && long(sizeof(elem)) * y.image * y.images > STREAM_BYTES;
}

// Calls body(stores) with the way in which the map y is to be written.
template <class F>
INLINE void with_stores(const View& y, F body) {
    if (!streams(y)) return body(Cached{});
    body(Streamed{});
    Streamed::finish();
}
