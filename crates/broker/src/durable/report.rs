//! Streams as they are: how much they have, who leads them, who is late, and the cursors on them.

use std::time::Duration;

use serde_json::{Value, json};

use super::{DurableError, DurableTopics, StreamState, stream_state};
use crate::core::pending::Pending;

/// Streams that are told of, and cursors of each: what a person reads.
const LISTED_MAX: usize = 1024;

/// A stream, its copies and its cursors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamReport {
    /// Its name, copies and messages.
    pub state: StreamState,
    /// Bytes of its messages.
    pub bytes: u64,
    /// The server that leads it; empty where none does now, and nothing can be stored.
    pub leader: String,
    /// Servers with a copy that is not up to date, or that are away.
    pub late: Vec<String>,
    /// Durable subscribers' cursors.
    pub cursors: Vec<CursorReport>,
}

/// A cursor on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorReport {
    /// Its name.
    pub name: String,
    /// Messages that were not delivered yet.
    pub pending: u64,
    /// Messages that were delivered and not acknowledged.
    pub unacknowledged: u64,
}

impl DurableTopics {
    /// The streams on the servers, the first 1024 of them by name, with the first 1024 cursors of each.
    ///
    /// # Errors
    ///
    /// Those of all calls.
    pub fn reports(&self, timeout: Duration) -> Pending<Result<Vec<StreamReport>, DurableError>> {
        let streams = self.clone();
        self.resolve(async move { streams.read_reports(timeout).await })
    }

    async fn read_reports(&self, limit: Duration) -> Result<Vec<StreamReport>, DurableError> {
        let mut reports = Vec::new();
        for info in self.listed("STREAM.LIST", "streams", limit).await? {
            let name = text(&info, "/config/name");
            let mut cursors = Vec::new();
            let subject = format!("CONSUMER.LIST.{name}");
            for cursor in self.listed(&subject, "consumers", limit).await? {
                // Those of readers in order come and go.
                if cursor.pointer("/config/durable_name").is_some() {
                    cursors.push(CursorReport {
                        name: text(&cursor, "/name"),
                        pending: number(&cursor, "/num_pending"),
                        unacknowledged: number(&cursor, "/num_ack_pending"),
                    });
                }
            }
            reports.push(report(&name, &info, cursors));
        }
        Ok(reports)
    }

    /// All pages of a list.
    async fn listed(
        &self,
        subject: &str,
        field: &str,
        limit: Duration,
    ) -> Result<Vec<Value>, DurableError> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let page = self
                .ask(subject, &json!({"offset": all.len()}), limit)
                .await?;
            let items = page.get(field).and_then(Value::as_array);
            let items = items.cloned().unwrap_or_default();
            let total = usize::try_from(number(&page, "/total")).unwrap_or(usize::MAX);
            let was_last = items.is_empty();
            all.extend(items);
            if was_last || all.len() >= total.min(LISTED_MAX) {
                all.truncate(LISTED_MAX);
                return Ok(all);
            }
        }
    }
}

fn report(name: &str, info: &Value, cursors: Vec<CursorReport>) -> StreamReport {
    // Servers that are alone do not speak of clusters.
    let alone = info.get("cluster").is_none_or(Value::is_null);
    let copies = info.pointer("/cluster/replicas").and_then(Value::as_array);
    let is_late = |it: &&Value| {
        let is = |field: &str| it.get(field).and_then(Value::as_bool);
        is("current") != Some(true) || is("offline") == Some(true)
    };
    let late = copies.into_iter().flatten().filter(is_late);
    let leader = text(info, "/cluster/leader");
    StreamReport {
        state: stream_state(name, info, false),
        bytes: number(info, "/state/bytes"),
        leader: if alone && leader.is_empty() {
            "alone".to_owned()
        } else {
            leader
        },
        late: late.map(|it| text(it, "/name")).collect(),
        cursors,
    }
}

fn text(info: &Value, path: &str) -> String {
    let text = info.pointer(path).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn number(info: &Value, path: &str) -> u64 {
    info.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_who_is_late_and_whether_there_is_a_leader() {
        let info = json!({
            "config": {"name": "S", "num_replicas": 3},
            "state": {"messages": 7, "bytes": 99, "last_seq": 8},
            "cluster": {"leader": "a", "replicas": [
                {"name": "b", "current": true},
                {"name": "c", "current": false},
                {"name": "d", "current": true, "offline": true},
            ]},
        });
        let told = report("S", &info, Vec::new());
        assert_eq!((told.state.messages, told.bytes), (7, 99));
        assert_eq!(
            (told.leader.as_str(), told.late),
            ("a", vec!["c".to_owned(), "d".to_owned()])
        );
        let headless = json!({"cluster": {"replicas": []}});
        assert_eq!(report("S", &headless, Vec::new()).leader, "");
        assert_eq!(report("S", &json!({}), Vec::new()).leader, "alone");
    }
}
