// c = a b or c += a b, of matrices with any strides: element (i, j) of x is at x[i * x_row + j * x_column]. What lies in
// memory in another type is converted as it is read, and sums as they are written. Of several blocks, `rank` is the number
// of the one that is here; each does its part.
static __device__ float number(float x) { return x; }
static __device__ double number(double x) { return x; }
static __device__ float number(bf16 x) { return from_bf16(x); }
static __device__ float number(f16 x) { return from_f16(x); }
template <bool ADDS, class T>
static __device__ __forceinline__ void write_sum(T& place, T sum) { place = ADDS ? place + sum : sum; }
template <bool ADDS>
static __device__ __forceinline__ void write_sum(bf16& place, float sum) {
  place = to_bf16(ADDS ? from_bf16(place) + sum : sum);
}
template <bool ADDS>
static __device__ __forceinline__ void write_sum(f16& place, float sum) {
  place = to_f16(ADDS ? from_f16(place) + sum : sum);
}

// The shared memory of every product of a kernel.
static __device__ __forceinline__ u8* product_tiles() {
  __shared__ __align__(16) u8 tiles[17408];
  return tiles;
}

// Few rows or columns: a thread for each element of c.
template <class T, bool ADDS, class A, class B, class C>
static __device__ __forceinline__ void product_by_threads(
    i64 m, i64 n, i64 k, const A* a, i64 a_row, i64 a_column, const B* b, i64 b_row, i64 b_column,
    C* c, i64 c_row, i64 c_column, u32 rank = 0, u32 team_size = 1) {
  for (i64 at = rank * 256 + threadIdx.x; at < m * n; at += team_size * 256) {
    const i64 i = quotient(at, n), j = remainder(at, n);
    T sum = 0;
    for (i64 l = 0; l < k; ++l) sum += (T)number(a[i * a_row + l * a_column]) * (T)number(b[l * b_row + j * b_column]);
    write_sum<ADDS>(c[i * c_row + j * c_column], sum);
  }
}

// Few rows times a matrix whose rows are contiguous: sixteen threads take a run of columns each, and a sixteenth of the rows.
template <class T, bool ADDS, class A, class B, class C>
static __device__ __forceinline__ void product_by_columns(
    i64 m, i64 n, i64 k, const A* a, i64 a_row, i64 a_column, const B* b, i64 b_row, i64 b_column,
    C* c, i64 c_row, i64 c_column) {
  constexpr i32 RUN = 16 / sizeof(B);
  for (i64 i = 0; i < m; ++i)
    for (i64 first = 0; first < n; first += 16 * RUN) {
      const i64 j = first + threadIdx.x % 16 * RUN;
      const i32 left = elements_left<RUN>(n - j);
      T sums[RUN] = {};
      if (left > 0)
        for (i64 l = threadIdx.x / 16; l < k; l += 16) {
          __align__(16) B run[RUN];
          load_run(run, b + l * b_row + j, left);
          const T x = (T)number(a[i * a_row + l * a_column]);
#pragma unroll
          for (i32 at = 0; at < RUN; ++at) sums[at] += x * (T)number(run[at]);
        }
      combine_parts<Sum>(sums);
      if (threadIdx.x < 16)
#pragma unroll
        for (i32 at = 0; at < RUN; ++at)
          if (at < left) write_sum<ADDS>(c[i * c_row + (j + at) * c_column], sums[at]);
    }
}

