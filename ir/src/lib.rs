//! The tensor IR of carousel.
//!
//! A [`Module`] is a list of [`Function`]s, each a [`Graph`] of [`Node`]s over named [`Axis`]es; a recurrence is a
//! [`Scan`] node whose body is again a graph. Operands precede users and callees precede callers, so that every pass
//! is a loop. The crate knows nothing of rewriting, differentiation or backends.
//!
//! Map: [`ops`] is the op table; [`types`](Type), [`size`](Size) and [`graph`](Graph) are the data;
//! [`infer`](infer::infer) gives types, [`verify()`] checks the invariants, [`Builder`] makes graphs from Rust,
//! [`transform`] changes whole graphs, [`text`] reads and writes them, and [`diagnostic`](Diagnostic) is how problems
//! reach people.
//!
//! ```
//! use carousel_ir::{Axes, Builder, DType, Module, Size, verify_graph};
//!
//! let module = Module::default();
//! let mut b = Builder::new(&module);
//! let (s, d) = (b.axis("s", Size::symbol("s")), b.axis("d", Size::Known(64)));
//! let x = b.argument("x", DType::F32, &[s, d]);
//! let w = b.argument("w", DType::F32, &[d]);
//! let y = b.dot(x, w, Axes::new([d]));
//! b.output("y", y);
//! let graph = b.finish().unwrap();
//! assert_eq!(graph.ty(y).to_string(), "f32[s]");
//! assert!(verify_graph(&graph).is_empty());
//! ```

mod attribute;
mod build;
mod diagnostic;
mod graph;
pub mod infer;
mod init;
mod line;
mod mirror;
mod name;
mod number;
pub mod ops;
pub mod philox;
pub mod scan;
mod size;
pub mod text;
pub mod transform;
mod types;
mod verify;

pub use attribute::{Attribute, Attributes};
pub use build::Builder;
pub use diagnostic::{Diagnostic, RenderStyle, Severity, Source, Sources, Span, nearest};
pub use graph::{
    AxisTable, Decay, Direction, Function, FunctionId, FunctionKind, Graph, Input, Module, Node, Output,
    Residuals, Role, Scan, Types, ValueId,
};
pub use infer::TypeError;
pub use init::Init;
pub use line::{Edge, Line, Read};
pub use name::{Axis, Name};
pub use number::Number;
pub use ops::{Arity, Class, Domain, Op, OpKind};
pub use size::Size;
pub use text::{ConfigValue, Options, Program, check, elaborate, parse_module, parse_program, print};
pub use types::{Axes, DType, Type};
pub use verify::{verify, verify_graph};
