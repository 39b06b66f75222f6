//! `run --target cuda --emulate`: a function on the emulated device, and what is told of it.

use std::path::Path;

use crate::support::{f32s, fixture, folder, read_tensors, run_in, write_tensors};

#[test]
fn a_profile_of_a_device_that_is_not_here() {
    let here = folder();
    let file = here.path().join("gpu.toml").display().to_string();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    run_in(&workspace, &["cuda", "install", "--assembler"]).ok();
    run_in(&workspace, &["bench", "calibrate", "--emulate", "--out", &file, "--name", "gpu"]).ok();
    let forms = ["print", &fixture("average.xl"), "--fn", "average", "--stage", "forms"];
    run_in(&workspace, &[&forms[..], &["--profile", &file]].concat()).ok();
    // Counts are the same everywhere: the built-in profile is near what is found.
    let found: toml::Table =
        std::fs::read_to_string(&file).expect("it was written").parse().expect("it is TOML");
    let builtin = carousel_core::cost::Profile::named("sm-90").expect("a built-in profile");
    let vector = found["elements"]["vector"].as_float().expect("a rate");
    assert!((0.5..2.0).contains(&(vector / builtin.elements.vector)), "{vector:e}");
}

#[test]
fn a_function_on_the_emulated_device_with_a_report() {
    let here = folder();
    let (input, output) = (here.path().join("x.safetensors"), here.path().join("y.safetensors"));
    write_tensors(&input, &[f32s("x", &[2, 1], &[1.0, 3.0]), f32s("rate", &[1], &[0.0])]);
    // Where the workspace's tests have their compiler as well.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    run_in(&workspace, &["cuda", "install", "--assembler"]).ok();
    let (input, output_name) = (input.display().to_string(), output.display().to_string());
    let program = fixture("average.xl");
    let run = ["run", &program, "--fn", "average", "--in", &input, "--out", &output_name];
    let device = ["--target", "cuda", "--emulate", "--report"];
    let told = run_in(&workspace, &[&run[..], &device].concat()).ok().err;
    assert_eq!(read_tensors(&output)["y"], (vec![2, 1], vec![0.5, 1.75]));
    for part in [
        "counts, not times",
        " loads, ",
        "on sm_80: ",
        "on sm_90: ",
        "on sm_100: ",
        "registers a thread",
        " on H100 SXM: ",
    ] {
        assert!(told.contains(part), "`{part}` is not in\n{told}");
    }
}
