//! Strings between quotes: escapes in both directions.

use std::borrow::Cow;

use crate::json::Form;
use crate::json::scan::Quoted;

/// Control characters below this one must be escaped in a text.
///
/// JSON has 0x20 there. The last control character passes because the recorded verdicts, which
/// refuse others, accept it. See `docs/adr/0051-json-dialect.md`.
pub(crate) const CONTROL_LIMIT: u8 = 0x1f;

const DIGITS: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
];

/// Bytes that are looked at together in long strings; the compiler turns that into a few vector
/// instructions.
const WIDE: usize = 32;

/// Words that are looked at one by one first: most strings end in them.
const WORDS_FIRST: usize = 4;

/// Returns the number of bytes in front of the first quote, backslash or control character.
#[inline]
pub(crate) fn plain_prefix(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    for _ in 0..WORDS_FIRST {
        let Some((word, behind)) = rest.split_first_chunk() else {
            break;
        };
        if let Some(before) = special_in(*word) {
            return count(bytes, rest).saturating_add(before);
        }
        rest = behind;
    }
    if rest.len() >= WIDE {
        rest = behind_plain_chunks(rest);
    }
    while let Some((word, behind)) = rest.split_first_chunk() {
        if let Some(before) = special_in(*word) {
            return count(bytes, rest).saturating_add(before);
        }
        rest = behind;
    }
    while let Some((byte, behind)) = rest.split_first() {
        if is_special(*byte) {
            break;
        }
        rest = behind;
    }
    count(bytes, rest)
}

/// Returns the number of bytes in front of the rest of them.
#[inline]
const fn count(bytes: &[u8], rest: &[u8]) -> usize {
    bytes.len().saturating_sub(rest.len())
}

/// Passes over chunks without special bytes.
fn behind_plain_chunks(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let Some((chunk, behind)) = rest.split_first_chunk::<WIDE>() {
        let special = |any: bool, byte: &u8| any | is_special(*byte);
        if chunk.iter().fold(false, special) {
            break;
        }
        rest = behind;
    }
    rest
}

#[inline]
const fn is_special(byte: u8) -> bool {
    // Without branches, for the sake of vector instructions.
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// Returns the number of bytes in front of the first special one.
#[inline]
fn special_in(word: [u8; 8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    let word = u64::from_le_bytes(word);
    let control = word.wrapping_sub(ONES.wrapping_mul(0x20));
    let quote = (word ^ ONES.wrapping_mul(b'"'.into())).wrapping_sub(ONES);
    let backslash = (word ^ ONES.wrapping_mul(b'\\'.into())).wrapping_sub(ONES);
    // High bits mark special bytes. The lowest mark is exact; above it borrows may have left more.
    let marks = (control | quote | backslash) & !word & HIGH_BITS;
    let before = marks.trailing_zeros() >> 3;
    (marks != 0).then(|| usize::try_from(before).unwrap_or(0))
}

impl<'t> Quoted<'t> {
    /// Returns the bytes that the string stands for.
    pub(crate) fn content(self) -> Cow<'t, [u8]> {
        if !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        let mut content = Vec::with_capacity(self.raw.len());
        self.unescape(&mut content);
        Cow::Owned(content)
    }

    /// Appends the bytes that the string stands for; no more than it has itself.
    pub(crate) fn unescape(self, out: &mut Vec<u8>) {
        let mut rest = self.raw;
        loop {
            let plain = plain_prefix(rest);
            let (text, special) = rest.split_at_checked(plain).unwrap_or((rest, &[]));
            out.extend_from_slice(text);
            rest = match special {
                [b'\\', b'u', behind @ ..] => unescape_unit(behind, out),
                [b'\\', sign, behind @ ..] => {
                    out.push(match sign {
                        b'b' => 0x08,
                        b'f' => 0x0c,
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'v' => 0x0b,
                        other => *other,
                    });
                    behind
                }
                // A control character that the form lets pass.
                [byte, behind @ ..] => {
                    out.push(*byte);
                    behind
                }
                [] => return,
            };
        }
    }
}

/// Appends the character of an escape, the `\u` of which was taken; returns what is behind it.
/// The escapes were checked when the string was scanned.
fn unescape_unit<'t>(digits: &'t [u8], out: &mut Vec<u8>) -> &'t [u8] {
    let (mut code, mut rest) = unit(digits);
    if (0xd800..0xdc00).contains(&code)
        && let Some(low) = rest.strip_prefix(b"\\u")
    {
        let (low, behind) = unit(low);
        code = 0x10000_u32.wrapping_add(((code & 0x3ff) << 10) | (low & 0x3ff));
        rest = behind;
    }
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    rest
}

fn unit(digits: &[u8]) -> (u32, &[u8]) {
    let (digits, rest) = digits.split_at_checked(4).unwrap_or((digits, &[]));
    let code = digits.iter().fold(0, |code: u32, digit| {
        (code << 4) | char::from(*digit).to_digit(16).unwrap_or(0)
    });
    (code, rest)
}

/// Appends a string in quotes.
///
/// ```
/// let mut out = String::new();
/// broker_data::json::put_string(&mut out, "a\"b\u{1}");
/// assert_eq!(out, r#""a\"b\u0001""#);
/// ```
pub fn put_string(out: &mut String, text: &str) {
    out.push('"');
    put_escaped(out, text);
    out.push('"');
}

