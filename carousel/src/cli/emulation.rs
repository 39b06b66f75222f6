//! What launches did on the emulated device, as text. The figures are counts; they say nothing of time.

use std::collections::BTreeMap;
use std::path::Path;

use carousel_cuda::assembler::assemble;
use carousel_cuda::emulated::{Counters, Finding, Record};
use carousel_cuda::occupancy::{GENERATIONS, Needs, Occupancy};
use carousel_cuda::roofline::{GPUS, Work};
use carousel_cuda::{all_compiled, toolchain};
use carousel_ir::Sources;

use super::common::remark;

/// Tells what was wrong with launches and, if wanted, what each kernel did in all its launches.
pub(super) fn tell(records: &[Record], counters: bool, sources: &Sources) {
    for record in records {
        for finding in &record.findings {
            let (kernel, line, message) = (&record.kernel, finding.line, &finding.message);
            let place = place(kernel, finding, sources).map_or(String::new(), |place| format!("{place}: "));
            remark(&format!("{place}{kernel}, line {line} of its CUDA: {message}\n"));
        }
    }
    if counters {
        let kernels = sums(records);
        remark(&table(&kernels));
        remark(&roofline(&kernels));
        remark(&occupancy(records));
    }
}

/// Where in the program that is computed in which something was found, if there is one kernel of the name.
fn place(kernel: &str, finding: &Finding, sources: &Sources) -> Option<String> {
    let compiled = all_compiled();
    let mut own = compiled.iter().filter(|compiled| compiled.function == kernel);
    let (Some(compiled), None) = (own.next(), own.next()) else { return None };
    let span = compiled.origin(finding.kernel_line)?;
    let ((line, column), source) = (sources.line_column(span)?, sources.get(span.file)?);
    Some(format!("{}:{line}:{column}", source.name))
}

/// What the blocks of each kernel need of a multiprocessor, and how many of them it runs at a time.
fn occupancy(records: &[Record]) -> String {
    let Some(assembler) = toolchain::find_assembler() else {
        return "occupancy: what is needed to tell it comes with `carousel cuda install --assembler`\n"
            .to_string();
    };
    // Kernels of one name are told together.
    let mut shared: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for record in records {
        let (threads, bytes) = shared.entry(&record.kernel).or_default();
        *threads = (*threads).max(record.block.iter().product());
        *bytes = (*bytes).max(u32::try_from(record.shared_bytes).unwrap_or(u32::MAX));
    }
    let compiled = all_compiled();
    let mut text = "blocks that a multiprocessor runs at a time, with their share of its warps\n".to_string();
    for (name, (threads, shared_bytes)) in shared {
        let own = || compiled.iter().filter(|compiled| compiled.function == name);
        for generation in &GENERATIONS {
            let registers = own().map(|compiled| {
                let nowhere = Path::new("/dev/null");
                let remarks = assemble(&assembler, &compiled.ptx, generation.name, nowhere)?;
                Needs::of_remarks(&remarks, threads).map(|needs| needs.registers).ok_or(remarks)
            });
            let line = match registers.collect::<Result<Vec<u32>, String>>() {
                Ok(all) => {
                    let registers = all.into_iter().max().unwrap_or(0);
                    let Occupancy { blocks, percent } =
                        Needs { registers, shared_bytes, threads }.occupancy(generation);
                    format!(
                        "{blocks} ({percent}%): {registers} registers a thread, {shared_bytes} bytes of shared memory"
                    )
                }
                Err(why) => why,
            };
            text += &format!("  {name} on {}: {line}\n", generation.name);
        }
    }
    text
}

/// All launches of a kernel.
struct Sum<'a> {
    first: &'a Record,
    launches: u64,
    counters: Counters,
}

/// The kernels, in the order in which they were first launched.
fn sums(records: &[Record]) -> Vec<Sum<'_>> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sums: Vec<Sum<'_>> = Vec::new();
    for record in records {
        let at = *places.entry(&record.kernel).or_insert(sums.len());
        if at == sums.len() {
            sums.push(Sum { first: record, launches: 0, counters: Counters::default() });
        }
        sums[at].launches += 1;
        sums[at].counters += record.counters;
    }
    sums
}

/// One line a kernel.
fn table(kernels: &[Sum<'_>]) -> String {
    let mut text = "emulated (counts, not times): launches, blocks, instructions of warps, barriers, loads of 16 bytes a \
                    thread of all, bytes read and written, those of the device's memory, shared memory passes over ideal\n"
        .to_string();
    for Sum { first, launches, counters: c } in kernels {
        let blocks = first.grid.iter().product::<u32>();
        text += &format!(
            "  {}: {launches} x {blocks}, {} instructions, {} barriers, {}/{} loads, {} read (ideal {}), {} written, \
             {} and {} of the device's memory, {}/{} passes, {} flops, {} of matrix instructions\n",
            first.kernel,
            c.warp_instructions,
            c.barriers,
            c.wide_loads,
            c.loads,
            c.read_bytes,
            c.ideal_read_bytes,
            c.written_bytes,
            c.dram_read_bytes,
            c.dram_written_bytes,
            c.shared_passes,
            c.ideal_shared_passes,
            c.flops,
            c.matrix_flops,
        );
    }
    text
}

/// What of a GPU each kernel keeps busy longest.
fn roofline(kernels: &[Sum<'_>]) -> String {
    let mut text =
        "roofline (a forecast from these counts and published peaks, not a measurement): how long a GPU's \
                    resources are busy, in parts of the longest\n"
            .to_string();
    for kernel in kernels {
        let work = Work::from(&kernel.counters);
        for gpu in &GPUS {
            let shares = gpu.shares(&work).into_iter().filter(|(_, share)| *share >= 0.005);
            let shares: Vec<String> =
                shares.map(|(name, share)| format!("{name} {:.0}%", 100.0 * share)).collect();
            let intensity = (work.flops + work.matrix_flops) / work.dram_bytes.max(1.0);
            let [ridge, matrix_ridge] = gpu.ridges();
            text += &format!(
                "  {} on {}: {}; {intensity:.1} flops a byte (ridges {ridge:.0}, of matrix instructions {matrix_ridge:.0})\n",
                kernel.first.kernel,
                gpu.name,
                shares.join(", "),
            );
        }
    }
    text
}
