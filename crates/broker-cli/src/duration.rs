//! Durations and rates on a command line.

use std::time::Duration;

use broker::data::json;

/// Reads `10s`, `250ms`, `1.5min`.
///
/// # Errors
///
/// Says what was expected.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let span = json::timespan(text.as_bytes());
    span.and_then(|span| Duration::try_from(span).ok())
        .ok_or_else(|| {
            "expected a number and a unit, such as `10s`, `250ms` or `1.5min`".to_owned()
        })
}

/// Reads `100/s`, `30/min` or `100`, which is per second; as the time from one to the next.
///
/// # Errors
///
/// Says what was expected.
pub(crate) fn rate(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number per time, such as `100/s` or `30/min`".to_owned();
    let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let per = json::timespan(format!("1{unit}").as_bytes()).ok_or_else(wrong)?;
    let per = Duration::try_from(per).map_err(|_| wrong())?;
    if number.is_finite() && number > 0.0 {
        Duration::try_from_secs_f64(per.as_secs_f64() / number).map_err(|_| wrong())
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_are_not_negative() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5min"), Ok(Duration::from_secs(90)));
        for text in ["", "10", "s", "-1s", "1 s", "1x"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_per_second_unless_they_say_otherwise() {
        assert_eq!(rate("100/s"), Ok(Duration::from_millis(10)));
        assert_eq!(rate("30/min"), Ok(Duration::from_secs(2)));
        assert_eq!(rate("2"), Ok(Duration::from_millis(500)));
        for text in ["", "/s", "0/s", "-1/s", "nan/s", "inf/s", "1/x", "1e-300/s"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
