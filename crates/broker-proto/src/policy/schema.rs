//! Events by name with the types of their arguments, and whether an event fits.
//!
//! The text has a declaration for each event, as scripts of Zeek write them, without types that scripts
//! define:
//!
//! ```text
//! # Comments go to the end of a line.
//! NetControl::add_rule(id: string, hosts: set[addr], rule: record(name: string, cost: count &optional))
//! global NetControl::removed: event(id: string);
//! NetControl::other(...)
//! ```
//!
//! `...` stands for any arguments. Types are `any`, `bool`, `count`, `int`, `double`, `time`, `interval`,
//! `string`, `pattern`, `addr`, `subnet`, `port`, `enum`, `vector of T`, `set[T, ...]`,
//! `table[T, ...] of T` and `record`, with or without its fields. Spec: zeek 2.1.

use std::collections::BTreeMap;
use std::fmt;

use broker_data::{Kind, View};

/// Types inside of one another: more than people write.
const DEPTH_MAX: usize = 16;

/// Arguments of one event, and fields of one record.
const FIELDS_MAX: usize = 256;

/// Events with their arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// Bound: what the file has. `None` for any arguments.
    events: BTreeMap<Box<[u8]>, Option<Vec<Field>>>,
}

/// An argument, or a field of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    name: Box<str>,
    kind: Type,
    is_optional: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Type {
    Any,
    /// What is one kind of value by itself, with its name in Zeek.
    Plain(Kind, &'static str),
    /// Two strings.
    Pattern,
    Vector(Box<Type>),
    Set(Vec<Type>),
    Table(Vec<Type>, Box<Type>),
    Record(Option<Vec<Field>>),
}

/// Names of Zeek for what is one kind of value.
const PLAIN: [(&str, Kind); 11] = [
    ("bool", Kind::Boolean),
    ("count", Kind::Count),
    ("int", Kind::Integer),
    ("double", Kind::Real),
    ("time", Kind::Timestamp),
    ("interval", Kind::Timespan),
    ("string", Kind::String),
    ("addr", Kind::Address),
    ("subnet", Kind::Subnet),
    ("port", Kind::Port),
    ("enum", Kind::EnumValue),
];

/// Why a text is no schema, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct SchemaError {
    /// The byte where it begins.
    pub offset: usize,
    /// What is wrong.
    pub cause: String,
}

/// Why an event does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misfit {
    /// The schema does not have it.
    Unknown,
    /// It has that many arguments more or less.
    Arguments {
        /// How many came.
        count: usize,
        /// What was expected, with names and types.
        expected: Box<str>,
    },
    /// One of them is something else.
    Argument {
        /// Which; the first is 1.
        number: usize,
        /// Its name in the schema.
        name: Box<str>,
        /// The type that was expected.
        expected: Box<str>,
        /// What came, by the name that clients use.
        got: Kind,
        /// Whether that is not the argument itself, but something in it.
        is_within: bool,
    },
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("the schema has no such event"),
            Self::Arguments { count, expected } => {
                write!(f, "arguments: expected ({expected}), got {count}")
            }
            Self::Argument {
                number,
                name,
                expected,
                got,
                is_within,
            } => {
                let within = if *is_within { " in it" } else { "" };
                write!(
                    f,
                    "argument {number}, {name}: expected {expected}, got {got}{within}"
                )
            }
        }
    }
}

impl Schema {
    /// Reads a text.
    ///
    /// # Errors
    ///
    /// The first thing that makes no sense, with its place.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        let mut parser = Parser { text, at: 0 };
        let mut schema = Self::default();
        while !parser.is_at_end() {
            let (name, start, fields) = parser.declaration()?;
            if schema
                .events
                .insert(name.as_bytes().into(), fields)
                .is_some()
            {
                return Err(SchemaError {
                    offset: start,
                    cause: format!("there is a second `{name}`"),
                });
            }
        }
        Ok(schema)
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there is no event, so that none fits.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether an event fits, whose arguments are the elements of a vector.
    ///
    /// # Errors
    ///
    /// What does not.
    pub fn check(&self, event: &[u8], arguments: View<'_>) -> Result<(), Misfit> {
        let Some(fields) = self.events.get(event) else {
            return Err(Misfit::Unknown);
        };
        let Some(fields) = fields else { return Ok(()) };
        if arguments.kind() != Kind::Vector || arguments.len() != fields.len() {
            return Err(Misfit::Arguments {
                count: arguments.len(),
                expected: text_of_fields(fields).into(),
            });
        }
        for (index, (field, value)) in fields.iter().zip(arguments.elements()).enumerate() {
            if let Err(got) = field.check(value) {
                return Err(Misfit::Argument {
                    number: index.saturating_add(1),
                    name: field.name.clone(),
                    expected: field.kind.to_string().into(),
                    got,
                    is_within: field.kind.can_be(value.kind()),
                });
            }
        }
        Ok(())
    }
}

