//! What a word means.

use std::net::{Ipv4Addr, Ipv6Addr};

use broker::data::json;
use broker::{Port, Subnet, Timestamp, Value};

/// Where a word stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    /// It is the whole text.
    Whole,
    /// In a vector, or behind the key of a table.
    Inside,
    /// Where the key of a table may stand: a colon with a blank behind it ends it.
    Key,
    /// In an expression: operators end it.
    Operand,
}

/// What is wrong with a word.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) hint: Option<String>,
}

impl Wrong {
    fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

type Outcome = Result<Value, Wrong>;

/// Reads what stands behind a prefix.
type Read = fn(&str) -> Outcome;

/// Prefixes that say which kind follows.
const KINDS: [(&str, Read); 7] = [
    ("count:", count),
    ("int:", integer),
    ("real:", real),
    ("addr:", address),
    ("enum:", enum_value),
    ("hex:", hex),
    ("str:", |text| Ok(Value::from(text))),
];

/// Reads a word.
pub(super) fn read(word: &str, context: Context) -> Outcome {
    match word {
        "true" => return Ok(Value::Boolean(true)),
        "false" => return Ok(Value::Boolean(false)),
        "none" => return Ok(Value::None),
        "-" => {
            let wrong = Wrong::new("`-` means standard input, and only as a whole value");
            return Err(wrong.hint("the text is written \"-\""));
        }
        _ => {}
    }
    for (prefix, read) in KINDS {
        if let Some(rest) = word.strip_prefix(prefix) {
            return read(rest);
        }
    }
    if let Some(rest) = word.strip_prefix('@') {
        return seconds(rest);
    }
    if word.contains('/')
        && let Some(value) = slashed(word)
    {
        return Ok(value);
    }
    if begins_like_a_number(word) {
        return number(word);
    }
    if context == Context::Key && has_lone_colon(word) {
        let wrong = Wrong::new("expected a blank behind the colon of a key");
        return Err(wrong.hint("an entry is written `key: value`, a text with a colon \"a:b\""));
    }
    Ok(Value::from(word))
}

/// A digit, perhaps behind a sign and a point.
fn begins_like_a_number(word: &str) -> bool {
    let bare = word.strip_prefix(['-', '+']).unwrap_or(word);
    let bare = bare.strip_prefix('.').unwrap_or(bare);
    bare.starts_with(|c: char| c.is_ascii_digit())
}

/// A colon that is not one of two, as in names of Zeek.
fn has_lone_colon(word: &str) -> bool {
    word.split("::").any(|part| part.contains(':'))
}

fn slashed(word: &str) -> Option<Value> {
    if let Ok(port) = word.parse::<Port>() {
        return Some(Value::Port(port));
    }
    word.parse::<Subnet>().ok().map(Value::Subnet)
}

fn number(word: &str) -> Outcome {
    let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if is_digits(digits) {
        return integer(word);
    }
    if let Some(digits) = word.strip_suffix('c')
        && is_digits(digits)
    {
        return count(digits);
    }
    if let Ok(address) = word.parse::<Ipv4Addr>() {
        return Ok(Value::Address(address.into()));
    }
    if is_date(word) {
        let wrong =
            || Wrong::new("expected a time such as `2026-01-02T03:04:05Z`, from 1677 to 2262");
        let time = json::timestamp(word.as_bytes());
        return time.map(Value::Timestamp).ok_or_else(wrong);
    }
    if word.ends_with(|c: char| c.is_ascii_alphabetic()) {
        if let Some(span) = json::timespan(word.as_bytes()) {
            return Ok(Value::Timespan(span));
        }
    } else if word.contains(['.', 'e', 'E'])
        && let Ok(value) = word.parse::<f64>()
    {
        return if value.is_finite() {
            Ok(Value::Real(value))
        } else {
            Err(Wrong::new("expected a smaller number"))
        };
    }
    let what = "expected a number, an address, a subnet, a port, a duration or a time";
    Err(Wrong::new(what).hint(format!("the text is written \"{word}\"")))
}

/// Four digits and a dash.
fn is_date(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.get(4) == Some(&b'-') && bytes.iter().take(4).all(u8::is_ascii_digit)
}

fn count(text: &str) -> Outcome {
    let wrong = || Wrong::new("expected a count: digits, up to 18446744073709551615");
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map(Value::Count).map_err(|_| wrong())
    } else {
        Err(wrong())
    }
}

fn integer(text: &str) -> Outcome {
    text.parse().map(Value::Integer).map_err(|_| {
        let what = "expected an int: digits with an optional sign, up to 9223372036854775807";
        let wrong = Wrong::new(what);
        match text.parse::<u64>() {
            Ok(_) => wrong.hint(format!("as a count it is written `{text}c`")),
            Err(_) => wrong,
        }
    })
}

fn real(text: &str) -> Outcome {
    let what = "expected a number such as `1.5` or `-2e9`, `inf`, `-inf` or `nan`";
    text.parse().map(Value::Real).map_err(|_| Wrong::new(what))
}

fn address(text: &str) -> Outcome {
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let bare = bare.unwrap_or(text);
    let address = bare.parse::<Ipv6Addr>().map(Into::into);
    address
        .or_else(|_| bare.parse::<Ipv4Addr>().map(Into::into))
        .map(Value::Address)
        .map_err(|_| Wrong::new("expected an address such as `addr:2001:db8::1`"))
}

fn enum_value(text: &str) -> Outcome {
    if text.is_empty() {
        return Err(Wrong::new("expected a name such as `enum:Notice::LOG`"));
    }
    Ok(Value::EnumValue(text.into()))
}

fn hex(text: &str) -> Outcome {
    let wrong = || Wrong::new("expected pairs of hexadecimal digits such as `hex:00ff`");
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let bytes = (0..text.len()).step_by(2).map(|at| {
        let pair = text.get(at..at + 2).unwrap_or_default();
        u8::from_str_radix(pair, 16)
    });
    let bytes: Result<Vec<u8>, _> = bytes.collect();
    bytes
        .map(|bytes| Value::String(bytes.into()))
        .map_err(|_| wrong())
}

/// `1700000000.5` behind an `@`.
fn seconds(text: &str) -> Outcome {
    let is_number = |sign: char| sign.is_ascii_digit() || matches!(sign, '.' | '-');
    if !text.is_empty() && text.chars().all(is_number) {
        let time = json::timespan(format!("{text}s").as_bytes());
        let wrong = || Wrong::new("expected seconds since 1970 such as `@1700000000.5`");
        return time
            .map(|time| Value::Timestamp(Timestamp::from_ns(time.ns())))
            .ok_or_else(wrong);
    }
    let wrong = Wrong::new("`@file` means the value in a file, and only as a whole value");
    Err(wrong.hint(format!("the text is written \"@{text}\"")))
}
