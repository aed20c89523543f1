//! Plays one side of a recorded session: gives an endpoint what that side received, and compares
//! what the endpoint sends with what that side sent, byte for byte.
//!
//! The tests are the application and the runtime: what a side sent of its own accord (a published
//! value, a subscription, a goodbye) is asked for when the recording comes to it, and data is
//! routed with the routing table.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use broker_data::Timestamp;
use broker_proto::frame::{ENVELOPE_SIZE, FRAME_LEN_SIZE, frame_size, write_envelope};
use broker_proto::message::routing_update;
use broker_proto::{
    Closed, Config, ConnectionId, Endpoint, EndpointId, Envelope, EnvelopeError, Filter,
    NetworkAddress, Origin, Outcome, Output, RequestId, Retry, RoutingTable, Tag, Topic,
};

/// One line of a recording, seen from the side that is played.
#[derive(Debug)]
pub(crate) struct Step {
    /// When it happened, in milliseconds.
    pub(crate) at_ms: f64,
    /// Link and number of the connection.
    pub(crate) connection: (usize, u64),
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// This side connected.
    Dialed(NetworkAddress),
    /// The other side connected.
    Accepted(NetworkAddress),
    Received(Vec<u8>),
    Sent(Vec<u8>),
    /// The other side closed.
    RemoteClosed,
    /// This side closed.
    OwnClosed,
}

/// What is to be known about the side that is played.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) id: EndpointId,
    pub(crate) forwarding: bool,
    /// Whether it says goodbye because it shuts down.
    pub(crate) shuts_down: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Text forms of all events.
    pub(crate) events: Vec<String>,
    /// How its peer requests ended.
    pub(crate) outcomes: Vec<Outcome>,
    /// Frames that were compared.
    pub(crate) compared: usize,
}

/// Plays a session.
pub(crate) fn play(side: Side, mut steps: Vec<Step>) -> Report {
    steps.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
    let mut player = Player::new(side, &steps);
    for step in steps {
        player.step(step);
    }
    let unexpected: Vec<_> = player.queues.values().flatten().map(hex::encode).collect();
    assert!(unexpected.is_empty(), "sent too much: {unexpected:?}");
    player.report
}

struct Player {
    side: Side,
    now: Timestamp,
    endpoint: Endpoint,
    routes: RoutingTable<ConnectionId>,
    connections: BTreeMap<(usize, u64), ConnectionId>,
    addresses: BTreeMap<ConnectionId, NetworkAddress>,
    /// The connection that was asked for last.
    dialed: Option<ConnectionId>,
    peers: BTreeMap<ConnectionId, EndpointId>,
    closed: BTreeSet<ConnectionId>,
    queues: BTreeMap<ConnectionId, VecDeque<Vec<u8>>>,
    /// Recorded tokens of goodbyes and those of the endpoint.
    tokens: Vec<(Vec<u8>, Vec<u8>)>,
    report: Report,
}

impl Player {
    fn new(side: Side, steps: &[Step]) -> Self {
        let mut endpoint = Endpoint::new(Config::new(side.id, 7));
        let first_filter = steps.iter().find_map(|step| match &step.what {
            What::Sent(frame) => match frame.get(FRAME_LEN_SIZE..)?.split_first()? {
                (10 | 11, filter) => Filter::decode_handshake(filter).ok(),
                _ => None,
            },
            _ => None,
        });
        let first_filter = first_filter.expect("every side sends its filter");
        let first: Vec<Topic> = first_filter.entries().cloned().collect();
        endpoint.subscribe(Timestamp::from_ns(0), &first);
        Self {
            routes: RoutingTable::new(side.id),
            side,
            now: Timestamp::from_ns(0),
            endpoint,
            connections: BTreeMap::new(),
            addresses: BTreeMap::new(),
            dialed: None,
            peers: BTreeMap::new(),
            closed: BTreeSet::new(),
            queues: BTreeMap::new(),
            tokens: Vec::new(),
            report: Report::default(),
        }
    }

    fn step(&mut self, step: Step) {
        let at_ns = (step.at_ms * 1e6) as i64;
        assert!(at_ns >= self.now.ns());
        self.now = Timestamp::from_ns(at_ns);
        match step.what {
            What::Dialed(address) => {
                let request = Some(RequestId(self.connections.len() as u64));
                let (host, port) = (&address.host, address.port);
                self.endpoint
                    .peer(self.now, host, port, Retry::Never, request);
                self.drain();
                let connection = self.dialed.take().expect("a peering is dialed at once");
                self.open(step.connection, connection, address);
                self.endpoint.handle_dialed(self.now, connection);
            }
            What::Accepted(address) => {
                let connection = self.endpoint.handle_accepted(self.now, address.clone());
                self.open(step.connection, connection, address);
            }
            What::Received(frame) => {
                let connection = self.connections[&step.connection];
                self.receive(connection, frame);
            }
            What::Sent(frame) => {
                let connection = self.connections[&step.connection];
                self.expect(connection, &frame);
            }
            What::RemoteClosed => {
                let connection = self.connections[&step.connection];
                self.endpoint
                    .handle_closed(self.now, connection, Closed::Remote);
                self.closed.insert(connection);
            }
            What::OwnClosed => {
                let connection = self.connections[&step.connection];
                assert!(
                    self.closed.contains(&connection),
                    "did not close {connection:?}"
                );
            }
        }
        self.drain();
    }

    fn open(&mut self, at: (usize, u64), connection: ConnectionId, address: NetworkAddress) {
        self.connections.insert(at, connection);
        self.addresses.insert(connection, address);
        self.queues.entry(connection).or_default();
    }

