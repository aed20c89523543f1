//! One record of the log: time, level, component, event, fields, and how that looks as a line.

use std::fmt::Write as _;
use std::sync::Arc;

use broker_data::Timestamp;
use broker_data::json::{self, Form};

use crate::config::Verbosity;
use crate::log::component::Component;

/// Bytes of one field at most; the rest is cut off. Reasons that a peer gave can be long.
pub(super) const FIELD_BYTES_MAX: usize = 1024;

/// Fields of one record at most: more than anything here has.
pub(super) const FIELDS_MAX: usize = 32;

/// The value of a field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// Text, which is quoted in lines.
    Text(String),
    /// Something that has a text form, quoted in lines only where it must be.
    Shown(String),
    /// A number, in decimal digits.
    Number(String),
    /// True or false.
    Boolean(bool),
}

impl Field {
    /// The value as text, without quotes.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(text) | Self::Shown(text) | Self::Number(text) => text,
            Self::Boolean(true) => "true",
            Self::Boolean(false) => "false",
        }
    }
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Format {
    /// `TIME LEVEL component event="name" field=value: message`
    #[default]
    Text,
    /// As text, with colours for terminals.
    Colored,
    /// An object of JSON: `time`, `level`, `component`, `event`, the fields, `message`.
    Json,
}

/// What was said once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// When.
    pub time: Timestamp,
    /// How much it matters.
    pub level: Verbosity,
    /// Who said it.
    pub component: Component,
    /// The stable name of what happened, such as `peer-added`; empty if it has none.
    pub event: String,
    /// What it is about: first those of the connection, then its own.
    pub fields: Vec<(Arc<str>, Field)>,
    /// A sentence for people, or nothing.
    pub message: String,
}

impl Record {
    /// Bytes that it holds, about.
    pub(super) fn size(&self) -> usize {
        let fields = self.fields.iter();
        let fields: usize = fields.map(|(_, field)| 48 + field.as_str().len()).sum();
        96 + self.event.len() + self.message.len() + fields
    }

    /// Event, fields and message in one line, as lines of the log have it behind time, level and component.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.put_text(&mut out);
        out
    }

    fn put_text(&self, out: &mut String) {
        let start = out.len();
        if !self.event.is_empty() {
            out.push_str("event=");
            quote(out, &self.event);
        }
        for (name, field) in &self.fields {
            if out.len() > start {
                out.push(' ');
            }
            let _ = write!(out, "{name}=");
            match field {
                Field::Text(text) => quote(out, text),
                Field::Shown(text) if text.is_empty() || text.contains(needs_quotes) => {
                    quote(out, text);
                }
                field => out.push_str(field.as_str()),
            }
        }
        if !self.message.is_empty() {
            if out.len() > start {
                out.push_str(": ");
            }
            escape(out, &self.message);
        }
    }

    /// Writes it as a line, with its end.
    pub fn put_line(&self, out: &mut String, format: Format) {
        let level = self.level.name();
        match format {
            Format::Text => {
                put_time(out, self.time);
                let _ = write!(out, " {level:7} {} ", self.component.name());
                self.put_text(out);
            }
            Format::Colored => {
                let color = match self.level {
                    Verbosity::Error => 31,
                    Verbosity::Warning => 33,
                    Verbosity::Info => 32,
                    Verbosity::Quiet | Verbosity::Debug | Verbosity::Trace => 34,
                };
                out.push_str("\x1b[2m");
                put_time(out, self.time);
                let component = self.component.name();
                let _ = write!(out, "\x1b[0m \x1b[{color}m{level:7}\x1b[0m {component} ");
                self.put_text(out);
            }
            Format::Json => self.put_json(out),
        }
        out.push('\n');
    }

    fn put_json(&self, out: &mut String) {
        out.push_str("{\"time\":\"");
        put_time(out, self.time);
        let _ = write!(
            out,
            "\",\"level\":\"{}\",\"component\":\"{}\",\"event\":",
            self.level.name(),
            self.component.name()
        );
        json::put_string(out, &self.event);
        for (index, (name, field)) in self.fields.iter().enumerate() {
            // Names of our own come first; of two with one name the last one counts.
            let is_ours = ["time", "level", "component", "event", "message"].contains(&&**name);
            let rest = self.fields.get(index + 1..).unwrap_or_default();
            if is_ours || rest.iter().any(|(later, _)| later == name) {
                continue;
            }
            out.push(',');
            json::put_string(out, name);
            out.push(':');
            match field {
                Field::Text(text) | Field::Shown(text) => json::put_string(out, text),
                field => out.push_str(field.as_str()),
            }
        }
        if !self.message.is_empty() {
            out.push_str(",\"message\":");
            json::put_string(out, &self.message);
        }
        out.push('}');
    }
}

