//! Any text is refused with a line, or parsed; nothing panics.

use carousel_emulator::ptx::parse;
use proptest::prelude::*;

const KERNEL: &str = "
    .version 8.0
    .target sm_80
    .address_size 64
    .visible .entry k(.param .u64 x, .param .align 8 .b8 y[16]) .maxntid 256, 1, 1 {
        .reg .pred %p<3>; .reg .b32 %r<9>; .reg .b64 %rd<4>; .reg .f32 %f<4>;
        .shared .align 16 .b8 tile[1024];
        ld.param.u64 %rd1, [x+0];
        mov.u32 %r1, %tid.x;
        setp.lt.and.u32 %p1, %r1, 7, !%p2;
        @!%p1 bra $done;
        shfl.sync.bfly.b32 %r2|%p2, %r1, 16, 31, -1;
        { .reg .b32 t; mov.b32 t, 0f3F800000; st.global.v2.u32 [%rd1+8], {t, %r1}; }
    $done:
        ret;
    }";

/// Pieces of which texts are made that come close to PTX.
const PIECES: [&str; 24] = [
    ".reg",
    ".b32",
    "%r",
    "<3>",
    ";",
    "{",
    "}",
    "[",
    "]",
    "+",
    "-",
    "4",
    "0x7fffffffffffffff",
    "0f3F800000",
    "@",
    "!",
    "%p1",
    "bra",
    "$a",
    ":",
    ",",
    ".shared",
    ".align",
    "|",
];

#[test]
fn a_kernel_is_parsed() {
    let module = parse(KERNEL).unwrap_or_else(|error| panic!("{error}"));
    let kernel = &module.functions[0];
    assert_eq!((kernel.name.as_str(), kernel.parameter_bytes, kernel.max_threads), ("k", 24, Some(256)));
    assert_eq!(kernel.shared[0].bytes, 1024);
    assert_eq!(kernel.instructions.len(), 8);
}

#[test]
fn variables_have_the_values_that_they_are_given() {
    let text = ".global .align 4 .u32 a = 258; .global .b8 b[4] = {1, 2}; .const .u16 c[2] = {3, 4};
        .global .f32 d[2] = {0f3F800000, 0f40000000}; .global .u16 e[2][2] = {{1, 2}, {3, 4}}; .global .u64 f[1];";
    let globals = parse(text).unwrap_or_else(|error| panic!("{error}")).globals;
    let bytes: Vec<&[u8]> = globals.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    let floats = [1.0f32.to_le_bytes(), 2.0f32.to_le_bytes()].concat();
    let expected: [&[u8]; 6] =
        [&[2, 1, 0, 0], &[1, 2, 0, 0], &[3, 0, 4, 0], &floats, &[1, 0, 2, 0, 3, 0, 4, 0], &[0; 8]];
    assert_eq!(bytes, expected);
    for wrong in [
        ".global .u32 a = 1, 2;",
        ".global .b8 a[1] = {1, 2};",
        ".global .b8 a[2] = {1;",
        ".global .b8 a = };",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_text_that_is_cut_off_is_refused() {
    let begin = KERNEL.find(".entry").expect("a kernel");
    for end in begin + 1..KERNEL.trim_end().len() {
        assert!(parse(&KERNEL[..end]).is_err(), "{}", &KERNEL[..end]);
    }
}

#[test]
fn called_functions_are_refused_by_their_line() {
    let error = parse(".version 8.0\n.func f() { ret; }").expect_err("functions are not known");
    assert_eq!(error.line, 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_refused_or_parsed(text in ".{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn texts_like_ptx_are_refused_or_parsed(pieces in proptest::collection::vec(0..PIECES.len(), 0..40)) {
        let text: Vec<&str> = pieces.iter().map(|at| PIECES[*at]).collect();
        let _ = parse(&format!(".visible .entry k(.param .u64 x) {{ {} }}", text.join(" ")));
        let _ = parse(&text.join(" "));
    }

    #[test]
    fn a_kernel_with_one_character_changed_is_refused_or_parsed(at in 0..KERNEL.len(), c in any::<char>()) {
        let text: String = KERNEL.char_indices().map(|(i, old)| if i == at { c } else { old }).collect();
        let _ = parse(&text);
    }
}

#[test]
fn instructions_come_from_lines_of_functions_and_of_the_kernel() {
    let text = "
        .version 8.0 .target sm_80 .address_size 64
        .visible .entry k() {
            .reg .b32 %r<9>;
            .loc 1 12 3
            mov.u32 %r1, 1;
            .loc 1 40 5, function_name $L__info_string0, inlined_at 1 13 7
            mov.u32 %r2, 2;
            .loc 1 60 9, function_name $L__info_string1, inlined_at 1 40 5
            mov.u32 %r3, 3;
            ret;
        }";
    let module = parse(text).unwrap_or_else(|error| panic!("{error}"));
    let instructions = &module.functions[0].instructions;
    let found: Vec<(u32, u32)> =
        instructions.iter().map(|one| (one.source.line, one.source.of_kernel)).collect();
    assert_eq!(found[..3], [(12, 12), (40, 13), (60, 13)]);
}
