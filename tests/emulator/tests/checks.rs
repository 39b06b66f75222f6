//! Every check, proven on a mistake that it must find, and on the same kernel without it.

use carousel_emulator::{FindingKind, Launch, Memory, Mode, Module, Record};

/// A kernel with a pointer and a body.
fn kernel(body: &str) -> String {
    format!(
        ".version 8.0 .target sm_80 .address_size 64
        .visible .entry k(.param .u64 x) {{
            .reg .pred %p<4>; .reg .b32 %r<16>; .reg .b64 %rd<16>; .reg .f32 %f<8>;
            .shared .align 16 .b8 tile[512];
            ld.param.u64 %rd1, [x];
            mov.u32 %r1, %tid.x;
            mov.u32 %r2, %ctaid.x;
            shl.b32 %r3, %r1, 2;
            mov.u32 %r5, tile;
            add.s32 %r6, %r5, %r3;
            mul.wide.u32 %rd2, %r1, 4;
            add.s64 %rd3, %rd1, %rd2;
            {body}
            ret;
        }}"
    )
}

/// Runs a body on 64 elements, of which the host wrote the first `written`.
fn run_on(body: &str, launch: &Launch, written: usize) -> (Record, Vec<u8>) {
    let module = Module::parse(&kernel(body)).unwrap_or_else(|error| panic!("{error}"));
    let mut memory = Memory::default();
    let x = memory.allocate(256);
    memory.write(x, &vec![0; 4 * written]).expect("it is allocated");
    let record = module.kernel("k").expect("it is there").launch(&mut memory, launch, &x.to_le_bytes());
    let bytes = memory.read(x, 256).expect("it is allocated").to_vec();
    (record, bytes)
}

fn one_block(threads: u32) -> Launch {
    Launch { grid: [1; 3], block: [threads, 1, 1], ..Launch::default() }
}

fn run(body: &str, launch: &Launch) -> Record {
    run_on(body, launch, 64).0
}

fn finds(body: &str, launch: &Launch, kind: FindingKind) {
    let record = run(body, launch);
    let kinds: Vec<FindingKind> = record.findings.iter().map(|finding| finding.kind).collect();
    assert!(kinds.contains(&kind), "{body}\nfound {:?}", record.findings);
}

fn is_fine(body: &str, launch: &Launch) {
    let record = run(body, launch);
    assert!(record.findings.is_empty(), "{body}\nfound {:?}", record.findings);
}

const STORE_OWN: &str = "st.global.u32 [%rd3], %r1;";

#[test]
fn an_access_out_of_bounds() {
    is_fine(STORE_OWN, &one_block(64));
    finds(STORE_OWN, &one_block(65), FindingKind::OutOfBounds);
    finds("ld.global.u32 %r4, [%rd1+-4];", &one_block(1), FindingKind::OutOfBounds);
    // Far away as well.
    finds("ld.global.u32 %r4, [%rd1+2048];", &one_block(1), FindingKind::OutOfBounds);
    is_fine("st.shared.u32 [%r6], %r1;", &one_block(128));
    finds("st.shared.u32 [%r6], %r1;", &one_block(129), FindingKind::OutOfBounds);
}

#[test]
fn an_access_outside_of_what_the_launch_may_touch() {
    let module = Module::parse(&kernel(STORE_OWN)).expect("it is PTX");
    let mut memory = Memory::default();
    let x = memory.allocate(256);
    for (bytes, findings) in [(128, 0), (124, 1)] {
        let ranges = Some(vec![carousel_emulator::Range { start: x, bytes }]);
        let launch = Launch { ranges, ..one_block(32) };
        let record = module.kernel("k").expect("it is there").launch(&mut memory, &launch, &x.to_le_bytes());
        assert_eq!(record.findings.len(), findings, "{:?}", record.findings);
    }
}

#[test]
fn dynamic_shared_memory_begins_after_the_rest() {
    let text = kernel(
        "mov.u32 %r7, more; add.s32 %r7, %r7, %r3; st.shared.u32 [%r6], %r1; st.shared.u32 [%r7], %r2;",
    );
    let text = text.replace(".visible", ".extern .shared .align 16 .b8 more[];\n.visible");
    let module = Module::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    let mut memory = Memory::default();
    let x = memory.allocate(256);
    for (shared_bytes, findings) in [(128, 0), (124, 1)] {
        let launch = Launch { shared_bytes, ..one_block(32) };
        let record = module.kernel("k").expect("it is there").launch(&mut memory, &launch, &x.to_le_bytes());
        assert_eq!(record.findings.len(), findings, "{:?}", record.findings);
        assert_eq!(record.shared_bytes, 512 + shared_bytes);
    }
}

