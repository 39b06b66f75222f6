//! Loads, stores, atomic operations, asynchronous copies.

use super::{Access, Decoder, Operation, Slot, Space, Update};
use crate::ptx::{Operand, type_bytes};

impl Decoder<'_> {
    pub(super) fn memory_operation(&mut self, opcode: &[&str], operands: &[Operand]) -> Option<Operation> {
        match opcode[0] {
            "ld" if opcode.get(1).is_some_and(|part| part.starts_with("param")) => {
                self.load_parameter(opcode, operands)
            }
            "ld" | "ldu" => {
                let [registers, address] = operands else { return None };
                let registers = self.slots_of(registers)?;
                Some(Operation::Load(self.access(opcode, address, registers)?))
            }
            "st" => {
                let [address, registers] = operands else { return None };
                let registers = self.slots_of(registers)?;
                Some(Operation::Store(self.access(opcode, address, registers)?))
            }
            "atom" => {
                let [to, address, values @ ..] = operands else { return None };
                let mut registers = vec![self.slot(to)?];
                for value in values {
                    registers.push(self.slot(value)?);
                }
                let access = self.access(opcode, address, registers)?;
                Some(Operation::Atomic { access, update: update(opcode)?, wants_old: true })
            }
            "red" => {
                let [address, value] = operands else { return None };
                let registers = vec![self.fresh(), self.slot(value)?];
                let access = self.access(opcode, address, registers)?;
                Some(Operation::Atomic { access, update: update(opcode)?, wants_old: false })
            }
            "cp" if opcode.contains(&"commit_group") => Some(Operation::CommitCopies),
            "cp" if opcode.contains(&"wait_all") => Some(Operation::WaitForCopies(0)),
            "cp" if opcode.contains(&"wait_group") => match operands {
                [Operand::Bits(n)] => Some(Operation::WaitForCopies(*n as usize)),
                _ => None,
            },
            "cp" if opcode.get(1) == Some(&"async") && !opcode.contains(&"bulk") => {
                let [to, from, Operand::Bits(bytes), rest @ ..] = operands else { return None };
                let bytes = usize::try_from(*bytes).ok().filter(|n| matches!(n, 4 | 8 | 16))?;
                let size = match rest {
                    [] => None,
                    [size] => Some(self.slot(size)?),
                    _ => return None,
                };
                let access = |decoder: &mut Self, space, operand| {
                    let (base, offset) = decoder.address(operand)?;
                    let registers = Vec::new();
                    Some(Access {
                        space,
                        bytes,
                        signed: false,
                        registers,
                        base,
                        offset,
                        unread: 0,
                        strong: false,
                    })
                };
                let (to, from) = (access(self, Space::Shared, to)?, access(self, Space::Global, from)?);
                Some(Operation::CopyAsync { to, from, size })
            }
            "ldmatrix" if opcode.contains(&"m8n8") && opcode.last() == Some(&"b16") => {
                let [registers, address] = operands else { return None };
                let registers = self.slots_of(registers)?;
                let (base, offset) = self.address(address)?;
                let space = space(opcode);
                let access = Access {
                    space,
                    bytes: 16,
                    signed: false,
                    registers,
                    base,
                    offset,
                    unread: 0,
                    strong: false,
                };
                Some(Operation::LoadMatrix { access, transposed: opcode.contains(&"trans") })
            }
            _ => None,
        }
    }

    fn load_parameter(&mut self, opcode: &[&str], operands: &[Operand]) -> Option<Operation> {
        let [registers, Operand::Address(base, offset)] = operands else { return None };
        let Operand::Symbol(name) = &**base else { return None };
        let parameter = self.function.parameters.iter().find(|p| p.name == *name)?;
        let (bytes, signed) = element(opcode)?;
        let to = self.slots_of(registers)?;
        let offset = usize::try_from(parameter.offset as i64 + offset).ok()?;
        let end = offset.checked_add(bytes * to.len())?;
        (end <= self.function.parameter_bytes).then_some(Operation::LoadParameter {
            to,
            offset,
            bytes,
            signed,
        })
    }

    fn access(&mut self, opcode: &[&str], address: &Operand, registers: Vec<Slot>) -> Option<Access> {
        let (bytes, signed) = element(opcode)?;
        let (base, offset) = self.address(address)?;
        let ordered = ["volatile", "relaxed", "acquire", "release", "acq_rel"];
        let strong = opcode.iter().any(|part| ordered.contains(part));
        Some(Access { space: space(opcode), bytes, signed, registers, base, offset, unread: 0, strong })
    }

    fn address(&mut self, operand: &Operand) -> Option<(Option<Slot>, i64)> {
        let Operand::Address(base, offset) = operand else { return None };
        if let Operand::Bits(bits) = &**base {
            return Some((None, offset.wrapping_add(*bits as i64)));
        }
        Some((Some(self.slot(base)?), *offset))
    }
}

fn element(opcode: &[&str]) -> Option<(usize, bool)> {
    let name = opcode.last()?;
    Some((type_bytes(name)?, name.starts_with('s')))
}

fn space(opcode: &[&str]) -> Space {
    let has = |name: &str| opcode.iter().any(|part| part.split("::").next() == Some(name));
    if has("global") || has("const") {
        Space::Global
    } else if has("shared") {
        Space::Shared
    } else if has("local") {
        Space::Local
    } else {
        Space::Generic
    }
}

fn update(opcode: &[&str]) -> Option<Update> {
    let ty = *opcode.last()?;
    let signed = ty.starts_with('s');
    let found = opcode.iter().find_map(|part| {
        Some(match *part {
            "add" if ty == "f32" => Update::AddFloat,
            "add" => Update::Add,
            "min" => Update::Min { signed },
            "max" => Update::Max { signed },
            "exch" => Update::Exchange,
            "cas" => Update::CompareAndSwap,
            "and" => Update::And,
            "or" => Update::Or,
            "xor" => Update::Xor,
            _ => return None,
        })
    })?;
    let known = matches!(ty, "u32" | "s32" | "b32" | "u64" | "s64" | "b64" | "f32");
    known.then_some(found)
}
