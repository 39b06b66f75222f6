// c = a b or c += a b, with sums in f32, on tensor cores, which multiply bf16 numbers, of 8 bits. What has more bits is the
// sum of several: each part is the bf16 number nearest to what the parts before it leave, three of them all 24 bits of an
// f32, two all 11 of an f16. Products of parts that are below an f32's last bit are left out: those with ranks that add up
// to more than 2. Tensor cores cut off what they add: sums of 16 products are added up outside of them, where sums are
// rounded. A bf16 number has no bits below 2^-133: where a factor is below 2^-110 and the other above 2^16, fewer bits of
// the product are right.
template <class T> struct Parts;
template <> struct Parts<float> { enum : i32 { COUNT = 3 }; };
template <> struct Parts<f16> { enum : i32 { COUNT = 2 }; };
template <> struct Parts<bf16> { enum : i32 { COUNT = 1 }; };

// The bf16 numbers nearest to two numbers, the first one in the lower half; the numbers become what is left.
static __device__ __forceinline__ u32 split(float& x, float& y) {
  u32 both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(y), "f"(x));
  x -= __uint_as_float(both << 16);
  y -= __uint_as_float(both & 0xffff0000u);
  return both;
}

// c += a b for a 16 x 16 and b 16 x 8.
static __device__ __forceinline__ void multiply(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four matrices of 8 x 8 elements, of which each thread gives a row's address; transposed if rows are columns.
static __device__ __forceinline__ void load_matrices(u32 (&to)[4], const u16* row, bool transposed) {
  const u32 address = (u32)__cvta_generic_to_shared(row);
  if (transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(address) : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(address) : "memory");
}

// Neighbours in memory, by accesses of 16 bytes (of 8, where that is all).
template <i32 N>
static __device__ __forceinline__ void load_wide(float (&x)[N], const float* from) {
#pragma unroll
  for (i32 at = 0; at < N; at += 4) {
    const float4 piece = *(const float4*)(from + at);
    x[at] = piece.x, x[at + 1] = piece.y, x[at + 2] = piece.z, x[at + 3] = piece.w;
  }
}
template <i32 N, class Half>
static __device__ __forceinline__ void load_wide_halves(float (&x)[N], const Half* from) {
  u32 pairs[N / 2];
  if constexpr (N == 4) *(uint2*)pairs = *(const uint2*)from;
  else *(uint4*)pairs = *(const uint4*)from;
#pragma unroll
  for (i32 at = 0; at < N; ++at) x[at] = number(Half{(u16)(pairs[at / 2] >> at % 2 * 16)});
}
template <i32 N>
static __device__ __forceinline__ void load_wide(float (&x)[N], const bf16* from) { load_wide_halves(x, from); }
template <i32 N>
static __device__ __forceinline__ void load_wide(float (&x)[N], const f16* from) { load_wide_halves(x, from); }

// One factor. Its tile is 64 rows (of b: columns) by K of the contracted axis, and lies in shared memory as the matrix in
// global memory: with the contracted axis last if that is contiguous there, else first.
template <class T, i32 K>
struct Factor {
  // A thread brings a run of neighbours. Eight elements more keep the rows of eight threads in different banks.
  enum : i32 { RUN = K / 4, RUNS = 64 / RUN, PART = 64 * (K + 8), PARTS = Parts<T>::COUNT };
  const T* from;
  i64 rows, depth;
  i64 outer_stride, inner_stride;
  u16* tile;
  bool along, wide;
  float run[RUN];

  __device__ __forceinline__ Factor(const T* from, i64 rows, i64 depth, i64 row, i64 column, u16* tile)
      : from(from), rows(rows), depth(depth), tile(tile), along(column == 1) {
    outer_stride = along ? row : column;
    inner_stride = along ? column : row;
    const u32 aligned = RUN * sizeof(T) < 16 ? RUN * sizeof(T) : 16;
    wide = inner_stride == 1 && (u64)from % aligned == 0 && outer_stride * sizeof(T) % aligned == 0;
  }

  // Reads a run of the tile at a row and a depth; zeros where the matrix ends.
  __device__ __forceinline__ void fetch(i64 row, i64 l) {
    const i32 thread = threadIdx.x;
    const i64 outer = along ? row + thread / 4 : l + thread / RUNS;
    const i64 inner = along ? l + thread % 4 * RUN : row + thread % RUNS * RUN;
    const i64 count = outer < (along ? rows : depth) ? (along ? depth : rows) - inner : 0;
    const T* first = from + outer * outer_stride + inner * inner_stride;
    if (wide && count >= RUN) {
      load_wide(run, first);
    } else {
#pragma unroll
      for (i32 at = 0; at < RUN; ++at) run[at] = at < count ? number(first[at * inner_stride]) : 0.0f;
    }
  }

  // Puts the parts of the run into the tile.
  __device__ __forceinline__ void keep() {
    const i32 thread = threadIdx.x;
    u16* to = tile + (along ? thread / 4 * (K + 8) + thread % 4 * RUN : thread / RUNS * 72 + thread % RUNS * RUN);
#pragma unroll
    for (i32 part = 0; part < PARTS; ++part)
#pragma unroll
      for (i32 at = 0; at < RUN; at += 4) {
        uint2 piece;
        piece.x = split(run[at], run[at + 1]);
        piece.y = split(run[at + 2], run[at + 3]);
        *(uint2*)(to + part * PART + at) = piece;
      }
  }

  // 16 rows by 16 of the contracted axis, in four matrices: the second one is 8 rows on if `rows_first`, else 8 deeper.
  __device__ __forceinline__ void fragment(u32 (&to)[4], i32 part, i32 row, i32 l, bool rows_first) {
    const i32 lane = threadIdx.x % 32, inside = lane % 8, second = lane / 8 % 2 * 8, third = lane / 16 * 8;
    row += rows_first ? second : third;
    l += rows_first ? third : second;
    const i32 place = along ? (row + inside) * (K + 8) + l : (l + inside) * 72 + row;
    load_matrices(to, tile + part * PART + place, !along);
  }
};

// Tiles of 64 x 64 elements of c, 32 x 16 a warp.
template <bool ADDS, class A, class B, class C>
static __device__ __forceinline__ void product_on_tensor_cores(
    i64 m, i64 n, i64 k, const A* a, i64 a_row, i64 a_column, const B* b, i64 b_row, i64 b_column,
    C* c, i64 c_row, i64 c_column, u32 rank = 0, u32 team_size = 1) {
  constexpr i32 A_PARTS = Parts<A>::COUNT, B_PARTS = Parts<B>::COUNT, K = A_PARTS + B_PARTS > 4 ? 16 : 32;
  u16* tiles = (u16*)product_tiles();
  Factor<A, K> left(a, m, k, a_row, a_column, tiles);
  Factor<B, K> right(b, n, k, b_column, b_row, tiles + A_PARTS * left.PART);
  const i32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const i32 own_row = warp / 4 * 32, own_column = warp % 4 * 16;
  u32 tile = 0;
  for (i64 row = 0; row < m; row += 64)
    for (i64 column = 0; column < n; column += 64) {
      if (tile++ % team_size != rank) continue; // another block's
      float sums[2][2][4] = {};
      left.fetch(row, 0);
      right.fetch(column, 0);
      for (i64 depth = 0; depth < k; depth += K) {
        __syncthreads(); // the tiles before have been read
        left.keep();
        right.keep();
        __syncthreads();
        // The next tiles are on their way while these are multiplied.
        left.fetch(row, depth + K);
        right.fetch(column, depth + K);
        if (row + own_row >= m || column + own_column >= n) continue; // a warp without elements
#pragma unroll
        for (i32 l = 0; l < K; l += 16) {
          u32 x[A_PARTS][2][4], y[B_PARTS][4];
#pragma unroll
          for (i32 part = 0; part < A_PARTS; ++part)
#pragma unroll
            for (i32 i = 0; i < 2; ++i) left.fragment(x[part][i], part, own_row + i * 16, l, true);
#pragma unroll
          for (i32 part = 0; part < B_PARTS; ++part) right.fragment(y[part], part, own_column, l, false);
#pragma unroll
          for (i32 i = 0; i < 2; ++i)
#pragma unroll
            for (i32 j = 0; j < 2; ++j) {
              float step[4] = {};
              // The smallest first.
#pragma unroll
              for (i32 rank = 2; rank >= 0; --rank)
#pragma unroll
                for (i32 part = 0; part < A_PARTS; ++part)
                  if (rank >= part && rank - part < B_PARTS)
                    multiply(step, x[part][i], y[rank - part][2 * j], y[rank - part][2 * j + 1]);
#pragma unroll
              for (i32 r = 0; r < 4; ++r) sums[i][j][r] += step[r];
            }
        }
      }
      const i64 first_row = row + own_row + lane / 4, first_column = column + own_column + lane % 4 * 2;
      u32 lost = 0;
#pragma unroll
      for (i32 at = 0; at < 16; ++at) {
        const i64 i = first_row + at / 8 * 16 + at / 2 % 2 * 8, j = first_column + at / 4 % 2 * 8 + at % 2;
        if (i < m && j < n) {
          const float sum = sums[at / 8][at / 4 % 2][at % 4];
          // The parts of infinity and of the largest numbers may have no sum, those of the smallest lack bits.
          const float size = fabsf(sum);
          const bool is_usual = size == 0.0f || (size >= 8.1e-28f && size <= 3.4e38f);
          if (A_PARTS + B_PARTS > 2 && !is_usual) lost |= 1u << at;
          else write_sum<ADDS>(c[i * c_row + j * c_column], sum);
        }
      }
      // Such sums are computed as they are written.
      for (; lost != 0; lost &= lost - 1) {
        const i32 at = __ffs(lost) - 1;
        const i64 i = first_row + at / 8 * 16 + at / 2 % 2 * 8, j = first_column + at / 4 % 2 * 8 + at % 2;
        float sum = 0.0f;
#pragma unroll 1
        for (i64 l = 0; l < k; ++l) sum += number(a[i * a_row + l * a_column]) * number(b[l * b_row + j * b_column]);
        write_sum<ADDS>(c[i * c_row + j * c_column], sum);
      }
    }
}
