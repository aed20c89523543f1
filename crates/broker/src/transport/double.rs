//! A transport for tests: it opens no socket, and its peer is the test.
//!
//! It is what WebSocket is not: its peers say what they want, messages go to them as encoded values,
//! commands of data stores reach through, and what consumers here have no room for is lost.

#![cfg(test)]

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use broker_data::{Encoder, Source, Value};
use broker_proto::endpoint::{Closed, DialFault, PeerFailure};
use broker_proto::frame::{Envelope, FRAME_LEN_SIZE, Tag};
use broker_proto::peer_url::{PeerUrl, Scheme};
use broker_proto::{EndpointId, Filter, Topic};
use bytes::Bytes;
use tokio::sync::mpsc as tasks;

use super::inbox::ForeignInbox;
use crate::core::hooks::{Destination, Dial, Hooks};
use crate::core::link::Link;
use crate::core::shared::Shared;
use crate::endpoint::builder::hooks;
use crate::flow::foreign::{Foreign, Language, Transport, WhenFull};
use crate::flow::mailbox::{Chunk, Taken};
use crate::lock::Lock;
use crate::message::Message;
use crate::{CloneOptions, Endpoint, Options, Retry, StoreError};

static LOSSY: Foreign = Foreign {
    // It has no name of its own; lists of peers show that of the scheme it stands in for.
    transport: Transport::WebSocket,
    peer: "a double",
    speaks: Language::Values,
    carries_stores: true,
    tells_filter: true,
    when_full: WhenFull::Drop,
    keeps_marks: false,
};

/// As [`LOSSY`], but stores do not reach through, and messages wait.
static PATIENT: Foreign = Foreign {
    transport: Transport::WebSocket,
    peer: "a double",
    speaks: Language::Values,
    carries_stores: false,
    tells_filter: true,
    when_full: WhenFull::Wait,
    keeps_marks: false,
};

const URL: &str = "ws://double:1/v1/messages/json";
const PEER: EndpointId = EndpointId::from_bytes([7; 16]);
/// What a test leaves unread: more than any test makes.
const SEEN_MAX: usize = 256;
const TIMEOUT: Duration = Duration::from_secs(60);

/// What the peer does.
#[derive(Debug)]
enum Act {
    Says(&'static str, u64),
    Wants(&'static str),
    /// Asks for the answer [`Seen::Dropped`].
    Counts,
    Leaves,
}

/// What the peer sees.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Joined(Arc<PeerUrl>),
    /// What the endpoint wants.
    Wants(Vec<String>),
    Message(String, Value),
    Command(String),
    /// The message of that value is handed on.
    Delivered(u64),
    Dropped(u64),
    Closed,
}

/// The test's end.
struct Peer {
    acts: tasks::Sender<Act>,
    seen: mpsc::Receiver<Seen>,
}

impl Peer {
    fn act(&self, act: Act) {
        self.acts.blocking_send(act).expect("the task runs");
    }

    fn next(&self) -> Seen {
        self.seen.recv_timeout(TIMEOUT).expect("something comes")
    }

    /// What is seen that is not about what the endpoint wants, which is told in its own time.
    fn next_message(&self) -> Seen {
        loop {
            match self.next() {
                Seen::Wants(_) => {}
                seen => return seen,
            }
        }
    }
}

/// The transport's end: one task.
struct Double {
    shared: Arc<Shared>,
    link: Arc<Link>,
    dial: Dial,
    inbox: ForeignInbox,
    acts: tasks::Receiver<Act>,
    seen: mpsc::SyncSender<Seen>,
    /// Bound: one take.
    chunks: VecDeque<Chunk>,
    /// Messages whose delivery is awaited, by their values.
    /// Bound: what a test says.
    under_way: VecDeque<(super::inbox::InboxNumber, u64)>,
}

impl Double {
    async fn run(mut self) {
        let filter = [Topic::from("/wanted")].into_iter().collect();
        self.shared.joined(self.dial.connection, PEER, filter);
        let closed = poll_fn(|cx| self.poll(cx)).await;
        if let Some(closed) = closed {
            self.shared.connection_ended(self.dial.connection, closed);
        }
        self.link.mailbox.close();
        self.see(Seen::Closed);
    }

