//! Wire bytes to Python objects, without anything in between.

use std::net::IpAddr;

use broker::data::{self, Item, Reader};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyBytes, PyDateTime, PyDelta, PyDict, PyFloat, PyFrozenSet, PyList, PySet, PyString,
    PyTuple, PyType,
};
use pyo3::{PyClass, PyClassInitializer};

use crate::encode::{ip_classes, utc};
use crate::text;
use crate::types::count::Count;
use crate::types::enum_value::Enum;
use crate::types::port::Port;
use crate::untrack::untrack;

/// Which Python types stand for sets, tables and strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// `set` and `dict`.
    Mutable,
    /// `frozenset` and `ImmutableData.HashableReadOnlyDict`: can be hashed wherever they are.
    Immutable,
    /// As `Immutable`, and strings are `str` whatever their bytes are: which type a program gets
    /// must not be up to the sender of a string.
    Typed,
    /// `set` and `dict`, and the immutable ones where Python has to hash them: within a set and in
    /// a key. No value fails.
    Mixed,
}

impl Flavour {
    /// The flavour of one set or table.
    const fn of(self, place: Place) -> Self {
        match (self, place) {
            (Self::Mixed, Place::Hashed) => Self::Immutable,
            (Self::Mixed, Place::Plain) => Self::Mutable,
            (other, _) => other,
        }
    }
}

/// Builds the Python object of one encoded value.
///
/// # Errors
///
/// `TypeError` for a set or table that would have to be hashed but is of the mutable flavour.
pub(crate) fn decode<'py>(
    py: Python<'py>,
    bytes: &[u8],
    flavour: Flavour,
) -> PyResult<Bound<'py, PyAny>> {
    decode_message(py, bytes, flavour).map(|decoded| decoded.object)
}

/// An object, and whether it can be part of a reference cycle.
pub(crate) struct Decoded<'py> {
    pub(crate) object: Bound<'py, PyAny>,
    pub(crate) is_tracked: bool,
}

/// As [`decode`], for what becomes a part of something else.
pub(crate) fn decode_message<'py>(
    py: Python<'py>,
    bytes: &[u8],
    flavour: Flavour,
) -> PyResult<Decoded<'py>> {
    let mut decoder = Decoder {
        py,
        reader: Reader::new(bytes),
        flavour,
        is_tracked: false,
    };
    let object = decoder
        .value(Place::Plain)
        .inspect_err(|_| crate::counters::count_conversion_error())?;
    Ok(Decoded {
        object,
        is_tracked: decoder.is_tracked,
    })
}

/// Whether Python will hash the object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Plain,
    Hashed,
}

struct Decoder<'a, 'py> {
    py: Python<'py>,
    reader: Reader<'a>,
    flavour: Flavour,
    /// Something was built that can be part of a reference cycle.
    is_tracked: bool,
}

