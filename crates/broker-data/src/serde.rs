//! User types as values, through `serde`: structs become records.
//!
//! | Rust | value |
//! |---|---|
//! | struct, tuple, sequence | vector, fields in their order |
//! | `Option::None`, `()`, skipped field | none |
//! | map | table |
//! | unit variant of an enum | enum value with the name of the variant |
//! | other variants | vector: enum value, then the fields |
//! | unsigned, signed number | count, integer |
//! | `str`, `char`, bytes | string; one that is not UTF-8 has replacement characters as text, and its own bytes as [`ByteString`] or bytes |
//! | types of this crate | themselves |
//!
//! Types of this crate pass through `serde` as a newtype with a name that only this module knows,
//! around their encoded bytes. Other formats get text where they are made for people and the
//! encoded bytes where they are not.

mod read;
mod write;

use std::fmt;
use std::marker::PhantomData;

use ::serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use ::serde::ser::{self, Serializer};
use ::serde::{Deserialize, Serialize};

use crate::{
    Address, ByteString, EncodeError, EnumValue, Kind, Port, Set, Source, Subnet, Table, Timespan,
    Timestamp, Value, decode, to_bytes,
};

/// Name of the newtype around the encoded bytes of a type of this crate.
const ENCODED: &str = "$broker_data::encoded";

/// Turns a user type into a value.
///
/// ```
/// use broker_data::{Address, Value, from_value, to_value};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Login {
///     host: Address,
///     user: String,
///     attempts: Option<u64>,
/// }
///
/// let login = Login { host: "::1".parse()?, user: "root".into(), attempts: None };
/// let value = to_value(&login)?;
/// assert_eq!(value.to_string(), "(::1, root, nil)");
/// assert_eq!(from_value::<Login>(&value)?, login);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// When the type refuses to be serialized or holds a 128-bit number.
pub fn to_value<T: Serialize + ?Sized>(source: &T) -> Result<Value, SerdeError> {
    source.serialize(write::ToValue)
}

/// Turns a value into a user type.
///
/// # Errors
///
/// When kinds, numbers of fields or ranges do not fit the type.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, SerdeError> {
    T::deserialize(read::FromValue(value))
}

/// A user type that does not fit a value, or the other way around.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SerdeError {
    /// What the type has to say about it.
    #[error("{0}")]
    Custom(String),
    /// A value of another kind was expected.
    #[error("expected {expected}, found {found}")]
    Kind {
        /// What the type needs.
        expected: &'static str,
        /// Kind of the value.
        found: Kind,
    },
    /// Something inside of a record, vector or table does not fit.
    #[error("`{path}`: {source}")]
    At {
        /// Names of fields and places of elements, from the outside in: `inner.list[1]`.
        path: String,
        /// What is wrong there.
        source: Box<SerdeError>,
    },
    /// A vector has more elements than the type has fields.
    #[error("expected {expected} elements, found {found}")]
    Length {
        /// Number of elements the type took.
        expected: usize,
        /// Number of elements in the vector.
        found: usize,
    },
    /// A value inside cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl SerdeError {
    /// Adds where it happened, seen from one level further out.
    fn inside(self, outer: &str) -> Self {
        let (path, source) = match self {
            Self::At { path, source } if path.starts_with('[') => {
                (format!("{outer}{path}"), source)
            }
            Self::At { path, source } => (format!("{outer}.{path}"), source),
            other => (outer.to_owned(), Box::new(other)),
        };
        Self::At { path, source }
    }
}

impl ser::Error for SerdeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

impl de::Error for SerdeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

/// The encoded bytes inside of the newtype.
struct Encoded<'a>(&'a [u8]);

impl Serialize for Encoded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

fn serialize_encoded<T: Source, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let bytes = to_bytes(value).map_err(ser::Error::custom)?;
    serializer.serialize_newtype_struct(ENCODED, &Encoded(&bytes))
}

/// Reads the newtype around encoded bytes.
struct EncodedVisitor<T>(PhantomData<T>);

impl<'de, T: TryFrom<Value, Error: fmt::Display>> Visitor<'de> for EncodedVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an encoded value")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<T, D::Error> {
        inner.deserialize_bytes(self)
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<T, E> {
        let value = decode(bytes).map_err(E::custom)?;
        T::try_from(value).map_err(E::custom)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut bytes: A) -> Result<T, A::Error> {
        // Some formats have no bytes of their own and write a sequence of numbers.
        let mut all = Vec::new();
        while let Some(byte) = bytes.next_element()? {
            all.push(byte);
        }
        self.visit_bytes(&all)
    }
}

macro_rules! as_encoded {
    ($($type:ty),+) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serialize_encoded(self, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_newtype_struct(ENCODED, EncodedVisitor(PhantomData))
            }
        }
    )+};
}

