//! The plain evaluator: the meaning of every operation, over f32, f64, extended-range and 256-bit numbers.
//!
//! [`evaluate`] runs a function of a verified module on [`Tensor`]s. All float dtypes of the graph become the one
//! [`Scalar`] type asked for (values of bf16 and f16 nodes are rounded to its precision), so that the same graph can be
//! evaluated in f32, in f64, and in [`Extended`] numbers that never overflow. It is an oracle: plain loops in a fixed
//! order, no rewriting, no threads.
//!
//! ```
//! use carousel_ir::{Axes, Axis, Builder, DType, Function, FunctionKind, Module, Residuals, Size};
//! use carousel_reference::{Tensor, evaluate};
//!
//! let module = Module::default();
//! let mut b = Builder::new(&module);
//! let s = b.axis("s", Size::symbol("s"));
//! let x = b.argument("x", DType::F32, &[s]);
//! let y = b.argument("y", DType::F32, &[s]);
//! let product = b.dot(x, y, Axes::new([s]));
//! b.output("product", product);
//! let graph = b.finish().unwrap();
//! let mut module = Module::default();
//! let function = module.push(Function {
//!     name: "product".into(),
//!     kind: FunctionKind::Fn,
//!     residuals: Residuals::Save,
//!     graph,
//! });
//!
//! let inputs: [Tensor<f64>; 2] = [Tensor::floats(&[2], [1.0, 2.0]), Tensor::floats(&[2], [3.0, 4.0])];
//! assert_eq!(evaluate(&module, function, &inputs).unwrap()[0].to_f64(), [11.0]);
//! ```

mod error;
mod evaluate;
mod extended;
mod finite;
mod frame;
mod geometry;
mod linear;
mod operations;
mod scalar;
mod tensor;
mod wide;

pub use error::EvalError;
pub use evaluate::{Observed, Observer, Settings, evaluate, evaluate_with};
pub use extended::Extended;
pub use finite::NonFinite;
pub use frame::Sizes;
pub use scalar::Scalar;
pub use tensor::{Data, Tensor};
pub use wide::Wide;
