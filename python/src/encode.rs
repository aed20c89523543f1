//! Python objects to wire bytes, without anything in between.
//!
//! Exact types are tested first, in the order of their frequency in real messages; sub-classes
//! and rarities follow. Nothing here can panic whatever the objects do: containers are walked
//! with iterators that notice changes, and nesting is bounded by the encoder.

use std::cell::Cell;
use std::net::{Ipv4Addr, Ipv6Addr};

use broker::data::{self, Encoder};
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyBytes, PyDateAccess, PyDateTime, PyDelta, PyDeltaAccess, PyDict, PyFloat,
    PyFrozenSet, PyInt, PyList, PyMappingProxy, PySet, PyString, PyTimeAccess, PyTuple, PyType,
    PyTzInfo, PyTzInfoAccess,
};

use crate::data::{Data, append};
use crate::error::{CallError, Fallible, expected};
use crate::text;
use crate::types::address::Address;
use crate::types::containers::{Set, Table, Vector};
use crate::types::count::Count;
use crate::types::enum_value::Enum;
use crate::types::port::Port;
use crate::types::subnet::Subnet;
use crate::types::time::{Timespan, Timestamp};
use crate::zeek::Message;

/// A buffer larger than this is given back to the system after use.
const SCRATCH_SIZE_MAX: usize = 64 * 1024;

thread_local! {
    /// Saves growing a new buffer for each value. It is taken out while in use, because
    /// conversion may run code of the program that converts, too.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Has one function write bytes and lends them to another.
///
/// Conversion is over before the second begins, so that it may take locks.
pub(crate) fn with_scratch<R>(
    write: impl FnOnce(&mut Vec<u8>) -> Fallible,
    read: impl FnOnce(&[u8]) -> PyResult<R>,
) -> PyResult<R> {
    let mut buffer = SCRATCH.take();
    buffer.clear();
    let result = match write(&mut buffer) {
        Ok(()) => read(&buffer),
        Err(failure) => Err(failure.into()),
    };
    if buffer.capacity() <= SCRATCH_SIZE_MAX {
        SCRATCH.set(buffer);
    }
    result
}

/// The classes of `ipaddress`.
pub(crate) struct IpClasses {
    pub(crate) address_v4: Py<PyType>,
    pub(crate) address_v6: Py<PyType>,
    pub(crate) network_v4: Py<PyType>,
    pub(crate) network_v6: Py<PyType>,
}

pub(crate) fn ip_classes(py: Python<'_>) -> PyResult<&IpClasses> {
    static CLASSES: PyOnceLock<IpClasses> = PyOnceLock::new();
    CLASSES.get_or_try_init(py, || {
        let module = py.import("ipaddress")?;
        let class = |name: &str| -> PyResult<Py<PyType>> {
            Ok(module.getattr(name)?.cast_into::<PyType>()?.unbind())
        };
        Ok(IpClasses {
            address_v4: class("IPv4Address")?,
            address_v6: class("IPv6Address")?,
            network_v4: class("IPv4Network")?,
            network_v6: class("IPv6Network")?,
        })
    })
}

/// Writes one value.
pub(crate) fn encode(value: &Bound<'_, PyAny>, enc: &mut Encoder<'_>) -> Fallible {
    if let Ok(text) = value.cast_exact::<PyString>() {
        return string(text, enc);
    }
    if let Ok(integer) = value.cast_exact::<PyInt>() {
        return self::integer(integer, enc);
    }
    if let Ok(count) = value.cast_exact::<Count>() {
        enc.count(count.get().value());
        return Ok(());
    }
    if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        return self::tuple(tuple, enc);
    }
    if let Ok(real) = value.cast_exact::<PyFloat>() {
        enc.real(real.value());
        return Ok(());
    }
    if let Ok(boolean) = value.cast_exact::<PyBool>() {
        enc.boolean(boolean.is_true());
        return Ok(());
    }
    if value.is_none() {
        enc.none();
        return Ok(());
    }
    if let Ok(port) = value.cast_exact::<Port>() {
        enc.port(port.get().value());
        return Ok(());
    }
    let ip = ip_classes(value.py())?;
    let class = value.get_type();
    if class.is(&ip.address_v4) {
        enc.address(address_v4(value)?);
        return Ok(());
    }
    if class.is(&ip.address_v6) {
        enc.address(address_v6(value)?);
        return Ok(());
    }
    if let Ok(time) = value.cast_exact::<PyDateTime>() {
        enc.timestamp(data::Timestamp::from_ns(timestamp(time)?));
        return Ok(());
    }
    if let Ok(span) = value.cast_exact::<PyDelta>() {
        enc.timespan(data::Timespan::from_ns(timespan(span)?));
        return Ok(());
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        return self::list(list, enc);
    }
    if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        return Ok(enc.string(bytes.as_bytes())?);
    }
    if let Ok(name) = value.cast_exact::<Enum>() {
        return Ok(name.get().with_name(|name| enc.enum_value(name))?);
    }
    if value.is_exact_instance_of::<PyDict>() {
        return table(value, enc);
    }
    if value.is_exact_instance_of::<PySet>() || value.is_exact_instance_of::<PyFrozenSet>() {
        return set(value, enc);
    }
    uncommon(value, ip, enc)
}

