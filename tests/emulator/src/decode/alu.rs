//! Instructions that compute on the registers of one thread: one row an opcode.
//!
//! Invariant: a row is exactly what the PTX manual says for the opcode with all its modifiers; an opcode without a row is
//! not known. Approximate functions (`ex2.approx` and the like) give the nearest float, which is within their bounds.

use super::bits::{Bits, Brain, Rounding, brain_bits, fused};
use half::f16;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Threads of a warp.
pub(crate) const LANES: usize = 32;

/// A register of all threads of a warp.
pub(crate) type Lanes = [u64; LANES];

/// A function of up to four registers.
pub(crate) type Alu = fn([&Lanes; 4]) -> Lanes;

/// A PTX type as a type of Rust.
macro_rules! rust {
    (u16) => {
        u16
    };
    (s16) => {
        i16
    };
    (b16) => {
        u16
    };
    (u32) => {
        u32
    };
    (s32) => {
        i32
    };
    (b32) => {
        u32
    };
    (u64) => {
        u64
    };
    (s64) => {
        i64
    };
    (b64) => {
        u64
    };
    (f32) => {
        f32
    };
    (f64) => {
        f64
    };
    (pred) => {
        bool
    };
}

macro_rules! lanes {
    ($l:ident, $from:ident, $($body:tt)*) => {{
        fn run($from: [&Lanes; 4]) -> Lanes {
            std::array::from_fn(|$l| { $($body)* })
        }
        run as Alu
    }};
}

/// A closure as a function of registers; arguments without a type have the row's.
macro_rules! alu {
    ($t:ident (|$a:ident| $e:expr)) => {
        lanes!(l, r, let $a: rust!($t) = Bits::of(r[0][l]); Bits::bits($e))
    };
    ($t:ident (|$a:ident, $b:ident| $e:expr)) => {
        lanes!(l, r, let ($a, $b): (rust!($t), rust!($t)) = (Bits::of(r[0][l]), Bits::of(r[1][l])); Bits::bits($e))
    };
    ($t:ident (|$a:ident, $b:ident: $tb:ty| $e:expr)) => {
        lanes!(l, r, let ($a, $b): (rust!($t), $tb) = (Bits::of(r[0][l]), Bits::of(r[1][l])); Bits::bits($e))
    };
    ($t:ident (|$a:ident, $b:ident, $c:ident| $e:expr)) => {
        lanes!(l, r, let ($a, $b, $c): (rust!($t), rust!($t), rust!($t)) =
            (Bits::of(r[0][l]), Bits::of(r[1][l]), Bits::of(r[2][l])); Bits::bits($e))
    };
    ($t:ident (|$a:ident, $b:ident, $c:ident: $tc:ty| $e:expr)) => {
        lanes!(l, r, let ($a, $b, $c): (rust!($t), rust!($t), $tc) =
            (Bits::of(r[0][l]), Bits::of(r[1][l]), Bits::of(r[2][l])); Bits::bits($e))
    };
    ($t:ident (|$a:ident, $b:ident, $c:ident, $d:ident| $e:expr)) => {
        lanes!(l, r, let ($a, $b, $c, $d): (rust!($t), rust!($t), rust!($t), rust!($t)) =
            (Bits::of(r[0][l]), Bits::of(r[1][l]), Bits::of(r[2][l]), Bits::of(r[3][l])); Bits::bits($e))
    };
}

macro_rules! typed {
    ($($name:literal [$($t:ident)*] $f:tt;)*) => {
        [$($((concat!($name, ".", stringify!($t)), alu!($t $f)),)*)*]
    };
}

macro_rules! conversions {
    ($($name:literal |$a:ident: $t:ty| $e:expr;)*) => {
        [$(($name, lanes!(l, r, let $a: $t = Bits::of(r[0][l]); Bits::bits($e))),)*]
    };
}

