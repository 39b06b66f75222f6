//! Programs and kernels as text: one listing a kernel, one a function.
//!
//! Buffers carry the names that values have in the source; variables and expressions are numbered inside one kernel and
//! one statement, so that an edit elsewhere changes nothing here. The text is for people and snapshots; nothing reads it
//! back.

use crate::kernel::{
    Access, Atom, BufferId, Combine, Dim, Expr, Extent, Guard, Kernel, Linear, Loop, Matrix, Place, Region,
    Statement, Store, Term, Triangle, Update,
};
use crate::program::{Home, Program, Routine, SlotId, Step};
use carousel_ir::Direction;
use std::collections::HashMap;
use std::fmt::{self, Write};

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, kernel) in self.kernels.iter().enumerate() {
            writeln!(f, "kernel {number} {kernel}")?;
        }
        for (number, routine) in self.routines.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            routine_listing(f, self, routine)?;
        }
        Ok(())
    }
}

fn routine_listing(f: &mut fmt::Formatter<'_>, program: &Program, routine: &Routine) -> fmt::Result {
    writeln!(f, "function {} frame {} bytes", routine.name, routine.frame_bytes)?;
    let name = |slot: &SlotId| {
        let s = &routine.slots[slot.0 as usize];
        match s.home {
            Home::Input(_) | Home::Output(_) => s.name.clone(),
            Home::Frame => format!("{}@{}", s.name, s.offset),
        }
    };
    let names = |slots: &[SlotId]| slots.iter().map(name).collect::<Vec<_>>().join(", ");
    for step in &routine.steps {
        match step {
            Step::Launch { kernel, buffers, dims } => {
                let title = &program.kernels[kernel.0 as usize].name;
                write!(f, "  run {} `{title}` ({})", kernel.0, names(buffers))?;
                if !dims.is_empty() {
                    let dims: Vec<String> = dims.iter().map(|d| d.to_string()).collect();
                    write!(f, " dims ({})", dims.join(", "))?;
                }
                writeln!(f)?;
            }
            Step::Call { routine: callee, inputs, outputs, symbols } => {
                let callee = program.routines[callee.0 as usize].name;
                write!(f, "  call {callee}({}) -> ({})", names(inputs), names(outputs))?;
                for (symbol, size) in symbols {
                    write!(f, " {symbol}={size}")?;
                }
                writeln!(f)?;
            }
        }
    }
    Ok(())
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Names::new(self);
        writeln!(f, "`{}`", self.name)?;
        for (number, buffer) in self.buffers.iter().enumerate() {
            let access = match buffer.access {
                Access::Read => "read",
                Access::Write => "write",
                Access::ReadWrite => "read write",
            };
            let place = match buffer.place {
                Place::Argument(_) => access.to_string(),
                Place::Scratch(offset) => format!("scratch at {}", dim(offset)),
            };
            let name = names.buffer(BufferId(number as u32));
            writeln!(f, "  {name}: {}[{}] {place}", buffer.dtype, dim(buffer.elements))?;
        }
        if !self.grid.is_empty() {
            writeln!(f, "  grid {}", loops(&self.grid))?;
        }
        self.body.iter().try_for_each(|s| statement(f, &names, s, 1))
    }
}

/// Distinct names of a kernel's buffers.
struct Names(Vec<String>);

impl Names {
    fn new(kernel: &Kernel) -> Names {
        let mut seen: HashMap<&str, u32> = HashMap::new();
        let names = kernel.buffer_names.iter().map(|name| {
            let count = seen.entry(name).or_default();
            *count += 1;
            if *count == 1 { name.clone() } else { format!("{name}.{count}") }
        });
        Names(names.collect())
    }

    fn buffer(&self, buffer: BufferId) -> &str {
        &self.0[buffer.0 as usize]
    }
}

fn dim(dim: Dim) -> String {
    match dim {
        Dim::Known(n) => n.to_string(),
        Dim::Argument(i) => format!("d{i}"),
    }
}

fn extent(extent: &Extent) -> String {
    match extent {
        Extent::Whole(whole) => dim(*whole),
        Extent::Tile { whole, tile, index } => format!("{tile} of {} at i{}", dim(*whole), index.0),
    }
}

fn loops(loops: &[Loop]) -> String {
    let each = |l: &Loop| format!("i{} < {}", l.var.0, extent(&l.extent));
    format!("[{}]", loops.iter().map(each).collect::<Vec<_>>().join(", "))
}

fn linear(linear: &Linear) -> String {
    let mut text = String::new();
    for term in &linear.terms {
        let Term { coefficient, dim: stride, atom } = term;
        let mut factors = Vec::new();
        if coefficient.unsigned_abs() != 1 {
            factors.push(coefficient.unsigned_abs().to_string());
        }
        if *stride != Dim::Known(1) {
            factors.push(dim(*stride));
        }
        match atom {
            Atom::One => {}
            Atom::Var(var) => factors.push(format!("i{}", var.0)),
            Atom::Quotient(inside, by) => factors.push(format!("({} / {})", self::linear(inside), dim(*by))),
            Atom::Remainder(inside, by) => factors.push(format!("({} % {})", self::linear(inside), dim(*by))),
            Atom::Data { value, bound } => factors.push(format!("%{}<{}", value.0, dim(*bound))),
        }
        if factors.is_empty() {
            factors.push("1".into());
        }
        text += match (text.is_empty(), *coefficient < 0) {
            (true, false) => "",
            (true, true) => "-",
            (false, false) => " + ",
            (false, true) => " - ",
        };
        text += &factors.join("*");
    }
    if text.is_empty() { "0".into() } else { text }
}

