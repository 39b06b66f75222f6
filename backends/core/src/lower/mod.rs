//! From graphs to kernels.
//!
//! A function's values are *inlined* into their users or *stored* ([`classify`]); stored values get a place with a
//! layout ([`settle`], [`layout`]); each becomes a statement ([`statement`], [`product`]), a scan becomes one kernel
//! ([`scan`]), a call stays a call. [`group`] joins units that run over common axes, or over pieces of an axis
//! ([`cut`]), [`points`] lays out what these hand on, [`fuse`] joins maps, [`schedule`] says what part of a statement's loops is the grid, and [`crate::plan`] where storages lie in the frame. Structurally equal kernels are one.

mod builder;
mod classify;
mod cut;
mod frame;
mod fuse;
mod group;
mod layout;
mod lives;
mod narrow;
mod own;
mod pack;
mod points;
mod product;
mod region;
mod scan;
mod schedule;
mod settle;
mod statement;
mod sweep;
mod triangle;
mod view;

use crate::kernel::Kernel;
use crate::plan::{self, Lifetime};
use crate::program::{Home, KernelId, Port, Program, Routine, RoutineId, Slot, SlotId, Step, Stored};
use crate::target::Target;
use builder::{Built, KernelBuilder};
use carousel_ir::{
    Axis, AxisTable, DType, Diagnostic, FunctionId, Graph, Module, Name, Op, Size, Span, Type, ValueId,
};
use frame::{Frame, label};
use petgraph::graph::{DiGraph, NodeIndex};
use settle::{Settling, Unit};
use statement::Site;
use std::collections::{HashMap, HashSet};
use view::{Label, Storage, StorageId, View, Whereabouts};

/// What lowering one function knows.
pub(crate) struct Context<'m> {
    pub(crate) module: &'m Module,
    pub(crate) target: &'m Target,
    pub(crate) frames: Vec<Frame<'m>>,
    pub(crate) storages: Vec<Storage>,
    /// How the function's inputs lie in memory.
    pub(crate) inputs: Vec<Stored>,
    /// Axes that scans run along.
    pub(crate) time_axes: &'m HashSet<Axis>,
}

impl Context<'_> {
    /// What an axis of unknown size is taken for where alternatives are weighed: sequences are long, batches short.
    pub(crate) fn likely_size(&self, axis: Axis) -> u64 {
        if self.time_axes.contains(&axis) { 256 } else { 32 }
    }

    /// New memory.
    pub(crate) fn storage(
        &mut self,
        dtype: DType,
        elements: Size,
        whereabouts: Whereabouts,
        label: Label,
    ) -> StorageId {
        self.storages.push(Storage { dtype, elements, whereabouts, label });
        StorageId(self.storages.len() as u32 - 1)
    }

    /// Whether a view is all of its storage, row-major with axes in this order.
    pub(crate) fn is_whole(&self, view: &View, order: &[Axis], frame: usize) -> bool {
        let table = &self.frames[frame].graph.axes;
        let whole = View::whole(view.storage, order, table);
        let long = |v: &View| -> Vec<(Axis, Size)> {
            v.strides.iter().filter(|(a, _)| *table.size(*a) != Size::Known(1)).cloned().collect()
        };
        let same = {
            let (a, b) = (long(view), long(&whole));
            a.len() == b.len() && b.iter().all(|x| a.contains(x))
        };
        let elements = Size::product(order.iter().map(|a| table.size(*a).clone()));
        same && view.moves.is_empty()
            && view.offset == Size::Known(0)
            && self.storages[view.storage.0 as usize].elements == elements
    }

    /// The storage to give a function for an argument with axes in this order, and their strides if it is not row-major
    /// there; none if the argument is to be copied. What came in strided goes on strided; other views are copied, as each
    /// way of lying in memory is another routine.
    pub(crate) fn passed(
        &self,
        view: &View,
        order: &[Axis],
        frame: usize,
    ) -> Option<(StorageId, Option<Vec<u64>>)> {
        if self.is_whole(view, order, frame) {
            return Some((view.storage, None));
        }
        let Whereabouts::Input(input) = self.storages[view.storage.0 as usize].whereabouts else {
            return None;
        };
        self.inputs[input as usize].strides.as_ref()?;
        Some((view.storage, Some(view.known_strides(order)?)))
    }
}

/// Lowers `root` and everything that it calls. `module` is verified.
pub fn lower(module: &Module, root: FunctionId, target: &Target) -> Result<Program, Vec<Diagnostic>> {
    lower_stored(module, root, &[], target)
}

