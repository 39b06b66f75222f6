// Runs of neighbours in memory, as many as a thread takes at a time.

// How many elements of a run there are, of so many from its first one on.
template <i32 N>
static __device__ i32 elements_left(i64 count) { return count < N ? (i32)count : N; }

// A point of a run; for one that is missing, the last one once more.
static __device__ i32 point_of_run(i32 at, i32 left) { return at < left ? at : left - 1; }

// By accesses of 16 bytes where the run is whole and aligned, else one by one.
template <class T, i32 N>
static __device__ __forceinline__ void load_run(T (&x)[N], const T* from, i32 left) {
  if (left == N && (u64)from % 16 == 0) {
#pragma unroll
    for (i32 at = 0; at < N; at += 16 / (i32)sizeof(T)) *(uint4*)(x + at) = *(const uint4*)(from + at);
  } else {
#pragma unroll
    for (i32 at = 0; at < N; ++at) x[at] = from[point_of_run(at, left)];
  }
}

// The same of elements that are there if their number, counted from `first` on, is below a bound; zeros for the others.
template <class T, i32 N>
static __device__ __forceinline__ void load_run_inside(T (&x)[N], const T* from, i32 left, i64 first, i64 bound) {
  if (first >= 0 && first <= bound - N) {
    load_run(x, from, left);
  } else {
#pragma unroll
    for (i32 at = 0; at < N; ++at) {
      const i32 point = point_of_run(at, left);
      x[at] = inside(first + point, bound) ? from[point] : T{};
    }
  }
}

// Zeros.
template <class T, i32 N>
static __device__ __forceinline__ void no_run(T (&x)[N]) {
#pragma unroll
  for (i32 at = 0; at < N; ++at) x[at] = T{};
}

// 16 bytes to global memory. (Compilers take a store of a uint4 apart where they lose sight of its alignment.)
static __device__ __forceinline__ void store_wide(void* to, uint4 piece) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};"
               :: "l"(__cvta_generic_to_global(to)), "r"(piece.x), "r"(piece.y), "r"(piece.z), "r"(piece.w) : "memory");
}

template <bool IS_SHARED, class T, i32 N>
static __device__ __forceinline__ void store_run(T* to, const T (&x)[N], i32 left) {
  if (left == N && (u64)to % 16 == 0) {
#pragma unroll
    for (i32 at = 0; at < N; at += 16 / (i32)sizeof(T)) {
      if constexpr (IS_SHARED) *(uint4*)(to + at) = *(const uint4*)(x + at);
      else store_wide(to + at, *(const uint4*)(x + at));
    }
  } else {
#pragma unroll
    for (i32 at = 0; at < N; ++at)
      if (at < left) to[at] = x[at];
  }
}
