//! Named tensors in safetensors files, as inputs and outputs of functions.

use std::fs;
use std::io::Write;
use std::path::Path;

use carousel_core::backend::Data;
use carousel_core::values::Values;
use carousel_ir::DType;
use safetensors::{Dtype, SafeTensors};

use crate::function::Output;

/// A tensor of a file.
#[derive(Clone, PartialEq, Debug)]
pub struct NamedTensor {
    /// Its name.
    pub name: String,
    /// Sizes of its axes.
    pub shape: Vec<u64>,
    /// Its elements.
    pub values: Values,
}

/// Reads every tensor of a file. 64-bit integers must fit into 32 bits.
///
/// # Errors
/// One sentence that names the file, and the tensor if it is one.
pub fn read(path: &Path) -> Result<Vec<NamedTensor>, String> {
    let at = path.display();
    let bytes = fs::read(path).map_err(|e| format!("cannot read {at}: {e}"))?;
    let file = carousel_models::checkpoint::validated(&bytes)
        .map_err(|e| format!("{at} is no safetensors file: {e}"))?;
    let mut tensors = Vec::new();
    for (name, view) in file.iter() {
        let values =
            elements(view.dtype(), view.data()).map_err(|e| format!("{at}: tensor `{name}`: {e}"))?;
        let shape = view.shape().iter().map(|n| *n as u64).collect();
        tensors.push(NamedTensor { name: name.to_string(), shape, values });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum of another crate, which may grow")]
fn elements(dtype: Dtype, bytes: &[u8]) -> Result<Values, String> {
    fn each<const N: usize, T>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.chunks_exact(N).map(|c| convert(c.try_into().expect("chunks have this length"))).collect()
    }
    let narrow = |wide: Vec<i64>| {
        let fit = |x: i64| i32::try_from(x).map_err(|_| format!("{x} does not fit into 32 bits"));
        Ok(Values::I32(wide.into_iter().map(fit).collect::<Result<_, String>>()?))
    };
    Ok(match dtype {
        Dtype::F32 => Values::F32(each(bytes, f32::from_le_bytes)),
        Dtype::F64 => Values::F64(each(bytes, f64::from_le_bytes)),
        Dtype::BF16 => Values::Bf16(each(bytes, u16::from_le_bytes)),
        Dtype::F16 => Values::F16(each(bytes, u16::from_le_bytes)),
        Dtype::I32 => Values::I32(each(bytes, i32::from_le_bytes)),
        Dtype::U32 => Values::U32(each(bytes, u32::from_le_bytes)),
        Dtype::I64 => return narrow(each(bytes, i64::from_le_bytes)),
        Dtype::BOOL => Values::Bool(bytes.iter().map(|b| if *b != 0 { -1 } else { 0 }).collect()),
        other => {
            return Err(format!(
                "dtype {other:?} is not supported (F32, F64, BF16, F16, I32, U32, I64, BOOL are)"
            ));
        }
    })
}

/// The same numbers in another float dtype, rounded; integers and truth values stay as they are.
pub fn to_float(values: &Values, dtype: DType) -> Values {
    let can = values.dtype().is_float() && dtype.is_float();
    if can { Values::from_numbers(dtype, values.numbers()) } else { values.clone() }
}

/// Writes tensors to a file: to a temporary name first, which is then renamed.
///
/// # Errors
/// One sentence that names the file.
pub fn write(path: &Path, outputs: &[Output]) -> Result<(), String> {
    let bytes: Vec<(Dtype, Vec<usize>, Vec<u8>)> = outputs.iter().map(encoded).collect();
    let views = outputs.iter().zip(&bytes).map(|(output, (dtype, shape, bytes))| {
        let view =
            safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes).map_err(|e| e.to_string())?;
        Ok((output.name.clone(), view))
    });
    let views: Vec<_> = views.collect::<Result<_, String>>()?;
    let fail = |what: &str, e: &dyn std::fmt::Display| format!("cannot {what} {}: {e}", path.display());
    let file = safetensors::serialize(views, None).map_err(|e| fail("encode", &e))?;
    let temporary = path.with_extension("safetensors.tmp");
    let mut out = fs::File::create(&temporary).map_err(|e| fail("write", &e))?;
    out.write_all(&file).and_then(|()| out.sync_all()).map_err(|e| fail("write", &e))?;
    fs::rename(&temporary, path).map_err(|e| fail("write", &e))
}

fn encoded(output: &Output) -> (Dtype, Vec<usize>, Vec<u8>) {
    let shape = output.shape.iter().map(|n| *n as usize).collect();
    let (dtype, bytes) = match output.values.as_data() {
        Data::F32(v) => (Dtype::F32, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Data::F64(v) => (Dtype::F64, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Data::Bf16(v) => (Dtype::BF16, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Data::F16(v) => (Dtype::F16, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Data::I32(v) => (Dtype::I32, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Data::U32(v) => (Dtype::U32, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Data::Bool(v) => (Dtype::BOOL, v.iter().map(|x| u8::from(*x != 0)).collect()),
    };
    (dtype, shape, bytes)
}

/// The parsed header and views of a safetensors file.
pub type File<'a> = SafeTensors<'a>;