    fn see(&self, seen: Seen) {
        // A test that has seen enough is gone.
        let _ = self.seen.send(seen);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Closed>> {
        self.link.mailbox.register(cx);
        if let Some(filter) = self.link.mailbox.take_interest() {
            let topics = filter.entries().map(ToString::to_string).collect();
            self.see(Seen::Wants(topics));
        }
        while let Taken::Messages(_) = self.link.mailbox.poll_take(cx, 4096, &mut self.chunks) {
            self.write();
        }
        if self.link.is_closing() {
            return Poll::Ready(None);
        }
        while let Poll::Ready(act) = self.acts.poll_recv(cx) {
            match act {
                Some(Act::Says(topic, value)) => self.say(topic, value),
                Some(Act::Wants(topic)) => {
                    let filter: Filter = [Topic::from(topic)].into_iter().collect();
                    let connection = self.dial.connection;
                    self.shared.foreign_filter(connection, PEER, filter);
                }
                Some(Act::Counts) => self.see(Seen::Dropped(self.inbox.dropped())),
                Some(Act::Leaves) | None => return Poll::Ready(Some(Closed::Remote)),
            }
        }
        while let Some((number, value)) = self.under_way.front().copied()
            && self.inbox.poll_delivered(cx, number).is_ready()
        {
            self.under_way.pop_front();
            self.see(Seen::Delivered(value));
        }
        Poll::Pending
    }

    fn write(&mut self) {
        for mut chunk in std::mem::take(&mut self.chunks) {
            while let Some(message) = Message::split_off(&mut chunk.bytes) {
                let frame: Bytes = message.clone().into_frame();
                let envelope = Envelope::parse(&frame[FRAME_LEN_SIZE..]).expect("an envelope");
                let topic = String::from_utf8_lossy(envelope.topic).into_owned();
                self.see(match envelope.tag {
                    Tag::Command => Seen::Command(topic),
                    _ => Seen::Message(topic, message.value()),
                });
            }
        }
    }

    fn say(&mut self, topic: &str, value: u64) {
        let mut payload = Vec::new();
        value.encode(&mut Encoder::new(&mut payload)).expect("room");
        let number = self.inbox.deliver(&topic.into(), &payload).expect("room");
        self.under_way.push_back((number, value));
    }
}

/// An endpoint that speaks the double's protocol under `ws://`, and the ends of its peer.
fn endpoint(foreign: fn(Scheme) -> Option<&'static Foreign>, options: Options) -> (Endpoint, Peer) {
    let (acts, to_do) = tasks::channel(16);
    let (told, seen) = mpsc::sync_channel(SEEN_MAX);
    let ends = Lock::new(Some((to_do, told)));
    let options = Options {
        disable_ssl: true,
        ..options
    };
    let builder = Endpoint::builder().options(options);
    let endpoint = builder.build_with(|stores| {
        let usual = hooks(stores);
        Hooks {
            foreign,
            dial: Box::new(move |shared, dial| {
                let Destination::Foreign { url } = &dial.to else {
                    return (usual.dial)(shared, dial);
                };
                let Some((acts, seen)) = ends.lock().take() else {
                    let (failure, text) = (PeerFailure::Unreachable, "one peer is all".to_owned());
                    let fault = Some(DialFault { failure, text });
                    return shared.dial_failed(dial.connection, fault);
                };
                let _ = seen.send(Seen::Joined(url.clone()));
                let when_full = foreign(url.scheme).expect("it is spoken").when_full;
                let double = Double {
                    shared: shared.clone(),
                    link: dial.link.clone(),
                    inbox: ForeignInbox::new(shared.clone(), dial.link.clone(), PEER, when_full),
                    dial,
                    acts,
                    seen,
                    chunks: VecDeque::new(),
                    under_way: VecDeque::new(),
                };
                shared.runtime.spawn(double.run());
            }),
            closing_stores: usual.closing_stores,
        }
    });
    (endpoint.expect("nothing is wrong"), Peer { acts, seen })
}

fn lossy(scheme: Scheme) -> Option<&'static Foreign> {
    (scheme == Scheme::WebSocket).then_some(&LOSSY)
}

fn patient(scheme: Scheme) -> Option<&'static Foreign> {
    (scheme == Scheme::WebSocket).then_some(&PATIENT)
}

fn peered(foreign: fn(Scheme) -> Option<&'static Foreign>, options: Options) -> (Endpoint, Peer) {
    let (endpoint, peer) = endpoint(foreign, options);
    endpoint.peer_url(URL, Retry::Never).wait().unwrap();
    let url = Arc::new(PeerUrl::parse(URL, None).unwrap());
    assert_eq!(peer.next(), Seen::Joined(url));
    (endpoint, peer)
}