/// Wrappers, networks and sub-classes, in the order that decides what a sub-class of two is.
#[cold]
#[inline(never)]
fn uncommon(value: &Bound<'_, PyAny>, ip: &IpClasses, enc: &mut Encoder<'_>) -> Fallible {
    if let Ok(message) = value.cast::<Message>() {
        return append(&message.get().encoded(), enc);
    }
    if let Ok(data) = value.cast::<Data>() {
        return append(&data.get().encoded(), enc);
    }
    if let Ok(integer) = value.cast::<PyInt>() {
        return self::integer(integer, enc);
    }
    if let Ok(real) = value.cast::<PyFloat>() {
        enc.real(real.value());
        return Ok(());
    }
    if let Ok(text) = value.cast::<PyString>() {
        return string(text, enc);
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(enc.string(bytes.as_bytes())?);
    }
    if wrapper(value, enc)? {
        return Ok(());
    }
    if let Ok(span) = value.cast::<PyDelta>() {
        enc.timespan(data::Timespan::from_ns(timespan(span)?));
    } else if let Ok(time) = value.cast::<PyDateTime>() {
        enc.timestamp(data::Timestamp::from_ns(timestamp(time)?));
    } else if value.is_instance(ip.address_v4.bind(value.py()))? {
        enc.address(address_v4(value)?);
    } else if value.is_instance(ip.address_v6.bind(value.py()))? {
        enc.address(address_v6(value)?);
    } else if value.is_instance(ip.network_v4.bind(value.py()))?
        || value.is_instance(ip.network_v6.bind(value.py()))?
    {
        enc.subnet(network(value)?);
    } else if let Ok(list) = value.cast::<PyList>() {
        return self::list(list, enc);
    } else if let Ok(tuple) = value.cast::<PyTuple>() {
        return self::tuple(tuple, enc);
    } else if value.is_instance_of::<PySet>() || value.is_instance_of::<PyFrozenSet>() {
        return set(value, enc);
    } else if value.is_instance_of::<PyDict>() || value.is_instance_of::<PyMappingProxy>() {
        return table(value, enc);
    } else if !numpy_scalar(value, enc)? {
        return record(value, enc);
    }
    Ok(())
}

/// The abstract classes of numpy's scalars.
struct NumpyClasses {
    integer: Py<PyType>,
    floating: Py<PyType>,
    boolean: Py<PyType>,
}

/// Those classes if the program uses numpy; it is never imported for this.
fn numpy_classes(py: Python<'_>) -> PyResult<Option<&NumpyClasses>> {
    static CLASSES: PyOnceLock<NumpyClasses> = PyOnceLock::new();
    if let Some(classes) = CLASSES.get(py) {
        return Ok(Some(classes));
    }
    let modules = py.import("sys")?.getattr("modules")?;
    let Ok(numpy) = modules.get_item("numpy") else {
        return Ok(None);
    };
    let class = |name: &str| -> PyResult<Py<PyType>> {
        Ok(numpy.getattr(name)?.cast_into::<PyType>()?.unbind())
    };
    let classes = (class("integer"), class("floating"), class("bool_"));
    let (Ok(integer), Ok(floating), Ok(boolean)) = classes else {
        // A module of that name that is something else, or is being imported.
        return Ok(None);
    };
    let classes = NumpyClasses {
        integer,
        floating,
        boolean,
    };
    CLASSES.get_or_try_init(py, || Ok(classes)).map(Some)
}