impl Field {
    fn check(&self, value: View<'_>) -> Result<(), Kind> {
        if self.is_optional && value.is_none() {
            return Ok(());
        }
        self.kind.check(value)
    }
}

impl Type {
    /// Whether values of it are of this kind.
    fn can_be(&self, kind: Kind) -> bool {
        match self {
            // None is no value of any script, but as a field that is not set.
            Self::Any => kind != Kind::None,
            Self::Plain(own, _) => kind == *own,
            Self::Pattern | Self::Vector(_) | Self::Record(_) => kind == Kind::Vector,
            Self::Set(_) => kind == Kind::Set,
            Self::Table(..) => kind == Kind::Table,
        }
    }

    /// Says what is no value of this type, or of a type in it.
    fn check(&self, value: View<'_>) -> Result<(), Kind> {
        let kind = value.kind();
        if !self.can_be(kind) {
            return Err(kind);
        }
        match self {
            Self::Any | Self::Plain(..) | Self::Record(None) => Ok(()),
            Self::Pattern => {
                let string = Self::Plain(Kind::String, "string");
                of_length(value, 2)?;
                value.elements().try_for_each(|it| string.check(it))
            }
            Self::Vector(element) => value.elements().try_for_each(|it| element.check(it)),
            Self::Set(index) => value.elements().try_for_each(|it| check_index(index, it)),
            Self::Table(index, yields) => value.entries().try_for_each(|(key, value)| {
                check_index(index, key)?;
                yields.check(value)
            }),
            Self::Record(Some(fields)) => {
                of_length(value, fields.len())?;
                let mut both = fields.iter().zip(value.elements());
                both.try_for_each(|(field, value)| field.check(value))
            }
        }
    }
}

fn of_length(value: View<'_>, length: usize) -> Result<(), Kind> {
    if value.len() == length {
        Ok(())
    } else {
        Err(value.kind())
    }
}

/// One index type is the element itself, several are a vector of the parts.
fn check_index(index: &[Type], value: View<'_>) -> Result<(), Kind> {
    match index {
        [one] => one.check(value),
        parts => {
            if value.kind() != Kind::Vector {
                return Err(value.kind());
            }
            of_length(value, parts.len())?;
            let mut both = parts.iter().zip(value.elements());
            both.try_for_each(|(part, value)| part.check(value))
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Plain(_, name) => f.write_str(name),
            Self::Pattern => f.write_str("pattern"),
            Self::Vector(element) => write!(f, "vector of {element}"),
            Self::Set(index) => write!(f, "set[{}]", text_of_types(index)),
            Self::Table(index, yields) => write!(f, "table[{}] of {yields}", text_of_types(index)),
            Self::Record(None) => f.write_str("record"),
            Self::Record(Some(fields)) => write!(f, "record({})", text_of_fields(fields)),
        }
    }
}

fn text_of_types(types: &[Type]) -> String {
    let types: Vec<_> = types.iter().map(ToString::to_string).collect();
    types.join(", ")
}

fn text_of_fields(fields: &[Field]) -> String {
    let fields: Vec<_> = fields
        .iter()
        .map(|field| {
            let optional = if field.is_optional { " &optional" } else { "" };
            format!("{}: {}{optional}", field.name, field.kind)
        })
        .collect();
    fields.join(", ")
}

// --- the text --------------------------------------------------------------------------------------

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

