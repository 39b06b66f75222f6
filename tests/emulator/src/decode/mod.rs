//! Instructions with their meaning: what the machine executes.
//!
//! Invariant: whatever is executed was decoded here with all its modifiers; a kernel with an instruction that is not
//! known is not launched, and names it.

pub(crate) mod alu;
mod bits;
mod memory;
mod warp;

pub(crate) use alu::{Alu, LANES, Lanes};

use crate::ptx::{Function, Instruction, Module, Operand, Source};
use std::collections::{HashMap, HashSet};

/// A register of the machine: one of the kernel's, a constant, a special register.
pub(crate) type Slot = u32;

/// Where generic addresses of shared memory begin.
pub(crate) const SHARED_WINDOW: u64 = 0x0100_0000_0000;
/// Where generic addresses of a thread's own memory begin.
pub(crate) const LOCAL_WINDOW: u64 = 0x0200_0000_0000;
/// Where addresses of global memory begin.
pub(crate) const GLOBAL_WINDOW: u64 = 0x7000_0000_0000;

/// Which memory an access is to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Space {
    Global,
    Shared,
    Local,
    /// Whichever the address says.
    Generic,
}

/// A load or a store.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) space: Space,
    /// Bytes of an element.
    pub(crate) bytes: usize,
    /// Whether narrow elements are extended by their sign.
    pub(crate) signed: bool,
    /// Registers of the elements, one after the other in memory.
    pub(crate) registers: Vec<Slot>,
    /// Which of them nobody reads, a bit each: compilers widen loads over what they do not need.
    pub(crate) unread: u8,
    pub(crate) base: Option<Slot>,
    pub(crate) offset: i64,
    /// Whether it is ordered with other threads: volatile, relaxed, acquire or release.
    pub(crate) strong: bool,
}

/// What an atomic operation computes of the old and the new value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Update {
    Add,
    AddFloat,
    Min { signed: bool },
    Max { signed: bool },
    Exchange,
    CompareAndSwap,
    And,
    Or,
    Xor,
}

/// Which lane a shuffle reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shuffle {
    Butterfly,
    Down,
    Up,
    Index,
}

/// What a vote gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Vote {
    Ballot,
    Any,
    All,
}

/// What is executed.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// Computed on the registers of each thread.
    Compute {
        function: Alu,
        to: Slot,
        from: [Slot; 4],
        flops: u8,
    },
    /// One register of several: the first is the lowest.
    Pack {
        to: Slot,
        from: Vec<Slot>,
        bits: u32,
    },
    /// Several registers of one.
    Unpack {
        to: Vec<Slot>,
        from: Slot,
        bits: u32,
    },
    LoadParameter {
        to: Vec<Slot>,
        offset: usize,
        bytes: usize,
        signed: bool,
    },
    Load(Access),
    Store(Access),
    /// `access` has the result's register (if it is wanted), then the operands.
    Atomic {
        access: Access,
        update: Update,
        wants_old: bool,
    },
    CopyAsync {
        to: Access,
        from: Access,
        size: Option<Slot>,
    },
    CommitCopies,
    WaitForCopies(usize),
    LoadMatrix {
        access: Access,
        transposed: bool,
    },
    /// D, A, B and C of `mma.m16n8k16` on bf16 numbers.
    Multiply {
        d: [Slot; 4],
        a: [Slot; 4],
        b: [Slot; 2],
        c: [Slot; 4],
    },
    Shuffle {
        mode: Shuffle,
        to: Slot,
        inside: Option<Slot>,
        value: Slot,
        lane: Slot,
        clamp: Slot,
        members: Slot,
    },
    Vote {
        mode: Vote,
        to: Slot,
        value: Slot,
        negated: bool,
        members: Slot,
    },
    WarpBarrier {
        members: Slot,
    },
    Barrier,
    Fence,
    /// Others may have their turn.
    Sleep,
    Branch(usize),
    Exit,
    Trap,
}

/// An operation under its guard.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) operation: Operation,
    pub(crate) guard: Option<(Slot, bool)>,
    /// Which instruction of the kernel it comes from.
    pub(crate) instruction: usize,
}

/// A kernel as it is executed.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
    pub(crate) slots: usize,
    /// Registers that never change.
    pub(crate) constants: Vec<(Slot, u64)>,
    pub(crate) specials: Vec<(Slot, Special)>,
    /// Offset and size of each parameter.
    pub(crate) parameters: Vec<(usize, usize)>,
    pub(crate) parameter_bytes: usize,
    pub(crate) shared_bytes: usize,
    pub(crate) local_bytes: usize,
    pub(crate) max_threads: Option<u32>,
    /// For messages: the opcode of each instruction, and where it comes from.
    pub(crate) places: Vec<(String, Source)>,
    /// Instructions that are not known.
    pub(crate) unknown: Vec<String>,
}

