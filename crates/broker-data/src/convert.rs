//! Rust types to and from [`Value`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use crate::{
    Address, ByteString, ConvertError, EnumValue, Kind, Port, Set, Subnet, Table, TimeRangeError,
    Timespan, Timestamp, Value,
};

macro_rules! value_from {
    ($($variant:ident: $($type:ty),+;)+) => {$($(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        }
    )+)+};
}

value_from! {
    Boolean: bool;
    Count: u8, u16, u32, u64;
    Integer: i8, i16, i32, i64;
    Real: f32, f64;
    String: &str, String, &String, ByteString;
    Address: Address, IpAddr, Ipv4Addr, Ipv6Addr;
    Subnet: Subnet;
    Port: Port;
    Timestamp: Timestamp;
    Timespan: Timespan;
    EnumValue: EnumValue;
    Set: Set;
    Table: Table;
}

impl From<()> for Value {
    fn from((): ()) -> Self {
        Self::None
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        // No supported machine has more than 64 bits.
        Self::Count(u64::try_from(value).unwrap_or(u64::MAX))
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Self {
        Self::Vector(values.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Self>, const N: usize> From<[T; N]> for Value {
    fn from(values: [T; N]) -> Self {
        Self::Vector(values.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Self>> From<BTreeSet<T>> for Value {
    fn from(values: BTreeSet<T>) -> Self {
        Self::Set(values.into_iter().map(Into::into).collect())
    }
}

impl<K: Into<Self>, V: Into<Self>> From<BTreeMap<K, V>> for Value {
    fn from(entries: BTreeMap<K, V>) -> Self {
        let entries = entries.into_iter();
        Self::Table(
            entries
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }
}

impl TryFrom<Duration> for Value {
    type Error = TimeRangeError;

    fn try_from(value: Duration) -> Result<Self, TimeRangeError> {
        Timespan::try_from(value).map(Self::Timespan)
    }
}

impl TryFrom<SystemTime> for Value {
    type Error = TimeRangeError;

    fn try_from(value: SystemTime) -> Result<Self, TimeRangeError> {
        Timestamp::try_from(value).map(Self::Timestamp)
    }
}

macro_rules! from_value {
    ($($variant:ident: $($type:ty),+;)+) => {$($(
        impl TryFrom<Value> for $type {
            type Error = ConvertError;

            fn try_from(value: Value) -> Result<Self, ConvertError> {
                match value {
                    Value::$variant(value) => Ok(value.into()),
                    other => Err(ConvertError::Kind {
                        expected: Kind::$variant,
                        found: other.kind(),
                    }),
                }
            }
        }
    )+)+};
}

from_value! {
    Boolean: bool;
    Count: u64;
    Integer: i64;
    Real: f64;
    String: ByteString;
    Address: Address, IpAddr;
    Subnet: Subnet;
    Port: Port;
    Timestamp: Timestamp, SystemTime;
    Timespan: Timespan;
    EnumValue: EnumValue;
    Set: Set;
    Table: Table;
    Vector: Vec<Value>;
}

macro_rules! narrow_from_value {
    ($($wide:ident $variant:ident: $($type:ident),+;)+) => {$($(
        impl TryFrom<Value> for $type {
            type Error = ConvertError;

            fn try_from(value: Value) -> Result<Self, ConvertError> {
                $wide::try_from(value)?.try_into().map_err(|_| ConvertError::Range {
                    kind: Kind::$variant,
                    wanted: stringify!($type),
                })
            }
        }
    )+)+};
}

narrow_from_value! {
    u64 Count: u8, u16, u32, usize;
    i64 Integer: i8, i16, i32;
    Timespan Timespan: Duration;
}

impl TryFrom<Value> for String {
    type Error = ConvertError;

    fn try_from(value: Value) -> Result<Self, ConvertError> {
        Self::from_utf8(ByteString::try_from(value)?.into_bytes()).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            ConvertError::Utf8 { offset }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_the_types() {
        for (value, text) in [
            (Value::from(1_u8), "1"),
            (Value::from(-1_i32), "-1"),
            (Value::from(1.5_f32), "1.500000"),
            (Value::from("a"), "a"),
            (Value::from(Ipv4Addr::LOCALHOST), "127.0.0.1"),
            (Value::from(None::<u64>), "nil"),
            (Value::from(Some(true)), "T"),
            (Value::from(()), "nil"),
            (Value::from(vec!["a", "b"]), "(a, b)"),
            (Value::from([1_usize]), "(1)"),
            (Value::from(BTreeSet::from([2_u64, 1])), "{1, 2}"),
            (Value::from(BTreeMap::from([("a", 1_u64)])), "{a -> 1}"),
            (Value::from(EnumValue::new("X")), "X"),
        ] {
            assert_eq!(value.to_string(), text);
        }
        assert_eq!(
            Value::try_from(Duration::from_nanos(5)),
            Ok(Timespan::from_ns(5).into())
        );
        assert_eq!(Value::try_from(Duration::MAX), Err(TimeRangeError));
        assert_eq!(
            Value::try_from(SystemTime::UNIX_EPOCH),
            Ok(Timestamp::EPOCH.into())
        );
    }

    #[test]
    fn errors_name_both_kinds() {
        let error = u64::try_from(Value::Integer(1)).unwrap_err();
        assert_eq!(error.to_string(), "expected count, found integer");
        assert_eq!(u64::try_from(Value::Count(7)), Ok(7));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(u8::try_from(Value::Count(255)), Ok(255));
        let error = u8::try_from(Value::Count(256)).unwrap_err();
        assert_eq!(error.to_string(), "count does not fit in `u8`");
        assert!(Duration::try_from(Value::from(Timespan::from_ns(-1))).is_err());
        let error = String::try_from(Value::from(ByteString::from(b"ab\xff"))).unwrap_err();
        assert_eq!(error, ConvertError::Utf8 { offset: 2 });
        assert_eq!(String::try_from(Value::from("ab")), Ok("ab".to_owned()));
    }
}
