//! What the threads at a mailbox meet with, in one place: the models in `models/mailbox.rs` put their own in
//! its place. Locks are in `lock.rs`, for the same reason and others. See ADR 0201.

pub(crate) use std::sync::Condvar;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
pub(crate) use std::time::Instant;
