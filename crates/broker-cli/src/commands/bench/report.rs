//! What a test found, as lines and as JSON. See `schema/bench.json`.

use std::fmt::Write as _;
use std::time::Duration;

use crate::console::Console;
use crate::outcome::{Exit, Failure};

/// Percentiles that are told: the name in JSON, the part of a thousand.
const PERCENTILES: [(&str, usize); 5] = [
    ("p50", 500),
    ("p90", 900),
    ("p99", 990),
    ("p999", 999),
    ("max", 1000),
];

/// What a test found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Report {
    /// Which test: `pub`, `sub`, `latency`, `store`, `relay`.
    pub(super) test: &'static str,
    /// What is counted: messages, round trips, entries.
    pub(super) unit: &'static str,
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Those that came more than once, or after a later one.
    pub(super) out_of_order: u64,
    /// Bytes on the wire of one of them.
    pub(super) bytes_each: u64,
    pub(super) elapsed: Duration,
    /// What the process has used; of both ends if both are in it.
    pub(super) processor: Duration,
    /// How long each took, sorted; empty where that was not measured.
    pub(super) times: Vec<Duration>,
}

impl Report {
    fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    fn rate(&self) -> f64 {
        self.received as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    fn percentile(&self, thousandth: usize) -> Option<Duration> {
        let last = self.times.len().checked_sub(1)?;
        self.times
            .get((self.times.len() * thousandth / 1000).min(last))
            .copied()
    }

    /// What the command is to end with.
    pub(super) fn exit(&self) -> Exit {
        if self.lost() == 0 && self.out_of_order == 0 {
            Exit::Done
        } else {
            Exit::Failed
        }
    }

    pub(super) fn print(&self, is_json: bool, console: &mut Console) -> Result<(), Failure> {
        if is_json {
            console.line(self.json())
        } else {
            for line in self.lines() {
                console.line(line)?;
            }
            Ok(())
        }
    }

    fn json(&self) -> String {
        let mut line = format!(
            "{{\"type\":\"bench\",\"test\":\"{}\",\"unit\":\"{}\",\"sent\":{},\"received\":{},\
             \"lost\":{},\"out_of_order\":{},\"bytes_each\":{},\"elapsed_ns\":{},\
             \"per_second\":{:.0},\"processor_ns\":{},\"percentiles_ns\":",
            self.test,
            self.unit,
            self.sent,
            self.received,
            self.lost(),
            self.out_of_order,
            self.bytes_each,
            self.elapsed.as_nanos(),
            self.rate(),
            self.processor.as_nanos()
        );
        if self.times.is_empty() {
            line.push_str("null")
        } else {
            for (index, (name, thousandth)) in PERCENTILES.iter().enumerate() {
                let time = self.percentile(*thousandth).unwrap_or_default().as_nanos();
                let before = if index == 0 { '{' } else { ',' };
                let _ = write!(line, "{before}\"{name}\":{time}");
            }
            line.push('}');
        }
        line.push('}');
        line
    }

    fn lines(&self) -> Vec<String> {
        let seconds = self.elapsed.as_secs_f64();
        let mbytes = self.rate() * self.bytes_each as f64 / 1e6;
        let each = self.processor.as_nanos() as f64 / (self.received.max(1)) as f64;
        let busy = self.processor.as_secs_f64() / seconds.max(1e-9) * 100.0;
        let mut lines = vec![
            format!(
                "{:<8} {} {} in {seconds:.2} s: {} per second, {mbytes:.0} MB/s",
                self.test,
                grouped(self.received),
                self.unit,
                grouped(self.rate() as u64)
            ),
            match (self.lost(), self.out_of_order) {
                (0, 0) => "counted  all came, each once and in order".to_owned(),
                (lost, mixed) => format!(
                    "counted  {} sent, {} lost, {} twice or out of order",
                    grouped(self.sent),
                    grouped(lost),
                    grouped(mixed)
                ),
            },
            format!("CPU      {each:.0} ns each, {busy:.0} % of a processor"),
        ];
        if !self.times.is_empty() {
            let times = PERCENTILES.iter().map(|(name, thousandth)| {
                let time = self.percentile(*thousandth).unwrap_or_default();
                format!("{name} {:.3}", time.as_secs_f64() * 1e3)
            });
            lines.push(format!(
                "times    {} ms",
                times.collect::<Vec<_>>().join(", ")
            ));
        }
        lines
    }
}

/// A number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            test: "latency",
            unit: "round trips",
            sent: 1_000,
            received: 1_000,
            out_of_order: 0,
            bytes_each: 100,
            elapsed: Duration::from_secs(2),
            processor: Duration::from_millis(500),
            times: (1..=1000).map(Duration::from_micros).collect(),
        }
    }

    #[test]
    fn everything_is_told_in_lines() {
        let lines = report().lines();
        assert_eq!(
            lines,
            [
                "latency  1,000 round trips in 2.00 s: 500 per second, 0 MB/s",
                "counted  all came, each once and in order",
                "CPU      500000 ns each, 25 % of a processor",
                "times    p50 0.501, p90 0.901, p99 0.991, p999 1.000, max 1.000 ms",
            ]
        );
    }

    #[test]
    fn what_is_lost_is_told_and_fails() {
        let mut lossy = report();
        lossy.received = 998;
        lossy.out_of_order = 1;
        assert_eq!(lossy.exit(), Exit::Failed);
        assert_eq!(
            lossy.lines()[1],
            "counted  1,000 sent, 2 lost, 1 twice or out of order"
        );
    }

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1234567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
