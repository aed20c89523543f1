//! Options of durable topics: streams, publishes and subscribers.

use std::time::{Duration, SystemTime};

use broker_data::Timestamp;
use broker_proto::Topic;
use broker_proto::nats::jetstream::topics::kept_forms;
use broker_proto::nats::jetstream::{Discard, Start, StreamShape};
use broker_proto::nats::{Form, Subjects};

use super::{DurableError, checked_name};
use crate::config::timespan;
use crate::core::jet_stream::course::End;

pub use broker_proto::nats::jetstream::Discard as StreamDiscard;

/// How long calls wait for servers unless they are told otherwise: longer than a cluster takes to find a
/// new leader.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Messages that are fetched ahead at most.
const PREFETCH_MAX: usize = 10_000;

/// Messages that are fetched ahead where nothing is acknowledged: enough for one request to be served while
/// another one is on its way.
const ORDERED_PREFETCH: usize = 4096;

/// Bytes that are fetched ahead, or two of the largest messages that the server takes if that is more.
pub(super) const PREFETCH_BYTES: usize = 16 * 1024 * 1024;

/// What the topics of dead letters begin with; the name of the subscriber follows.
const DEAD_LETTERS: &str = "/dead-letters/";

/// Copies that streams can have.
const REPLICAS: [u8; 3] = [1, 3, 5];

/// Topics of a stream: each is up to four subjects.
const TOPICS_MAX: usize = 1024;

/// A stream that is to exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOptions {
    /// Its name: 1 to 64 letters, digits, `_` and `-`.
    pub name: String,
    /// The topics that it keeps: each of them and everything below it, so `/notices` is for `/notices`
    /// and `/notices/a`, and not for `/noticeable`. The empty topic stands for all.
    pub topics: Vec<Topic>,
    /// Servers that have a copy: 1, 3 or 5.
    pub replicas: u8,
    /// Age at which messages are forgotten; `None` for never.
    pub age_max: Option<Duration>,
    /// Bytes of all messages; `None` for as many as the servers have room for.
    pub bytes_max: Option<u64>,
    /// Messages; `None` for any number.
    pub messages_max: Option<u64>,
    /// Messages of each topic; `None` for any number.
    pub topic_messages_max: Option<u64>,
    /// It is for the last values of its topics, one of each
    /// ([`retain`](PublishOptions::retain)), and keeps nothing else.
    pub retained: bool,
    /// What happens at these limits.
    pub discard: Discard,
    /// Refuses a stream with one copy.
    pub require_durable: bool,
    /// How long to wait for the servers.
    pub timeout: Duration,
}

impl StreamOptions {
    /// A stream of that name for these topics, with one copy and without limits.
    pub fn new<T: Into<Topic>>(
        name: impl Into<String>,
        topics: impl IntoIterator<Item = T>,
    ) -> Self {
        Self {
            name: name.into(),
            topics: topics.into_iter().map(Into::into).collect(),
            replicas: 1,
            age_max: None,
            bytes_max: None,
            messages_max: None,
            topic_messages_max: None,
            retained: false,
            discard: Discard::Old,
            require_durable: false,
            timeout: TIMEOUT,
        }
    }

