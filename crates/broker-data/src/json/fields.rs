//! Objects with other fields than those of a value: the messages around values.
//!
//! This module knows no message; its caller says which fields matter.

use std::borrow::Cow;

use crate::json::decode::decode_named;
use crate::json::error::JsonErrorKind;
use crate::json::scan::{Failed, Quoted, Scanned, Scanner};
use crate::json::string::bytes_of_hex;
use crate::json::{Form, JsonError};

/// A field of an object, as far as messages need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Field<'t> {
    /// There is no such field.
    #[default]
    Missing,
    /// It is a string (or, in the lossless form, bytes), without its escapes.
    Text(Cow<'t, [u8]>),
    /// It is something else.
    Other,
}

impl<'t> Field<'t> {
    /// Returns the bytes of the string, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text),
            Self::Missing | Self::Other => None,
        }
    }

    /// Takes the value behind a name and keeps it if it is the first with that name.
    pub(crate) fn take<const N: usize>(
        scanner: &mut Scanner<'t>,
        name: Option<Quoted<'t>>,
        names: [&str; N],
        found: &mut [Self; N],
    ) -> Scanned<()> {
        let named = |wanted: &str| name.is_some_and(|name| name.is(wanted));
        let wanted = names.iter().zip(found).find(|(wanted, _)| named(wanted));
        match wanted {
            Some((_, field @ Self::Missing)) => *field = Self::read(scanner)?,
            _ => scanner.skip()?,
        }
        Ok(())
    }

    fn read(scanner: &mut Scanner<'t>) -> Scanned<Self> {
        match scanner.peek() {
            Some(b'"') => Ok(Self::Text(scanner.string()?.content())),
            Some(b'{') if scanner.form() == Form::Lossless => Ok(match Self::hex(scanner)? {
                Some(bytes) => Self::Text(Cow::Owned(bytes)),
                None => Self::Other,
            }),
            _ => {
                scanner.skip()?;
                Ok(Self::Other)
            }
        }
    }

    /// Takes `{"hex":"..."}`, the bytes of something that has no text; none if it is not that.
    pub(crate) fn hex(scanner: &mut Scanner<'t>) -> Scanned<Option<Vec<u8>>> {
        let mut bytes = None;
        if scanner.open(b'}')? {
            loop {
                let name = scanner.name()?;
                if name.is("hex") && scanner.peek() == Some(b'"') && bytes.is_none() {
                    bytes = Some(bytes_of_hex(&scanner.string()?.content()));
                } else {
                    scanner.skip()?;
                }
                if !scanner.more(b'}')? {
                    break;
                }
            }
        }
        Ok(bytes.flatten())
    }
}

impl Quoted<'_> {
    /// Tells whether the string is this text, escaped or not.
    #[inline]
    pub(crate) fn is(self, text: &str) -> bool {
        if self.escaped {
            return *self.content() == *text.as_bytes();
        }
        self.raw == text.as_bytes()
    }
}

/// Reads one value like [`decode`](crate::json::decode), and other fields of the same object.
///
/// Of fields with the same name the first counts.
///
/// ```
/// use broker_data::json::{self, Field, Form};
///
/// let text = br#"{"topic":"/a","@data-type":"count","data":1,"x":[null]}"#;
/// let mut bytes = Vec::new();
/// let [topic, other] = json::decode_with(text, Form::Compatible, ["topic", "y"], &mut bytes)?;
/// assert_eq!(topic.text(), Some(&b"/a"[..]));
/// assert_eq!(other, Field::Missing);
/// assert_eq!(bytes, broker_data::to_bytes(&1_u64)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// The same as those of [`decode`](crate::json::decode).
pub fn decode_with<'t, const N: usize>(
    text: &'t [u8],
    form: Form,
    names: [&str; N],
    out: &mut Vec<u8>,
) -> Result<[Field<'t>; N], JsonError> {
    decode_named(text, form, names, out)
}

/// Reads fields of an object, whatever else is in it.
///
/// # Errors
///
/// When the text is not JSON, is not an object, or nests too deeply.
pub fn fields<'t, const N: usize>(
    text: &'t [u8],
    form: Form,
    names: [&str; N],
) -> Result<[Field<'t>; N], JsonError> {
    let mut scanner = Scanner::new(text, form);
    read_fields(&mut scanner, names).map_err(|Failed| scanner.error())
}

fn read_fields<'t, const N: usize>(
    scanner: &mut Scanner<'t>,
    names: [&str; N],
) -> Scanned<[Field<'t>; N]> {
    let mut found = [const { Field::Missing }; N];
    scanner.blank();
    let start = scanner.position();
    if scanner.peek() != Some(b'{') {
        scanner.skip()?;
        scanner.end()?;
        return Err(scanner.fail(start, JsonErrorKind::NotAnObject));
    }
    if scanner.open(b'}')? {
        loop {
            let name = scanner.name()?;
            Field::take(scanner, Some(name), names, &mut found)?;
            if !scanner.more(b'}')? {
                break;
            }
        }
    }
    scanner.end()?;
    Ok(found)
}

/// Reads an array of strings.
///
/// ```
/// use broker_data::json::{self, Form};
///
/// let topics = json::strings(br#"["/a", "/b\u0041"]"#, Form::Compatible)?;
/// assert_eq!(topics, [&b"/a"[..], &b"/bA"[..]]);
/// # Ok::<(), json::JsonError>(())
/// ```
///
/// # Errors
///
/// When the text is not JSON, or something other than an array of strings.
pub fn strings(text: &[u8], form: Form) -> Result<Vec<Cow<'_, [u8]>>, JsonError> {
    let mut scanner = Scanner::new(text, form);
    read_strings(&mut scanner).map_err(|Failed| scanner.error())
}

fn read_strings<'t>(scanner: &mut Scanner<'t>) -> Scanned<Vec<Cow<'t, [u8]>>> {
    const EXPECTED: &str = "an array of strings";
    scanner.blank();
    if scanner.peek() != Some(b'[') {
        return Err(scanner.mismatch(EXPECTED));
    }
    let mut strings = Vec::new();
    if scanner.open(b']')? {
        loop {
            let start = scanner.position();
            match Field::read(scanner)? {
                Field::Text(text) => strings.push(text),
                Field::Missing | Field::Other => {
                    return Err(scanner.fail(start, JsonErrorKind::Data(EXPECTED)));
                }
            }
            if !scanner.more(b']')? {
                break;
            }
        }
    }
    scanner.end()?;
    Ok(strings)
}
