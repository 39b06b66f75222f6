//! Tensors of the evaluator: a shape and a row-major list of elements.
//!
//! Invariant: there are as many elements as the shape says. The names of the axes are not here: inside they are
//! those of the value's type, at the boundary those of the declared order.

use crate::Scalar;
use carousel_ir::DType;

/// Elements. Integers of either dtype are i64 here, in the range of their dtype.
#[derive(Clone, Debug, PartialEq)]
pub enum Data<S> {
    /// Of a float dtype.
    Float(Vec<S>),
    /// Of an integer dtype.
    Integer(Vec<i64>),
    /// Truth values.
    Bool(Vec<bool>),
}

/// A tensor in the order of axes that its context gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<S> {
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// The elements, the last axis fastest.
    pub data: Data<S>,
}

/// The same expression for the elements, whatever their kind; the result is `Data` again.
macro_rules! map_data {
    ($data:expr, $elements:ident => $body:expr) => {
        match $data {
            $crate::Data::Float($elements) => $crate::Data::Float($body),
            $crate::Data::Integer($elements) => $crate::Data::Integer($body),
            $crate::Data::Bool($elements) => $crate::Data::Bool($body),
        }
    };
}
pub(crate) use map_data;

impl<S: Scalar> Data<S> {
    /// How many elements.
    pub fn len(&self) -> usize {
        match self {
            Data::Float(v) => v.len(),
            Data::Integer(v) => v.len(),
            Data::Bool(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether these are elements of such a dtype.
    pub fn fits(&self, dtype: DType) -> bool {
        match self {
            Data::Float(_) => dtype.is_float(),
            Data::Integer(v) => v.iter().all(|&x| integer_range(dtype).is_some_and(|r| r.contains(&x))),
            Data::Bool(_) => dtype == DType::Bool,
        }
    }

    /// `length` zeros of the kind of `dtype`.
    pub fn zeros(dtype: DType, length: usize) -> Data<S> {
        match dtype {
            DType::F32 | DType::F64 | DType::Bf16 | DType::F16 => Data::Float(vec![S::zero(); length]),
            DType::I32 | DType::U32 => Data::Integer(vec![0; length]),
            DType::Bool => Data::Bool(vec![false; length]),
        }
    }
}

/// The numbers of an integer dtype.
pub(crate) fn integer_range(dtype: DType) -> Option<std::ops::RangeInclusive<i64>> {
    match dtype {
        DType::I32 => Some(i64::from(i32::MIN)..=i64::from(i32::MAX)),
        DType::U32 => Some(0..=i64::from(u32::MAX)),
        DType::F32 | DType::F64 | DType::Bf16 | DType::F16 | DType::Bool => None,
    }
}

/// An integer wrapped around into its dtype's range.
pub(crate) fn wrapped(x: i64, dtype: DType) -> i64 {
    match dtype {
        DType::I32 => i64::from(x as i32),
        DType::U32 => i64::from(x as u32),
        DType::F32 | DType::F64 | DType::Bf16 | DType::F16 | DType::Bool => x,
    }
}

impl<S: Scalar> Tensor<S> {
    /// A tensor of floats.
    ///
    /// # Panics
    /// If there are not as many values as the shape says.
    pub fn floats(shape: &[usize], values: impl IntoIterator<Item = f64>) -> Tensor<S> {
        Tensor::new(shape, Data::Float(values.into_iter().map(S::from_f64).collect()))
    }

    /// A tensor of integers.
    ///
    /// # Panics
    /// If there are not as many values as the shape says.
    pub fn integers(shape: &[usize], values: impl IntoIterator<Item = i64>) -> Tensor<S> {
        Tensor::new(shape, Data::Integer(values.into_iter().collect()))
    }

    /// A tensor of truth values.
    ///
    /// # Panics
    /// If there are not as many values as the shape says.
    pub fn bools(shape: &[usize], values: impl IntoIterator<Item = bool>) -> Tensor<S> {
        Tensor::new(shape, Data::Bool(values.into_iter().collect()))
    }

    /// A scalar float.
    pub fn scalar(value: f64) -> Tensor<S> {
        Tensor::floats(&[], [value])
    }

    fn new(shape: &[usize], data: Data<S>) -> Tensor<S> {
        let wanted: usize = shape.iter().product();
        assert!(data.len() == wanted, "{} elements for the shape {shape:?}", data.len());
        Tensor { shape: shape.to_vec(), data }
    }

    /// The elements as f64: truth values are 0 and 1.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            Data::Float(v) => v.iter().map(|x| x.to_f64()).collect(),
            Data::Integer(v) => v.iter().map(|&x| x as f64).collect(),
            Data::Bool(v) => v.iter().map(|&x| f64::from(u8::from(x))).collect(),
        }
    }

    /// The elements, if they are floats.
    pub fn as_floats(&self) -> Option<&[S]> {
        match &self.data {
            Data::Float(v) => Some(v),
            Data::Integer(_) | Data::Bool(_) => None,
        }
    }

    /// Whether no element is NaN or infinite.
    pub fn is_finite(&self) -> bool {
        self.as_floats().is_none_or(|v| v.iter().all(|x| x.is_finite()))
    }
}
