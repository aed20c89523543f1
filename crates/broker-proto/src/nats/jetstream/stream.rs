//! The shape of a stream: what it keeps, for how long, on how many servers.

use broker_data::Timespan;
use serde_json::{Value, json};

/// How long a stream knows the ids of messages unless its messages are older by then.
const DUPLICATE_WINDOW: Timespan = Timespan::from_secs(120);

/// What becomes of messages when a stream is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Discard {
    /// The oldest are forgotten.
    #[default]
    Old,
    /// New ones are refused, and their publishers are told.
    New,
}

/// A stream as it is asked for. Messages are kept in files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamShape {
    /// Its name, see [`is_name`](super::api::is_name).
    pub name: String,
    /// The subjects that it keeps, sorted.
    pub subjects: Vec<String>,
    /// Servers that have a copy: 1, 3 or 5. With 1 a disk that is gone takes the stream with it.
    pub replicas: u8,
    /// Age at which messages are forgotten; `None` for never.
    pub age_max: Option<Timespan>,
    /// Bytes of all messages; `None` for as many as the server has room for.
    pub bytes_max: Option<u64>,
    /// Messages; `None` for any number.
    pub messages_max: Option<u64>,
    /// Messages of one topic; `None` for any number.
    pub topic_messages_max: Option<u64>,
    /// What happens at these limits.
    pub discard: Discard,
}

impl StreamShape {
    /// As servers read it.
    pub fn to_json(&self) -> Value {
        let limit = |limit: Option<u64>| limit.map_or(json!(-1), |it| json!(it));
        json!({
            "name": self.name,
            "subjects": self.subjects,
            "num_replicas": self.replicas,
            "max_age": self.age_max.map_or(0, Timespan::ns),
            "max_bytes": limit(self.bytes_max),
            "max_msgs": limit(self.messages_max),
            "max_msgs_per_subject": limit(self.topic_messages_max),
            "discard": match self.discard {
                Discard::Old => "old",
                Discard::New => "new",
            },
            "storage": "file",
            "retention": "limits",
            "duplicate_window": self
                .age_max
                .map_or(DUPLICATE_WINDOW, |age| age.min(DUPLICATE_WINDOW))
                .ns(),
            "allow_direct": true,
        })
    }

    /// How a stream that exists differs from this one, a line for each field; empty where it does not.
    /// What is not said here, such as a description, may be anything.
    pub fn differences(&self, existing: &Value) -> Vec<String> {
        let wanted = self.to_json();
        let fields = [
            ("subjects", "topics, as subjects"),
            ("num_replicas", "replicas"),
            ("max_age", "greatest age, in ns (0: none)"),
            ("max_bytes", "most bytes (-1: any number)"),
            ("max_msgs", "most messages (-1: any number)"),
            (
                "max_msgs_per_subject",
                "most messages per topic (-1: any number)",
            ),
            ("discard", "forgotten when full"),
            ("storage", "storage"),
            ("retention", "retention"),
        ];
        let of = |config: &Value, name: &str| {
            let mut value = config.get(name).cloned().unwrap_or(Value::Null);
            if let Some(list) = value.as_array_mut() {
                list.sort_by_key(Value::to_string);
            }
            value
        };
        let lines = fields.iter().filter_map(|(name, shown)| {
            let (is, wanted) = (of(existing, name), of(&wanted, name));
            (is != wanted).then(|| format!("{shown}: it has {is}, asked for is {wanted}"))
        });
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> StreamShape {
        StreamShape {
            name: "S".to_owned(),
            subjects: vec!["bk.%.a.>".to_owned(), "bkb.%.a.>".to_owned()],
            replicas: 3,
            age_max: Some(Timespan::from_secs(60)),
            bytes_max: None,
            messages_max: Some(7),
            topic_messages_max: None,
            discard: Discard::New,
        }
    }

    #[test]
    fn a_stream_does_not_differ_from_itself_and_from_what_servers_add() {
        let mut config = shape().to_json();
        assert_eq!(config["duplicate_window"], json!(60_000_000_000_i64));
        config["max_consumers"] = json!(-1);
        config["subjects"] = json!(["bkb.%.a.>", "bk.%.a.>"]);
        assert_eq!(shape().differences(&config), [""; 0]);
    }

    #[test]
    fn differences_are_named_with_both_values() {
        let other = StreamShape {
            subjects: vec!["bk.%.b.>".to_owned()],
            replicas: 1,
            age_max: None,
            discard: Discard::Old,
            ..shape()
        };
        let lines = shape().differences(&other.to_json());
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(lines[0].contains("bk.%.b.>") && lines[0].contains("bkb.%.a.>"));
        assert_eq!(lines[1], "replicas: it has 1, asked for is 3");
        assert_eq!(
            shape().differences(&json!({})).len(),
            9,
            "what is not there differs"
        );
    }
}
