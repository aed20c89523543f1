//! Messages on subjects of NATS: nothing of a stranger may panic or be read as what it is not, and every
//! topic has a subject of its own that leads back.
//!
//! The input is cut at line feeds: subject, five headers (empty ones are missing), and the payload as
//! the rest. The subject's bytes are a topic as well. All of it is also what a server sends, which may come
//! in any pieces.

#![no_main]

use broker_proto::nats::connection::{Connection, Event};
use broker_proto::nats::message::BATCH_MESSAGES_MAX;
use broker_proto::nats::{Form, Headers, Subjects, cover, read};
use libfuzzer_sys::fuzz_target;

/// What a server says, as text.
fn feed(input: &[u8], piece: usize) -> (Vec<String>, bool) {
    let mut connection = Connection::new(4096);
    let mut seen = Vec::new();
    for piece in input.chunks(piece) {
        let fed = connection.handle_bytes(piece, |event| {
            if let Event::Message(message) = &event {
                let _ = message.headers(["A", "Bk-Topic"]);
                assert!(message.headers.len() + message.payload.len() <= 4096);
            }
            seen.push(format!("{event:?}"));
        });
        if fed.is_err() {
            return (seen, false);
        }
    }
    (seen, true)
}

fuzz_target!(|input: &[u8]| {
    assert_eq!(feed(input, 7), feed(input, usize::MAX));
    let subjects = Subjects::default();
    let mut parts = input.splitn(7, |byte| *byte == b'\n');
    let mut next = || parts.next().unwrap_or_default();
    let first = next();
    let header = |bytes| std::str::from_utf8(bytes).ok().filter(|it: &&str| !it.is_empty());
    let headers = Headers {
        topic: header(next()),
        format: header(next()),
        sender: header(next()),
        origin: header(next()),
        batch: header(next()),
    };
    let payload = next();
    if let Ok(subject) = std::str::from_utf8(first)
        && let Ok(incoming) = read(&subjects, subject, headers, payload)
    {
        assert!(incoming.messages.len() <= BATCH_MESSAGES_MAX);
        let topic = incoming.topic.as_bytes();
        let of = Form::ALL.map(|form| subjects.of_topic(form, topic));
        assert!(of.iter().any(|it| it == subject), "{subject}: {topic:?}");
    }
    for form in Form::ALL {
        let subject = subjects.of_topic(form, first);
        assert!(subject.len() <= 512 && subject.split('.').count() <= 32);
        if !subjects.is_long(form, first) {
            let (found, topic) = subjects.topic(&subject).expect("it leads back");
            assert!(found == form && topic.as_bytes() == first);
        }
    }
    let wanted = [first.into()].into_iter().collect();
    for subject in cover(&subjects, &wanted) {
        assert!(subject.ends_with(".>") && subject.len() <= 512 + 2, "{subject}");
    }
});
