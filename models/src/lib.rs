//! xLSTM models written in .xl: cells, blocks, data, checkpoints, training, generation.
//!
//! The modules here are the host side of a model: text and batches, configuration, schedule, initial values,
//! checkpoints, metrics and sampling. They know nothing of graphs or machine code.

pub mod batch;
pub mod checkpoint;
pub mod config;
pub mod corpus;
pub mod hash;
pub mod init;
pub mod metrics;
pub mod philox;
pub mod progress;
pub mod sample;
pub mod schedule;
pub mod tokenizer;
pub mod utf8;
