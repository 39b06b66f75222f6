//! Elements of any dtype in memory of their own.

use crate::backend::{Data, DataMut};
use carousel_ir::DType;
use half::{bf16, f16};

/// Elements of one dtype, owned.
#[derive(Clone, PartialEq, Debug)]
pub enum Values {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
    /// bf16, as bits.
    Bf16(Vec<u16>),
    /// f16, as bits.
    F16(Vec<u16>),
    /// Signed integers.
    I32(Vec<i32>),
    /// Unsigned integers.
    U32(Vec<u32>),
    /// Truth values: 0 or -1.
    Bool(Vec<i32>),
}

impl Values {
    /// That many zeros.
    pub fn zeros(dtype: DType, elements: usize) -> Values {
        match dtype {
            DType::F32 => Values::F32(vec![0.0; elements]),
            DType::F64 => Values::F64(vec![0.0; elements]),
            DType::Bf16 => Values::Bf16(vec![0; elements]),
            DType::F16 => Values::F16(vec![0; elements]),
            DType::I32 => Values::I32(vec![0; elements]),
            DType::U32 => Values::U32(vec![0; elements]),
            DType::Bool => Values::Bool(vec![0; elements]),
        }
    }

    /// Numbers, rounded to the dtype; what is not 0 is true.
    pub fn from_numbers(dtype: DType, numbers: impl IntoIterator<Item = f64>) -> Values {
        let numbers = numbers.into_iter();
        match dtype {
            DType::F32 => Values::F32(numbers.map(|x| x as f32).collect()),
            DType::F64 => Values::F64(numbers.collect()),
            DType::Bf16 => Values::Bf16(numbers.map(|x| bf16::from_f64(x).to_bits()).collect()),
            DType::F16 => Values::F16(numbers.map(|x| f16::from_f64(x).to_bits()).collect()),
            DType::I32 => Values::I32(numbers.map(|x| x as i32).collect()),
            DType::U32 => Values::U32(numbers.map(|x| x as u32).collect()),
            DType::Bool => Values::Bool(numbers.map(|x| -i32::from(x != 0.0)).collect()),
        }
    }

    /// The elements as numbers, which none of them is too long for; truth values are 0 and 1.
    pub fn numbers(&self) -> Vec<f64> {
        match self {
            Values::F32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Values::F64(v) => v.clone(),
            Values::Bf16(v) => v.iter().map(|x| bf16::from_bits(*x).to_f64()).collect(),
            Values::F16(v) => v.iter().map(|x| f16::from_bits(*x).to_f64()).collect(),
            Values::I32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Values::U32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Values::Bool(v) => v.iter().map(|x| -f64::from(*x)).collect(),
        }
    }

    /// The type of an element.
    pub fn dtype(&self) -> DType {
        self.as_data().dtype()
    }

    /// To read from.
    pub fn as_data(&self) -> Data<'_> {
        match self {
            Values::F32(v) => Data::F32(v),
            Values::F64(v) => Data::F64(v),
            Values::Bf16(v) => Data::Bf16(v),
            Values::F16(v) => Data::F16(v),
            Values::I32(v) => Data::I32(v),
            Values::U32(v) => Data::U32(v),
            Values::Bool(v) => Data::Bool(v),
        }
    }

    /// To write to.
    pub fn as_mut(&mut self) -> DataMut<'_> {
        match self {
            Values::F32(v) => DataMut::F32(v),
            Values::F64(v) => DataMut::F64(v),
            Values::Bf16(v) => DataMut::Bf16(v),
            Values::F16(v) => DataMut::F16(v),
            Values::I32(v) => DataMut::I32(v),
            Values::U32(v) => DataMut::U32(v),
            Values::Bool(v) => DataMut::Bool(v),
        }
    }

    /// The elements, if they are f32.
    pub fn f32(&self) -> Option<&[f32]> {
        if let Values::F32(values) = self { Some(values) } else { None }
    }

    /// The elements, if they are f64.
    pub fn f64(&self) -> Option<&[f64]> {
        if let Values::F64(values) = self { Some(values) } else { None }
    }
}