/// The same with inputs of the root that lie in memory in another dtype than they are computed with, or in another order
/// than the declared one: kernels read them where they are, and convert each element as it is loaded. Nothing is ever
/// stored in the narrower dtype.
pub fn lower_stored(
    module: &Module,
    root: FunctionId,
    stored: &[(Name, Stored)],
    target: &Target,
) -> Result<Program, Vec<Diagnostic>> {
    if module.functions.get(root.index()).is_none() {
        let message = format!("there is no function number {}", root.0);
        return Err(vec![Diagnostic::error("call", Span::default(), message)]);
    }
    let mut time_axes = HashSet::new();
    module.functions.iter().for_each(|f| collect_time_axes(&f.graph, &mut time_axes));
    let mut lowering = Lowering {
        time_axes: &time_axes,
        module,
        target,
        program: Program::default(),
        kernels: HashMap::new(),
        routines: HashMap::new(),
    };
    let reachable = reachable(module, root);
    let mut unexpanded = Vec::new();
    for (_, function) in module.iter().filter(|(f, _)| reachable[f.index()]) {
        linear_scans(&function.graph, &mut unexpanded);
    }
    if !unexpanded.is_empty() {
        return Err(unexpanded);
    }
    let inputs: Vec<Stored> = module[root].graph.inputs.iter().map(|input| as_given(input, stored)).collect();
    let misfits = module[root].graph.inputs.iter().zip(&inputs).filter(|(input, stored)| {
        stored.strides.as_ref().is_some_and(|strides| strides.len() != input.ty.axes.len())
    });
    let misfits: Vec<Diagnostic> = misfits
        .map(|(input, _)| {
            let message = format!("`{}` has the axes [{}], but strides of others", input.name, input.ty.axes);
            Diagnostic::error("stored", Span::default(), message)
        })
        .collect();
    if !misfits.is_empty() {
        return Err(misfits);
    }
    lowering.variant(root, inputs);
    Ok(lowering.program)
}

/// How an input lies in memory: as was said, or as it is declared.
fn as_given(input: &carousel_ir::Input, stored: &[(Name, Stored)]) -> Stored {
    let given = stored.iter().find(|(name, _)| *name == input.name);
    given.map_or(Stored { dtype: input.ty.dtype, strides: None }, |(_, stored)| stored.clone())
}

fn collect_time_axes(graph: &Graph, found: &mut HashSet<Axis>) {
    for node in &graph.nodes {
        if let Op::Scan { scan } = &node.op {
            found.insert(scan.axis);
            collect_time_axes(&scan.body, found);
        }
    }
}

/// Linear scans have no kernels: they are to be expanded into one of their forms before.
fn linear_scans(graph: &Graph, found: &mut Vec<Diagnostic>) {
    for node in &graph.nodes {
        if let Op::LinRead { .. } | Op::LinReadDecay { .. } | Op::LinSolve { .. } = node.op {
            let message = format!("`{}` is lowered in one of its forms only", node.op.kind());
            let diagnostic = Diagnostic::error("form", node.span, message);
            found.push(diagnostic.with_help("expand linear scans before lowering"));
        }
        if let Op::Scan { scan } = &node.op {
            linear_scans(&scan.body, found);
        }
    }
}

fn reachable(module: &Module, root: FunctionId) -> Vec<bool> {
    let mut reachable = vec![false; module.functions.len()];
    reachable[root.index()] = true;
    for (function, body) in module.iter().rev() {
        if reachable[function.index()] {
            for node in &body.graph.nodes {
                if let Op::Call { function } = node.op {
                    reachable[function.index()] = true;
                }
            }
        }
    }
    // The root is the last routine: nothing after it is reachable.
    reachable
}

struct Lowering<'m> {
    time_axes: &'m HashSet<Axis>,
    module: &'m Module,
    target: &'m Target,
    program: Program,
    kernels: HashMap<Kernel, KernelId>,
    routines: HashMap<(FunctionId, Vec<Stored>), RoutineId>,
}

/// A step with storages in place of slots.
enum Work {
    Launch(Box<Built>),
    Call { function: FunctionId, inputs: Vec<(StorageId, Stored)>, outputs: Vec<StorageId> },
}

impl<'m> Lowering<'m> {
    /// The routine of a function whose inputs lie in memory like that, after the routines that it calls.
    fn variant(&mut self, function: FunctionId, inputs: Vec<Stored>) -> RoutineId {
        let key = (function, inputs);
        if let Some(made) = self.routines.get(&key) {
            return *made;
        }
        let routine = self.function(function, &key.1);
        self.program.routines.push(routine);
        let id = RoutineId(self.program.routines.len() as u32 - 1);
        self.routines.insert(key, id);
        id
    }

