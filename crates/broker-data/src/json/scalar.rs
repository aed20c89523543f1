//! Scalars whose JSON is a string: how their texts are read and written.
//!
//! Spec: websocket 4.4 to 4.6. The texts are wider than those that the types parse themselves,
//! because clients of the original depend on what it reads.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use jiff::civil::DateTime;
use jiff::tz::Offset;

use crate::json::Form;
use crate::json::string::put_hex;
use crate::{Address, Port, Protocol, Subnet, Timespan, Timestamp};

const NS_PER_SECOND: u32 = 1_000_000_000;

/// Most digits of a fraction of a second.
const FRACTION_DIGITS_MAX: usize = 9;

/// Reads an IPv4 or IPv6 address; the parts of the former may have leading zeros.
pub(crate) fn address(text: &[u8]) -> Option<Address> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().or_else(|| padded_v4(text))
}

/// Reads `010.000.0.1`, which is decimal.
fn padded_v4(text: &str) -> Option<Address> {
    let mut octets = [0_u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?.as_bytes();
        let digits = (1..=3).contains(&part.len()) && part.iter().all(u8::is_ascii_digit);
        *octet = digits.then(|| decimal(part)).flatten()?;
    }
    parts
        .next()
        .is_none()
        .then(|| Ipv4Addr::from(octets).into())
}

/// Reads `address/length`; host bits are cleared.
pub(crate) fn subnet(text: &[u8]) -> Option<Subnet> {
    let slash = text.iter().position(|byte| *byte == b'/')?;
    let (network, length) = text.split_at_checked(slash)?;
    let length = unsigned(length.get(1..)?);
    Subnet::new(address(network)?, decimal(length)?)
}

/// Reads the words that we write for reals that are not finite.
pub(crate) fn special_real(text: &[u8]) -> Option<f64> {
    match text {
        b"inf" => Some(f64::INFINITY),
        b"-inf" => Some(f64::NEG_INFINITY),
        b"nan" => Some(f64::NAN),
        _ => None,
    }
}

/// Returns the real that is this integer, unless it would have to be rounded.
pub(crate) fn exact_real(negative: bool, magnitude: u64) -> Option<f64> {
    // A real has 53 binary digits; zeros behind them are free.
    let digits = 64_u32
        .saturating_sub(magnitude.leading_zeros())
        .saturating_sub(magnitude.trailing_zeros());
    if digits > f64::MANTISSA_DIGITS {
        return None;
    }
    let real = magnitude as f64;
    Some(if negative { -real } else { real })
}

/// Reads `number/protocol`; without a protocol it is TCP. Spec: websocket 4.4.
///
/// A protocol that is none of the four would become another port, so it is refused. Only of a
/// server it is read as unknown, as the original does: the rest of the message is worth more.
pub(crate) fn port(text: &[u8], form: Form) -> Option<Port> {
    let slash = text.iter().position(|byte| *byte == b'/');
    let (number, protocol) = text.split_at_checked(slash.unwrap_or(text.len()))?;
    let number = unsigned(number).trim_ascii_end();
    let protocol = match protocol {
        b"" | b"/tcp" => Protocol::Tcp,
        b"/udp" => Protocol::Udp,
        b"/icmp" => Protocol::Icmp,
        b"/?" | b"/unknown" => Protocol::Unknown,
        _ if form == Form::Original => Protocol::Unknown,
        _ => return None,
    };
    Some(Port::new(decimal(number)?, protocol))
}

/// Takes away what C's number parsers pass over: leading blanks and a plus.
fn unsigned(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii_start();
    text.strip_prefix(b"+").unwrap_or(text)
}

/// Reads digits, and nothing else.
fn decimal<T: TryFrom<u32>>(digits: &[u8]) -> Option<T> {
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0_u32, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit)
    })?;
    T::try_from(number).ok()
}

/// Takes digits off the text, as many as there are up to `most`.
fn take_digits<'t>(text: &mut &'t [u8], most: usize) -> &'t [u8] {
    let count = text
        .iter()
        .take(most)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (digits, rest) = text.split_at_checked(count).unwrap_or_default();
    *text = rest;
    digits
}

/// Takes a number of exactly as many digits off the text.
fn take_number<T: TryFrom<u32>>(text: &mut &[u8], length: usize) -> Option<T> {
    let digits = take_digits(text, length);
    (digits.len() == length).then(|| decimal(digits)).flatten()
}

