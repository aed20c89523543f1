//! The binary form of values in records, which is not the encoding of values elsewhere.
//! Spec: zeek 1.3.

use broker_data::{Address, DecodeError, DecodeErrorKind, Port, Protocol, Subnet};

use super::{LogElements, LogValue, ZeekType};

/// Greatest number of sets and vectors inside one another in a field.
///
/// Zeek logs none inside of another; the limit bounds the recursion over what strangers send.
pub const ELEMENT_DEPTH_MAX: usize = 4;

/// Bits that the length of an IPv4 network counts before those of its address.
const V4_BITS_BEFORE: u8 = 96;
/// Bits of an address.
const ADDRESS_BITS: u8 = 128;
// What may be missing, as it stands in errors.
const HEADER: &str = "type, subtype and presence of a value";
const NUMBER: &str = "a number of 8 bytes";
const CONTENT: &str = "as many bytes as a string is long";
const ADDRESS: &str = "an address";

/// Takes values off the bytes of a record.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) rest: &'a [u8],
    length: usize,
}

/// What stands before every value.
struct Header {
    kind: ZeekType,
    is_present: bool,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            length: bytes.len(),
        }
    }

    #[cold]
    pub(super) const fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError::new(self.length.saturating_sub(self.rest.len()), kind)
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk() {
            Some((array, rest)) => {
                self.rest = rest;
                Ok(*array)
            }
            None => Err(self.error(DecodeErrorKind::Truncated(what))),
        }
    }

    #[inline(always)]
    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_be_bytes)
    }

    #[inline(always)]
    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array(NUMBER).map(u64::from_be_bytes)
    }

    /// One byte that says yes or no.
    pub(super) fn flag(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        self.array::<1>(what).map(|[byte]| byte != 0)
    }

    #[inline(always)]
    pub(super) fn string(&mut self) -> Result<&'a [u8], DecodeError> {
        let size = self.u32("the length of a string")?;
        match self.rest.split_at_checked(size as usize) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(self.error(DecodeErrorKind::Truncated(CONTENT))),
        }
    }

    #[inline(always)]
    fn header(&mut self) -> Result<Header, DecodeError> {
        let start = self.clone();
        let [k0, k1, k2, k3, _, _, _, _, present] = self.array(HEADER)?;
        let number = u32::from_be_bytes([k0, k1, k2, k3]);
        match ZeekType::from_number(u64::from(number)) {
            Some(kind) => Ok(Header {
                kind,
                is_present: present != 0,
            }),
            None => Err(start.error(DecodeErrorKind::Other("a type from 0 to 22"))),
        }
    }

    fn address(&mut self) -> Result<Address, DecodeError> {
        let start = self.clone();
        match self.array::<1>(ADDRESS)? {
            [4] => {
                let octets: [u8; 4] = self.array(ADDRESS)?;
                Ok(Address::from(std::net::Ipv4Addr::from(octets)))
            }
            [6] => Ok(Address::from_octets(self.array(ADDRESS)?)),
            _ => Err(start.error(DecodeErrorKind::Other("4 or 6 as the address family"))),
        }
    }

    fn subnet(&mut self) -> Result<Subnet, DecodeError> {
        let start = self.clone();
        let [length] = self.array("the length of a network")?;
        let is_v4 = self.rest.first() == Some(&4);
        let address = self.address()?;
        let least = if is_v4 { V4_BITS_BEFORE } else { 0 };
        if (least..=ADDRESS_BITS).contains(&length) {
            Ok(Subnet::from_raw(address, length))
        } else {
            const EXPECTED: &str = "0 to 128 as the length of a network, for IPv4 96 to 128";
            Err(start.error(DecodeErrorKind::Other(EXPECTED)))
        }
    }

    fn port(&mut self) -> Result<Port, DecodeError> {
        let start = self.clone();
        let number = self.u64()?;
        let protocol = self.u32("a port protocol")?;
        let number = u16::try_from(number);
        let protocol = u8::try_from(protocol).ok().and_then(Protocol::from_number);
        match (number, protocol) {
            (Ok(number), Some(protocol)) => Ok(Port::new(number, protocol)),
            _ => Err(start.error(DecodeErrorKind::Other(
                "a port from 0 to 65535 with a protocol from 0 to 3",
            ))),
        }
    }

    /// The number of elements, each of which takes at least a header.
    fn count(&mut self) -> Result<usize, DecodeError> {
        let start = self.clone();
        let count = self.u64()?;
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.rest.len())
            .ok_or_else(|| start.error(DecodeErrorKind::Truncated("as many elements as announced")))
    }

    fn elements(&mut self, depth: usize) -> Result<LogElements<'a>, DecodeError> {
        if depth >= ELEMENT_DEPTH_MAX {
            const EXPECTED: &str = "at most 4 sets and vectors inside one another";
            return Err(self.error(DecodeErrorKind::Other(EXPECTED)));
        }
        let count = self.count()?;
        let before = self.rest;
        for _ in 0..count {
            self.pass(depth.saturating_add(1))?;
        }
        let size = before.len().saturating_sub(self.rest.len());
        let bytes = before.get(..size).unwrap_or_default();
        Ok(LogElements { bytes, count })
    }

    /// Checks a value, passes over it and returns its type.
    #[inline(always)]
    pub(super) fn pass(&mut self, depth: usize) -> Result<ZeekType, DecodeError> {
        self.pass_with_elements(depth).map(|(kind, _)| kind)
    }

    /// Checks a value, passes over it and returns its type and, if it has some, its elements.
    #[inline(always)]
    pub(super) fn pass_with_elements(
        &mut self,
        depth: usize,
    ) -> Result<(ZeekType, Option<LogElements<'a>>), DecodeError> {
        let start = self.clone();
        let header = self.header()?;
        let mut elements = None;
        if header.is_present {
            elements = self.present(header.kind, depth, &start)?.as_elements();
        } else if !is_logged(header.kind) {
            return Err(start.error(DecodeErrorKind::Other(LOGGED)));
        }
        Ok((header.kind, elements))
    }

    /// Takes one value.
    #[inline]
    pub(super) fn value(&mut self, depth: usize) -> Result<Option<LogValue<'a>>, DecodeError> {
        let start = self.clone();
        let header = self.header()?;
        if !header.is_present {
            return Ok(None);
        }
        self.present(header.kind, depth, &start).map(Some)
    }

    /// Takes the value behind a header.
    #[inline(always)]
    fn present(
        &mut self,
        kind: ZeekType,
        depth: usize,
        start: &Self,
    ) -> Result<LogValue<'a>, DecodeError> {
        Ok(match kind {
            ZeekType::Bool => LogValue::Bool(self.u64()? != 0),
            ZeekType::Int => LogValue::Int(self.array(NUMBER).map(i64::from_be_bytes)?),
            ZeekType::Count => LogValue::Count(self.u64()?),
            ZeekType::Double => LogValue::Double(self.u64().map(f64::from_bits)?),
            ZeekType::Time => LogValue::Time(self.u64().map(f64::from_bits)?),
            ZeekType::Interval => LogValue::Interval(self.u64().map(f64::from_bits)?),
            ZeekType::String => LogValue::String(self.string()?),
            ZeekType::Enum => LogValue::Enum(self.string()?),
            ZeekType::Func => LogValue::Func(self.string()?),
            ZeekType::File => LogValue::File(self.string()?),
            ZeekType::Port => LogValue::Port(self.port()?),
            ZeekType::Addr => LogValue::Addr(self.address()?),
            ZeekType::Subnet => LogValue::Subnet(self.subnet()?),
            ZeekType::Table => LogValue::Set(self.elements(depth)?),
            ZeekType::Vector => LogValue::Vector(self.elements(depth)?),
            ZeekType::Void
            | ZeekType::Pattern
            | ZeekType::Any
            | ZeekType::Record
            | ZeekType::List
            | ZeekType::Opaque
            | ZeekType::Type
            | ZeekType::Error => return Err(start.error(DecodeErrorKind::Other(LOGGED))),
        })
    }
}

