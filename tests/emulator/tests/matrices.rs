//! Matrix instructions against exact arithmetic, with the layouts of registers as the PTX manual gives them.

use carousel_emulator::{Launch, Memory, Module};

/// Runs one warp on a memory of words, which it may change.
fn run(body: &str, words: &[u32]) -> Vec<u32> {
    let text = format!(
        ".version 8.0 .target sm_80 .address_size 64
        .visible .entry k(.param .u64 x) {{
            .reg .b32 %r<40>; .reg .b64 %rd<8>; .reg .b32 %a<8>; .reg .b32 %s<4>;
            .shared .align 16 .b8 tile[1024];
            ld.param.u64 %rd1, [x];
            mov.u32 %r1, %tid.x;
            mul.wide.u32 %rd2, %r1, 56;
            add.s64 %rd3, %rd1, %rd2;
            {body}
            ret;
        }}"
    );
    let module = Module::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    let mut memory = Memory::default();
    let x = memory.allocate(4 * words.len());
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    memory.write(x, &bytes).expect("it is allocated");
    let launch = Launch { grid: [1; 3], block: [32, 1, 1], ..Launch::default() };
    let record = module.kernel("k").expect("it is there").launch(&mut memory, &launch, &x.to_le_bytes());
    assert!(record.findings.is_empty(), "{:?}", record.findings);
    let bytes = memory.read(x, 4 * words.len()).expect("it is allocated");
    bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes"))).collect()
}

/// `A B + C` by `mma.m16n8k16`. A thread has 14 words: its registers of A, B and C, and those of the result.
fn product(a: &[[f32; 16]; 16], b: &[[f32; 8]; 16], c: &[[f32; 8]; 16]) -> [[f32; 8]; 16] {
    let half = |x: f32| {
        assert_eq!(x.to_bits() & 0xffff, 0, "{x} is no bf16 number");
        x.to_bits() >> 16
    };
    let pair = |low: f32, high: f32| half(high) << 16 | half(low);
    let mut words = vec![0u32; 32 * 14];
    for lane in 0..32 {
        let (group, inner) = (lane / 4, lane % 4);
        let own = &mut words[14 * lane..];
        // Elements 2n and 2n + 1 of a thread are in its register n.
        for (n, word) in own[..4].iter_mut().enumerate() {
            let row = if n == 0 || n == 2 { group } else { group + 8 };
            let column = inner * 2 + if n >= 2 { 8 } else { 0 };
            *word = pair(a[row][column], a[row][column + 1]);
        }
        for n in 0..2 {
            let row = inner * 2 + if n >= 1 { 8 } else { 0 };
            own[4 + n] = pair(b[row][group], b[row + 1][group]);
        }
        for i in 0..4 {
            own[6 + i] = c[if i < 2 { group } else { group + 8 }][inner * 2 + (i & 1)].to_bits();
        }
    }
    let load: String = (0..10).map(|n| format!("ld.global.b32 %r{}, [%rd3+{}];\n", 10 + n, 4 * n)).collect();
    let store: String = (0..4).map(|n| format!("st.global.b32 [%rd3+{}], %s{n};\n", 40 + 4 * n)).collect();
    let multiply = "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%s0, %s1, %s2, %s3}, \
                    {%r10, %r11, %r12, %r13}, {%r14, %r15}, {%r16, %r17, %r18, %r19};";
    let words = run(&format!("{load}{multiply}{store}"), &words);
    let mut result = [[0.0; 8]; 16];
    for lane in 0..32 {
        let (group, inner) = (lane / 4, lane % 4);
        for i in 0..4 {
            let row = if i < 2 { group } else { group + 8 };
            result[row][inner * 2 + (i & 1)] = f32::from_bits(words[14 * lane + 10 + i]);
        }
    }
    result
}

/// The same numbers in every run.
struct Draw(u64);

impl Draw {
    fn next(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % count
    }

    /// A bf16 number, an integer of seven bits times a power of two.
    fn number(&mut self, exponents: u64) -> f32 {
        (self.next(255) as f32 - 127.0) * 2f32.powi(self.next(exponents) as i32)
    }

    fn matrix<const R: usize, const C: usize>(&mut self, exponents: u64) -> [[f32; C]; R] {
        std::array::from_fn(|_| std::array::from_fn(|_| self.number(exponents)))
    }
}

