//! Ordered streams over a network that loses, doubles and reorders: one producer, many consumers.
//!
//! Spec: stores 4. Both directions of a store use the same two machines: [`producer::Producer`]
//! numbers what it sends and keeps it until all consumers have it, [`consumer::Consumer`] puts it back
//! into order and asks for what is missing. Time is counted in ticks of the caller.

pub mod consumer;
pub mod producer;

pub use consumer::Consumer;
pub use producer::Producer;