/// Everything that is computed on registers. `.rn`, and `.lo` of products, are left out of the names.
#[rustfmt::skip]
fn rows() -> Vec<(&'static str, Alu)> {
    let mut rows = typed! {
        "mov"     [b16 u16 s16 b32 u32 s32 b64 u64 s64 f32 f64 pred] (|a| a);
        "add"     [u16 s16 u32 s32 u64 s64] (|a, b| a.wrapping_add(b));
        "sub"     [u16 s16 u32 s32 u64 s64] (|a, b| a.wrapping_sub(b));
        "mul"     [u16 s16 u32 s32 u64 s64] (|a, b| a.wrapping_mul(b));
        "mad"     [u16 s16 u32 s32 u64 s64] (|a, b, c| a.wrapping_mul(b).wrapping_add(c));
        "div"     [u16 u32 u64]             (|a, b| a.checked_div(b).unwrap_or(!0));
        "div"     [s16 s32 s64]             (|a, b| if b == 0 { -1 } else { a.wrapping_div(b) });
        "rem"     [u16 s16 u32 s32 u64 s64] (|a, b| if b == 0 { a } else { a.wrapping_rem(b) });
        "min"     [u16 s16 u32 s32 u64 s64] (|a, b| a.min(b));
        "max"     [u16 s16 u32 s32 u64 s64] (|a, b| a.max(b));
        "neg"     [s16 s32 s64]             (|a| a.wrapping_neg());
        "abs"     [s16 s32 s64]             (|a| a.wrapping_abs());
        "and"     [b16 b32 b64 pred]        (|a, b| a & b);
        "or"      [b16 b32 b64 pred]        (|a, b| a | b);
        "xor"     [b16 b32 b64 pred]        (|a, b| a ^ b);
        "not"     [b16 b32 b64 pred]        (|a| !a);
        "shl"     [b16 b32 b64]             (|a, n: u32| a.checked_shl(n).unwrap_or(0));
        "shr"     [b16 u16 b32 u32 b64 u64] (|a, n: u32| a.checked_shr(n).unwrap_or(0));
        "shr"     [s16 s32 s64]             (|a, n: u32| a >> n.min(size_of_val(&a) as u32 * 8 - 1));
        "popc"    [b32 b64]                 (|a| a.count_ones());
        "clz"     [b32 b64]                 (|a| a.leading_zeros());
        "bfind"   [u32]                     (|a| 31u32.wrapping_sub(a.leading_zeros()));
        "bfind.shiftamt" [u32]              (|a| if a == 0 { u32::MAX } else { a.leading_zeros() });
        "brev"    [b32 b64]                 (|a| a.reverse_bits());
        "bfe"     [u32]                     (|a, at, n| extract(a, at & 255, n & 255));
        "bfi"     [b32]                     (|a, b, at, n| insert(a.into(), b.into(), at, n, 32) as u32);
        "bfi"     [b64]                     (|a, b, at, n| insert(a, b, at as u32, n as u32, 64));
        "dp2a.lo.u32" [u32]                 (|a, b, c| dot(a, b, c));
        "dp2a.hi.u32" [u32]                 (|a, b, c| dot(a, b >> 16, c));
        "dp4a.u32" [u32]                    (|a, b, c| dot_of_bytes(a, b, c));
        "prmt"    [b32]                     (|a, b, c| permute(a, b, c));
        "lop3"    [b32]                     (|a, b, c, table| lookup(a, b, c, table));
        "shf.l.wrap"  [b32]                 (|a, b, n| funnel(a, b, 32 - (n & 31)));
        "shf.r.wrap"  [b32]                 (|a, b, n| funnel(a, b, n & 31));
        "shf.l.clamp" [b32]                 (|a, b, n| funnel(a, b, 32 - n.min(32)));
        "shf.r.clamp" [b32]                 (|a, b, n| funnel(a, b, n.min(32)));
        "selp"    [b16 u16 s16 b32 u32 s32 b64 u64 s64 f32 f64] (|a, b, p: bool| if p { a } else { b });
        "mul.wide" [u16]                    (|a, b| u32::from(a) * u32::from(b));
        "mul.wide" [s16]                    (|a, b| i32::from(a) * i32::from(b));
        "mul.wide" [u32]                    (|a, b| u64::from(a) * u64::from(b));
        "mul.wide" [s32]                    (|a, b| i64::from(a) * i64::from(b));
        "mad.wide" [u32]                    (|a, b, c: u64| (u64::from(a) * u64::from(b)).wrapping_add(c));
        "mad.wide" [s32]                    (|a, b, c: i64| (i64::from(a) * i64::from(b)).wrapping_add(c));
        "mul.hi"  [u32]                     (|a, b| ((u64::from(a) * u64::from(b)) >> 32) as u32);
        "mul.hi"  [s32]                     (|a, b| ((i64::from(a) * i64::from(b)) >> 32) as i32);
        "mul.hi"  [u64]                     (|a, b| ((u128::from(a) * u128::from(b)) >> 64) as u64);
        "mul.hi"  [s64]                     (|a, b| ((i128::from(a) * i128::from(b)) >> 64) as i64);

        "add"     [f32 f64]                 (|a, b| a + b);
        "sub"     [f32 f64]                 (|a, b| a - b);
        "mul"     [f32 f64]                 (|a, b| a * b);
        "div"     [f32 f64]                 (|a, b| a / b);
        "div.full" [f32]                    (|a, b| a / b);
        "div.approx" [f32]                  (|a, b| a / b);
        "fma"     [f32 f64]                 (|a, b, c| a.mul_add(b, c));
        "fma.rm"  [f32]                     (|a, b, c| fused(a, b, c, Rounding::Down));
        "fma.rp"  [f32]                     (|a, b, c| fused(a, b, c, Rounding::Up));
        "fma.rz"  [f32]                     (|a, b, c| fused(a, b, c, Rounding::Zero));
        "add.rm"  [f32]                     (|a, b| fused(a, 1.0, b, Rounding::Down));
        "add.rp"  [f32]                     (|a, b| fused(a, 1.0, b, Rounding::Up));
        "add.rz"  [f32]                     (|a, b| fused(a, 1.0, b, Rounding::Zero));
        "fma.sat" [f32]                     (|a, b, c| saturated(a.mul_add(b, c)));
        "neg"     [f32 f64]                 (|a| -a);
        "abs"     [f32 f64]                 (|a| a.abs());
        "sqrt"    [f32 f64]                 (|a| a.sqrt());
        "sqrt.approx" [f32]                 (|a| a.sqrt());
        "rsqrt.approx" [f32]                (|a| 1.0 / a.sqrt());
        "rsqrt.approx.ftz" [f64]            (|a| 1.0 / a.sqrt());
        "rcp"     [f32 f64]                 (|a| 1.0 / a);
        "rcp.approx" [f32]                  (|a| 1.0 / a);
        "rcp.approx.ftz" [f32 f64]          (|a| 1.0 / a);
        "ex2.approx" [f32]                  (|a| f64::from(a).exp2() as f32);
        "ex2.approx.ftz" [f32]              (|a| flushed(f64::from(flushed(a)).exp2() as f32));
        "lg2.approx" [f32]                  (|a| f64::from(a).log2() as f32);
        "lg2.approx.ftz" [f32]              (|a| f64::from(flushed(a)).log2() as f32);
        "tanh.approx" [f32]                 (|a| f64::from(a).tanh() as f32);
        // -0 is less than 0.
        "min"     [f32 f64]                 (|a, b| if b.is_nan() || a.total_cmp(&b).is_lt() && !a.is_nan() { a } else { b });
        "max"     [f32 f64]                 (|a, b| if b.is_nan() || a.total_cmp(&b).is_gt() && !a.is_nan() { a } else { b });
        "min.NaN" [f32]                     (|a, b| if a.is_nan() || !b.is_nan() && a.total_cmp(&b).is_lt() { a } else { b });
        "max.NaN" [f32]                     (|a, b| if a.is_nan() || !b.is_nan() && a.total_cmp(&b).is_gt() { a } else { b });
        "copysign" [f32 f64]                (|a, b| b.copysign(a));

        "setp.eq" [b16 u16 s16 b32 u32 s32 b64 u64 s64 f32 f64] (|a, b| a == b);
        "setp.lt" [u16 s16 u32 s32 u64 s64 f32 f64] (|a, b| a < b);
        "setp.le" [u16 s16 u32 s32 u64 s64 f32 f64] (|a, b| a <= b);
        "setp.gt" [u16 s16 u32 s32 u64 s64 f32 f64] (|a, b| a > b);
        "setp.ge" [u16 s16 u32 s32 u64 s64 f32 f64] (|a, b| a >= b);
        "setp.lo" [u32 u64]                 (|a, b| a < b);
        "setp.ls" [u32 u64]                 (|a, b| a <= b);
        "setp.hi" [u32 u64]                 (|a, b| a > b);
        "setp.hs" [u32 u64]                 (|a, b| a >= b);
        "setp.ne" [b16 u16 s16 b32 u32 s32 b64 u64 s64] (|a, b| a != b);
        "setp.ne" [f32 f64]                 (|a, b| a != b && !a.is_nan() && !b.is_nan());
        "setp.equ" [f32 f64]                (|a, b| a == b || a.is_nan() || b.is_nan());
        "setp.neu" [f32 f64]                (|a, b| a != b);
        "setp.ltu" [f32 f64]                (|a, b| a < b || a.is_nan() || b.is_nan());
        "setp.leu" [f32 f64]                (|a, b| a <= b || a.is_nan() || b.is_nan());
        "setp.gtu" [f32 f64]                (|a, b| a > b || a.is_nan() || b.is_nan());
        "setp.geu" [f32 f64]                (|a, b| a >= b || a.is_nan() || b.is_nan());
        "setp.num" [f32 f64]                (|a, b| !a.is_nan() && !b.is_nan());
        "setp.nan" [f32 f64]                (|a, b| a.is_nan() || b.is_nan());
        "testp.infinite" [f32 f64]          (|a| a.is_infinite());
        "testp.finite" [f32 f64]            (|a| a.is_finite());
    }
    .to_vec();
    rows.extend(conversions! {
        "cvt.u16.u8"       |a: u8| u16::from(a);
        "cvt.u16.u32"      |a: u32| a as u16;
        "cvt.u16.u64"      |a: u64| a as u16;
        "cvt.s16.s32"      |a: i32| a as i16;
        "cvt.u32.u8"       |a: u8| u32::from(a);
        "cvt.s32.s8"       |a: i8| i32::from(a);
        "cvt.u32.u16"      |a: u16| u32::from(a);
        "cvt.s32.s16"      |a: i16| i32::from(a);
        "cvt.u32.u64"      |a: u64| a as u32;
        "cvt.s32.s64"      |a: i64| a as i32;
        "cvt.u64.u16"      |a: u16| u64::from(a);
        "cvt.u64.u32"      |a: u32| u64::from(a);
        "cvt.s64.s32"      |a: i32| i64::from(a);
        "cvt.f32.s32"      |a: i32| a as f32;
        "cvt.f32.u32"      |a: u32| a as f32;
        "cvt.f32.s64"      |a: i64| a as f32;
        "cvt.f32.u64"      |a: u64| a as f32;
        "cvt.f32.u16"      |a: u16| f32::from(a);
        "cvt.f32.s16"      |a: i16| f32::from(a);
        "cvt.f64.s32"      |a: i32| f64::from(a);
        "cvt.f64.u32"      |a: u32| f64::from(a);
        "cvt.f64.s64"      |a: i64| a as f64;
        "cvt.f64.u64"      |a: u64| a as f64;
        "cvt.f64.f32"      |a: f32| f64::from(a);
        "cvt.f32.f64"      |a: f64| a as f32;
        "cvt.f32.bf16"     |a: Brain| a.0;
        "cvt.bf16.f32"     |a: f32| Brain(a);
        "cvt.f32.f16"      |a: f16| a.to_f32();
        "cvt.f16.f32"      |a: f32| f16::from_f32(a);
        "cvt.sat.f32.f32"  |a: f32| saturated(a);
        "cvt.rzi.s32.f32"  |a: f32| a as i32;
        "cvt.rzi.u32.f32"  |a: f32| a as u32;
        // Of NaN, these give the number with the highest bit alone.
        "cvt.rzi.s64.f32"  |a: f32| if a.is_nan() { i64::MIN } else { a as i64 };
        "cvt.rzi.u64.f32"  |a: f32| if a.is_nan() { 1 << 63 } else { a as u64 };
        "cvt.rzi.s32.f64"  |a: f64| if a.is_nan() { i32::MIN } else { a as i32 };
        "cvt.rzi.u32.f64"  |a: f64| if a.is_nan() { 1 << 31 } else { a as u32 };
        "cvt.rzi.s64.f64"  |a: f64| if a.is_nan() { i64::MIN } else { a as i64 };
        "cvt.rzi.u64.f64"  |a: f64| if a.is_nan() { 1 << 63 } else { a as u64 };
        "cvt.rni.s32.f32"  |a: f32| a.round_ties_even() as i32;
        "cvt.rmi.s32.f32"  |a: f32| a.floor() as i32;
        "cvt.rzi.f32.f32"  |a: f32| a.trunc();
        "cvt.rni.f32.f32"  |a: f32| a.round_ties_even();
        "cvt.rmi.f32.f32"  |a: f32| a.floor();
        "cvt.rpi.f32.f32"  |a: f32| a.ceil();
        "cvt.rzi.f64.f64"  |a: f64| a.trunc();
        "cvt.rni.f64.f64"  |a: f64| a.round_ties_even();
        "cvt.rmi.f64.f64"  |a: f64| a.floor();
        "cvt.rpi.f64.f64"  |a: f64| a.ceil();
    });
    rows.push(("cvt.bf16x2.f32", lanes!(l, r, {
        let half = |bits: u64| u64::from(brain_bits(f32::of(bits)));
        half(r[0][l]) << 16 | half(r[1][l])
    })));
    rows
}

