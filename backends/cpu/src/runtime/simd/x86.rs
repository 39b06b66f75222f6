//! AVX2 and AVX-512.

use super::elements::{Unaligned, behind_mut};
use super::{Bf16, F16, Pair, Registers, Single, Vector, behind};
use crate::runtime::isa::Isa;
use crate::runtime::math::Fused;
use std::arch::x86_64::*;

// maxps gives its second operand where one is NaN: a NaN in b survives by itself, one in a is put back.
register!(
    __m128,
    4,
    _mm_set1_ps,
    _mm_add_ps,
    _mm_mul_ps,
    _mm_fmadd_ps,
    |a, b| _mm_blendv_ps(_mm_max_ps(a, b), a, _mm_cmpunord_ps(a, a)),
    |v| {
        let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
        _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
    },
    |x: i64| [
        _mm_castsi128_ps(_mm_slli_epi32::<16>(_mm_cvtepu16_epi32(_mm_cvtsi64_si128(x)))),
        _mm_cvtph_ps(_mm_cvtsi64_si128(x))
    ]
);
register!(
    __m256,
    8,
    _mm256_set1_ps,
    _mm256_add_ps,
    _mm256_mul_ps,
    _mm256_fmadd_ps,
    |a, b| _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a)),
    |v| _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v)).sum(),
    |x: __m128i| [_mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(x))), _mm256_cvtph_ps(x)]
);
register!(
    __m512,
    16,
    _mm512_set1_ps,
    _mm512_add_ps,
    _mm512_mul_ps,
    _mm512_fmadd_ps,
    |a, b| _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a), _mm512_max_ps(a, b), a),
    |v| _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v)).sum(),
    |x: __m256i| [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(x))), _mm512_cvtph_ps(x)]
);

/// AVX2 with FMA and F16C.
pub(in crate::runtime) struct Avx2Registers;
impl Registers for Avx2Registers {
    const ISA: Isa = Isa::Avx2;
    type Scalars = Fused;
    type One = Single<Fused>;
    type Four = __m128;
    type Eight = __m256;
    type Sixteen = Pair<__m256>;
    const WIDE_SUMS: usize = 2;
}

/// AVX-512 F, DQ, BW, VL.
pub(in crate::runtime) struct Avx512Registers;
impl Registers for Avx512Registers {
    const ISA: Isa = Isa::Avx512;
    type Scalars = Fused;
    type One = Single<Fused>;
    type Four = __m128;
    type Eight = __m256;
    type Sixteen = __m512;
    const WIDE_SUMS: usize = 4;

    /// Pairs, fours and then whole rows change places, in registers.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "iterators may not be inlined under a target feature")]
    unsafe fn transpose(from: *const f32, from_rows: isize, to: *mut f32, to_rows: isize) {
        // SAFETY: rows of the squares, and instructions that the caller has.
        unsafe {
            let mut rows = [_mm512_setzero_ps(); 16];
            for j in 0..16 {
                rows[j] = <__m512 as Vector>::load(from.wrapping_offset(j as isize * from_rows));
            }
            let mut pairs = rows;
            for i in 0..8 {
                pairs[2 * i] = _mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
                pairs[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
            }
            // Lane l of fours[4 i + q] has column 4 l + q of rows 4 i to 4 i + 3.
            let mut fours = [_mm512_setzero_pd(); 16];
            for i in 0..8 {
                let first = 4 * (i / 2) + i % 2;
                let (a, b) = (_mm512_castps_pd(pairs[first]), _mm512_castps_pd(pairs[first + 2]));
                let at = 4 * (i / 2) + 2 * (i % 2);
                fours[at] = _mm512_unpacklo_pd(a, b);
                fours[at + 1] = _mm512_unpackhi_pd(a, b);
            }
            for q in 0..4 {
                let (a, b) = (fours[q], fours[4 + q]);
                let (c, d) = (fours[8 + q], fours[12 + q]);
                let (even, odd) = (_mm512_shuffle_f64x2(a, b, 0x88), _mm512_shuffle_f64x2(a, b, 0xdd));
                let (even_2, odd_2) = (_mm512_shuffle_f64x2(c, d, 0x88), _mm512_shuffle_f64x2(c, d, 0xdd));
                let columns = [
                    _mm512_shuffle_f64x2(even, even_2, 0x88),
                    _mm512_shuffle_f64x2(odd, odd_2, 0x88),
                    _mm512_shuffle_f64x2(even, even_2, 0xdd),
                    _mm512_shuffle_f64x2(odd, odd_2, 0xdd),
                ];
                for l in 0..4 {
                    let row = to.wrapping_offset((4 * l + q) as isize * to_rows);
                    _mm512_castpd_ps(columns[l]).store(row);
                }
            }
        }
    }
}
