//! Recurrences in every form against their equations: forward, gradients, final states.
//!
//! The law is the source, differentiated as it stands and evaluated step by step in numbers of extended range.
//! The test kit derives a recurrence and compares, and draws inputs; [`derive`] gives it texts. [`zoo`] is a table of published recurrences,
//! [`invented`] one of others, which [`transcriptions`] guard; [`segments`] cuts sequences, [`device`] runs
//! them on a CUDA device, [`adversarial`] has gates that
//! overflow, [`renaming`] takes the names away, [`table`] is the README's, [`golden`] takes the golden vectors, [`grammar`]
//! makes recurrences up.

mod adversarial;
mod derive;
mod device;
mod golden;
mod grammar;
mod invented;
mod renaming;
mod segments;
mod table;
mod transcriptions;
mod zoo;
