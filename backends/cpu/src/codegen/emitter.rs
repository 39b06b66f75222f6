//! What all of code generation stands on: the function that is being built, the kernel's arguments as values, loops,
//! and calls of the tile runtime.
//!
//! Invariant: a value that is kept here (a pointer, a dim, a bound variable) dominates everything that is emitted while
//! it is kept. It deliberately optimises nothing: whoever emits decides where a value is computed.

use super::names::Names;
use carousel_core::kernel::{BufferId, Dim, Extent, Kernel, Loop, Place, Var};
use carousel_ir::{DType, Direction};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, Block, FuncRef, Function, InstBuilder, MemFlagsData, Signature, Type, Value, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;
use std::collections::HashMap;

/// Bytes in front of a kernel's scratch memory.
pub(crate) const HEADER_BYTES: u64 = 192;
/// Where, in the header, 64 bytes of zeros lie: what is loaded where a guard does not hold.
const ZEROS: i64 = 0;
/// Where 64 bytes lie that nobody reads: what is stored to where there is nothing to store to.
const TRASH: i64 = 64;
/// Where 64 bytes lie through which single elements go to the tile runtime and back.
const CELL: i64 = 128;
/// Largest number of bytes in tile temporaries, so that they stay in the first-level cache.
pub(super) const TEMPORARY_BUDGET: u64 = 24 << 10;

/// Makes functions of the tile runtime known to the function that is being built.
pub(crate) trait Linker {
    /// A reference to the function of that name.
    fn import(&mut self, function: &mut Function, name: &'static str, signature: Signature) -> FuncRef;
}

/// How often a loop runs: the value, and the number if it is known when compiled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    pub(super) known: Option<u64>,
    pub(super) value: Value,
}

/// A loop that has been begun.
pub(super) struct OpenLoop {
    head: Block,
    exit: Block,
    counter: Value,
    step: i64,
}

/// A loop of the kernel that has been begun; one that runs once is no loop in the machine code.
pub(super) struct OpenAxis {
    var: Var,
    open: Option<OpenLoop>,
}

/// Builds the machine code of one kernel.
pub(super) struct Emitter<'a, 'f> {
    pub(super) b: FunctionBuilder<'f>,
    pub(super) kernel: &'a Kernel,
    linker: &'a mut dyn Linker,
    call_conv: CallConv,
    imported: HashMap<&'static str, FuncRef>,
    /// Pointers to the buffers.
    buffers: Vec<Value>,
    /// The dims that came as arguments.
    dims: Vec<Value>,
    /// The variables that are bound.
    pub(super) variables: HashMap<Var, Value>,
    scratch: Value,
    temporaries: Value,
    /// Where temporaries begin meanwhile.
    shifted: Option<Value>,
    temporaries_used: u64,
    temporaries_bytes: u64,
    pub(super) status: Value,
    /// Whether the host has a fused multiply-add; without it, every one would be a library call.
    pub(super) fma: bool,
    pub(super) names: Names,
}

/// The signature of every kernel's function.
pub(crate) fn kernel_signature(call_conv: CallConv) -> Signature {
    let mut signature = Signature::new(call_conv);
    signature.params.extend([AbiParam::new(types::I64); 6]);
    signature
}

/// Flags of every access: in bounds, of any alignment.
pub(super) fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// Bytes of an element in memory.
pub(super) fn bytes_of(dtype: DType) -> i64 {
    match dtype {
        DType::F32 | DType::I32 | DType::U32 | DType::Bool => 4,
        DType::F64 => 8,
        DType::Bf16 | DType::F16 => 2,
    }
}