/// The opcodes that are computed on registers, without `.rn` and without `.lo` of products.
pub(crate) fn table() -> &'static HashMap<&'static str, Alu> {
    static TABLE: OnceLock<HashMap<&'static str, Alu>> = OnceLock::new();
    TABLE.get_or_init(|| rows().into_iter().collect())
}

/// The function of an opcode, if it has one.
pub(super) fn function(opcode: &[String]) -> Option<Alu> {
    let is_product = matches!(opcode.first().map(String::as_str), Some("mul" | "mad"));
    let significant = opcode.iter().map(String::as_str);
    let significant = significant.filter(|part| *part != "rn" && !(is_product && *part == "lo"));
    table().get(significant.collect::<Vec<_>>().join(".").as_str()).copied()
}

/// Between 0 and 1; NaN and -0 become 0.
fn saturated(x: f32) -> f32 {
    if x > 0.0 { x.min(1.0) } else { 0.0 }
}

/// Numbers too small to be normal become zeros of their sign.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0.0f32.copysign(x) } else { x }
}

/// `n` bits from bit `at` on.
fn extract(a: u32, at: u32, n: u32) -> u32 {
    let shifted = u64::from(a).checked_shr(at).unwrap_or(0);
    (shifted & ((1u64 << n.min(32)) - 1)) as u32
}

