//! Records of logs.

use std::fmt;
use std::sync::Arc;

use broker_data::{DecodeError, DecodeErrorKind};
use bytes::Bytes;

use super::blob::Cursor;
use super::{LogValue, Schema, Values, ZeekType};

/// A record that does not fit the fields of its log, or is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The bytes are not a record.
    #[error("malformed record: {0}")]
    Malformed(#[from] DecodeError),
    /// The record has another number of values than its log has fields.
    #[error("expected {expected} fields, found {found}")]
    Fields {
        /// Number of fields of the log.
        expected: usize,
        /// Number of values in the record.
        found: u32,
    },
    /// A value has another type than its field.
    #[error("field `{field}`: expected {expected}, found {found}")]
    Type {
        /// Name of the field.
        field: String,
        /// Type of the field.
        expected: ZeekType,
        /// Type of the value.
        found: ZeekType,
    },
    /// An element of a set or vector has another type than its field declares.
    #[error("field `{field}`: expected {container}[{expected}], found {found} among its elements")]
    Element {
        /// Name of the field.
        field: String,
        /// Type of the field.
        container: ZeekType,
        /// Type of its elements.
        expected: ZeekType,
        /// Type of the element.
        found: ZeekType,
    },
    /// A value was written without a field.
    #[error("more values than the {0} fields of the log")]
    Surplus(usize),
}

impl RecordError {
    /// Whether another field list could fit better.
    pub(super) const fn is_mismatch(&self) -> bool {
        matches!(
            self,
            Self::Fields { .. } | Self::Type { .. } | Self::Element { .. }
        )
    }

    #[cold]
    pub(super) fn element(field: &super::Field, found: ZeekType) -> Self {
        Self::Element {
            field: field.name.clone(),
            container: field.kind,
            expected: field.element_kind,
            found,
        }
    }
}

/// A record of a log: its fields by name, in the order of the log.
///
/// The bytes were checked when it was made, and are read when asked for: a field is found by
/// passing over those before it. Cloning is cheap: clones share bytes and field list.
#[derive(Clone, PartialEq)]
pub struct LogRecord {
    schema: Arc<Schema>,
    blob: Bytes,
}

impl LogRecord {
    /// Checks a record against the fields of its log.
    ///
    /// # Errors
    ///
    /// When it is malformed or does not fit the fields.
    pub fn new(schema: Arc<Schema>, blob: Bytes) -> Result<Self, RecordError> {
        check(&schema, &blob)?;
        Ok(Self { schema, blob })
    }

    /// Makes a record whose values were checked against these fields.
    pub(super) const fn of_checked(schema: Arc<Schema>, blob: Bytes) -> Self {
        Self { schema, blob }
    }

    /// Returns what is known about the log.
    #[must_use]
    pub const fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Returns the encoded record.
    #[must_use]
    pub const fn blob(&self) -> &Bytes {
        &self.blob
    }

