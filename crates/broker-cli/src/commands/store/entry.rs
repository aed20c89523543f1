//! Entries as lines.

use broker::data::json::{self, Form};
use broker::data::to_bytes;
use broker::{Timestamp, Value, View};

use crate::console::Console;
use crate::literal;
use crate::outcome::Failure;

/// An entry of a store.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: Value,
    pub(super) value: Value,
    /// When it is removed, if that is so and known.
    pub(super) expiry: Option<Timestamp>,
}

impl Entry {
    /// Prints it in the form that was asked for.
    pub(super) fn put(&self, console: &mut Console) -> Result<(), Failure> {
        if console.is_json() {
            self.put_json(console.buffer())?;
            console.spill()?;
            return Ok(());
        }
        let label = console.palette().name;
        let (key, value) = (literal::to_text(&self.key), literal::to_text(&self.value));
        match self.expiry {
            None => console.line(format_args!("{label}{key}{label:#}: {value}")),
            Some(expiry) => {
                let expiry = literal::to_text(&Value::Timestamp(expiry));
                console.line(format_args!(
                    "{label}{key}{label:#}: {value}  (until {expiry})"
                ))
            }
        }
    }

    /// Appends it as a vector of key, value and, if it expires, the time. See `schema/store.json`.
    pub(super) fn put_json(&self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let mut parts = vec![self.key.clone(), self.value.clone()];
        parts.extend(self.expiry.map(Value::Timestamp));
        let bytes = to_bytes(&Value::Vector(parts));
        let bytes = bytes.map_err(|error| Failure::failed(error.to_string()))?;
        let mut line = String::from("{\"type\":\"entry\",");
        let encoded = json::encode_fields(&bytes, Form::Lossless, &mut line);
        encoded.map_err(|error| Failure::failed(error.to_string()))?;
        line.push_str("}\n");
        out.extend_from_slice(line.as_bytes());
        Ok(())
    }

    /// Reads what [`Self::put_json`] writes.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the line.
    pub(super) fn of_json(line: &str) -> Result<Self, String> {
        let bytes =
            json::from_text(line.as_bytes(), Form::Lossless).map_err(|it| it.to_string())?;
        let view = View::new(&bytes).map_err(|it| it.to_string())?;
        let wrong = || "expected a vector of a key, a value and at most a timestamp".to_owned();
        let Value::Vector(parts) = view.to_value() else {
            return Err(wrong());
        };
        let mut parts = parts.into_iter();
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(key), Some(value), None, None) => Ok(Self {
                key,
                value,
                expiry: None,
            }),
            (Some(key), Some(value), Some(Value::Timestamp(expiry)), None) => Ok(Self {
                key,
                value,
                expiry: Some(expiry),
            }),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back() {
        for expiry in [None, Some(Timestamp::from_ns(5))] {
            let entry = Entry {
                key: Value::from("k"),
                value: literal::parse("{5c: [hex:00ff, none]}").expect("a value"),
                expiry,
            };
            let mut line = Vec::new();
            entry.put_json(&mut line).expect("a line");
            let line = String::from_utf8(line).expect("text");
            assert_eq!(Entry::of_json(line.trim_end()), Ok(entry));
        }
        for line in ["", "{}", "{\"@data-type\":\"count\",\"data\":5}"] {
            assert!(Entry::of_json(line).is_err(), "{line}");
        }
    }
}
