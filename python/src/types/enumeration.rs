//! Enumerations: named integers, as the original's binding layer made them.
//!
//! They are not `enum.Enum`: any integer of the underlying width is a value, two objects with one
//! value are equal but not identical, and the class cannot be iterated.

use std::sync::atomic::{AtomicI64, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyAny, PyDict, PyInt, PyTuple, PyType};

use crate::argument::integer;

/// The value of one object. Only unpickling changes it.
#[derive(Debug)]
pub(crate) struct Number(AtomicI64);

impl Number {
    const fn new(value: i64) -> Self {
        Self(AtomicI64::new(value))
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it to a Python integer between `low` and `high`.
    fn set(&self, value: &Bound<'_, PyAny>, low: i64, high: i64) -> PyResult<()> {
        let number: i64 = integer(value, "an integer")?;
        if !(low..=high).contains(&number) {
            return Err(PyTypeError::new_err(format!(
                "expected {low} to {high}, found {number}"
            )));
        }
        self.0.store(number, Ordering::Relaxed);
        Ok(())
    }
}

/// The first name of a value, as `repr` shows it.
fn name_of(members: &[(&'static str, i64)], value: i64) -> &'static str {
    members
        .iter()
        .find(|(_, number)| *number == value)
        .map_or("???", |(name, _)| name)
}

/// Compares like the original: equal or not, never ordered, only within one enumeration.
/// With `integers`, plain integers count as equal to the object of the same value.
fn compare(
    value: i64,
    other: Option<i64>,
    foreign: &Bound<'_, PyAny>,
    integers: bool,
    op: CompareOp,
) -> PyResult<Py<PyAny>> {
    let py = foreign.py();
    let equal = match other {
        Some(other) => other == value,
        None if integers && foreign.is_instance_of::<PyInt>() => foreign.eq(value)?,
        None => return Ok(py.NotImplemented()),
    };
    Ok(match op {
        CompareOp::Eq => equal.into_pyobject(py)?.to_owned().into_any().unbind(),
        CompareOp::Ne => (!equal).into_pyobject(py)?.to_owned().into_any().unbind(),
        _ => py.NotImplemented(),
    })
}

/// Declares one enumeration: a class, its width, its members.
macro_rules! enumeration {
    ($(#[$doc:meta])* $class:ident, $name:literal, $width:ty, integers = $integers:literal,
     [$($member:literal = $value:literal),* $(,)?]) => {
        enumeration!(
            $(#[$doc])* $class, $name, $width, integers = $integers, [$($member = $value),*],
            extends = PyAny, make = PyClassInitializer::from
        );
    };
    ($(#[$doc:meta])* $class:ident, $name:literal, $width:ty, integers = $integers:literal,
     [$($member:literal = $value:literal),* $(,)?],
     extends = $base:ident, make = $make:expr) => {
        $(#[$doc])*
        #[pyclass(frozen, extends = $base, module = "broker._broker", name = $name)]
        #[derive(Debug)]
        pub(crate) struct $class(pub(crate) Number);

        impl $class {
            /// Members in the order of their declaration.
            const MEMBERS: &'static [(&'static str, i64)] = &[$(($member, $value)),*];

            pub(crate) fn new(value: $width) -> Self {
                Self(Number::new(i64::from(value)))
            }

            /// A new object of the class.
            pub(crate) fn object(
                py: Python<'_>,
                value: $width,
            ) -> PyResult<Bound<'_, Self>> {
                let make: fn(Self) -> PyClassInitializer<Self> = $make;
                Bound::new(py, make(Self::new(value)))
            }

            /// Puts the members on the class, which `qualified` names within the module.
            pub(crate) fn register<'py>(
                py: Python<'py>,
                qualified: &str,
            ) -> PyResult<Bound<'py, PyType>> {
                let class = py.get_type::<Self>();
                let members = PyDict::new(py);
                $(
                    let member = Self::object(py, $value)?;
                    if !class.hasattr($member)? {
                        class.setattr($member, &member)?;
                    }
                    members.set_item($member, member)?;
                )*
                class.setattr("__members__", members)?;
                class.setattr("__qualname__", qualified)?;
                Ok(class)
            }
        }

        #[pymethods]
        impl $class {
            #[new]
            #[pyo3(signature = (*_args), text_signature = "(value)")]
            fn py_new(_args: &Bound<'_, PyTuple>) -> PyClassInitializer<Self> {
                let make: fn(Self) -> PyClassInitializer<Self> = $make;
                make(Self(Number::new(0)))
            }

            fn __init__(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
                self.__setstate__(value)
            }

            /// The member's name, or `???` for an integer without one.
            #[getter]
            fn name(&self) -> &'static str {
                name_of(Self::MEMBERS, self.0.get())
            }

            /// The integer.
            #[getter]
            fn value(&self) -> i64 {
                self.0.get()
            }

            fn __int__(&self) -> i64 {
                self.0.get()
            }

            fn __index__(&self) -> i64 {
                self.0.get()
            }

            fn __hash__(&self) -> isize {
                self.0.get() as isize
            }

            fn __richcmp__(&self, other: &Bound<'_, PyAny>, op: CompareOp) -> PyResult<Py<PyAny>> {
                let same = other.cast::<Self>().ok().map(|other| other.get().0.get());
                compare(self.0.get(), same, other, $integers, op)
            }

            fn __repr__(&self) -> String {
                format!("<{}.{}: {}>", $name, self.name(), self.0.get())
            }

            fn __str__(&self) -> String {
                format!("{}.{}", $name, self.name())
            }

            fn __getstate__(&self) -> i64 {
                self.0.get()
            }

            fn __setstate__(&self, state: &Bound<'_, PyAny>) -> PyResult<()> {
                self.0.set(state, i64::from(<$width>::MIN), i64::from(<$width>::MAX))
            }

            fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (i64,)) {
                (slf.get_type(), (slf.get().0.get(),))
            }
        }
    };
}

enumeration!(
    /// Error codes. Compares equal to plain integers, because `Error.code()` is one.
    ErrorCode, "EC", u8, integers = true, [
        "NoError" = 0,
        "Unspecified" = 1,
        "PeerIncompatible" = 2,
        "PeerInvalid" = 3,
        "PeerUnavailable" = 4,
        "PeerDisconnectDuringHandshake" = 5,
        "PeerTimeout" = 6,
        "MasterExists" = 7,
        "NoSuchMaster" = 8,
        "NoSuchKey" = 9,
        "RequestTimeOut" = 10,
        "TypeClash" = 11,
        "InvalidData" = 12,
        "BackendFailure" = 13,
        "StaleData" = 14,
        "CannotOpenFile" = 15,
        "CannotWriteFile" = 16,
        "InvalidTopicKey" = 17,
        "EndOfFile" = 18,
        "InvalidTag" = 19,
        "InvalidMessage" = 20,
        "InvalidStatus" = 21,
        "ConversionFailed" = 22,
        "ConsumerExists" = 23,
        "ConnectionTimeout" = 24,
        "BadMemberFunctionCall" = 25,
        "RepeatedRequestId" = 26,
        "BrokenClone" = 27,
        "ShuttingDown" = 28,
        "InvalidPeeringRequest" = 29,
        "RepeatedPeeringHandshakeRequest" = 30,
        "UnexpectedHandshakeMessage" = 31,
        "InvalidHandshakeState" = 32,
        "NoPathToPeer" = 33,
        "NoConnectorAvailable" = 34,
        "CannotOpenResource" = 35,
        "SerializationFailed" = 36,
        "DeserializationFailed" = 37,
        "WrongMagicNumber" = 38,
        "RedundantConnection" = 39,
        "LogicError" = 40,
        "InvalidJson" = 41,
        "MessagesLost" = 200,
        "PeerRefused" = 201,
        "ForwardingLoop" = 202,
    ]
);

enumeration!(
    /// Status codes: what happened to a peering.
    StatusCode, "SC", u8, integers = false, [
        "Unspecified" = 0,
        "PeerAdded" = 1,
        "PeerRemoved" = 2,
        "PeerLost" = 3,
        "EndpointDiscovered" = 4,
        "EndpointUnreachable" = 5,
    ]
);

enumeration!(
    /// How far a peering is.
    PeerStatus, "PeerStatus", u8, integers = false, [
        "Initialized" = 0,
        "Connecting" = 1,
        "Connected" = 2,
        "Peered" = 3,
        "Disconnected" = 4,
        "Reconnecting" = 5,
    ]
);

enumeration!(
    /// What kind of peer it is. Peers over the network are `Remote`.
    PeerFlags, "PeerFlags", i32, integers = false, [
        "Invalid" = 0,
        "Local" = 1,
        "Remote" = 2,
        "Outbound" = 4,
        "Inbound" = 8,
    ]
);

enumeration!(
    /// Unused; kept because programs import it.
    ApiFlags, "APIFlags", i32, integers = false, ["Blocking" = 1, "NonBlocking" = 2]
);

enumeration!(
    /// Kind of a store handle. Unused; kept because programs import it.
    Frontend, "Frontend", i32, integers = false, ["Clone" = 0, "Master" = 1]
);

enumeration!(
    /// Where a master store keeps its entries.
    Backend, "Backend", u8, integers = false, ["Memory" = 0, "SQLite" = 1, "JetStream" = 2]
);

enumeration!(
    /// Transport protocol of a port.
    Protocol, "Protocol", u8, integers = false, [
        "Unknown" = 0,
        "TCP" = 1,
        "UDP" = 2,
        "ICMP" = 3,
    ]
);

enumeration!(
    /// Family of an address.
    Family, "Family", u8, integers = false, ["IPv4" = 0, "IPv6" = 1]
);

enumeration!(
    /// Byte order of an address.
    ByteOrder, "ByteOrder", u8, integers = false, ["Host" = 0, "Network" = 1]
);

/// Has the one name of a member that a type stub cannot write down: `None`.
#[pyclass(frozen, subclass, module = "broker._broker", name = "_TypeNames")]
#[derive(Debug)]
pub(crate) struct TypeNames;

impl TypeNames {
    /// Puts the name on the class; the enumeration inherits it.
    pub(crate) fn register(py: Python<'_>) -> PyResult<()> {
        py.get_type::<Self>()
            .setattr("None", DataType::object(py, 0)?)
    }
}

enumeration!(
    /// The type of a value.
    DataType, "Type", u8, integers = false, [
        "Nil" = 0,
        "None" = 0,
        "Boolean" = 1,
        "Count" = 2,
        "Integer" = 3,
        "Real" = 4,
        "String" = 5,
        "Address" = 6,
        "Subnet" = 7,
        "Port" = 8,
        "Timestamp" = 9,
        "Timespan" = 10,
        "EnumValue" = 11,
        "Set" = 12,
        "Table" = 13,
        "Vector" = 14,
    ],
    extends = TypeNames,
    make = |me| PyClassInitializer::from(TypeNames).add_subclass(me)
);

/// Adds the enumerations that are not nested in another class.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("EC", ErrorCode::register(py, "EC")?)?;
    module.add("SC", StatusCode::register(py, "SC")?)?;
    module.add("PeerStatus", PeerStatus::register(py, "PeerStatus")?)?;
    module.add("PeerFlags", PeerFlags::register(py, "PeerFlags")?)?;
    module.add("APIFlags", ApiFlags::register(py, "APIFlags")?)?;
    module.add("Frontend", Frontend::register(py, "Frontend")?)?;
    module.add("Backend", Backend::register(py, "Backend")?)?;
    // The original exports these members into the module itself.
    for (class, member) in [
        ("APIFlags", "Blocking"),
        ("APIFlags", "NonBlocking"),
        ("Frontend", "Master"),
        ("Frontend", "Clone"),
        ("Backend", "Memory"),
        ("Backend", "SQLite"),
        ("Backend", "JetStream"),
    ] {
        module.add(member, module.getattr(class)?.getattr(member)?)?;
    }
    Ok(())
}
