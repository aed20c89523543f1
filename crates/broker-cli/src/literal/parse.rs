//! From text to a value.

use broker::data::json::{self, Form};
use broker::data::{DEPTH_MAX, decode};
use broker::{Set, Table, Value};

use super::LiteralError;
use super::scalar::{self, Context};

/// Reads one value; nothing but blanks may follow.
///
/// # Errors
///
/// Says what is wrong, where, and what to write instead.
pub fn parse(text: &str) -> Result<Value, LiteralError> {
    // The rest of the text, whatever is in it: nothing needs to be quoted twice.
    if let Some(rest) = text.trim_start().strip_prefix("str:")
        && !rest.starts_with('"')
    {
        return Ok(Value::from(rest));
    }
    let mut parser = Parser::new(text, 0);
    let value = parser.value(Context::Whole)?;
    parser.finish()?;
    Ok(value)
}

/// What ends a word besides blanks.
const DELIMITERS: [char; 4] = [',', ']', '}', '"'];

/// Reads values off a text.
#[derive(Debug, Clone)]
pub(crate) struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    /// Starts at a byte of a text, which must be on the border of a character.
    pub(crate) fn new(text: &'t str, at: usize) -> Self {
        Self { text, at, depth: 0 }
    }

    /// Where it is.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Nothing may be left.
    pub(crate) fn finish(&mut self) -> Result<(), LiteralError> {
        self.skip_blanks();
        let rest = self.rest();
        if rest.is_empty() {
            return Ok(());
        }
        let error = self.error(rest.len(), "expected the end of the value");
        Err(error.hint("a text with blanks or signs is written in quotes: \"...\""))
    }

    /// Reads a value in an expression, where operators end a word.
    pub(crate) fn operand(&mut self) -> Result<Value, LiteralError> {
        self.value(Context::Operand)
    }

    /// Reads the value before a `]`, and takes that, too.
    pub(crate) fn index(&mut self) -> Result<Value, LiteralError> {
        let value = self.value(Context::Inside)?;
        self.skip_blanks();
        if self.take(']') {
            Ok(value)
        } else {
            Err(self.error(self.peek().map_or(0, char::len_utf8), "expected `]`"))
        }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn take(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(sign);
        if found {
            self.at += sign.len_utf8();
        }
        found
    }

    fn error(&self, length: usize, what: impl Into<String>) -> LiteralError {
        LiteralError::new(self.text, self.at, length, what)
    }

    /// Reads a value.
    pub(crate) fn value(&mut self, context: Context) -> Result<Value, LiteralError> {
        self.skip_blanks();
        match self.peek() {
            None => Err(self.error(0, "expected a value, found the end of the text")),
            Some('"') => Ok(Value::String(self.quoted()?.into())),
            Some('[') => match self.bracketed_address()? {
                Some(value) => Ok(value),
                None => self.nested(Self::vector),
            },
            Some('{') => self.nested(Self::braces),
            Some(sign @ (',' | ']' | '}' | ':')) => {
                Err(self.error(1, format!("expected a value, found `{sign}`")))
            }
            Some(_) => self.word(context),
        }
    }

    fn nested(
        &mut self,
        read: fn(&mut Self) -> Result<Value, LiteralError>,
    ) -> Result<Value, LiteralError> {
        if self.depth >= DEPTH_MAX {
            let what = format!("expected at most {DEPTH_MAX} containers inside one another");
            return Err(self.error(1, what));
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    /// `[2001:db8::1]` or `[2001:db8::]/32`; nothing else has a colon and no comma.
    fn bracketed_address(&mut self) -> Result<Option<Value>, LiteralError> {
        let rest = self.rest();
        let Some((inside, behind)) = rest.get(1..).and_then(|rest| rest.split_once(']')) else {
            return Ok(None);
        };
        let Ok(address) = inside.parse::<std::net::Ipv6Addr>() else {
            return Ok(None);
        };
        let length = inside.len() + 2;
        let Some(digits) = behind.strip_prefix('/') else {
            self.at += length;
            return Ok(Some(Value::Address(address.into())));
        };
        let digits = digits.split(|c: char| !c.is_ascii_digit()).next();
        let digits = digits.unwrap_or_default();
        let subnet = format!("{address}/{digits}").parse();
        let total = length + 1 + digits.len();
        let subnet = subnet
            .map_err(|_| self.error(total, "expected a length from 0 to 128 behind the address"))?;
        self.at += total;
        Ok(Some(Value::Subnet(subnet)))
    }

    /// The elements behind `[`.
    fn vector(&mut self) -> Result<Value, LiteralError> {
        let mut elements = Vec::new();
        while !self.ends(']')? {
            elements.push(self.value(Context::Inside)?);
            self.separate(']')?;
        }
        Ok(Value::Vector(elements))
    }

    /// The elements or entries behind `{`: the first of them says which.
    fn braces(&mut self) -> Result<Value, LiteralError> {
        self.skip_blanks();
        if self.take(':') {
            self.skip_blanks();
            if self.take('}') {
                return Ok(Value::Table(Table::new()));
            }
            return Err(self.error(0, "expected `}`: `{:}` is a table without entries"));
        }
        if self.ends('}')? {
            return Ok(Value::Set(Set::new()));
        }
        let first = self.at;
        let key = self.value(Context::Key)?;
        self.skip_blanks();
        match self.peek() {
            Some(':') => self.table(first, key),
            _ => self.set(first, key),
        }
    }

    fn set(&mut self, mut start: usize, mut element: Value) -> Result<Value, LiteralError> {
        let mut set = Set::new();
        loop {
            if !set.insert(element) {
                return Err(self.twice(start, "element"));
            }
            self.separate('}')?;
            if self.ends('}')? {
                return Ok(Value::Set(set));
            }
            start = self.at;
            element = self.value(Context::Key)?;
            self.skip_blanks();
            if self.peek() == Some(':') {
                let error = self.error(1, "expected `,` or `}`: the first element has no value");
                return Err(error.hint("a table has `key: value` everywhere, a set nowhere"));
            }
        }
    }

    fn table(&mut self, mut start: usize, mut key: Value) -> Result<Value, LiteralError> {
        let mut table = Table::new();
        loop {
            if !self.take(':') {
                return Err(self.error(1, "expected `:` and a value behind the key"));
            }
            let value = self.value(Context::Inside)?;
            if table.insert(key, value).is_some() {
                return Err(self.twice(start, "key"));
            }
            self.separate('}')?;
            if self.ends('}')? {
                return Ok(Value::Table(table));
            }
            start = self.at;
            key = self.value(Context::Key)?;
            self.skip_blanks();
        }
    }

    fn twice(&self, start: usize, what: &str) -> LiteralError {
        let part = self.text.get(start..self.at).unwrap_or_default();
        let length = part.trim_end().len();
        LiteralError::new(
            self.text,
            start,
            length,
            format!("the {what} is there twice"),
        )
    }

    /// Takes the closing sign if it is there.
    fn ends(&mut self, close: char) -> Result<bool, LiteralError> {
        self.skip_blanks();
        if self.peek().is_none() {
            return Err(self.error(0, format!("expected `{close}`, found the end of the text")));
        }
        Ok(self.take(close))
    }

    /// Takes a comma, unless the closing sign comes.
    fn separate(&mut self, close: char) -> Result<(), LiteralError> {
        self.skip_blanks();
        match self.peek() {
            Some(',') => {
                self.at += 1;
                Ok(())
            }
            Some(sign) if sign == close => Ok(()),
            None => Err(self.error(0, format!("expected `{close}`, found the end of the text"))),
            Some(sign) => {
                let what = format!("expected `,` or `{close}`, found `{sign}`");
                let error = self.error(sign.len_utf8(), what);
                Err(error.hint("a text with blanks or signs is written in quotes: \"...\""))
            }
        }
    }

    /// The bytes between quotes, without escapes.
    fn quoted(&mut self) -> Result<Vec<u8>, LiteralError> {
        let start = self.at;
        self.at += 1;
        let mut out = Vec::new();
        loop {
            let rest = self.rest();
            let Some(end) = rest.find(['"', '\\']) else {
                let length = self.text.len() - start;
                return Err(LiteralError::new(
                    self.text,
                    start,
                    length,
                    "the closing quote is missing",
                ));
            };
            out.extend_from_slice(rest.get(..end).unwrap_or_default().as_bytes());
            self.at += end;
            if self.take('"') {
                return Ok(out);
            }
            self.escape(&mut out)?;
        }
    }

    /// One escape: `\n`, `\x00`, `\u{0}`.
    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), LiteralError> {
        let rest = self.rest();
        let hex = |digits: &str| u32::from_str_radix(digits, 16).ok();
        let sign = rest.chars().nth(1);
        let plain = match sign {
            Some('n') => Some(b'\n'),
            Some('r') => Some(b'\r'),
            Some('t') => Some(b'\t'),
            Some('0') => Some(0),
            Some('\\') => Some(b'\\'),
            Some('"') => Some(b'"'),
            _ => None,
        };
        let length = match (plain, sign) {
            (Some(byte), _) => {
                out.push(byte);
                2
            }
            (None, Some('x')) => {
                let digits = rest.get(2..4).filter(|it| is_hex(it));
                let byte = digits.and_then(hex).and_then(|it| u8::try_from(it).ok());
                let Some(byte) = byte else {
                    return Err(self.error(2, "expected two hexadecimal digits behind `\\x`"));
                };
                out.push(byte);
                4
            }
            (None, Some('u')) => {
                let inside = rest.get(2..).and_then(|rest| rest.strip_prefix('{'));
                let digits = inside.and_then(|rest| rest.split_once('}'));
                let digits = digits.map(|(digits, _)| digits).filter(|it| is_hex(it));
                let Some((digits, c)) = digits.and_then(|digits| {
                    let c = hex(digits).and_then(char::from_u32)?;
                    Some((digits, c))
                }) else {
                    return Err(self.error(2, "expected a character as `\\u{...}`"));
                };
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                4 + digits.len()
            }
            (None, _) => {
                let what = r#"expected `\n`, `\r`, `\t`, `\0`, `\\`, `\"`, `\x00` or `\u{0}`"#;
                let length = 1 + sign.map_or(0, char::len_utf8);
                return Err(self.error(length, what));
            }
        };
        self.at += length;
        Ok(())
    }

    /// Everything that is neither quoted nor a container.
    fn word(&mut self, context: Context) -> Result<Value, LiteralError> {
        let start = self.at;
        if self.rest().starts_with("json:") {
            return self.json();
        }
        if let Some(kind) = ["enum:", "str:"]
            .into_iter()
            .find(|kind| self.rest().starts_with(&format!("{kind}\"")))
        {
            self.at += kind.len();
            let bytes = self.quoted()?;
            return Ok(match kind {
                "enum:" => Value::EnumValue(bytes.into()),
                _ => Value::String(bytes.into()),
            });
        }
        let word = self.take_word(context);
        scalar::read(word, context).map_err(|wrong| {
            let mut error = LiteralError::new(self.text, start, word.len(), wrong.what);
            error.hint = wrong.hint;
            error
        })
    }

    /// Takes what comes before the next blank or delimiter.
    fn take_word(&mut self, context: Context) -> &'t str {
        let rest = self.rest();
        let mut signs = rest.char_indices().peekable();
        let mut end = rest.len();
        while let Some((index, sign)) = signs.next() {
            let next = signs.peek().map(|(_, next)| *next);
            let ends_key =
                sign == ':' && context == Context::Key && next.is_none_or(char::is_whitespace);
            let ends_operand = context == Context::Operand && "()=!<>&|".contains(sign);
            if sign.is_whitespace() || DELIMITERS.contains(&sign) || ends_key || ends_operand {
                end = index;
                break;
            }
        }
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// `json:{...}`, up to the brace that belongs to the first.
    fn json(&mut self) -> Result<Value, LiteralError> {
        let start = self.at;
        let rest = self.rest();
        let object = rest.get("json:".len()..).unwrap_or_default();
        let Some(length) = object_length(object) else {
            let what = "expected an object such as `json:{\"@data-type\":\"count\",\"data\":5}`";
            return Err(self.error(rest.len(), what));
        };
        let object = object.get(..length).unwrap_or_default();
        let bytes = json::from_text(object.as_bytes(), Form::Lossless);
        let value = bytes
            .map_err(|error| error.to_string())
            .and_then(|bytes| decode(&bytes).map_err(|error| error.to_string()));
        let total = "json:".len() + length;
        let value = value.map_err(|error| self.error(total, error))?;
        self.at = start + total;
        Ok(value)
    }
}

fn is_hex(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Length of the JSON object at the start of a text.
fn object_length(text: &str) -> Option<usize> {
    if !text.starts_with('{') {
        return None;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(index + 1);
                }
            }
            _ => {}
        }
    }
    None
}
