// Of numbers that are not negative, by a size: where it is 0 there is no element to address.
static __device__ i64 quotient(i64 a, i64 b) { return (i64)((u64)a / (u64)b); }
static __device__ i64 remainder(i64 a, i64 b) { return (i64)((u64)a % (u64)b); }

static __device__ bool inside(i64 index, i64 bound) { return (u64)index < (u64)bound; }

// How many elements tile number `index` has.
static __device__ i64 tile_extent(i64 whole, i64 tile, i64 index) {
  const i64 left = whole - index * tile;
  return left < tile ? left : tile;
}

// An index from data. One that is out of range is reported, and 0 in its place.
static __device__ i64 checked_index(u32 index, i64 bound, u32* status) {
  if ((i64)index < bound) return index;
  atomicOr(status, 1u);
  return 0;
}
