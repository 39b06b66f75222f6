//! The command line from outside: what goes in, what comes out, and the exit status.
//!
//! Invariant: no input makes the program panic, and whatever is wrong with one is said in a sentence that names it.

mod benches;
mod converting;
mod device;
mod explaining;
mod external;
mod forms;
mod help;
mod programs;
mod resuming;
mod rules;
mod running;
mod support;
mod tasks;
mod tensor_files;
mod training;
mod troubles;
mod writing;
