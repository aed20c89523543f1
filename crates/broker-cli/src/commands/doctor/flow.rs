//! What a peer's status page tells of its queues and its policy. See docs/http.md for its keys.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::causes;
use super::report::Finding;

/// Bytes of a status page that are read: one with a thousand peers has half a megabyte.
const PAGE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Messages that may wait in a queue at any moment.
const WAITING_MAX: u64 = 1000;

/// Queues that are named.
const FINDINGS_MAX: usize = 5;

/// What waits for one reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Queue {
    /// For whom: a peer with its id, or a subscriber.
    reader: String,
    id: String,
    waiting: u64,
    dropped: u64,
    stalled: bool,
}

/// What the page tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) queues: Vec<Queue>,
    /// Messages that the policy did not let through.
    denied: u64,
    /// Those of them that forwarders of ZeroMQ got, by where subscribers connect to.
    denied_in_forwarders: Vec<(String, u64)>,
}

/// Reads the page.
///
/// # Errors
///
/// In words, when nothing can be read there that makes sense.
pub(super) async fn read(place: &str, limit: Duration) -> Result<Page, String> {
    let place = place.strip_prefix("http://").unwrap_or(place);
    let place = place.trim_end_matches('/');
    let reading = async {
        let mut stream = TcpStream::connect(place).await?;
        let request = format!(
            "GET /v1/stats HTTP/1.1\r\nHost: {place}\r\nAccept: application/json\r\n\
             Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(PAGE_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    match tokio::time::timeout(limit, reading).await {
        Ok(Ok(answer)) => parse(&answer),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", limit.as_secs_f64())),
    }
}

/// What an answer tells.
fn parse(answer: &[u8]) -> Result<Page, String> {
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n");
    let (head, body) = match end.and_then(|end| answer.split_at_checked(end + 4)) {
        Some(parts) if answer.starts_with(b"HTTP/1.") => parts,
        _ => return Err("it does not speak HTTP".to_owned()),
    };
    let status = String::from_utf8_lossy(head);
    let status = status.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        let status = status.split_once(' ').map_or(status, |(_, status)| status);
        return Err(format!("it answers `{status}`"));
    }
    let page: Value = serde_json::from_slice(body)
        .map_err(|_| "what it answers is not the status of an endpoint".to_owned())?;
    let number = |queue: &Value, name: &str| queue.get(name).and_then(Value::as_u64).unwrap_or(0);
    let queue = |queue: &Value, reader: String, id: String| Queue {
        reader,
        id,
        waiting: number(queue, "waiting-messages"),
        dropped: number(queue, "dropped"),
        stalled: queue.get("stalled").and_then(Value::as_bool) == Some(true),
    };
    let list = |name: &str| {
        page.get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let text = |item: &Value, name: &str| match item.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let peers = list("peers").filter_map(|peer| {
        let reader = format!(
            "the peer at {}:{}",
            text(peer, "address"),
            text(peer, "port")
        );
        Some(queue(peer.get("sent")?, reader, text(peer, "id")))
    });
    let subscribers = list("subscribers").filter_map(|subscriber| {
        let kind = text(subscriber, "kind");
        let reader = format!("its {kind} number {}", text(subscriber, "number"));
        Some(queue(subscriber.get("queue")?, reader, String::new()))
    });
    let mut queues: Vec<_> = peers.chain(subscribers).collect();
    let mut denied_in_forwarders = Vec::new();
    for forwarder in list("forwarders") {
        let xpub = text(forwarder, "xpub");
        let connections = forwarder.get("connections").and_then(Value::as_array);
        let subscribers = connections.into_iter().flatten();
        let subscribers = subscribers.filter(|it| text(it, "side") == "subscriber");
        queues.extend(subscribers.map(|it| {
            let place = (text(it, "address"), text(it, "port"));
            let reader = format!(
                "the subscriber at {}:{} of the forwarder at {xpub}",
                place.0, place.1
            );
            queue(it, reader, String::new())
        }));
        denied_in_forwarders.push((xpub, number(forwarder, "denied")));
    }
    let denied = page.get("policy").map_or(0, |it| number(it, "denied"));
    match page.get("peers") {
        Some(_) => Ok(Page {
            queues,
            denied,
            denied_in_forwarders,
        }),
        None => Err("what it answers is not the status of an endpoint".to_owned()),
    }
}

/// What is wrong, the worst queues first; `own` is the id of this endpoint.
pub(super) fn judge(page: &Page, own: &str) -> Vec<Finding> {
    let mut bad: Vec<_> = page
        .queues
        .iter()
        .filter(|queue| queue.stalled || queue.dropped > 0 || queue.waiting > WAITING_MAX)
        .collect();
    bad.sort_by_key(|queue| (!queue.stalled, std::cmp::Reverse(queue.dropped)));
    bad.truncate(FINDINGS_MAX);
    let findings = bad.iter().map(|queue| {
        let reader = if queue.id == own {
            "this command"
        } else {
            queue.reader.as_str()
        };
        if queue.stalled || queue.dropped == 0 {
            causes::queue_full(reader, queue.waiting, queue.stalled)
        } else {
            causes::drops(reader, queue.dropped)
        }
    });
    let denying = |(xpub, denied): &(String, u64)| {
        let place = format!("in the forwarder at {xpub}");
        (*denied > 0).then(|| causes::denied(&place, *denied))
    };
    let mut findings: Vec<_> = findings.collect();
    let forwarders = page.denied_in_forwarders.iter().filter_map(denying);
    findings.extend(forwarders.take(FINDINGS_MAX));
    if page.denied > 0 {
        findings.push(causes::denied("in the peer", page.denied));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"{"peers":[
        {"id":"a","address":"10.0.0.1","port":9999,
         "sent":{"waiting-messages":7,"dropped":3,"stalled":false}},
        {"id":"b","address":"10.0.0.2","port":9999,
         "sent":{"waiting-messages":2048,"dropped":0,"stalled":true}}],
        "subscribers":[{"number":4,"kind":"subscriber",
         "queue":{"waiting-messages":0,"dropped":0,"stalled":false}}]}"#;

    #[test]
    fn slow_readers_are_named_the_stalled_one_first() {
        let answer = format!("HTTP/1.1 200 OK\r\n\r\n{PAGE}");
        let page = parse(answer.as_bytes()).expect("a page");
        assert_eq!(page.queues.len(), 3);
        let found: Vec<_> = judge(&page, "a")
            .into_iter()
            .map(|finding| (finding.code, finding.what))
            .collect();
        assert_eq!(found[0].0, "queue-stalled");
        assert!(found[0].1.contains("2048") && found[0].1.contains("10.0.0.2:9999"));
        assert_eq!(found[1].0, "drops");
        assert!(found[1].1.contains("this command"), "{found:?}");
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_forwarder_has_slow_subscribers_and_a_policy() {
        let answer = "HTTP/1.1 200 OK\r\n\r\n{\"peers\":[],\"forwarders\":[{\"xpub\":\"0.0.0.0:5555\",\
            \"denied\":41,\"connections\":[\
            {\"side\":\"publisher\",\"address\":\"10.0.0.7\",\"port\":1,\"dropped\":0},\
            {\"side\":\"subscriber\",\"address\":\"10.0.0.8\",\"port\":2,\"dropped\":9}]}],\
            \"policy\":{\"denied\":43}}";
        let page = parse(answer.as_bytes()).expect("a page");
        let found: Vec<_> = judge(&page, "a")
            .into_iter()
            .map(|finding| (finding.code, finding.what))
            .collect();
        let found: Vec<_> = found
            .iter()
            .map(|(code, what)| (*code, what.as_str()))
            .collect();
        let dropped = "9 messages for the subscriber at 10.0.0.8:2 of the forwarder at \
                       0.0.0.0:5555 were dropped by the peer so far";
        let denied =
            "41 messages were denied by the policy in the forwarder at 0.0.0.0:5555 so far";
        let in_peer = "43 messages were denied by the policy in the peer so far";
        let expected = [("drops", dropped), ("denied", denied), ("denied", in_peer)];
        assert_eq!(found, expected);
    }

    #[test]
    fn other_answers_are_told_in_words() {
        for (answer, words) in [
            ("SSH-2.0", "does not speak HTTP"),
            ("HTTP/1.1 401 Unauthorized\r\n\r\n", "401 Unauthorized"),
            ("HTTP/1.1 200 OK\r\n\r\n<html>", "not the status"),
            ("HTTP/1.1 200 OK\r\n\r\n{}", "not the status"),
        ] {
            let error = parse(answer.as_bytes()).expect_err(answer);
            assert!(error.contains(words), "{error}");
        }
    }
}