/// Appends bytes as a string in quotes; replacement characters stand for what is not UTF-8.
///
/// ```
/// let mut out = String::new();
/// broker_data::json::put_bytes(&mut out, b"caf\xe9");
/// assert_eq!(out, "\"caf\u{fffd}\"");
/// ```
pub fn put_bytes(out: &mut String, bytes: &[u8]) {
    out.push('"');
    match std::str::from_utf8(bytes) {
        Ok(text) => put_escaped(out, text),
        Err(_) => put_escaped(out, &String::from_utf8_lossy(bytes)),
    }
    out.push('"');
}

/// Appends bytes as a string in quotes. The lossless form keeps what is not UTF-8: as an object
/// with hexadecimal digits.
///
/// ```
/// use broker_data::json::{self, Form};
///
/// let mut out = String::new();
/// json::put_text(&mut out, b"caf\xe9", Form::Lossless);
/// assert_eq!(out, r#"{"hex":"636166e9"}"#);
/// ```
#[inline]
pub fn put_text(out: &mut String, bytes: &[u8], form: Form) {
    if form == Form::Lossless && std::str::from_utf8(bytes).is_err() {
        put_raw(out, |out| put_hex(out, bytes));
    } else {
        put_bytes(out, bytes);
    }
}

/// Appends the object for bytes that have no text.
pub(crate) fn put_raw(out: &mut String, digits: impl FnOnce(&mut String)) {
    out.push_str(r#"{"hex":""#);
    digits(out);
    out.push_str(r#""}"#);
}

#[inline]
fn put_escaped(out: &mut String, text: &str) {
    let plain = plain_prefix(text.as_bytes());
    if plain == text.len() {
        out.push_str(text);
    } else {
        put_escapes(out, text, plain);
    }
}

/// Appends text of which as many bytes are plain.
fn put_escapes(out: &mut String, text: &str, plain: usize) {
    let mut rest = text;
    let mut plain = plain;
    // What stops the run is always one byte, so both sides of it are text.
    while let Some((before, from)) = rest.split_at_checked(plain) {
        out.push_str(before);
        let Some(special) = from.as_bytes().first().copied() else {
            return;
        };
        match special {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x08 => out.push_str("\\b"),
            0x0c => out.push_str("\\f"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            // Not `\v`, which the original writes but JSON does not know.
            other => {
                out.push_str("\\u00");
                put_hex(out, &[other]);
            }
        }
        rest = from.get(1..).unwrap_or_default();
        plain = plain_prefix(rest.as_bytes());
    }
}

/// Appends two hexadecimal digits for each byte.
pub(crate) fn put_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 0x0f] {
            out.push(DIGITS.get(usize::from(digit)).copied().unwrap_or('0'));
        }
    }
}

/// Returns the bytes that hexadecimal digits stand for.
pub(crate) fn bytes_of_hex(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_chunks::<2>() else {
        return None;
    };
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    pairs
        .iter()
        .map(|&[high, low]| Some((digit(high)? << 4) | digit(low)?))
        .collect()
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(text: &str) -> String {
        let mut out = String::new();
        put_string(&mut out, text);
        out
    }

    fn unescaped(raw: &str) -> Vec<u8> {
        let quoted = Quoted {
            raw: raw.as_bytes(),
            escaped: true,
        };
        quoted.content().into_owned()
    }

    #[test]
    fn escapes_are_those_of_json() {
        assert_eq!(
            quoted("\"\\/\u{8}\u{c}\n\r\t\u{b}\0\u{1f}\u{7f}é€😀"),
            "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u000b\\u0000\\u001f\u{7f}é€😀\""
        );
    }

    #[test]
    fn every_escape_is_read() {
        assert_eq!(
            unescaped(
                r#"\"\\\/\b\f\n\r\t\v\u0041\u00e9\u20AC\ud83d\ude00\ud800\udc00\udbff\udfff"#
            ),
            "\"\\/\u{8}\u{c}\n\r\t\u{b}Aé€😀\u{10000}\u{10ffff}".as_bytes()
        );
    }

    #[test]
    fn the_first_special_byte_is_found_wherever_it_is() {
        for special in [b'"', b'\\', 0, 0x1f, b'\n'] {
            for at in 0..20 {
                for filler in [b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xff, b'a'] {
                    let mut bytes = [filler; 20];
                    bytes[at] = special;
                    bytes[19] = b'"';
                    assert_eq!(plain_prefix(&bytes), at, "{special} among {filler}");
                }
            }
        }
        assert_eq!(plain_prefix(b"no such byte at all"), 19);
    }

    #[test]
    fn hexadecimal_digits_go_both_ways() {
        let mut out = String::new();
        put_hex(&mut out, b"\x00\x1f\xff");
        assert_eq!(out, "001fff");
        assert_eq!(
            bytes_of_hex(b"001FfF").as_deref(),
            Some(&b"\x00\x1f\xff"[..])
        );
        assert_eq!(bytes_of_hex(b"0"), None);
        assert_eq!(bytes_of_hex(b"0g"), None);
    }

    proptest! {
        #[test]
        fn a_string_survives(text: String) {
            let written = quoted(&text);
            prop_assert_eq!(serde_json::from_str::<String>(&written).ok(), Some(text.clone()));
            prop_assert_eq!(unescaped(&written[1..written.len() - 1]), text.as_bytes());
        }

        #[test]
        fn bytes_are_always_text(bytes: Vec<u8>) {
            let mut out = String::new();
            put_bytes(&mut out, &bytes);
            let read = serde_json::from_str::<String>(&out).ok();
            prop_assert_eq!(read, Some(String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
}