as_encoded!(Value, Set, Table, ByteString, EnumValue);

/// Types with a text form that can be parsed back.
macro_rules! as_encoded_or_text {
    ($($type:ty),+) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    return serializer.collect_str(self);
                }
                serialize_encoded(self, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    return text.parse().map_err(de::Error::custom);
                }
                deserializer.deserialize_newtype_struct(ENCODED, EncodedVisitor(PhantomData))
            }
        }
    )+};
}

as_encoded_or_text!(Address, Subnet, Port, Timestamp, Timespan);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Action {
        Drop,
        Delay(u64),
        Move(i64, i64),
        Tag { name: String, sticky: bool },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Wrapped(u32);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Record {
        flag: bool,
        small: i8,
        wide: u64,
        real: f64,
        letter: char,
        text: String,
        missing: Option<u64>,
        present: Option<Wrapped>,
        unit: (),
        pair: (u8, i16),
        list: Vec<String>,
        map: BTreeMap<String, u64>,
        actions: Vec<Action>,
        address: Address,
        subnet: Subnet,
        port: Port,
        timestamp: Timestamp,
        timespan: Timespan,
        name: EnumValue,
        bytes: ByteString,
        set: Set,
        table: Table,
        any: Value,
    }

    fn record() -> Record {
        Record {
            flag: true,
            small: -5,
            wide: u64::MAX,
            real: 0.5,
            letter: 'ß',
            text: "text".into(),
            missing: None,
            present: Some(Wrapped(7)),
            unit: (),
            pair: (1, -1),
            list: vec!["a".into(), "b".into()],
            map: BTreeMap::from([("k".into(), 1)]),
            actions: vec![
                Action::Drop,
                Action::Delay(3),
                Action::Move(1, -1),
                Action::Tag {
                    name: "n".into(),
                    sticky: false,
                },
            ],
            address: "10.0.0.1".parse().unwrap(),
            subnet: "10.0.0.0/8".parse().unwrap(),
            port: "80/tcp".parse().unwrap(),
            timestamp: Timestamp::from_ns(1),
            timespan: Timespan::from_ns(-2),
            name: EnumValue::new("Notice::LOG"),
            bytes: ByteString::from(b"\xff\0"),
            set: Set::from_iter([Value::Count(1)]),
            table: Table::from_iter([(Value::None, Value::Real(1.0))]),
            any: Value::Vector(vec![Value::None]),
        }
    }

    #[test]
    fn a_struct_becomes_a_record_and_comes_back() {
        let value = to_value(&record()).unwrap();
        assert_eq!(
            value.to_string(),
            "(T, -5, 18446744073709551615, 0.500000, ß, text, nil, 7, nil, (1, -1), (a, b), {k -> 1}, \
             (Drop, (Delay, 3), (Move, 1, -1), (Tag, n, F)), 10.0.0.1, 10.0.0.0/8, 80/tcp, 1ns, \
             -2ns, Notice::LOG, \u{fffd}\0, {1}, {nil -> 1.000000}, (nil))"
        );
        let kinds = value.as_vector().expect("a record");
        assert_eq!(
            kinds[12].as_vector().map(|actions| actions[0].kind()),
            Some(Kind::EnumValue)
        );
        assert_eq!(kinds[13].kind(), Kind::Address);
        assert_eq!(kinds[20].kind(), Kind::Set);
        assert_eq!(from_value::<Record>(&value), Ok(record()));
    }

    #[test]
    fn skipped_fields_keep_their_place() {
        #[derive(Serialize)]
        struct Sparse {
            #[serde(skip_serializing_if = "Option::is_none")]
            first: Option<u64>,
            second: u64,
        }
        let value = to_value(&Sparse {
            first: None,
            second: 2,
        })
        .unwrap();
        assert_eq!(value.to_string(), "(nil, 2)");
    }

    #[test]
    fn records_with_other_fields_are_refused() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Two {
            a: u64,
            b: u64,
        }
        let read = |value: Value| from_value::<Two>(&value);
        assert_eq!(read([1_u64, 2].into()), Ok(Two { a: 1, b: 2 }));
        assert!(read([1_u64].into()).is_err());
        let error = read([1_u64, 2, 3].into()).unwrap_err();
        assert_eq!(error.to_string(), "expected 2 elements, found 3");
        let error = read(Value::Count(1)).unwrap_err();
        assert_eq!(error.to_string(), "expected vector, found count");
        let error = read(Value::Vector(vec![1_u64.into(), "b".into()])).unwrap_err();
        assert_eq!(error.to_string(), "`b`: expected count, found string");
        let error = from_value::<Vec<Two>>(&vec![vec![1_u64, 2], vec![1]].into()).unwrap_err();
        assert!(error.to_string().starts_with("`[1]`: "), "{error}");
        let list = Value::from(vec![vec![Value::from(1_u64), true.into()]]);
        let error = from_value::<Vec<Two>>(&list).unwrap_err();
        assert_eq!(error.to_string(), "`[0].b`: expected count, found boolean");
        let table = BTreeMap::from([("a", [1_u64, 2])]);
        let error = from_value::<BTreeMap<String, Vec<i64>>>(&table.into()).unwrap_err();
        assert_eq!(error.to_string(), "`a[0]`: expected integer, found count");
        // By name works as well, for tables that are used as records.
        let table = BTreeMap::from([("b", 2_u64), ("a", 1)]);
        assert_eq!(read(table.into()), Ok(Two { a: 1, b: 2 }));
    }

    #[test]
    fn enums_are_read_from_names_and_strings() {
        assert_eq!(
            from_value(&Value::from(EnumValue::new("Drop"))),
            Ok(Action::Drop)
        );
        assert_eq!(from_value(&Value::from("Drop")), Ok(Action::Drop));
        for wrong in [
            Value::from(EnumValue::new("Delay")),
            "Other".into(),
            1_u64.into(),
        ] {
            assert!(from_value::<Action>(&wrong).is_err(), "{wrong}");
        }
        assert!(from_value::<Action>(&Value::Vector(vec![])).is_err());
        let long = Value::Vector(vec!["Delay".into(), 1_u64.into(), 2_u64.into()]);
        assert!(from_value::<Action>(&long).is_err());
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        assert_eq!(from_value::<u8>(&Value::Count(255)), Ok(255));
        assert!(from_value::<u8>(&Value::Count(256)).is_err());
        assert!(from_value::<u64>(&Value::Integer(1)).is_err());
        assert!(from_value::<i64>(&Value::Count(1)).is_err());
        assert!(from_value::<f64>(&Value::Count(1)).is_err());
        assert!(to_value(&u128::MAX).is_err());
    }

    #[test]
    fn a_type_of_this_crate_is_checked_by_kind() {
        let error = from_value::<Address>(&Value::Count(1)).unwrap_err();
        assert_eq!(error.to_string(), "expected address, found count");
        assert!(from_value::<ByteString>(&Value::from(EnumValue::new("a"))).is_err());
    }

    #[test]
    fn other_formats_get_text_or_bytes() {
        let port: Port = "80/tcp".parse().unwrap();
        let json = serde_json::to_string(&port).unwrap();
        assert_eq!(json, r#""80/tcp""#);
        assert_eq!(serde_json::from_str::<Port>(&json).unwrap(), port);

        let value = Value::Set(Set::from_iter([Value::Count(1)]));
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value);
        assert!(serde_json::from_str::<Value>("[15]").is_err());
    }

    #[test]
    fn strings_that_are_not_utf_8_can_be_read_as_text_and_as_bytes() {
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Text(String),
        }
        #[derive(Debug, PartialEq, Deserialize)]
        struct Request {
            text: String,
            bytes: ByteString,
            optional: Option<String>,
            list: Vec<String>,
            map: BTreeMap<String, ByteString>,
            either: Either,
            any: serde_json::Value,
            name: String,
        }
        for (bytes, text) in [
            (&b"/cmd.exe?\xff"[..], "/cmd.exe?\u{fffd}"),
            (b"\xed\xa0\x80", "\u{fffd}\u{fffd}\u{fffd}"),
        ] {
            let string = || Value::from(ByteString::from(bytes));
            let value = Value::Vector(vec![
                string(),
                string(),
                string(),
                Value::Vector(vec![string()]),
                Value::Table(Table::from_iter([(string(), string())])),
                string(),
                string(),
                EnumValue::new(bytes).into(),
            ]);
            let expected = Request {
                text: text.into(),
                bytes: ByteString::from(bytes),
                optional: Some(text.into()),
                list: vec![text.into()],
                map: BTreeMap::from([(text.into(), ByteString::from(bytes))]),
                either: Either::Text(text.into()),
                any: text.into(),
                name: text.into(),
            };
            assert_eq!(from_value(&value), Ok(expected));
        }
    }

    #[test]
    fn a_value_can_be_read_as_anything_that_describes_itself() {
        let value = to_value(&record()).unwrap();
        let json: Vec<serde_json::Value> =
            from_value(&to_value(&(1_u64, "a", Some(true))).unwrap()).unwrap();
        assert_eq!(
            serde_json::Value::from(json),
            serde_json::json!([1, "a", true])
        );
        assert!(from_value::<de::IgnoredAny>(&value).is_ok());
    }

    proptest! {
        #[test]
        fn every_value_survives(value in crate::value::arbitrary::values()) {
            prop_assert_eq!(to_value(&value), Ok(value.clone()));
            prop_assert_eq!(from_value::<Value>(&value), Ok(value));
        }
    }
}
