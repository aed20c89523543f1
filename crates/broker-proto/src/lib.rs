//! broker-proto
