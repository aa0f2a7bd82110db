//! Literals, asserts, repr, equality, hash and class, each against what CPython says.

mod asserts;
mod literals;
mod reference;
mod values;
