//! Which axis of a kernel can be shared, and what blocks have to give each other then.

use carousel_core::kernel::{
    Atom, BufferId, Dim, Expr, Extent, Kernel, Linear, Loop, Place, Region, Statement, Store, Term, Var,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// How far elements lie apart along an axis: a number times a size.
pub(crate) type Stride = (i64, Dim);

/// What sharing a kernel's columns takes.
pub(super) struct Found<'k> {
    /// How many columns there are.
    pub(super) columns: u64,
    /// Rows and contracted axis of each product of a step.
    pub(super) products: Vec<[&'k Extent; 2]>,
    /// What products multiply by, in the memory of the point.
    pub(super) factors: BTreeSet<BufferId>,
    /// How far apart columns lie.
    pub(super) strides: HashMap<BufferId, Stride>,
    /// The variable of a map's columns.
    pub(super) vars: HashMap<*const Statement, Var>,
    /// What is read whole.
    pub(super) exchanged: BTreeSet<BufferId>,
    /// What of that is carried.
    pub(super) carried: Vec<BufferId>,
    /// The variable of the steps.
    pub(super) steps: Var,
}

/// A stride as a term has it.
pub(super) fn stride(dim: Dim) -> Stride {
    match dim {
        Dim::Known(n) => (n as i64, Dim::Known(1)),
        Dim::Argument(_) => (1, dim),
    }
}

/// How far a variable moves an index, if it is in a term of its own.
pub(crate) fn stride_of(index: &Linear, var: Var) -> Option<Stride> {
    let mut terms = index.terms.iter().filter(|term| term.atom == Atom::Var(var));
    let term = terms.next()?;
    terms.next().is_none().then_some((term.coefficient, term.dim))
}

/// Whether points whose variable differs touch elements that differ in their column, by so much.
pub(super) fn is_own(index: &Linear, var: Var, columns: Stride) -> bool {
    let is_apart = |term: &Term| match &term.atom {
        Atom::Var(other) => *other == var || (term.coefficient, term.dim) != columns,
        Atom::One | Atom::Quotient(..) | Atom::Remainder(..) | Atom::Data { .. } => false,
    };
    stride_of(index, var) == Some(columns) && index.terms.iter().all(is_apart)
}

/// Whether a step touches other elements than all others: nothing else moves as the step does.
pub(super) fn moves_with(index: &Linear, steps: Var) -> bool {
    let Some(step) = stride_of(index, steps) else { return false };
    index.terms.iter().all(|term| match &term.atom {
        Atom::Var(var) => *var == steps || (term.coefficient, term.dim) != step,
        Atom::One | Atom::Quotient(..) | Atom::Remainder(..) | Atom::Data { .. } => false,
    })
}

/// Calls `see` with every load of a region.
pub(super) fn loads(region: &Region, see: &mut impl FnMut(BufferId, &Linear)) {
    for expr in &region.exprs {
        if let Expr::Load { buffer, index, .. } = expr {
            see(*buffer, index);
        }
    }
}

/// What can be shared of a kernel: maps, then one loop of maps and products, then maps.
pub(super) fn of(kernel: &Kernel) -> Option<Found<'_>> {
    let at = kernel.body.iter().position(|statement| matches!(statement, Statement::Loop { .. }))?;
    let (before, rest) = kernel.body.split_at(at);
    let [Statement::Loop { over, body, .. }, after @ ..] = rest else { return None };
    let mut found = Found {
        columns: 0,
        products: Vec::new(),
        factors: BTreeSet::new(),
        strides: HashMap::new(),
        vars: HashMap::new(),
        exchanged: BTreeSet::new(),
        carried: Vec::new(),
        steps: over.var,
    };
    let mut changed = HashSet::new();
    body.iter().for_each(|statement| {
        statement.visit_writes(&mut |id| {
            changed.insert(id);
        });
    });
    let mut maps = Vec::new();
    for statement in before.iter().chain(after) {
        let Statement::Map { loops, region, stores } = statement else { return None };
        maps.push(Map { statement, loops, region, stores });
    }
    for statement in body {
        match statement {
            Statement::Map { loops, region, stores } => maps.push(Map { statement, loops, region, stores }),
            Statement::Product { m, n: Extent::Whole(Dim::Known(n)), k, b, c, triangle: None, .. } => {
                let is_scratch = matches!(kernel.buffers[b.buffer.0 as usize].place, Place::Scratch(_));
                let is_alike = found.columns == 0 || found.columns == *n;
                if !is_scratch || !is_alike || changed.contains(&b.buffer) {
                    return None;
                }
                found.columns = *n;
                found.products.push([m, k]);
                found.factors.insert(b.buffer);
                found.agree(b.buffer, stride(b.column))?;
                found.agree(c.buffer, stride(c.column))?;
            }
            Statement::Product { .. }
            | Statement::Loop { .. }
            | Statement::Reduce { .. }
            | Statement::Cumulative { .. }
            | Statement::ScatterAdd { .. } => return None,
        }
    }
    if found.products.is_empty() {
        return None;
    }
    found.follow(&maps)?;
    found.exchange(kernel, &maps, body);
    found.carry(kernel, before, body)?;
    Some(found)
}

/// A map.
struct Map<'k> {
    statement: &'k Statement,
    loops: &'k [Loop],
    region: &'k Region,
    stores: &'k [Store],
}