/// `b` with the low `n` bits of `a` from bit `at` on, of numbers of `width` bits.
fn insert(a: u64, b: u64, at: u32, n: u32, width: u32) -> u64 {
    let (at, n) = (at & 255, (n & 255).min(width));
    if at >= width {
        return b;
    }
    let mask = (((1u128 << n) - 1) << at) as u64;
    (b & !mask) | ((a << at) & mask)
}

/// `c` and the products of the bytes of `a` and `b`.
fn dot_of_bytes(a: u32, b: u32, c: u32) -> u32 {
    let products = a.to_le_bytes().into_iter().zip(b.to_le_bytes()).map(|(a, b)| u32::from(a) * u32::from(b));
    products.fold(c, u32::wrapping_add)
}

/// `c` and the products of the two halves of `a` with the two low bytes of `b`.
fn dot(a: u32, b: u32, c: u32) -> u32 {
    let low = (a & 0xffff) * (b & 0xff);
    let high = (a >> 16) * (b >> 8 & 0xff);
    c.wrapping_add(low).wrapping_add(high)
}

/// Bytes of `b:a` by the four selectors in `c`; with its high bit, a selector repeats the byte's sign.
fn permute(a: u32, b: u32, c: u32) -> u32 {
    let bytes = u64::from(b) << 32 | u64::from(a);
    (0..4).fold(0, |result, at| {
        let selector = c >> (4 * at) & 15;
        let byte = (bytes >> (8 * (selector & 7))) as u8;
        let byte = if selector & 8 == 0 { byte } else { ((byte as i8) >> 7) as u8 };
        result | u32::from(byte) << (8 * at)
    })
}

/// Bit by bit, `table` at the number that the bits of a, b and c make.
fn lookup(a: u32, b: u32, c: u32, table: u32) -> u32 {
    let all = |on: bool, x: u32| if on { x } else { !x };
    (0..8)
        .filter(|i| table >> i & 1 != 0)
        .fold(0, |result, i| result | (all(i & 4 != 0, a) & all(i & 2 != 0, b) & all(i & 1 != 0, c)))
}

/// The low half of `b:a >> n`.
fn funnel(a: u32, b: u32, n: u32) -> u32 {
    ((u64::from(b) << 32 | u64::from(a)) >> n) as u32
}
