static __device__ float from_bf16(bf16 x) { return __uint_as_float((u32)x.bits << 16); }

// The nearest bf16 number, ties to even; NaN stays NaN.
static __device__ bf16 to_bf16(float x) {
  bf16 narrow;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(x));
  return narrow;
}
static __device__ float round_bf16(float x) { return from_bf16(to_bf16(x)); }

// The same of f16, for which there are instructions; what is too large becomes infinite.
static __device__ float from_f16(f16 x) {
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
  return wide;
}
static __device__ f16 to_f16(float x) {
  f16 narrow;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(x));
  return narrow;
}
static __device__ float round_f16(float x) { return from_f16(to_f16(x)); }

// -1, 0 or 1; NaN and zeros stay.
template <class T>
static __device__ T sign(T x) { return x > T(0) ? T(1) : x < T(0) ? T(-1) : x; }
static __device__ u32 sign(u32 x) { return x != 0u; }

// NaN wins.
template <class T>
static __device__ T smaller(T a, T b) { return a < b || a != a ? a : b; }
template <class T>
static __device__ T larger(T a, T b) { return a > b || a != a ? a : b; }

static __device__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
static __device__ double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

// log(1 / (1 + exp(-x))) without overflow.
static __device__ float log_sigmoid(float x) { return fminf(x, 0.0f) - log1pf(expf(-fabsf(x))); }
static __device__ double log_sigmoid(double x) { return fmin(x, 0.0) - log1p(exp(-fabs(x))); }

// Truncated, and the nearest number where it is out of range; NaN becomes 0.
static __device__ i32 to_i32(float x) { return x != x ? 0 : (i32)x; }
static __device__ i32 to_i32(double x) { return x != x ? 0 : (i32)x; }
static __device__ u32 to_u32(float x) { return x != x ? 0u : (u32)x; }
static __device__ u32 to_u32(double x) { return x != x ? 0u : (u32)x; }

// Truncating division in 64 bits, where nothing overflows. Division by 0 is reported, and gives 0.
template <class T>
static __device__ T divided(T a, T b, u32* status, u32 fault) {
  if (b != 0) return (T)((i64)a / (i64)b);
  atomicOr(status, fault);
  return 0;
}
