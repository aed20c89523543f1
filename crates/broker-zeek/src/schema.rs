//! Schemas of logs: field lists, and the types that Zeek knows.

use std::collections::BTreeMap;
use std::fmt;

use broker_data::{EncodeError, Encoder, Kind, Source, View};

use super::{LogCreate, MessageKind, VERSION};

/// Zeek's types and their numbers, the same from Zeek 5.0 to 9.0. Spec: zeek 2.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are those of Zeek's script language")]
pub enum ZeekType {
    Void = 0,
    Bool = 1,
    Int = 2,
    Count = 3,
    Double = 4,
    Time = 5,
    Interval = 6,
    String = 7,
    Pattern = 8,
    Enum = 9,
    Port = 10,
    Addr = 11,
    Subnet = 12,
    Any = 13,
    /// A table, and a set too: logs have sets only.
    Table = 14,
    Record = 15,
    List = 16,
    Func = 17,
    File = 18,
    Vector = 19,
    Opaque = 20,
    Type = 21,
    Error = 22,
}

impl ZeekType {
    /// All types in the order of their numbers.
    pub const ALL: [Self; 23] = [
        Self::Void,
        Self::Bool,
        Self::Int,
        Self::Count,
        Self::Double,
        Self::Time,
        Self::Interval,
        Self::String,
        Self::Pattern,
        Self::Enum,
        Self::Port,
        Self::Addr,
        Self::Subnet,
        Self::Any,
        Self::Table,
        Self::Record,
        Self::List,
        Self::Func,
        Self::File,
        Self::Vector,
        Self::Opaque,
        Self::Type,
        Self::Error,
    ];

    /// Returns the type with this number.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        usize::try_from(number)
            .ok()
            .and_then(|index| Self::ALL.get(index).copied())
    }

    /// Returns the number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the name in Zeek's scripts and log headers; `set` for tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Void => "void",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Count => "count",
            Self::Double => "double",
            Self::Time => "time",
            Self::Interval => "interval",
            Self::String => "string",
            Self::Pattern => "pattern",
            Self::Enum => "enum",
            Self::Port => "port",
            Self::Addr => "addr",
            Self::Subnet => "subnet",
            Self::Any => "any",
            Self::Table => "set",
            Self::Record => "record",
            Self::List => "list",
            Self::Func => "func",
            Self::File => "file",
            Self::Vector => "vector",
            Self::Opaque => "opaque",
            Self::Type => "type",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for ZeekType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A field of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name; records inside of records are flattened to names such as `id.orig_h`.
    pub name: String,
    /// A second name, which no known writer of logs uses.
    pub secondary_name: Option<String>,
    /// Type.
    pub kind: ZeekType,
    /// Type of the elements, for sets and vectors; [`ZeekType::Void`] for everything else.
    pub element_kind: ZeekType,
    /// Whether it may be unset.
    pub is_optional: bool,
}

impl Field {
    /// Makes an optional field without elements.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: ZeekType) -> Self {
        Self {
            name: name.into(),
            secondary_name: None,
            kind,
            element_kind: ZeekType::Void,
            is_optional: true,
        }
    }

    /// Makes an optional set or vector.
    #[must_use]
    pub fn of(name: impl Into<String>, kind: ZeekType, element_kind: ZeekType) -> Self {
        Self {
            element_kind,
            ..Self::new(name, kind)
        }
    }

    /// Returns the type as the headers of Zeek's logs spell it, such as `set[string]`.
    #[must_use]
    pub fn type_name(&self) -> String {
        match self.kind {
            ZeekType::Table | ZeekType::Vector => format!("{}[{}]", self.kind, self.element_kind),
            kind => kind.to_string(),
        }
    }
}