/// Writes an integer, real or boolean of numpy, which programs that compute scores have; false for
/// anything else. A `numpy.float64` is a `float` and does not come here.
fn numpy_scalar(value: &Bound<'_, PyAny>, enc: &mut Encoder<'_>) -> Result<bool, CallError> {
    let py = value.py();
    let Some(numpy) = numpy_classes(py)? else {
        return Ok(false);
    };
    if value.is_instance(numpy.boolean.bind(py))? {
        enc.boolean(value.is_truthy()?);
    } else if value.is_instance(numpy.floating.bind(py))? {
        enc.real(value.extract()?);
    } else if value.is_instance(numpy.integer.bind(py))?
        // A `timedelta64` counts as an integer there but cannot become one.
        && value.get_type().hasattr(intern!(py, "__index__"))?
    {
        let number = value.call_method0(intern!(py, "__index__"))?;
        integer(number.cast().map_err(PyErr::from)?, enc)?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

/// Writes an object of a class with fields, such as a dataclass, as a record or, if its class stands
/// for an event, as that.
fn record(value: &Bound<'_, PyAny>, enc: &mut Encoder<'_>) -> Fallible {
    let py = value.py();
    let class = value.get_type();
    // Dataclasses, classes of attrs and models of pydantic. The module that knows more about them
    // is not loaded for anything else.
    let is_record = class.hasattr(intern!(py, "__dataclass_fields__"))?
        || class.hasattr(intern!(py, "__attrs_attrs__"))?
        || class.hasattr(intern!(py, "model_fields"))?
        || class.hasattr(intern!(py, "__fields__"))?;
    if is_record {
        let module = py.import("broker.zeek.types")?;
        let made = module.call_method1(intern!(py, "as_value"), (value,))?;
        if !made.is_none() {
            return encode(&made, enc);
        }
    }
    Err(PyTypeError::new_err(format!("unsupported data type: {}", class.str()?)).into())
}

/// Writes a value of one of our own classes; false when it is of another.
fn wrapper(value: &Bound<'_, PyAny>, enc: &mut Encoder<'_>) -> Result<bool, CallError> {
    if let Ok(address) = value.cast::<Address>() {
        enc.address(address.get().value());
    } else if let Ok(count) = value.cast::<Count>() {
        enc.count(count.get().value());
    } else if let Ok(name) = value.cast::<Enum>() {
        name.get().with_name(|name| enc.enum_value(name))?;
    } else if let Ok(port) = value.cast::<Port>() {
        enc.port(port.get().value());
    } else if let Ok(elements) = value.cast::<Set>() {
        enc.set(|set| -> Fallible {
            for element in elements.get().snapshot() {
                set.element(|enc| append(&element, enc))?;
            }
            Ok(())
        })?;
    } else if let Ok(subnet) = value.cast::<Subnet>() {
        enc.subnet(subnet.get().value());
    } else if let Ok(entries) = value.cast::<Table>() {
        enc.table(|table| -> Fallible {
            for (key, value) in entries.get().snapshot() {
                table.entry(|enc| append(&key, enc), |enc| append(&value, enc))?;
            }
            Ok(())
        })?;
    } else if let Ok(span) = value.cast::<Timespan>() {
        enc.timespan(data::Timespan::from_ns(span.get().ns()));
    } else if let Ok(time) = value.cast::<Timestamp>() {
        enc.timestamp(data::Timestamp::from_ns(time.get().ns()));
    } else if let Ok(elements) = value.cast::<Vector>() {
        let elements = elements.get().snapshot();
        enc.vector(elements.len(), |enc| -> Fallible {
            elements.iter().try_for_each(|element| append(element, enc))
        })?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn string(text: &Bound<'_, PyString>, enc: &mut Encoder<'_>) -> Fallible {
    match text.to_cow() {
        Ok(text) => Ok(enc.string(text.as_bytes())?),
        Err(error) => escaped_string(text, error, enc),
    }
}

/// As [`string`], for one with surrogates. What Python says of them is dropped here, apart from what
/// nearly all strings need.
#[cold]
#[inline(never)]
fn escaped_string(text: &Bound<'_, PyString>, error: PyErr, enc: &mut Encoder<'_>) -> Fallible {
    drop(error);
    Ok(enc.string(&text::to_bytes(text)?)?)
}

fn integer(integer: &Bound<'_, PyInt>, enc: &mut Encoder<'_>) -> Fallible {
    let number: i64 = integer.extract().map_err(|_| {
        PyOverflowError::new_err(
            "an integer goes from -2**63 to 2**63 - 1; a broker.Count goes up to 2**64 - 1",
        )
    })?;
    enc.integer(number);
    Ok(())
}

fn tuple(tuple: &Bound<'_, PyTuple>, enc: &mut Encoder<'_>) -> Fallible {
    enc.vector(tuple.len(), |enc| {
        tuple
            .iter_borrowed()
            .try_for_each(|element| encode(&element, enc))
    })
}

fn list(list: &Bound<'_, PyList>, enc: &mut Encoder<'_>) -> Fallible {
    enc.vector(list.len(), |enc| {
        list.iter().try_for_each(|element| encode(&element, enc))
    })
}

fn set(elements: &Bound<'_, PyAny>, enc: &mut Encoder<'_>) -> Fallible {
    enc.set(|set| {
        for element in elements.try_iter()? {
            let element = element?;
            set.element(|enc| encode(&element, enc))?;
        }
        Ok(())
    })
}

fn table(mapping: &Bound<'_, PyAny>, enc: &mut Encoder<'_>) -> Fallible {
    let items = mapping.call_method0(intern!(mapping.py(), "items"))?;
    enc.table(|table| {
        for item in items.try_iter()? {
            let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item?.extract()?;
            table.entry(|enc| encode(&key, enc), |enc| encode(&value, enc))?;
        }
        Ok(())
    })
}

/// The integer inside of an `ipaddress` object, or its public bytes if that is gone one day.
fn address_v4(address: &Bound<'_, PyAny>) -> PyResult<data::Address> {
    let py = address.py();
    if let Ok(number) = address.getattr(intern!(py, "_ip"))
        && let Ok(number) = number.extract::<u32>()
    {
        return Ok(Ipv4Addr::from_bits(number).into());
    }
    Ok(Ipv4Addr::from(
        address
            .getattr(intern!(py, "packed"))?
            .extract::<[u8; 4]>()?,
    )
    .into())
}

fn address_v6(address: &Bound<'_, PyAny>) -> PyResult<data::Address> {
    let py = address.py();
    if let Ok(number) = address.getattr(intern!(py, "_ip"))
        && let Ok(number) = number.extract::<u128>()
    {
        return Ok(Ipv6Addr::from_bits(number).into());
    }
    Ok(Ipv6Addr::from(
        address
            .getattr(intern!(py, "packed"))?
            .extract::<[u8; 16]>()?,
    )
    .into())
}

/// Bits before an IPv4 address that is mapped into IPv6.
const MAPPED_BITS: u8 = 96;

/// A network; one of IPv4 addresses mapped into IPv6 becomes that of the IPv4 addresses.
fn network(network: &Bound<'_, PyAny>) -> PyResult<data::Subnet> {
    let py = network.py();
    let first = network.getattr(intern!(py, "network_address"))?;
    let length: u8 = network.getattr(intern!(py, "prefixlen"))?.extract()?;
    let (address, length) = if network.getattr(intern!(py, "version"))?.eq(4)? {
        (address_v4(&first)?, Some(length))
    } else {
        let address = address_v6(&first)?;
        let mapped = address.is_v4();
        (
            address,
            if mapped {
                length.checked_sub(MAPPED_BITS)
            } else {
                Some(length)
            },
        )
    };
    length
        .and_then(|length| data::Subnet::new(address, length))
        .ok_or_else(|| expected("a network", network))
}

const NANOSECONDS: i128 = 1_000_000_000;
const NANOSECONDS_PER_MICROSECOND: i128 = 1000;
const SECONDS_PER_DAY: i64 = 86_400;
const MICROSECONDS_PER_SECOND: i64 = 1_000_000;

/// The years in which times can be in range, whatever the local zone.
const LOCAL_YEARS: std::ops::RangeInclusive<i32> = 1677..=2262;

fn out_of_range() -> PyErr {
    PyOverflowError::new_err("time out of the range of 64-bit nanoseconds, about 292 years")
}

/// Nanoseconds of a time in microseconds.
///
/// The ends of the range are no whole microseconds: what is received there becomes the nearest
/// one, which may lie beyond. It must be possible to send it on, so the nearest end stands for it.
fn in_range(nanoseconds: i128) -> PyResult<i64> {
    match i64::try_from(nanoseconds) {
        Ok(nanoseconds) => Ok(nanoseconds),
        Err(_) => nearest(nanoseconds),
    }
}

#[cold]
fn nearest(nanoseconds: i128) -> PyResult<i64> {
    let (low, high) = (i128::from(i64::MIN), i128::from(i64::MAX));
    let nearest = nanoseconds.clamp(low, high);
    if nanoseconds.abs_diff(nearest) >= NANOSECONDS_PER_MICROSECOND.unsigned_abs() {
        return Err(out_of_range());
    }
    // Within the range of 64 bits now.
    Ok(nearest as i64)
}

/// A time span in microseconds.
fn microseconds(span: &Bound<'_, PyDelta>) -> i128 {
    let seconds = i64::from(span.get_days()) * SECONDS_PER_DAY + i64::from(span.get_seconds());
    i128::from(seconds) * i128::from(MICROSECONDS_PER_SECOND) + i128::from(span.get_microseconds())
}

/// A `timedelta` as nanoseconds.
pub(crate) fn timespan(span: &Bound<'_, PyDelta>) -> PyResult<i64> {
    in_range(microseconds(span) * NANOSECONDS_PER_MICROSECOND)
}

/// The time zone UTC, the one object of it.
pub(crate) fn utc(py: Python<'_>) -> PyResult<&Bound<'_, PyTzInfo>> {
    static UTC: PyOnceLock<Py<PyTzInfo>> = PyOnceLock::new();
    let utc = UTC.get_or_try_init(py, || -> PyResult<_> {
        Ok(PyTzInfo::utc(py)?.to_owned().unbind())
    })?;
    Ok(utc.bind(py))
}

/// A `datetime` as nanoseconds since 1970 UTC, computed in integers. Naive means local time.
pub(crate) fn timestamp(time: &Bound<'_, PyDateTime>) -> PyResult<i64> {
    let py = time.py();
    let utc = utc(py)?;
    match time.get_tzinfo() {
        Some(zone) if zone.is(utc) => {
            let microseconds = microseconds_as_written(time);
            // In 64 bits, as nearly all times are.
            match microseconds.checked_mul(NANOSECONDS_PER_MICROSECOND as i64) {
                Some(nanoseconds) => Ok(nanoseconds),
                None => in_range(i128::from(microseconds) * NANOSECONDS_PER_MICROSECOND),
            }
        }
        Some(_) => {
            let offset = time.call_method0(intern!(py, "utcoffset"))?;
            match offset.cast::<PyDelta>() {
                Ok(offset) => in_range(
                    (i128::from(microseconds_as_written(time)) - microseconds(offset))
                        * NANOSECONDS_PER_MICROSECOND,
                ),
                // A zone that does not know its offset, which Python refuses, too.
                Err(_) => local(time),
            }
        }
        None => local(time),
    }
}

/// What `time.timestamp()` says: it knows the rules of the local zone, gaps included. The
/// microseconds are added apart, because the real it returns has none to spare for them.
fn local(time: &Bound<'_, PyDateTime>) -> PyResult<i64> {
    let py = time.py();
    if time.get_tzinfo().is_none() && !LOCAL_YEARS.contains(&time.get_year()) {
        // Before `timestamp()` is asked, which has another error for the ends of the calendar.
        return Err(out_of_range());
    }
    let fields = PyDict::new(py);
    fields.set_item(intern!(py, "microsecond"), 0)?;
    let whole = time.call_method(intern!(py, "replace"), (), Some(&fields))?;
    let seconds: f64 = whole.call_method0(intern!(py, "timestamp"))?.extract()?;
    let microseconds = i128::from(time.get_microsecond());
    in_range(seconds.floor() as i128 * NANOSECONDS + microseconds * NANOSECONDS_PER_MICROSECOND)
}

/// Microseconds since 1970 of the fields, as if they were UTC.
fn microseconds_as_written(time: &Bound<'_, PyDateTime>) -> i64 {
    let days = days_since_1970(
        i64::from(time.get_year()),
        i64::from(time.get_month()),
        i64::from(time.get_day()),
    );
    let seconds = days * SECONDS_PER_DAY
        + i64::from(time.get_hour()) * 3600
        + i64::from(time.get_minute()) * 60
        + i64::from(time.get_second());
    seconds * MICROSECONDS_PER_SECOND + i64::from(time.get_microsecond())
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
///
/// Years are counted from March, so that leap days come last, in eras of 400 years.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}