#[test]
fn a_misaligned_access() {
    finds("ld.global.u32 %r4, [%rd1+2];", &one_block(1), FindingKind::Misaligned);
    finds("ld.global.v2.u32 {%r4, %r7}, [%rd1+4];", &one_block(1), FindingKind::Misaligned);
    is_fine("ld.global.v2.u32 {%r4, %r7}, [%rd1+8];", &one_block(1));
}

#[test]
fn a_read_of_what_nobody_wrote() {
    let read = "ld.global.u32 %r4, [%rd3];";
    assert!(run_on(read, &one_block(8), 8).0.findings.is_empty());
    assert_eq!(run_on(read, &one_block(9), 8).0.findings[0].kind, FindingKind::Uninitialised);
    finds("ld.shared.u32 %r4, [%r6];", &one_block(1), FindingKind::Uninitialised);
    is_fine("st.shared.u32 [%r6], %r1; ld.shared.u32 %r4, [%r6];", &one_block(32));
    // A wide load may read on over what nobody wants; what is wanted must be there.
    let wide = "shl.b32 %r7, %r1, 4; add.s32 %r7, %r5, %r7; st.shared.v2.u32 [%r7], {%r1, %r2};
                ld.shared.v4.u32 {%r9, %r10, %r11, %r12}, [%r7]; st.global.u32 [%rd3], ";
    is_fine(&format!("{wide} %r10;"), &one_block(8));
    finds(&format!("{wide} %r11;"), &one_block(8), FindingKind::Uninitialised);
    // Fast launches check less.
    assert!(
        run("ld.shared.u32 %r4, [%r6];", &Launch { mode: Mode::Fast, ..one_block(1) }).findings.is_empty()
    );
}

/// Every thread writes its element and reads its neighbour's.
fn exchange(barrier: &str) -> String {
    format!(
        "st.shared.u32 [%r6], %r1; {barrier} xor.b32 %r7, %r3, 4; add.s32 %r7, %r5, %r7; ld.shared.u32 %r8, [%r7];"
    )
}

#[test]
fn a_race_in_a_block() {
    is_fine(&exchange("bar.sync 0;"), &one_block(64));
    finds(&exchange(""), &one_block(64), FindingKind::Race);
    // A write after a read races as well.
    let again = |barrier: &str| format!("{} {barrier} st.shared.u32 [%r6], %r2;", exchange("bar.sync 0;"));
    is_fine(&again("bar.sync 0;"), &one_block(64));
    finds(&again(""), &one_block(64), FindingKind::Race);
}

#[test]
fn a_race_between_blocks() {
    let two = Launch { grid: [2, 1, 1], ..one_block(32) };
    finds(STORE_OWN, &two, FindingKind::Race);
    let apart = "mul.lo.s32 %r7, %r2, 128; cvt.s64.s32 %rd5, %r7; add.s64 %rd6, %rd3, %rd5; st.global.u32 [%rd6], %r1;";
    is_fine(apart, &two);
    // Atomic operations do not race with each other, and do with others.
    is_fine("red.global.add.u32 [%rd3], 1;", &two);
    finds("red.global.add.u32 [%rd3], 1; ld.global.u32 %r4, [%rd3];", &two, FindingKind::Race);
}

/// A barrier over all blocks, by an atomic counter in the last element.
fn grid_barrier(waits: bool) -> String {
    let wait = "$again: nanosleep.u32 20; ld.acquire.gpu.global.u32 %r9, [%rd1+252]; setp.lt.u32 %p2, %r9, 2; @%p2 bra $again;";
    format!(
        "setp.ne.u32 %p1, %r1, 0;
        mul.wide.u32 %rd5, %r2, 4; add.s64 %rd6, %rd1, %rd5;
        @!%p1 st.global.u32 [%rd6], %r2;
        bar.sync 0;
        @%p1 bra $others;
        membar.gl; red.global.add.u32 [%rd1+252], 1; {}
        $others: bar.sync 0;
        ld.global.u32 %r10, [%rd1]; ld.global.u32 %r11, [%rd1+4];",
        if waits { wait } else { "" }
    )
}

#[test]
fn a_barrier_of_the_grid_orders_blocks() {
    let together = Launch { grid: [2, 1, 1], cooperative: true, ..one_block(64) };
    is_fine(&grid_barrier(true), &together);
    finds(&grid_barrier(false), &together, FindingKind::Race);
    // What both of them read may be written when they have met, not before.
    let read_by_both = "ld.global.u32 %r12, [%rd1+8]; nanosleep.u32 10000;";
    let written = "setp.ne.u32 %p3, %r2, 0; @!%p3 bra $end; @!%p1 st.global.u32 [%rd1+8], %r2; $end:";
    is_fine(&format!("{read_by_both} {} {written}", grid_barrier(true)), &together);
    finds(&format!("{read_by_both} {} {written}", grid_barrier(false)), &together, FindingKind::Race);
    // Blocks that run one after the other never meet: the first waits for ever, and the machine would too.
    let many = Launch { grid: [100_000, 1, 1], ..together };
    finds(&grid_barrier(true), &many, FindingKind::Launch);
}