fn take_sign(text: &mut &[u8], sign: u8) -> Option<()> {
    *text = text.strip_prefix(&[sign])?;
    Some(())
}

/// Reads `YYYY-MM-DDThh:mm:ss`, with an optional fraction and zone; UTC without one. `None` for other
/// texts and for times that do not fit.
///
/// Only the calendar is left to the library: the fields are looser than any standard in what
/// follows the seconds (`.`, `+99:99`) and stricter in the rest.
#[must_use]
pub fn timestamp(text: &[u8]) -> Option<Timestamp> {
    let rest = &mut &*text;
    let year = take_number(rest, 4)?;
    take_sign(rest, b'-')?;
    let month = take_number(rest, 2)?;
    take_sign(rest, b'-')?;
    let day = take_number(rest, 2)?;
    take_sign(rest, b'T')?;
    let hour = take_number(rest, 2)?;
    take_sign(rest, b':')?;
    let minute = take_number(rest, 2)?;
    take_sign(rest, b':')?;
    let second = take_number(rest, 2)?;
    let fraction = if take_sign(rest, b'.').is_some() {
        fraction(take_digits(rest, FRACTION_DIGITS_MAX))
    } else {
        0
    };
    let offset = offset_seconds(rest)?;
    let time = DateTime::new(year, month, day, hour, minute, second, fraction).ok()?;
    let local = Offset::UTC.to_timestamp(time).ok()?.as_nanosecond();
    let ns = local.checked_sub(i128::from(offset).checked_mul(NS_PER_SECOND.into())?)?;
    i64::try_from(ns).ok().map(Timestamp::from_ns)
}

/// Returns the nanoseconds of at most nine digits behind the point.
fn fraction(digits: &[u8]) -> i32 {
    let padding = std::iter::repeat_n(&b'0', FRACTION_DIGITS_MAX);
    digits
        .iter()
        .chain(padding)
        .take(FRACTION_DIGITS_MAX)
        .fold(0_i32, |number, byte| {
            number.wrapping_mul(10).wrapping_add(i32::from(byte & 0x0f))
        })
}

