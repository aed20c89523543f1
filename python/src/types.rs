//! The classes for values that Python has no type for.
//!
//! All are frozen; the few fields that the original lets programs assign sit behind atomics or
//! locks. They accept any arguments in `__new__` and set their value in `__init__`, because
//! sub-classes of the original's classes may have constructors of their own.

pub(crate) mod address;
pub(crate) mod containers;
pub(crate) mod count;
pub(crate) mod enum_value;
pub(crate) mod enumeration;
pub(crate) mod port;
pub(crate) mod subnet;
pub(crate) mod time;
pub(crate) mod topic;

use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::prelude::*;

/// A hash for Python of anything that Rust can hash; the same in every process.
pub(crate) fn hash_of(value: &impl Hash) -> isize {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish() as isize
}

/// What Python reduces integers to when it hashes them.
const HASH_MODULUS: u64 = (1 << 61) - 1;

/// The hash of the Python integer of the same value.
pub(crate) fn hash_of_integer(value: i64) -> isize {
    let reduced = (value.unsigned_abs() % HASH_MODULUS) as isize;
    if value < 0 { -reduced } else { reduced }
}

/// The hash of the Python integer of the same value.
pub(crate) fn hash_of_count(value: u64) -> isize {
    (value % HASH_MODULUS) as isize
}

/// Adds the classes to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    enumeration::register(module)?;
    module.add_class::<address::Address>()?;
    module.add_class::<count::Count>()?;
    module.add_class::<enum_value::Enum>()?;
    module.add_class::<port::Port>()?;
    module.add_class::<subnet::Subnet>()?;
    module.add_class::<time::Timespan>()?;
    module.add_class::<time::Timestamp>()?;
    module.add_class::<topic::Topic>()?;
    module.add_class::<containers::Vector>()?;
    module.add_class::<containers::Set>()?;
    module.add_class::<containers::Table>()?;
    address::register(module)?;
    port::register(module)
}