/// What Zeek tells the program that writes a log. Times are in seconds. Spec: zeek 1.2.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriterInfo {
    /// Path, such as `conn`: the name of the log.
    pub path: String,
    /// Point in time from which rotation counts.
    pub rotation_base: f64,
    /// Time between rotations; 0 is never.
    pub rotation_interval: f64,
    /// Time of the traffic that Zeek looks at.
    pub network_time: f64,
    /// Settings of the writer. Entries that are not a string each are left out.
    pub config: BTreeMap<String, String>,
    /// Name of the script function to be called after rotation; can be empty.
    pub post_processor: String,
}

/// A log and its fields. As a value it is the message that announces it.
///
/// Text that is not UTF-8 has replacement characters in it; Zeek's identifiers are ASCII.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    stream: String,
    writer: String,
    info: WriterInfo,
    fields: Vec<Field>,
}

/// A field list or writer info that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// A part is missing or of another kind.
    #[error("log create for `{stream}`: expected {expected} as {part}, found {found}")]
    Part {
        /// The log's stream.
        stream: String,
        /// Which part.
        part: String,
        /// What it has to be.
        expected: &'static str,
        /// What it is.
        found: Kind,
    },
    /// A number that is no type.
    #[error(
        "log create for `{stream}`: expected a type from 0 to 22 for field `{field}`, found {found}"
    )]
    Type {
        /// The log's stream.
        stream: String,
        /// The field's name.
        field: String,
        /// The number.
        found: u64,
    },
}

impl Schema {
    /// Describes a log.
    #[must_use]
    pub fn new(
        stream: impl Into<String>,
        writer: impl Into<String>,
        info: WriterInfo,
        fields: Vec<Field>,
    ) -> Self {
        Self {
            stream: stream.into(),
            writer: writer.into(),
            info,
            fields,
        }
    }

    /// Returns the name of the stream, such as `Conn::LOG`.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Returns the name of the writer, such as `Log::WRITER_ASCII`.
    #[must_use]
    pub fn writer(&self) -> &str {
        &self.writer
    }

    /// Returns the path, such as `conn`: the name of the log.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.info.path
    }

    /// Returns what the writer was told.
    #[must_use]
    pub const fn info(&self) -> &WriterInfo {
        &self.info
    }

    /// Returns the fields in the order of a record's values.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Returns the place of the field with this name.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// Returns the header of the log in Zeek's ASCII form, above the lines that
    /// [`LogRecord::to_tsv`](super::LogRecord::to_tsv) returns. `opened` stands behind `#open`; Zeek
    /// writes local time as `2023-11-14-22-13-20`.
    #[must_use]
    pub fn tsv_header(&self, opened: &str) -> String {
        let mut header = String::new();
        super::tsv::write_header(self, opened, &mut header);
        header
    }

    /// Returns the last line of a log in Zeek's ASCII form; `closed` stands behind `#close`.
    #[must_use]
    pub fn tsv_footer(closed: &str) -> String {
        let mut footer = String::new();
        super::tsv::write_footer(closed, &mut footer);
        footer
    }

    /// Tells whether records of the one fit the other: the same log with the same fields.
    #[must_use]
    pub(super) fn has_records_of(&self, other: &Self) -> bool {
        self.stream == other.stream
            && self.writer == other.writer
            && self.path() == other.path()
            && self.fields == other.fields
    }

    pub(super) fn read(create: &LogCreate<'_>) -> Result<Self, SchemaError> {
        let parts = Parts {
            stream: String::from_utf8_lossy(create.stream()).into_owned(),
        };
        let info = parts.info(create.info())?;
        let list = create.fields();
        parts.check(list, list.kind() == Kind::Vector, "a vector", || {
            "field list".into()
        })?;
        let fields = list
            .elements()
            .enumerate()
            .map(|(index, field)| parts.field(field, index))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            writer: String::from_utf8_lossy(create.writer()).into_owned(),
            info,
            fields,
            stream: parts.stream,
        })
    }
}

/// Reads the parts of a field list and names the bad ones.
struct Parts {
    stream: String,
}