/// A register that says where a thread is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Special {
    Thread(usize),
    BlockSize(usize),
    Block(usize),
    GridSize(usize),
    Lane,
    Warp,
    /// The lanes below, or up to, one's own.
    LanesBelow {
        and_own: bool,
    },
    DynamicSharedBytes,
}

/// Decodes a kernel; `globals` are the addresses of the module's variables.
pub(crate) fn decode(function: &Function, globals: &HashMap<String, u64>) -> Program {
    let mut decoder = Decoder::new(function, globals);
    let mut steps: Vec<Step> = Vec::new();
    let mut starts = Vec::new();
    let mut unknown = Vec::new();
    for (number, instruction) in function.instructions.iter().enumerate() {
        starts.push(steps.len());
        match decoder.instruction(instruction) {
            Some(operations) => {
                let guard = instruction.guard.map(|(register, negated)| (register.0, negated));
                let step = |operation| Step { operation, guard, instruction: number };
                steps.extend(operations.into_iter().map(step));
            }
            None => unknown.push(format!("{} (line {})", instruction.opcode.join("."), instruction.line)),
        }
    }
    starts.push(steps.len());
    let end = function.instructions.len();
    steps.push(Step { operation: Operation::Exit, guard: None, instruction: end });
    for step in &mut steps {
        if let Operation::Branch(target) = &mut step.operation {
            *target = starts[*target];
        }
    }
    mark_unread(&mut steps);
    let mut places: Vec<(String, Source)> =
        function.instructions.iter().map(|i| (i.opcode.join("."), i.source)).collect();
    places.push(("the end".to_string(), Source::default()));
    unknown.dedup();
    Program {
        name: function.name.clone(),
        steps,
        slots: decoder.slots as usize,
        constants: decoder.constants.iter().map(|(bits, slot)| (*slot, *bits)).collect(),
        specials: decoder.specials,
        parameters: function.parameters.iter().map(|p| (p.offset, p.bytes)).collect(),
        parameter_bytes: function.parameter_bytes,
        shared_bytes: decoder.shared_bytes,
        local_bytes: decoder.local_bytes,
        max_threads: function.max_threads,
        places,
        unknown,
    }
}

/// Marks the registers of loads that no step reads.
fn mark_unread(steps: &mut [Step]) {
    let mut read: HashSet<Slot> = HashSet::new();
    for step in steps.iter() {
        read.extend(step.guard.map(|(slot, _)| slot));
        read.extend(step.operation.reads());
    }
    for step in steps {
        if let Operation::Load(access) = &mut step.operation {
            let unread = access.registers.iter().enumerate().filter(|(_, slot)| !read.contains(slot));
            let bits = unread.fold(0u8, |bits, (at, _)| bits | 1 << at);
            // What is read for nothing at all was written so.
            let is_wanted = bits.count_ones() < access.registers.len() as u32;
            access.unread = if is_wanted { bits } else { 0 };
        }
    }
}

impl Operation {
    /// The registers that it reads.
    fn reads(&self) -> Vec<Slot> {
        let access =
            |access: &Access| access.base.into_iter().chain(access.registers.iter().copied()).collect();
        match self {
            Operation::Compute { from, .. } => from.to_vec(),
            Operation::Pack { from, .. } => from.clone(),
            Operation::Unpack { from, .. } => vec![*from],
            Operation::Load(load) => load.base.into_iter().collect(),
            Operation::Store(store) => access(store),
            Operation::Atomic { access: atomic, .. } => access(atomic),
            Operation::CopyAsync { to, from, size } => {
                [to.base, from.base, *size].into_iter().flatten().collect()
            }
            Operation::LoadMatrix { access, .. } => access.base.into_iter().collect(),
            Operation::Multiply { a, b, c, .. } => [&a[..], b, c].concat(),
            Operation::Shuffle { value, lane, clamp, members, .. } => vec![*value, *lane, *clamp, *members],
            Operation::Vote { value, members, .. } => vec![*value, *members],
            Operation::WarpBarrier { members } => vec![*members],
            Operation::LoadParameter { .. }
            | Operation::CommitCopies
            | Operation::WaitForCopies(_)
            | Operation::Barrier
            | Operation::Fence
            | Operation::Sleep
            | Operation::Branch(_)
            | Operation::Exit
            | Operation::Trap => Vec::new(),
        }
    }
}

