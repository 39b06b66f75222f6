// Waits until all blocks of a team are here, and what they wrote can be read. They count themselves on one word.
static __device__ void wait_for_team(u32* arrived, u32 team_size) {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    const u32 round = atomicAdd(arrived, 1u) / team_size, goal = (round + 1) * team_size;
    while ((i32)(*(volatile u32*)arrived - goal) < 0) __nanosleep(20);
    __threadfence();
  }
  __syncthreads();
}
// What was old is new, and what was new is old.
template <class T>
static __device__ __forceinline__ void swap_places(T*& a, T*& b) {
  T* const old = a;
  a = b;
  b = old;
}
