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

// Zeros.
template <class T, i32 N>
static __device__ __forceinline__ void no_run(T (&x)[N]) {
#pragma unroll
  for (i32 at = 0; at < N; ++at) x[at] = T{};
}

template <class T, i32 N>
static __device__ __forceinline__ void store_run(T* to, const T (&x)[N], i32 left) {
  if (left == N && (u64)to % 16 == 0) {
#pragma unroll
    for (i32 at = 0; at < N; at += 16 / (i32)sizeof(T)) *(uint4*)(to + at) = *(const uint4*)(x + at);
  } else {
#pragma unroll
    for (i32 at = 0; at < N; ++at)
      if (at < left) to[at] = x[at];
  }
}
