//! Storages and strided views of them: how a value that lives in memory is addressed by its named axes.
//!
//! Invariant: an axis of a value that its view does not list has stride 0 (the value repeats along it). The list is in
//! layout order, outermost first. Views never move data.

use super::statement::Tile;
use crate::kernel::{Atom, Dim, Linear, Var};
use carousel_ir::{Axis, AxisTable, DType, Op, Size, Span};

/// Memory of a function or of a kernel: an index into the function's list of storages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(crate) struct StorageId(pub(crate) u32);

/// Where a storage lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whereabouts {
    /// The function's input number n.
    Input(u32),
    /// The function's output number n.
    Output(u32),
    /// The function's frame.
    Frame,
    /// Scratch memory of a grid point.
    Scratch,
}

/// A piece of memory.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    pub(crate) dtype: DType,
    pub(crate) elements: Size,
    pub(crate) whereabouts: Whereabouts,
    pub(crate) label: Label,
}

/// What people call a value, and where it is in their text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Label {
    pub(crate) name: String,
    pub(crate) span: Span,
}

/// A position along an axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    /// The variable of a loop over the axis, or over a piece of it.
    pub(crate) var: Var,
    /// If over a piece, which one, and the elements of each.
    pub(crate) piece: Option<(Var, u64)>,
}

impl Position {
    /// Where the variable of a loop over the whole axis is.
    pub(crate) fn of(var: Var) -> Position {
        Position { var, piece: None }
    }

    /// As an index.
    pub(crate) fn index(self) -> Linear {
        let mut index = Linear::var(self.var, Dim::Known(1));
        if let Some((number, length)) = self.piece {
            index.add_term(length as i64, Dim::Known(1), Atom::Var(number));
        }
        super::builder::canonical(&mut index);
        index
    }
}

/// A strided view of a storage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct View {
    pub(crate) storage: StorageId,
    /// Elements before the first one.
    pub(crate) offset: Size,
    /// Loop variables that move the view: `factor * stride * variable` each.
    pub(crate) moves: Vec<(Var, i64, Size)>,
    /// Axes with their strides, in layout order.
    pub(crate) strides: Vec<(Axis, Size)>,
}

/// Row-major strides of sizes, outermost first.
pub(crate) fn row_major(sizes: &[Size]) -> Vec<Size> {
    let mut strides = vec![Size::Known(1); sizes.len()];
    for i in (0..sizes.len().saturating_sub(1)).rev() {
        strides[i] = Size::product([strides[i + 1].clone(), sizes[i + 1].clone()]);
    }
    strides
}

impl View {
    /// All of a storage, axes in this order.
    pub(crate) fn whole(storage: StorageId, order: &[Axis], table: &AxisTable) -> View {
        let sizes: Vec<Size> = order.iter().map(|a| table.size(*a).clone()).collect();
        let strides = order.iter().copied().zip(row_major(&sizes)).collect();
        View { storage, offset: Size::Known(0), moves: Vec::new(), strides }
    }

    /// All of a storage in which the axes have these strides.
    pub(crate) fn strided(storage: StorageId, axes: &[Axis], strides: &[u64]) -> View {
        let mut strides: Vec<(Axis, u64)> = axes.iter().copied().zip(strides.iter().copied()).collect();
        strides.sort_by_key(|(_, stride)| std::cmp::Reverse(*stride));
        let strides = strides.into_iter().map(|(axis, stride)| (axis, Size::Known(stride))).collect();
        View { storage, offset: Size::Known(0), moves: Vec::new(), strides }
    }

    /// The strides of these axes, if the view begins where its storage does, and they are numbers.
    pub(crate) fn known_strides(&self, axes: &[Axis]) -> Option<Vec<u64>> {
        if !self.moves.is_empty() || self.offset != Size::Known(0) {
            return None;
        }
        axes.iter().map(|axis| self.stride(*axis).known()).collect()
    }

    /// The stride of an axis; 0 if the view repeats along it.
    pub(crate) fn stride(&self, axis: Axis) -> Size {
        self.strides.iter().find(|(a, _)| *a == axis).map_or(Size::Known(0), |(_, s)| s.clone())
    }

    /// The axes in layout order.
    pub(crate) fn order(&self) -> Vec<Axis> {
        self.strides.iter().map(|(a, _)| *a).collect()
    }

    /// The view at a position of an axis.
    pub(crate) fn at(mut self, axis: Axis, position: Position) -> View {
        if let Some(place) = self.strides.iter().position(|(a, _)| *a == axis) {
            let (_, stride) = self.strides.remove(place);
            self.moves.push((position.var, 1, stride.clone()));
            if let Some((number, length)) = position.piece {
                self.moves.push((number, length as i64, stride));
            }
        }
        self
    }

    /// The view of memory that holds tiles of axes: indices count from the start of an axis, memory from that of a tile.
    pub(crate) fn of_tiles(mut self, tiles: &[Tile]) -> View {
        for tile in tiles.iter().filter(|tile| self.strides.iter().any(|(axis, _)| *axis == tile.axis)) {
            let stride = self.stride(tile.axis);
            self.moves.push((tile.number, -(tile.length as i64), stride));
        }
        self
    }

    /// What a view operation makes of it; `None` if the result is no strided view.
    pub(crate) fn apply(mut self, op: &Op, table: &AxisTable) -> Option<View> {
        let place = |view: &View, axis: Axis| view.strides.iter().position(|(a, _)| *a == axis);
        #[expect(clippy::wildcard_enum_match_arm, reason = "all operations that move no data are here")]
        match op {
            Op::Rename { from, to } => {
                if let Some(at) = place(&self, *from) {
                    self.strides[at].0 = *to;
                }
                Some(self)
            }
            Op::Split { axis, into } => {
                if let Some(at) = place(&self, *axis) {
                    let (_, stride) = self.strides.remove(at);
                    let sizes: Vec<Size> = into.iter().map(|a| table.size(a).clone()).collect();
                    let parts = into.iter().zip(row_major(&sizes));
                    let parts: Vec<_> = parts.map(|(a, s)| (a, Size::product([s, stride.clone()]))).collect();
                    self.strides.splice(at..at, parts);
                }
                Some(self)
            }
            Op::Merge { axes, into } => self.merge(axes.as_slice(), *into, table),
            Op::Slice { axis, to, start } => {
                if let Some(at) = place(&self, *axis) {
                    let stride = self.strides[at].1.clone();
                    self.offset = Size::sum([self.offset, Size::product([start.clone(), stride])]);
                    self.strides[at].0 = *to;
                }
                Some(self)
            }
            Op::Broadcast { axes: _ } | Op::Detach => Some(self),
            _ => None,
        }
    }

    /// Several axes as one, if their strides compose.
    fn merge(mut self, axes: &[Axis], into: Axis, table: &AxisTable) -> Option<View> {
        if axes.iter().all(|a| !self.strides.iter().any(|(b, _)| a == b)) {
            return Some(self);
        }
        let real: Vec<Axis> = axes.iter().copied().filter(|a| *table.size(*a) != Size::Known(1)).collect();
        for pair in real.windows(2) {
            let inner = Size::product([self.stride(pair[1]), table.size(pair[1]).clone()]);
            if self.stride(pair[0]) != inner || inner == Size::Known(0) {
                return None;
            }
        }
        let last = real.last().or(axes.last()).copied()?;
        let stride = self.stride(last);
        let at = self.strides.iter().position(|(a, _)| *a == last)?;
        self.strides[at] = (into, stride);
        self.strides.retain(|(a, _)| *a == into || !axes.contains(a));
        Some(self)
    }
}
