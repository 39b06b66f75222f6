//! Recurrences in every form against their equations: forward, gradients, final states.
//!
//! The law is the source, differentiated as it stands and evaluated step by step in numbers of extended range.
//! [`program`] derives a recurrence and compares, [`data`] draws inputs. [`zoo`] is a table of published recurrences,
//! [`invented`] one of others, which [`transcriptions`] guard; [`segments`] cuts sequences, [`device`] runs
//! them on a CUDA device, [`adversarial`] has gates that
//! overflow, [`renaming`] takes the names away, [`table`] is the README's, [`golden`] takes the golden vectors, [`grammar`]
//! makes recurrences up.

mod adversarial;
mod data;
mod device;
mod golden;
mod grammar;
mod invented;
mod program;
mod renaming;
mod segments;
mod table;
mod transcriptions;
mod zoo;
