//! `Source`: types that can be written as a value.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use crate::{
    Address, ByteString, EncodeError, Encoder, EnumValue, Port, Set, Subnet, Table, Timespan,
    Timestamp, Value, View,
};

/// A type that can write itself as one value.
///
/// Implement it for your own types to encode them without an intermediate [`Value`]:
///
/// ```
/// use broker_data::{EncodeError, Encoder, Source, to_bytes};
///
/// struct Login<'a> {
///     user: &'a str,
///     attempts: u64,
/// }
///
/// impl Source for Login<'_> {
///     fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
///         enc.vector(2, |enc| {
///             enc.encode(self.user)?;
///             enc.count(self.attempts);
///             Ok(())
///         })
///     }
/// }
///
/// let login = Login { user: "root", attempts: 3 };
/// assert_eq!(to_bytes(&login)?, to_bytes(&("root", 3_u64))?);
/// # Ok::<(), EncodeError>(())
/// ```
///
/// Unsigned numbers are counts, signed ones integers; sequences and tuples are vectors, `None` and
/// `()` are no value. A sequence of `u8` is a vector of counts; for a string of bytes use
/// [`ByteString`] or [`Encoder::string`].
pub trait Source {
    /// Writes exactly one value.
    ///
    /// # Errors
    ///
    /// When the value does not fit the encoding; see [`EncodeError`].
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError>;
}

impl<T: Source + ?Sized> Source for &T {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        (**self).encode(enc)
    }
}

impl<T: Source + ?Sized> Source for Box<T> {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        (**self).encode(enc)
    }
}

impl<T: Source> Source for Option<T> {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        match self {
            Some(value) => value.encode(enc),
            None => {
                enc.none();
                Ok(())
            }
        }
    }
}

impl Source for Value {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.value(self)
    }
}

impl Source for Set {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.sorted_set(self.as_slice())
    }
}

impl Source for Table {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.sorted_table(self.as_slice())
    }
}

/// Copies the bytes; sets and tables that are out of order are brought into order.
impl Source for View<'_> {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.copied(self.bytes())
    }
}

impl<T: Source> Source for [T] {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.vector(self.len(), |enc| {
            self.iter().try_for_each(|value| enc.encode(value))
        })
    }
}

impl<T: Source, const N: usize> Source for [T; N] {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        self.as_slice().encode(enc)
    }
}

impl<T: Source> Source for Vec<T> {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        self.as_slice().encode(enc)
    }
}

impl<T: Source> Source for BTreeSet<T> {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        encode_set(self, enc)
    }
}

impl<T: Source, S> Source for HashSet<T, S> {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        encode_set(self, enc)
    }
}

impl<K: Source, V: Source> Source for BTreeMap<K, V> {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        encode_table(self, enc)
    }
}

impl<K: Source, V: Source, S> Source for HashMap<K, V, S> {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        encode_table(self, enc)
    }
}

fn encode_set<T: Source>(
    elements: impl IntoIterator<Item = T>,
    enc: &mut Encoder<'_>,
) -> Result<(), EncodeError> {
    enc.set(|set| {
        elements
            .into_iter()
            .try_for_each(|element| set.element(|enc| enc.encode(&element)))
    })
}

fn encode_table<K: Source, V: Source>(
    entries: impl IntoIterator<Item = (K, V)>,
    enc: &mut Encoder<'_>,
) -> Result<(), EncodeError> {
    enc.table(|table| {
        entries.into_iter().try_for_each(|(key, value)| {
            table.entry(|enc| enc.encode(&key), |enc| enc.encode(&value))
        })
    })
}

impl Source for str {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.string(self.as_bytes())
    }
}

impl Source for String {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.string(self.as_bytes())
    }
}

impl Source for ByteString {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.string(self.as_bytes())
    }
}

impl Source for EnumValue {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.enum_value(self.as_bytes())
    }
}

impl Source for Duration {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.timespan(Timespan::try_from(*self)?);
        Ok(())
    }
}

impl Source for SystemTime {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.timestamp(Timestamp::try_from(*self)?);
        Ok(())
    }
}

impl Source for () {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.none();
        Ok(())
    }
}

/// Types that one infallible method of the encoder writes.
macro_rules! source_by {
    ($($method:ident: $($type:ty),+;)+) => {$($(
        impl Source for $type {
            #[inline]
            fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
                enc.$method((*self).into());
                Ok(())
            }
        }
    )+)+};
}

