//! Parts of a message by name, for `--where` and `--format`: `name`, `args[0]`, `value[2][1]`.

use broker::data::json::{self, Form};
use broker::{Timestamp, Value, View};

use crate::condition::{self, Side};
use crate::incoming::Incoming;
use crate::literal::{LiteralError, Parser};

/// What a path begins at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    /// When the message came.
    Time,
    Topic,
    /// Name of the event.
    Name,
    /// Arguments of the event.
    Args,
    /// Metadata of the event, by its keys.
    Meta,
    /// The whole value.
    Value,
    /// The whole value as JSON.
    Json,
}

const ROOTS: [(&str, Root); 7] = [
    ("time", Root::Time),
    ("topic", Root::Topic),
    ("name", Root::Name),
    ("args", Root::Args),
    ("meta", Root::Meta),
    ("value", Root::Value),
    ("json", Root::Json),
];

/// Names that paths begin with.
pub(crate) const NAMES: &str = "time, topic, name, args[N], meta[KEY], value, value[N], json";

/// A part of a message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path {
    pub(crate) root: Root,
    keys: Vec<Value>,
}

/// What is there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part<'a> {
    Time(Timestamp),
    /// A topic or a name.
    Text(&'a [u8]),
    Value(View<'a>),
    Json(String),
}

impl Part<'_> {
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Time(time) => Value::Timestamp(*time),
            Self::Text(bytes) => Value::String((*bytes).into()),
            Self::Value(view) => view.to_value(),
            Self::Json(text) => Value::from(text.as_str()),
        }
    }
}

impl Path {
    /// Reads a path at a byte of a text; returns it with the byte behind it, or nothing if none of
    /// the names stands there.
    ///
    /// # Errors
    ///
    /// When an index is wrong.
    pub(crate) fn read(text: &str, at: usize) -> Result<Option<(Self, usize)>, LiteralError> {
        let rest = text.get(at..).unwrap_or_default();
        let word_end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let word = rest.get(..word_end).unwrap_or_default();
        let Some((_, root)) = ROOTS.iter().find(|(name, _)| *name == word) else {
            return Ok(None);
        };
        // `name::x` and `topic-a` are words.
        let behind = rest.get(word_end..).unwrap_or_default().chars().next();
        if behind.is_some_and(|c| matches!(c, ':' | '-' | '/' | '.')) {
            return Ok(None);
        }
        let mut path = Self {
            root: *root,
            keys: Vec::new(),
        };
        let mut end = at + word_end;
        while text.get(end..).unwrap_or_default().starts_with('[') {
            let mut parser = Parser::new(text, end + 1);
            path.keys.push(parser.index()?);
            end = parser.position();
        }
        let takes_index = matches!(path.root, Root::Args | Root::Meta | Root::Value);
        if !takes_index && !path.keys.is_empty() {
            let what = format!("`{word}` has no parts");
            return Err(LiteralError::new(text, at, end - at, what));
        }
        Ok(Some((path, end)))
    }

    /// Looks the part up as a value.
    pub(crate) fn value(&self, message: &Incoming<'_>) -> Option<Value> {
        self.find(message).map(|part| part.to_value())
    }

    /// Looks the part up.
    pub(crate) fn find<'a>(&self, message: &Incoming<'a>) -> Option<Part<'a>> {
        let mut keys = self.keys.as_slice();
        let start = match self.root {
            Root::Time => return Some(Part::Time(message.time)),
            Root::Topic => return Some(Part::Text(message.topic)),
            Root::Name => return Some(Part::Text(message.event?.name())),
            Root::Json => {
                let text = json::to_text(message.value.bytes(), Form::Lossless);
                return text.ok().map(Part::Json);
            }
            Root::Args => message.event?.arguments(),
            Root::Value => message.value,
            Root::Meta => match keys.split_first() {
                None => message.event?.raw_metadata()?,
                Some((key, rest)) => {
                    keys = rest;
                    message.event?.metadata_value(number(key)?)?
                }
            },
        };
        keys.iter()
            .try_fold(start, |view, key| element(view, key))
            .map(Part::Value)
    }
}

impl condition::Part for Path {
    const NAMES: &'static str = NAMES;

    fn read(text: &str, at: usize, _: Side) -> Result<Option<(Self, usize)>, LiteralError> {
        Self::read(text, at)
    }
}

/// A key as a number.
fn number(key: &Value) -> Option<u64> {
    match key {
        Value::Count(number) => Some(*number),
        Value::Integer(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// An element of a vector by its number, or of a table by its key.
fn element<'a>(view: View<'a>, key: &Value) -> Option<View<'a>> {
    if view.kind() == broker::Kind::Vector {
        return view.get(usize::try_from(number(key)?).ok()?);
    }
    let is_meant = |found: &View<'_>| {
        let found = found.to_value();
        found == *key || number(&found).is_some() && number(&found) == number(key)
    };
    view.entries()
        .find(|(found, _)| is_meant(found))
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use broker::data::to_bytes;
    use broker::zeek::EventBuilder;

    use super::*;
    use crate::literal;

    fn found(path: &str, written: &str) -> Option<String> {
        let value = literal::parse(written).expect("a value");
        let event = to_bytes(&EventBuilder::new("ev").argument(&value).metadata(200, "m"));
        let event = event.expect("an event");
        let view = View::new(&event).expect("an encoded value");
        let message = Incoming::new(Timestamp::EPOCH, b"/t", view);
        let (path, end) = Path::read(path, 0).expect(path).expect(path);
        assert!(end > 0);
        path.find(&message)
            .map(|part| literal::to_text(&part.to_value()))
    }

    #[test]
    fn parts_are_found_by_number_and_by_key() {
        for (path, value, expected) in [
            ("name", "1", Some("\"ev\"")),
            ("topic", "1", Some("\"/t\"")),
            ("time", "1", Some("1970-01-01T00:00:00Z")),
            ("args[0]", "5c", Some("5c")),
            ("args", "5c", Some("[5c]")),
            ("args[1]", "5c", None),
            ("args[0][1]", "[a, b]", Some("\"b\"")),
            ("args[0][\"k\"]", "{k: {2c: x}}", Some("{2c: \"x\"}")),
            ("args[0][k][2]", "{k: {2c: x}}", Some("\"x\"")),
            ("args[0][0]", "{k: 1}", None),
            ("args[-1]", "1", None),
            ("meta[200]", "1", Some("\"m\"")),
            ("meta[201]", "1", None),
            ("value[1]", "1", Some("1c")),
        ] {
            assert_eq!(found(path, value).as_deref(), expected, "{path} of {value}");
        }
    }

    #[test]
    fn other_words_are_no_paths() {
        for text in ["names", "name::x", "arg[0]", "time-out", "\"name\"", ""] {
            assert_eq!(Path::read(text, 0), Ok(None), "{text}");
        }
        for text in ["args[", "args[]", "args[1", "name[0]"] {
            assert!(Path::read(text, 0).is_err(), "{text}");
        }
    }
}