impl Parts {
    fn check(
        &self,
        found: View<'_>,
        is_good: bool,
        expected: &'static str,
        part: impl FnOnce() -> String,
    ) -> Result<(), SchemaError> {
        if is_good {
            return Ok(());
        }
        Err(SchemaError::Part {
            stream: self.stream.clone(),
            part: part(),
            expected,
            found: found.kind(),
        })
    }

    /// The elements of a vector with a least length; a missing element reads as none.
    fn text(&self, view: View<'_>, part: impl FnOnce() -> String) -> Result<String, SchemaError> {
        self.check(view, view.kind() == Kind::String, "a string", part)?;
        let bytes = view.as_bytes().unwrap_or_default();
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn info(&self, info: View<'_>) -> Result<WriterInfo, SchemaError> {
        let mut parts = info.elements();
        let mut next = || parts.next().unwrap_or(NONE);
        // Only the path is needed to make sense of records. Whatever else is not as Zeek sends it
        // is left at its default.
        Ok(WriterInfo {
            path: self.text(next(), || "path of the writer info".into())?,
            rotation_base: next().as_real().unwrap_or_default(),
            rotation_interval: next().as_real().unwrap_or_default(),
            network_time: next().as_real().unwrap_or_default(),
            config: next()
                .entries()
                .filter(|(key, value)| is_string(*key) && is_string(*value))
                .map(|(key, value)| (lossy(key), lossy(value)))
                .collect(),
            post_processor: lossy(next()),
        })
    }

    fn field(&self, field: View<'_>, index: usize) -> Result<Field, SchemaError> {
        let part = |what: &str| format!("{what} of field {index}");
        self.check(field, field.kind() == Kind::Vector, "a vector", || {
            format!("field {index}")
        })?;
        let mut parts = field.elements();
        let mut next = || parts.next().unwrap_or(NONE);
        let name = self.text(next(), || part("name"))?;
        let secondary = next();
        let secondary_name = match secondary.kind() {
            Kind::None => None,
            _ => Some(self.text(secondary, || part("secondary name"))?),
        };
        let mut kind = |what: &str| -> Result<ZeekType, SchemaError> {
            let view = next();
            let number = view.as_count();
            self.check(view, number.is_some(), "a count", || part(what))?;
            let number = number.unwrap_or_default();
            ZeekType::from_number(number).ok_or_else(|| SchemaError::Type {
                stream: self.stream.clone(),
                field: name.clone(),
                found: number,
            })
        };
        let (kind, element_kind) = (kind("type")?, kind("subtype")?);
        let optional = next();
        let is_optional = optional.as_bool();
        self.check(optional, is_optional.is_some(), "a boolean", || {
            part("optionality")
        })?;
        Ok(Field {
            name,
            secondary_name,
            kind,
            element_kind,
            is_optional: is_optional.unwrap_or_default(),
        })
    }
}

/// Stands for an element that is missing.
const NONE: View<'static> = View::trusted(&[0]);

fn is_string(view: View<'_>) -> bool {
    view.kind() == Kind::String
}

fn lossy(view: View<'_>) -> String {
    String::from_utf8_lossy(view.as_bytes().unwrap_or_default()).into_owned()
}

impl Source for Schema {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.vector(3, |enc| {
            enc.count(VERSION);
            enc.count(MessageKind::LogCreate.number());
            enc.vector(4, |enc| {
                enc.enum_value(self.stream.as_bytes())?;
                enc.enum_value(self.writer.as_bytes())?;
                enc.encode(&self.info)?;
                enc.encode(&self.fields)
            })
        })
    }
}

impl Source for WriterInfo {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.vector(6, |enc| {
            enc.encode(&self.path)?;
            enc.real(self.rotation_base);
            enc.real(self.rotation_interval);
            enc.real(self.network_time);
            enc.table(|table| {
                self.config.iter().try_for_each(|(key, value)| {
                    table.entry(|enc| enc.encode(key), |enc| enc.encode(value))
                })
            })?;
            enc.encode(&self.post_processor)
        })
    }
}