    fn function(&mut self, function: FunctionId, inputs: &[Stored]) -> Routine {
        let graph = &self.module[function].graph;
        let mut cx = Context {
            inputs: inputs.to_vec(),
            module: self.module,
            target: self.target,
            frames: Vec::new(),
            storages: Vec::new(),
            time_axes: self.time_axes,
        };
        let live = frame::live(graph, graph.outputs.iter().map(|o| o.value));
        cx.frames.push(Frame::new(graph, 0, vec![None; graph.inputs.len()], live));

        // Inputs and outputs are where the caller has them.
        let values = graph.input_values();
        let mut ends = Vec::new();
        for (index, input) in graph.inputs.iter().enumerate() {
            let Stored { dtype, strides } = &inputs[index];
            let axes = input.ty.axes.as_slice();
            let place = values[index].map_or(Span::default(), |value| graph[value].span);
            let label = Label { name: input.name.to_string(), span: place };
            let elements = match strides {
                None => graph.axes.elements(&input.ty.axes),
                Some(strides) => span(&graph.axes, axes, strides),
            };
            let storage = cx.storage(*dtype, elements, Whereabouts::Input(index as u32), label);
            if let Some(value) = values[index] {
                cx.frames[0].home[value.index()] = Some(match strides {
                    None => View::whole(storage, axes, &graph.axes),
                    Some(strides) => View::strided(storage, axes, strides),
                });
            }
        }
        let mut claims = HashMap::new();
        for (index, output) in graph.outputs.iter().enumerate() {
            let elements = graph.axes.elements(&output.axes);
            let dtype = graph.ty(output.value).dtype;
            let label = Label { name: output.name.to_string(), span: graph[output.value].span };
            let storage = cx.storage(dtype, elements, Whereabouts::Output(index as u32), label);
            let view = View::whole(storage, output.axes.as_slice(), &graph.axes);
            if cx.frames[0].home[output.value.index()].is_none() {
                claims.entry(output.value).or_insert_with(|| view.clone());
            }
            ends.push((output.value, view));
        }

        classify::classify(&mut cx.frames, self.target);
        let mut settling = Settling {
            frame: 0,
            whereabouts: Whereabouts::Frame,
            grid: Vec::new(),
            tiles: Vec::new(),
            claims,
            units: Vec::new(),
        };
        settling.run(&mut cx);
        for (value, view) in ends {
            let result = if let Op::Proj { index } = graph[value].op {
                cx.frames[0].results.get(&(graph[value].operands[0], index))
            } else {
                cx.frames[0].home[value.index()].as_ref()
            };
            if result.is_none_or(|r| r.storage != view.storage) {
                settling.units.push(Unit::Copy(value, view));
            }
        }
        let mut units = settling.units;
        narrow::factors(&mut cx, &units);
        let mut flow = settle::dataflow(&cx, 0, &units);
        let states = sweep::apart(&cx, &mut units, &mut flow);
        let is_doubled = !states.is_empty();
        let mut work = Vec::new();
        let groups = sweep::sweeps(&cx, &units, group::groups(&cx, &units, &flow, states), &flow);
        points::apart(&mut cx, &units, &groups, &flow);
        for group in groups {
            // What several groups make has its place back after each.
            let places = is_doubled.then(|| (cx.frames[0].home.clone(), cx.frames[0].results.clone()));
            work.push(match group.units.as_slice() {
                [one] if group.tiled.is_none() => self.unit(&mut cx, &units[*one]),
                _ => grouped(&mut cx, &units, &group, &flow),
            });
            if let Some(places) = places {
                (cx.frames[0].home, cx.frames[0].results) = places;
            }
        }
        // Callees are first in the program.
        let called = work.iter().map(|step| match step {
            Work::Launch(_) => None,
            Work::Call { function, inputs, .. } => {
                Some(self.variant(*function, inputs.iter().map(|(_, stored)| stored.clone()).collect()))
            }
        });
        let called = called.collect::<Vec<_>>();
        self.routine(cx, function, work.into_iter().zip(called).collect())
    }

