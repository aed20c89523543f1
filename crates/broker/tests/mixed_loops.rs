//! Circles of endpoints of both implementations over real sockets: they are found, told and cut.
#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

use std::time::{Duration, Instant};

use broker::{Endpoint, ErrorCode, Event, Options, Retry, StatusSubscriber, Subscriber, Value};

use broker_proto::store::command::{Command, Content};
use broker_proto::store::entity::EntityId;

use crate::original::Original;

#[path = "mixed_loops/original.rs"]
mod original;

/// Nothing here takes that long unless it is broken.
const DEADLINE: Duration = Duration::from_secs(60);

const TOPIC: &str = "/mixed";

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct Ours {
    endpoint: Endpoint,
    port: u16,
    subscriber: Subscriber,
    events: StatusSubscriber,
    got: Vec<Value>,
}

impl Ours {
    fn new() -> Self {
        let options = Options {
            disable_ssl: true,
            ..Options::default()
        };
        let endpoint = Endpoint::builder().options(options).build().unwrap();
        Self {
            port: endpoint.listen("127.0.0.1", 0).wait().unwrap(),
            subscriber: endpoint.subscriber([TOPIC]).unwrap(),
            events: endpoint.status_subscriber(false).unwrap(),
            endpoint,
            got: Vec::new(),
        }
    }

    fn dial(&self, port: u16) {
        let peered = self.endpoint.peer("127.0.0.1", port, Retry::Never);
        peered.wait().unwrap();
    }

    fn copies(&mut self, value: &Value) -> usize {
        while let Some(message) = self.subscriber.try_recv() {
            self.got.push(message.value());
        }
        self.got.iter().filter(|it| *it == value).count()
    }

    /// The text of the event about a circle, if it came.
    fn told(&self) -> Option<String> {
        while let Some(event) = self.events.try_recv() {
            if let Event::Error(fault) = event
                && fault.code == ErrorCode::ForwardingLoop
            {
                return Some(fault.text);
            }
        }
        None
    }
}

/// Closes circles, waits until they are told of, and checks that everything comes once.
fn try_circle(ours: &mut [Ours], originals: &[Original]) {
    let mut told = None;
    let first = Value::from("the first");
    ours[0].endpoint.publish(TOPIC, &first).unwrap();
    eventually("a report", || {
        told = told.take().or_else(|| ours.iter().find_map(Ours::told));
        told.is_some()
    });
    let text = told.unwrap();
    let ids = ours.iter().map(|it| it.endpoint.id());
    let ids = ids.chain(originals.iter().map(|it| it.id));
    let named = ids.filter(|id| text.contains(&id.to_string())).count();
    assert!(named == 2 && text.contains(TOPIC), "{text}");
    assert_eq!(
        ours.iter().map(|it| it.endpoint.loops_found()).sum::<u64>(),
        1
    );
    // The circle is cut: what is published comes once, and there is an end.
    for number in 0..100_u64 {
        let value = Value::from(number);
        let at = number as usize % (ours.len() + originals.len());
        match at.checked_sub(ours.len()) {
            None => ours[at].endpoint.publish(TOPIC, &value).unwrap(),
            Some(at) => originals[at].publish(TOPIC, &value),
        }
    }
    // Behind them, on every way.
    for (number, publisher) in ours.iter().enumerate() {
        let last = Value::from(format!("the last of {number}"));
        publisher.endpoint.publish(TOPIC, &last).unwrap();
    }
    let count = ours.len() + originals.len();
    for number in 0..100_u64 {
        let value = Value::from(number);
        let publisher = number as usize % count;
        for at in 0..count {
            let mut copies = || match at.checked_sub(ours.len()) {
                None => ours[at].copies(&value),
                Some(at) => originals[at].copies(&value),
            };
            let expected = usize::from(at != publisher);
            eventually("a message", || copies() >= expected);
            assert_eq!(copies(), expected, "{number} of {publisher} at {at}");
        }
    }
}

#[test]
fn a_triangle_of_one_of_ours_and_two_originals() {
    let mut ours = [Ours::new()];
    let originals = [1, 2].map(|number| Original::new(number, TOPIC));
    originals[0].dial(originals[1].port);
    ours[0].dial(originals[0].port);
    ours[0].dial(originals[1].port);
    eventually("all peerings", || {
        originals.iter().all(|it| it.peer_count() == 2)
    });
    try_circle(&mut ours, &originals);
}

