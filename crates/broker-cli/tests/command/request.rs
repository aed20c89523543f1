//! `broker req`.

use std::thread;

use broker::zeek::{EventBuilder, Message};

use crate::process::{Peer, run};
use crate::schema;

/// Answers every question on `/q` with as many answers on `/a`, and something else before.
fn answering(count: u64) -> Peer {
    let peer = Peer::plain();
    let questions = peer.endpoint.subscriber(["/q"]).unwrap();
    let endpoint = peer.endpoint.clone();
    thread::spawn(move || {
        while let Ok(message) = questions.recv() {
            let Message::Event(event) = Message::parse(message.view()) else {
                continue;
            };
            let text = event.arguments().get(0).map(|view| view.to_value());
            endpoint.publish("/a", &EventBuilder::new("noise")).unwrap();
            for n in 0..count {
                let answer = EventBuilder::new("answer").argument(&n);
                let answer = answer.argument(&text.clone().unwrap_or_default());
                endpoint.publish("/a", &answer).unwrap();
            }
        }
    });
    peer
}

#[test]
fn the_first_answer_is_printed() {
    let peer = answering(2);
    let arguments = [
        "req", "/q", "--event", "ask", "why", "--reply", "answer", "-t", "/a",
    ];
    let ended = peer.run(&arguments).expect(0);
    assert!(
        ended.out.ends_with(" /a answer(0c, \"why\")\n"),
        "{ended:?}"
    );
    let any = peer.run(&["req", "/q", "--event", "ask", "-t", "/a", "--json"]);
    let any = any.expect(0).json();
    schema::check("req", &any[0]);
    assert_eq!(any[0]["event"], "noise");
}

#[test]
fn all_answers_are_collected_until_the_time_is_over() {
    // Enough for all of them on a busy machine.
    let peer = answering(3);
    let ended = peer.run(&[
        "req",
        "/q",
        "--event",
        "ask",
        "--reply",
        "answer",
        "-t",
        "/a",
        "--all",
        "--timeout",
        "4s",
    ]);
    assert_eq!(ended.expect(0).out.lines().count(), 3);
}

#[test]
fn no_answer_is_code_4() {
    let peer = answering(0);
    let arguments = [
        "req",
        "/q",
        "--event",
        "ask",
        "--reply",
        "answer",
        "-t",
        "/a",
        "--timeout",
        "300ms",
    ];
    let ended = peer.run(&arguments).expect(4);
    assert!(ended.err.contains("no answer within 0.3 s"), "{ended:?}");
    assert!(run(&["req", "/q"]).expect(2).err.contains("--event"));
}