impl<'py> Decoder<'_, 'py> {
    fn value(&mut self, place: Place) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let item = self
            .reader
            .next_item()
            .map_err(|error| PyValueError::new_err(format!("malformed value: {error}")))?;
        Ok(match item {
            Item::None => py.None().into_bound(py),
            Item::Boolean(value) => PyBool::new(py, value).to_owned().into_any(),
            Item::Count(value) => atomic(py, Count::new(value))?,
            Item::Integer(value) => value.into_pyobject(py)?.into_any(),
            Item::Real(value) => PyFloat::new(py, value).into_any(),
            // Python checks what it takes: a check before it would be a second one.
            Item::String(bytes) => match PyString::from_bytes(py, bytes) {
                Ok(text) => text.into_any(),
                Err(_) if self.flavour == Flavour::Typed => text::escaped(py, bytes)?.into_any(),
                Err(_) => PyBytes::new(py, bytes).into_any(),
            },
            Item::Address(address) => self.address(address)?,
            Item::Subnet(subnet) => {
                self.is_tracked = true;
                self::subnet(py, subnet)?
            }
            Item::Port(port) => atomic(py, Port::new(port))?,
            Item::Timestamp(time) => timestamp(py, time.ns())?,
            Item::Timespan(span) => timespan(py, span.ns())?,
            Item::EnumValue(name) => atomic(py, Enum::new(name))?,
            Item::Set(count) => self.set(count, place)?,
            Item::Table(count) => self.table(count, place)?,
            Item::Vector(count) => self.vector(count, place)?,
        })
    }

    fn vector(&mut self, count: usize, place: Place) -> PyResult<Bound<'py, PyAny>> {
        // The count was validated against the bytes that follow.
        let mut elements = Vec::with_capacity(count.min(self.reader.remaining()));
        let outside = std::mem::take(&mut self.is_tracked);
        for _ in 0..count {
            elements.push(self.value(place)?);
        }
        let vector = PyTuple::new(self.py, elements)?.into_any();
        if !self.is_tracked {
            untrack(&vector);
        }
        self.is_tracked |= outside;
        Ok(vector)
    }

    fn address(&mut self, address: data::Address) -> PyResult<Bound<'py, PyAny>> {
        let object = self::address(self.py, address)?;
        if has_plain_fields(self.py)? {
            // No attribute of it but the one that was just set can be set.
            untrack(&object);
        } else {
            self.is_tracked = true;
        }
        Ok(object)
    }

    fn set(&mut self, count: usize, place: Place) -> PyResult<Bound<'py, PyAny>> {
        self.is_tracked = true;
        match self.flavour.of(place) {
            Flavour::Mutable if place == Place::Hashed => {
                Err(PyTypeError::new_err("unhashable type: 'set'"))
            }
            Flavour::Mutable | Flavour::Mixed => {
                let set = PySet::empty(self.py)?;
                for _ in 0..count {
                    set.add(self.value(Place::Hashed)?)?;
                }
                Ok(set.into_any())
            }
            Flavour::Immutable | Flavour::Typed => {
                let elements = PyList::empty(self.py);
                for _ in 0..count {
                    elements.append(self.value(Place::Hashed)?)?;
                }
                Ok(self.py.get_type::<PyFrozenSet>().call1((elements,))?)
            }
        }
    }

    fn table(&mut self, count: usize, place: Place) -> PyResult<Bound<'py, PyAny>> {
        self.is_tracked = true;
        let flavour = self.flavour.of(place);
        let dict = match flavour {
            Flavour::Mutable if place == Place::Hashed => {
                return Err(PyTypeError::new_err("unhashable type: 'dict'"));
            }
            Flavour::Mutable | Flavour::Mixed => PyDict::new(self.py),
            Flavour::Immutable | Flavour::Typed => hashable_dict_class(self.py)?
                .call0()?
                .cast_into::<PyDict>()?,
        };
        for _ in 0..count {
            let key = self.value(Place::Hashed)?;
            let value = self.value(match flavour {
                // Hashing a read-only dict hashes its values.
                Flavour::Immutable | Flavour::Typed => place,
                Flavour::Mutable | Flavour::Mixed => Place::Plain,
            })?;
            // Writes into the dict itself, past the methods that forbid changes.
            dict.set_item(key, value)?;
        }
        Ok(dict.into_any())
    }
}

/// An object of a class of ours that refers to no other and has no attributes of its own.
fn atomic<'py, T>(py: Python<'py>, value: T) -> PyResult<Bound<'py, PyAny>>
where
    T: PyClass + Into<PyClassInitializer<T>>,
{
    let object = Bound::new(py, value)?.into_any();
    untrack(&object);
    Ok(object)
}

fn hashable_dict_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = CLASS.get_or_try_init(py, || -> PyResult<_> {
        let owner = py.import("broker")?.getattr("ImmutableData")?;
        Ok(owner
            .getattr("HashableReadOnlyDict")?
            .cast_into::<PyType>()?
            .unbind())
    })?;
    Ok(class.bind(py))
}

/// An `ipaddress` object. Setting its one field skips the parsing of its constructor, which is
/// most of the cost; if a Python release changes the field, the constructor is called.
pub(crate) fn address(py: Python<'_>, address: data::Address) -> PyResult<Bound<'_, PyAny>> {
    let classes = ip_classes(py)?;
    match address.to_ip() {
        IpAddr::V4(ip) => {
            let class = classes.address_v4.bind(py);
            let number = ip.to_bits();
            if has_plain_fields(py)? {
                fill(class, number.into_pyobject(py)?.into_any(), false)
            } else {
                class.call1((number,))
            }
        }
        IpAddr::V6(ip) => {
            let class = classes.address_v6.bind(py);
            let number = ip.to_bits();
            if has_plain_fields(py)? {
                fill(class, number.into_pyobject(py)?.into_any(), true)
            } else {
                class.call1((number,))
            }
        }
    }
}

/// Makes an address object from its number.
fn fill<'py>(
    class: &Bound<'py, PyType>,
    number: Bound<'py, PyAny>,
    scoped: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let address = class.call_method1(intern!(py, "__new__"), (class,))?;
    address.setattr(intern!(py, "_ip"), number)?;
    if scoped {
        address.setattr(intern!(py, "_scope_id"), py.None())?;
    }
    Ok(address)
}

/// Whether objects made by `fill` equal those of the constructors; asked once.
fn has_plain_fields(py: Python<'_>) -> PyResult<bool> {
    static PLAIN: PyOnceLock<bool> = PyOnceLock::new();
    PLAIN
        .get_or_try_init(py, || {
            let classes = ip_classes(py)?;
            let same = |class: &Py<PyType>, number: u128, scoped: bool| -> PyResult<bool> {
                let class = class.bind(py);
                let number = number.into_pyobject(py)?.into_any();
                let expected = class.call1((&number,))?;
                let filled = fill(class, number, scoped)?;
                Ok(filled.eq(&expected)?
                    && filled.hash()? == expected.hash()?
                    && filled.str()?.as_any().eq(expected.str()?)?
                    && filled.getattr("packed")?.eq(expected.getattr("packed")?)?)
            };
            let tried = same(&classes.address_v4, 0x7f00_0001, false)
                .and_then(|v4| Ok(v4 && same(&classes.address_v6, 1 << 120, true)?));
            Ok(tried.unwrap_or(false))
        })
        .copied()
}

