//! The native module behind the `broker` Python package.
