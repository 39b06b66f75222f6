//! Instructions of a whole warp or block: barriers, shuffles, votes, matrix products.

use super::{Decoder, Operation, Shuffle, Slot, Vote};
use crate::ptx::Operand;

impl Decoder<'_> {
    pub(super) fn warp_operation(&mut self, opcode: &[&str], operands: &[Operand]) -> Option<Operation> {
        match opcode[0] {
            "bar" | "barrier" if opcode.contains(&"warp") => match operands {
                [members] => Some(Operation::WarpBarrier { members: self.slot(members)? }),
                _ => None,
            },
            // The one barrier of the whole block.
            "bar" | "barrier" if opcode.contains(&"sync") && !opcode.contains(&"cluster") => {
                (operands == [Operand::Bits(0)]).then_some(Operation::Barrier)
            }
            "shfl" => self.shuffle(opcode, operands),
            "vote" => self.vote(opcode, operands),
            "mma" => self.matrix_product(opcode, operands),
            _ => None,
        }
    }

    fn shuffle(&mut self, opcode: &[&str], operands: &[Operand]) -> Option<Operation> {
        let mode = match *opcode.get(2)? {
            "bfly" => Shuffle::Butterfly,
            "down" => Shuffle::Down,
            "up" => Shuffle::Up,
            "idx" => Shuffle::Index,
            _ => return None,
        };
        let [to, value, lane, clamp, members] = operands else { return None };
        let (to, inside) = if let Operand::Pair(to, inside) = to {
            (self.slot(to)?, Some(self.slot(inside)?))
        } else {
            (self.slot(to)?, None)
        };
        let [value, lane, clamp, members] =
            [self.slot(value)?, self.slot(lane)?, self.slot(clamp)?, self.slot(members)?];
        Some(Operation::Shuffle { mode, to, inside, value, lane, clamp, members })
    }

    fn vote(&mut self, opcode: &[&str], operands: &[Operand]) -> Option<Operation> {
        let mode = match *opcode.get(2)? {
            "ballot" => Vote::Ballot,
            "any" => Vote::Any,
            "all" => Vote::All,
            _ => return None,
        };
        let [to, value, members] = operands else { return None };
        let (value, negated) = if let Operand::Not(value) = value {
            (self.slot(value)?, true)
        } else {
            (self.slot(value)?, false)
        };
        Some(Operation::Vote { mode, to: self.slot(to)?, value, negated, members: self.slot(members)? })
    }

    fn matrix_product(&mut self, opcode: &[&str], operands: &[Operand]) -> Option<Operation> {
        let known = ["mma", "sync", "aligned", "m16n8k16", "row", "col", "f32", "bf16", "bf16", "f32"];
        if opcode != known {
            return None;
        }
        let [d, a, b, c] = operands else { return None };
        let mut quad = |operand| <[Slot; 4]>::try_from(self.slots_of(operand)?).ok();
        let (d, a, c) = (quad(d)?, quad(a)?, quad(c)?);
        let b = <[Slot; 2]>::try_from(self.slots_of(b)?).ok()?;
        Some(Operation::Multiply { d, a, b, c })
    }
}
