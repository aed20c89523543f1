//! Durable consumers: named cursors on a stream.

use broker_data::{Timespan, Timestamp};
use serde_json::{Value, json};

use super::api::time_text;

/// Where a cursor begins that does not exist yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At the first message that the stream has.
    First,
    /// Behind the last one that it has.
    #[default]
    New,
    /// At the message of that number, or the next one that is there.
    Sequence(u64),
    /// At the first message that came at that time or later.
    Time(Timestamp),
    /// With the last message of each subject, oldest first; then with whatever comes.
    LastOfEach,
}

/// How long a server keeps a [`Follower`] of which it hears nothing.
const FOLLOWER_KEPT: Timespan = Timespan::from_secs(60);

impl Start {
    fn write(self, config: &mut Value) {
        match self {
            Self::First => config["deliver_policy"] = json!("all"),
            Self::New => config["deliver_policy"] = json!("new"),
            Self::LastOfEach => config["deliver_policy"] = json!("last_per_subject"),
            Self::Sequence(sequence) => {
                config["deliver_policy"] = json!("by_start_sequence");
                config["opt_start_seq"] = json!(sequence.max(1));
            }
            Self::Time(at) => {
                config["deliver_policy"] = json!("by_start_time");
                config["opt_start_time"] = json!(time_text(at));
            }
        }
    }
}

fn write_subjects(subjects: &[String], config: &mut Value) {
    match subjects {
        [only] => config["filter_subject"] = json!(only),
        several => config["filter_subjects"] = json!(several),
    }
}

/// A consumer of one reader, in order and without acknowledgements. It is not replicated and is made anew
/// behind the last message that came when anything goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follower {
    /// Its name, which no other consumer has.
    pub name: String,
    /// Subjects whose messages it gets, sorted.
    pub subjects: Vec<String>,
    /// Where it begins.
    pub start: Start,
}

impl Follower {
    /// The request that makes it.
    pub fn to_json(&self, stream: &str) -> Value {
        let mut config = json!({
            "name": self.name,
            "ack_policy": "none",
            "max_deliver": 1,
            "mem_storage": true,
            "num_replicas": 1,
            "inactive_threshold": FOLLOWER_KEPT.ns(),
            "replay_policy": "instant",
        });
        write_subjects(&self.subjects, &mut config);
        self.start.write(&mut config);
        json!({"stream_name": stream, "config": config, "action": "create"})
    }
}

/// A cursor as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Its name, see [`is_name`](super::api::is_name).
    pub name: String,
    /// Subjects whose messages it gets, sorted.
    pub subjects: Vec<String>,
    /// Where it begins.
    pub start: Start,
    /// How long a message may be unacknowledged until it is delivered again.
    pub ack_wait: Timespan,
    /// Messages that may be unacknowledged at a time.
    pub unacked_max: u32,
}

impl Cursor {
    /// The request that makes it.
    pub fn to_json(&self, stream: &str) -> Value {
        let mut config = json!({
            "name": self.name,
            "durable_name": self.name,
            "ack_policy": "explicit",
            "ack_wait": self.ack_wait.ns(),
            "max_ack_pending": self.unacked_max,
            "max_deliver": -1,
            "replay_policy": "instant",
        });
        write_subjects(&self.subjects, &mut config);
        self.start.write(&mut config);
        json!({"stream_name": stream, "config": config, "action": "create"})
    }

    /// How a cursor that exists differs from this one, a line for each field. Where it began does not
    /// count.
    pub fn differences(&self, existing: &Value) -> Vec<String> {
        let mut lines = Vec::new();
        let mut subjects: Vec<&str> = match existing.get("filter_subjects") {
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => existing
                .get("filter_subject")
                .and_then(Value::as_str)
                .into_iter()
                .collect(),
        };
        subjects.sort_unstable();
        if subjects != self.subjects {
            lines.push(format!(
                "topics, as subjects: it has {}, asked for is {}",
                subjects.join(" "),
                self.subjects.join(" ")
            ));
        }
        let number = |name: &str| existing.get(name).and_then(Value::as_i64);
        for (name, shown, wanted) in [
            ("ack_wait", "ack_wait, in ns", self.ack_wait.ns()),
            (
                "max_ack_pending",
                "most messages that are not acknowledged",
                i64::from(self.unacked_max),
            ),
        ] {
            if number(name) != Some(wanted) {
                let is = number(name).map_or("none".to_owned(), |it| it.to_string());
                lines.push(format!("{shown}: it has {is}, asked for is {wanted}"));
            }
        }
        if existing.get("ack_policy").and_then(Value::as_str) != Some("explicit") {
            lines.push("acknowledgements: it has none of single messages".to_owned());
        }
        lines
    }
}

/// What is known of a message that a cursor delivers, beside its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Its number in the stream.
    pub sequence: u64,
    /// How often it was delivered, this time included.
    pub deliveries: u64,
    /// Its number among the deliveries of its consumer.
    pub consumer_sequence: u64,
    /// When the stream got it.
    pub time: Timestamp,
    /// How many messages for the cursor are behind it.
    pub pending: u64,
}

