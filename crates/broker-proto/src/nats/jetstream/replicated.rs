//! A replicated store on servers: its log, its bucket, and what is asked of both, as text.
//!
//! | what | where |
//! |---|---|
//! | entries | stream `BK_ST_<name>`, subject `bkst.<name>.log`; nothing is ever forgotten but behind a snapshot |
//! | lease | key `leader` of the bucket `BK_ST_<name>`, with a time to live |
//! | snapshots | keys `snapshot.<sequence>.<index>` of that bucket, one for each chunk |
//!
//! A bucket is what other clients of JetStream call a key-value bucket: the stream `KV_<bucket>` with
//! one message per subject. In `<name>` everything but letters, digits and `-` is written as `=` and two
//! hexadecimal digits. The entries and chunks themselves are those of [`crate::store::replica`].
//! ADR 0460.

use broker_data::Timespan;
use serde_json::{Value, json};

use super::api::{self, ApiError, MESSAGE_NOT_FOUND, STREAM_NOT_FOUND};
use super::exchange::{Publication, RequestError};
use crate::store::entity::EntityId;
use crate::store::replica::AppendOutcome;

/// The first version of servers with messages that have a time to live. Older ones take them and keep
/// them for ever, and with them a lease.
pub const LEASES_FROM: [u32; 2] = [2, 11];

/// Bytes of a store's name in subjects; names of streams are names of directories.
const NAME_BYTES_MAX: usize = 200;

/// How long servers keep a consumer that is asked for nothing.
const FOLLOWER_KEPT: Timespan = Timespan::from_secs(60);

const EXPECTED_LAST: &str = "Nats-Expected-Last-Sequence";
const EXPECTED_LAST_OF_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence";
const EXPECTED_STREAM: &str = "Nats-Expected-Stream";
const TIME_TO_LIVE: &str = "Nats-TTL";

/// The shortest time to live that servers take.
const LEASE_SECONDS_MIN: i64 = 1;

/// Where a store is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The stream of entries.
    pub log: String,
    /// The stream behind the bucket.
    pub bucket: String,
    entries: String,
    keys: String,
}

/// What is wrong with a stream that exists.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stream `{stream}` of the servers is of another shape: {differences}")]
pub struct OtherShape {
    /// Its name.
    pub stream: String,
    /// How it differs.
    pub differences: String,
}

/// What is known of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamState {
    /// The sequence of its first message, or of the next one if it is empty.
    pub first: u64,
    /// The sequence of its last message, also if that was removed.
    pub last: u64,
    /// Servers that keep a copy.
    pub replicas: u64,
}

/// What was found at a sequence, or under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A message.
    Message {
        /// Its sequence.
        sequence: u64,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// None.
    Nothing,
    /// There was no answer, or one that says nothing about it.
    Unknown,
}

impl Places {
    /// The places of a store; `None` if its name is too long.
    pub fn of(store: &str) -> Option<Self> {
        let mut name = String::new();
        for byte in store.bytes() {
            if byte.is_ascii_alphanumeric() || byte == b'-' {
                name.push(char::from(byte));
            } else {
                name.push_str(&format!("={byte:02X}"));
            }
        }
        (name.len() <= NAME_BYTES_MAX).then(|| Self {
            log: format!("BK_ST_{name}"),
            bucket: format!("KV_BK_ST_{name}"),
            entries: format!("bkst.{name}.log"),
            keys: format!("$KV.BK_ST_{name}."),
        })
    }

    fn chunk_subject(&self, sequence: u64, index: &str) -> String {
        format!("{}snapshot.{sequence}.{index}", self.keys)
    }

    // --- shapes ---------------------------------------------------------------------------------

    /// The stream of entries, as it is asked for.
    pub fn log_shape(&self, replicas: u8) -> Value {
        json!({
            "name": self.log,
            "subjects": [self.entries],
            "num_replicas": replicas,
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "max_age": 0, "max_bytes": -1, "max_msgs": -1, "max_msgs_per_subject": -1,
            "deny_delete": true,
            "allow_direct": true,
        })
    }

    /// The stream behind the bucket, as it is asked for.
    pub fn bucket_shape(&self, replicas: u8) -> Value {
        json!({
            "name": self.bucket,
            "subjects": [format!("{}>", self.keys)],
            "num_replicas": replicas,
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "max_age": 0, "max_bytes": -1, "max_msgs": -1, "max_msgs_per_subject": 1,
            "allow_rollup_hdrs": true,
            "allow_direct": true,
            "allow_msg_ttl": true,
        })
    }

