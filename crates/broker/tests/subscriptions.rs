//! Many subscribers, many topics, and what peers hear of them.
#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use broker::proto::endpoint::{Endpoint as Machine, Output};
use broker::proto::frame::{Envelope, FRAME_LEN_SIZE, Tag, frame_size};
use broker::proto::message::routing_update;
use broker::proto::{Config, Filter, Retry};
use broker::{Endpoint, EndpointId, Timestamp, Topic};

/// Nothing here takes that long unless it is broken.
const DEADLINE: Duration = Duration::from_secs(60);

fn endpoint() -> Endpoint {
    Endpoint::builder().disable_ssl(true).build().unwrap()
}

fn host(number: usize) -> Topic {
    Topic::from(format!("/host/{number}/{}", "x".repeat(20)))
}

/// A peer that says hello and then only moves bytes.
struct RawPeer {
    id: EndpointId,
    stream: TcpStream,
    held: Vec<u8>,
}

impl RawPeer {
    fn join(endpoint: &Endpoint) -> Self {
        let port = endpoint.listen("127.0.0.1", 0).wait().unwrap();
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let id = EndpointId::from_random([7; 16]);
        let held = Vec::new();
        let mut peer = Self { id, stream, held };
        let now = Timestamp::from_ns(0);
        let mut machine = Machine::new(Config::new(id, 7));
        machine.peer(now, "127.0.0.1", port, Retry::Never, None);
        let mut dialed = None;
        loop {
            while let Some(output) = machine.poll_output() {
                match output {
                    Output::Dial { connection, .. } => {
                        dialed = Some(connection);
                        machine.handle_dialed(now, connection);
                    }
                    Output::Send { frame, .. } => peer.stream.write_all(&frame).unwrap(),
                    Output::Install { .. } => {
                        assert!(endpoint.await_peer(id, DEADLINE).wait());
                        return peer;
                    }
                    _ => {}
                }
            }
            let frame = peer.frame();
            machine.handle_frame(now, dialed.unwrap(), &frame[FRAME_LEN_SIZE..]);
        }
    }

    /// The next frame, with its length.
    fn frame(&mut self) -> Vec<u8> {
        loop {
            if let Some(size) = frame_size(&self.held).filter(|size| *size <= self.held.len()) {
                return self.held.drain(..size).collect();
            }
            let mut more = vec![0; 64 * 1024];
            let read = self.stream.read(&mut more).unwrap();
            assert!(read > 0, "the endpoint closed the connection");
            self.held.extend_from_slice(&more[..read]);
        }
    }

    fn wants(&mut self, endpoint: &Endpoint, topics: impl IntoIterator<Item = Topic>) {
        let filter: Filter = topics.into_iter().collect();
        let update = routing_update(self.id, endpoint.id(), &filter);
        self.stream.write_all(&update).unwrap();
    }
}

