//! Takes tokens off a text.

use crate::json::Form;
use crate::json::error::{JsonError, JsonErrorKind};
use crate::json::string::{CONTROL_LIMIT, plain_prefix};

/// Says that there is an error in the scanner. It is kept there because results in every frame of
/// a recursion would be most of the frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed;

pub(crate) type Scanned<T> = Result<T, Failed>;

const A_VALUE: &str = "a JSON value";
const A_DIGIT: &str = "a digit";
const A_NAME: &str = "the name of a field in quotes";

/// A string in the text: what stands between the quotes, with checked escapes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quoted<'t> {
    pub(crate) raw: &'t [u8],
    pub(crate) escaped: bool,
}

/// A number in the text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number<'t> {
    /// Without a point and without an exponent.
    Integer { negative: bool, magnitude: u64 },
    /// With one of them; Rust's own parser reads everything that gets here.
    Real(&'t str),
    /// A word for a number that is not finite.
    Special(f64),
}

/// A place in a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    at: usize,
    room: usize,
}

/// Reads a text from front to back.
///
/// Whoever gets a [`Failed`] passes it on; [`Scanner::error`] then says what it was.
#[derive(Debug)]
pub(crate) struct Scanner<'t> {
    text: &'t [u8],
    at: usize,
    /// Number of arrays and objects that may still be opened here.
    room: usize,
    form: Form,
    error: JsonError,
}

impl<'t> Scanner<'t> {
    pub(crate) fn new(text: &'t [u8], form: Form) -> Self {
        Self {
            text,
            at: 0,
            room: form.levels(),
            form,
            // Replaced before anybody sees it.
            error: JsonError::new(0, JsonErrorKind::Syntax(A_VALUE)),
        }
    }

    pub(crate) const fn form(&self) -> Form {
        self.form
    }

    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    /// Remembers this place.
    pub(crate) const fn mark(&self) -> Mark {
        Mark {
            at: self.at,
            room: self.room,
        }
    }

    /// Goes back to a place.
    pub(crate) const fn reset(&mut self, mark: Mark) {
        self.at = mark.at;
        self.room = mark.room;
    }

    pub(crate) const fn error(&self) -> JsonError {
        self.error
    }

    #[cold]
    pub(crate) fn fail(&mut self, offset: usize, kind: JsonErrorKind) -> Failed {
        self.error = JsonError::new(offset, kind);
        Failed
    }

    /// Fails at the current byte.
    #[cold]
    pub(crate) fn syntax(&mut self, expected: &'static str) -> Failed {
        let kind = if self.at < self.text.len() {
            JsonErrorKind::Syntax(expected)
        } else {
            JsonErrorKind::Truncated(expected)
        };
        self.fail(self.at, kind)
    }

    /// Fails at the current value: it is not JSON, or not what was expected.
    #[cold]
    pub(crate) fn mismatch(&mut self, expected: &'static str) -> Failed {
        let start = self.at;
        match self.skip() {
            Ok(()) => self.fail(start, JsonErrorKind::Data(expected)),
            Err(failed) => failed,
        }
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    fn rest(&self) -> &'t [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn advance(&mut self, count: usize) {
        self.at = self.at.saturating_add(count);
    }

