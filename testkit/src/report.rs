//! What the compiler makes of a cell in one form: texts and costs.

use crate::cost::{Cost, Costs};
use crate::data::{Sizes, shape};
use crate::error::Error;
use crate::recurrence::Recurrence;
use crate::text;
use crate::way::Way;
use carousel_core::cost::{Profile, price};
use carousel_core::{Target, bind};
use carousel_ir::text::print;

/// What the compiler makes of a cell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Which scales were derived, which loops became linear scans, and why others did not.
    pub derivation: String,
    /// Which forms scans have and by which rules, a line each; empty if there is no linear scan.
    pub forms: String,
    /// The graph in this form, with its gradient.
    pub graph: String,
    /// The kernels and what calls them, as every target gets them.
    pub kernels: String,
    /// The kernels as the target's code generator writes them: Cranelift's text, or CUDA C++.
    pub code: String,
    /// What a run costs.
    pub costs: Costs,
}

/// The report for the CPU.
pub(crate) fn of_cpu(recurrence: &Recurrence, way: Way, sizes: &Sizes) -> Result<Report, Error> {
    let form = recurrence.form(way);
    let program = form.lowered(&Target::default())?;
    let source = recurrence.source();
    let shapes =
        source.graph.inputs.iter().map(|input| {
            Ok(shape(source, input, sizes)?.into_iter().map(|n| n as u64).collect::<Vec<u64>>())
        });
    let shapes = shapes.collect::<Result<Vec<_>, Error>>()?;
    let shapes: Vec<&[u64]> = shapes.iter().map(Vec::as_slice).collect();
    let bound = bind(&program, &shapes).map_err(Error::failed)?;
    // All sizes are given, or there would be no shapes.
    let size = |name: carousel_ir::Name| sizes.get(name.as_str()).copied().unwrap_or_default();
    let price = price(&program, &size, &Profile::default()).map_err(Error::failed)?;
    let mut costs = Costs::default();
    costs.set(Cost::Kernels, program.kernels.len() as u64);
    costs.set(Cost::Launches, bound.entries.iter().filter(|entry| entry.points > 0).count() as u64);
    costs.set(Cost::ArenaBytes, price.bytes);
    costs.set(Cost::PriceNanoseconds, (price.seconds * 1e9).ceil() as u64);
    Ok(Report {
        derivation: text::derivation(&recurrence.derived),
        forms: form.forms.clone(),
        graph: print(&form.module),
        kernels: program.to_string(),
        code: text::clif(&program)?,
        costs,
    })
}

/// The GPU that registers are counted for.
#[cfg(feature = "cuda")]
const ARCHITECTURE: &str = "sm_90";

/// The report for a CUDA device: what it did with these inputs.
#[cfg(feature = "cuda")]
pub(crate) fn of_device(
    recurrence: &Recurrence,
    way: Way,
    backend: &carousel_cuda::CudaBackend,
    inputs: &[carousel_reference::Tensor<f64>],
) -> Result<Report, Error> {
    use crate::device::{Mode, findings, set_mode};
    let form = recurrence.form(way);
    let program = form.lowered(&carousel_cuda::target())?;
    set_mode(Mode::Strict);
    let launches = form.observe(backend, inputs)?.launches;
    let found = findings(&launches);
    if !found.is_empty() {
        return Err(Error::Findings(format!("{way} on the device:\n{found}")));
    }
    let mut costs = Costs::default();
    costs.set(Cost::Kernels, program.kernels.len() as u64);
    if !launches.is_empty() {
        counted(&mut costs, &launches);
    }
    assembled(&mut costs, &program)?;
    Ok(Report {
        derivation: text::derivation(&recurrence.derived),
        forms: form.forms.clone(),
        graph: print(&form.module),
        kernels: program.to_string(),
        code: text::cuda(&program),
        costs,
    })
}

/// What the emulated device counted.
#[cfg(feature = "cuda")]
fn counted(costs: &mut Costs, launches: &[crate::device::Record]) {
    let all = crate::device::total(launches);
    costs.set(Cost::Launches, launches.len() as u64);
    costs.set(Cost::WarpInstructions, all.warp_instructions);
    costs.set(Cost::Flops, all.flops);
    costs.set(Cost::MatrixFlops, all.matrix_flops);
    costs.set(Cost::Barriers, all.barriers);
    costs.set(Cost::Loads, all.loads);
    costs.set(Cost::WideLoads, all.wide_loads);
    costs.set(Cost::BroadcastLoads, all.broadcast_loads);
    costs.set(Cost::ReadBytes, all.read_bytes);
    costs.set(Cost::IdealReadBytes, all.ideal_read_bytes);
    costs.set(Cost::WrittenBytes, all.written_bytes);
    costs.set(Cost::DramReadBytes, all.dram_read_bytes);
    costs.set(Cost::DramWrittenBytes, all.dram_written_bytes);
    costs.set(Cost::SharedPasses, all.shared_passes);
    costs.set(Cost::IdealSharedPasses, all.ideal_shared_passes);
    let shared = launches.iter().map(|launch| launch.shared_bytes as u64).max();
    costs.set(Cost::SharedBytes, shared.unwrap_or(0));
}

/// What the assembler says, if there is one.
#[cfg(feature = "cuda")]
fn assembled(costs: &mut Costs, program: &carousel_core::program::Program) -> Result<(), Error> {
    let Some(assembler) = crate::assembler::find() else { return Ok(()) };
    let (mut registers, mut spilled) = (0, 0);
    for kernel in &program.kernels {
        let ptx = carousel_cuda::ptx(kernel).map_err(Error::failed)?;
        let assembled = crate::assembler::assembled(&assembler, &ptx, ARCHITECTURE).map_err(Error::Failed)?;
        registers = registers.max(assembled.registers());
        spilled += assembled.spilled_bytes();
    }
    costs.set(Cost::Registers, registers);
    costs.set(Cost::SpilledBytes, spilled);
    Ok(())
}