// A vector times a matrix that is contiguous in the contracted axis: a warp for each element of c.
template <class T, bool ADDS, class A, class B, class C>
static __device__ __forceinline__ void product_by_warps(
    i64 m, i64 n, i64 k, const A* a, i64 a_row, i64 a_column, const B* b, i64 b_row, i64 b_column,
    C* c, i64 c_row, i64 c_column, u32 rank = 0, u32 team_size = 1) {
  constexpr i32 RUN = 16 / (sizeof(A) < sizeof(B) ? sizeof(A) : sizeof(B));
  for (i64 at = rank * 8 + threadIdx.x / 32; at < m * n; at += team_size * 8) {
    const i64 i = quotient(at, n), j = remainder(at, n);
    const A* const x = a + i * a_row;
    const B* const y = b + j * b_column;
    T sum = 0;
    if (a_column == 1 && b_row == 1)
      for (i64 l = threadIdx.x % 32 * RUN; l < k; l += 32 * RUN) {
        const i32 left = elements_left<RUN>(k - l);
        __align__(16) A x_run[RUN];
        __align__(16) B y_run[RUN];
        load_run(x_run, x + l, left);
        load_run(y_run, y + l, left);
#pragma unroll
        for (i32 at = 0; at < RUN; ++at) sum = at < left ? sum + (T)number(x_run[at]) * (T)number(y_run[at]) : sum;
      }
    else
      for (i64 l = threadIdx.x % 32; l < k; l += 32) sum += (T)number(x[l * a_column]) * (T)number(y[l * b_row]);
    sum = combine_warp<Sum>(sum);
    if (threadIdx.x % 32 == 0) write_sum<ADDS>(c[i * c_row + j * c_column], sum);
  }
}

// Tiles of 64 x 64 elements of c, four by four a thread; 16 of the contracted axis at a time in shared memory.
template <class T, bool ADDS, class A, class B>
static __device__ __forceinline__ void product_in_tiles(
    i64 m, i64 n, i64 k, const A* a, i64 a_row, i64 a_column, const B* b, i64 b_row, i64 b_column,
    T* c, i64 c_row, i64 c_column, u32 rank = 0, u32 team_size = 1) {
  // A row of padding keeps columns in different banks.
  T(*a_tile)[64 + 4] = (T(*)[64 + 4])product_tiles();
  T(*b_tile)[64 + 4] = a_tile + 16;
  const i32 own_row = threadIdx.x / 16 * 4, own_column = threadIdx.x % 16 * 4;
  u32 tile = 0;
  for (i64 row = 0; row < m; row += 64)
    for (i64 column = 0; column < n; column += 64) {
      if (tile++ % team_size != rank) continue; // another block's
      T sums[4][4] = {};
      for (i64 depth = 0; depth < k; depth += 16) {
        __syncthreads(); // the tiles before have been read
#pragma unroll
        for (i32 at = threadIdx.x; at < 16 * 64; at += 256) {
          // Neighbouring threads read along the axis that is contiguous.
          const bool along_k = a_column == 1;
          const i32 l = along_k ? at % 16 : at / 64, i = along_k ? at / 16 : at % 64;
          const bool is_there = row + i < m && depth + l < k;
          a_tile[l][i] = is_there ? (T)number(a[(row + i) * a_row + (depth + l) * a_column]) : T(0);
        }
#pragma unroll
        for (i32 at = threadIdx.x; at < 16 * 64; at += 256) {
          const bool along_k = b_row == 1;
          const i32 l = along_k ? at % 16 : at / 64, j = along_k ? at / 16 : at % 64;
          const bool is_there = column + j < n && depth + l < k;
          b_tile[l][j] = is_there ? (T)number(b[(depth + l) * b_row + (column + j) * b_column]) : T(0);
        }
        __syncthreads();
#pragma unroll
        for (i32 l = 0; l < 16; ++l)
#pragma unroll
          for (i32 i = 0; i < 4; ++i)
#pragma unroll
            for (i32 j = 0; j < 4; ++j) sums[i][j] += a_tile[l][own_row + i] * b_tile[l][own_column + j];
      }
#pragma unroll
      for (i32 i = 0; i < 4; ++i)
#pragma unroll
        for (i32 j = 0; j < 4; ++j)
          if (row + own_row + i < m && column + own_column + j < n)
            write_sum<ADDS>(c[(row + own_row + i) * c_row + (column + own_column + j) * c_column], sums[i][j]);
    }
}