    fn receive(&mut self, connection: ConnectionId, mut frame: Vec<u8>) {
        assert_eq!(frame_size(&frame), Some(frame.len()));
        for (recorded, ours) in &self.tokens {
            replace(&mut frame, recorded, ours);
        }
        let payload = &frame[FRAME_LEN_SIZE..];
        let envelope = self
            .peers
            .get(&connection)
            .map(|peer| (*peer, Envelope::parse(payload)));
        match envelope {
            Some((peer, Ok(envelope))) if matches!(envelope.tag, Tag::Data | Tag::Command) => {
                if envelope.tag == Tag::Data {
                    broker_data::validate(envelope.payload).expect("recorded values are valid");
                }
                assert_eq!(envelope.sender, peer);
                self.route(Origin::Peer(peer), &envelope);
            }
            _ => self.endpoint.handle_frame(self.now, connection, payload),
        }
    }

    fn route(&mut self, origin: Origin, envelope: &Envelope<'_>) {
        let forwarding = self.side.forwarding;
        let Envelope {
            receiver,
            tag,
            topic,
            payload,
            ..
        } = *envelope;
        for target in self.routes.targets(origin, receiver, topic, forwarding) {
            let mut frame = Vec::new();
            write_envelope::<EnvelopeError>(
                &mut frame,
                self.side.id,
                receiver,
                tag,
                topic,
                |out| {
                    out.extend_from_slice(payload);
                    Ok(())
                },
            )
            .unwrap();
            self.queues.entry(target).or_default().push_back(frame);
        }
    }

    /// The recorded side sent this: the endpoint has sent it, or does so when asked.
    fn expect(&mut self, connection: ConnectionId, recorded: &[u8]) {
        self.drain();
        self.report.compared += 1;
        if self.queues[&connection]
            .front()
            .is_some_and(|frame| frame == recorded)
        {
            self.queues.get_mut(&connection).unwrap().pop_front();
            return;
        }
        let shown = hex::encode(recorded);
        let envelope = Envelope::parse(&recorded[FRAME_LEN_SIZE..]);
        let envelope = envelope.unwrap_or_else(|_| {
            let queue: Vec<_> = self.queues[&connection].iter().map(hex::encode).collect();
            panic!("expected {shown} on {connection:?}, got {queue:?}")
        });
        assert_eq!(envelope.sender, self.side.id, "expected {shown}");
        match envelope.tag {
            Tag::Data | Tag::Command => self.route(Origin::Endpoint, &envelope),
            Tag::RoutingUpdate => {
                let filter = Filter::decode_update(envelope.payload).unwrap();
                let topics: Vec<Topic> = filter.entries().cloned().collect();
                self.endpoint.subscribe(self.now, &topics);
            }
            Tag::Ping if self.side.shuts_down => self.endpoint.shutdown(self.now),
            Tag::Ping => {
                let NetworkAddress { host, port, .. } = self.addresses[&connection].clone();
                self.endpoint.unpeer(self.now, &host, port, None);
            }
            Tag::Pong => panic!("did not answer {shown}"),
        }
        self.drain();
        // What is published goes behind what was there already; the recorded side may have
        // published before it came to answer.
        let mut sent = self
            .queues
            .get_mut(&connection)
            .unwrap()
            .pop_back()
            .unwrap_or_default();
        if envelope.tag == Tag::Ping {
            let ours = sent[FRAME_LEN_SIZE + ENVELOPE_SIZE + 3..].to_vec();
            assert!(ours.starts_with(b"BYE"));
            self.tokens.push((envelope.payload.to_vec(), ours.clone()));
            replace(&mut sent, &ours, envelope.payload);
        }
        assert_eq!(hex::encode(sent), shown);
    }

    fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Dial { connection, .. } => self.dialed = Some(connection),
                Output::Join { .. } => unreachable!("no recording has a peer of another protocol"),
                Output::Interest {
                    connection,
                    peer,
                    filter,
                } => {
                    let update = routing_update(self.side.id, peer, &filter);
                    self.queues.entry(connection).or_default().push_back(update);
                }
                Output::Send { connection, frame } => {
                    assert!(!self.closed.contains(&connection), "sends after closing");
                    self.queues.entry(connection).or_default().push_back(frame);
                }
                Output::Close { connection, .. } => {
                    assert!(self.closed.insert(connection), "closes twice");
                }
                Output::Pause { .. } | Output::Resume { .. } => {}
                Output::Install {
                    connection,
                    peer,
                    filter,
                } => {
                    self.peers.insert(connection, peer);
                    self.routes.add_peer(peer, filter, connection);
                }
                Output::Uninstall { peer } => self.routes.remove_peer(peer),
                Output::PeerFilter { peer, filter } => self.routes.set_peer_filter(peer, filter),
                Output::Event(event) => self.report.events.push(event.to_string()),
                Output::Reply { outcome, .. } => self.report.outcomes.push(outcome),
                Output::ShutdownComplete => assert!(self.side.shuts_down),
            }
        }
    }
}

/// Replaces the end of a frame.
fn replace(frame: &mut [u8], from: &[u8], to: &[u8]) {
    if frame.ends_with(from) && from.len() == to.len() {
        let start = frame.len() - from.len();
        frame[start..].copy_from_slice(to);
    }
}

/// Reads a recording.
pub(crate) fn read(path: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// The recordings in a folder below `vectors/`, in the order of their names.
pub(crate) fn recordings(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../vectors")
        .join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    paths.sort();
    paths
}

/// The bytes of a recorded frame.
pub(crate) fn frame_of(line: &serde_json::Value) -> Option<Vec<u8>> {
    Some(hex::decode(line["hex"].as_str()?).expect("recordings hold hex"))
}