    /// Returns the path of the log, such as `conn`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.schema.path()
    }

    /// Visits the values in the order of the fields; `None` is an unset field.
    #[must_use]
    pub fn values(&self) -> Values<'_> {
        values_of(&self.blob)
    }

    /// Visits fields and values; `None` is an unset field.
    pub fn fields(&self) -> impl Iterator<Item = (&super::Field, Option<LogValue<'_>>)> {
        self.schema.fields().iter().zip(self.values())
    }

    /// Returns the value at this place.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<LogValue<'_>> {
        value_at(&self.blob, index)
    }

    /// Returns the value of the field with this name; `None` when it is unset or there is no such
    /// field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<LogValue<'_>> {
        self.at(self.schema.position(name)?)
    }

    /// A copy with memory of its own; a record keeps the whole buffer alive that it arrived in.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self {
            schema: self.schema.clone(),
            blob: Bytes::copy_from_slice(&self.blob),
        }
    }

    /// Returns the record as one line of JSON, as Zeek spells it in its JSON logs, without the end
    /// of the line.
    ///
    /// Unset fields are left out. Times and intervals are numbers of seconds, ports are numbers,
    /// bytes that are not UTF-8 and control characters are written as `\xff`. Numbers that JSON
    /// cannot express are `null`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut line = String::with_capacity(self.blob.len().saturating_mul(2));
        self.write_json(&mut line);
        line
    }

    /// Appends what [`to_json`](Self::to_json) returns.
    pub fn write_json(&self, out: &mut String) {
        self.write_json_with(super::JsonOptions::default(), out);
    }

    /// Appends the record as one line of JSON in a spelling of choice, without the end of the line.
    pub fn write_json_with(&self, options: super::JsonOptions, out: &mut String) {
        super::json::write_record(self, options, out);
    }

    /// Returns the record as one line of Zeek's ASCII logs, whose fields are between tabs, without
    /// the end of the line. [`Schema::tsv_header`] is what stands above it.
    ///
    /// Times and intervals have six decimals and doubles at most as many. An unset field is `-`, an
    /// empty string, set or vector `(empty)`.
    #[must_use]
    pub fn to_tsv(&self) -> String {
        let mut line = String::with_capacity(self.blob.len().saturating_mul(2));
        super::tsv::write_record(self, &mut line);
        line
    }

    /// Reads the record as a type of the program, by the names of the fields; other fields are
    /// ignored. Names such as `id.orig_h` take `#[serde(rename = "id.orig_h")]`.
    ///
    /// It builds a tree of values first: for few fields of many records [`get`](Self::get) is
    /// much faster.
    ///
    /// # Errors
    ///
    /// Says which field does not fit, what was expected and what was found.
    #[cfg(feature = "serde")]
    pub fn read_as<T: serde::de::DeserializeOwned>(&self) -> Result<T, broker_data::SerdeError> {
        broker_data::from_value(&self.to_value())
    }

    /// Returns the record as a table from names to values; unset fields are none.
    ///
    /// Functions and files become strings, times that do not fit the nearest that do, and nan none:
    /// a field has one type, whatever its value is.
    #[must_use]
    pub fn to_value(&self) -> broker_data::Value {
        use broker_data::Value;
        let entries = self
            .fields()
            .map(|(field, value)| (Value::from(field.name.as_str()), to_value(value)));
        Value::Table(entries.collect())
    }
}

pub(super) fn to_value(value: Option<LogValue<'_>>) -> broker_data::Value {
    use broker_data::{ByteString, EnumValue, Timespan, Timestamp, Value};
    let Some(value) = value else {
        return Value::None;
    };
    match value {
        LogValue::Bool(value) => Value::Boolean(value),
        LogValue::Int(value) => Value::Integer(value),
        LogValue::Count(value) => Value::Count(value),
        LogValue::Double(value) => Value::Real(value),
        LogValue::Time(seconds) => {
            let time = value.as_timestamp();
            time.or_else(|| end_of_range(seconds).map(Timestamp::from_ns))
                .map_or(Value::None, Value::Timestamp)
        }
        LogValue::Interval(seconds) => {
            let span = value.as_timespan();
            span.or_else(|| end_of_range(seconds).map(Timespan::from_ns))
                .map_or(Value::None, Value::Timespan)
        }
        LogValue::String(bytes) | LogValue::Func(bytes) | LogValue::File(bytes) => {
            Value::String(ByteString::from(bytes))
        }
        LogValue::Enum(name) => Value::EnumValue(EnumValue::new(name)),
        LogValue::Port(port) => Value::Port(port),
        LogValue::Addr(address) => Value::Address(address),
        LogValue::Subnet(subnet) => Value::Subnet(subnet),
        LogValue::Set(elements) => Value::Set(elements.iter().map(to_value).collect()),
        LogValue::Vector(elements) => Value::Vector(elements.iter().map(to_value).collect()),
    }
}

