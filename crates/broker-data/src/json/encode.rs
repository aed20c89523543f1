//! Writes values: encoded bytes to JSON text.

use crate::bin::decode::scan;
use crate::bin::order::arrange;
use crate::bin::reader::{Item, Reader};
use crate::json::string::{put_raw, put_text};
use crate::json::{Form, scalar};
use crate::{DEPTH_MAX, DecodeError, DecodeErrorKind, Subnet};

/// Appends the JSON text of one encoded value to `out`.
///
/// The text has no blanks, `@data-type` comes before `data` and `key` before `value`, and the
/// elements of sets and tables come in ascending order, whatever their order in the bytes. On
/// failure `out` is as it was before.
///
/// ```
/// use broker_data::json::{self, Form};
/// use broker_data::{Timestamp, to_bytes};
///
/// let time = to_bytes(&Timestamp::from_ns(1_649_574_000_123_456_789))?;
/// let mut out = String::new();
/// json::encode(&time, Form::Compatible, &mut out)?;
/// assert_eq!(out, r#"{"@data-type":"timestamp","data":"2022-04-10T07:00:00.123"}"#);
///
/// out.clear();
/// json::encode(&time, Form::Lossless, &mut out)?;
/// assert_eq!(out, r#"{"@data-type":"timestamp","data":"2022-04-10T07:00:00.123456789"}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// When the bytes are not exactly one value; see [`validate`](crate::validate).
pub fn encode(bytes: &[u8], form: Form, out: &mut String) -> Result<(), DecodeError> {
    restored(out, |out| {
        out.push('{');
        write_fields(bytes, form, out)?;
        out.push('}');
        Ok(())
    })
}

/// Appends the fields `@data-type` and `data` of one encoded value, without the braces, for an
/// object that has other fields in front of them.
///
/// # Errors
///
/// The same as those of [`encode`].
pub fn encode_fields(bytes: &[u8], form: Form, out: &mut String) -> Result<(), DecodeError> {
    restored(out, |out| write_fields(bytes, form, out))
}

/// Returns the JSON text of one encoded value.
///
/// # Errors
///
/// The same as those of [`encode`].
pub fn to_text(bytes: &[u8], form: Form) -> Result<String, DecodeError> {
    let mut out = String::new();
    encode(bytes, form, &mut out)?;
    Ok(out)
}

