//! A message that came, with what is asked of it: its parts, as text, as JSON.

use broker::data::json::{self, Form};
use broker::zeek::{Event, Message};
use broker::{Timestamp, View};

use crate::console::Palette;
use crate::literal;

/// Columns that topics of different length are aligned to, at most.
const TOPIC_WIDTH_MAX: usize = 32;

/// Characters of a time: up to microseconds, which is what a clock tells.
const TIME_LENGTH: usize = "2026-01-02T03:04:05.123456".len();

/// A message and when it was taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub(crate) time: Timestamp,
    pub(crate) topic: &'a [u8],
    pub(crate) value: View<'a>,
    /// The event in it, if it is one.
    pub(crate) event: Option<Event<'a>>,
}

impl<'a> Incoming<'a> {
    pub(crate) fn new(time: Timestamp, topic: &'a [u8], value: View<'a>) -> Self {
        let event = match Message::parse(value) {
            Message::Event(event) => Some(event),
            _ => None,
        };
        Self {
            time,
            topic,
            value,
            event,
        }
    }

    /// Appends a line of text: time, topic, then the event or the value.
    pub(crate) fn put_line(&self, out: &mut Vec<u8>, layout: &mut Layout) {
        let palette = layout.palette;
        layout.put_time(out, self.time);
        out.push(b' ');
        put_styled(out, palette.topic, |out| put_topic(out, self.topic));
        let width = self.topic.len().min(TOPIC_WIDTH_MAX);
        layout.topic_width = layout.topic_width.max(width);
        out.resize(out.len() + 1 + layout.topic_width - width, b' ');
        match &self.event {
            Some(event) => {
                put_styled(out, palette.name, |out| put_name(out, event.name()));
                out.push(b'(');
                literal::write_elements(out, event.arguments());
                out.push(b')');
                if layout.with_metadata {
                    put_metadata(out, event);
                }
            }
            None => literal::write(out, self.value),
        }
        out.push(b'\n');
    }

    /// Appends an object in the form of WebSocket clients, with the time and the name of the event.
    /// See `schema/sub.json`.
    pub(crate) fn put_json(&self, out: &mut Vec<u8>, scratch: &mut String) {
        scratch.clear();
        scratch.push_str("{\"type\":\"data-message\",\"time\":\"");
        json::put_timestamp(scratch, self.time, Form::Lossless);
        scratch.push_str("Z\",\"topic\":");
        json::put_text(scratch, self.topic, Form::Lossless);
        if let Some(event) = &self.event {
            scratch.push_str(",\"event\":");
            json::put_text(scratch, event.name(), Form::Lossless);
        }
        scratch.push(',');
        // It was validated when it came.
        let _ = json::encode_fields(self.value.bytes(), Form::Lossless, scratch);
        scratch.push_str("}\n");
        out.extend_from_slice(scratch.as_bytes());
    }
}

fn put_styled(out: &mut Vec<u8>, style: anstyle::Style, put: impl FnOnce(&mut Vec<u8>)) {
    use std::io::Write as _;
    if style.is_plain() {
        return put(out);
    }
    let _ = write!(out, "{style}");
    put(out);
    let _ = write!(out, "{style:#}");
}

/// A topic as it is; in quotes if there is something in it that a line cannot have.
pub(crate) fn put_topic(out: &mut Vec<u8>, topic: &[u8]) {
    if !topic.is_empty() && topic.iter().all(u8::is_ascii_graphic) {
        out.extend_from_slice(topic)
    } else {
        literal::write_string(out, topic)
    }
}

fn put_name(out: &mut Vec<u8>, name: &[u8]) {
    put_topic(out, name);
}

/// ` {1: 2026-01-02T03:04:05Z}`, as a table; keys that repeat stay.
fn put_metadata(out: &mut Vec<u8>, event: &Event<'_>) {
    use std::io::Write as _;
    out.extend_from_slice(b" {");
    for (index, (key, value)) in event.metadata().enumerate() {
        let between = if index > 0 { ", " } else { "" };
        let _ = write!(out, "{between}{key}c: ");
        literal::write(out, value);
    }
    out.push(b'}');
}

/// How lines of text look.
#[derive(Debug)]
pub(crate) struct Layout {
    palette: Palette,
    with_metadata: bool,
    topic_width: usize,
    /// The time that was written last, and how: many messages come at the same time.
    last_time: Option<(Timestamp, String)>,
}

impl Layout {
    pub(crate) fn new(palette: Palette, with_metadata: bool) -> Self {
        Self {
            palette,
            with_metadata,
            topic_width: 0,
            last_time: None,
        }
    }

    fn put_time(&mut self, out: &mut Vec<u8>, time: Timestamp) {
        if self
            .last_time
            .as_ref()
            .is_none_or(|(last, _)| *last != time)
        {
            let text = time_text(time);
            self.last_time = Some((time, text));
        }
        if let Some((_, text)) = &self.last_time {
            put_styled(out, self.palette.time, |out| {
                out.extend_from_slice(text.as_bytes());
            });
        }
    }
}

/// A time with microseconds.
pub(crate) fn time_text(time: Timestamp) -> String {
    let mut text = String::with_capacity(32);
    json::put_timestamp(&mut text, time, Form::Lossless);
    text.truncate(TIME_LENGTH);
    text.push('Z');
    text
}

#[cfg(test)]
mod tests {
    use broker::data::to_bytes;
    use broker::zeek::EventBuilder;

    use super::*;
    use crate::console::Console;

    fn line(topic: &[u8], bytes: &[u8], with_metadata: bool) -> String {
        let palette = Console::new(std::io::empty(), Vec::new(), Vec::new()).palette();
        let view = View::new(bytes).expect("an encoded value");
        let message = Incoming::new(Timestamp::from_ns(1_500_000_001), topic, view);
        let mut out = Vec::new();
        message.put_line(&mut out, &mut Layout::new(palette, with_metadata));
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn events_look_like_calls_and_other_values_like_values() {
        let event = EventBuilder::new("Log::x").argument("a\"").argument(&5u64);
        let event = to_bytes(&event.network_time(Timestamp::EPOCH)).expect("an event");
        let start = "1970-01-01T00:00:01.500000Z";
        assert_eq!(
            line(b"/t", &event, true),
            format!("{start} /t Log::x(\"a\\\"\", 5c) {{1c: 1970-01-01T00:00:00Z}}\n")
        );
        assert_eq!(
            line(b"/t", &event, false),
            format!("{start} /t Log::x(\"a\\\"\", 5c)\n")
        );
        let value = to_bytes(&(1u64, -1i64)).expect("a value");
        assert_eq!(
            line(b"a b\n", &value, true),
            format!("{start} \"a b\\n\" [1c, -1]\n")
        );
    }

    #[test]
    fn json_is_that_of_websocket_clients() {
        let bytes = to_bytes(&EventBuilder::new("x").argument(&1u64)).expect("an event");
        let view = View::new(&bytes).expect("an encoded value");
        let message = Incoming::new(Timestamp::EPOCH, b"\xff", view);
        let mut out = Vec::new();
        message.put_json(&mut out, &mut String::new());
        let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(json["type"], "data-message");
        assert_eq!(json["event"], "x");
        assert_eq!(json["topic"]["hex"], "ff");
        let payload = json::from_text(&out, Form::Lossless).expect("a value");
        assert_eq!(payload, bytes);
    }
}