impl<'a, 'f> Emitter<'a, 'f> {
    /// Starts the function: loads pointers and dims.
    pub(super) fn new(
        mut b: FunctionBuilder<'f>,
        kernel: &'a Kernel,
        linker: &'a mut dyn Linker,
        call_conv: CallConv,
        fma: bool,
    ) -> (Emitter<'a, 'f>, [Value; 2]) {
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let arguments = b.block_params(entry).to_vec();
        let mut names = Names::default();
        names.block(entry, "entry");
        for (&value, name) in arguments.iter().zip(["buffers", "dims", "begin", "end", "scratch", "status"]) {
            names.value(value, name);
        }
        let mut emitter = Emitter {
            b,
            kernel,
            linker,
            call_conv,
            imported: HashMap::new(),
            buffers: Vec::new(),
            dims: Vec::new(),
            variables: HashMap::new(),
            scratch: arguments[4],
            temporaries: arguments[4],
            shifted: None,
            temporaries_used: 0,
            temporaries_bytes: 0,
            status: arguments[5],
            fma,
            names,
        };
        for dim in 0..kernel.dims {
            let value = emitter.b.ins().load(types::I64, flags(), arguments[1], dim as i32 * 8);
            emitter.names.value(value, &format!("dim{dim}"));
            emitter.dims.push(value);
        }
        for (at, buffer) in kernel.buffers.iter().enumerate() {
            let pointer = match buffer.place {
                Place::Argument(n) => emitter.b.ins().load(types::I64, flags(), arguments[0], n as i32 * 8),
                Place::Scratch(offset) => {
                    let offset = emitter.dim(offset);
                    let start = emitter.b.ins().iadd(emitter.scratch, offset);
                    emitter.b.ins().iadd_imm_s(start, HEADER_BYTES as i64)
                }
            };
            let name = kernel.buffer_names.get(at).cloned().unwrap_or_else(|| format!("buffer{at}"));
            emitter.names.value(pointer, &name);
            emitter.buffers.push(pointer);
        }
        let scratch_bytes = emitter.dim(kernel.scratch_bytes);
        let rounded = emitter.b.ins().iadd_imm_s(scratch_bytes, 63);
        let rounded = emitter.b.ins().band_imm_s(rounded, !63);
        let start = emitter.b.ins().iadd(emitter.scratch, rounded);
        emitter.temporaries = emitter.b.ins().iadd_imm_s(start, HEADER_BYTES as i64);
        emitter.names.value(emitter.temporaries, "temporaries");
        (emitter, [arguments[2], arguments[3]])
    }

    /// Bytes of tile temporaries that the kernel needs after its scratch memory.
    pub(super) fn temporaries_bytes(&self) -> u64 {
        self.temporaries_bytes
    }

    /// A constant integer.
    pub(super) fn int(&mut self, value: i64) -> Value {
        self.b.ins().iconst(types::I64, value)
    }

    /// The value of a dim.
    pub(super) fn dim(&mut self, dim: Dim) -> Value {
        match dim {
            Dim::Known(n) => self.int(n as i64),
            Dim::Argument(at) => self.dims[at as usize],
        }
    }

    /// The start of a buffer.
    pub(super) fn buffer(&self, buffer: BufferId) -> Value {
        self.buffers[buffer.0 as usize]
    }

    /// The dtype of a buffer.
    pub(super) fn dtype(&self, buffer: BufferId) -> DType {
        self.kernel.buffers[buffer.0 as usize].dtype
    }

    /// 64 bytes of zeros.
    pub(super) fn zeros(&mut self) -> Value {
        self.b.ins().iadd_imm_s(self.scratch, ZEROS)
    }

    /// 64 bytes that nobody reads.
    pub(super) fn trash(&mut self) -> Value {
        self.b.ins().iadd_imm_s(self.scratch, TRASH)
    }

    /// 64 bytes for an element on its way to the tile runtime.
    pub(super) fn cell(&mut self) -> Value {
        self.b.ins().iadd_imm_s(self.scratch, CELL)
    }

    /// Makes the temporaries of the statement before available again.
    pub(super) fn free_temporaries(&mut self) {
        self.temporaries_used = 0;
    }

    /// A temporary of that many bytes: its offset, to be given to [`Emitter::temporary`].
    pub(super) fn allocate_temporary(&mut self, bytes: u64) -> u64 {
        let offset = self.temporaries_used;
        self.temporaries_used += bytes.next_multiple_of(64);
        self.temporaries_bytes = self.temporaries_bytes.max(self.temporaries_used);
        offset
    }

    /// The address of a temporary.
    pub(super) fn temporary(&mut self, offset: u64) -> Value {
        let start = self.shifted.unwrap_or(self.temporaries);
        self.b.ins().iadd_imm_s(start, offset as i64)
    }

    /// Until they are put back, temporaries begin so many bytes further on: at a row of a tile of rows.
    pub(super) fn shift_temporaries(&mut self, bytes: Value) {
        self.shifted = Some(self.b.ins().iadd(self.temporaries, bytes));
    }

    /// Puts temporaries back.
    pub(super) fn unshift_temporaries(&mut self) {
        self.shifted = None;
    }

    /// How often a loop of that extent runs.
    pub(super) fn count(&mut self, extent: Extent) -> Count {
        match extent {
            Extent::Whole(dim) => {
                let value = self.dim(dim);
                match dim {
                    Dim::Known(n) => Count { known: Some(n), value },
                    Dim::Argument(_) => Count { known: None, value },
                }
            }
            Extent::Tile { whole, tile, index } => {
                if let Dim::Known(n) = whole
                    && n % tile == 0
                {
                    return self.known_count(tile);
                }
                let before = self.b.ins().imul_imm_s(self.variables[&index], tile as i64);
                let whole = self.dim(whole);
                let left = self.b.ins().isub(whole, before);
                let tile = self.int(tile as i64);
                let value = self.smaller(left, tile);
                Count { known: None, value }
            }
        }
    }