    /// Whether a stream that exists is what was asked for, as far as safety depends on it; and its state.
    /// The number of copies is another matter: it may be changed while the store is in use.
    ///
    /// # Errors
    ///
    /// With everything in which it differs.
    pub fn check_shape(wanted: &Value, existing: &Value) -> Result<StreamState, OtherShape> {
        let null = Value::Null;
        let config = existing.get("config").unwrap_or(&null);
        let fields = [
            "subjects",
            "storage",
            "retention",
            "discard",
            "max_age",
            "max_bytes",
            "max_msgs",
            "max_msgs_per_subject",
            "allow_msg_ttl",
        ];
        let mut differences = Vec::new();
        for name in fields {
            let (is, wanted) = (config.get(name).unwrap_or(&null), wanted.get(name));
            if let Some(wanted) = wanted.filter(|it| *it != is) {
                differences.push(format!("{name} is {is}, must be {wanted}"));
            }
        }
        if differences.is_empty() {
            return Ok(stream_state(existing));
        }
        let stream = wanted.get("name").and_then(Value::as_str);
        Err(OtherShape {
            stream: stream.unwrap_or_default().to_owned(),
            differences: differences.join("; "),
        })
    }

    // --- the log --------------------------------------------------------------------------------

    /// An entry behind a sequence. It has no id for the detection of doubles: as it expects that
    /// sequence, it is stored once whatever is sent.
    pub fn append(&self, expected: u64, entry: &[u8]) -> Publication {
        Publication {
            subject: self.entries.clone(),
            headers: vec![
                (EXPECTED_LAST, expected.to_string()),
                (EXPECTED_STREAM, self.log.clone()),
            ],
            payload: entry.to_vec(),
        }
    }

    /// The consumer that a follower reads entries by: subject and body of the request.
    pub fn follow(&self, consumer: &str, after: u64) -> (String, Value) {
        let body = json!({
            "stream_name": self.log,
            "config": {
                "name": consumer,
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": after.saturating_add(1),
                "ack_policy": "none",
                "replay_policy": "instant",
                "inactive_threshold": FOLLOWER_KEPT.ns(),
                "mem_storage": true,
                "num_replicas": 1,
            },
        });
        (format!("CONSUMER.CREATE.{}.{consumer}", self.log), body)
    }

    /// Reads what is at a sequence.
    pub fn read_entry(&self, sequence: u64) -> (String, Value) {
        let subject = format!("STREAM.MSG.GET.{}", self.log);
        (subject, json!({ "seq": sequence }))
    }

    /// Removes entries up to a sequence, this one included.
    pub fn compact(&self, through: u64) -> (String, Value) {
        let subject = format!("STREAM.PURGE.{}", self.log);
        (subject, json!({ "seq": through.saturating_add(1) }))
    }

    // --- the lease ------------------------------------------------------------------------------

    /// Takes the lease, or prolongs it where `revision` is the sequence of what was written last; 0 for
    /// none.
    pub fn lease(&self, holder: EntityId, revision: u64, lease: Timespan) -> Publication {
        let seconds = (lease.ns() / 1_000_000_000).max(LEASE_SECONDS_MIN);
        Publication {
            subject: format!("{}leader", self.keys),
            headers: vec![
                (EXPECTED_LAST_OF_SUBJECT, revision.to_string()),
                (TIME_TO_LIVE, format!("{seconds}s")),
            ],
            payload: holder.to_string().into_bytes(),
        }
    }

    /// Reads who has the lease.
    pub fn read_lease(&self) -> (String, Value) {
        self.read_key(&format!("{}leader", self.keys))
    }

    /// Gives the lease back that was written at a sequence, and no other one.
    pub fn release_lease(&self, revision: u64) -> (String, Value) {
        let subject = format!("STREAM.MSG.DELETE.{}", self.bucket);
        (subject, json!({ "seq": revision, "no_erase": true }))
    }

    fn read_key(&self, subject: &str) -> (String, Value) {
        let request = format!("STREAM.MSG.GET.{}", self.bucket);
        (request, json!({ "last_by_subj": subject }))
    }

