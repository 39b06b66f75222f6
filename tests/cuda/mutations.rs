//! Every barrier and every guard of the generated kernels is needed: without it, the device finds a mistake at some
//! shape.
//!
//! Kernels run on the emulated device directly, each by itself on one block, so that grid points follow each other.
//! Numbers are zeros, and indices are out of range.

use crate::kernels::lowered;
use crate::teams::{NORMED, RECURRENCE};
use carousel_core::bind;
use carousel_core::kernel::{Access, Buffer, Kernel, Place};
use carousel_core::program::{Entry, Program, element_bytes};
use carousel_cuda::{cuda, ptx_of_text};
use carousel_emulator::{Finding, Launch, Memory, Module};
use carousel_ir::DType;
use carousel_tests::emulated::install_compiler;
use carousel_tests::parallel;
use std::collections::{BTreeMap, HashSet};

/// Functions whose kernels have all barriers and guards between them, and shapes of their inputs.
#[rustfmt::skip]
const CLASSES: [(&str, &[&[&[u64]]]); 25] = [
    // Tiles, their tails, several grid points.
    ("fn f(x: [s, d], g: [s, d]) -> (y: [s, d]) { let y = x * g }",             &[&[&[40, 130], &[40, 130]], &[&[41, 131], &[41, 131]]]),
    // Places that exist only sometimes.
    ("fn f(x: [s, d]) -> (y: [t, d]) { let y = pad[s -> t = |s| + 5, 3](x) }",  &[&[&[9, 4]]]),
    ("fn f(x: [s, d]) -> (y: [s, e]) { let y = pad[d -> e = |d| + 5, 3](x) }",  &[&[&[9, 130]]]),
    ("fn f(x: [a], y: [b]) -> (z: [c]) { let z = concat[a, b => c](x, y) }",    &[&[&[7], &[5]]]),
    // Places from data.
    ("fn f(x: [n, d], i: i32[s]) -> (y: [s, d]) { let y = x[n = i] }",          &[&[&[7, 3], &[5]], &[&[7, 5], &[5]]]),
    // Sums by the block, by warps and by threads, several of them.
    ("fn f(x: [c, n]) -> (y: [c]) { let y = sum[n](x) }",                       &[&[&[3, 100]], &[&[3, 101]]]),
    ("fn f(x: [n]) -> (y: []) { let y = sum[n](x) }",                           &[&[&[700]]]),
    ("fn f(x: [c = 3, n]) -> (y: [c]) { let y = sum[n](x) }",                   &[&[&[3, 300]]]),
    ("fn f(x: [s, d]) -> (y: [d]) { let y = max[s](x) }",                       &[&[&[70, 41]], &[&[33, 130]]]),
    ("fn f(x: [n]) -> (y: [n]) { let y = cumsum[n](x) }",                       &[&[&[700]], &[&[2100]]]),
    ("fn f(x: [n, d]) -> (y: [n, d]) { let y = cumsum[n](x) }",                 &[&[&[70, 41]]]),
    ("fn f(x: [n = 96]) -> (y: [n]) { let y = cumsum[n, reverse](x) }",         &[&[&[96]]]),
    ("fn f(f: [s], i: [s]) -> (y: [s]) { scan s { state m: [] = 0  m' = max(m + f, i)  yield y = m' } }",
                                                                                &[&[&[70], &[70]], &[&[1100], &[1100]]]),
    // Products whose sides are no multiples of tiles, in each order of their factors.
    ("fn f(a: [m, k], b: [k, n]) -> (c: [m, n]) { let c = sum[k](a * b) }",     &[&[&[70, 37], &[37, 66]], &[&[65, 36], &[36, 68]], &[&[64, 8], &[8, 72]]]),
    ("fn f(a: bf16[m, k], b: bf16[k, n]) -> (c: bf16[m, n]) { let c = dot[k](a, b) }",
                                                                                &[&[&[70, 37], &[37, 66]], &[&[65, 128], &[128, 72]], &[&[64, 8], &[8, 131]]]),
    ("fn f(a: [k, m], b: [n, k]) -> (c: [m, n]) { let c = sum[k](a * b) }",     &[&[&[37, 70], &[66, 37]], &[&[36, 68], &[65, 36]]]),
    ("fn f(a: [m, e], b: [e, n]) -> (c: [m, n]) {
        let u = a[e -> k = 1..|e|]  let v = b[e -> k = 0..|e| - 1]  let c = sum[k](u * v) }",
                                                                                &[&[&[9, 36], &[36, 9]]]),
    ("fn f(a: f64[m, k], b: f64[k, n]) -> (c: f64[m, n]) { let c = sum[k](a * b) }",
                                                                                &[&[&[70, 37], &[37, 66]]]),
    ("fn f(a: [m = 2, k], b: [k, n]) -> (c: [m, n]) { let c = sum[k](a * b) }", &[&[&[2, 37], &[37, 66]]]),
    ("fn f(a: [m, k], b: [k]) -> (c: [m]) { let c = sum[k](a * b) }",           &[&[&[70, 37], &[37]]]),
    // Scans: what a step writes is read by the next.
    ("fn f(q: [s, e], k: [s, e], v: [s, d]) -> (h: [s, d]) {
        scan s { state C: [e, d] = 0  C' = 0.9 * C + k * v  yield h = sum[e](q * C') }
      }",                                                                       &[&[&[5, 40], &[5, 40], &[5, 9]], &[&[3, 200], &[3, 200], &[3, 9]]]),
    ("fn f(x: [b, s, d], r: [d, e = |d|]) -> (y: [b, s, d]) {
        scan s { state h: [b, d] = 0  let z = sum[d](h * r)  h' = tanh(x + z[e -> d])  yield y = h' }
      }",                                                                       &[&[&[3, 5, 6], &[6, 6]], &[&[3, 3, 70], &[70, 70]]]),
    // Several products and sums, one after the other in a loop.
    ("fn f(q: [c, l, e], k: [c, l, e], v: [c, l, d]) -> (h: [c, l, d]) {
        scan c { state C: [e, d] = 0
          let weights = sum[e](q[l -> t] * k)
          C' = C + sum[l](k * v)
          yield h = sum[l](weights * v)[t -> l] + sum[e](q * C) }
      }",                                                                       &[&[&[3, 20, 40], &[3, 20, 40], &[3, 20, 17]],
                                                                                  // Products of nothing wait for nobody themselves.
                                                                                  &[&[3, 0, 40], &[3, 0, 40], &[3, 0, 17]]]),
    // Several blocks together, with shares and without.
    (RECURRENCE,                                                                &[&[&[1, 2, 2, 128], &[2, 128, 128]], &[&[5, 2, 1, 128], &[1, 128, 128]]]),
    (NORMED,                                                                    &[&[&[9, 2, 2, 128], &[2, 128, 128]]]),
];

