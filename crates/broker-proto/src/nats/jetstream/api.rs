//! Requests to servers about streams, and what they answer.

use broker_data::Timestamp;
use serde_json::Value;

/// What subjects of requests begin with.
pub const PREFIX: &str = "$JS.API.";

/// Characters of a server's text that are shown.
const TEXT_MAX: usize = 400;

/// The stream does not exist.
pub const STREAM_NOT_FOUND: u32 = 10059;
/// The consumer does not exist.
pub const CONSUMER_NOT_FOUND: u32 = 10014;
/// The stream has no such message.
pub const MESSAGE_NOT_FOUND: u32 = 10037;
/// A stream of that name exists, and is of another shape.
pub const STREAM_NAME_IN_USE: u32 = 10058;
/// Another stream keeps some of these subjects.
pub const SUBJECTS_OVERLAP: u32 = 10065;
/// The stream, or the subject, is not where the publisher expects it.
pub const WRONG_LAST_SEQUENCE: u32 = 10071;
/// The same, as newer servers say it where nothing is known of the last one.
pub const WRONG_LAST_SEQUENCE_UNKNOWN: u32 = 10164;
/// The last message has another id than the publisher expects.
pub const WRONG_LAST_MESSAGE_ID: u32 = 10070;
/// The user's account has no streams.
pub const NOT_ENABLED_FOR_ACCOUNT: u32 = 10039;
/// The servers have no streams.
pub const NOT_ENABLED: u32 = 10076;

/// An error of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{description} (code {error})")]
pub struct ApiError {
    /// The number of its class, as of HTTP.
    pub status: u16,
    /// Its own number, such as [`STREAM_NOT_FOUND`].
    pub error: u32,
    /// The server's words, as far as they are shown.
    pub description: String,
}

impl ApiError {
    /// Whether the same request may succeed a moment later: a stream that has no leader yet.
    pub const fn is_passing(&self) -> bool {
        self.status == 503 && !self.is_disabled()
    }

    /// Whether the servers, or the user's account, have no streams at all.
    pub const fn is_disabled(&self) -> bool {
        matches!(self.error, NOT_ENABLED | NOT_ENABLED_FOR_ACCOUNT)
    }

    /// Whether it refuses what was published because the stream is not where it is expected.
    pub const fn is_conflict(&self) -> bool {
        matches!(
            self.error,
            WRONG_LAST_SEQUENCE | WRONG_LAST_SEQUENCE_UNKNOWN | WRONG_LAST_MESSAGE_ID
        )
    }
}

/// The answer to a request.
///
/// # Errors
///
/// The server's error, or that of an answer that is no JSON object.
pub fn answer(payload: &[u8]) -> Result<Value, ApiError> {
    let unreadable = || ApiError {
        status: 500,
        error: 0,
        description: "the answer of the server cannot be read".to_owned(),
    };
    let value: Value = serde_json::from_slice(payload).map_err(|_| unreadable())?;
    if !value.is_object() {
        return Err(unreadable());
    }
    let Some(error) = value.get("error").filter(|it| it.is_object()) else {
        return Ok(value);
    };
    let number = |name: &str| error.get(name).and_then(Value::as_u64).unwrap_or_default();
    let description = error.get("description").and_then(Value::as_str);
    let shown = description.unwrap_or("no reason given").chars();
    Err(ApiError {
        status: u16::try_from(number("code")).unwrap_or_default(),
        error: u32::try_from(number("err_code")).unwrap_or_default(),
        description: shown.filter(|it| !it.is_control()).take(TEXT_MAX).collect(),
    })
}

/// Where a stream has a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The stream.
    pub stream: String,
    /// The message's number in it; the first one is 1.
    pub sequence: u64,
    /// Whether it was there already: a message with its id had come before.
    pub is_duplicate: bool,
}

impl Stored {
    /// Reads the answer to a publish; `None` when it is none.
    pub fn parse(answer: &Value) -> Option<Self> {
        Some(Self {
            stream: answer.get("stream")?.as_str()?.to_owned(),
            sequence: answer.get("seq")?.as_u64()?,
            is_duplicate: answer.get("duplicate").and_then(Value::as_bool) == Some(true),
        })
    }
}

/// The names in an answer to a request for the streams with a subject.
pub fn stream_names(answer: &Value) -> Vec<String> {
    let names = answer.get("streams").and_then(Value::as_array);
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    names.map(str::to_owned).collect()
}

/// Whether text can be the name of a stream or of a cursor: one token of a subject, short enough for a
/// file.
pub fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(is_plain)
}

/// A point in time, as servers read it.
pub fn time_text(at: Timestamp) -> String {
    const DAY: i64 = 86_400;
    let seconds = at.ns().div_euclid(1_000_000_000);
    let (day, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    // Days since 1970 as a date: years begin in March, so that a leap day is their last.
    let days = day + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let is_next = month >= 10;
    let month = if is_next { month - 9 } else { month + 3 };
    format!(
        "{:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}.{:09}Z",
        year + era * 400 + i64::from(is_next),
        second / 3600,
        second / 60 % 60,
        second % 60,
        at.ns().rem_euclid(1_000_000_000)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_values_or_named_errors() {
        let stored = answer(br#"{"stream":"S","seq":7,"duplicate":true}"#).unwrap();
        let expected = Stored {
            stream: "S".to_owned(),
            sequence: 7,
            is_duplicate: true,
        };
        assert_eq!(Stored::parse(&stored), Some(expected));
        let text =
            br#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 4"}}"#;
        let error = answer(text).unwrap_err();
        assert!(error.is_conflict() && !error.is_passing());
        assert_eq!(error.to_string(), "wrong last sequence: 4 (code 10071)");
        let error = answer(br#"{"error":{"code":503,"err_code":10008}}"#).unwrap_err();
        assert!(error.is_passing());
        for bad in [&b""[..], b"[]", b"\xff", b"nil"] {
            assert!(
                answer(bad)
                    .unwrap_err()
                    .to_string()
                    .contains("cannot be read")
            );
        }
        assert_eq!(Stored::parse(&answer(b"{}").unwrap()), None);
        let names = answer(br#"{"streams":["a",1,"b"]}"#).unwrap();
        assert_eq!(stream_names(&names), ["a", "b"]);
        assert!(stream_names(&answer(br#"{"streams":null}"#).unwrap()).is_empty());
    }

    #[test]
    fn names_are_tokens() {
        assert!(is_name("siem-1_B") && is_name(&"x".repeat(64)));
        for bad in ["", "a.b", "a b", "*", "\u{e9}", "a/b", &"x".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn times_are_written_as_servers_read_them() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000005Z"),
            (951_782_400, "2000-02-29T00:00:00.000000005Z"),
            (951_868_799, "2000-02-29T23:59:59.000000005Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000005Z"),
            (4_102_444_800, "2100-01-01T00:00:00.000000005Z"),
            (-1, "1969-12-31T23:59:59.000000005Z"),
        ] {
            let at = Timestamp::from_ns(seconds * 1_000_000_000 + 5);
            assert_eq!(time_text(at), expected);
        }
    }
}
