//! The tree of values, with a total order over all of them.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use crate::{Address, ByteString, EnumValue, Kind, Port, Set, Subnet, Table, Timespan, Timestamp};

/// A value of any of the fifteen kinds.
///
/// Values are ordered by kind first, then within the kind (Spec: wire 4.1): numbers by size, text
/// and addresses byte by byte, ports by number then protocol, containers element by element.
/// Order, equality and hash are total: NaN equals itself and comes after all other reals, and
/// `-0.0` equals `0.0`. See `docs/adr/0005-nan-order.md`.
///
/// [`Display`](std::fmt::Display) writes the text form of the original, with a replacement
/// character for bytes that are not UTF-8; [`Value::text`] has them raw.
///
/// ```
/// use broker_data::{Set, Value};
///
/// let set = Set::from_iter([Value::Count(2), Value::Integer(-1), Value::Count(2)]);
/// assert_eq!(Value::Set(set).to_string(), "{2, -1}");
/// assert_ne!(Value::from(1_u64), Value::from(1_i64));
/// ```
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// No value.
    #[default]
    None,
    /// True or false.
    Boolean(bool),
    /// Unsigned number.
    Count(u64),
    /// Signed number.
    Integer(i64),
    /// Floating-point number.
    Real(f64),
    /// Bytes, most often UTF-8.
    String(ByteString),
    /// IP address.
    Address(Address),
    /// Network of addresses.
    Subnet(Subnet),
    /// Transport-level port.
    Port(Port),
    /// Point in time.
    Timestamp(Timestamp),
    /// Duration.
    Timespan(Timespan),
    /// Name of a member of an enumeration.
    EnumValue(EnumValue),
    /// Sorted unique values.
    Set(Set),
    /// Values by key, sorted by key.
    Table(Table),
    /// Sequence of values.
    Vector(Vec<Self>),
}