/// Reads the zone that is all that is left: nothing, `Z`, or a sign with `hh`, `hhmm` or `hh:mm`.
fn offset_seconds(text: &[u8]) -> Option<i64> {
    let (sign, mut rest) = match text {
        [] | [b'Z'] => return Some(0),
        [b'+', rest @ ..] => (1_i64, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let hours: u32 = take_number(&mut rest, 2)?;
    let minutes: u32 = if rest.is_empty() {
        0
    } else {
        rest = rest.strip_prefix(b":").unwrap_or(rest);
        take_number(&mut rest, 2)?
    };
    let seconds = i64::from(hours)
        .wrapping_mul(3600)
        .wrapping_add(i64::from(minutes).wrapping_mul(60));
    rest.is_empty().then(|| sign.wrapping_mul(seconds))
}

/// Writes a point in time without a zone; what the digits cannot show is cut off, downwards.
pub fn put_timestamp(out: &mut String, time: Timestamp, form: Form) {
    // Every 64-bit number of nanoseconds is a year that the library knows.
    let time = jiff::Timestamp::from_nanosecond(time.ns().into()).unwrap_or_default();
    let time = Offset::UTC.to_datetime(time);
    let fraction = time.subsec_nanosecond().unsigned_abs();
    put_padded(out, time.year().unsigned_abs().into(), 4);
    for (sign, number) in [
        ('-', time.month()),
        ('-', time.day()),
        ('T', time.hour()),
        (':', time.minute()),
        (':', time.second()),
    ] {
        out.push(sign);
        put_padded(out, number.unsigned_abs().into(), 2);
    }
    out.push('.');
    match form {
        Form::Compatible | Form::Original => put_padded(out, fraction / 1_000_000, 3),
        Form::Lossless => put_padded(out, fraction, FRACTION_DIGITS_MAX),
    }
}

/// Writes a number with as many digits.
fn put_padded(out: &mut String, number: u32, length: usize) {
    let mut digits = [b'0'; FRACTION_DIGITS_MAX];
    let mut rest = number;
    for digit in digits.iter_mut().rev().take(length) {
        *digit = b'0' | u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    let start = digits.len().saturating_sub(length);
    let digits = digits.get(start..).unwrap_or_default();
    out.push_str(std::str::from_utf8(digits).unwrap_or_default());
}

/// Reads a number and a unit: `5s`, `-1.5h`, `1e+16ns`.
///
/// The arithmetic is decimal and exact; what is less than a nanosecond is cut off. `None` for other
/// texts and for durations that do not fit.
#[must_use]
pub fn timespan(text: &[u8]) -> Option<Timespan> {
    let text = text.trim_ascii_start();
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let rest = &mut &*text;
    let number = Decimal::take(rest)?;
    let magnitude = number.times(ns_per_unit(rest)?)?;
    let ns = if negative {
        0_i128.checked_sub_unsigned(magnitude)?
    } else {
        i128::try_from(magnitude).ok()?
    };
    i64::try_from(ns).ok().map(Timespan::from_ns)
}

/// Returns the nanoseconds of a unit. The original does not know days, but two clients send them.
fn ns_per_unit(unit: &[u8]) -> Option<u64> {
    Some(match unit {
        b"ns" => 1,
        b"us" => 1_000,
        b"ms" => 1_000_000,
        b"s" => 1_000_000_000,
        b"min" => 60_000_000_000,
        b"h" => 3_600_000_000_000,
        b"d" => 86_400_000_000_000,
        _ => return None,
    })
}

/// A decimal number: digits and a power of ten.
struct Decimal {
    digits: u128,
    exponent: i32,
}

impl Decimal {
    /// Digits up to this number are kept: with the largest unit the product fits in 128 bits.
    /// Those behind it are far below a nanosecond, or the number is out of range.
    const KEPT: u128 = 10_u128.pow(23);

    /// Takes digits, perhaps with a point and an exponent.
    fn take(text: &mut &[u8]) -> Option<Self> {
        let whole = take_digits(text, usize::MAX);
        let fraction = match text.strip_prefix(b".") {
            Some(rest) => {
                *text = rest;
                take_digits(text, usize::MAX)
            }
            None => &[],
        };
        if whole.is_empty() && fraction.is_empty() || whole.len() > 1 && whole.starts_with(b"0") {
            return None;
        }
        let mut number = Self {
            digits: 0,
            exponent: take_exponent(text)?,
        };
        for digit in whole {
            if number.digits < Self::KEPT {
                number.push(*digit);
            } else {
                number.exponent = number.exponent.checked_add(1)?;
            }
        }
        for digit in fraction {
            if number.digits < Self::KEPT {
                number.push(*digit);
                number.exponent = number.exponent.checked_sub(1)?;
            }
        }
        Some(number)
    }

    fn push(&mut self, digit: u8) {
        let digit = u128::from(digit & 0x0f);
        self.digits = self.digits.saturating_mul(10).saturating_add(digit);
    }

    fn times(&self, factor: u64) -> Option<u128> {
        let product = self.digits.checked_mul(factor.into())?;
        let power = 10_u128.checked_pow(self.exponent.unsigned_abs());
        match (self.exponent < 0, power) {
            (true, power) => product.checked_div(power.unwrap_or(u128::MAX)),
            (false, Some(power)) => product.checked_mul(power),
            (false, None) => (product == 0).then_some(0),
        }
    }
}

/// Takes an exponent, zero when there is none.
fn take_exponent(text: &mut &[u8]) -> Option<i32> {
    let [b'e' | b'E', rest @ ..] = *text else {
        return Some(0);
    };
    let (negative, mut rest) = match rest {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, rest),
    };
    let digits = take_digits(&mut rest, usize::MAX);
    *text = rest;
    let exponent: i32 = decimal(digits)?;
    Some(if negative {
        exponent.saturating_neg()
    } else {
        exponent
    })
}

/// Writes a duration in the largest unit out of `s`, `ms` and `ns` that shows all of it.
///
/// Not `us`, which the original writes but not all clients read. Spec: websocket 5.
pub(crate) fn put_timespan(out: &mut String, span: Timespan) {
    let ns = span.ns();
    let (number, unit) = if ns % 1_000_000_000 == 0 {
        (ns / 1_000_000_000, "s")
    } else if ns % 1_000_000 == 0 {
        (ns / 1_000_000, "ms")
    } else {
        (ns, "ns")
    };
    out.push_str(itoa::Buffer::new().format(number));
    out.push_str(unit);
}

/// Writes an address.
pub(crate) fn put_address(out: &mut String, address: Address) {
    // Writing to memory does not fail.
    let _ = write!(out, "{address}");
}

/// Writes a regular subnet.
pub(crate) fn put_subnet(out: &mut String, subnet: Subnet) {
    let _ = write!(out, "{subnet}");
}

/// Tells whether [`put_subnet`] writes text that reads back the same.
pub(crate) fn is_regular(subnet: Subnet) -> bool {
    subnet == regular(subnet)
}

/// Returns the subnet without host bits, with no more bits than there are.
pub(crate) fn regular(subnet: Subnet) -> Subnet {
    let length = subnet.raw_length().min(128);
    let network = subnet.network().mask(length).unwrap_or_default();
    Subnet::from_raw(network, length)
}

/// Writes the bytes of a subnet as they are on the wire.
pub(crate) fn put_subnet_hex(out: &mut String, subnet: Subnet) {
    put_hex(out, &subnet.network().octets());
    put_hex(out, &[subnet.raw_length()]);
}

/// Reads the bytes of a subnet.
pub(crate) fn subnet_of_bytes(bytes: &[u8]) -> Option<Subnet> {
    let [octets @ .., length] = <[u8; 17]>::try_from(bytes).ok()?;
    Some(Subnet::from_raw(Address::from_octets(octets), length))
}

/// Writes a port.
pub(crate) fn put_port(out: &mut String, port: Port) {
    out.push_str(itoa::Buffer::new().format(port.number()));
    out.push('/');
    out.push_str(port.protocol().name());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_have_leading_zeros() {
        let padded = address(b"010.000.0.1").map(|address| address.to_string());
        assert_eq!(padded.as_deref(), Some("10.0.0.1"));
        for text in [
            "0010.0.0.1",
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "1..2.3",
            "+1.2.3.4",
            "1.2.3.4 ",
            "",
        ] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn lengths_of_subnets_are_checked() {
        let text = |text: &str| subnet(text.as_bytes()).map(|subnet| subnet.to_string());
        assert_eq!(text("10.1.2.3/ +8").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(text("::1/128").as_deref(), Some("::1/128"));
        for refused in [
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "::/256",
            "::/-1",
            "::/8x",
            "::/4294967296",
            "/8",
        ] {
            assert_eq!(text(refused), None, "{refused}");
        }
    }

    #[test]
    fn irregular_subnets_become_regular_or_bytes() {
        let v4 = address(b"10.1.2.3").unwrap();
        for (subnet, expected) in [
            (Subnet::from_raw(v4, 104), "10.0.0.0/8"),
            (Subnet::from_raw(v4, 200), "10.1.2.3/32"),
            (Subnet::from_raw(v4, 24), "::/24"),
        ] {
            assert!(!is_regular(subnet));
            let regular = regular(subnet);
            assert!(is_regular(regular));
            assert_eq!(regular.to_string(), expected);
            let mut out = String::new();
            put_subnet_hex(&mut out, subnet);
            let bytes = crate::json::string::bytes_of_hex(out.as_bytes()).unwrap();
            assert_eq!(subnet_of_bytes(&bytes), Some(subnet));
        }
        assert_eq!(subnet_of_bytes(&[0; 16]), None);
    }

    #[test]
    fn ports_are_read_as_c_would_but_checked() {
        let text_in = |text: &str, form| port(text.as_bytes(), form).map(|port| port.to_string());
        let text = |text: &str| text_in(text, Form::Lossless);
        for (read, expected) in [
            ("80", "80/tcp"),
            (" +80 /udp", "80/udp"),
            ("010/icmp", "10/icmp"),
            ("0/unknown", "0/?"),
            ("80/?", "80/?"),
        ] {
            for form in [Form::Compatible, Form::Lossless, Form::Original] {
                assert_eq!(text_in(read, form).as_deref(), Some(expected), "{read}");
            }
        }
        // A protocol that is spelled otherwise, which only servers may send.
        for refused in [
            "80/UDP",
            "80/Tcp",
            "80/sctp",
            "80/tcpx",
            "80/tcp ",
            "80/ tcp",
            "80/tcp/udp",
            "80/",
            "80/??",
            "80/UNKNOWN",
            "80/6",
        ] {
            assert_eq!(text(refused), None, "{refused}");
            assert_eq!(text_in(refused, Form::Compatible), None, "{refused}");
            let lenient = text_in(refused, Form::Original);
            assert_eq!(lenient.as_deref(), Some("80/?"), "{refused}");
        }
        for refused in [
            "",
            "/tcp",
            "65536/tcp",
            "-1/tcp",
            "x/tcp",
            "80x",
            "0x50",
            "8 0/tcp",
        ] {
            assert_eq!(text(refused), None, "{refused}");
        }
    }

    #[test]
    fn timestamps_stay_in_range() {
        let text = |text: &str| timestamp(text.as_bytes()).map(Timestamp::ns);
        assert_eq!(text("2262-04-11T23:47:16.854775807"), Some(i64::MAX));
        assert_eq!(text("2262-04-11T23:47:16.854775808"), None);
        assert_eq!(text("2262-04-12T00:47:16.854775807+01:00"), Some(i64::MAX));
        assert_eq!(text("1677-09-21T00:12:43.145224192"), Some(i64::MIN));
        assert_eq!(text("1677-09-21T00:12:43.145224191"), None);
        assert_eq!(text("1970-01-01T00:00:00.000000001-0000"), Some(1));
        assert_eq!(text("1970-01-05T04:39:00+99:99"), Some(0));
        for refused in [
            "1970-01-01T00:00:00+1",
            "1970-01-01T00:00:00+01:",
            "1970-01-01T00:00:00+01:0",
            "1970-01-01T00:00:00+01000",
            "1970-01-01T00:00:00ZZ",
            "+970-01-01T00:00:00",
            "1970-00-01T00:00:00",
            "1970-02-30T00:00:00",
            "1970-01-01T00:60:00",
        ] {
            assert_eq!(text(refused), None, "{refused}");
        }
    }

    #[test]
    fn timestamps_are_cut_downwards() {
        let text = |ns, form| {
            let mut out = String::new();
            put_timestamp(&mut out, Timestamp::from_ns(ns), form);
            out
        };
        assert_eq!(text(-1, Form::Compatible), "1969-12-31T23:59:59.999");
        assert_eq!(text(-1, Form::Lossless), "1969-12-31T23:59:59.999999999");
        assert_eq!(text(1_999_999, Form::Original), "1970-01-01T00:00:00.001");
        assert_eq!(
            text(i64::MIN, Form::Lossless),
            "1677-09-21T00:12:43.145224192"
        );
        assert_eq!(
            text(i64::MAX, Form::Lossless),
            "2262-04-11T23:47:16.854775807"
        );
    }

    #[test]
    fn timespans_are_exact() {
        let text = |text: &str| timespan(text.as_bytes()).map(Timespan::ns);
        for (read, ns) in [
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
            ("9007199254740993ns", 9_007_199_254_740_993),
            ("1e+16ns", 10_000_000_000_000_000),
            ("1.5E-3s", 1_500_000),
            ("0.1s", 100_000_000),
            ("1.1us", 1_100),
            ("1.9999999999999999999999999999999999999999999999999ns", 1),
            ("-1.9ns", -1),
            (".5h", 1_800_000_000_000),
            ("5.min", 300_000_000_000),
            ("0d", 0),
            ("0e999999999s", 0),
            ("1e-999999999s", 0),
            (
                "0.0000000000000000000000000000000000000000000000000001e61ns",
                1_000_000_000,
            ),
            ("106751.9d", 9_223_364_160_000_000_000),
        ] {
            assert_eq!(text(read), Some(ns), "{read}");
        }
        for refused in [
            "9223372036854775808ns",
            "-9223372036854775809ns",
            "1e19ns",
            "1e999999999s",
            "106752d",
            "s",
            ".s",
            "1",
            "1e",
            "1es",
            "00s",
            "01.5s",
            "1_0s",
            "--1s",
            "1s ",
            "inf",
            "nans",
            "99999999999999999999999999999999999999999999ns",
        ] {
            assert_eq!(text(refused), None, "{refused}");
        }
    }

    #[test]
    fn timespans_have_no_unit_that_clients_do_not_know() {
        for (ns, expected) in [
            (0, "0s"),
            (1, "1ns"),
            (1_000, "1000ns"),
            (-2_000_000, "-2ms"),
            (300_000_000_000, "300s"),
            (i64::MIN, "-9223372036854775808ns"),
        ] {
            let mut out = String::new();
            put_timespan(&mut out, Timespan::from_ns(ns));
            assert_eq!(out, expected);
        }
    }
}