/// The nanoseconds nearest to seconds that are out of their range.
fn end_of_range(seconds: f64) -> Option<i64> {
    (!seconds.is_nan()).then_some(if seconds > 0.0 { i64::MAX } else { i64::MIN })
}

impl fmt::Debug for LogRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_map();
        for (field, value) in self.fields() {
            if let Some(value) = value {
                fields.entry(&field.name, &value);
            }
        }
        fields.finish()
    }
}

/// The values of a record that was checked.
fn values_of(blob: &[u8]) -> Values<'_> {
    let mut cursor = Cursor::new(blob);
    let left = cursor.u32("a number of fields").unwrap_or_default() as usize;
    Values { cursor, left }
}

/// The value at a place of a record that was checked.
fn value_at(blob: &[u8], index: usize) -> Option<LogValue<'_>> {
    values_of(blob).nth(index).flatten()
}

/// Checks everything about a record, so that reading it later cannot fail.
#[inline]
fn check(schema: &Schema, blob: &[u8]) -> Result<(), RecordError> {
    let mut cursor = Cursor::new(blob);
    let found = cursor.u32("a number of fields")?;
    let expected = schema.fields().len();
    if found as usize != expected {
        return Err(RecordError::Fields { expected, found });
    }
    check_values(schema, &mut cursor)?;
    match cursor.rest.len() {
        0 => Ok(()),
        _ => Err(cursor.error(DecodeErrorKind::End).into()),
    }
}

