//! Rings and meshes of endpoints over real sockets: a message comes once.
#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use broker::{Backend, Capacity, CloneOptions, Endpoint, Options, Retry, Subscriber, Value};

/// Nothing here takes that long unless it is broken.
const DEADLINE: Duration = Duration::from_secs(60);

const TOPIC: &str = "/loops";

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct Net {
    endpoints: Vec<Endpoint>,
    ports: Vec<u16>,
    subscribers: Vec<Subscriber>,
    links: u64,
}

impl Net {
    /// Endpoints that all subscribe before they peer.
    fn new(count: usize) -> Self {
        Self::with_capacity(count, Capacity::default())
    }

    fn with_capacity(count: usize, capacity: Capacity) -> Self {
        let options = Options {
            disable_ssl: true,
            capacity,
            // Not even a thread that a busy machine forgets is called stalled.
            stall_limit: 2 * DEADLINE,
            ..Options::default()
        };
        let builder = Endpoint::builder().options(options);
        let make = |_| builder.clone().build().unwrap();
        let endpoints: Vec<Endpoint> = (0..count).map(make).collect();
        let subscribe = |endpoint: &Endpoint| endpoint.subscriber([TOPIC]).unwrap();
        let listen = |endpoint: &Endpoint| endpoint.listen("127.0.0.1", 0).wait().unwrap();
        Self {
            ports: endpoints.iter().map(listen).collect(),
            subscribers: endpoints.iter().map(subscribe).collect(),
            endpoints,
            links: 0,
        }
    }

    fn connect(&mut self, from: usize, to: usize) {
        let [from, target] = [&self.endpoints[from], &self.endpoints[to]];
        let peered = from.peer("127.0.0.1", self.ports[to], Retry::Never);
        peered.wait().unwrap();
        assert!(target.await_peer(from.id(), DEADLINE).wait());
        self.links += 1;
    }

    fn cut(&mut self, from: usize, to: usize) {
        let [from, target] = [&self.endpoints[from], &self.endpoints[to]];
        from.unpeer("127.0.0.1", self.ports[to]).wait();
        let is_gone = |endpoint: &Endpoint, id| endpoint.peers().iter().all(|peer| peer.id != id);
        eventually("the end of a peering", || {
            is_gone(from, target.id()) && is_gone(target, from.id())
        });
        self.links -= 1;
    }

    fn ring(count: usize) -> Self {
        let mut net = Self::new(count);
        for number in 0..count {
            net.connect(number, (number + 1) % count);
        }
        net
    }

    fn mesh(count: usize) -> Self {
        let mut net = Self::new(count);
        for number in 1..count {
            for other in 0..number {
                net.connect(number, other);
            }
        }
        net
    }

    fn dropped(&self) -> u64 {
        self.endpoints
            .iter()
            .map(Endpoint::duplicates_dropped)
            .sum()
    }

    /// Has each endpoint publish so many messages at the same time, waits until every copy has come
    /// to its end, and checks that each message came once, in the order of its publisher.
    fn exchange(&self, each: i64) {
        let before = self.dropped();
        let count = self.endpoints.len() as u64;
        std::thread::scope(|scope| {
            for (publisher, endpoint) in (0_i64..).zip(&self.endpoints) {
                scope.spawn(move || {
                    for number in 0..each {
                        endpoint.publish(TOPIC, &(publisher, number)).unwrap();
                    }
                });
            }
        });
        // Over each link a message goes in both directions, but for those it came first on.
        let copies = count * each.unsigned_abs() * 2 * (self.links + 1 - count);
        eventually("the end of all copies", || {
            assert!(self.dropped() - before <= copies);
            self.dropped() - before == copies
        });
        for (here, subscriber) in (0_i64..).zip(&self.subscribers) {
            let mut next: BTreeMap<i64, i64> = BTreeMap::new();
            for _ in 0..(self.endpoints.len() - 1) * each.unsigned_abs() as usize {
                let message = subscriber.recv_timeout(DEADLINE).unwrap().unwrap();
                let value = message.value();
                let Some([Value::Integer(publisher), Value::Integer(number)]) = value.as_vector()
                else {
                    panic!("got {value}");
                };
                let next = next.entry(*publisher).or_default();
                assert_ne!(*publisher, here, "an own message came back");
                assert_eq!(number, next, "of {publisher} at {here}");
                *next += 1;
            }
            assert!(subscriber.try_recv().is_none(), "one more at {here}");
        }
    }
}