    /// The smaller of two integers.
    pub(super) fn smaller(&mut self, a: Value, b: Value) -> Value {
        let less = self.b.ins().icmp(IntCC::SignedLessThan, a, b);
        self.b.ins().select(less, a, b)
    }

    /// A count that is known when compiled.
    pub(super) fn known_count(&mut self, count: u64) -> Count {
        Count { known: Some(count), value: self.int(count as i64) }
    }

    /// Begins `for counter in (start..end).step_by(step)`: what follows is its body. Returns the counter.
    pub(super) fn begin_loop(
        &mut self,
        name: &str,
        start: Value,
        end: Value,
        step: i64,
    ) -> (OpenLoop, Value) {
        let (head, body, exit) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.names.block(head, &format!("{name}.head"));
        self.names.block(body, &format!("{name}.body"));
        self.names.block(exit, &format!("{name}.exit"));
        let counter = self.b.append_block_param(head, types::I64);
        self.names.value(counter, name);
        self.b.ins().jump(head, &[start.into()]);
        self.b.switch_to_block(head);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, counter, end);
        self.b.ins().brif(more, body, &[], exit, &[]);
        self.b.switch_to_block(body);
        (OpenLoop { head, exit, counter, step }, counter)
    }

    /// Ends a loop: what follows comes after it.
    pub(super) fn end_loop(&mut self, open: OpenLoop) {
        let next = self.b.ins().iadd_imm_s(open.counter, open.step);
        self.b.ins().jump(open.head, &[next.into()]);
        self.b.switch_to_block(open.exit);
    }

    /// Begins a loop of the kernel and binds its variable.
    pub(super) fn begin_axis(&mut self, over: Loop, direction: Direction) -> OpenAxis {
        let count = self.count(over.extent);
        if count.known == Some(1) {
            let zero = self.int(0);
            self.variables.insert(over.var, zero);
            return OpenAxis { var: over.var, open: None };
        }
        let zero = self.int(0);
        let (open, counter) = self.begin_loop(&format!("i{}", over.var.0), zero, count.value, 1);
        let index = match direction {
            Direction::Forward => counter,
            Direction::Reverse => {
                let last = self.b.ins().iadd_imm_s(count.value, -1);
                self.b.ins().isub(last, counter)
            }
        };
        self.variables.insert(over.var, index);
        OpenAxis { var: over.var, open: Some(open) }
    }

    /// Begins a part of a loop of the kernel: `count` turns from `start` on (0 if there is none). Returns it with the turn.
    pub(super) fn begin_part(&mut self, over: Loop, start: Option<Value>, count: Value) -> (OpenAxis, Value) {
        let zero = self.int(0);
        let (open, turn) = self.begin_loop(&format!("i{}", over.var.0), zero, count, 1);
        let index = match start {
            Some(start) => self.b.ins().iadd(start, turn),
            None => turn,
        };
        self.variables.insert(over.var, index);
        (OpenAxis { var: over.var, open: Some(open) }, turn)
    }

    /// Ends a loop of the kernel.
    pub(super) fn end_axis(&mut self, axis: OpenAxis) {
        if let Some(open) = axis.open {
            self.end_loop(open);
        }
        self.variables.remove(&axis.var);
    }

    /// Calls a function of the tile runtime.
    pub(super) fn call(
        &mut self,
        name: &'static str,
        arguments: &[Value],
        result: Option<Type>,
    ) -> Option<Value> {
        let function = match self.imported.get(name) {
            Some(&function) => function,
            None => {
                let mut signature = Signature::new(self.call_conv);
                for &argument in arguments {
                    signature.params.push(AbiParam::new(self.b.func.dfg.value_type(argument)));
                }
                signature.returns.extend(result.map(AbiParam::new));
                let function = self.linker.import(self.b.func, name, signature);
                self.names.function(function, name);
                self.imported.insert(name, function);
                function
            }
        };
        let call = self.b.ins().call(function, arguments);
        self.b.inst_results(call).first().copied()
    }

    /// Sets bits of the status word unless `fine`, a truth value.
    pub(super) fn report_unless(&mut self, fine: Value, bits: i64) {
        let (bad, on) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(bad);
        self.names.block(bad, "report");
        self.names.block(on, "reported");
        self.b.ins().brif(fine, on, &[], bad, &[]);
        self.b.switch_to_block(bad);
        let bits = self.b.ins().iconst(types::I32, bits);
        self.b.ins().store(flags(), bits, self.status, 0);
        self.b.ins().jump(on, &[]);
        self.b.switch_to_block(on);
    }
}
