//! Points in time and durations, both in nanoseconds.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use crate::{ParseError, TimeRangeError};

const NS_PER_SECOND: i64 = 1_000_000_000;
const NS_PER_MS: i64 = 1_000_000;

/// Duration in nanoseconds; may be negative.
///
/// ```
/// use std::time::Duration;
/// use broker_data::Timespan;
///
/// let span = Timespan::try_from(Duration::from_millis(1500))?;
/// assert_eq!(span.to_string(), "1500000000ns");
/// assert!(Duration::try_from(Timespan::from_ns(-1)).is_err());
/// # Ok::<(), broker_data::TimeRangeError>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timespan(i64);

impl Timespan {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The longest duration, about 292 years.
    pub const MAX: Self = Self(i64::MAX);
    /// The longest negative duration.
    pub const MIN: Self = Self(i64::MIN);

    /// Makes a duration from nanoseconds.
    #[inline]
    #[must_use]
    pub const fn from_ns(ns: i64) -> Self {
        Self(ns)
    }

    /// Makes a duration from milliseconds; what does not fit becomes the nearest that does.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms.saturating_mul(NS_PER_MS))
    }

    /// Makes a duration from seconds; what does not fit becomes the nearest that does.
    #[must_use]
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(NS_PER_SECOND))
    }

    /// Returns the nanoseconds.
    #[inline]
    #[must_use]
    pub const fn ns(self) -> i64 {
        self.0
    }

    /// Adds a duration; what does not fit becomes the nearest that does.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Takes a duration away; what does not fit becomes the nearest that does.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// Point in time: nanoseconds since the Unix epoch, from the year 1677 to 2262.
///
/// ```
/// use std::time::SystemTime;
/// use broker_data::{Timespan, Timestamp};
///
/// let time = Timestamp::from_ns(1_700_000_000_123_456_789);
/// assert_eq!(Timestamp::try_from(SystemTime::from(time)), Ok(time));
/// assert_eq!(time.saturating_add(Timespan::from_ns(1)).since(time), Timespan::from_ns(1));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The start of 1970.
    pub const EPOCH: Self = Self(0);
    /// The latest point in time.
    pub const MAX: Self = Self(i64::MAX);
    /// The earliest point in time.
    pub const MIN: Self = Self(i64::MIN);

    /// Makes a point in time from nanoseconds since the epoch.
    #[inline]
    #[must_use]
    pub const fn from_ns(ns: i64) -> Self {
        Self(ns)
    }

    /// Returns the nanoseconds since the epoch.
    #[inline]
    #[must_use]
    pub const fn ns(self) -> i64 {
        self.0
    }

    /// Adds a duration; what does not fit becomes the nearest that does.
    #[must_use]
    pub const fn saturating_add(self, span: Timespan) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// Takes a duration away; what does not fit becomes the nearest that does.
    #[must_use]
    pub const fn saturating_sub(self, span: Timespan) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// Returns the duration from `earlier` to this, negative when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Timespan {
        Timespan(self.0.saturating_sub(earlier.0))
    }
}

impl TryFrom<Duration> for Timespan {
    type Error = TimeRangeError;

    fn try_from(duration: Duration) -> Result<Self, TimeRangeError> {
        i64::try_from(duration.as_nanos())
            .map(Self)
            .map_err(|_| TimeRangeError)
    }
}

impl TryFrom<Timespan> for Duration {
    type Error = TimeRangeError;

    fn try_from(span: Timespan) -> Result<Self, TimeRangeError> {
        u64::try_from(span.0)
            .map(Self::from_nanos)
            .map_err(|_| TimeRangeError)
    }
}

impl TryFrom<SystemTime> for Timestamp {
    type Error = TimeRangeError;

    fn try_from(time: SystemTime) -> Result<Self, TimeRangeError> {
        let ns = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()),
            Err(error) => {
                // The earliest time has no positive counterpart, so the sign goes first.
                let before = i128::try_from(error.duration().as_nanos());
                before.and_then(|before| i64::try_from(before.saturating_neg()))
            }
        };
        ns.map(Self).map_err(|_| TimeRangeError)
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let distance = Duration::from_nanos(time.0.unsigned_abs());
        let epoch = SystemTime::UNIX_EPOCH;
        let converted = if time.0 < 0 {
            epoch.checked_sub(distance)
        } else {
            epoch.checked_add(distance)
        };
        // No supported system has a clock that cannot show the years 1677 to 2262.
        converted.unwrap_or(epoch)
    }
}

fn parse_ns(text: &str, expected: &'static str) -> Result<i64, ParseError> {
    text.strip_suffix("ns")
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| ParseError::new(text, expected))
}

impl FromStr for Timespan {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse_ns(text, "a duration in nanoseconds such as `5ns`").map(Self)
    }
}

impl FromStr for Timestamp {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse_ns(text, "nanoseconds since the epoch such as `5ns`").map(Self)
    }
}

impl fmt::Display for Timespan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ns", self.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ns", self.0)
    }
}

impl fmt::Debug for Timespan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_times_go_both_ways_at_the_limits() {
        for ns in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX] {
            let time = Timestamp::from_ns(ns);
            assert_eq!(Timestamp::try_from(SystemTime::from(time)), Ok(time));
        }
        let late = SystemTime::from(Timestamp::MAX) + Duration::from_nanos(1);
        assert_eq!(Timestamp::try_from(late), Err(TimeRangeError));
        let early = SystemTime::from(Timestamp::MIN) - Duration::from_nanos(1);
        assert_eq!(Timestamp::try_from(early), Err(TimeRangeError));
    }

    #[test]
    fn durations_are_never_negative_and_spans_are_bounded() {
        assert_eq!(
            Duration::try_from(Timespan::MAX),
            Ok(Duration::from_nanos(i64::MAX as u64))
        );
        assert_eq!(Duration::try_from(Timespan::MIN), Err(TimeRangeError));
        assert_eq!(Timespan::try_from(Duration::MAX), Err(TimeRangeError));
    }

    #[test]
    fn arithmetic_stops_at_the_limits() {
        assert_eq!(
            Timestamp::MAX.saturating_add(Timespan::from_ns(1)),
            Timestamp::MAX
        );
        assert_eq!(Timestamp::MIN.since(Timestamp::MAX), Timespan::MIN);
        assert_eq!(Timespan::from_secs(i64::MAX), Timespan::MAX);
        assert_eq!(
            Timespan::from_millis(1500),
            Timespan::from_ns(1_500_000_000)
        );
    }

    #[test]
    fn text_form_goes_both_ways() {
        assert_eq!("-5ns".parse(), Ok(Timespan::from_ns(-5)));
        assert_eq!("9223372036854775807ns".parse(), Ok(Timestamp::MAX));
        for text in [
            "",
            "ns",
            "5",
            "5s",
            "1.5ns",
            "9223372036854775808ns",
            " 5ns",
        ] {
            assert!(text.parse::<Timespan>().is_err(), "{text}");
        }
    }
}