impl Found<'_> {
    /// Notes how far apart a buffer's columns are.
    fn agree(&mut self, id: BufferId, stride: Stride) -> Option<()> {
        (*self.strides.entry(id).or_insert(stride) == stride).then_some(())
    }

    /// Finds the columns of maps: along what they store to or load from.
    fn follow(&mut self, maps: &[Map<'_>]) -> Option<()> {
        let mut open: Vec<&Map<'_>> = maps.iter().collect();
        while !open.is_empty() {
            let before = open.len();
            let mut left = Vec::new();
            for map in open {
                let Some(var) = self.columns_of(map) else {
                    left.push(map);
                    continue;
                };
                self.vars.insert(std::ptr::from_ref(map.statement), var);
                for store in map.stores {
                    let stride = stride_of(&store.index, var)?;
                    self.agree(store.buffer, stride)?;
                    is_own(&store.index, var, stride).then_some(())?;
                }
            }
            open = left;
            (open.len() < before).then_some(())?;
        }
        Some(())
    }

    fn columns_of(&self, map: &Map<'_>) -> Option<Var> {
        let is_whole = |over: &&Loop| over.extent == Extent::Whole(Dim::Known(self.columns));
        let fits = |id: BufferId, index: &Linear, var: Var| {
            self.strides.get(&id).is_some_and(|stride| is_own(index, var, *stride))
        };
        let vars = || map.loops.iter().filter(is_whole).map(|over| over.var);
        let stored = |var: &Var| map.stores.iter().any(|store| fits(store.buffer, &store.index, *var));
        let loaded = |var: &Var| {
            let mut any = false;
            loads(map.region, &mut |id, index| any |= fits(id, index, *var));
            any
        };
        vars().find(stored).or_else(|| vars().find(loaded))
    }

    /// What is read of other shares.
    fn exchange(&mut self, kernel: &Kernel, maps: &[Map<'_>], body: &[Statement]) {
        let mut written = HashSet::new();
        kernel.body.iter().for_each(|statement| {
            statement.visit_writes(&mut |id| {
                written.insert(id);
            });
        });
        for map in maps {
            let var = self.vars[&std::ptr::from_ref(map.statement)];
            loads(map.region, &mut |id, index| {
                let is_own = self.strides.get(&id).is_some_and(|stride| is_own(index, var, *stride));
                if written.contains(&id) && !is_own {
                    self.exchanged.insert(id);
                }
            });
        }
        for statement in body {
            if let Statement::Product { a, .. } = statement
                && written.contains(&a.buffer)
            {
                self.exchanged.insert(a.buffer);
            }
        }
    }

    /// What of that a step reads before it writes it: it is written by one map, as it was before the steps.
    fn carry(&mut self, kernel: &Kernel, before: &[Statement], body: &[Statement]) -> Option<()> {
        let reads = |statement: &Statement, id| {
            let mut any = false;
            statement.visit_reads(&mut |other| any |= other == id);
            any
        };
        let elements = |statements: &[Statement], id| -> Vec<Option<Elements>> {
            let of = |statement: &Statement| match statement {
                Statement::Map { loops, stores, .. } => {
                    let own = stores.iter().filter(|store| store.buffer == id);
                    own.map(|store| Some(Elements::of(loops, store))).collect()
                }
                Statement::Product { c, .. } if c.buffer == id => vec![None],
                Statement::Product { .. }
                | Statement::Loop { .. }
                | Statement::Reduce { .. }
                | Statement::Cumulative { .. }
                | Statement::ScatterAdd { .. } => Vec::new(),
            };
            statements.iter().flat_map(of).collect()
        };
        let writes = |statement: &Statement, id| !elements(std::slice::from_ref(statement), id).is_empty();
        for id in self.exchanged.clone() {
            let place = kernel.buffers[id.0 as usize].place;
            let Some(first) = body.iter().position(|statement| writes(statement, id)) else { continue };
            if !body[..=first].iter().any(|statement| reads(statement, id)) {
                continue;
            }
            let is_alone = kernel.buffers.iter().filter(|buffer| buffer.place == place).count() == 1;
            let (begun, stepped) = (elements(before, id), elements(body, id));
            let is_simple =
                matches!((&begun[..], &stepped[..]), ([Some(begun)], [Some(stepped)]) if begun == stepped);
            if !is_alone || !is_simple || !matches!(place, Place::Scratch(_)) {
                return None;
            }
            self.carried.push(id);
        }
        Some(())
    }

    /// Buffers of which a block needs its own columns only, with those that are in the same place.
    pub(super) fn compact(&self, kernel: &Kernel) -> Vec<Vec<BufferId>> {
        let mut places: BTreeMap<Dim, Vec<BufferId>> = BTreeMap::new();
        for (number, buffer) in kernel.buffers.iter().enumerate() {
            if let Place::Scratch(offset) = buffer.place {
                places.entry(offset).or_default().push(BufferId(number as u32));
            }
        }
        let fits = |id: &BufferId| {
            let is_known = matches!(kernel.buffers[id.0 as usize].elements, Dim::Known(n) if n.is_multiple_of(self.columns));
            let is_even = self.strides.get(id).is_some_and(|(_, dim)| *dim == Dim::Known(1));
            let mut all = is_known && is_even && !self.exchanged.contains(id);
            super::rewrite::indices(&kernel.body, *id, &mut |index| {
                all &= super::rewrite::narrow(index, self.strides[id].0, self.columns, 1).is_some();
            });
            all
        };
        places.into_values().filter(|members| members.iter().all(fits)).collect()
    }
}

/// The elements that a map stores to, whatever its variables are called.
#[derive(PartialEq, Eq)]
struct Elements {
    axes: Vec<(Extent, Option<Stride>)>,
    rest: Vec<Term>,
}

impl Elements {
    fn of(loops: &[Loop], store: &Store) -> Elements {
        let axes = loops.iter().map(|over| (over.extent, stride_of(&store.index, over.var))).collect();
        let is_of_loop = |term: &&Term| loops.iter().any(|over| term.atom == Atom::Var(over.var));
        let rest = store.index.terms.iter().filter(|term| !is_of_loop(term)).cloned().collect();
        Elements { axes, rest }
    }
}