type Declaration<'t> = (&'t str, usize, Option<Vec<Field>>);

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn advance(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.advance(rest.len().saturating_sub(trimmed.len()));
            if !trimmed.starts_with('#') {
                return;
            }
            self.advance(trimmed.find('\n').unwrap_or(trimmed.len()));
        }
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_blanks();
        self.rest().is_empty()
    }

    fn fails<T>(&mut self, cause: impl Into<String>) -> Result<T, SchemaError> {
        self.skip_blanks();
        Err(SchemaError {
            offset: self.at,
            cause: cause.into(),
        })
    }

    /// Takes a sign if it comes next.
    fn takes(&mut self, sign: &str) -> bool {
        self.skip_blanks();
        let is_next = self.rest().starts_with(sign);
        if is_next {
            self.advance(sign.len());
        }
        is_next
    }

    fn expects(&mut self, sign: &str) -> Result<(), SchemaError> {
        if self.takes(sign) {
            return Ok(());
        }
        self.fails(format!("expected `{sign}`"))
    }

    /// Takes a word: letters, digits and underscores, with `::` between them.
    fn word(&mut self) -> Option<&'t str> {
        self.skip_blanks();
        let rest = self.rest();
        let mut end = 0;
        while let Some(byte) = rest.as_bytes().get(end) {
            let behind = rest.get(end..).unwrap_or_default();
            if byte.is_ascii_alphanumeric() || *byte == b'_' {
                end = end.saturating_add(1);
            } else if end > 0 && behind.starts_with("::") {
                end = end.saturating_add(2);
            } else {
                break;
            }
        }
        let word = rest.get(..end).filter(|word| !word.is_empty())?;
        self.advance(end);
        Some(word)
    }

    fn declaration(&mut self) -> Result<Declaration<'t>, SchemaError> {
        let mut start = self.at;
        let mut word = self.word();
        if word == Some("global") || word == Some("event") {
            self.skip_blanks();
            start = self.at;
            word = self.word();
        }
        let Some(name) = word else {
            return self.fails("expected the name of an event");
        };
        if self.takes(":") {
            let is_event = self.word() == Some("event");
            if !is_event {
                return self.fails("expected `event`, and its arguments");
            }
        }
        self.expects("(")?;
        let fields = if self.takes("...") {
            self.expects(")")?;
            None
        } else {
            Some(self.fields(0)?)
        };
        self.takes(";");
        Ok((name, start, fields))
    }

    /// Takes arguments or fields, up to the end of the parentheses.
    fn fields(&mut self, depth: usize) -> Result<Vec<Field>, SchemaError> {
        let mut fields = Vec::new();
        while !self.takes(")") {
            if fields.len() >= FIELDS_MAX {
                return self.fails(format!("more than {FIELDS_MAX} of them"));
            }
            let Some(name) = self.word() else {
                return self.fails("expected the name of an argument");
            };
            self.expects(":")?;
            let kind = self.kind(depth)?;
            let is_optional = self.takes("&optional");
            fields.push(Field {
                name: name.into(),
                kind,
                is_optional,
            });
            if !self.takes(",") && !self.takes(";") {
                self.expects(")")?;
                break;
            }
        }
        Ok(fields)
    }

    fn kind(&mut self, depth: usize) -> Result<Type, SchemaError> {
        if depth >= DEPTH_MAX {
            return self.fails("too many types inside of one another");
        }
        let depth = depth.saturating_add(1);
        self.skip_blanks();
        let start = self.at;
        let Some(word) = self.word() else {
            return self.fails("expected a type");
        };
        if let Some((name, kind)) = PLAIN.into_iter().find(|(name, _)| *name == word) {
            return Ok(Type::Plain(kind, name));
        }
        match word {
            "any" => Ok(Type::Any),
            "pattern" => Ok(Type::Pattern),
            "vector" => Ok(Type::Vector(self.behind_of(depth)?)),
            "set" => Ok(Type::Set(self.index(depth)?)),
            "table" => Ok(Type::Table(self.index(depth)?, self.behind_of(depth)?)),
            "record" if self.takes("(") => Ok(Type::Record(Some(self.fields(depth)?))),
            "record" => Ok(Type::Record(None)),
            _ => Err(SchemaError {
                offset: start,
                cause: format!(
                    "unknown type `{word}`; what scripts define is written as `record`, `enum` or `any`"
                ),
            }),
        }
    }

    fn behind_of(&mut self, depth: usize) -> Result<Box<Type>, SchemaError> {
        if self.word() != Some("of") {
            return self.fails("expected `of` and a type");
        }
        Ok(Box::new(self.kind(depth)?))
    }

    fn index(&mut self, depth: usize) -> Result<Vec<Type>, SchemaError> {
        self.expects("[")?;
        let mut types = vec![self.kind(depth)?];
        while self.takes(",") {
            if types.len() >= FIELDS_MAX {
                return self.fails(format!("more than {FIELDS_MAX} of them"));
            }
            types.push(self.kind(depth)?);
        }
        self.expects("]")?;
        Ok(types)
    }
}

#[cfg(test)]
mod tests {
    use broker_data::{Value, to_bytes};
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "
# What the SOAR may say.
N::add(id: string, hosts: set[addr],
       rule: record(name: string, cost: count &optional))   # behind
global N::remove: event(id: string);
event N::none();
N::any(...)
N::types(a: bool, b: count, c: int, d: double, e: time, f: interval, g: enum, h: port, i: subnet, j: any)
N::nested(t: table[string, port] of vector of count, p: pattern, r: record)
";

    fn misfit(name: &str, arguments: Vec<Value>) -> Option<String> {
        let schema = Schema::parse(TEXT).unwrap();
        let bytes = to_bytes(&Value::from(arguments)).unwrap();
        let checked = schema.check(name.as_bytes(), View::new(&bytes).unwrap());
        checked.err().map(|misfit| misfit.to_string())
    }

    fn vector(elements: impl IntoIterator<Item = Value>) -> Value {
        Value::from(elements.into_iter().collect::<Vec<_>>())
    }