    /// The stream as servers know it.
    pub(super) fn shape(&self, subjects: &Subjects) -> Result<StreamShape, DurableError> {
        let wrong = |name, cause: String| DurableError::Option { name, cause };
        if !REPLICAS.contains(&self.replicas) {
            let cause = format!("expected 1, 3 or 5, found {}", self.replicas);
            return Err(wrong("replicas", cause));
        }
        if self.topics.is_empty() || self.topics.len() > TOPICS_MAX {
            let cause = format!("expected 1 to {TOPICS_MAX}, found {}", self.topics.len());
            return Err(wrong("topics", cause));
        }
        let mut topic_messages_max = self.topic_messages_max;
        let forms: &[Form] = if self.retained {
            &Form::RETAINED
        } else {
            &Form::ALL
        };
        if self.retained && topic_messages_max.replace(1).is_some_and(|it| it != 1) {
            let cause = "a stream of last values has one message per topic".to_owned();
            return Err(wrong("topic_messages_max", cause));
        }
        let mut kept = Vec::new();
        for topic in &self.topics {
            let subjects = kept_forms(subjects, topic.as_bytes(), forms);
            let subjects = subjects.ok_or_else(|| DurableError::Topic {
                topic: String::from_utf8_lossy(topic.as_bytes()).into_owned(),
                cause: "it is too long for a stream",
            })?;
            kept.extend(subjects);
        }
        kept.sort_unstable();
        kept.dedup();
        Ok(StreamShape {
            name: checked_name("name", self.name.clone())?,
            subjects: kept,
            replicas: self.replicas,
            age_max: self.age_max.map(timespan),
            bytes_max: self.bytes_max,
            messages_max: self.messages_max,
            topic_messages_max,
            discard: self.discard,
        })
    }
}

/// How a message is published that is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishOptions {
    /// The id by which the stream knows the message; `None` for a new one.
    pub message_id: Option<String>,
    /// The stream that is to keep it: an error if it is another one.
    pub stream: Option<String>,
    /// The number that the last message of the stream is to have; 0 for none. Otherwise it is not stored.
    pub expected_last: Option<u64>,
    /// The same for the last message of the topic.
    pub expected_last_of_topic: Option<u64>,
    /// Keeps it as the last value of its topic: who subscribes later gets it first, see
    /// [`DurableTopics::retained`](super::DurableTopics::retained). The stream is one for last values.
    pub retain: bool,
    /// How long to wait until it is stored.
    pub timeout: Duration,
}

impl Default for PublishOptions {
    fn default() -> Self {
        Self {
            message_id: None,
            stream: None,
            expected_last: None,
            expected_last_of_topic: None,
            retain: false,
            timeout: TIMEOUT,
        }
    }
}

/// Where a cursor begins that does not exist yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DurableStart {
    /// With the first message that the stream has.
    First,
    /// With what is published from now on.
    #[default]
    New,
    /// With the message of that number.
    Sequence(u64),
    /// With the first message that came at that time or later.
    Time(Timestamp),
    /// The same, so long ago.
    Ago(Duration),
}

impl DurableStart {
    /// As servers know it.
    pub(super) fn resolved(self) -> Start {
        match self {
            Self::First => Start::First,
            Self::New => Start::New,
            Self::Sequence(sequence) => Start::Sequence(sequence),
            Self::Time(at) => Start::Time(at),
            Self::Ago(ago) => {
                let now = Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::EPOCH);
                Start::Time(now.saturating_sub(timespan(ago)))
            }
        }
    }
}

/// A subscriber to last values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedOptions {
    /// The stream, if several keep last values of these topics.
    pub stream: Option<String>,
    /// Messages that are fetched ahead.
    pub prefetch: usize,
    /// Refuses a stream with one copy.
    pub require_durable: bool,
    /// How long to wait for the servers.
    pub timeout: Duration,
}

impl Default for RetainedOptions {
    fn default() -> Self {
        Self {
            stream: None,
            prefetch: ORDERED_PREFETCH,
            require_durable: false,
            timeout: TIMEOUT,
        }
    }
}

/// A replay of what a stream has.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayOptions {
    /// The first message; [`DurableStart::New`] is none.
    pub since: DurableStart,
    /// The last message there may be; `None` for the last one that there is when the replay begins, which
    /// is where it ends in any case.
    pub until: Option<DurableStart>,
    /// How many times faster than they were stored messages are handed out; `None` for as fast as they
    /// are taken.
    pub speed: Option<f64>,
    /// The stream, if several keep these topics.
    pub stream: Option<String>,
    /// Messages that are fetched ahead; those of a batch count as one.
    pub prefetch: usize,
    /// How long to wait for the servers.
    pub timeout: Duration,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self {
            since: DurableStart::First,
            until: None,
            speed: Some(1.0),
            stream: None,
            prefetch: ORDERED_PREFETCH,
            timeout: TIMEOUT,
        }
    }
}