    // --- snapshots ------------------------------------------------------------------------------

    /// Lists the first chunks of all snapshots.
    pub fn list_snapshots(&self) -> (String, Value) {
        self.list(format!("{}snapshot.*.0", self.keys))
    }

    /// Lists the chunks of one snapshot.
    pub fn list_chunks(&self, sequence: u64) -> (String, Value) {
        self.list(self.chunk_subject(sequence, "*"))
    }

    fn list(&self, filter: String) -> (String, Value) {
        let subject = format!("STREAM.INFO.{}", self.bucket);
        (subject, json!({ "subjects_filter": filter }))
    }

    /// The sequences of the snapshots in such a list.
    pub fn listed_snapshots(&self, answer: &Value) -> Vec<u64> {
        let prefix = format!("{}snapshot.", self.keys);
        let sequence = |subject: &String| {
            let rest = subject.strip_prefix(&prefix)?.strip_suffix(".0")?;
            rest.parse().ok()
        };
        subjects(answer).filter_map(sequence).collect()
    }

    /// How many chunks such a list has.
    pub fn listed_chunks(answer: &Value) -> u64 {
        subjects(answer).count() as u64
    }

    /// Reads one chunk.
    pub fn read_chunk(&self, sequence: u64, index: u64) -> (String, Value) {
        self.read_key(&self.chunk_subject(sequence, &index.to_string()))
    }

    /// Writes one chunk, over what is there.
    pub fn write_chunk(&self, sequence: u64, index: u64, chunk: &[u8]) -> Publication {
        Publication {
            subject: self.chunk_subject(sequence, &index.to_string()),
            headers: Vec::new(),
            payload: chunk.to_vec(),
        }
    }

    /// Removes one snapshot.
    pub fn delete_snapshot(&self, sequence: u64) -> (String, Value) {
        let subject = format!("STREAM.PURGE.{}", self.bucket);
        (
            subject,
            json!({ "filter": self.chunk_subject(sequence, "*") }),
        )
    }
}

fn subjects(answer: &Value) -> impl Iterator<Item = &String> {
    let state = answer.get("state").and_then(|it| it.get("subjects"));
    state
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|it| it.keys())
}

/// What an answer says of a stream.
pub fn stream_state(answer: &Value) -> StreamState {
    let number = |of: &str, name: &str| {
        let of = answer.get(of).and_then(|it| it.get(name));
        of.and_then(Value::as_u64).unwrap_or_default()
    };
    StreamState {
        first: number("state", "first_seq"),
        last: number("state", "last_seq"),
        replicas: number("config", "num_replicas"),
    }
}

/// What became of an append.
pub fn append_outcome(answer: &Result<Value, RequestError>) -> AppendOutcome {
    match answer {
        Ok(answer) => match api::Stored::parse(answer) {
            Some(stored) => AppendOutcome::Stored {
                sequence: stored.sequence,
            },
            None => AppendOutcome::Unknown,
        },
        Err(RequestError::Refused(error)) if error.is_conflict() => AppendOutcome::Refused,
        // Whether an earlier attempt was stored is not known.
        Err(_) => AppendOutcome::Unknown,
    }
}

/// What was found by a request for a message.
pub fn found(answer: Result<Value, RequestError>) -> Found {
    let answer = match answer {
        Ok(answer) => answer,
        Err(RequestError::Refused(ApiError { error, .. })) if error == MESSAGE_NOT_FOUND => {
            return Found::Nothing;
        }
        Err(_) => return Found::Unknown,
    };
    let message = answer.get("message");
    let sequence = message.and_then(|it| it.get("seq")).and_then(Value::as_u64);
    let data = message
        .and_then(|it| it.get("data"))
        .and_then(Value::as_str);
    match (sequence, from_base64(data.unwrap_or_default())) {
        (Some(sequence), Some(payload)) => Found::Message { sequence, payload },
        _ => Found::Unknown,
    }
}

/// Whether a stream is not there.
pub fn is_missing(answer: &Result<Value, RequestError>) -> bool {
    matches!(answer, Err(RequestError::Refused(error)) if error.error == STREAM_NOT_FOUND)
}