#[test]
fn products_are_exact_where_a_float_has_room_for_them() {
    let mut draw = Draw(1);
    for _ in 0..20 {
        let (a, b, c) = (draw.matrix::<16, 16>(1), draw.matrix::<16, 8>(1), draw.matrix::<16, 8>(8));
        let found = product(&a, &b, &c);
        for (row, (found, c)) in found.iter().zip(&c).enumerate() {
            for column in 0..8 {
                let factors = |l: usize| i64::from(a[row][l] as i32) * i64::from(b[l][column] as i32);
                let exact = c[column] as i64 + (0..16).map(factors).sum::<i64>();
                assert_eq!(f64::from(found[column]), exact as f64, "row {row}, column {column}");
            }
        }
    }
}

#[test]
fn what_is_added_is_cut_off_below_the_last_bit_of_the_largest() {
    let mut draw = Draw(2);
    let mut below = 0;
    for _ in 0..20 {
        let mut a = draw.matrix::<16, 16>(12).map(|row| row.map(f32::abs));
        let b = draw.matrix::<16, 8>(12).map(|row| row.map(f32::abs));
        let c = draw.matrix::<16, 8>(24).map(|row| row.map(f32::abs));
        // Rows of both signs too.
        a[..4].iter_mut().flatten().step_by(3).for_each(|x| *x = -*x);
        let found = product(&a, &b, &c);
        for (row, (found, c)) in found.iter().zip(&c).enumerate() {
            for column in 0..8 {
                let factors = |l: usize| f64::from(a[row][l]) * f64::from(b[l][column]);
                let exact = f64::from(c[column]) + (0..16).map(factors).sum::<f64>();
                let all = f64::from(c[column].abs()) + (0..16).map(|l| factors(l).abs()).sum::<f64>();
                // Nine addends lose less than their last bit each, twice, and so do the two results.
                let error = exact - f64::from(found[column]);
                assert!(error.abs() <= 20.0 * 2f64.powi(-23) * all, "row {row}, column {column}: {error}");
                below += usize::from(row >= 4 && error > 0.0);
                assert!(row < 4 || error >= 0.0, "row {row}, column {column}: {error}");
            }
        }
    }
    assert!(below > 1000, "only {below} results are too small");
    let mut a = [[0.0; 16]; 16];
    let b = [[1.0; 8]; 16];
    (a[0][0], a[0][1]) = (1.0, -(2f32.powi(-24)));
    assert_eq!(product(&a, &b, &[[0.0; 8]; 16])[0][0], 1.0);
    a[0][1] = -(2f32.powi(-23));
    assert_eq!(product(&a, &b, &[[0.0; 8]; 16])[0][0], 1.0 - 2f32.powi(-23));
}

#[test]
fn infinity_and_nan_stay_what_they_are() {
    let (mut a, mut b) = ([[1.0; 16]; 16], [[1.0; 8]; 16]);
    (a[3][5], a[4][15]) = (f32::INFINITY, f32::NAN);
    b[5][2] = 0.0;
    let found = product(&a, &b, &[[0.0; 8]; 16]);
    assert_eq!((found[3][0], found[0][0], found[0][2]), (f32::INFINITY, 16.0, 15.0));
    assert!(found[3][2].is_nan() && found[4][0].is_nan());
}

#[test]
fn matrices_are_loaded_by_rows_or_by_columns() {
    // Four matrices of 8 x 8, with rows 16 bytes apart; element n of all is the number n.
    let mut words = vec![0u32; 32 * 14];
    for (at, word) in words.iter_mut().take(128).enumerate() {
        *word = (2 * at + 1) as u32 + (1 << 16) * (2 * at + 2) as u32;
    }
    for (kind, transposed) in [("", false), (".trans", true)] {
        let body = format!(
            "shl.b32 %r2, %r1, 4;
            mov.u32 %r3, tile;
            add.s32 %r4, %r3, %r2;
            mul.wide.u32 %rd4, %r1, 16;
            add.s64 %rd5, %rd1, %rd4;
            ld.global.v4.b32 {{%r5, %r6, %r7, %r8}}, [%rd5];
            st.shared.v4.b32 [%r4], {{%r5, %r6, %r7, %r8}};
            bar.sync 0;
            ldmatrix.sync.aligned.m8n8.x4{kind}.shared.b16 {{%a0, %a1, %a2, %a3}}, [%r4];
            st.global.v4.b32 [%rd5+512], {{%a0, %a1, %a2, %a3}};"
        );
        let found = run(&body, &words);
        for lane in 0..32 {
            for matrix in 0..4 {
                let word = found[128 + 4 * lane + matrix];
                for (half, found) in [(0, word & 0xffff), (1, word >> 16)] {
                    let (row, column) = (lane / 4, lane % 4 * 2 + half);
                    let (row, column) = if transposed { (column, row) } else { (row, column) };
                    assert_eq!(found as usize, 64 * matrix + 8 * row + column + 1, "lane {lane}");
                }
            }
        }
    }
}