impl ReplayOptions {
    /// Refuses values that could never work.
    pub(super) fn check(&self) -> Result<(), DurableError> {
        let wrong = |name, cause: &str| {
            let cause = cause.to_owned();
            Err(DurableError::Option { name, cause })
        };
        if self.since == DurableStart::New {
            return wrong("since", "expected a beginning among what there is");
        }
        if matches!(self.until, Some(DurableStart::New | DurableStart::First)) {
            return wrong("until", "expected a time or the number of a message");
        }
        if self.speed.is_some_and(|it| !it.is_finite() || it <= 0.0) {
            return wrong("speed", "expected a number above zero, or none");
        }
        check_prefetch(self.prefetch)
    }

    /// Where it ends in a stream whose last message has that number.
    pub(super) fn end(&self, last: u64) -> End {
        let sequence = match self.until {
            Some(DurableStart::Sequence(sequence)) => sequence.min(last),
            _ => last,
        };
        let time = match self.until.map(DurableStart::resolved) {
            Some(Start::Time(at)) => Some(at),
            _ => None,
        };
        End { sequence, time }
    }
}

/// Refuses numbers of messages that could never work.
pub(super) fn check_prefetch(prefetch: usize) -> Result<(), DurableError> {
    if (1..=PREFETCH_MAX).contains(&prefetch) {
        return Ok(());
    }
    Err(DurableError::Option {
        name: "prefetch",
        cause: format!("expected 1 to {PREFETCH_MAX}"),
    })
}

/// When messages are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acknowledge {
    /// When the next message is asked for, or the subscriber is closed: until then the program may fail,
    /// and gets the message again.
    #[default]
    Auto,
    /// When the program says so.
    Manual,
}

/// A durable subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableOptions {
    /// The name of its cursor: 1 to 64 letters, digits, `_` and `-`. Subscribers of one name share its
    /// messages, each of which goes to one of them.
    pub name: String,
    /// Where the cursor begins if there is none of that name.
    pub start: DurableStart,
    /// When messages are acknowledged.
    pub acknowledge: Acknowledge,
    /// How long a message may be unacknowledged until it is delivered again.
    pub ack_wait: Duration,
    /// Messages that may be unacknowledged at a time, all subscribers of the name together.
    pub unacked_max: u32,
    /// Messages that are fetched ahead; those of a batch count as one.
    pub prefetch: usize,
    /// How often a message is delivered at most. Then it is published under
    /// [`dead_letters`](Self::dead_letters), with the reason, and not delivered any more. `None`: for
    /// ever.
    pub deliveries_max: Option<u64>,
    /// The topic of messages that were not dealt with, which a stream has to keep;
    /// `/dead-letters/` and the name unless there is another one.
    pub dead_letters: Option<Topic>,
    /// The stream, if several keep these topics.
    pub stream: Option<String>,
    /// Refuses a stream with one copy.
    pub require_durable: bool,
    /// How long to wait for the servers.
    pub timeout: Duration,
}

