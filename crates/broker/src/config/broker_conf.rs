//! The original's configuration files and the values in them. Spec: tools 1.2.
//!
//! It only reads text: what the options mean is the business of those who have them, as
//! [`Options::with_configuration_file`](crate::Options::with_configuration_file) has.
//!
//! ```
//! let text = "broker {\n  metrics { port = \"9911/tcp\" }\n}";
//! let entries = broker::broker_conf::parse(text)?;
//! assert_eq!(entries[0].name, "broker.metrics.port");
//! assert_eq!(entries[0].place.to_string(), "line 2, column 13");
//! assert_eq!(broker::broker_conf::port(&entries[0].setting), Ok(9911));
//! # Ok::<(), broker::broker_conf::SyntaxError>(())
//! ```

use std::fmt;
use std::time::Duration;

use broker_data::json;

/// Groups inside one another.
const DEPTH_MAX: usize = 16;

/// A value of the original's files.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number that is not negative.
    Integer(u64),
    /// A number and a unit, as they were written.
    Duration(String),
    /// A text in quotes, or a URI in angle brackets.
    Text(String),
    /// Values in brackets.
    List(Vec<Setting>),
    /// Anything else that may stand there.
    Other(String),
}

/// Where something stands in a file. Lines and columns begin with 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// An option that is set.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its name with its groups, separated by dots.
    pub name: String,
    /// Where the name stands.
    pub place: Place,
    /// Its value.
    pub setting: Setting,
}

/// A file that cannot be read as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: expected {expected}")]
pub struct SyntaxError {
    /// Where.
    pub place: Place,
    /// What would make sense there.
    pub expected: &'static str,
}

/// What a value was expected to be.
pub type Expected = &'static str;

/// Reads a file: all options in the order in which they are set.
///
/// # Errors
///
/// Says where what is wrong.
pub fn parse(text: &str) -> Result<Vec<Entry>, SyntaxError> {
    let mut reader = Reader { text, at: 0 };
    let mut entries = Vec::new();
    reader.group("", 0, &mut entries)?;
    Ok(entries)
}

/// Reads a single value, as it stands on a command line.
///
/// # Errors
///
/// Says what was expected.
pub fn value(text: &str) -> Result<Setting, SyntaxError> {
    let mut reader = Reader { text, at: 0 };
    let setting = reader.setting(0)?;
    reader.skip();
    if reader.rest().is_empty() {
        Ok(setting)
    } else {
        reader.error("nothing behind the value")
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn place(&self) -> Place {
        let before = self.text.get(..self.at).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        Place {
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
        }
    }

    fn error<T>(&self, expected: &'static str) -> Result<T, SyntaxError> {
        Err(SyntaxError {
            place: self.place(),
            expected,
        })
    }

    /// Blanks, line ends, commas between entries, comments.
    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let bare = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            self.at += rest.len() - bare.len();
            if !bare.starts_with('#') {
                return;
            }
            self.at += bare.find('\n').unwrap_or(bare.len());
        }
    }

    fn take(&mut self, sign: char) -> bool {
        self.skip();
        let found = self.rest().starts_with(sign);
        if found {
            self.at += sign.len_utf8();
        }
        found
    }

    fn word(&mut self, is_part: fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// Entries up to the end of the group.
    fn group(
        &mut self,
        prefix: &str,
        depth: usize,
        entries: &mut Vec<Entry>,
    ) -> Result<(), SyntaxError> {
        loop {
            self.skip();
            if self.rest().is_empty() {
                return match depth {
                    0 => Ok(()),
                    _ => self.error("`}`"),
                };
            }
            if depth > 0 && self.take('}') {
                return Ok(());
            }
            let place = self.place();
            let name = self.word(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
            if name.is_empty() {
                return self.error("the name of an option");
            }
            let name = match prefix {
                "" => name.to_owned(),
                prefix => format!("{prefix}.{name}"),
            };
            if self.take('{') {
                if depth >= DEPTH_MAX {
                    return self.error("fewer groups inside one another");
                }
                self.group(&name, depth + 1, entries)?;
                continue;
            }
            if !self.take('=') {
                return self.error("`=` or `{`");
            }
            let setting = self.setting(0)?;
            entries.push(Entry {
                name,
                place,
                setting,
            });
        }
    }

    fn setting(&mut self, depth: usize) -> Result<Setting, SyntaxError> {
        self.skip();
        let rest = self.rest();
        let mut signs = rest.chars();
        match signs.next() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote).map(Setting::Text),
            Some('<') => match rest.find('>') {
                Some(end) => {
                    self.at += end + 1;
                    let uri = rest.get(1..end).unwrap_or_default();
                    Ok(Setting::Text(uri.to_owned()))
                }
                None => self.error("`>`"),
            },
            Some('[') if depth < DEPTH_MAX => {
                self.at += 1;
                let mut list = Vec::new();
                while !self.take(']') {
                    list.push(self.setting(depth + 1)?);
                }
                Ok(Setting::List(list))
            }
            _ => {
                let start = self.at;
                let word = self.word(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'));
                let is_number = word.starts_with(|c: char| c.is_ascii_digit());
                match word {
                    "true" => Ok(Setting::Boolean(true)),
                    "false" => Ok(Setting::Boolean(false)),
                    "" => self.error("a value"),
                    word if word.bytes().all(|byte| byte.is_ascii_digit()) => {
                        word.parse().map(Setting::Integer).or_else(|_| {
                            self.at = start;
                            self.error("a smaller number")
                        })
                    }
                    word if span(word).is_some() => Ok(Setting::Duration(word.to_owned())),
                    word if is_number || word.starts_with(['-', '+', '.']) => {
                        Ok(Setting::Other(word.to_owned()))
                    }
                    _ => {
                        self.at = start;
                        self.error("a value; texts are in quotes")
                    }
                }
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, SyntaxError> {
        let mut out = String::new();
        let mut signs = self.rest().char_indices().skip(1);
        while let Some((index, sign)) = signs.next() {
            match sign {
                '\n' => break,
                '\\' => match signs.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, 't')) => out.push('\t'),
                    Some((_, 'r')) => out.push('\r'),
                    Some((_, other)) => out.push(other),
                    None => break,
                },
                sign if sign == quote => {
                    self.at += index + sign.len_utf8();
                    return Ok(out);
                }
                sign => out.push(sign),
            }
        }
        self.error("the closing quote")
    }
}