const LOGGED: &str = "a type that can be logged";

const fn is_logged(kind: ZeekType) -> bool {
    !matches!(
        kind,
        ZeekType::Void
            | ZeekType::Pattern
            | ZeekType::Any
            | ZeekType::Record
            | ZeekType::List
            | ZeekType::Opaque
            | ZeekType::Type
            | ZeekType::Error
    )
}

/// Appends what stands before every value.
pub(super) fn put_header(out: &mut Vec<u8>, kind: ZeekType, is_present: bool) {
    out.extend([0, 0, 0, kind.number(), 0, 0, 0, 0, u8::from(is_present)]);
}

fn put_address(out: &mut Vec<u8>, address: Address) {
    match address.to_ip() {
        std::net::IpAddr::V4(ip) => {
            out.push(4);
            out.extend(ip.octets());
        }
        std::net::IpAddr::V6(ip) => {
            out.push(6);
            out.extend(ip.octets());
        }
    }
}

/// Appends a value with its header.
pub(super) fn put(out: &mut Vec<u8>, value: &LogValue<'_>) {
    put_header(out, value.kind(), true);
    match value {
        LogValue::Bool(value) => out.extend(u64::from(*value).to_be_bytes()),
        LogValue::Int(value) => out.extend(value.to_be_bytes()),
        LogValue::Count(value) => out.extend(value.to_be_bytes()),
        LogValue::Double(value) | LogValue::Time(value) | LogValue::Interval(value) => {
            out.extend(value.to_bits().to_be_bytes());
        }
        LogValue::String(bytes)
        | LogValue::Enum(bytes)
        | LogValue::Func(bytes)
        | LogValue::File(bytes) => {
            // What does not fit the length would not fit a message either.
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            out.extend(length.to_be_bytes());
            out.extend(bytes.iter().take(length as usize));
        }
        LogValue::Port(port) => {
            out.extend(u64::from(port.number()).to_be_bytes());
            out.extend(u32::from(port.protocol().number()).to_be_bytes());
        }
        LogValue::Addr(address) => put_address(out, *address),
        LogValue::Subnet(subnet) => {
            out.push(subnet.raw_length());
            let network = subnet.network();
            if network.is_v4() && subnet.raw_length() < V4_BITS_BEFORE {
                // More than the IPv4 addresses: only the other family can express it.
                out.push(6);
                out.extend(network.octets());
            } else {
                put_address(out, network);
            }
        }
        LogValue::Set(elements) | LogValue::Vector(elements) => {
            out.extend((elements.count as u64).to_be_bytes());
            out.extend_from_slice(elements.bytes);
        }
    }
}
