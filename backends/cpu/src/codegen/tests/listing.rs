//! Text of generated functions.

use super::*;

/// `y = exp(x) * a` over `n` elements.
fn kernel(n: u64, twice: bool) -> Kernel {
    let mut region = Region::default();
    let x = load(&mut region, 0, F32, index(&[(1, 0)]));
    let a = load(&mut region, 1, F32, Linear::zero());
    let value = apply(&mut region, OpKind::Mul, F32, &[x, a]);
    let map =
        Statement::Map { loops: vec![axis(0, n)], region, stores: vec![store(2, index(&[(1, 0)]), value)] };
    let body = if twice { vec![map.clone(), map] } else { vec![map] };
    Draft::new(&[F32; 3]).body(body)
}

#[test]
fn names_are_readable_and_the_text_is_the_same_every_time() {
    let text = jit::clif(&kernel(64, false)).expect("it compiles");
    assert_eq!(text, jit::clif(&kernel(64, false)).expect("it compiles"));
    for part in ["%buffer0", "%buffer2", "grid.head", "row.body", "fmul"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let multiply = if cfg!(target_arch = "x86_64") { "mulps" } else { "fmul" };
    assert!(jit::assembly(&kernel(64, false)).expect("it compiles").contains(multiply));
}

#[test]
fn what_is_appended_leaves_the_text_before_it() {
    let (one, two) = (jit::clif(&kernel(64, false)), jit::clif(&kernel(64, true)));
    let (one, two) = (one.expect("it compiles"), two.expect("it compiles"));
    let row = |text: &str| {
        let from = text.find("row.body").expect("it has a row");
        text[from..].split("\n\n").next().expect("a block").to_string()
    };
    assert_eq!(row(&one), row(&two));
    assert!(two.contains("row#2.body") || two.contains("row.body#2"));
}
