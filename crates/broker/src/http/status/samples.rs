//! `GET /v1/topics/TOPIC/sample`: some messages of a topic, decoded, where the owner of the endpoint
//! allows it.
//!
//! While the request waits, a consumer stands in the routing table that gets what comes by under the
//! topic anyway: peers are not told, so nothing flows that would not flow without it. It has room for
//! what the answer may have and takes no more; what it does not take is not a loss.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use broker_data::json::{Form, to_text};
use broker_data::{Timestamp, decode};
use broker_proto::{LocalKind, Topic};
use serde_json::{Value, json};

use super::iso;
use crate::config::Overflow;
use crate::core::shared::Shared;
use crate::flow::mailbox::{Limits, Mailbox, Taken};
use crate::flow::target::{Target, TargetKind};
use crate::message::Message;

/// Messages of a sample unless the request asks for fewer or more, and at most.
const MESSAGES: usize = 10;
const MESSAGES_MAX: usize = 100;

/// Time to wait for them unless the request says another one, and at most: those who ask get what
/// has come by then.
const WAIT: Duration = Duration::from_secs(2);
const WAIT_SECONDS_MAX: f64 = 10.0;

/// Bytes of the messages of one sample.
const BYTES_MAX: usize = 1024 * 1024;

/// Bytes of an encoded value that is told; of a larger one only its size is.
const VALUE_BYTES_MAX: usize = 4 * 1024;

/// Samples that are taken at a time: each costs a copy of what comes by.
pub(super) const SAMPLES_MAX: usize = 4;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wanted {
    messages: usize,
    wait: Duration,
}

impl Wanted {
    pub(super) fn of_query(query: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut wanted = Self {
            messages: MESSAGES,
            wait: WAIT,
        };
        for (name, value) in query {
            match name.as_str() {
                "limit" => {
                    let limit = value.parse().ok();
                    let limit = limit.filter(|it| (1..=MESSAGES_MAX).contains(it));
                    wanted.messages = limit.ok_or_else(|| {
                        format!("`limit` has to be a number from 1 to {MESSAGES_MAX}.\n")
                    })?;
                }
                "seconds" => {
                    let seconds = value.parse().ok();
                    let seconds = seconds.filter(|it| (0.0..=WAIT_SECONDS_MAX).contains(it));
                    let seconds = seconds.ok_or_else(|| {
                        format!("`seconds` has to be a number from 0 to {WAIT_SECONDS_MAX}.\n")
                    })?;
                    wanted.wait = Duration::from_secs_f64(seconds);
                }
                _ => return Err("The parameters are `limit` and `seconds`.\n".to_owned()),
            }
        }
        Ok(wanted)
    }
}

/// A consumer that leaves the routing table when it is dropped.
struct Tap {
    shared: Arc<Shared>,
    id: broker_proto::LocalId,
    mailbox: Arc<Mailbox>,
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.mailbox.finish();
        let id = self.id;
        self.shared.data.routes.update(|table| {
            table.remove_local(id);
        });
    }
}

/// Waits for messages under a topic, or those it is a prefix of.
pub(super) async fn take(shared: &Arc<Shared>, topic: &str, wanted: Wanted) -> (StatusCode, Value) {
    let mailbox = Arc::new(Mailbox::new(Limits {
        bytes_max: BYTES_MAX,
        messages_max: wanted.messages,
        overflow: Overflow::DropNewest,
        stall_limit: Duration::ZERO,
        strict: true,
        translated: false,
    }));
    let target = Target {
        mailbox: mailbox.clone(),
        kind: TargetKind::Sample,
    };
    let Some(id) = shared.add_tap(LocalKind::Client, Topic::from(topic), target) else {
        let document = json!({ "error": "the endpoint is shut down" });
        return (StatusCode::SERVICE_UNAVAILABLE, document);
    };
    let tap = Tap {
        shared: shared.clone(),
        id,
        mailbox,
    };
    let mut messages = Vec::with_capacity(wanted.messages);
    // Over, or enough.
    let _ = tokio::time::timeout(wanted.wait, collect(&tap, wanted, &mut messages)).await;
    drop(tap);
    let document = json!({ "topic": topic, "messages": messages });
    (StatusCode::OK, document)
}

/// Collects until there are enough, or there will be no more.
async fn collect(tap: &Tap, wanted: Wanted, messages: &mut Vec<Value>) {
    let mut chunks = VecDeque::new();
    while messages.len() < wanted.messages {
        let taken = poll_fn(
            |cx| match tap.mailbox.poll_take(cx, BYTES_MAX, &mut chunks) {
                Taken::Empty => Poll::Pending,
                taken => Poll::Ready(taken),
            },
        );
        if !matches!(taken.await, Taken::Messages(_)) {
            return;
        }
        let time = iso(Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::EPOCH));
        for mut chunk in chunks.drain(..) {
            while messages.len() < wanted.messages
                && let Some(message) = Message::split_off(&mut chunk.bytes)
            {
                messages.push(told(&message, &time));
            }
        }
    }
}

fn told(message: &Message, time: &str) -> Value {
    let payload = message.payload();
    let is_told = payload.len() <= VALUE_BYTES_MAX;
    let lossless = || {
        let text = to_text(payload, Form::Lossless).unwrap_or_default();
        serde_json::from_str::<Value>(&text).unwrap_or_default()
    };
    json!({
        "time": time,
        "topic": String::from_utf8_lossy(message.topic()),
        "bytes": payload.len(),
        "value": is_told.then(lossless),
        "text": is_told.then(|| decode(payload).map(|it| it.to_string()).unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_checked() {
        let wanted = |name: &str, value: &str| {
            Wanted::of_query(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
        };
        assert_eq!(wanted("limit", "100").unwrap().messages, 100);
        assert_eq!(wanted("seconds", "0.5").unwrap().wait.as_millis(), 500);
        for (name, value) in [
            ("limit", "0"),
            ("limit", "101"),
            ("seconds", "-1"),
            ("seconds", "11"),
            ("seconds", "NaN"),
            ("x", ""),
        ] {
            assert!(wanted(name, value).is_err(), "{name}={value}");
        }
    }
}