impl DurableOptions {
    /// A subscriber of that name that begins with what is published from now on.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            start: DurableStart::New,
            acknowledge: Acknowledge::Auto,
            ack_wait: Duration::from_secs(30),
            unacked_max: 1000,
            prefetch: 64,
            deliveries_max: None,
            dead_letters: None,
            stream: None,
            require_durable: false,
            timeout: TIMEOUT,
        }
    }

    /// Refuses values that could never work.
    pub(super) fn check(&self) -> Result<(), DurableError> {
        checked_name("name", self.name.clone())?;
        if let Some(stream) = &self.stream {
            checked_name("stream", stream.clone())?;
        }
        let wrong = |name, cause: &str| {
            let cause = cause.to_owned();
            Err(DurableError::Option { name, cause })
        };
        if self.ack_wait < Duration::from_millis(100) {
            return wrong("ack_wait", "expected at least 0.1 s");
        }
        if self.deliveries_max == Some(0) {
            return wrong("deliveries_max", "expected at least one");
        }
        if !(1..=100_000).contains(&self.unacked_max) {
            return wrong("unacked_max", "expected 1 to 100000");
        }
        check_prefetch(self.prefetch)
    }

    /// The topic of dead letters.
    pub(super) fn dead_letter_topic(&self) -> Vec<u8> {
        match &self.dead_letters {
            Some(topic) => topic.as_bytes().to_vec(),
            None => format!("{DEAD_LETTERS}{}", self.name).into_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_never_work_is_refused_by_name() {
        let good = DurableOptions::new("siem");
        assert_eq!(good.check(), Ok(()));
        assert_eq!(good.dead_letter_topic(), b"/dead-letters/siem");
        let wrong = [
            (DurableOptions::new("a b"), "`name`"),
            (
                DurableOptions {
                    ack_wait: Duration::ZERO,
                    ..good.clone()
                },
                "`ack_wait`",
            ),
            (
                DurableOptions {
                    deliveries_max: Some(0),
                    ..good.clone()
                },
                "`deliveries_max`",
            ),
            (
                DurableOptions {
                    prefetch: 0,
                    ..good.clone()
                },
                "`prefetch`",
            ),
            (
                DurableOptions {
                    stream: Some("*".to_owned()),
                    ..good
                },
                "`stream`",
            ),
        ];
        for (options, named) in wrong {
            let error = options.check().unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn a_replay_ends_with_what_there_is_or_before() {
        let replay = ReplayOptions::default();
        assert_eq!(replay.check(), Ok(()));
        let of = |until| {
            let until = Some(until);
            ReplayOptions {
                until,
                ..ReplayOptions::default()
            }
        };
        assert_eq!(replay.end(9).sequence, 9);
        assert_eq!(of(DurableStart::Sequence(5)).end(9).sequence, 5);
        assert_eq!(of(DurableStart::Sequence(50)).end(9).sequence, 9);
        let at = Timestamp::from_ns(5);
        let end = of(DurableStart::Time(at)).end(9);
        assert_eq!((end.sequence, end.time), (9, Some(at)));
        let speed = |speed| ReplayOptions {
            speed: Some(speed),
            ..ReplayOptions::default()
        };
        let since = ReplayOptions {
            since: DurableStart::New,
            ..ReplayOptions::default()
        };
        for (wrong, named) in [
            (of(DurableStart::New), "`until`"),
            (since, "`since`"),
            (speed(0.0), "`speed`"),
            (speed(f64::NAN), "`speed`"),
        ] {
            let error = wrong.check().unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn a_stream_of_last_values_has_one_of_each() {
        let subjects = Subjects::default();
        let options = StreamOptions {
            retained: true,
            ..StreamOptions::new("S", ["/a"])
        };
        let shape = options.shape(&subjects).unwrap();
        assert_eq!(shape.subjects, ["bkr.%.a", "bkr.%.a.>"]);
        assert_eq!(shape.topic_messages_max, Some(1));
        let two = StreamOptions {
            topic_messages_max: Some(2),
            ..options
        };
        let error = two.shape(&subjects).unwrap_err().to_string();
        assert!(error.contains("one message per topic"), "{error}");
    }

    #[test]
    fn a_stream_needs_topics_and_possible_copies() {
        let subjects = Subjects::default();
        let options = StreamOptions::new("S", ["/a", "/a/"]);
        let shape = options.shape(&subjects).unwrap();
        assert_eq!(
            shape.subjects,
            ["bk.%.a", "bk.%.a.>", "bkb.%.a", "bkb.%.a.>"]
        );
        let two = StreamOptions {
            replicas: 2,
            ..options.clone()
        };
        let none = StreamOptions {
            topics: Vec::new(),
            ..options.clone()
        };
        let unnamed = StreamOptions {
            name: "a.b".to_owned(),
            ..options
        };
        for (options, named) in [(two, "1, 3 or 5"), (none, "`topics`"), (unnamed, "`a.b`")] {
            let error = options.shape(&subjects).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
