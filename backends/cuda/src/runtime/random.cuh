// Philox4x32-10 (Salmon, Moraes, Dror and Shaw, 2011): the four words of a key at a counter.
struct Words { u32 w[4]; };
static __device__ Words philox(u32 k0, u32 k1, u32 c0, u32 c1, u32 c2, u32 c3) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const u64 a = 0xd2511f53ull * c0, b = 0xcd9e8d57ull * c2;
    c0 = (u32)(b >> 32) ^ c1 ^ k0;
    c1 = (u32)b;
    c2 = (u32)(a >> 32) ^ c3 ^ k1;
    c3 = (u32)a;
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
  return {{c0, c1, c2, c3}};
}

// Element `index` of a stream: 24 bits of word `index % 4` of the block at `index / 4`.
static __device__ float philox_uniform(u32 seed, u32 stream, u32 step, i64 index) {
  const u64 block = (u64)index / 4;
  const Words words = philox(seed, stream, (u32)block, (u32)(block >> 32), step, 0u);
  const int at = (int)((u64)index % 4);
  const u32 word = at < 2 ? (at == 0 ? words.w[0] : words.w[1]) : (at == 2 ? words.w[2] : words.w[3]);
  return (float)(word >> 8) * (1.0f / 16777216.0f);
}

static __device__ u32 philox_fold_in(u32 seed, u32 number) { return philox(seed, number, 0u, 0u, 0u, 0u).w[0]; }
