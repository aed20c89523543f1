//! Data stores: masters, their clones, and what keeps the entries.
//!
//! Spec: stores.

pub mod backend;
pub mod memory;

pub use backend::{Backend, BackendError, Entry};
pub use memory::Memory;