/// Guards, and the same without them.
const GUARDS: [(&str, &str); 36] = [
    // Tails of tiles.
    ("return left < tile ? left : tile;", "return tile;"),
    // Indices from data.
    ("if ((i64)index < bound) return index;", "return index;"),
    // Running sums, and runs that are cut off.
    ("if (at < ", "if (0 <= "),
    ("return at < left ? at : left - 1;", "return at;"),
    ("if (left == N && (u64)from % 16 == 0)", "if ((u64)from % 16 == 0)"),
    ("if (left == N && (u64)from % 16 == 0)", "if (left == N)"),
    ("if (left == N && (u64)to % 16 == 0)", "if ((u64)to % 16 == 0)"),
    ("if (left == N && (u64)to % 16 == 0)", "if (left == N)"),
    (" < 0 ? 0 : ", " < -9999 ? 0 : "),
    ("if (first >= 0 && first <= bound - N)", "if (first >= 0)"),
    ("if (first >= 0 && first <= bound - N)", "if (first <= bound - N)"),
    // Factors of products.
    ("if (wide && count >= RUN)", "if (wide)"),
    ("at < count ? ", "true ? "),
    ("at + 1 < count ? ", "true ? "),
    ("if (wide && row + 64 <= rows && l + K <= depth)", "if (wide && row + 64 <= rows)"),
    ("if (wide && row + 64 <= rows && l + K <= depth)", "if (wide && l + K <= depth)"),
    ("row + 64 <= m && column + 64 <= n;", "row + 64 <= m;"),
    ("row + 64 <= m && column + 64 <= n;", "column + 64 <= n;"),
    ("(u64)place % (2 * sizeof(C)) == 0", "true"),
    (
        "outer < (along ? rows : depth) ? (along ? depth : rows) - inner : 0;",
        "(along ? depth : rows) - inner;",
    ),
    ("row + i < m && depth + l < k;", "depth + l < k;"),
    ("row + i < m && depth + l < k;", "row + i < m;"),
    ("column + j < n && depth + l < k;", "depth + l < k;"),
    ("column + j < n && depth + l < k;", "column + j < n;"),
    // Results of products.
    ("if (i < m && j + at < n)", "if (j + at < n)"),
    ("if (i < m && j + at < n)", "if (i < m)"),
    ("if (row + own_row + i < m && column + own_column + j < n)", "if (row + own_row + i < m)"),
    ("if (row + own_row + i < m && column + own_column + j < n)", "if (column + own_column + j < n)"),
    // One thread writes what all of them have.
    ("if (threadIdx.x == 0)", "if (true)"),
    ("if (threadIdx.x % 32 == 0)", "if (true)"),
    ("if (threadIdx.x % 32 == 31)", "if (true)"),
    ("if (threadIdx.x < 32)", "if (true)"),
    ("if (threadIdx.x < 16)", "if (true)"),
    // Blocks that come later.
    ("while ((i32)(*(volatile u32*)arrived - goal) < 0) __nanosleep(20);", ""),
    // A misaligned run is read one by one.
    ("(u64)from % aligned == 0", "true"),
    ("outer_stride * sizeof(T) % aligned == 0", "true"),
];

