// Rows times a block's share of the columns of a matrix, which is in shared memory with rows of WIDTH elements: a thread
// takes sixteen bytes of a row of it at a time. The rows of the matrix are shared out among the threads of the block,
// or where there are many rows of a, each warp has its own of those, and only its lanes share.
template <class T, bool ADDS, i32 WIDTH, i32 ROWS, bool BY_WARPS, class A, class C>
static __device__ __forceinline__ void rows_of_share(
    i64 row, i64 m, i64 n, i64 k, const A* a, i64 a_row, i64 a_column, const T* b, C* c, i64 c_row, i64 c_column) {
  constexpr i32 RUN = 16 / sizeof(T), GROUPS = WIDTH / RUN, PARTS = (BY_WARPS ? 32 : 256) / GROUPS;
  const i32 group = threadIdx.x % GROUPS, part = (BY_WARPS ? threadIdx.x % 32 : threadIdx.x) / GROUPS;
  const i32 left = elements_left<RUN>(n - group * RUN);
  T sums[ROWS][RUN] = {};
  for (i64 l = part; l < k; l += PARTS) {
    __align__(16) T run[RUN] = {};
    if (left > 0) load_run(run, b + l * WIDTH + group * RUN, left);
#pragma unroll
    for (i32 i = 0; i < ROWS; ++i) {
      const T x = row + i < m ? (T)number(a[(row + i) * a_row + l * a_column]) : T(0);
#pragma unroll
      for (i32 at = 0; at < RUN; ++at) sums[i][at] += x * run[at];
    }
  }
#pragma unroll
  for (i32 i = 0; i < ROWS; ++i)
#pragma unroll
    for (i32 at = 0; at < RUN; ++at)
#pragma unroll
      for (i32 apart = GROUPS; apart < 32; apart *= 2)
        sums[i][at] += __shfl_xor_sync(0xffffffffu, sums[i][at], apart);
  if (BY_WARPS) {
#pragma unroll
    for (i32 i = 0; i < ROWS; ++i)
#pragma unroll
      for (i32 at = 0; at < RUN; ++at)
        if (part == i % PARTS && row + i < m && at < left)
          write_sum<ADDS>(c[(row + i) * c_row + (group * RUN + at) * c_column], sums[i][at]);
    return;
  }
  T* const parts = (T*)product_tiles(); // of each warp
  __syncthreads(); // those before have been read
  if (threadIdx.x % 32 < GROUPS)
#pragma unroll
    for (i32 i = 0; i < ROWS; ++i)
#pragma unroll
      for (i32 at = 0; at < RUN; ++at)
        parts[(threadIdx.x / 32 * ROWS + i) * WIDTH + group * RUN + at] = sums[i][at];
  __syncthreads();
  for (i32 at = threadIdx.x; at < ROWS * WIDTH; at += 256) {
    const i64 i = row + at / WIDTH, j = at % WIDTH;
    T sum = 0;
#pragma unroll
    for (i32 warp = 0; warp < 8; ++warp) sum += parts[warp * ROWS * WIDTH + at];
    if (i < m && j < n) write_sum<ADDS>(c[i * c_row + j * c_column], sum);
  }
}

template <class T, bool ADDS, i32 WIDTH, class A, class C>
static __device__ __forceinline__ void product_of_share(
    i64 m, i64 n, i64 k, const A* a, i64 a_row, i64 a_column, const T* b, C* c, i64 c_row, i64 c_column) {
  if (m == 1) {
    rows_of_share<T, ADDS, WIDTH, 1, false>(0, m, n, k, a, a_row, a_column, b, c, c_row, c_column);
  } else if (m < 32) {
    for (i64 row = 0; row < m; row += 4)
      rows_of_share<T, ADDS, WIDTH, 4, false>(row, m, n, k, a, a_row, a_column, b, c, c_row, c_column);
  } else {
    for (i64 row = threadIdx.x / 32 * 4; row < m; row += 32)
      rows_of_share<T, ADDS, WIDTH, 4, true>(row, m, n, k, a, a_row, a_column, b, c, c_row, c_column);
  }
}