#[test]
fn a_barrier_that_not_all_threads_reach() {
    let some = "setp.lt.u32 %p1, %r1, 16; @%p1 bar.sync 0;";
    finds(some, &one_block(32), FindingKind::Divergence);
    let early = "setp.lt.u32 %p1, %r1, 16; @%p1 ret; bar.sync 0;";
    finds(early, &one_block(64), FindingKind::Divergence);
    is_fine("bar.sync 0;", &one_block(64));
}

#[test]
fn a_shuffle_of_threads_that_are_not_there() {
    let shuffle = "shfl.sync.bfly.b32 %r4, %r1, 16, 31, -1;";
    is_fine(shuffle, &one_block(32));
    finds(
        &format!("setp.lt.u32 %p1, %r1, 16; @%p1 bra $go; ret; $go: {shuffle}"),
        &one_block(32),
        FindingKind::Divergence,
    );
}

#[test]
fn copies_that_are_not_waited_for() {
    let copy = |wait: &str| {
        format!(
            "cp.async.ca.shared.global [%r6], [%rd3], 4; cp.async.commit_group; {wait} ld.shared.u32 %r4, [%r6];"
        )
    };
    is_fine(&copy("cp.async.wait_group 0;"), &one_block(32));
    finds(&copy("cp.async.wait_group 1;"), &one_block(32), FindingKind::Uninitialised);
    finds(&copy(""), &one_block(32), FindingKind::Uninitialised);
}

#[test]
fn an_instruction_that_is_not_known_is_named_and_nothing_runs() {
    let (record, bytes) =
        run_on("st.global.u32 [%rd3], %r1; vabsdiff.u32.u32.u32 %r4, %r1, %r2, %r3;", &one_block(32), 64);
    assert_eq!(record.findings[0].kind, FindingKind::Unknown);
    assert!(record.findings[0].message.contains("vabsdiff.u32.u32.u32"), "{:?}", record.findings);
    assert!(bytes.iter().all(|byte| *byte == 0));
}

#[test]
fn launches_that_a_device_refuses() {
    finds("", &one_block(1025), FindingKind::Launch);
    finds("", &Launch { shared_bytes: 300_000, ..one_block(32) }, FindingKind::Launch);
    finds("", &Launch { grid: [0, 1, 1], ..one_block(32) }, FindingKind::Launch);
    finds("trap;", &one_block(1), FindingKind::Trap);
}

#[test]
fn what_is_counted() {
    // 64 threads read 8 sectors twice over; the shared memory is read without conflicts, then with all of them.
    let record = run("ld.global.u32 %r4, [%rd3]; st.shared.u32 [%r6], %r4;", &one_block(64));
    assert_eq!((record.counters.read_bytes, record.counters.ideal_read_bytes), (256, 256));
    assert_eq!((record.counters.shared_passes, record.counters.ideal_shared_passes), (2, 2));
    assert_eq!(record.counters.warp_instructions, 2 * 11);
    assert_eq!((record.counters.dram_read_bytes, record.counters.dram_written_bytes), (256, 0));
    // What is read again, or was written before, comes from the cache.
    let record = run(
        "ld.global.u32 %r4, [%rd3]; ld.global.u32 %r4, [%rd3]; st.global.u32 [%rd3], %r4; st.global.u32 [%rd3], %r1;",
        &one_block(64),
    );
    assert_eq!((record.counters.read_bytes, record.counters.written_bytes), (512, 512));
    assert_eq!((record.counters.dram_read_bytes, record.counters.dram_written_bytes), (256, 256));
    let record = run("st.global.u32 [%rd3], %r1; ld.global.u32 %r4, [%rd3];", &one_block(64));
    assert_eq!((record.counters.dram_read_bytes, record.counters.dram_written_bytes), (0, 256));
    let strided =
        run("shl.b32 %r7, %r1, 4; add.s32 %r7, %r5, %r7; st.shared.u32 [%r7], %r1;", &one_block(32));
    assert_eq!((strided.counters.shared_passes, strided.counters.ideal_shared_passes), (4, 1));
}

#[test]
fn threads_that_come_later_to_a_shuffle() {
    // The first thread goes another way, which stands behind the place where all meet.
    let shuffle = "shfl.sync.bfly.b32 %r4, %r1, 1, 31, -1;";
    let body = |end: &str| {
        format!(
            "setp.eq.u32 %p1, %r1, 0;
            @%p1 bra $detour;
            $meet: {shuffle} st.global.u32 [%rd3], %r4;
            ret;
            $detour: mov.u32 %r4, 7; {end}"
        )
    };
    is_fine(&body("bra $meet;"), &one_block(32));
    // There, it waits for the others at another place.
    finds(&body(shuffle), &one_block(32), FindingKind::Divergence);
}