    /// One unit as a kernel or a call.
    fn unit(&mut self, cx: &mut Context<'m>, unit: &Unit) -> Work {
        let mut kernel = KernelBuilder::default();
        let graph = cx.frames[0].graph;
        let site = Site::whole(0);
        let (name, grid, body) = match unit {
            Unit::Call { value, inputs, outputs } => {
                let Op::Call { function } = graph[*value].op else { panic!("a call unit is a call") };
                return Work::Call { function, inputs: inputs.clone(), outputs: outputs.clone() };
            }
            Unit::Scan(value) => {
                let axes = scan::grid_axes(cx, 0, *value);
                let (grid, env) = scan::grid(&mut kernel, &axes, &graph.axes);
                let site = Site { grid: env, ..site };
                let body = fuse::fuse(scan::scan(cx, &mut kernel, &site, *value));
                let columns = cx.target.keeps_factors.then(|| pack::columns(&body)).flatten();
                let body = fuse::collapse_all(&mut kernel, body, columns);
                (scan_label(graph, *value), grid, body)
            }
            Unit::Value(value) if cx.frames[0].products.contains(value) => {
                let home = cx.frames[0].home[value.index()].clone().expect("a product has a home");
                let product = product::product(cx, &mut kernel, &site, *value, &home);
                let (rows, columns) = (self.target.product_rows, self.target.product_columns);
                let (grid, body) = product.into_kernel(&mut kernel, rows, columns);
                (label(graph, *value), grid, body)
            }
            Unit::Value(value) | Unit::Copy(value, _) => {
                let statements = group::unit_statements(cx, &mut kernel, &site, unit);
                let (grid, body) = group::alone(cx, &mut kernel, statements);
                (label(graph, *value), grid, body)
            }
        };
        Work::Launch(Box::new(kernel.finish(name, grid, body, (&cx.storages, cx.target.factors))))
    }

    /// The routine of a function: slots in their places, kernels shared.
    fn routine(
        &mut self,
        cx: Context<'m>,
        function: FunctionId,
        work: Vec<(Work, Option<RoutineId>)>,
    ) -> Routine {
        let graph = &self.module[function].graph;
        let mut slot_of: HashMap<StorageId, SlotId> = HashMap::new();
        let mut slots = Vec::new();
        let ends = cx
            .storages
            .iter()
            .enumerate()
            .filter(|(_, s)| matches!(s.whereabouts, Whereabouts::Input(_) | Whereabouts::Output(_)));
        let mut order: Vec<StorageId> = ends.map(|(i, _)| StorageId(i as u32)).collect();
        for (step, _) in &work {
            match step {
                Work::Launch(built) => order.extend(&built.arguments),
                Work::Call { inputs, outputs, .. } => {
                    order.extend(inputs.iter().map(|(storage, _)| storage).chain(outputs));
                }
            }
        }
        for id in order {
            slot_of.entry(id).or_insert_with(|| {
                let storage = &cx.storages[id.0 as usize];
                let home = match storage.whereabouts {
                    Whereabouts::Input(n) => Home::Input(n),
                    Whereabouts::Output(n) => Home::Output(n),
                    Whereabouts::Frame | Whereabouts::Scratch => Home::Frame,
                };
                slots.push(Slot {
                    dtype: storage.dtype,
                    elements: storage.elements.clone(),
                    home,
                    offset: Size::Known(0),
                    name: storage.label.name.clone(),
                });
                SlotId(slots.len() as u32 - 1)
            });
        }
        let slot = |ids: &[StorageId]| -> Vec<SlotId> { ids.iter().map(|s| slot_of[s]).collect() };
        let mut steps = Vec::new();
        for (step, routine) in work {
            steps.push(match step {
                Work::Launch(built) => {
                    let (buffers, dims) = (slot(&built.arguments), built.dims);
                    Step::Launch { kernel: self.kernel(built.kernel), buffers, dims }
                }
                Work::Call { function, inputs, outputs } => {
                    let callee = &self.module[function].graph;
                    let symbols = carousel_ir::infer::callee_sizes(&graph.axes, callee)
                        .expect("the sizes of a verified call agree")
                        .into_iter()
                        .collect();
                    let inputs: Vec<StorageId> = inputs.into_iter().map(|(storage, _)| storage).collect();
                    let (inputs, outputs) = (slot(&inputs), slot(&outputs));
                    let routine = routine.expect("callees were lowered before");
                    Step::Call { routine, inputs, outputs, symbols }
                }
            });
        }
        let lifetimes = lifetimes(&slots, &steps);
        let frame_bytes = plan::place(&mut slots, &lifetimes);
        let port = |name, ty: Type, strides| {
            let sizes = ty.axes.iter().map(|a| graph.axes.size(a).clone()).collect();
            Port { name, ty, sizes, strides }
        };
        let input = |(i, Stored { dtype, strides }): (&carousel_ir::Input, &Stored)| {
            port(i.name, Type { dtype: *dtype, axes: i.ty.axes.clone() }, strides.clone())
        };
        let output_type =
            |o: &carousel_ir::Output| Type { dtype: graph.ty(o.value).dtype, axes: o.axes.clone() };
        Routine {
            name: self.module[function].name,
            inputs: graph.inputs.iter().zip(&cx.inputs).map(input).collect(),
            outputs: graph.outputs.iter().map(|o| port(o.name, output_type(o), None)).collect(),
            slots,
            frame_bytes,
            steps,
        }
    }

