//! xLSTM models written in `.xl`: cells, blocks and models, and what trains and runs them.
//!
//! Two layers. The host side knows nothing of graphs: [`corpus`], [`batch`], [`tokenizer`], [`config`], [`schedule`],
//! [`checkpoint`], [`metrics`], [`progress`], [`sample`]. On top of it and of the compiler: [`library`] (the built-in
//! `.xl` files), [`compile`](mod@compile) (the pipeline), [`forms`], [`model`], [`parameters`], [`optimizer`], [`train`],
//! [`evaluate`](mod@evaluate), [`generate`](mod@generate).

pub mod arena;
pub mod batch;
pub mod checkpoint;
pub mod compile;
pub mod config;
pub mod corpus;
pub mod data;
pub mod evaluate;
pub mod explain;
pub mod external;
pub mod files;
pub mod forms;
pub mod function;
pub mod generate;
pub mod hash;
pub mod init;
mod kept;
pub mod library;
mod memory;
pub mod metrics;
pub mod model;
pub mod operations;
pub mod optimizer;
pub mod parameters;
pub mod philox;
pub mod piece;
pub mod presets;
pub mod progress;
pub mod reference_target;
pub mod sample;
pub mod schedule;
pub mod state;
pub mod task;
pub mod tensorboard;
pub mod tokenizer;
pub mod train;
pub mod trials;
pub mod utf8;
pub mod weights;
