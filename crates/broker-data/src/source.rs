//! What can be written as a value.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use crate::{
    Address, ByteString, EncodeError, Encoder, EnumValue, Kind, Port, Set, Subnet, Table, Timespan,
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
        match self {
            Self::None => enc.none(),
            Self::Boolean(value) => enc.boolean(*value),
            Self::Count(value) => enc.count(*value),
            Self::Integer(value) => enc.integer(*value),
            Self::Real(value) => enc.real(*value),
            Self::String(value) => return enc.string(value.as_bytes()),
            Self::Address(value) => enc.address(*value),
            Self::Subnet(value) => enc.subnet(*value),
            Self::Port(value) => enc.port(*value),
            Self::Timestamp(value) => enc.timestamp(*value),
            Self::Timespan(value) => enc.timespan(*value),
            Self::EnumValue(value) => return enc.enum_value(value.as_bytes()),
            Self::Set(value) => return value.encode(enc),
            Self::Table(value) => return value.encode(enc),
            Self::Vector(value) => return value.encode(enc),
        }
        Ok(())
    }
}

impl Source for Set {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.container(Kind::Set, self.len(), self.len(), |enc| {
            self.iter().try_for_each(|value| value.encode(enc))
        })
    }
}

impl Source for Table {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        let values = self.len().saturating_mul(2);
        enc.container(Kind::Table, self.len(), values, |enc| {
            self.iter().try_for_each(|(key, value)| {
                key.encode(enc)?;
                value.encode(enc)
            })
        })
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
        entries
            .into_iter()
            .try_for_each(|(key, value)| table.entry(|enc| enc.encode(&key), |enc| enc.encode(&value)))
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