impl Delivery {
    /// Reads the subject to which it is acknowledged; `None` when it is another one.
    pub fn parse(reply: &str) -> Option<Self> {
        let tokens: Vec<&str> = reply
            .strip_prefix("$JS.ACK.")?
            .split('.')
            .take(16)
            .collect();
        // Stream and consumer, or in newer servers domain, account, stream and consumer; then five numbers.
        let numbers = match tokens.len() {
            7 => tokens.get(2..7)?,
            9.. => tokens.get(4..9)?,
            _ => return None,
        };
        let number = |at: usize| numbers.get(at)?.parse::<u64>().ok();
        Some(Self {
            deliveries: number(0)?,
            sequence: number(1)?,
            consumer_sequence: number(2)?,
            time: Timestamp::from_ns(i64::try_from(number(3)?).ok()?),
            pending: number(4)?,
        })
    }
}

/// What is said of a message that was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is dealt with.
    Ack,
    /// It is to be delivered again after that time.
    Again(Timespan),
    /// It is being worked on: the wait begins anew.
    Working,
    /// It is never to be delivered again, for that reason.
    Never(String),
}

impl Verdict {
    /// The bytes that say so.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ack => b"+ACK".to_vec(),
            Self::Again(pause) if pause.ns() <= 0 => b"-NAK".to_vec(),
            Self::Again(pause) => format!("-NAK {{\"delay\": {}}}", pause.ns()).into_bytes(),
            Self::Working => b"+WPI".to_vec(),
            Self::Never(reason) => {
                let reason = reason.chars().filter(|it| !it.is_control());
                let reason: String = reason.take(200).collect();
                format!("+TERM {reason}").into_bytes()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> Cursor {
        Cursor {
            name: "siem".to_owned(),
            subjects: vec!["bk.%.a.>".to_owned(), "bkb.%.a.>".to_owned()],
            start: Start::Time(Timestamp::from_ns(0)),
            ack_wait: Timespan::from_secs(30),
            unacked_max: 1000,
        }
    }

    #[test]
    fn a_cursor_says_where_it_begins() {
        let of = |start| Cursor { start, ..cursor() }.to_json("S")["config"].clone();
        assert_eq!(of(Start::First)["deliver_policy"], "all");
        assert_eq!(of(Start::New)["deliver_policy"], "new");
        assert_eq!(of(Start::Sequence(0))["opt_start_seq"], 1);
        let at = of(Start::Time(Timestamp::from_ns(1)));
        assert_eq!(at["opt_start_time"], "1970-01-01T00:00:00.000000001Z");
        let single = Cursor {
            subjects: vec!["x.>".to_owned()],
            ..cursor()
        };
        assert_eq!(single.to_json("S")["config"]["filter_subject"], "x.>");
    }

    #[test]
    fn a_follower_is_of_one_reader_and_leaves_nothing_behind() {
        let follower = Follower {
            name: "f".to_owned(),
            subjects: vec!["bkr.>".to_owned()],
            start: Start::LastOfEach,
        };
        let config = follower.to_json("S")["config"].clone();
        assert_eq!(config["deliver_policy"], "last_per_subject");
        assert_eq!(config["ack_policy"], "none");
        assert_eq!(config["inactive_threshold"], json!(60_000_000_000_i64));
        assert_eq!(config["durable_name"], Value::Null);
    }

    #[test]
    fn where_a_cursor_began_is_no_difference() {
        let config = cursor().to_json("S")["config"].clone();
        let other = Cursor {
            start: Start::New,
            ..cursor()
        };
        assert_eq!(other.differences(&config), [""; 0]);
        let other = Cursor {
            subjects: vec!["bk.%.b.>".to_owned()],
            ack_wait: Timespan::from_secs(1),
            ..cursor()
        };
        let lines = other.differences(&config);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("bk.%.b.>"));
        let pushed = json!({"ack_policy": "none"});
        assert_eq!(cursor().differences(&pushed).len(), 4);
    }

    #[test]
    fn subjects_of_acknowledgements_tell_of_the_message() {
        let expected = Delivery {
            sequence: 7,
            deliveries: 2,
            consumer_sequence: 6,
            time: Timestamp::from_ns(99),
            pending: 5,
        };
        for reply in [
            "$JS.ACK.S.siem.2.7.6.99.5",
            "$JS.ACK._.hash.S.siem.2.7.6.99.5",
            "$JS.ACK.hub.hash.S.siem.2.7.6.99.5.token",
        ] {
            assert_eq!(Delivery::parse(reply), Some(expected), "{reply}");
        }
        for reply in [
            "",
            "_INBOX.x",
            "$JS.ACK.S.siem.2.7.6.99",
            "$JS.ACK.S.siem.2.7.6.x.5",
            "$JS.ACK.S.siem.-2.7.6.99.5",
            "$JS.ACK.S.siem.2.7.6.99.5.8",
        ] {
            assert_eq!(Delivery::parse(reply), None, "{reply}");
        }
    }

    #[test]
    fn verdicts_are_spelled_as_servers_read_them() {
        let text = |verdict: Verdict| String::from_utf8(verdict.to_bytes()).unwrap();
        assert_eq!(text(Verdict::Ack), "+ACK");
        assert_eq!(text(Verdict::Again(Timespan::from_ns(0))), "-NAK");
        assert_eq!(
            text(Verdict::Again(Timespan::from_ns(5))),
            "-NAK {\"delay\": 5}"
        );
        assert_eq!(text(Verdict::Never("a\r\nb".to_owned())), "+TERM ab");
    }
}