/// The kernels of a module by name.
pub(crate) fn decode_all(module: &Module, globals: &HashMap<String, u64>) -> Vec<Program> {
    module.functions.iter().map(|function| decode(function, globals)).collect()
}

struct Decoder<'f> {
    function: &'f Function,
    slots: u32,
    constants: HashMap<u64, Slot>,
    specials: Vec<(Slot, Special)>,
    /// Addresses of named memory, in its own space.
    symbols: HashMap<&'f str, u64>,
    shared_bytes: usize,
    local_bytes: usize,
}

impl<'f> Decoder<'f> {
    fn new(function: &'f Function, globals: &'f HashMap<String, u64>) -> Decoder<'f> {
        let mut symbols: HashMap<&str, u64> = globals.iter().map(|(n, a)| (n.as_str(), *a)).collect();
        let mut place = |variables: &'f [crate::ptx::Variable]| {
            // Dynamic shared memory, which has no size here, begins where everything else ends.
            let (dynamic, fixed): (Vec<_>, Vec<_>) = variables.iter().partition(|v| v.bytes == 0);
            let mut bytes = 0usize;
            for variable in fixed.into_iter().chain(dynamic) {
                bytes = bytes.next_multiple_of(variable.align.clamp(1, 1024));
                symbols.insert(&variable.name, bytes as u64);
                bytes += variable.bytes;
            }
            bytes
        };
        let shared_bytes = place(&function.shared);
        let local_bytes = place(&function.local).next_multiple_of(16);
        Decoder {
            function,
            slots: function.registers,
            constants: HashMap::new(),
            specials: Vec::new(),
            symbols,
            shared_bytes,
            local_bytes,
        }
    }

    fn fresh(&mut self) -> Slot {
        self.slots += 1;
        self.slots - 1
    }

    fn constant(&mut self, bits: u64) -> Slot {
        if let Some(slot) = self.constants.get(&bits) {
            return *slot;
        }
        let slot = self.fresh();
        self.constants.insert(bits, slot);
        slot
    }

    /// The register that holds an operand; a fresh one for a result that is not wanted.
    fn slot(&mut self, operand: &Operand) -> Option<Slot> {
        match operand {
            Operand::Register(register) => Some(register.0),
            Operand::Bits(bits) => Some(self.constant(*bits)),
            Operand::Special(name) => {
                let special = special(name)?;
                if let Some((slot, _)) = self.specials.iter().find(|(_, s)| *s == special) {
                    return Some(*slot);
                }
                let slot = self.fresh();
                self.specials.push((slot, special));
                Some(slot)
            }
            Operand::Symbol(name) if name == "WARP_SZ" => Some(self.constant(LANES as u64)),
            Operand::Symbol(name) => {
                let address = *self.symbols.get(name.as_str())?;
                Some(self.constant(address))
            }
            Operand::Sink => Some(self.fresh()),
            Operand::Address(..) | Operand::Vector(_) | Operand::Pair(..) | Operand::Not(_) => None,
        }
    }

    fn slots_of(&mut self, operand: &Operand) -> Option<Vec<Slot>> {
        if let Operand::Vector(parts) = operand {
            return parts.iter().map(|part| self.slot(part)).collect();
        }
        Some(vec![self.slot(operand)?])
    }

    fn instruction(&mut self, instruction: &Instruction) -> Option<Vec<Operation>> {
        let opcode: Vec<&str> = instruction.opcode.iter().map(String::as_str).collect();
        let operands = instruction.operands.as_slice();
        let one = |operation: Option<Operation>| operation.map(|o| vec![o]);
        match opcode[0] {
            "mov" => one(self.moved(instruction)),
            "cvta" => one(self.generic_address(&opcode, operands)),
            "setp" => self.comparison(instruction),
            "ld" | "ldu" | "st" | "atom" | "red" | "cp" | "ldmatrix" => {
                one(self.memory_operation(&opcode, operands))
            }
            "mma" | "shfl" | "vote" | "bar" | "barrier" | "activemask" => {
                one(self.warp_operation(&opcode, operands))
            }
            "membar" | "fence" => one(Some(Operation::Fence)),
            "nanosleep" => one(Some(Operation::Sleep)),
            "bra" => {
                let [Operand::Symbol(label)] = operands else { return None };
                one(self.function.labels.get(label).map(|at| Operation::Branch(*at)))
            }
            "ret" | "exit" => one(Some(Operation::Exit)),
            "trap" => one(Some(Operation::Trap)),
            _ => one(self.computed(&instruction.opcode, operands)),
        }
    }

    fn computed(&mut self, opcode: &[String], operands: &[Operand]) -> Option<Operation> {
        let function = alu::function(opcode)?;
        let (to, from) = operands.split_first()?;
        let to = self.slot(to)?;
        let mut slots = [self.constant(0); 4];
        for (slot, operand) in slots.iter_mut().zip(from) {
            *slot = self.slot(operand)?;
        }
        let is_float = matches!(opcode.last().map(String::as_str), Some("f32" | "f64"));
        let flops = match (is_float, opcode[0].as_str()) {
            (true, "fma" | "mad") => 2,
            (true, "add" | "sub" | "mul" | "div") => 1,
            _ => 0,
        };
        Some(Operation::Compute { function, to, from: slots, flops })
    }

    fn moved(&mut self, instruction: &Instruction) -> Option<Operation> {
        let [to, from] = instruction.operands.as_slice() else { return None };
        let total = 8 * crate::ptx::type_bytes(instruction.opcode.last()?)? as u32;
        match (to, from) {
            (Operand::Vector(parts), from) => {
                let to = parts.iter().map(|p| self.slot(p)).collect::<Option<Vec<_>>>()?;
                let bits = total / to.len() as u32;
                Some(Operation::Unpack { to, from: self.slot(from)?, bits })
            }
            (to, Operand::Vector(parts)) => {
                let from = parts.iter().map(|p| self.slot(p)).collect::<Option<Vec<_>>>()?;
                let bits = total / from.len() as u32;
                Some(Operation::Pack { to: self.slot(to)?, from, bits })
            }
            _ => self.computed(&instruction.opcode, &instruction.operands),
        }
    }

    /// Between addresses of a space and generic ones.
    fn generic_address(&mut self, opcode: &[&str], operands: &[Operand]) -> Option<Operation> {
        let window = if opcode.contains(&"shared") {
            SHARED_WINDOW
        } else if opcode.contains(&"local") {
            LOCAL_WINDOW
        } else {
            0
        };
        let name = if opcode.contains(&"to") { "sub" } else { "add" };
        let [to, from] = operands else { return None };
        let opcode = [name.to_string(), "u64".to_string()];
        self.computed(&opcode, &[to.clone(), from.clone(), Operand::Bits(window)])
    }

    /// `setp.cmp[.and|.or|.xor].type p[|q], a, b[, c]`.
    fn comparison(&mut self, instruction: &Instruction) -> Option<Vec<Operation>> {
        let joins = ["and", "or", "xor"];
        let mut opcode = instruction.opcode.clone();
        let join = opcode.iter().position(|part| joins.contains(&part.as_str())).map(|at| opcode.remove(at));
        let [to, a, b, rest @ ..] = instruction.operands.as_slice() else { return None };
        let Some(join) = join else {
            return Some(vec![self.computed(&opcode, &[to.clone(), a.clone(), b.clone()])?]);
        };
        let result = crate::ptx::Register(self.fresh());
        let compare = self.computed(&opcode, &[Operand::Register(result), a.clone(), b.clone()])?;
        let named = |parts: [&str; 2]| parts.map(str::to_string);
        let mut operations = vec![compare];
        let other = match rest {
            [Operand::Not(other)] => {
                let inverse = Operand::Register(crate::ptx::Register(self.fresh()));
                operations
                    .push(self.computed(&named(["not", "pred"]), &[inverse.clone(), (**other).clone()])?);
                inverse
            }
            [other] => other.clone(),
            _ => return None,
        };
        let operands = [to.clone(), Operand::Register(result), other];
        operations.push(self.computed(&named([&join, "pred"]), &operands)?);
        Some(operations)
    }
}

fn special(name: &str) -> Option<Special> {
    let axis = |name: &str| ["x", "y", "z"].iter().position(|axis| *axis == name);
    Some(match name.trim_start_matches('%').split_once('.') {
        Some(("tid", a)) => Special::Thread(axis(a)?),
        Some(("ntid", a)) => Special::BlockSize(axis(a)?),
        Some(("ctaid", a)) => Special::Block(axis(a)?),
        Some(("nctaid", a)) => Special::GridSize(axis(a)?),
        Some(_) => return None,
        None => match name {
            "%laneid" => Special::Lane,
            "%warpid" => Special::Warp,
            "%lanemask_lt" => Special::LanesBelow { and_own: false },
            "%lanemask_le" => Special::LanesBelow { and_own: true },
            "%dynamic_smem_size" => Special::DynamicSharedBytes,
            _ => return None,
        },
    })
}
