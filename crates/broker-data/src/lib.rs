//! broker-data