#[test]
fn a_message_comes_once_in_a_ring_of_three() {
    let net = Net::ring(3);
    net.exchange(1);
    net.exchange(500);
}

#[test]
fn a_message_comes_once_in_a_mesh_of_six() {
    let net = Net::mesh(6);
    net.exchange(1);
    net.exchange(100);
}

#[test]
fn stars_and_chains_have_no_copies() {
    let mut star = Net::new(4);
    for leaf in 1..4 {
        star.connect(leaf, 0);
    }
    star.exchange(100);
    let mut chain = Net::new(4);
    for number in 0..3 {
        chain.connect(number, number + 1);
    }
    chain.exchange(100);
}

#[test]
fn links_come_and_go() {
    let mut net = Net::ring(4);
    net.exchange(10);
    net.connect(0, 2);
    net.exchange(10);
    net.cut(1, 2);
    net.cut(0, 2);
    assert_eq!(net.links, 3);
    net.exchange(10);
    net.connect(1, 2);
    net.exchange(10);
}

#[test]
fn large_messages_come_once() {
    let net = Net::ring(3);
    let text = "x".repeat(300_000);
    for round in 0..5_u64 {
        net.endpoints[0].publish(TOPIC, &(round, &*text)).unwrap();
    }
    for subscriber in &net.subscribers[1..] {
        for round in 0..5_u64 {
            let message = subscriber.recv_timeout(DEADLINE).unwrap().unwrap();
            let value = message.value();
            assert_eq!(value.as_vector().unwrap()[0], Value::Count(round));
        }
    }
    eventually("the end of all copies", || net.dropped() == 10);
    assert!(net.subscribers.iter().all(|it| it.try_recv().is_none()));
}

#[test]
fn a_hub_of_a_ring_reaches_everybody_once() {
    let net = Net::ring(3);
    let hub = net.endpoints[0].hub([TOPIC]).unwrap();
    hub.publish(TOPIC, &1_u64).unwrap();
    for subscriber in &net.subscribers {
        let message = subscriber.recv_timeout(DEADLINE).unwrap().unwrap();
        assert_eq!(message.value(), Value::Count(1));
    }
    eventually("the end of all copies", || net.dropped() == 2);
    assert!(net.subscribers.iter().all(|it| it.try_recv().is_none()));
    assert!(hub.subscriber().try_recv().is_none());
}

#[test]
fn a_store_works_in_a_ring() {
    // Clones are peers of their master. Spec: stores 1.1.
    let net = Net::ring(3);
    let master = net.endpoints[0]
        .attach_master("s", Backend::Memory)
        .unwrap();
    let attach = |endpoint: &Endpoint| {
        let clone = endpoint.attach_clone("s", CloneOptions::default()).unwrap();
        assert!(clone.await_idle(DEADLINE));
        clone
    };
    let clones: Vec<_> = net.endpoints[1..].iter().map(attach).collect();
    for number in 0..50_u64 {
        master.put("by the master", &number).unwrap();
        for clone in &clones {
            clone.increment("by clones", &1_u64).unwrap();
        }
    }
    for clone in &clones {
        eventually("the changes at a clone", || {
            clone.get("by the master").unwrap() == Some(Value::Count(49))
                && clone.get("by clones").unwrap() == Some(Value::Count(100))
        });
    }
    assert_eq!(master.get("by clones").unwrap(), Some(Value::Count(100)));
}

/// Full mailboxes all around: those who pass messages on wait for each other, but not in a circle.
#[test]
fn a_ring_under_pressure_loses_nothing() {
    const EACH: usize = 5_000;
    let capacity = Capacity {
        bytes_max: 64 * 1024,
        ..Capacity::default()
    };
    let mut net = Net::with_capacity(3, capacity);
    for number in 0..3 {
        net.connect(number, (number + 1) % 3);
    }
    let text = "x".repeat(500);
    std::thread::scope(|scope| {
        for endpoint in &net.endpoints {
            let text = &*text;
            scope.spawn(move || {
                for number in 0..EACH as u64 {
                    endpoint.publish(TOPIC, &(number, text)).unwrap();
                }
            });
        }
        for subscriber in &net.subscribers {
            scope.spawn(move || {
                for count in 0..2 * EACH {
                    let message = subscriber.recv_timeout(DEADLINE).unwrap();
                    assert!(message.is_some(), "{count} messages came");
                }
            });
        }
    });
    assert!(
        net.endpoints
            .iter()
            .all(|endpoint| endpoint.peers().len() == 2)
    );
}
