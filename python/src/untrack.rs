//! Objects that Python's search for reference cycles need not look at.
//!
//! Every tuple and every instance of a class is on the list of that search, which walks it again and
//! again while a program holds many messages: more than half of the time of a program that received
//! connection events. Python takes tuples of atomic values off the list itself once it has met them;
//! here it is known when they are made. See ADR 0047.

use pyo3::prelude::*;

/// Takes an object off the list of what may be part of a reference cycle.
///
/// To be called for objects only that nothing can make part of one: immutable, without attributes
/// that can be set, and holding nothing but such objects and atomic ones. Were one part of a cycle
/// all the same, the cycle would never be freed; nothing else depends on it.
pub(crate) fn untrack(object: &Bound<'_, PyAny>) {
    #[expect(unsafe_code, reason = "there is no safe way; see ADR 0047")]
    // SAFETY: the pointer is that of a live object, the interpreter is attached, and the function
    // does nothing for objects that are not on the list, or cannot be.
    unsafe {
        pyo3::ffi::PyObject_GC_UnTrack(object.as_ptr().cast());
    }
}