#[test]
fn a_triangle_of_two_of_ours_and_one_original() {
    let mut ours = [Ours::new(), Ours::new()];
    let originals = [Original::new(1, TOPIC)];
    ours[0].dial(ours[1].port);
    ours[0].dial(originals[0].port);
    ours[1].dial(originals[0].port);
    eventually("all peerings", || {
        originals[0].peer_count() == 2 && ours.iter().all(|it| it.endpoint.peers().len() == 2)
    });
    try_circle(&mut ours, &originals);
}

#[test]
fn ways_that_branch_do_not_multiply_messages() {
    let mut ours = [Ours::new(), Ours::new()];
    let originals: Vec<Original> = (1..6).map(|it| Original::new(it, TOPIC)).collect();
    for original in &originals {
        ours.iter().for_each(|it| it.dial(original.port));
    }
    eventually("all peerings", || {
        originals.iter().all(|it| it.peer_count() == 2)
    });
    let first = Value::from("the first");
    ours[0].endpoint.publish(TOPIC, &first).unwrap();
    let found = |ours: &[Ours]| ours.iter().map(|it| it.endpoint.loops_found()).sum::<u64>();
    eventually("four links to be closed", || found(&ours) == 4);
    // By the square of the number of endpoints at most, and not by four for each hop.
    for original in &originals {
        assert!(original.copies(&first) < 98, "{}", original.copies(&first));
    }
    assert!(ours.iter_mut().all(|it| it.copies(&first) < 98));
}

#[test]
fn the_same_message_again_and_again_is_no_circle() {
    let mut ours = [Ours::new()];
    let originals = [1, 2].map(|number| Original::new(number, TOPIC));
    originals.iter().for_each(|it| ours[0].dial(it.port));
    let ping = Value::from("ping");
    for _ in 0..1000 {
        originals[0].publish(TOPIC, &ping);
    }
    originals[0].publish(TOPIC, &Value::from("done"));
    eventually("the last message", || {
        originals[1].copies(&Value::from("done")) == 1
    });
    assert_eq!(originals[1].copies(&ping), 1000);
    // Nothing else was sent.
    use std::sync::atomic::Ordering::Relaxed;
    assert_eq!(
        originals.each_ref().map(|it| it.received.load(Relaxed)),
        [0, 1001]
    );
    assert_eq!(ours[0].copies(&ping), 1000);
    assert_eq!(ours[0].told(), None);
}

/// Commands cannot be probed; what goes round is stopped when it comes too often.
#[test]
fn a_command_of_a_data_store_does_not_go_round_for_ever() {
    use std::sync::atomic::Ordering::Relaxed;
    let topic = broker_proto::store::clone_topic("s");
    let ours = Ours::new();
    let options = broker::CloneOptions::default();
    let _clone = ours.endpoint.attach_clone("s", options).unwrap();
    let originals = [1, 2].map(|number| Original::new(number, &topic.to_string()));
    originals[0].dial(originals[1].port);
    ours.dial(originals[0].port);
    ours.dial(originals[1].port);
    eventually("all peerings", || {
        originals.iter().all(|it| it.peer_count() == 2)
    });
    let sender = EntityId {
        endpoint: originals[0].id,
        object: 1,
    };
    let command = Command {
        seq: 0,
        sender,
        receiver: EntityId::NIL,
        content: Content::Keepalive { seq: 7 },
    };
    originals[0].send_command(&topic, &command);
    // The copy that goes the other way round is refused: its sender is not behind that peer.
    let stopped = || ours.endpoint.stats().commands_stopped;
    eventually("the copy to be stopped", || stopped() == 1);
    // Another command is not taken for it, and is stopped as well.
    let other = Command {
        content: Content::Keepalive { seq: 8 },
        ..command
    };
    originals[0].send_command(&topic, &other);
    eventually("the other one to be stopped", || stopped() == 2);
    // Without a limit they would go round some ten thousand times a second.
    let received = originals.iter().map(|it| it.received.load(Relaxed));
    assert!(received.sum::<usize>() < 1000);
}