/// A flag.
///
/// # Errors
///
/// Says what it should be.
pub fn boolean(setting: &Setting) -> Result<bool, Expected> {
    match setting {
        Setting::Boolean(value) => Ok(*value),
        _ => Err("true or false"),
    }
}

/// A number.
///
/// # Errors
///
/// Says what it should be.
pub fn integer(setting: &Setting) -> Result<u64, Expected> {
    match setting {
        Setting::Integer(value) => Ok(*value),
        _ => Err("number"),
    }
}

/// A text.
///
/// # Errors
///
/// Says what it should be.
pub fn text(setting: &Setting) -> Result<String, Expected> {
    match setting {
        Setting::Text(value) => Ok(value.clone()),
        _ => Err("text in quotes"),
    }
}

/// A list of texts.
///
/// # Errors
///
/// Says what it should be.
pub fn texts(setting: &Setting) -> Result<Vec<String>, Expected> {
    match setting {
        Setting::List(list) => list.iter().map(text).collect(),
        _ => Err("list of texts"),
    }
}

/// A port: `N` or `"N/tcp"`.
///
/// # Errors
///
/// Says what it should be.
pub fn port(setting: &Setting) -> Result<u64, Expected> {
    const EXPECTED: Expected = "port";
    let number = match setting {
        Setting::Integer(number) => Some(*number),
        Setting::Text(text) => text.strip_suffix("/tcp").unwrap_or(text).parse().ok(),
        _ => None,
    };
    number
        .filter(|number| *number <= u64::from(u16::MAX))
        .ok_or(EXPECTED)
}

/// A time with a unit.
///
/// # Errors
///
/// Says what it should be.
pub fn duration(setting: &Setting) -> Result<Duration, Expected> {
    const EXPECTED: Expected = "time with a unit, such as 250ms";
    match setting {
        Setting::Duration(text) => span(text).ok_or(EXPECTED),
        _ => Err(EXPECTED),
    }
}

fn span(text: &str) -> Option<Duration> {
    Duration::try_from(json::timespan(text.as_bytes())?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_dots_and_comments_are_read() {
        let text = "# comment\nbroker {\n  ttl = 8 # more\n  ssl { key = 'k' }\n}\n\
                    broker.a-b = 5s\ntopics = [\"/a\", <x://y>,]";
        let entries = parse(text).unwrap();
        let found: Vec<_> = entries
            .iter()
            .map(|it| {
                (
                    it.name.as_str(),
                    it.place.line,
                    it.place.column,
                    &it.setting,
                )
            })
            .collect();
        let text = |text: &str| Setting::Text(text.to_owned());
        assert_eq!(
            found,
            [
                ("broker.ttl", 3, 3, &Setting::Integer(8)),
                ("broker.ssl.key", 4, 9, &text("k")),
                ("broker.a-b", 6, 1, &Setting::Duration("5s".to_owned())),
                (
                    "topics",
                    7,
                    1,
                    &Setting::List(vec![text("/a"), text("x://y")])
                ),
            ]
        );
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        for (text, expected) in [
            ("a {\n b = 1", "line 2, column 7: expected `}`"),
            ("\n= 1", "line 2, column 1: expected the name of an option"),
            ("a 1", "line 1, column 3: expected `=` or `{`"),
            ("é = b", "line 1, column 1: expected the name of an option"),
            (
                "a = b",
                "line 1, column 5: expected a value; texts are in quotes",
            ),
            ("a = \"é", "line 1, column 5: expected the closing quote"),
            (
                "a = 99999999999999999999",
                "line 1, column 5: expected a smaller number",
            ),
            ("a = <b", "line 1, column 5: expected `>`"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert_eq!(error, expected, "{text}");
        }
    }

    #[test]
    fn values_have_one_kind() {
        assert_eq!(port(&Setting::Text("9911/tcp".to_owned())), Ok(9911));
        assert_eq!(port(&Setting::Integer(70_000)), Err("port"));
        let half = Setting::Duration("500ms".to_owned());
        assert_eq!(duration(&half), Ok(Duration::from_millis(500)));
        assert!(duration(&Setting::Integer(5)).is_err());
        assert!(boolean(&Setting::Integer(1)).is_err());
    }
}
