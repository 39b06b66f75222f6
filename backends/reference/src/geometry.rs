//! Strides and walks: how elements of tensors with different axes are brought together.
//!
//! Invariant: a stride of 0 stands for an axis that the tensor lacks, so that broadcasting needs no case of its own.

use carousel_ir::{Axes, Axis};

/// A tensor's axes with its strides, in elements.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    axes: Vec<(Axis, usize)>,
}

impl Layout {
    /// Row-major.
    pub(crate) fn new(axes: &Axes, shape: &[usize]) -> Layout {
        let mut stride = 1;
        let mut axes: Vec<(Axis, usize)> = axes
            .iter()
            .zip(shape)
            .rev()
            .map(|(axis, size)| {
                let this = stride;
                stride *= size;
                (axis, this)
            })
            .collect();
        axes.reverse();
        Layout { axes }
    }

    /// The stride of one axis, 0 if it is not there.
    pub(crate) fn stride(&self, axis: Axis) -> usize {
        self.axes.iter().find(|(a, _)| *a == axis).map_or(0, |(_, stride)| *stride)
    }

    /// The strides along `axes`.
    pub(crate) fn strides(&self, axes: impl IntoIterator<Item = Axis>) -> Vec<usize> {
        axes.into_iter().map(|a| self.stride(a)).collect()
    }
}

/// Visits every index of `shape`, the last axis fastest, with the offset into each of N tensors.
pub(crate) fn walk<const N: usize>(
    shape: &[usize],
    strides: [&[usize]; N],
    mut visit: impl FnMut([usize; N]),
) {
    if shape.contains(&0) {
        return;
    }
    let Some((&last, outer)) = shape.split_last() else {
        visit([0; N]);
        return;
    };
    let inner: [usize; N] = strides.map(|s| s[outer.len()]);
    let mut index = vec![0usize; outer.len()];
    let mut base = [0usize; N];
    loop {
        let mut at = base;
        for _ in 0..last {
            visit(at);
            for n in 0..N {
                at[n] += inner[n];
            }
        }
        // The next row: one step along the innermost axis that is not at its end.
        let mut axis = outer.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            for n in 0..N {
                base[n] += strides[n][axis];
            }
            if index[axis] < outer[axis] {
                break;
            }
            for n in 0..N {
                base[n] -= strides[n][axis] * outer[axis];
            }
            index[axis] = 0;
        }
    }
}

/// Picks elements from a strided tensor in the order of a walk.
pub(crate) fn gather_strided<T: Copy>(
    from: &[T],
    offset: usize,
    shape: &[usize],
    strides: &[usize],
) -> Vec<T> {
    let mut out = Vec::with_capacity(shape.iter().product());
    walk(shape, [strides], |[at]| out.push(from[offset + at]));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_in_row_major_order_with_broadcast() {
        let axes = Axes::new(["a", "b"].map(Axis::new));
        let layout = Layout::new(&axes, &[2, 3]);
        let strides = layout.strides(["b", "c", "a"].map(Axis::new));
        assert_eq!(strides, [1, 0, 3]);
        let mut seen = Vec::new();
        walk(&[3, 2, 2], [&strides], |[at]| seen.push(at));
        assert_eq!(seen, [0, 3, 0, 3, 1, 4, 1, 4, 2, 5, 2, 5]);
    }

    #[test]
    fn scalars_are_visited_once_and_empty_tensors_never() {
        let mut visits = 0;
        walk(&[], [&[]], |[at]| visits += 1 + at);
        walk(&[3, 0], [&[0, 1]], |_| visits += 10);
        walk(&[0, 3], [&[3, 1]], |_| visits += 10);
        assert_eq!(visits, 1);
    }
}