fn put_time(out: &mut String, time: Timestamp) {
    /// Without what is below microseconds.
    const LENGTH: usize = "2026-01-02T03:04:05.123456".len();
    let start = out.len();
    json::put_timestamp(out, time, Form::Lossless);
    out.truncate(start + LENGTH);
    out.push('Z');
}

fn needs_quotes(sign: char) -> bool {
    sign.is_whitespace() || sign.is_control() || matches!(sign, '"' | '=' | '\\')
}

/// Writes text in quotes. What a stranger sent cannot begin a line, nor command a terminal.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for sign in text.chars() {
        match sign {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            sign => escape_sign(out, sign),
        }
    }
    out.push('"');
}

fn escape(out: &mut String, text: &str) {
    text.chars().for_each(|sign| escape_sign(out, sign));
}

fn escape_sign(out: &mut String, sign: char) {
    match sign {
        '\n' => out.push_str("\\n"),
        // Marks that change the direction of text can make a line look like another.
        '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            let _ = write!(out, "{}", sign.escape_unicode());
        }
        sign if sign.is_control() => {
            let _ = write!(out, "{}", sign.escape_default());
        }
        sign => out.push(sign),
    }
}

/// Cuts text to the limit of a field.
pub(super) fn cut(text: &mut String) {
    if text.len() > FIELD_BYTES_MAX {
        let end = (0..=FIELD_BYTES_MAX).rev();
        let end = end.into_iter().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            time: Timestamp::from_ns(1_700_000_000_123_456_789),
            level: Verbosity::Warning,
            component: Component::Peer,
            event: "dial-failed".to_owned(),
            fields: vec![
                ("host".into(), Field::Text("a \"b\"\n".to_owned())),
                ("port".into(), Field::Number("9999".to_owned())),
                ("address".into(), Field::Shown("[::1]:1".to_owned())),
                ("cause".into(), Field::Shown("no route\x1b[2J".to_owned())),
                ("again".into(), Field::Boolean(true)),
            ],
            message: "try\r\nlater".to_owned(),
        }
    }

    #[test]
    fn a_line_of_text() {
        let mut line = String::new();
        record().put_line(&mut line, Format::Text);
        assert_eq!(
            line,
            "2023-11-14T22:13:20.123456Z warning peer event=\"dial-failed\" host=\"a \\\"b\\\"\\n\" \
             port=9999 address=[::1]:1 cause=\"no route\\u{1b}[2J\" again=true: try\\r\\nlater\n"
        );
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn a_line_of_json() {
        let mut line = String::new();
        let mut record = record();
        record
            .fields
            .push(("port".into(), Field::Number("1".to_owned())));
        record.put_line(&mut line, Format::Json);
        assert_eq!(line.lines().count(), 1);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["level"], "warning");
        assert_eq!(read["component"], "peer");
        assert_eq!(read["event"], "dial-failed");
        assert_eq!(read["port"], 1);
        assert_eq!(read["again"], true);
        assert_eq!(read["host"], "a \"b\"\n");
        assert_eq!(read["message"], "try\r\nlater");
    }

    #[test]
    fn long_fields_are_cut_between_characters() {
        let mut text = "é".repeat(FIELD_BYTES_MAX);
        cut(&mut text);
        assert_eq!(text.len(), FIELD_BYTES_MAX + '…'.len_utf8());
    }
}
