//! Recorded results of operations, for a master whose entries are in memory.

#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

use broker_proto::store::Memory;

#[path = "stores/operations.rs"]
mod operations;

#[test]
fn operations_do_what_was_recorded() {
    assert_eq!(operations::check_all(Memory::new), (401, 35));
}