    fn kernel(&mut self, kernel: Kernel) -> KernelId {
        if let Some(id) = self.kernels.get(&kernel) {
            return *id;
        }
        let id = KernelId(self.program.kernels.len() as u32);
        self.program.kernels.push(kernel.clone());
        self.kernels.insert(kernel, id);
        id
    }
}

/// Elements from the first to the last of a tensor with these strides; its axes have elements.
fn span(table: &AxisTable, axes: &[Axis], strides: &[u64]) -> Size {
    let last = axes.iter().zip(strides).map(|(axis, stride)| {
        Size::product([table.size(*axis).clone().minus(Size::Known(1)), Size::Known(*stride)])
    });
    Size::sum(last.chain([Size::Known(1)]))
}

/// Several units as one kernel.
fn grouped(cx: &mut Context<'_>, units: &[Unit], group: &group::Group, flow: &DiGraph<(), ()>) -> Work {
    let graph = cx.frames[0].graph;
    let (mut internal, mut names) = (group::Internal::default(), Vec::new());
    for at in &group.units {
        let (Unit::Value(value) | Unit::Copy(value, _) | Unit::Scan(value) | Unit::Call { value, .. }) =
            &units[*at];
        if let (Unit::Scan(_), Op::Scan { scan }) = (&units[*at], &graph[*value].op) {
            names.push(scan_label(graph, *value));
            own_results(cx, units, group, (*at, *value, scan.states), &mut internal);
            continue;
        }
        let users: Vec<usize> = flow.neighbors(NodeIndex::new(*at)).map(NodeIndex::index).collect();
        let scope = group.scope(*at, &users);
        let in_frame = cx.frames[0].home[value.index()]
            .as_ref()
            .is_some_and(|home| cx.storages[home.storage.0 as usize].whereabouts == Whereabouts::Frame);
        match scope {
            Some(scope) if matches!(units[*at], Unit::Value(_)) && (in_frame || group.tiled.is_some()) => {
                internal.values.insert(*value, scope);
            }
            _ => names.push(label(graph, *value)),
        }
    }
    let mut kernel = KernelBuilder::default();
    let (grid, body) = group::kernel(cx, &mut kernel, units, group, &internal);
    Work::Launch(Box::new(kernel.finish(names.join(", "), grid, body, (&cx.storages, cx.target.factors))))
}

/// What a scan, unit `at` of a group, yields for that group alone, or in a group of states for that group as well.
fn own_results(
    cx: &Context<'_>,
    units: &[Unit],
    group: &group::Group,
    (at, scan, states): (usize, ValueId, u32),
    internal: &mut group::Internal,
) {
    for (key, view) in
        cx.frames[0].results.iter().filter(|((value, index), _)| *value == scan && *index >= states)
    {
        let reads = |unit: &usize| settle::unit_storages(cx, 0, &units[*unit]).contains(&view.storage);
        let users: Vec<usize> = (0..units.len()).filter(reads).collect();
        let in_frame = cx.storages[view.storage.0 as usize].whereabouts == Whereabouts::Frame;
        if let Some(scope) = group.scope(at, &users).filter(|_| in_frame) {
            internal.results.insert(*key, scope);
        } else if group.tiled.is_some() && users.iter().any(|user| group.units.contains(user)) {
            internal.results.insert(*key, group::Scope::Turn);
            internal.handed_out.insert(*key);
        }
    }
}

fn scan_label(graph: &Graph, value: ValueId) -> String {
    let Op::Scan { scan } = &graph[value].op else { return label(graph, value) };
    let names: Vec<&str> = scan.body.outputs.iter().map(|o| o.name.as_str()).collect();
    format!("scan {} ({})", scan.axis, names.join(", "))
}

/// First and last step of every slot.
fn lifetimes(slots: &[Slot], steps: &[Step]) -> Vec<Option<Lifetime>> {
    let mut lifetimes: Vec<Option<Lifetime>> = vec![None; slots.len()];
    for (at, step) in steps.iter().enumerate() {
        let used: Vec<SlotId> = match step {
            Step::Launch { buffers, .. } => buffers.clone(),
            Step::Call { inputs, outputs, .. } => inputs.iter().chain(outputs).copied().collect(),
        };
        for slot in used {
            let life = lifetimes[slot.0 as usize].get_or_insert(Lifetime { first: at, last: at });
            life.last = at;
        }
    }
    lifetimes
}