/// Room for that many messages.
fn capacity(messages_max: usize) -> Options {
    let mut options = Options::default();
    options.capacity.messages_max = messages_max;
    options.stall_limit = TIMEOUT;
    options
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_peer_of_another_transport_is_a_peer() {
    let (endpoint, peer) = peered(lossy, Options::default());
    let messages = endpoint.subscriber(["/t"]).unwrap();
    let peers = endpoint.peers();
    assert_eq!((peers[0].id, peers[0].network.host.as_str()), (PEER, URL));
    peer.act(Act::Says("/t/1", 1));
    let message = messages.recv_timeout(TIMEOUT).unwrap().unwrap();
    assert_eq!(
        (message.topic(), message.value()),
        (&b"/t/1"[..], Value::Count(1))
    );
    assert_eq!(peer.next_message(), Seen::Delivered(1));
    endpoint.publish("/wanted/2", &2_u64).unwrap();
    let expected = Seen::Message("/wanted/2".to_owned(), Value::Count(2));
    assert_eq!(peer.next_message(), expected);
    endpoint.unpeer(URL, 1).wait();
    assert_eq!(peer.next_message(), Seen::Closed);
    assert!(endpoint.peers().is_empty());
}

/// The id that the envelope of a message begins with.
fn sender(message: &Message) -> EndpointId {
    let envelope = &message.frame()[broker_proto::frame::FRAME_LEN_SIZE..];
    EndpointId::from_bytes(*envelope.first_chunk().unwrap())
}

#[test]
fn a_message_that_stays_names_its_peer_also_when_it_had_to_wait() {
    let (endpoint, peer) = peered(patient, capacity(1));
    let messages = endpoint.subscriber(["/t"]).unwrap();
    for number in 1..=4 {
        peer.act(Act::Says("/t/1", number));
    }
    for number in 1..=4 {
        let message = messages.recv_timeout(TIMEOUT).unwrap().unwrap();
        assert_eq!(message.value(), Value::Count(number));
        assert_eq!(sender(&message), PEER);
    }
}

#[test]
fn a_peer_that_leaves_is_lost() {
    let (endpoint, peer) = peered(lossy, Options::default());
    peer.act(Act::Leaves);
    assert_eq!(peer.next_message(), Seen::Closed);
    wait_until("it is no peer any more", || endpoint.peers().is_empty());
}

#[test]
fn filters_change_both_ways() {
    let (endpoint, peer) = peered(lossy, Options::default());
    assert_eq!(peer.next(), Seen::Wants(Vec::new()));
    let _messages = endpoint.subscriber(["/late"]).unwrap();
    assert_eq!(peer.next(), Seen::Wants(vec!["/late".to_owned()]));
    assert_eq!(endpoint.peer_subscriptions(), ["/wanted".into()]);
    peer.act(Act::Wants("/other"));
    wait_until("the peer's filter changes", || {
        endpoint.subscriptions_of(PEER) == Some(vec!["/other".into()])
    });
    endpoint.publish("/wanted", &1_u64).unwrap();
    endpoint.publish("/other", &2_u64).unwrap();
    let expected = Seen::Message("/other".to_owned(), Value::Count(2));
    assert_eq!(peer.next_message(), expected);
}

#[test]
fn a_transport_that_drops_loses_what_a_consumer_has_no_room_for_and_counts_it() {
    let (endpoint, peer) = peered(lossy, capacity(2));
    let full = endpoint.subscriber(["/t"]).unwrap();
    let quick = endpoint.subscriber(["/t/last"]).unwrap();
    for number in 0..5 {
        peer.act(Act::Says("/t", number));
        assert_eq!(peer.next_message(), Seen::Delivered(number));
    }
    // Nothing holds it up: others still get what comes.
    peer.act(Act::Says("/t/last", 5));
    assert!(quick.recv_timeout(TIMEOUT).unwrap().is_some());
    assert_eq!(peer.next_message(), Seen::Delivered(5));
    peer.act(Act::Counts);
    assert_eq!(peer.next_message(), Seen::Dropped(4));
    assert_eq!(full.dropped(), 4);
    for number in 0..2 {
        let message = full.recv_timeout(TIMEOUT).unwrap().unwrap();
        assert_eq!(message.value(), Value::Count(number));
    }
    assert!(full.recv_timeout(Duration::ZERO).unwrap().is_none());
}

#[test]
fn a_transport_that_waits_is_told_of_each_message_when_it_is_through() {
    let (endpoint, peer) = peered(patient, capacity(2));
    let full = endpoint.subscriber(["/t"]).unwrap();
    for number in 0..4 {
        peer.act(Act::Says("/t", number));
    }
    for number in 0..2 {
        assert_eq!(peer.next_message(), Seen::Delivered(number));
    }
    peer.act(Act::Counts);
    assert_eq!(peer.next_message(), Seen::Dropped(0));
    for number in 0..4 {
        let message = full.recv_timeout(TIMEOUT).unwrap().unwrap();
        assert_eq!(message.value(), Value::Count(number));
    }
    for number in 2..4 {
        assert_eq!(peer.next_message(), Seen::Delivered(number));
    }
}

#[test]
fn commands_of_stores_go_where_the_transport_carries_them() {
    let (endpoint, peer) = peered(lossy, Options::default());
    let master = broker_proto::store::master_topic("s");
    peer.act(Act::Wants(Box::leak(master.to_string().into_boxed_str())));
    wait_until("the peer's filter changes", || {
        endpoint.subscriptions_of(PEER) == Some(vec![master.clone()])
    });
    let _clone = endpoint.attach_clone("s", CloneOptions::default()).unwrap();
    assert_eq!(peer.next_message(), Seen::Command(master.to_string()));
}

#[test]
fn a_clone_that_no_transport_could_serve_is_refused() {
    let (endpoint, _peer) = peered(patient, Options::default());
    let error = endpoint.attach_clone("s", CloneOptions::default());
    let error = error.err().unwrap();
    assert!(matches!(error, StoreError::NoNativePeer { .. }), "{error}");
    assert!(error.to_string().contains(URL), "{error}");
}
