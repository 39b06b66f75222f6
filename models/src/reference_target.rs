//! The plain evaluator behind the interface of compiled functions: slow, in f64, for checking.

use std::collections::BTreeMap;

use carousel_core::backend::{Data, DataMut, Executable, RunError, Tensor};
use carousel_core::program::{Port, Stored, places};
use carousel_ir::{FunctionId, Module, Name, Size, Type};
use carousel_reference as reference;

/// A function that is evaluated node by node.
pub struct ReferenceExecutable {
    module: Module,
    function: FunctionId,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl ReferenceExecutable {
    /// A function of a verified module.
    pub fn new(module: Module, function: FunctionId) -> ReferenceExecutable {
        let graph = &module[function].graph;
        let port = |name, ty: Type| {
            let sizes = ty.axes.iter().map(|a| graph.axes.size(a).clone()).collect();
            Port { name, ty, sizes, strides: None }
        };
        let inputs = graph.inputs.iter().map(|i| port(i.name, i.ty.clone())).collect();
        let outputs = graph
            .outputs
            .iter()
            .map(|o| port(o.name, Type { dtype: graph.ty(o.value).dtype, axes: o.axes.clone() }));
        let outputs = outputs.collect();
        ReferenceExecutable { module, function, inputs, outputs }
    }

    /// The same with inputs that come in another dtype than they are computed with, or in another order.
    pub fn stored(mut self, stored: &[(Name, Stored)]) -> ReferenceExecutable {
        for port in &mut self.inputs {
            if let Some((_, Stored { dtype, strides })) = stored.iter().find(|(name, _)| *name == port.name) {
                port.ty.dtype = *dtype;
                port.strides = strides.clone();
            }
        }
        self
    }
}

impl Executable for ReferenceExecutable {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn output_shapes(&self, input_shapes: &[&[u64]]) -> Result<Vec<Vec<u64>>, RunError> {
        if input_shapes.len() != self.inputs.len() {
            let (expected, found) = (self.inputs.len(), input_shapes.len());
            return Err(RunError::Count { what: "inputs", expected, found });
        }
        let mut symbols: BTreeMap<Name, u64> = BTreeMap::new();
        for (port, shape) in self.inputs.iter().zip(input_shapes) {
            if port.sizes.len() != shape.len() {
                let message = format!("its shape {shape:?} does not have the axes [{}]", port.ty.axes);
                return Err(RunError::Shape { name: port.name, message });
            }
            for (size, &found) in port.sizes.iter().zip(*shape) {
                if let Size::Symbol(name) = size {
                    symbols.entry(*name).or_insert(found);
                }
            }
        }
        let number = |size: &Size, name| {
            let unknown = || RunError::Shape { name, message: format!("no input tells the size {size}") };
            size.evaluate(&|symbol| symbols.get(&symbol).copied()).ok_or_else(unknown)
        };
        let shape = |port: &Port| port.sizes.iter().map(|size| number(size, port.name)).collect();
        self.outputs.iter().map(shape).collect()
    }

    fn run(&self, inputs: &[Tensor<'_>], outputs: &mut [DataMut<'_>]) -> Result<(), RunError> {
        if (inputs.len(), outputs.len()) != (self.inputs.len(), self.outputs.len()) {
            let (expected, found) = (self.inputs.len() + self.outputs.len(), inputs.len() + outputs.len());
            return Err(RunError::Count { what: "inputs and outputs", expected, found });
        }
        let inputs: Vec<reference::Tensor<f64>> = self
            .inputs
            .iter()
            .zip(inputs)
            .map(|(port, tensor)| tensor_in(port, tensor))
            .collect::<Result<_, _>>()?;
        let results = reference::evaluate::<f64>(&self.module, self.function, &inputs).map_err(|error| {
            RunError::Shape { name: self.module[self.function].name, message: error.to_string() }
        })?;
        for ((port, result), output) in self.outputs.iter().zip(&results).zip(outputs) {
            tensor_out(port, result, output)?;
        }
        Ok(())
    }

    fn peak_bytes(&self) -> u64 {
        0
    }
}

fn tensor_in(port: &Port, tensor: &Tensor<'_>) -> Result<reference::Tensor<f64>, RunError> {
    let shape: Vec<usize> = tensor.shape.iter().map(|n| *n as usize).collect();
    let expected = port.elements(tensor.shape).ok_or(RunError::TooLarge { bytes: None })?;
    if expected != tensor.data.elements() {
        return Err(RunError::Length { name: port.name, expected, found: tensor.data.elements() });
    }
    if tensor.data.dtype() != port.ty.dtype {
        return Err(RunError::DType { name: port.name, expected: port.ty.dtype, found: tensor.data.dtype() });
    }
    let row_major: Vec<u64> =
        (0..shape.len()).map(|axis| tensor.shape[axis + 1..].iter().product()).collect();
    let strides = port.strides.as_ref().unwrap_or(&row_major);
    let axes: Vec<(usize, usize)> = shape.iter().copied().zip(strides.iter().map(|n| *n as usize)).collect();
    let at = places(&axes);
    Ok(match tensor.data {
        Data::F32(v) => reference::Tensor::floats(&shape, at.map(|at| f64::from(v[at]))),
        Data::F64(v) => reference::Tensor::floats(&shape, at.map(|at| v[at])),
        Data::Bf16(v) => {
            reference::Tensor::floats(&shape, at.map(|at| half::bf16::from_bits(v[at]).to_f64()))
        }
        Data::F16(v) => reference::Tensor::floats(&shape, at.map(|at| half::f16::from_bits(v[at]).to_f64())),
        Data::I32(v) => reference::Tensor::integers(&shape, at.map(|at| i64::from(v[at]))),
        Data::U32(v) => reference::Tensor::integers(&shape, at.map(|at| i64::from(v[at]))),
        Data::Bool(v) => reference::Tensor::bools(&shape, at.map(|at| v[at] != 0)),
    })
}

fn tensor_out(
    port: &Port,
    result: &reference::Tensor<f64>,
    output: &mut DataMut<'_>,
) -> Result<(), RunError> {
    let (values, found) = (result.to_f64(), output.as_data().elements());
    if values.len() as u64 != found {
        return Err(RunError::Length { name: port.name, expected: values.len() as u64, found });
    }
    if output.as_data().dtype() != port.ty.dtype {
        return Err(RunError::DType {
            name: port.name,
            expected: port.ty.dtype,
            found: output.as_data().dtype(),
        });
    }
    match output {
        DataMut::F32(out) => out.iter_mut().zip(values).for_each(|(o, v)| *o = v as f32),
        DataMut::F64(out) => out.copy_from_slice(&values),
        DataMut::Bf16(out) => {
            out.iter_mut().zip(values).for_each(|(o, v)| *o = half::bf16::from_f64(v).to_bits())
        }
        DataMut::F16(out) => {
            out.iter_mut().zip(values).for_each(|(o, v)| *o = half::f16::from_f64(v).to_bits())
        }
        DataMut::I32(out) => out.iter_mut().zip(values).for_each(|(o, v)| *o = v as i32),
        DataMut::U32(out) => out.iter_mut().zip(values).for_each(|(o, v)| *o = v as u32),
        DataMut::Bool(out) => {
            out.iter_mut().zip(values).for_each(|(o, v)| *o = if v != 0.0 { -1 } else { 0 })
        }
    }
    Ok(())
}
