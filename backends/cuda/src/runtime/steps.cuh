// A step from a state s to the larger one of s + add and least. Several of them, one after the other, are one again.
template <class T>
struct Step {
  T add, least;
};
template <class T>
static __device__ T state_after(Step<T> step, T state) { return larger(state + step.add, step.least); }
template <class T>
static __device__ Step<T> both_steps(Step<T> first, Step<T> second) {
  return {first.add + second.add, state_after(second, first.least)};
}

// The state before a thread's steps, which come after those of the threads before; `last` is the one after them, bit by bit
// what the next thread gets, and `state` becomes that after all.
template <class T, i32 N>
static __device__ T state_before(const Step<T> (&steps)[N], T& state, T& last) {
  __shared__ Step<T> parts[8];
  Step<T> all = steps[0];
#pragma unroll
  for (i32 at = 1; at < N; ++at) all = both_steps(all, steps[at]);
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const T add = __shfl_up_sync(0xffffffffu, all.add, distance), least = __shfl_up_sync(0xffffffffu, all.least, distance);
    if (threadIdx.x % 32 >= distance) all = both_steps(Step<T>{add, least}, all);
  }
  __syncthreads(); // whoever called before has read the parts
  if (threadIdx.x % 32 == 31) parts[threadIdx.x / 32] = all;
  __syncthreads();
  T own = state;
#pragma unroll
  for (int warp = 0; warp < 8; ++warp) {
    if (warp == threadIdx.x / 32) own = state;
    state = state_after(parts[warp], state);
  }
  last = state_after(all, own);
  const T before = __shfl_up_sync(0xffffffffu, last, 1);
  return threadIdx.x % 32 == 0 ? own : before;
}