fn eventually(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

#[test]
fn ten_thousand_subscribers_come_and_go() {
    const COUNT: usize = 10_000;
    let endpoint = endpoint();
    let hub = endpoint.hub(["/none"]).unwrap();
    let mut subscribers: Vec<_> = (0..COUNT)
        .map(|number| endpoint.subscriber([host(number)]).unwrap())
        .collect();
    for number in [0, COUNT / 2, COUNT - 1] {
        hub.publish(host(number), &number.to_string()).unwrap();
        let subscriber = &subscribers[number];
        assert_eq!(subscriber.available(), 1);
        subscriber.try_recv().unwrap();
    }
    let kept = subscribers.split_off(COUNT - 1);
    for (number, subscriber) in subscribers.iter().enumerate() {
        subscriber.add_topic("/all");
        subscriber.remove_topic(host(number));
    }
    hub.publish("/all", &1u64).unwrap();
    hub.publish(host(0), &1u64).unwrap();
    assert!(subscribers.iter().all(|it| it.available() == 1));
    drop(subscribers);
    hub.publish(host(COUNT - 1), &1u64).unwrap();
    hub.publish("/all", &1u64).unwrap();
    assert_eq!(kept[0].available(), 1);
}

#[test]
fn a_subscriber_of_a_hundred_thousand_topics() {
    const COUNT: usize = 100_000;
    let endpoint = endpoint();
    let hub = endpoint.hub(["/none"]).unwrap();
    let subscriber = endpoint.subscriber((0..COUNT).map(host)).unwrap();
    let rest = COUNT..COUNT + COUNT / 10;
    for number in rest.clone() {
        subscriber.add_topic(host(number));
    }
    assert_eq!(endpoint.filter().len(), rest.end + 1);
    let reaches = |number| {
        hub.publish(host(number), &1u64).unwrap();
        subscriber.try_recv().is_some()
    };
    assert!(
        [0, COUNT / 3, COUNT - 1, rest.end - 1]
            .into_iter()
            .all(reaches)
    );
    assert!(!reaches(rest.end));
    for number in rest.clone() {
        subscriber.remove_topic(host(number));
    }
    assert!(!reaches(rest.start) && reaches(rest.start - 1));
}

#[test]
fn a_peer_that_reads_slowly_is_told_the_last_word() {
    const COUNT: usize = 10_000;
    let endpoint = endpoint();
    let mut peer = RawPeer::join(&endpoint);
    let subscriber = endpoint.subscriber(["/none"]).unwrap();
    for number in 0..COUNT {
        subscriber.add_topic(host(number));
    }
    // All of them, one behind the other, would be some gigabytes.
    let mut updates = 0;
    loop {
        let frame = peer.frame();
        let envelope = Envelope::parse(&frame[FRAME_LEN_SIZE..]).unwrap();
        assert_eq!(envelope.tag, Tag::RoutingUpdate);
        updates += 1;
        if Filter::decode_update(envelope.payload).unwrap()
            == endpoint.filter().into_iter().collect()
        {
            break;
        }
    }
    assert!(updates < COUNT / 4, "{updates} updates");
    assert_eq!(endpoint.peers().len(), 1);
}

#[test]
fn a_message_does_not_overtake_the_subscription_before_it() {
    let endpoint = endpoint();
    let mut peer = RawPeer::join(&endpoint);
    peer.wants(&endpoint, [Topic::from("/request")]);
    eventually("the peer's filter", || {
        endpoint.peer_subscriptions().len() == 1
    });
    let replies = endpoint.subscriber(["/none"]).unwrap();
    for number in 0..2000 {
        // Now behind a message, now on a connection that is idle.
        if number % 3 == 0 {
            let since = Instant::now();
            while since.elapsed() < Duration::from_micros(number % 200) {
                std::hint::spin_loop();
            }
        }
        let reply = host(usize::try_from(number).unwrap());
        replies.add_topic(reply.clone());
        endpoint.publish("/request", &number).unwrap();
        if number % 5 == 0 {
            continue;
        }
        let mut known = Filter::new();
        loop {
            let frame = peer.frame();
            let envelope = Envelope::parse(&frame[FRAME_LEN_SIZE..]).unwrap();
            match envelope.tag {
                Tag::RoutingUpdate => known = Filter::decode_update(envelope.payload).unwrap(),
                _ if envelope.payload == broker::data::to_bytes(&number).unwrap() => break,
                _ => {}
            }
        }
        assert!(
            known.contains(&reply),
            "request {number} before its reply is wanted"
        );
    }
}

#[test]
fn a_peer_that_changes_its_mind_all_the_time_holds_nobody_up() {
    const COUNT: usize = 50_000;
    let endpoint = endpoint();
    let mut peer = RawPeer::join(&endpoint);
    let hub = endpoint.hub(["/none"]).unwrap();
    let subscriber = endpoint.subscriber(["/other"]).unwrap();
    let sets = [0, COUNT].map(|start| -> Vec<Topic> { (start..start + COUNT).map(host).collect() });
    for round in 0..6 {
        let [wanted, unwanted] = [round % 2, (round + 1) % 2].map(|set: usize| &sets[set]);
        peer.wants(&endpoint, wanted.iter().cloned());
        eventually("the new filter", || {
            // Meanwhile everything works.
            subscriber.add_topic("/more");
            hub.publish("/more", &1u64).unwrap();
            assert!(subscriber.try_recv().is_some());
            subscriber.remove_topic("/more");
            let known = endpoint.peer_subscriptions();
            known.len() == COUNT && known.contains(&wanted[0])
        });
        assert!(!endpoint.peer_subscriptions().contains(&unwanted[0]));
    }
}
