//! Messages that come by, shown to those who may see them.

use broker::{HttpOptions, Value};
use serde_json::json;

use crate::{connect, endpoint, eventually, get, serve};

fn allowing() -> HttpOptions {
    HttpOptions {
        samples: true,
        ..HttpOptions::default()
    }
}

#[test]
fn nobody_sees_messages_unless_the_owner_allows_it() {
    let here = endpoint();
    let port = serve(&here, HttpOptions::default());
    let answer = get(port, "/v1/topics/%2Ft/sample?seconds=0");
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("owner"), "{}", answer.body);
}

#[test]
fn a_sample_has_what_comes_by_and_tells_no_peer() {
    let (here, there) = (endpoint(), endpoint());
    let subscriber = here.subscriber(["/t"]).unwrap();
    connect(&there, &here);
    let port = serve(&here, allowing());
    let filter = here.filter();
    let waiting =
        std::thread::spawn(move || get(port, "/v1/topics/%2Ft%2Fa/sample?limit=2&seconds=10"));
    let mut sent = 0_u64;
    eventually("a sample is taken", || {
        sent += 1;
        there.publish("/t/b", &Value::Count(sent)).unwrap();
        there.publish("/t/a", &Value::Count(sent)).unwrap();
        waiting.is_finished()
    });
    let sample = waiting.join().unwrap().json();
    assert_eq!(sample["topic"], "/t/a");
    let messages = sample["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2, "{sample}");
    for message in messages {
        assert_eq!(message["topic"], "/t/a");
        assert_eq!(message["value"]["@data-type"], "count");
        assert!(message["text"].as_str().unwrap().parse::<u64>().unwrap() <= sent);
    }
    assert_eq!(here.filter(), filter);
    // The reader beside it has got everything, and nothing counts as lost.
    for number in 1..=sent {
        for topic in ["/t/b", "/t/a"] {
            let message = subscriber.recv().unwrap();
            assert_eq!(
                (message.topic(), message.value()),
                (topic.as_bytes(), Value::Count(number))
            );
        }
    }
    let stats = here.stats();
    assert_eq!(stats.consumers.len(), 1);
    assert_eq!(stats.consumers[0].queue.dropped, 0);
}

#[test]
fn what_the_endpoint_publishes_itself_is_shown_and_large_values_are_not() {
    let here = endpoint();
    let port = serve(&here, allowing());
    let waiting =
        std::thread::spawn(move || get(port, "/v1/topics/%2Fown/sample?limit=1&seconds=10"));
    let large = "x".repeat(10_000);
    eventually("a sample is taken", || {
        here.publish("/own/x", large.as_str()).unwrap();
        waiting.is_finished()
    });
    let sample = waiting.join().unwrap().json();
    let message = &sample["messages"][0];
    assert_eq!(
        (&message["value"], &message["text"]),
        (&json!(null), &json!(null))
    );
    assert!(message["bytes"].as_u64().unwrap() >= 10_000);
}

#[test]
fn a_sample_of_nothing_ends_in_time() {
    let here = endpoint();
    let port = serve(&here, allowing());
    let sample = get(port, "/v1/topics/%2Fnone/sample?seconds=0.01").json();
    assert_eq!(sample, json!({ "topic": "/none", "messages": [] }));
    for wrong in ["limit=0", "limit=101", "seconds=11", "topic=x"] {
        let answer = get(port, &format!("/v1/topics/%2Fnone/sample?{wrong}"));
        assert_eq!(answer.status, 400, "{wrong}");
    }
}
