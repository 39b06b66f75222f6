//! Triangles: what of a product there is to compute where half of a matrix is 0, or half of the result is not needed.
//!
//! Invariant: what is left out of `a` or `b` is 0 there; what is left out of `c` may be anything finite, and is 0 (or what
//! was there) if it is not computed.

use std::ops::Range;

/// A product of whole matrices, or one of which a triangle is to be computed.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Whole,
    /// Element (r, c) counts if `r >= c + shift`.
    Lower(Matrix, isize),
    /// Element (r, c) counts if `r <= c + shift`.
    Upper(Matrix, isize),
}

/// A matrix of a product.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Matrix {
    A,
    B,
    C,
}

impl Part {
    /// From the number that generated code passes: see `codegen::product`.
    #[inline(always)]
    pub(super) fn new(number: usize) -> Part {
        match number {
            1 => Part::Lower(Matrix::A, 0),
            2 => Part::Upper(Matrix::A, 0),
            3 => Part::Lower(Matrix::B, 0),
            4 => Part::Upper(Matrix::B, 0),
            5 => Part::Lower(Matrix::C, 0),
            6 => Part::Upper(Matrix::C, 0),
            _ => Part::Whole,
        }
    }

    /// Of `c' = b' a'`.
    #[inline(always)]
    pub(super) fn transposed(self) -> Part {
        let other = |matrix| match matrix {
            Matrix::A => Matrix::B,
            Matrix::B => Matrix::A,
            Matrix::C => Matrix::C,
        };
        match self {
            Part::Whole => Part::Whole,
            Part::Lower(matrix, shift) => Part::Upper(other(matrix), -shift),
            Part::Upper(matrix, shift) => Part::Lower(other(matrix), -shift),
        }
    }

    /// Of the product that begins at a column and a place of the contracted axis.
    #[inline(always)]
    pub(super) fn from(self, column: usize, inner: usize) -> Part {
        let moved = |matrix, shift: isize| {
            shift
                + match matrix {
                    Matrix::A => inner as isize,
                    Matrix::B => column as isize - inner as isize,
                    Matrix::C => column as isize,
                }
        };
        match self {
            Part::Whole => Part::Whole,
            Part::Lower(matrix, shift) => Part::Lower(matrix, moved(matrix, shift)),
            Part::Upper(matrix, shift) => Part::Upper(matrix, moved(matrix, shift)),
        }
    }

    /// Whether results are left out.
    #[inline(always)]
    pub(super) fn is_of_c(self) -> bool {
        matches!(self, Part::Lower(Matrix::C, _) | Part::Upper(Matrix::C, _))
    }

    /// Which of `depth` products are to be summed for some rows and columns of the result.
    #[inline(always)]
    pub(super) fn depth(self, rows: Range<usize>, columns: Range<usize>, depth: usize) -> Range<usize> {
        let within = |x: isize| x.clamp(0, depth as isize) as usize;
        let [first_row, last_row] = [rows.start as isize, rows.end as isize - 1];
        let [first_column, last_column] = [columns.start as isize, columns.end as isize - 1];
        match self {
            Part::Whole => 0..depth,
            Part::Lower(Matrix::A, shift) => 0..within(last_row - shift + 1),
            Part::Upper(Matrix::A, shift) => within(first_row - shift)..depth,
            Part::Lower(Matrix::B, shift) => within(first_column + shift)..depth,
            Part::Upper(Matrix::B, shift) => 0..within(last_column + shift + 1),
            Part::Lower(Matrix::C, shift) if last_row < first_column + shift => 0..0,
            Part::Upper(Matrix::C, shift) if first_row > last_column + shift => 0..0,
            Part::Lower(Matrix::C, _) | Part::Upper(Matrix::C, _) => 0..depth,
        }
    }
}
