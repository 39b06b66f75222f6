//! The kit on a cell of a user ([`document`], which is the example of `docs/testkit.md`), and on mistakes ([`mistakes`]): a check
//! that cannot fail is none.

mod document;
mod mistakes;