    fn set(elements: impl IntoIterator<Item = Value>) -> Value {
        Value::Set(elements.into_iter().collect())
    }

    #[test]
    fn events_fit_as_zeek_would_take_them() {
        let address = || Value::Address("192.0.2.1".parse().unwrap());
        let rule = |cost| vector([Value::from("r"), cost]);
        let add = |hosts: Value, rule: Value| misfit("N::add", vec![Value::from("1"), hosts, rule]);
        assert_eq!(add(set([address()]), rule(Value::Count(1))), None);
        assert_eq!(add(set([]), rule(Value::None)), None);
        assert_eq!(
            add(set([Value::from("x")]), rule(Value::None)).as_deref(),
            Some("argument 2, hosts: expected set[addr], got string in it")
        );
        assert_eq!(
            add(address(), rule(Value::None)).as_deref(),
            Some("argument 2, hosts: expected set[addr], got address")
        );
        let record = "record(name: string, cost: count &optional)";
        for (bad, got) in [
            (rule(Value::Integer(1)), "integer in it"),
            (vector([Value::from("r")]), "vector in it"),
            (vector([Value::None, Value::None]), "none in it"),
            (Value::None, "none"),
        ] {
            let expected = format!("argument 3, rule: expected {record}, got {got}");
            assert_eq!(add(set([]), bad), Some(expected));
        }
        assert_eq!(misfit("N::remove", vec![Value::from("1")]), None);
        assert_eq!(
            misfit("N::remove", vec![Value::Count(1)]).as_deref(),
            Some("argument 1, id: expected string, got count")
        );
        assert_eq!(
            misfit("N::remove", vec![]).as_deref(),
            Some("arguments: expected (id: string), got 0")
        );
        assert_eq!(misfit("N::none", vec![]), None);
        assert_eq!(
            misfit("N::none", vec![Value::Count(1)]).as_deref(),
            Some("arguments: expected (), got 1")
        );
        assert_eq!(misfit("N::any", vec![Value::None, Value::Count(1)]), None);
        for unknown in ["N::other", "n::add", "N::add\0", ""] {
            let expected = Some("the schema has no such event".to_owned());
            assert_eq!(misfit(unknown, vec![]), expected);
        }
        let nested = |key: Value, value: Value| {
            let table = Value::Table([(key, value)].into_iter().collect());
            let pattern = vector([Value::from("a"), Value::from("b")]);
            misfit("N::nested", vec![table, pattern, vector([])])
        };
        let key =
            |protocol: &str| vector([Value::from("k"), Value::Port(protocol.parse().unwrap())]);
        assert_eq!(nested(key("53/udp"), vector([Value::Count(1)])), None);
        assert!(
            nested(Value::from("k"), vector([]))
                .unwrap()
                .ends_with("got string in it")
        );
        assert!(
            nested(key("1/tcp"), vector([Value::None]))
                .unwrap()
                .ends_with("got none in it")
        );
    }

    #[test]
    fn what_makes_no_sense_has_a_place() {
        for (text, offset, cause) in [
            ("a(", 2, "expected the name of an argument"),
            ("a(x)", 3, "expected `:`"),
            ("a(x: string", 11, "expected `)`"),
            ("a(x: string y: count)", 12, "expected `)`"),
            (
                "a\n(x: Rule)",
                6,
                "unknown type `Rule`; what scripts define is written as `record`, `enum` or `any`",
            ),
            ("a(x: set)", 8, "expected `[`"),
            ("a(x: vector string)", 18, "expected `of` and a type"),
            ("a()\n# c\na()", 8, "there is a second `a`"),
            (
                "global a: count;",
                15,
                "expected `event`, and its arguments",
            ),
            ("a(..)", 2, "expected the name of an argument"),
            ("\u{e9}()", 0, "expected the name of an event"),
            ("a()}", 3, "expected the name of an event"),
        ] {
            let error = Schema::parse(text).unwrap_err();
            assert_eq!(
                (error.offset, error.cause.as_str()),
                (offset, cause),
                "{text}"
            );
        }
        let deep = format!("a(x: {}count)", "vector of ".repeat(DEPTH_MAX));
        assert!(Schema::parse(&deep).is_err());
        let deep = format!("a(x: {}count)", "vector of ".repeat(DEPTH_MAX - 1));
        assert_eq!(Schema::parse(&deep).unwrap().len(), 1);
        assert!(Schema::parse("# nothing\n").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_a_schema_or_an_error_within_it(text in "[a-c:(),. #\n\\[\\]&;]{0,40}|.{0,40}") {
            if let Err(error) = Schema::parse(&text) {
                prop_assert!(error.offset <= text.len() && text.is_char_boundary(error.offset));
            }
        }
    }
}
