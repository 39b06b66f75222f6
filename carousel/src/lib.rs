//! A graph compiler and autodiff engine for recurrent models.
//!
//! A cell is written as the paper prints it; [`compile`] gives a function that runs on slices, at any length, with
//! gradients if they are asked for.
//!
//! ```
//! use carousel::{CompileOptions, Tensor, Data, compile};
//!
//! // An exponential moving average whose rate is learned.
//! let text = "
//!     fn average(x: [s, d], rate: [d]) -> (y: [s, d]) {
//!       scan s {
//!         state c: [d] = 0
//!         c' = sigmoid(rate) * c + (1 - sigmoid(rate)) * x
//!         yield y = c'
//!       }
//!     }";
//! let options = CompileOptions { gradient: carousel::Gradient::Vjp, ..CompileOptions::default() };
//! let average = compile("average.xl", text, "average", &options).unwrap();
//!
//! // Two steps, one channel; with the rate at 0 the decay is one half.
//! let x = Tensor { data: Data::F32(&[1.0, 3.0]), shape: &[2, 1] };
//! let rate = Tensor { data: Data::F32(&[0.0]), shape: &[1] };
//! let cotangent = Tensor { data: Data::F32(&[0.0, 1.0]), shape: &[2, 1] };
//! let results = average.call(&[x, rate, cotangent]).unwrap();
//! assert_eq!(results[0].name, "y");
//! assert_eq!(results[0].values.f32().unwrap(), [0.5, 1.75]);
//! assert_eq!(results[1].name, "grad.x");
//! assert_eq!(results[1].values.f32().unwrap(), [0.25, 0.5]);
//! // d(c_2)/d(rate) = s'(0) (c_1 - x_2) + s(0) s'(0) (0 - x_1) = -0.25 * 2.5 - 0.5 * 0.25
//! assert_eq!(results[2].values.f32().unwrap(), [-0.75]);
//! ```

pub mod calibrate;
pub mod function;
pub mod gradcheck;
pub mod tensors;

pub use carousel_core::backend::{Data, DataMut, Executable, RunError, Tensor};
pub use carousel_core::values::Values;
pub use carousel_ir as ir;
pub use carousel_models as models;
pub use function::{CompileOptions, Error, Function, Gradient, Output, compile};
