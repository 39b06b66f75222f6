// How two values are combined.
struct Sum {
  static __device__ float of(float a, float b) { return a + b; }
  static __device__ double of(double a, double b) { return a + b; }
  static __device__ u32 of(u32 a, u32 b) { return a + b; }
  static __device__ i32 of(i32 a, i32 b) { return (i32)((u32)a + (u32)b); }
};
struct Larger {
  template <class T>
  static __device__ T of(T a, T b) { return larger(a, b); }
};

// The combination of a warp's values, in every thread.
template <class Op, class T>
static __device__ T combine_warp(T value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    value = Op::of(value, __shfl_xor_sync(0xffffffffu, value, distance));
  return value;
}

// The combination of a block's values, in every thread.
template <class Op, class T>
static __device__ T combine_block(T value) {
  __shared__ T parts[8];
  value = combine_warp<Op>(value);
  __syncthreads(); // whoever called before has read the parts
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  value = parts[0];
#pragma unroll
  for (int warp = 1; warp < 8; ++warp) value = Op::of(value, parts[warp]);
  return value;
}

// Sixteen threads have results, of each of which sixteen parts are combined: those of the first sixteen threads.
template <class Op, class T, i32 N>
static __device__ void combine_parts(T (&sums)[N]) {
  __shared__ T parts[16][16 * N];
  __syncthreads(); // whoever called before has read the parts
#pragma unroll
  for (i32 at = 0; at < N; ++at) parts[threadIdx.x / 16][threadIdx.x % 16 + 16 * at] = sums[at];
  __syncthreads();
  if (threadIdx.x < 16)
    for (i32 part = 1; part < 16; ++part)
#pragma unroll
      for (i32 at = 0; at < N; ++at) sums[at] = Op::of(sums[at], parts[part][threadIdx.x + 16 * at]);
}

// The combination of `carried` and the values of the threads before; `carried` becomes that of all.
template <class Op, class T>
static __device__ T combine_before(T value, T& carried, T neutral) {
  __shared__ T parts[8];
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const T other = __shfl_up_sync(0xffffffffu, value, distance);
    if (threadIdx.x % 32 >= distance) value = Op::of(other, value);
  }
  __syncthreads(); // whoever called before has read the parts
  if (threadIdx.x % 32 == 31) parts[threadIdx.x / 32] = value;
  __syncthreads();
  value = __shfl_up_sync(0xffffffffu, value, 1);
  value = threadIdx.x % 32 == 0 ? neutral : value;
  T before = carried;
#pragma unroll
  for (int warp = 0; warp < 8; ++warp) {
    if (warp == threadIdx.x / 32) value = Op::of(before, value);
    before = Op::of(before, parts[warp]);
  }
  carried = before;
  return value;
}