impl Source for Field {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.encode(&(
            &self.name,
            &self.secondary_name,
            self.kind.number(),
            self.element_kind.number(),
            self.is_optional,
        ))
    }
}

#[cfg(test)]
mod tests {
    use broker_data::{Value, to_bytes};

    use super::*;
    use crate::Message;

    fn read(bytes: &[u8]) -> Result<Schema, SchemaError> {
        match Message::parse(View::new(bytes).unwrap()) {
            Message::LogCreate(create) => create.schema(),
            other => panic!("{other:?}"),
        }
    }

    fn schema() -> Schema {
        let info = WriterInfo {
            path: "demo".into(),
            rotation_interval: 3600.0,
            config: BTreeMap::from([("a".into(), "b".into())]),
            post_processor: "f".into(),
            ..WriterInfo::default()
        };
        let fields = vec![
            Field {
                is_optional: false,
                ..Field::new("ts", ZeekType::Time)
            },
            Field {
                secondary_name: Some("other".into()),
                ..Field::of("tags", ZeekType::Table, ZeekType::String)
            },
        ];
        Schema::new("Demo::LOG", "Log::WRITER_ASCII", info, fields)
    }

    #[test]
    fn a_schema_becomes_its_announcement_and_comes_back() {
        let bytes = to_bytes(&schema()).unwrap();
        assert_eq!(
            View::new(&bytes).unwrap().to_string(),
            "(1, 2, (Demo::LOG, Log::WRITER_ASCII, (demo, 0.000000, 3600.000000, 0.000000, \
             {a -> b}, f), ((ts, nil, 5, 0, F), (tags, other, 14, 7, T))))"
        );
        assert_eq!(read(&bytes), Ok(schema()));
        assert_eq!(schema().position("tags"), Some(1));
        assert_eq!(schema().position("no"), None);
        assert_eq!(schema().fields()[1].type_name(), "set[string]");
        assert_eq!(schema().fields()[0].type_name(), "time");
    }

    #[test]
    fn types_and_numbers_are_one_to_one() {
        for (number, kind) in (0..).zip(ZeekType::ALL) {
            assert_eq!(u64::from(kind.number()), number);
            assert_eq!(ZeekType::from_number(number), Some(kind));
        }
        assert_eq!(ZeekType::from_number(23), None);
    }

    #[test]
    fn bad_parts_are_named() {
        let message = |info: Value, fields: Value| {
            let stream = broker_data::EnumValue::new("Demo::LOG");
            let bytes = to_bytes(&(1_u64, 2_u64, (&stream, &stream, info, fields))).unwrap();
            read(&bytes).map_err(|error| error.to_string())
        };
        let info = || Value::from(vec![Value::from("demo")]);
        let field = |parts: Vec<Value>| Value::Vector(vec![Value::Vector(parts)]);
        assert_eq!(
            message(5_u64.into(), Value::None).unwrap_err(),
            "log create for `Demo::LOG`: expected a string as path of the writer info, found none"
        );
        assert_eq!(
            message(info(), Value::None).unwrap_err(),
            "log create for `Demo::LOG`: expected a vector as field list, found none"
        );
        assert_eq!(
            message(info(), vec![1_u64].into()).unwrap_err(),
            "log create for `Demo::LOG`: expected a vector as field 0, found count"
        );
        assert_eq!(
            message(info(), field(vec!["ts".into(), Value::None, 5_i64.into()])).unwrap_err(),
            "log create for `Demo::LOG`: expected a count as type of field 0, found integer"
        );
        assert_eq!(
            message(info(), field(vec!["ts".into(), Value::None, 23_u64.into()])).unwrap_err(),
            "log create for `Demo::LOG`: expected a type from 0 to 22 for field `ts`, found 23"
        );
        assert!(message(info(), Value::Vector(vec![])).is_ok());
    }
}
