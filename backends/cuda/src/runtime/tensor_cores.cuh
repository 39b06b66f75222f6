// c = a b or c += a b, with sums in f32, on tensor cores, which multiply bf16 numbers, of 8 bits. What has more bits is the
// sum of several: each part is the bf16 number nearest to what the parts before it leave, three of them all 24 bits of an
// f32, two all 11 of an f16. Products of parts that are below an f32's last bit are left out: those with ranks that add up
// to more than 2. Tensor cores cut off what they add: sums of 16 products, of 64 where each factor is one part, are added up
// outside of them, where sums are rounded. A bf16 number has no bits below 2^-133: where a factor is below 2^-110 and the
// other above 2^16, fewer bits of the product are right. Where factors are ROUNDED to bf16 numbers, each is one part.
template <class T, bool ROUNDED> struct Parts { enum : i32 { COUNT = ROUNDED ? 1 : sizeof(T) == 4 ? 3 : 2 }; };
template <bool ROUNDED> struct Parts<bf16, ROUNDED> { enum : i32 { COUNT = 1 }; };

// The bf16 numbers nearest to two numbers, the first one in the lower half.
static __device__ __forceinline__ u32 nearest(float x, float y) {
  u32 both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(y), "f"(x));
  return both;
}
// The same; the numbers become what is left.
static __device__ __forceinline__ u32 split(float& x, float& y) {
  const u32 both = nearest(x, y);
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

// A run of neighbours on its way from global to shared memory: numbers that are split there.
template <class T, i32 N>
struct Run {
  float x[N];

  // By one access of 16 bytes (of 8, where that is all).
  __device__ __forceinline__ void load_wide(const float* from) {
    const float4 all = *(const float4*)from;
    x[0] = all.x, x[1] = all.y, x[2] = all.z, x[3] = all.w;
  }
  __device__ __forceinline__ void load_wide(const f16* from) {
    u32 pairs[N / 2];
    if constexpr (N == 4) *(uint2*)pairs = *(const uint2*)from;
    else *(uint4*)pairs = *(const uint4*)from;
#pragma unroll
    for (i32 at = 0; at < N; ++at) x[at] = number(f16{(u16)(pairs[at / 2] >> at % 2 * 16)});
  }
  // Those that are there, one by one, and zeros.
  __device__ __forceinline__ void load(const T* from, i64 stride, i64 count) {
#pragma unroll
    for (i32 at = 0; at < N; ++at) x[at] = at < count ? number(from[at * stride]) : 0.0f;
  }
  // The next part of two of them. Nothing is left of the last one.
  __device__ __forceinline__ u32 pair(i32 at, bool is_last) {
    return is_last ? nearest(x[at], x[at + 1]) : split(x[at], x[at + 1]);
  }
};

// bf16 numbers are moved as they are.
template <i32 N>
struct Run<bf16, N> {
  u32 pairs[N / 2];

  __device__ __forceinline__ void load_wide(const bf16* from) { *(uint4*)pairs = *(const uint4*)from; }
  __device__ __forceinline__ void load(const bf16* from, i64 stride, i64 count) {
#pragma unroll
    for (i32 at = 0; at < N; at += 2) {
      const u32 first = at < count ? from[at * stride].bits : 0, second = at + 1 < count ? from[(at + 1) * stride].bits : 0;
      pairs[at / 2] = second << 16 | first;
    }
  }
  __device__ __forceinline__ u32 pair(i32 at, bool) { return pairs[at / 2]; }
};

// One factor. Its tile is 64 rows (of b: columns) by K of the contracted axis, and lies in shared memory as the matrix in
// global memory: with the contracted axis last if that is contiguous there, else first.
template <class T, i32 K, i32 COUNT>
struct Factor {
  // A thread brings runs of neighbours, the block one after the other.
  enum : i32 { RUN = K == 16 ? 4 : 16 / sizeof(T), RUNS = K / (4 * RUN), PART = 64 * K };
  const T* from;
  i64 rows, depth;
  i64 outer_stride, inner_stride;
  u16* tile;
  i32 thread;
  bool along, wide;
  Run<T, RUN> runs[RUNS];

  __device__ __forceinline__ Factor(const T* from, i64 rows, i64 depth, i64 row, i64 column, u16* tile, i32 thread)
      : from(from), rows(rows), depth(depth), tile(tile), thread(thread), along(column == 1) {
    outer_stride = along ? row : column;
    inner_stride = along ? column : row;
    const u32 aligned = RUN * sizeof(T) < 16 ? RUN * sizeof(T) : 16;
    wide = inner_stride == 1 && (u64)from % aligned == 0 && outer_stride * sizeof(T) % aligned == 0;
  }

  // Where a run is in the tile: its row there, and its first element.
  __device__ __forceinline__ i32 row_of_run(i32 number) { return (thread + 256 * number) / ((along ? K : 64) / RUN); }
  __device__ __forceinline__ i32 first_of_run() { return thread % ((along ? K : 64) / RUN) * RUN; }

  // Reads the runs of the tile at a row and a depth; zeros where the matrix ends.
  __device__ __forceinline__ void fetch(i64 row, i64 l) {
    if (wide && row + 64 <= rows && l + K <= depth) {
      const T* first = from + ((along ? row : l) + row_of_run(0)) * outer_stride + (along ? l : row) + first_of_run();
#pragma unroll
      for (i32 number = 0; number < RUNS; ++number)
        runs[number].load_wide(first + (row_of_run(number) - row_of_run(0)) * outer_stride);
      return;
    }
#pragma unroll
    for (i32 number = 0; number < RUNS; ++number) {
      const i64 outer = (along ? row : l) + row_of_run(number), inner = (along ? l : row) + first_of_run();
      const i64 count = outer < (along ? rows : depth) ? (along ? depth : rows) - inner : 0;
      const T* first = from + outer * outer_stride + inner * inner_stride;
      if (wide && count >= RUN) runs[number].load_wide(first);
      else runs[number].load(first, inner_stride, count);
    }
  }

  // Where an element is in the tile. Units of 16 bytes change places within lines of eight, so that neither eight of a
  // column nor eight neighbours are in the same banks.
  __device__ __forceinline__ i32 place(i32 outer, i32 inner) {
    const i32 units = along ? K / 8 : 8, unit = outer * units + inner / 8;
    return (unit ^ (unit / 8 & (units - 1))) * 8 + inner % 8;
  }

  // Puts the parts of the runs into the tile.
  __device__ __forceinline__ void keep() {
#pragma unroll
    for (i32 number = 0; number < RUNS; ++number) {
      Run<T, RUN>& run = runs[number];
      u16* to = tile + place(row_of_run(number), first_of_run());
#pragma unroll
      for (i32 part = 0; part < COUNT; ++part) {
        const bool is_last = part == COUNT - 1;
        u32 pairs[RUN / 2];
#pragma unroll
        for (i32 at = 0; at < RUN; at += 2) pairs[at / 2] = run.pair(at, is_last);
        if constexpr (RUN == 4) *(uint2*)(to + part * PART) = {pairs[0], pairs[1]};
        else *(uint4*)(to + part * PART) = {pairs[0], pairs[1], pairs[2], pairs[3]};
      }
    }
  }

  // 16 rows by 16 of the contracted axis, in four matrices: the second one is 8 rows on if `rows_first`, else 8 deeper.
  __device__ __forceinline__ void fragment(u32 (&to)[4], i32 part, i32 row, i32 l, bool rows_first) {
    const i32 lane = thread % 32, inside = lane % 8, second = lane / 8 % 2 * 8, third = lane / 16 * 8;
    row += rows_first ? second : third;
    l += rows_first ? third : second;
    load_matrices(to, tile + part * PART + (along ? place(row + inside, l) : place(l + inside, row)), !along);
  }
};

// The parts of infinity and of the largest numbers may have no sum, those of the smallest lack bits.
static __device__ __forceinline__ bool is_usual(float sum) {
  const float size = fabsf(sum);
  return size == 0.0f || (size >= 8.1e-28f && size <= 3.4e38f);
}

// Two sums that lie beside each other.
static __device__ __forceinline__ void write_pair(float* to, float x, float y) { *(float2*)to = {x, y}; }
static __device__ __forceinline__ void write_pair(bf16* to, float x, float y) {
  *(u32*)to = nearest(x, y);
}
static __device__ __forceinline__ void write_pair(f16* to, float x, float y) {
  *(u32*)to = (u32)to_f16(y).bits << 16 | to_f16(x).bits;
}

// Tiles of 64 x 64 elements of c, 32 x 16 a warp.
template <bool ADDS, bool ROUNDED, class A, class B, class C>
static __device__ __forceinline__ void product_on_tensor_cores(
    i64 m, i64 n, i64 k, const A* a, i64 a_row, i64 a_column, const B* b, i64 b_row, i64 b_column,
    C* c, i64 c_row, i64 c_column, u32 rank = 0, u32 team_size = 1) {
  constexpr i32 A_PARTS = Parts<A, ROUNDED>::COUNT, B_PARTS = Parts<B, ROUNDED>::COUNT, PARTS = A_PARTS + B_PARTS;
  constexpr i32 K = PARTS > 4 ? 16 : PARTS > 2 ? 32 : 64;
  u16* tiles = (u16*)product_tiles();
  // What depends on the thread is computed here, not kept in registers through the loops around.
  i32 thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  Factor<A, K, A_PARTS> left(a, m, k, a_row, a_column, tiles, thread);
  Factor<B, K, B_PARTS> right(b, n, k, b_column, b_row, tiles + A_PARTS * left.PART, thread);
  const i32 warp = thread / 32, lane = thread % 32;
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
        if (depth + K < k) {
          left.fetch(row, depth + K);
          right.fetch(column, depth + K);
        }
        if (row + own_row >= m || column + own_column >= n) continue; // a warp without elements
        float step[2][2][4] = {};
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
              // The smallest first.
#pragma unroll
              for (i32 rank = 2; rank >= 0; --rank)
#pragma unroll
                for (i32 part = 0; part < A_PARTS; ++part)
                  if (rank >= part && rank - part < B_PARTS)
                    multiply(step[i][j], x[part][i], y[rank - part][2 * j], y[rank - part][2 * j + 1]);
              if (PARTS > 2 || l == K - 16) {
#pragma unroll
                for (i32 r = 0; r < 4; ++r) sums[i][j][r] += step[i][j][r], step[i][j][r] = 0.0f;
              }
            }
        }
      }
      const i64 first_row = row + own_row + lane / 4, first_column = column + own_column + lane % 4 * 2;
      const bool in_pairs = !ADDS && c_column == 1 && row + 64 <= m && column + 64 <= n;
      u32 lost = 0;
#pragma unroll
      for (i32 first = 0; first < 16; first += 2) {
        const i64 i = first_row + first / 8 * 16 + first / 2 % 2 * 8, j = first_column + first / 4 % 2 * 8;
        const float* pair = sums[first / 8][first / 4 % 2] + first % 4;
        C* const place = c + i * c_row + j * c_column;
        const bool are_usual = PARTS == 2 || (is_usual(pair[0]) && is_usual(pair[1]));
        if (in_pairs && are_usual && (u64)place % (2 * sizeof(C)) == 0) {
          write_pair(place, pair[0], pair[1]);
        } else {
#pragma unroll
          for (i32 at = 0; at < 2; ++at)
            if (i < m && j + at < n) {
              if (PARTS > 2 && !is_usual(pair[at])) lost |= 1u << (first + at);
              else write_sum<ADDS>(place[at * c_column], pair[at]);
            }
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