    /// Passes over white space.
    #[inline]
    pub(crate) fn blank(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.advance(1);
        }
    }

    /// Takes exactly these bytes, if they are next.
    #[inline]
    pub(crate) fn take(&mut self, bytes: &[u8]) -> bool {
        let found = self.rest().starts_with(bytes);
        if found {
            self.advance(bytes.len());
        }
        found
    }

    /// Checks that nothing but white space is left.
    pub(crate) fn end(&mut self) -> Scanned<()> {
        self.blank();
        if self.at < self.text.len() {
            return Err(self.syntax("the end of the text"));
        }
        Ok(())
    }

    /// Takes the sign that opens an array or object; tells whether anything is inside.
    #[inline]
    pub(crate) fn open(&mut self, close: u8) -> Scanned<bool> {
        let Some(room) = self.room.checked_sub(1) else {
            return Err(self.fail(self.at, JsonErrorKind::Levels(self.form.levels())));
        };
        self.advance(1);
        self.blank();
        if self.peek() == Some(close) {
            self.advance(1);
            return Ok(false);
        }
        self.room = room;
        Ok(true)
    }

    /// Takes what follows an element or field; tells whether another one follows.
    #[inline]
    pub(crate) fn more(&mut self, close: u8) -> Scanned<bool> {
        self.blank();
        match self.peek() {
            Some(b',') => {
                self.advance(1);
                self.blank();
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.advance(1);
                self.room = self.room.saturating_add(1);
                Ok(false)
            }
            _ => Err(self.syntax(if close == b']' {
                "`,` or `]`"
            } else {
                "`,` or `}`"
            })),
        }
    }

    /// Takes the name of a field and the colon behind it.
    #[inline]
    pub(crate) fn name(&mut self) -> Scanned<Quoted<'t>> {
        if self.peek() != Some(b'"') {
            return Err(self.syntax(A_NAME));
        }
        let name = self.string()?;
        self.colon()?;
        Ok(name)
    }

    /// Takes the colon behind the name of a field.
    #[inline]
    pub(crate) fn colon(&mut self) -> Scanned<()> {
        self.blank();
        if self.peek() != Some(b':') {
            return Err(self.syntax("`:`"));
        }
        self.advance(1);
        self.blank();
        Ok(())
    }

    /// Takes a string; the current byte is its first quote.
    #[inline]
    pub(crate) fn string(&mut self) -> Scanned<Quoted<'t>> {
        self.advance(1);
        let start = self.at;
        let mut escaped = false;
        loop {
            self.advance(plain_prefix(self.rest()));
            match self.peek() {
                Some(b'"') => {
                    let raw = self.text.get(start..self.at).unwrap_or_default();
                    self.advance(1);
                    return Ok(Quoted { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(byte) if byte >= CONTROL_LIMIT || self.form == Form::Original => {
                    self.advance(1);
                }
                _ => return Err(self.syntax("`\"` at the end of a string")),
            }
        }
    }

    /// Checks an escape; the current byte is its backslash.
    fn escape(&mut self) -> Scanned<()> {
        self.advance(1);
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'v') => {
                self.advance(1);
                Ok(())
            }
            Some(b'u') => {
                let start = self.at;
                match self.unit()? {
                    0xd800..=0xdbff => {
                        if self.peek() == Some(b'\\') {
                            self.advance(1);
                            if self.peek() == Some(b'u') && matches!(self.unit()?, 0xdc00..=0xdfff)
                            {
                                return Ok(());
                            }
                        }
                        self.at = start;
                        Err(self.syntax("both halves of a surrogate pair"))
                    }
                    0xdc00..=0xdfff => {
                        self.at = start;
                        Err(self.syntax("both halves of a surrogate pair"))
                    }
                    _ => Ok(()),
                }
            }
            _ => Err(self.syntax("a known escape behind `\\`")),
        }
    }

    /// Takes `u` and four hexadecimal digits.
    fn unit(&mut self) -> Scanned<u32> {
        self.advance(1);
        let mut unit = 0_u32;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.syntax("four hexadecimal digits"));
            };
            unit = unit.wrapping_shl(4) | digit;
            self.advance(1);
        }
        Ok(unit)
    }

    /// Tells whether a number starts here.
    #[inline]
    pub(crate) fn at_number(&self) -> bool {
        matches!(self.peek(), Some(b'0'..=b'9' | b'-' | b'+' | b'.'))
            || self.peek() == Some(b'n') && self.rest().starts_with(b"nan")
            || self.form == Form::Original && self.rest().starts_with(b"inf")
    }

    /// Takes a number; the current byte is its first.
    #[inline]
    pub(crate) fn number(&mut self) -> Scanned<Number<'t>> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        if negative || self.peek() == Some(b'+') {
            self.advance(1);
        }
        let digits = self.at;
        let magnitude = self.magnitude();
        let count = self.at.saturating_sub(digits);
        if let Some(b'.' | b'e' | b'E') = self.peek() {
            return self.real(start, digits, count);
        }
        if count == 0 {
            return self.special(negative);
        }
        if count > 1 && self.text.get(digits) == Some(&b'0') && magnitude != Some(0) {
            self.at = digits;
            return Err(self.syntax("a decimal number without leading zeros"));
        }
        match magnitude {
            Some(magnitude) if !negative || magnitude <= 1 << 63 => Ok(Number::Integer {
                negative,
                magnitude,
            }),
            _ => Err(self.fail(start, JsonErrorKind::Integer)),
        }
    }

    /// Takes digits; none when their number does not fit in 64 bits.
    #[inline]
    fn magnitude(&mut self) -> Option<u64> {
        let mut magnitude = Some(0_u64);
        while let Some(byte @ b'0'..=b'9') = self.peek() {
            let digit = u64::from(byte & 0x0f);
            magnitude = magnitude
                .and_then(|number| number.checked_mul(10))
                .and_then(|number| number.checked_add(digit));
            self.advance(1);
        }
        magnitude
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.advance(1);
        }
        self.at.saturating_sub(start)
    }

    /// Takes the rest of a real; `count` digits from `digits` on are in front of it.
    fn real(&mut self, start: usize, digits: usize, count: usize) -> Scanned<Number<'t>> {
        if count > 1 && self.text.get(digits) == Some(&b'0') {
            self.at = digits;
            return Err(self.syntax("a decimal number without leading zeros"));
        }
        let mut fraction = 0;
        if self.peek() == Some(b'.') {
            self.advance(1);
            fraction = self.digits();
        }
        if count == 0 && fraction == 0 {
            return Err(self.syntax(A_DIGIT));
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.advance(1);
            if let Some(b'+' | b'-') = self.peek() {
                self.advance(1);
            }
            if self.digits() == 0 {
                return Err(self.syntax(A_DIGIT));
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        // Nothing but ASCII was taken.
        Ok(Number::Real(std::str::from_utf8(text).unwrap_or_default()))
    }

    /// Takes a word for a number that is not finite.
    fn special(&mut self, negative: bool) -> Scanned<Number<'t>> {
        let signed =
            self.at > 0 && matches!(self.text.get(self.at.wrapping_sub(1)), Some(b'-' | b'+'));
        let original = self.form == Form::Original;
        if (original || !signed) && self.take(b"nan") {
            return Ok(Number::Special(f64::NAN));
        }
        if original && self.take(b"inf") {
            let infinity = if negative {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            };
            return Ok(Number::Special(infinity));
        }
        Err(self.syntax(A_DIGIT))
    }

    /// Passes over one value of any kind; recursion is bounded by the levels of the form.
    pub(crate) fn skip(&mut self) -> Scanned<()> {
        match self.peek() {
            Some(b'"') => {
                self.string()?;
            }
            Some(b'{') => {
                if self.open(b'}')? {
                    loop {
                        self.name()?;
                        self.skip()?;
                        if !self.more(b'}')? {
                            break;
                        }
                    }
                }
            }
            Some(b'[') => {
                if self.open(b']')? {
                    loop {
                        self.skip()?;
                        if !self.more(b']')? {
                            break;
                        }
                    }
                }
            }
            _ if self.take(b"true") || self.take(b"false") || self.take(b"null") => {}
            _ if self.at_number() => {
                self.number()?;
            }
            _ => return Err(self.syntax(A_VALUE)),
        }
        Ok(())
    }
}
