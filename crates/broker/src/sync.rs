//! The atomics, condition variables and clock of mailboxes: the models in `models/mailbox.rs`
//! put their own in their place. Locks are in `lock.rs`, for the same reason and others. See ADR 0201.

pub(crate) use std::sync::Condvar;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
pub(crate) use std::time::Instant;
