//! Templates of `--format`: `{time} {name} {args[0]}`.

use crate::harmless::harmless_line;
use crate::incoming::{Incoming, time_text};
use crate::literal::{self, LiteralError};
use crate::path::{NAMES, Part, Path};

/// A text with parts of messages in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
    /// Whether texts of messages go to a terminal, which would do what they say.
    is_for_terminal: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Part(Path),
}

impl Template {
    /// Reads a template. `{{` and `}}` stand for braces, `\n`, `\t` and `\\` for what they always do.
    ///
    /// # Errors
    ///
    /// Says what is wrong and where.
    pub(crate) fn parse(text: &str) -> Result<Self, LiteralError> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut at = 0;
        while let Some(sign) = text.get(at..).unwrap_or_default().chars().next() {
            let next = text.get(at + sign.len_utf8()..).unwrap_or_default();
            let next = next.chars().next();
            match (sign, next) {
                ('{', Some('{')) | ('}', Some('}')) => {
                    plain.push(sign);
                    at += 2;
                }
                ('\\', Some(escaped @ ('n' | 't' | '\\'))) => {
                    plain.push(match escaped {
                        'n' => '\n',
                        't' => '\t',
                        other => other,
                    });
                    at += 2;
                }
                ('{', _) => {
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    let (path, end) = part(text, at)?;
                    pieces.push(Piece::Part(path));
                    at = end;
                }
                ('}', _) => {
                    let error = LiteralError::new(text, at, 1, "expected `{` before `}`");
                    return Err(error.hint("a brace is written twice: `}}`"));
                }
                _ => {
                    plain.push(sign);
                    at += sign.len_utf8();
                }
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self {
            pieces,
            is_for_terminal: false,
        })
    }

    /// Has texts of messages written so that a terminal does not act on them.
    pub(crate) fn for_terminal(self, is_for_terminal: bool) -> Self {
        Self {
            is_for_terminal,
            ..self
        }
    }

    /// Appends the text for a message. What a message does not have is left out. A text by itself is
    /// written as it is, unless it is for a terminal; inside of other values it is in quotes.
    pub(crate) fn put(&self, out: &mut Vec<u8>, message: &Incoming<'_>) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Part(path) => {
                    if let Some(part) = path.find(message) {
                        self.put_part(out, &part);
                    }
                }
            }
        }
        out.push(b'\n');
    }

    fn put_part(&self, out: &mut Vec<u8>, part: &Part<'_>) {
        match part {
            Part::Time(time) => out.extend_from_slice(time_text(*time).as_bytes()),
            Part::Text(bytes) => self.put_text(out, bytes),
            Part::Json(text) => out.extend_from_slice(text.as_bytes()),
            Part::Value(view) => match (view.as_bytes(), view.as_enum()) {
                (Some(bytes), _) | (_, Some(bytes)) => self.put_text(out, bytes),
                _ => literal::write(out, *view),
            },
        }
    }

    fn put_text(&self, out: &mut Vec<u8>, bytes: &[u8]) {
        if self.is_for_terminal {
            let text = harmless_line(&String::from_utf8_lossy(bytes));
            out.extend_from_slice(text.as_bytes());
        } else {
            out.extend_from_slice(bytes);
        }
    }
}

/// The path between braces and the byte behind it.
fn part(text: &str, at: usize) -> Result<(Path, usize), LiteralError> {
    let rest = text.get(at..).unwrap_or_default();
    let length = rest.find('}').map_or(rest.len(), |end| end + 1);
    let Some((path, end)) = Path::read(text, at + 1)? else {
        let error = LiteralError::new(text, at, length, "expected the name of a part");
        return Err(error.hint(format!(
            "the parts are {NAMES}; a brace is written twice: `{{{{`"
        )));
    };
    if text.get(end..).unwrap_or_default().starts_with('}') {
        Ok((path, end + 1))
    } else {
        Err(LiteralError::new(text, end, 0, "expected `}`"))
    }
}

#[cfg(test)]
mod tests {
    use broker::data::to_bytes;
    use broker::zeek::EventBuilder;
    use broker::{Timestamp, View};
    use proptest::prelude::*;

    use super::*;

    fn shown(template: &str) -> String {
        let event = EventBuilder::new("ev")
            .argument("a b")
            .argument(&("x", 1u64));
        let event = to_bytes(&event).expect("an event");
        let view = View::new(&event).expect("an encoded value");
        let message = Incoming::new(Timestamp::EPOCH, b"/t", view);
        let mut out = Vec::new();
        Template::parse(template)
            .expect(template)
            .put(&mut out, &message);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn parts_stand_in_for_their_names() {
        for (template, expected) in [
            ("{topic} {name}: {args[0]}", "/t ev: a b\n"),
            ("{args[1]}|{args[1][1]}|{args[7]}|", "[\"x\", 1c]|1c||\n"),
            (
                "{time}\\t{{}}\\n\\\\é",
                "1970-01-01T00:00:00.000000Z\t{}\n\\é\n",
            ),
            ("", "\n"),
        ] {
            assert_eq!(shown(template), expected, "{template}");
        }
        assert!(shown("{json}").contains("\"@data-type\":\"vector\""));
    }

    #[test]
    fn texts_command_no_terminal() {
        let event = EventBuilder::new("ev").argument("\u{1b}[8m\nx");
        let event = to_bytes(&event).expect("an event");
        let view = View::new(&event).expect("an encoded value");
        let message = Incoming::new(Timestamp::EPOCH, b"/\x1b[2J", view);
        for (is_for_terminal, expected) in [
            (false, "/\u{1b}[2J \u{1b}[8m\nx\n"),
            (true, "/\\u{1b}[2J \\u{1b}[8m\\nx\n"),
        ] {
            let mut out = Vec::new();
            let template = Template::parse("{topic} {args[0]}").expect("a template");
            template
                .for_terminal(is_for_terminal)
                .put(&mut out, &message);
            assert_eq!(String::from_utf8(out).expect("text"), expected);
        }
    }

    #[test]
    fn a_wrong_template_is_shown_with_its_place() {
        for (template, excerpt) in [
            ("{topic} {nme}", "{topic} {nme}\n        ^^^^^"),
            ("{topic", "{topic\n      ^"),
            ("a}", "a}\n ^"),
            ("{args[x,]}", "{args[x,]}\n       ^"),
        ] {
            let error = Template::parse(template).expect_err(template);
            assert_eq!(error.excerpt(), excerpt, "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?:[{}\\\\a-z\\[\\]0-9\" é]|args|\\{name\\}){0,16}") {
            if let Err(error) = Template::parse(&text) {
                prop_assert!(!error.excerpt().is_empty());
            }
        }

        #[test]
        fn text_with_doubled_braces_stands_for_itself(text in "[a-z{} ]{0,20}") {
            let template = text.replace('{', "{{").replace('}', "}}");
            prop_assert_eq!(shown(&template), text + "\n");
        }
    }
}