impl Value {
    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::None => Kind::None,
            Self::Boolean(_) => Kind::Boolean,
            Self::Count(_) => Kind::Count,
            Self::Integer(_) => Kind::Integer,
            Self::Real(_) => Kind::Real,
            Self::String(_) => Kind::String,
            Self::Address(_) => Kind::Address,
            Self::Subnet(_) => Kind::Subnet,
            Self::Port(_) => Kind::Port,
            Self::Timestamp(_) => Kind::Timestamp,
            Self::Timespan(_) => Kind::Timespan,
            Self::EnumValue(_) => Kind::EnumValue,
            Self::Set(_) => Kind::Set,
            Self::Table(_) => Kind::Table,
            Self::Vector(_) => Kind::Vector,
        }
    }

    /// Tells whether this is no value.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Returns the boolean, when this is one.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the unsigned number, when this is one.
    #[must_use]
    pub const fn as_count(&self) -> Option<u64> {
        match self {
            Self::Count(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the signed number, when this is one.
    #[must_use]
    pub const fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the floating-point number, when this is one.
    #[must_use]
    pub const fn as_real(&self) -> Option<f64> {
        match self {
            Self::Real(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the string, when this is one.
    #[must_use]
    pub const fn as_string(&self) -> Option<&ByteString> {
        match self {
            Self::String(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the bytes of the string, when this is one.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        self.as_string().map(ByteString::as_bytes)
    }

    /// Returns the text of the string, when this is one and is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.as_string()?.to_str().ok()
    }

    /// Returns the address, when this is one.
    #[must_use]
    pub const fn as_address(&self) -> Option<Address> {
        match self {
            Self::Address(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the subnet, when this is one.
    #[must_use]
    pub const fn as_subnet(&self) -> Option<Subnet> {
        match self {
            Self::Subnet(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the port, when this is one.
    #[must_use]
    pub const fn as_port(&self) -> Option<Port> {
        match self {
            Self::Port(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the point in time, when this is one.
    #[must_use]
    pub const fn as_timestamp(&self) -> Option<Timestamp> {
        match self {
            Self::Timestamp(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the duration, when this is one.
    #[must_use]
    pub const fn as_timespan(&self) -> Option<Timespan> {
        match self {
            Self::Timespan(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the member of an enumeration, when this is one.
    #[must_use]
    pub const fn as_enum(&self) -> Option<&EnumValue> {
        match self {
            Self::EnumValue(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the set, when this is one.
    #[must_use]
    pub const fn as_set(&self) -> Option<&Set> {
        match self {
            Self::Set(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the table, when this is one.
    #[must_use]
    pub const fn as_table(&self) -> Option<&Table> {
        match self {
            Self::Table(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the elements of the vector, when this is one.
    #[must_use]
    pub fn as_vector(&self) -> Option<&[Self]> {
        match self {
            Self::Vector(value) => Some(value),
            _ => None,
        }
    }
}

/// Compares reals so that every two have an order: NaN last, both zeros equal.
pub(crate) fn compare_reals(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b)
        .unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::None, Self::None) => Ordering::Equal,
            (Self::Boolean(a), Self::Boolean(b)) => a.cmp(b),
            (Self::Count(a), Self::Count(b)) => a.cmp(b),
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Real(a), Self::Real(b)) => compare_reals(*a, *b),
            (Self::String(a), Self::String(b)) => a.cmp(b),
            (Self::Address(a), Self::Address(b)) => a.cmp(b),
            (Self::Subnet(a), Self::Subnet(b)) => a.cmp(b),
            (Self::Port(a), Self::Port(b)) => a.cmp(b),
            (Self::Timestamp(a), Self::Timestamp(b)) => a.cmp(b),
            (Self::Timespan(a), Self::Timespan(b)) => a.cmp(b),
            (Self::EnumValue(a), Self::EnumValue(b)) => a.cmp(b),
            (Self::Set(a), Self::Set(b)) => a.cmp(b),
            (Self::Table(a), Self::Table(b)) => a.cmp(b),
            (Self::Vector(a), Self::Vector(b)) => a.cmp(b),
            _ => self.kind().cmp(&other.kind()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind().hash(state);
        match self {
            Self::None => {}
            Self::Boolean(value) => value.hash(state),
            Self::Count(value) => value.hash(state),
            Self::Integer(value) => value.hash(state),
            Self::Real(value) => hash_real(*value, state),
            Self::String(value) => value.hash(state),
            Self::Address(value) => value.hash(state),
            Self::Subnet(value) => value.hash(state),
            Self::Port(value) => value.hash(state),
            Self::Timestamp(value) => value.hash(state),
            Self::Timespan(value) => value.hash(state),
            Self::EnumValue(value) => value.hash(state),
            Self::Set(value) => value.hash(state),
            Self::Table(value) => value.hash(state),
            Self::Vector(value) => value.hash(state),
        }
    }
}

/// Equal reals hash alike: one NaN, one zero.
fn hash_real<H: Hasher>(value: f64, state: &mut H) {
    let bits = if value.is_nan() {
        f64::NAN.to_bits()
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    };
    bits.hash(state);
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use super::*;

    fn hash(value: &Value) -> u64 {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn reals_have_a_total_order_with_nan_last() {
        let reals = [
            f64::NEG_INFINITY,
            -1.0,
            -f64::MIN_POSITIVE / 2.0,
            0.0,
            5e-324,
            1.0,
            f64::INFINITY,
            f64::NAN,
        ];
        for pair in reals.windows(2) {
            assert!(Value::Real(pair[0]) < Value::Real(pair[1]), "{pair:?}");
        }
        for (a, b) in [(0.0, -0.0), (f64::NAN, -f64::NAN)] {
            let (a, b) = (Value::Real(a), Value::Real(b));
            assert_eq!(a, b);
            assert_eq!(hash(&a), hash(&b));
        }
    }

    #[test]
    fn kinds_come_first() {
        assert!(Value::None < Value::Boolean(false));
        assert!(Value::Count(u64::MAX) < Value::Integer(i64::MIN));
        assert!(Value::Set(Set::new()) < Value::Table(Table::new()));
        assert!(Value::Table(Table::new()) < Value::Vector(vec![]));
        assert_ne!(hash(&Value::Count(1)), hash(&Value::Integer(1)));
    }
}

#[cfg(test)]
pub(crate) mod arbitrary;
