//! The one encoding among all that mean the same value.

use std::borrow::Cow;

use crate::bin::decode::{decode, scan};
use crate::bin::encode::to_bytes;
use crate::bin::reader::{Item, Reader};
use crate::{DecodeError, DecodeErrorKind};

/// Returns the encoding that this library and the original write for a value: sets and tables
/// sorted, lengths as short as they can be, one pattern for each special real.
///
/// Equal keys of a data store are equal bytes in this form (Spec: stores 8.2). Bytes that are
/// canonical already, as all bytes written by an [`Encoder`](crate::Encoder) are, are only looked
/// at.
///
/// ```
/// use broker_data::canonical;
///
/// let set = [12, 2, 2, 0, 0, 0, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 0, 0, 0, 8];
/// assert_eq!(canonical(&set)?[10], 8);
/// # Ok::<(), broker_data::DecodeError>(())
/// ```
///
/// # Errors
///
/// As [`decode`](crate::decode()).
pub fn canonical(bytes: &[u8]) -> Result<Cow<'_, [u8]>, DecodeError> {
    let found = scan(bytes)?;
    if found.length != bytes.len() {
        return Err(DecodeError::new(found.length, DecodeErrorKind::End));
    }
    if !found.unordered && has_canonical_items(bytes) {
        return Ok(Cow::Borrowed(bytes));
    }
    let value = decode(bytes)?;
    // What was read within the limits can be written within them.
    to_bytes(&value)
        .map(Cow::Owned)
        .map_err(|_| DecodeError::new(0, DecodeErrorKind::Other("a value that can be encoded")))
}

/// Whether every single item of a valid value has the form that is written.
fn has_canonical_items(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    while reader.remaining() > 0 {
        let before = reader.rest();
        let Ok(item) = reader.next_item() else {
            return false;
        };
        let size = before.len().saturating_sub(reader.remaining());
        let is_canonical = match item {
            Item::String(content) | Item::EnumValue(content) => {
                size == header_size(content.len()).saturating_add(content.len())
            }
            Item::Set(count) | Item::Table(count) | Item::Vector(count) => {
                size == header_size(count)
            }
            Item::Boolean(value) => before.get(1) == Some(&u8::from(value)),
            Item::Real(value) => to_bytes(&value).is_ok_and(|written| before.starts_with(&written)),
            Item::None
            | Item::Count(_)
            | Item::Integer(_)
            | Item::Address(_)
            | Item::Subnet(_)
            | Item::Port(_)
            | Item::Timestamp(_)
            | Item::Timespan(_) => true,
        };
        if !is_canonical {
            return false;
        }
    }
    true
}

/// Bytes of a tag and the length or count behind it.
const fn header_size(length: usize) -> usize {
    match length {
        0..0x80 => 2,
        0x80..0x4000 => 3,
        0x4000..0x20_0000 => 4,
        0x20_0000..0x1000_0000 => 5,
        _ => 6,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bin::encode::put_varbyte;
    use crate::value::arbitrary::values;

    fn is_borrowed(bytes: &[u8]) -> bool {
        matches!(canonical(bytes), Ok(Cow::Borrowed(_)))
    }

    #[test]
    fn sizes_are_those_that_are_written() {
        for value in [
            0,
            0x7f,
            0x80,
            0x3fff,
            0x4000,
            0x1f_ffff,
            0x20_0000,
            0x0fff_ffff,
            1 << 28,
        ] {
            let mut out = Vec::new();
            put_varbyte(&mut out, value);
            assert_eq!(header_size(value as usize), 1 + out.len(), "{value:#x}");
        }
    }

    #[test]
    fn every_other_form_becomes_the_written_one() {
        let cases: &[(&[u8], &[u8])] = &[
            // true as another number than 1
            (&[1, 7], &[1, 1]),
            // a length of one byte in two
            (&[5, 0x81, 0, b'x'], &[5, 1, b'x']),
            (&[11, 0x81, 0, b'x'], &[11, 1, b'x']),
            (&[14, 0x81, 0, 0], &[14, 1, 0]),
            // sets out of order, also inside of others
            (&[12, 2, 1, 1, 1, 0], &[12, 2, 1, 0, 1, 1]),
            (&[14, 1, 12, 2, 1, 1, 1, 0], &[14, 1, 12, 2, 1, 0, 1, 1]),
            // another quiet NaN is read as an infinity
            (
                &[4, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0],
                &[4, 0xff, 0xf0, 0, 0, 0, 0, 0, 0],
            ),
        ];
        for (given, expected) in cases {
            assert_eq!(&*canonical(given).unwrap(), *expected, "{given:?}");
            assert!(is_borrowed(expected), "{expected:?}");
        }
    }

    #[test]
    fn bytes_behind_the_value_are_refused() {
        assert_eq!(canonical(&[0, 0]).unwrap_err().offset, 1);
    }

    proptest! {
        #[test]
        fn what_is_written_is_canonical(value in values()) {
            prop_assert!(is_borrowed(&to_bytes(&value).unwrap()));
        }

        #[test]
        fn any_bytes_become_what_decoding_and_encoding_makes(
            bytes in proptest::collection::vec(any::<u8>(), 0..40)
        ) {
            match (canonical(&bytes), decode(&bytes)) {
                (Ok(written), Ok(value)) => prop_assert_eq!(&*written, &to_bytes(&value).unwrap()[..]),
                (Err(_), Err(_)) => {}
                (one, other) => prop_assert!(false, "{one:?} {other:?}"),
            }
        }
    }
}