/// Bytes of their text form. RFC 4648, section 4.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut number, mut held) = (0_u32, 0_u32);
    for digit in text.trim_end_matches('=').bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        number = (number << 6 | u32::from(value)) & 0x3fff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(number >> held & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::EndpointId;

    #[test]
    fn names_of_stores_are_names_of_streams() {
        let places = Places::of("zeek/hosts_1").unwrap();
        assert_eq!(places.log, "BK_ST_zeek=2Fhosts=5F1");
        assert_eq!(places.append(7, b"x").subject, "bkst.zeek=2Fhosts=5F1.log");
        assert_ne!(Places::of("a.b"), Places::of("a=2Eb"));
        assert_eq!(Places::of(&"/".repeat(67)), None);
    }

    #[test]
    fn an_append_and_a_lease_name_what_they_expect() {
        let places = Places::of("s").unwrap();
        let append = places.append(7, b"entry");
        let expected = (EXPECTED_LAST, "7".to_owned());
        assert!(append.headers.contains(&expected), "{append:?}");
        let holder = EntityId {
            endpoint: EndpointId::from_bytes([1; 16]),
            object: 9,
        };
        let lease = places.lease(holder, 4, Timespan::from_millis(5_500));
        let headers = [
            (EXPECTED_LAST_OF_SUBJECT, "4".to_owned()),
            (TIME_TO_LIVE, "5s".to_owned()),
        ];
        assert_eq!(lease.headers, headers);
        let short = places.lease(holder, 0, Timespan::from_millis(10));
        assert_eq!(short.headers[1].1, "1s");
    }

    #[test]
    fn outcomes_of_appends_are_told_apart() {
        let refused = |error| {
            Err(RequestError::Refused(ApiError {
                status: 400,
                error,
                description: String::new(),
            }))
        };
        let stored = Ok(json!({"stream": "S", "seq": 8}));
        assert_eq!(
            append_outcome(&stored),
            AppendOutcome::Stored { sequence: 8 }
        );
        assert_eq!(append_outcome(&refused(10071)), AppendOutcome::Refused);
        // The stream is full, say: whether an earlier attempt was stored has to be looked up.
        assert_eq!(append_outcome(&refused(10077)), AppendOutcome::Unknown);
        let late = Err(RequestError::TimedOut(String::new()));
        assert_eq!(append_outcome(&late), AppendOutcome::Unknown);
        assert_eq!(found(refused(MESSAGE_NOT_FOUND)), Found::Nothing);
        assert_eq!(found(refused(10059)), Found::Unknown);
        assert!(is_missing(&refused(STREAM_NOT_FOUND)));
    }

    #[test]
    fn messages_are_read_from_base_64() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("+/8A", b"\xfb\xff\x00"),
        ] {
            assert_eq!(from_base64(text).as_deref(), Some(bytes), "{text}");
        }
        assert_eq!(from_base64("Zm9*"), None);
        let answer = Ok(json!({"message": {"seq": 3, "data": "Zm9v"}}));
        let expected = Found::Message {
            sequence: 3,
            payload: b"foo".to_vec(),
        };
        assert_eq!(found(answer), expected);
        assert_eq!(found(Ok(json!({}))), Found::Unknown);
    }

    #[test]
    fn snapshots_are_listed_by_their_first_chunks() {
        let places = Places::of("s").unwrap();
        let answer = json!({"state": {"subjects": {
            "$KV.BK_ST_s.snapshot.12.0": 1, "$KV.BK_ST_s.snapshot.x.0": 1, "$KV.BK_ST_s.leader": 1,
        }}});
        assert_eq!(places.listed_snapshots(&answer), [12]);
        assert_eq!(Places::listed_chunks(&answer), 3);
        assert_eq!(Places::listed_chunks(&json!({})), 0);
    }

    #[test]
    fn a_stream_that_forgets_is_refused() {
        let places = Places::of("s").unwrap();
        let wanted = places.log_shape(3);
        let mut config = wanted.clone();
        config["num_replicas"] = json!(1);
        let state = json!({"first_seq": 4, "last_seq": 9});
        let existing = json!({"config": config, "state": state});
        let expected = StreamState {
            first: 4,
            last: 9,
            replicas: 1,
        };
        assert_eq!(Places::check_shape(&wanted, &existing), Ok(expected));
        config["discard"] = json!("old");
        let existing = json!({"config": config});
        let error = Places::check_shape(&wanted, &existing).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(r#"discard is "old", must be "new""#)
        );
    }
}