const BARRIERS: [(&str, &str); 2] =
    [("__syncthreads();", ""), ("wait_for_team(arrived + team, team_size);", "")];
/// Blocks that do a grid point together, where they do.
const TEAM: u32 = 2;

/// A buffer with its numbers.
fn buffer(memory: &mut Memory, buffer: &Buffer, dims: &[i64]) -> u64 {
    let bytes = buffer.elements.value(dims) as u64 * element_bytes(buffer.dtype);
    let address = memory.allocate(bytes as usize);
    if buffer.access != Access::Write {
        let is_index = matches!(buffer.dtype, DType::I32 | DType::U32);
        memory
            .write(address, &vec![if is_index { 100 } else { 0 }; bytes as usize])
            .expect("it is allocated");
    }
    address
}

/// What the device finds where the text of a kernel runs on one block, on its own arguments.
fn findings(kernel: &Kernel, entry: &Entry, ptx: &str) -> Vec<Finding> {
    let mut memory = Memory::default();
    let module = Module::load(ptx, &mut memory).unwrap_or_else(|error| panic!("{error}\n{ptx}"));
    let arguments = kernel.buffers.iter().filter(|buffer| matches!(buffer.place, Place::Argument(_)));
    let mut words: Vec<u64> = arguments.map(|b| buffer(&mut memory, b, &entry.dims)).collect();
    let is_shared = ptx.contains(".extern .shared");
    // What is carried in shares is there twice.
    let scratch_bytes = 2 * entry.scratch_bytes;
    let scratch = memory.allocate(scratch_bytes as usize);
    let status = memory.allocate(4);
    memory.write(status, &[0; 4]).expect("it is allocated");
    words.extend(entry.dims.iter().map(|dim| *dim as u64));
    words.extend([entry.points, scratch, scratch_bytes, status]);
    let is_team = cuda(kernel).contains("wait_for_team(");
    if is_team {
        let arrived = memory.allocate(4);
        memory.write(arrived, &[0; 4]).expect("it is allocated");
        words.extend([u64::from(TEAM), arrived]);
    }
    let parameters: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let shared_bytes = if is_shared { entry.scratch_bytes as usize } else { 0 };
    let grid = [if is_team { TEAM } else { 1 }, 1, 1];
    let launch = Launch { grid, block: [256, 1, 1], shared_bytes, cooperative: is_team, ..Launch::default() };
    let name = ptx.split(".entry ").nth(1).and_then(|rest| rest.split('(').next()).expect("a kernel");
    module.kernel(name.trim()).expect("it is there").launch(&mut memory, &launch, &parameters).findings
}

/// The entries of a program at all shapes, by kernel.
fn entries(program: &Program, shapes: &[&[&[u64]]]) -> Vec<(usize, Entry)> {
    let bound = |shapes: &[&[u64]]| bind(program, shapes).unwrap_or_else(|error| panic!("{error}")).entries;
    shapes.iter().flat_map(|shapes| bound(shapes)).map(|entry| (entry.kernel.0 as usize, entry)).collect()
}

/// The function around a place and where it begins, if it is the kernel or one that it calls.
fn function_around<'t>(text: &'t str, at: usize, kernel: &'t str) -> Option<(&'t str, usize)> {
    let begin = text.find("extern \"C\" __global__").expect("a kernel");
    if at > begin {
        return Some((kernel, begin));
    }
    let start = text[..at].rfind("  __device__").max(text[..at].rfind("static __device__"))?;
    Some((name_of(&text[start..]), start))
}

/// The name of the function that a text begins with.
fn name_of(text: &str) -> &str {
    let head = text.split('(').next().expect("a function has parameters");
    head.rsplit(' ').next().expect("a function has a name")
}

