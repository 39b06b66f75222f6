//! What launches did on the emulated device, as text. The figures are counts; they say nothing of time.

use std::collections::BTreeMap;

use carousel_cuda::emulated::{Counters, Record};

use super::common::remark;

/// Tells what was wrong with launches and, if wanted, what each kernel did in all its launches.
pub(super) fn tell(records: &[Record], counters: bool) {
    for record in records {
        for finding in &record.findings {
            let (kernel, line, message) = (&record.kernel, finding.line, &finding.message);
            remark(&format!("{kernel}, line {line} of its CUDA: {message}\n"));
        }
    }
    if counters {
        remark(&table(records));
    }
}

/// One line a kernel, in the order in which they were first launched.
fn table(records: &[Record]) -> String {
    let mut order: Vec<&str> = Vec::new();
    let mut sums: BTreeMap<&str, (u64, &Record, Counters)> = BTreeMap::new();
    for record in records {
        let (launches, _, sum) = sums.entry(&record.kernel).or_insert_with(|| {
            order.push(&record.kernel);
            (0, record, Counters::default())
        });
        *launches += 1;
        add(sum, &record.counters);
    }
    let mut text =
        "emulated (counts, not times): launches, blocks, instructions of warps, barriers, bytes read and \
                    written, shared memory passes over ideal\n"
            .to_string();
    for name in order {
        let (launches, first, c) = &sums[name];
        let blocks = first.grid.iter().product::<u32>();
        text += &format!(
            "  {name}: {launches} x {blocks}, {} instructions, {} barriers, {} read (ideal {}), {} written, {}/{} \
             passes, {} flops, {} of matrix instructions\n",
            c.warp_instructions,
            c.barriers,
            c.read_bytes,
            c.ideal_read_bytes,
            c.written_bytes,
            c.shared_passes,
            c.ideal_shared_passes,
            c.flops,
            c.matrix_flops,
        );
    }
    text
}

fn add(sum: &mut Counters, more: &Counters) {
    let Counters {
        warp_instructions,
        flops,
        matrix_flops,
        barriers,
        read_bytes,
        written_bytes,
        ideal_read_bytes,
        shared_passes,
        ideal_shared_passes,
    } = more;
    sum.warp_instructions += warp_instructions;
    sum.flops += flops;
    sum.matrix_flops += matrix_flops;
    sum.barriers += barriers;
    sum.read_bytes += read_bytes;
    sum.written_bytes += written_bytes;
    sum.ideal_read_bytes += ideal_read_bytes;
    sum.shared_passes += shared_passes;
    sum.ideal_shared_passes += ideal_shared_passes;
}
