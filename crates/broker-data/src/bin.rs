//! The binary encoding, version 1.
//!
//! A value is a tag and a body; Spec: wire 3 and 4. Numbers are big-endian, lengths and counts are
//! `varbyte`s: seven bits per byte, least significant group first.
//!
//! Bytes that passed [`validate`](decode::validate) are called *valid*, valid bytes whose sets and
//! tables are all in ascending order *ordered*. Two ordered encodings can be compared in one pass,
//! which is what everything here is built on: the common case arrives ordered, and what does not
//! is brought into order once, from the inside out.

// Bytes from the network are read here, so nothing may panic or wrap around unseen.
#![warn(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing
)]

pub(crate) mod canonical;
pub(crate) mod compare;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod order;
pub(crate) mod reader;
pub(crate) mod real;

#[cfg(test)]
mod properties;