/// The functions that a kernel calls, and those that they call.
fn called(text: &str) -> HashSet<&str> {
    let begin = text.find("extern \"C\" __global__").expect("a kernel");
    let functions: Vec<(&str, &str)> =
        text[..begin].split("__device__ ").skip(1).map(|function| (name_of(function), function)).collect();
    let mut called = HashSet::new();
    let mut bodies = vec![&text[begin..]];
    while let Some(body) = bodies.pop() {
        let words: HashSet<&str> = body.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        bodies.extend(
            functions.iter().filter(|(name, _)| words.contains(name) && called.insert(*name)).map(|f| f.1),
        );
    }
    called
}

/// Guards of loads: the condition in front of an element, or of a run.
fn load_guards(text: &str) -> Vec<(usize, usize)> {
    let begin = text.find("extern \"C\" __global__").expect("a kernel");
    let starts = text.match_indices("inside(").map(|(at, _)| at).filter(|at| *at > begin);
    let line_of = |at: usize| text[at..].split('\n').next().unwrap_or_default();
    let before = |at: usize| &text[text[..at].rfind('\n').map_or(0, |end| end + 1)..at];
    let is_guard = |at: &usize| line_of(*at).contains(" ? ") || before(*at).trim_start().starts_with("if (");
    let ends = starts.filter(is_guard).map(|at| {
        let mut depth = 0;
        let length = text[at..].find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            c == ')' && depth == 0
        });
        (at, at + length.expect("brackets are closed") + 1)
    });
    ends.collect()
}

/// Texts that differ from a kernel's in one barrier or guard, by what is left out and where. What the kernel calls has the
/// same place in every kernel.
fn mutants(text: &str, kernel: &str) -> Vec<(String, String)> {
    let parts = GUARDS.iter().chain(&BARRIERS);
    let of_parts = parts.flat_map(|(part, instead)| {
        text.match_indices(part).map(move |(at, _)| (at, at + part.len(), *instead))
    });
    let called = called(text);
    let of_loads = load_guards(text).into_iter().map(|(from, to)| (from, to, "true"));
    let mutant = |(from, to, instead): (usize, usize, &str)| {
        let (function, begin) = function_around(text, from, kernel)?;
        if function != kernel && !called.contains(function) {
            return None;
        }
        let part = &text[from..to];
        let number = text[begin..from].matches(part).count();
        let mutant = format!("{}{instead}{}", &text[..from], &text[to..]);
        Some((format!("`{part}` (instead `{instead}`) number {number} of {function}"), mutant))
    };
    of_parts.chain(of_loads).filter_map(mutant).collect()
}

/// Whether each mutant of a class's kernels was noticed; those whose PTX is the kernel's are none.
fn noticed(function: &str, shapes: &[&[&[u64]]]) -> Vec<(String, bool)> {
    let program = lowered(function);
    let entries = entries(&program, shapes);
    let mut all = Vec::new();
    for (number, kernel) in program.kernels.iter().enumerate() {
        let ptx = |text: &str| {
            let ptx = ptx_of_text(&kernel.name, text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            let code = |line: &&str| !line.trim_start().starts_with(".loc") && !line.starts_with("$L__info");
            ptx.lines().filter(code).map(|line| format!("{line}\n")).collect::<String>()
        };
        let text = cuda(kernel);
        let own = ptx(&text);
        let entries: Vec<&Entry> = entries.iter().filter(|(k, _)| *k == number).map(|(_, e)| e).collect();
        for entry in &entries {
            let found = findings(kernel, entry, &own);
            assert!(found.is_empty(), "{function}: {found:?}\n{text}");
        }
        for (what, mutant) in mutants(&text, &format!("kernel {number} of {function}")) {
            let mutant = ptx(&mutant);
            if mutant != own {
                let noticed = entries.iter().any(|entry| !findings(kernel, entry, &mutant).is_empty());
                all.push((what, noticed));
            }
        }
    }
    all
}

#[test]
fn every_barrier_and_guard_is_needed() {
    install_compiler();
    let all = parallel::each(&CLASSES, |(function, shapes)| noticed(function, shapes)).concat();
    let mut needed: BTreeMap<&str, bool> = BTreeMap::new();
    for (what, noticed) in &all {
        *needed.entry(what).or_default() |= noticed;
    }
    let idle: Vec<&&str> = needed.iter().filter(|(_, noticed)| !**noticed).map(|(what, _)| what).collect();
    assert!(idle.is_empty(), "not needed: {idle:#?}");
    assert!(needed.len() >= 41, "only {needed:#?}");
}