/// Passes over the values of a record and checks them.
#[inline]
pub(super) fn check_values(schema: &Schema, cursor: &mut Cursor<'_>) -> Result<(), RecordError> {
    for field in schema.fields() {
        let (kind, elements) = cursor.pass_with_elements(0)?;
        if kind != field.kind {
            return Err(RecordError::Type {
                field: field.name.clone(),
                expected: field.kind,
                found: kind,
            });
        }
        if let Some(elements) = elements
            && let Some(found) = elements.type_other_than(field.element_kind)
        {
            return Err(RecordError::element(field, found));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use broker_data::{Address, Port, Protocol, Subnet, Timespan, Timestamp};
    use proptest::prelude::*;

    use super::*;
    use crate::blob::put_header;
    use crate::{ELEMENT_DEPTH_MAX, Field, RecordWriter, WriterInfo};

    fn schema_of(fields: Vec<Field>) -> Arc<Schema> {
        let info = WriterInfo {
            path: "demo".into(),
            ..WriterInfo::default()
        };
        Arc::new(Schema::new("Demo::LOG", "Log::WRITER_ASCII", info, fields))
    }

    /// A record of one field, whose elements, if it has some, are counts.
    fn single(kind: ZeekType, content: &[u8]) -> Result<LogRecord, RecordError> {
        single_of(kind, ZeekType::Count, content)
    }

    fn single_of(
        kind: ZeekType,
        element_kind: ZeekType,
        content: &[u8],
    ) -> Result<LogRecord, RecordError> {
        let mut blob = 1_u32.to_be_bytes().to_vec();
        put_header(&mut blob, kind, true);
        blob.extend(content);
        let schema = schema_of(vec![Field::of("field", kind, element_kind)]);
        LogRecord::new(schema, blob.into())
    }

    fn problem(kind: ZeekType, content: &[u8]) -> String {
        single(kind, content).unwrap_err().to_string()
    }

    #[test]
    fn values_of_every_type() {
        let eight = |number: u64| number.to_be_bytes();
        for (kind, content, text) in [
            (ZeekType::Bool, eight(1).to_vec(), "Bool(true)"),
            (ZeekType::Int, eight(u64::MAX).to_vec(), "Int(-1)"),
            (
                ZeekType::Count,
                eight(u64::MAX).to_vec(),
                "Count(18446744073709551615)",
            ),
            (
                ZeekType::Double,
                eight(0.5_f64.to_bits()).to_vec(),
                "Double(0.5)",
            ),
            (
                ZeekType::Port,
                [&eight(53)[..], &[0, 0, 0, 2]].concat(),
                "Port(53/udp)",
            ),
            (ZeekType::Addr, vec![4, 10, 0, 0, 1], "Addr(10.0.0.1)"),
            (
                ZeekType::Addr,
                [&[6][..], &[0; 15], &[1]].concat(),
                "Addr(::1)",
            ),
            (
                ZeekType::Subnet,
                vec![104, 4, 10, 0, 0, 0],
                "Subnet(10.0.0.0/8)",
            ),
            (
                ZeekType::Subnet,
                [&[0, 6][..], &[0; 16]].concat(),
                "Subnet(::/0)",
            ),
            (ZeekType::Table, eight(0).to_vec(), "Set([])"),
        ] {
            let record = single(kind, &content).unwrap();
            let value = record.get("field").unwrap();
            assert_eq!(format!("{value:?}"), text);
            assert_eq!(value.kind(), kind);
        }
        let text = single(ZeekType::File, b"\0\0\0\x02ab").unwrap();
        assert_eq!(text.at(0).unwrap().as_str(), Some("ab"));
        assert_eq!(text.at(1), None);
        assert_eq!(text.get("other"), None);
    }

    #[test]
    fn bad_values_say_where_and_what() {
        let eight = |number: u64| number.to_be_bytes();
        for (kind, content, text) in [
            (
                ZeekType::Int,
                vec![0; 7],
                "at byte 13: expected a number of 8 bytes, found the end of the input",
            ),
            (
                ZeekType::String,
                vec![255; 4],
                "at byte 17: expected as many bytes as a string is long, found the end of the input",
            ),
            (
                ZeekType::Addr,
                vec![5, 0, 0, 0, 0],
                "at byte 13: expected 4 or 6 as the address family",
            ),
            (
                ZeekType::Subnet,
                vec![8, 4, 10, 0, 0, 0],
                "at byte 13: expected 0 to 128 as the length of a network, for IPv4 96 to 128",
            ),
            (
                ZeekType::Port,
                [&eight(65536)[..], &[0; 4]].concat(),
                "at byte 13: expected a port from 0 to 65535 with a protocol from 0 to 3",
            ),
            (
                ZeekType::Port,
                [&eight(1)[..], &[0, 0, 0, 4]].concat(),
                "at byte 13: expected a port from 0 to 65535 with a protocol from 0 to 3",
            ),
            (
                ZeekType::Vector,
                eight(u64::MAX).to_vec(),
                "at byte 13: expected as many elements as announced, found the end of the input",
            ),
            (
                ZeekType::Vector,
                eight(1).to_vec(),
                "at byte 13: expected as many elements as announced, found the end of the input",
            ),
            (
                ZeekType::Pattern,
                eight(1).to_vec(),
                "at byte 4: expected a type that can be logged",
            ),
            (
                ZeekType::Bool,
                vec![0; 9],
                "at byte 21: expected the end of the input",
            ),
        ] {
            assert_eq!(problem(kind, &content), format!("malformed record: {text}"));
        }
        let schema = schema_of(vec![Field::new("a", ZeekType::Count)]);
        let new = |blob: &'static [u8]| LogRecord::new(schema.clone(), Bytes::from_static(blob));
        assert_eq!(
            new(b"\0\0\0\x02").unwrap_err().to_string(),
            "expected 1 fields, found 2"
        );
        assert_eq!(
            new(b"\0\0\0\x01\0\0\0\x07\0\0\0\0\0")
                .unwrap_err()
                .to_string(),
            "field `a`: expected count, found string"
        );
        assert_eq!(
            new(b"\0\0\0\x01\0\0\0\x63\0\0\0\0\0")
                .unwrap_err()
                .to_string(),
            "malformed record: at byte 4: expected a type from 0 to 22"
        );
        assert!(new(b"").is_err());
    }

    #[test]
    fn vectors_nest_up_to_the_limit() {
        let nested = |levels: usize| {
            let mut content = 0_u64.to_be_bytes().to_vec();
            for _ in 1..levels {
                let mut outer = 1_u64.to_be_bytes().to_vec();
                put_header(&mut outer, ZeekType::Vector, true);
                outer.extend(content);
                content = outer;
            }
            single_of(ZeekType::Vector, ZeekType::Vector, &content)
        };
        let record = nested(ELEMENT_DEPTH_MAX).unwrap();
        assert_eq!(record.to_json(), r#"{"field":[[[[]]]]}"#);
        assert!(nested(ELEMENT_DEPTH_MAX + 1).is_err());
    }

    #[test]
    fn elements_have_the_type_that_is_declared() {
        let list = |elements: &[LogValue<'_>], unset: Option<ZeekType>| {
            let count = elements.len() + usize::from(unset.is_some());
            let mut content = (count as u64).to_be_bytes().to_vec();
            for element in elements {
                crate::blob::put(&mut content, element);
            }
            if let Some(kind) = unset {
                put_header(&mut content, kind, false);
            }
            content
        };
        let counts = [LogValue::Count(1), LogValue::Count(2)];
        let mixed = [LogValue::Count(1), LogValue::String(b"2")];
        for kind in [ZeekType::Table, ZeekType::Vector] {
            assert!(single(kind, &list(&counts, Some(ZeekType::Count))).is_ok());
            assert!(single(kind, &list(&[], None)).is_ok());
            for (content, found) in [
                (list(&mixed, None), ZeekType::String),
                (list(&[LogValue::Int(1)], None), ZeekType::Int),
                // A value that is missing has a type as well, as it has among the fields.
                (list(&counts, Some(ZeekType::Addr)), ZeekType::Addr),
            ] {
                let error = single(kind, &content).unwrap_err();
                assert!(error.is_mismatch());
                assert_eq!(
                    error.to_string(),
                    format!(
                        "field `field`: expected {kind}[count], found {found} among its elements"
                    )
                );
            }
        }
    }

    #[test]
    fn times_are_rounded_to_microseconds() {
        assert_eq!(
            LogValue::Time(1_700_000_000.123_456).as_timestamp(),
            Some(Timestamp::from_ns(1_700_000_000_123_456_000))
        );
        assert_eq!(
            LogValue::Interval(-1.5).as_timespan(),
            Some(Timespan::from_ns(-1_500_000_000))
        );
        assert_eq!(LogValue::Time(1e300).as_timestamp(), None);
        assert_eq!(LogValue::Time(f64::NAN).as_timestamp(), None);
        assert_eq!(LogValue::Interval(0.0).as_timestamp(), None);
    }

    #[test]
    fn the_writer_checks_types() {
        let schema = schema_of(vec![
            Field::new("a", ZeekType::Count),
            Field::of("b", ZeekType::Vector, ZeekType::Count),
        ]);
        let mut writer = RecordWriter::new(&schema);
        assert_eq!(
            writer.value(LogValue::Int(1)).unwrap_err().to_string(),
            "field `a`: expected count, found int"
        );
        assert!(writer.elements(&[]).is_err());
        let mut writer = RecordWriter::new(&schema);
        writer.value(LogValue::Count(1)).unwrap();
        let mismatch = "field `b`: expected vector[count], found int among its elements";
        let error = writer.clone().elements(&[Some(LogValue::Int(1))]);
        assert_eq!(error.unwrap_err().to_string(), mismatch);
        let ints = schema_of(vec![Field::of("b", ZeekType::Vector, ZeekType::Int)]);
        let mut other = RecordWriter::new(&ints);
        other.elements(&[Some(LogValue::Int(1))]).unwrap();
        let other = LogRecord::new(ints.clone(), other.finish().unwrap().into()).unwrap();
        let error = writer.clone().value(other.at(0).unwrap());
        assert_eq!(error.unwrap_err().to_string(), mismatch);
        assert!(writer.clone().finish().is_err());
        writer.elements(&[Some(LogValue::Count(2)), None]).unwrap();
        assert_eq!(writer.unset(), Err(RecordError::Surplus(2)));
        let record = LogRecord::new(schema.clone(), writer.finish().unwrap().into()).unwrap();
        assert_eq!(record.to_json(), r#"{"a":1,"b":[2,null]}"#);
        assert_eq!(
            format!("{record:?}"),
            r#"{"a": Count(1), "b": Vector([Some(Count(2)), None])}"#
        );
        assert_eq!(record.to_value().to_string(), "{a -> 1, b -> (2, nil)}");
        assert_eq!(record.detach(), record);
    }

    #[test]
    fn times_that_do_not_fit_are_the_nearest_that_do() {
        for (seconds, time, span) in [
            (253_402_300_799.0, i64::MAX, i64::MAX),
            (f64::INFINITY, i64::MAX, i64::MAX),
            (-1e300, i64::MIN, i64::MIN),
            (1.5, 1_500_000_000, 1_500_000_000),
        ] {
            for (value, expected) in [
                (
                    LogValue::Time(seconds),
                    Timestamp::from_ns(time).to_string(),
                ),
                (
                    LogValue::Interval(seconds),
                    Timespan::from_ns(span).to_string(),
                ),
            ] {
                assert_eq!(to_value(Some(value)).to_string(), expected);
            }
        }
        let nan = to_value(Some(LogValue::Time(f64::NAN)));
        assert_eq!(nan, broker_data::Value::None);
    }

    #[cfg(feature = "serde")]
    #[test]
    fn records_are_read_by_name() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Demo {
            #[serde(rename = "id.orig_h")]
            orig_h: Address,
            note: Option<String>,
        }
        let schema = schema_of(vec![
            Field::new("ts", ZeekType::Time),
            Field::new("id.orig_h", ZeekType::Addr),
            Field::new("note", ZeekType::String),
        ]);
        let mut writer = RecordWriter::new(&schema);
        writer.unset().unwrap();
        let orig_h: Address = "10.0.0.1".parse().unwrap();
        writer.value(LogValue::Addr(orig_h)).unwrap();
        writer.unset().unwrap();
        let record = LogRecord::new(schema.clone(), writer.finish().unwrap().into()).unwrap();
        assert_eq!(record.read_as::<Demo>(), Ok(Demo { orig_h, note: None }));
        let mut writer = RecordWriter::new(&schema);
        for _ in 0..3 {
            writer.unset().unwrap();
        }
        let record = LogRecord::new(schema.clone(), writer.finish().unwrap().into()).unwrap();
        assert_eq!(
            record.read_as::<Demo>().unwrap_err().to_string(),
            "`id.orig_h`: expected address, found none"
        );
    }

    /// A value that owns its bytes.
    #[derive(Clone, Debug)]
    enum Plain {
        Unset,
        Number(LogValue<'static>),
        Text(ZeekType, Vec<u8>),
        List(ZeekType, Vec<Option<u64>>),
    }

    fn plain() -> impl Strategy<Value = Plain> {
        let number = prop_oneof![
            any::<bool>().prop_map(LogValue::Bool),
            any::<i64>().prop_map(LogValue::Int),
            any::<u64>().prop_map(LogValue::Count),
            any::<f64>().prop_map(LogValue::Double),
            any::<f64>().prop_map(LogValue::Time),
            any::<f64>().prop_map(LogValue::Interval),
            (any::<u16>(), 0..4_u8).prop_map(|(number, protocol)| {
                let protocol = Protocol::from_number(protocol).unwrap();
                LogValue::Port(Port::new(number, protocol))
            }),
            any::<[u8; 16]>().prop_map(|octets| LogValue::Addr(Address::from_octets(octets))),
            any::<[u8; 4]>()
                .prop_map(|ip| { LogValue::Addr(Address::from(std::net::Ipv4Addr::from(ip))) }),
            (any::<[u8; 4]>(), 0..=32_u8).prop_map(|(ip, length)| {
                let address = Address::from(std::net::Ipv4Addr::from(ip));
                LogValue::Subnet(Subnet::new(address, length).unwrap())
            }),
        ];
        let text = prop_oneof![
            Just(ZeekType::String),
            Just(ZeekType::Enum),
            Just(ZeekType::Func),
            Just(ZeekType::File)
        ];
        let list = prop_oneof![Just(ZeekType::Table), Just(ZeekType::Vector)];
        prop_oneof![
            Just(Plain::Unset),
            number.prop_map(Plain::Number),
            (text, proptest::collection::vec(any::<u8>(), 0..12))
                .prop_map(|(kind, bytes)| Plain::Text(kind, bytes)),
            (list, proptest::collection::vec(any::<Option<u64>>(), 0..4))
                .prop_map(|(kind, list)| Plain::List(kind, list)),
        ]
    }

    fn text(kind: ZeekType, bytes: &[u8]) -> LogValue<'_> {
        match kind {
            ZeekType::Enum => LogValue::Enum(bytes),
            ZeekType::Func => LogValue::Func(bytes),
            ZeekType::File => LogValue::File(bytes),
            _ => LogValue::String(bytes),
        }
    }

    fn write(values: &[Plain]) -> (Arc<Schema>, Vec<u8>) {
        let fields = values.iter().enumerate().map(|(index, value)| {
            let name = format!("f{index}");
            match value {
                Plain::Unset => Field::new(name, ZeekType::Addr),
                Plain::Number(value) => Field::new(name, value.kind()),
                Plain::Text(kind, _) => Field::new(name, *kind),
                Plain::List(kind, _) => Field::of(name, *kind, ZeekType::Count),
            }
        });
        let schema = schema_of(fields.collect());
        let mut writer = RecordWriter::new(&schema);
        for value in values {
            match value {
                Plain::Unset => writer.unset(),
                Plain::Number(value) => writer.value(*value),
                Plain::Text(kind, bytes) => writer.value(text(*kind, bytes)),
                Plain::List(_, list) => {
                    let list: Vec<_> = list.iter().map(|n| n.map(LogValue::Count)).collect();
                    writer.elements(&list)
                }
            }
            .unwrap();
        }
        let blob = writer.finish().unwrap();
        (schema, blob)
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(values in proptest::collection::vec(plain(), 0..10)) {
            let (schema, blob) = write(&values);
            let record = LogRecord::new(schema.clone(), blob.clone().into()).unwrap();
            let mut again = RecordWriter::new(&schema);
            for (value, expected) in record.values().zip(&values) {
                match (value, expected) {
                    (None, Plain::Unset) => again.unset(),
                    (Some(value), Plain::List(_, list)) => {
                        let elements: Vec<_> = value.as_elements().unwrap().iter().collect();
                        prop_assert_eq!(elements.len(), list.len());
                        again.elements(&elements)
                    }
                    (Some(value), _) => again.value(value),
                    (None, expected) => panic!("{expected:?} is lost"),
                }
                .unwrap();
            }
            prop_assert_eq!(again.finish().unwrap(), blob);
            prop_assert!(serde_json::from_str::<serde_json::Value>(&record.to_json()).is_ok());
        }

        #[test]
        fn cut_records_are_refused(
            values in proptest::collection::vec(plain(), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let (schema, mut blob) = write(&values);
            blob.truncate(cut.index(blob.len()));
            prop_assert!(LogRecord::new(schema, blob.into()).is_err());
        }

        #[test]
        fn any_bytes_are_handled(
            values in proptest::collection::vec(plain(), 1..6),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let (schema, mut blob) = write(&values);
            let at = at.index(blob.len());
            blob[at] = byte;
            if let Ok(record) = LogRecord::new(schema, blob.into()) {
                prop_assert_eq!(record.values().count(), values.len());
                prop_assert!(serde_json::from_str::<serde_json::Value>(&record.to_json()).is_ok());
            }
        }
    }
}