fn guard(guard: &Guard) -> String {
    format!("0 <= {} < {}", linear(&guard.index), dim(guard.bound))
}

fn statement(f: &mut fmt::Formatter<'_>, names: &Names, s: &Statement, depth: usize) -> fmt::Result {
    let pad = "  ".repeat(depth);
    match s {
        Statement::Loop { over, direction, body } => {
            let word = match direction {
                Direction::Forward => "",
                Direction::Reverse => " reverse",
            };
            writeln!(f, "{pad}loop i{} < {}{word}", over.var.0, extent(&over.extent))?;
            body.iter().try_for_each(|s| statement(f, names, s, depth + 1))
        }
        Statement::Map { loops: l, region: r, stores } => {
            writeln!(f, "{pad}map {}", loops(l))?;
            region(f, names, r, depth + 1)?;
            stores.iter().try_for_each(|s| store(f, names, s, "=", depth + 1))
        }
        Statement::Reduce { loops: l, over, region: r, combine, store: s, update } => {
            writeln!(f, "{pad}reduce {} {} over {}", word(*combine), loops(l), loops(over))?;
            region(f, names, r, depth + 1)?;
            let sign = match update {
                Update::Set => "=",
                Update::Add => "+=",
            };
            store(f, names, s, sign, depth + 1)
        }
        Statement::Cumulative { loops: l, along, direction, region: r, combine, store: s } => {
            let word = match direction {
                Direction::Forward => word(*combine).to_string(),
                Direction::Reverse => format!("{} reverse", word(*combine)),
            };
            writeln!(f, "{pad}cumulative {word} {} along {}", loops(l), loops(std::slice::from_ref(along)))?;
            region(f, names, r, depth + 1)?;
            store(f, names, s, "=", depth + 1)
        }
        Statement::ScatterAdd { loops: l, region: r, store: s } => {
            writeln!(f, "{pad}scatter {}", loops(l))?;
            region(f, names, r, depth + 1)?;
            store(f, names, s, "+=", depth + 1)
        }
        Statement::Product { m, n, k, a, b, c, update, dtype, triangle } => {
            let sign = match update {
                Update::Set => "=",
                Update::Add => "+=",
            };
            let sizes = format!("{} x {} x {}", extent(m), extent(n), extent(k));
            let matrix = |m: &Matrix| {
                let at = linear(&m.base);
                format!("{}[{at}; {}, {}]", names.buffer(m.buffer), dim(m.row), dim(m.column))
            };
            let mut matrices = [matrix(a), matrix(b), matrix(c)];
            if let Some(Triangle { factor, is_lower }) = triangle {
                let half = if *is_lower { "lower" } else { "upper" };
                matrices[*factor as usize].insert_str(0, &format!("{half} "));
            }
            let [a, b, c] = matrices;
            writeln!(f, "{pad}product {dtype} {sizes}: {c} {sign} {a} {b}")
        }
    }
}

fn word(combine: Combine) -> &'static str {
    match combine {
        Combine::Sum => "sum",
        Combine::Max => "max",
    }
}

fn store(f: &mut fmt::Formatter<'_>, names: &Names, s: &Store, sign: &str, depth: usize) -> fmt::Result {
    let pad = "  ".repeat(depth);
    writeln!(f, "{pad}{}[{}] {sign} %{}", names.buffer(s.buffer), linear(&s.index), s.value.0)
}

fn region(f: &mut fmt::Formatter<'_>, names: &Names, region: &Region, depth: usize) -> fmt::Result {
    let pad = "  ".repeat(depth);
    for (number, (expr, dtype)) in region.exprs.iter().zip(&region.dtypes).enumerate() {
        let mut text = String::new();
        match expr {
            Expr::Load { buffer, index, guards } => {
                write!(text, "{}[{}]", names.buffer(*buffer), linear(index))?;
                for g in guards {
                    write!(text, " if {}", guard(g))?;
                }
            }
            Expr::Const { value, .. } => write!(text, "{value}")?,
            Expr::Size { dim: size, .. } => write!(text, "size {}", dim(*size))?,
            Expr::Index { index } => write!(text, "index {}", linear(index))?,
            Expr::Holds { guard: g } => write!(text, "holds {}", guard(g))?,
            Expr::Apply { op, operands, .. } => {
                write!(text, "{op}")?;
                for o in operands {
                    write!(text, " %{}", o.0)?;
                }
            }
            Expr::Cast { value, from, .. } => write!(text, "cast %{} from {from}", value.0)?,
            Expr::Uniform { seed, step, stream, index } => {
                write!(text, "uniform %{} %{} stream {stream:#x} at {}", seed.0, step.0, linear(index))?;
            }
            Expr::FoldIn { seed, number } => write!(text, "fold_in %{} {number}", seed.0)?,
        }
        writeln!(f, "{pad}%{number}: {dtype} = {text}")?;
    }
    Ok(())
}