fn restored(
    out: &mut String,
    write: impl FnOnce(&mut String) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let start = out.len();
    let result = write(out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn write_fields(bytes: &[u8], form: Form, out: &mut String) -> Result<(), DecodeError> {
    let mut writer = Writer {
        bytes,
        reader: Reader::new(bytes),
        form,
        room: DEPTH_MAX,
        ordered: false,
        out,
    };
    writer.fields()?;
    let length = writer.reader.position();
    if length < bytes.len() {
        return Err(DecodeError::new(length, DecodeErrorKind::End));
    }
    Ok(())
}

/// Recursion is bounded by the depth limit.
struct Writer<'a, 'o> {
    bytes: &'a [u8],
    reader: Reader<'a>,
    form: Form,
    /// Number of containers that may still be opened here.
    room: usize,
    /// The current value is known to be valid and in ascending order.
    ordered: bool,
    out: &'o mut String,
}

impl Writer<'_, '_> {
    fn value(&mut self) -> Result<(), DecodeError> {
        self.out.push('{');
        self.fields()?;
        self.out.push('}');
        Ok(())
    }

    fn fields(&mut self) -> Result<(), DecodeError> {
        let start = self.reader.position();
        match self.reader.next_item()? {
            Item::Vector(count) => self.inside(start, |writer| writer.vector(count)),
            Item::Set(count) => self.inside(start, |writer| writer.keyed(start, count, false)),
            Item::Table(count) => self.inside(start, |writer| writer.keyed(start, count, true)),
            scalar => {
                self.scalar(scalar);
                Ok(())
            }
        }
    }

    fn inside(
        &mut self,
        start: usize,
        write: impl FnOnce(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let Some(room) = self.room.checked_sub(1) else {
            return Err(DecodeError::new(start, DecodeErrorKind::Depth));
        };
        self.room = room;
        write(self)?;
        self.room = self.room.saturating_add(1);
        Ok(())
    }

    fn vector(&mut self, count: usize) -> Result<(), DecodeError> {
        self.out.push_str(r#""@data-type":"vector","data":["#);
        self.values(count)
    }

    /// Writes elements and the end of their array.
    fn values(&mut self, count: usize) -> Result<(), DecodeError> {
        for index in 0..count {
            self.comma(index);
            self.value()?;
        }
        self.out.push(']');
        Ok(())
    }

    fn entries(&mut self, count: usize) -> Result<(), DecodeError> {
        for index in 0..count {
            self.comma(index);
            self.out.push_str(r#"{"key":"#);
            self.value()?;
            self.out.push_str(r#","value":"#);
            self.value()?;
            self.out.push('}');
        }
        self.out.push(']');
        Ok(())
    }

    #[inline]
    fn comma(&mut self, index: usize) {
        if index > 0 {
            self.out.push(',');
        }
    }

    /// Writes a set or table, the head of which at `start` was taken.
    fn keyed(&mut self, start: usize, count: usize, mapped: bool) -> Result<(), DecodeError> {
        let known = self.ordered;
        if !known {
            let rest = self.bytes.get(start..).unwrap_or_default();
            let found = scan(rest).map_err(|error| moved(error, start))?;
            if self.room.saturating_add(1) < found.depth {
                return Err(DecodeError::new(start, DecodeErrorKind::Depth));
            }
            if found.unordered {
                let value = rest.get(..found.length).unwrap_or_default();
                let arranged = arrange(value).map_err(|error| moved(error, start))?;
                self.arranged(&arranged)?;
                let end = start.saturating_add(found.length);
                self.reader
                    .bytes(end.saturating_sub(self.reader.position()))?;
                return Ok(());
            }
            self.ordered = true;
        }
        if mapped {
            self.out.push_str(r#""@data-type":"table","data":["#);
            self.entries(count)?;
        } else {
            self.out.push_str(r#""@data-type":"set","data":["#);
            self.values(count)?;
        }
        self.ordered = known;
        Ok(())
    }

    /// Writes the fields of a value that was brought into order.
    fn arranged(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let mut writer = Writer {
            bytes,
            reader: Reader::new(bytes),
            form: self.form,
            room: self.room.saturating_add(1),
            ordered: true,
            out: &mut *self.out,
        };
        writer.fields()
    }

    #[inline]
    fn scalar(&mut self, item: Item<'_>) {
        let out = &mut *self.out;
        match item {
            Item::None => out.push_str(r#""@data-type":"none","data":{}"#),
            Item::Boolean(true) => out.push_str(r#""@data-type":"boolean","data":true"#),
            Item::Boolean(false) => out.push_str(r#""@data-type":"boolean","data":false"#),
            Item::Count(value) => {
                out.push_str(r#""@data-type":"count","data":"#);
                out.push_str(itoa::Buffer::new().format(value));
            }
            Item::Integer(value) => {
                out.push_str(r#""@data-type":"integer","data":"#);
                out.push_str(itoa::Buffer::new().format(value));
            }
            Item::Real(value) => {
                out.push_str(r#""@data-type":"real","data":"#);
                put_real(out, value);
            }
            Item::String(bytes) => {
                out.push_str(r#""@data-type":"string","data":"#);
                put_text(out, bytes, self.form);
            }
            Item::EnumValue(name) => {
                out.push_str(r#""@data-type":"enum-value","data":"#);
                put_text(out, name, self.form);
            }
            Item::Address(value) => {
                out.push_str(r#""@data-type":"address","data":""#);
                scalar::put_address(out, value);
                out.push('"');
            }
            Item::Subnet(value) => {
                out.push_str(r#""@data-type":"subnet","data":"#);
                put_subnet(out, value, self.form);
            }
            Item::Port(value) => {
                out.push_str(r#""@data-type":"port","data":""#);
                scalar::put_port(out, value);
                out.push('"');
            }
            Item::Timestamp(value) => {
                out.push_str(r#""@data-type":"timestamp","data":""#);
                scalar::put_timestamp(out, value, self.form);
                out.push('"');
            }
            Item::Timespan(value) => {
                out.push_str(r#""@data-type":"timespan","data":""#);
                scalar::put_timespan(out, value);
                out.push('"');
            }
            // Containers are written by the callers, which know what is inside.
            Item::Set(_) | Item::Table(_) | Item::Vector(_) => {}
        }
    }
}

/// Moves an error in a part of the bytes that starts there.
fn moved(error: DecodeError, start: usize) -> DecodeError {
    DecodeError::new(error.offset.saturating_add(start), error.kind)
}

/// Writes a real in the shortest form that reads back the same; there is always a point or an
/// exponent, without which clients would take it for an integer. Spec: websocket 4.2.
///
/// JSON has no infinities and no NaN: the words for them stand in quotes.
fn put_real(out: &mut String, value: f64) {
    if value.is_finite() {
        out.push_str(zmij::Buffer::new().format_finite(value));
    } else if value.is_nan() {
        out.push_str(r#""nan""#);
    } else if value.is_sign_positive() {
        out.push_str(r#""inf""#);
    } else {
        out.push_str(r#""-inf""#);
    }
}

/// Writes a subnet. One that has no text is made regular, or kept as hexadecimal digits.
fn put_subnet(out: &mut String, subnet: Subnet, form: Form) {
    if form == Form::Lossless && !scalar::is_regular(subnet) {
        put_raw(out, |out| scalar::put_subnet_hex(out, subnet));
    } else {
        out.push('"');
        scalar::put_subnet(out, scalar::regular(subnet));
        out.push('"');
    }
}