/// Bits before an IPv4 address that is mapped into IPv6, and all bits of an address.
const MAPPED_BITS: u8 = 96;
const ADDRESS_BITS: u8 = 128;

/// An `ipaddress` network. Those of other programs can have host bits and lengths that are too
/// large; both are cut off, as no Python object could have them.
pub(crate) fn subnet(py: Python<'_>, subnet: data::Subnet) -> PyResult<Bound<'_, PyAny>> {
    let classes = ip_classes(py)?;
    let length = subnet.raw_length().min(ADDRESS_BITS);
    let network = subnet.network().mask(length).unwrap_or_default();
    match (network.to_ip(), length.checked_sub(MAPPED_BITS)) {
        (IpAddr::V4(ip), Some(length)) => {
            classes.network_v4.bind(py).call1(((ip.to_bits(), length),))
        }
        _ => {
            let number = u128::from_be_bytes(network.octets());
            classes.network_v6.bind(py).call1(((number, length),))
        }
    }
}

/// Nanoseconds as microseconds, rounded to the nearest, halves to even.
fn to_microseconds(nanoseconds: i64) -> i64 {
    let (whole, rest) = (nanoseconds.div_euclid(1000), nanoseconds.rem_euclid(1000));
    if rest > 500 || (rest == 500 && whole % 2 != 0) {
        whole + 1
    } else {
        whole
    }
}

const MICROSECONDS: i128 = 1_000_000;
const SECONDS_PER_DAY: i128 = 86_400;
const MICROSECONDS_PER_DAY: i128 = SECONDS_PER_DAY * MICROSECONDS;

/// The days of the least and the greatest `timedelta`, of which the latter is not whole.
const DELTA_DAYS: i128 = 999_999_999;
/// The days of the first and the last `datetime`, in the years 1 and 9999, counted from 1970.
const FIRST_DAY: i128 = -719_162;
const LAST_DAY: i128 = 2_932_896;

/// Splits into days, seconds of the day and microseconds; all but the days are not negative. The
/// days have to be such that Python has them.
fn split(microseconds: i128) -> (i32, i32, i32) {
    let seconds = microseconds.div_euclid(MICROSECONDS);
    (
        seconds.div_euclid(SECONDS_PER_DAY) as i32,
        seconds.rem_euclid(SECONDS_PER_DAY) as i32,
        microseconds.rem_euclid(MICROSECONDS) as i32,
    )
}

/// A `timedelta`.
pub(crate) fn timespan(py: Python<'_>, nanoseconds: i64) -> PyResult<Bound<'_, PyAny>> {
    timedelta(py, to_microseconds(nanoseconds).into())
}

/// A `timedelta`; the nearest one for what is out of its range.
pub(crate) fn timedelta(py: Python<'_>, microseconds: i128) -> PyResult<Bound<'_, PyAny>> {
    let (low, high) = (-DELTA_DAYS, DELTA_DAYS + 1);
    let microseconds =
        microseconds.clamp(low * MICROSECONDS_PER_DAY, high * MICROSECONDS_PER_DAY - 1);
    let (days, seconds, microseconds) = split(microseconds);
    Ok(PyDelta::new(py, days, seconds, microseconds, false)?.into_any())
}

/// An aware `datetime` in UTC.
pub(crate) fn timestamp(py: Python<'_>, nanoseconds: i64) -> PyResult<Bound<'_, PyAny>> {
    datetime(py, to_microseconds(nanoseconds).into())
}

/// An aware `datetime` in UTC, of microseconds since 1970; the nearest one for what is out of its
/// range.
pub(crate) fn datetime(py: Python<'_>, microseconds: i128) -> PyResult<Bound<'_, PyAny>> {
    let (low, high) = (FIRST_DAY, LAST_DAY + 1);
    let microseconds =
        microseconds.clamp(low * MICROSECONDS_PER_DAY, high * MICROSECONDS_PER_DAY - 1);
    let (days, seconds, microseconds) = split(microseconds);
    let (year, month, day) = date(days);
    Ok(PyDateTime::new(
        py,
        year,
        month,
        day,
        (seconds / 3600) as u8,
        (seconds / 60 % 60) as u8,
        (seconds % 60) as u8,
        microseconds as u32,
        Some(utc(py)?),
    )?
    .into_any())
}

/// The date that many days after 1970-01-01, in the Gregorian calendar.
///
/// The reverse of counting days: years from March, eras of 400 years.
fn date(days: i32) -> (i32, u8, u8) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (
        era * 400 + year_of_era + i32::from(month <= 2),
        month as u8,
        day as u8,
    )
}