source_by! {
    boolean: bool;
    count: u8, u16, u32, u64;
    integer: i8, i16, i32, i64;
    real: f32, f64;
    address: Address, IpAddr, Ipv4Addr, Ipv6Addr;
    subnet: Subnet;
    port: Port;
    timestamp: Timestamp;
    timespan: Timespan;
}

impl Source for usize {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        // No supported machine has more than 64 bits.
        enc.count(u64::try_from(*self).unwrap_or(u64::MAX));
        Ok(())
    }
}

impl Source for isize {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        // As above; the saturated number is never seen.
        enc.integer(i64::try_from(*self).unwrap_or(i64::MAX));
        Ok(())
    }
}

macro_rules! source_tuple {
    ($($length:literal: $($name:ident)+;)+) => {$(
        impl<$($name: Source),+> Source for ($($name,)+) {
            fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
                #[expect(non_snake_case, reason = "the fields are named after their types")]
                let ($($name,)+) = self;
                enc.vector($length, |enc| {
                    $(enc.encode($name)?;)+
                    Ok(())
                })
            }
        }
    )+};
}

source_tuple! {
    1: A;
    2: A B;
    3: A B C;
    4: A B C D;
    5: A B C D E;
    6: A B C D E F;
    7: A B C D E F G;
    8: A B C D E F G H;
    9: A B C D E F G H I;
    10: A B C D E F G H I J;
    11: A B C D E F G H I J K;
    12: A B C D E F G H I J K L;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Protocol, to_bytes};

    fn text<S: Source + ?Sized>(source: &S) -> String {
        let bytes = to_bytes(source).expect("the source is valid");
        View::new(&bytes)
            .expect("what was written is valid")
            .to_string()
    }

    #[test]
    fn kinds_follow_the_types() {
        assert_eq!(text(&()), "nil");
        assert_eq!(text(&true), "T");
        assert_eq!(
            text(&(1_u8, 2_u16, 3_u32, 4_u64, 5_usize)),
            "(1, 2, 3, 4, 5)"
        );
        assert_eq!(
            text(&(-1_i8, -2_i16, -3_i32, -4_i64, -5_isize)),
            "(-1, -2, -3, -4, -5)"
        );
        assert_eq!(text(&[0.5_f32]), "(0.500000)");
        assert_eq!(text("text"), "text");
        assert_eq!(text(&Some(&Box::new(String::from("text")))), "text");
        assert_eq!(text(&ByteString::from(b"\xff")), "\u{fffd}");
        assert_eq!(text(&EnumValue::new("X::Y")), "X::Y");
        assert_eq!(text(&[IpAddr::V4(Ipv4Addr::LOCALHOST)][..]), "(127.0.0.1)");
        assert_eq!(text(&Ipv6Addr::LOCALHOST), "::1");
        assert_eq!(text(&Port::new(53, Protocol::Udp)), "53/udp");
        assert_eq!(text(&Subnet::default()), "::/0");
        assert_eq!(
            text(&(Timestamp::from_ns(1), Timespan::from_ns(2))),
            "(1ns, 2ns)"
        );
        assert_eq!(
            text(&(SystemTime::UNIX_EPOCH, Duration::from_nanos(5))),
            "(0ns, 5ns)"
        );
        assert_eq!(text(&BTreeSet::from([2_u64, 1])), "{1, 2}");
        assert_eq!(text(&HashSet::from(["b", "a", "c"])), "{a, b, c}");
        assert_eq!(text(&BTreeMap::from([("a", 1_u64)])), "{a -> 1}");
        assert_eq!(
            text(&HashMap::from([(2_u64, "b"), (1, "a")])),
            "{1 -> a, 2 -> b}"
        );
    }

    #[test]
    fn the_order_of_the_set_is_that_of_values() {
        // Rust puts -1 first, the wire has the same order here, but not for options.
        assert_eq!(text(&BTreeSet::from([1_i64, -1])), "{-1, 1}");
        assert_eq!(text(&BTreeSet::from([Some("a"), None])), "{nil, a}");
    }

    #[test]
    fn times_out_of_range_are_refused() {
        assert!(matches!(
            to_bytes(&Duration::MAX),
            Err(EncodeError::Time(_))
        ));
        let late = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000_000_000);
        assert!(matches!(to_bytes(&late), Err(EncodeError::Time(_))));
    }
}
