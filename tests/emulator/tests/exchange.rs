//! Instructions by which threads exchange numbers, against their definitions in the PTX manual: shuffles, votes, atomic
//! operations.

use carousel_emulator::{Launch, Memory, Module};

/// Runs a body on one warp, whose threads have two words each, at `%rd3`; `%r1` is the lane.
fn run(body: &str, words: &[[u32; 2]; 32]) -> [[u32; 2]; 32] {
    let text = format!(
        ".version 8.0 .target sm_80 .address_size 64
        .visible .entry k(.param .u64 x) {{
            .reg .pred %p<4>; .reg .b32 %r<16>; .reg .b64 %rd<8>;
            ld.param.u64 %rd1, [x];
            mov.u32 %r1, %tid.x;
            mul.wide.u32 %rd2, %r1, 8;
            add.s64 %rd3, %rd1, %rd2;
            ld.global.v2.b32 {{%r2, %r3}}, [%rd3];
            {body}
            st.global.v2.b32 [%rd3], {{%r4, %r5}};
            ret;
        }}"
    );
    let module = Module::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    let mut memory = Memory::default();
    let x = memory.allocate(256);
    let bytes: Vec<u8> = words.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
    memory.write(x, &bytes).expect("it is allocated");
    let launch = Launch { grid: [1; 3], block: [32, 1, 1], ..Launch::default() };
    let record = module.kernel("k").expect("it is there").launch(&mut memory, &launch, &x.to_le_bytes());
    assert!(record.findings.is_empty(), "{body}: {:?}", record.findings);
    let bytes = memory.read(x, 256).expect("it is allocated");
    let word = |at: usize| u32::from_le_bytes(bytes[4 * at..4 * at + 4].try_into().expect("four bytes"));
    std::array::from_fn(|lane| [word(2 * lane), word(2 * lane + 1)])
}

#[test]
fn shuffles() {
    let words: [[u32; 2]; 32] = std::array::from_fn(|lane| [1000 + 7 * lane as u32, 0]);
    for mode in ["up", "down", "bfly", "idx"] {
        for distance in [0, 1, 3, 8, 16, 31] {
            // All lanes together, and in segments of eight.
            for (segment, clamp) in [(0, 31), (0b11000, 31), (0, 0), (0b11000, 0)] {
                let control = segment << 8 | clamp;
                let body = format!(
                    "shfl.sync.{mode}.b32 %r4|%p1, %r2, {distance}, {control}, -1;
                    selp.u32 %r5, 1, 0, %p1;"
                );
                for (lane, found) in run(&body, &words).iter().enumerate() {
                    let lane = lane as i64;
                    let most = (lane & segment) | (clamp & !segment);
                    let (from, is_there) = match mode {
                        "up" => (lane - distance, lane - distance >= most),
                        "down" => (lane + distance, lane + distance <= most),
                        "bfly" => (lane ^ distance, lane ^ distance <= most),
                        _ => {
                            let from = (lane & segment) | (distance & !segment);
                            (from, from <= most)
                        }
                    };
                    let from = if is_there { from } else { lane };
                    let expected = [words[from as usize][0], u32::from(is_there)];
                    assert_eq!(*found, expected, "{mode} {distance} {segment:#b} {clamp} of lane {lane}");
                }
            }
        }
    }
}

#[test]
fn votes() {
    for (body, holds) in [
        ("setp.lt.u32 %p1, %r1, 5;", 0x1f),
        ("setp.ge.u32 %p1, %r1, 0;", !0),
        ("setp.lt.u32 %p1, %r1, 0;", 0u32),
    ] {
        let ballot =
            run(&format!("{body} vote.sync.ballot.b32 %r4, %p1, -1; mov.u32 %r5, 0;"), &[[0; 2]; 32]);
        assert!(ballot.iter().all(|found| found[0] == holds), "{body}");
        let both = "vote.sync.any.pred %p2, %p1, -1; vote.sync.all.pred %p3, %p1, -1;
            selp.u32 %r4, 1, 0, %p2; selp.u32 %r5, 1, 0, %p3;";
        let expected = [u32::from(holds != 0), u32::from(holds == !0)];
        assert!(
            run(&format!("{body} {both}"), &[[0; 2]; 32]).iter().all(|found| *found == expected),
            "{body}"
        );
    }
}

#[test]
fn atomic_operations() {
    // Each thread on a word of its own: what was there, and what is there then.
    type Exact = fn(u32, u32) -> u32;
    let float: Exact = |a, b| (f32::from_bits(a) + f32::from_bits(b)).to_bits();
    let operations: [(&str, Exact); 11] = [
        ("add.u32", u32::wrapping_add),
        ("add.s32", u32::wrapping_add),
        ("add.f32", float),
        ("min.u32", u32::min),
        ("max.u32", u32::max),
        ("min.s32", |a, b| (a as i32).min(b as i32) as u32),
        ("max.s32", |a, b| (a as i32).max(b as i32) as u32),
        ("and.b32", |a, b| a & b),
        ("or.b32", |a, b| a | b),
        ("xor.b32", |a, b| a ^ b),
        ("exch.b32", |_, b| b),
    ];
    let numbers = [0, 1, 7, 0x7fff_ffff, 0x8000_0000, !0, 1.5f32.to_bits(), (-2.25f32).to_bits()];
    let words: [[u32; 2]; 32] = std::array::from_fn(|lane| [numbers[lane % 8], numbers[lane / 4]]);
    for (operation, exact) in operations {
        let body = format!("atom.global.{operation} %r4, [%rd3], %r3; ld.global.b32 %r5, [%rd3];");
        for (found, [a, b]) in run(&body, &words).iter().zip(words) {
            let same = |x: u32, y: u32| x == y || (f32::from_bits(x).is_nan() && f32::from_bits(y).is_nan());
            assert!(
                found[0] == a && same(found[1], exact(a, b)),
                "{operation} of {a:#x}, {b:#x}: {found:x?}"
            );
        }
    }
    let swap = "atom.global.cas.b32 %r4, [%rd3], 7, %r3; ld.global.b32 %r5, [%rd3];";
    for (found, [a, b]) in run(swap, &words).iter().zip(words) {
        assert_eq!(*found, [a, if a == 7 { b } else { a }]);
    }
    // All threads on one word.
    let count = "bar.sync 0; atom.global.add.u32 %r4, [%rd1+4], 1; bar.sync 0;
        ld.global.b32 %r5, [%rd1+4]; bar.sync 0;";
    let text = run(count, &[[0, 0]; 32]);
    assert!(text.iter().all(|found| found[1] == 32));
    let mut before: Vec<u32> = text.iter().map(|found| found[0]).collect();
    before.sort_unstable();
    assert_eq!(before, (0..32).collect::<Vec<u32>>());
}
