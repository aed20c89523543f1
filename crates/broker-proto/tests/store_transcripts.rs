//! Sessions between masters and clones of the original, recorded by a proxy between them.
//!
//! Every master and every clone is replaced by ours in turn, with the recorded ids: it is given
//! what the other side sent and what its users asked for, and must send what the recorded one sent,
//! byte for byte and in that order.
//!
//! What follows from a timer is compared as far as the phase of the timer does not matter:
//! acknowledgements and keepalives must come to the same last numbers, and what the recorded side
//! asked to be repeated ours must ask for as well. What we send on purpose and the original does
//! not is left out in one place, [`is_ours`].

#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

use std::collections::{BTreeMap, BTreeSet};

use broker_data::{Timespan, Timestamp, View, to_bytes};
use broker_proto::store::command::{Command, Content};
use broker_proto::store::entity::EntityId;
use broker_proto::store::{CloneOptions, Master, Memory, Output, StoreClone, StoreConfig};
use broker_proto::{EndpointId, Envelope, Tag};
use serde_json::Value as Json;

#[path = "stores/operations.rs"]
#[expect(dead_code, reason = "only values are read here")]
mod operations;

/// Until when a side is compared, in seconds, where we decided to behave differently from then on.
const DIFFERENCES: &[(&str, &str, f64, &str)] = &[
    (
        "store-injected-control",
        "clone",
        8.0,
        "it attaches again when told that something is lost",
    ),
    (
        "store-injected-control",
        "master",
        5.0,
        "it never says that something is lost",
    ),
    (
        "store-master-shutdown",
        "clone",
        4.0,
        "it finds the next master",
    ),
    ("store-reconnect-55s", "clone", 50.0, "it attaches again"),
    (
        "store-reconnect-55s",
        "master",
        50.0,
        "it takes clones back",
    ),
];

/// One recorded frame with a command.
struct Frame {
    t: f64,
    to: EndpointId,
    bytes: Vec<u8>,
    /// Sent by the side it says, and not by the recorder.
    sent: bool,
    /// Arrived at the other side.
    arrived: bool,
}

struct Recording {
    name: String,
    frames: Vec<Frame>,
    /// From when until when there was no connection.
    gaps: Vec<(f64, f64)>,
    json: Json,
}

fn recordings() -> Vec<Recording> {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../vectors/transcripts/stores"
    );
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &std::path::Path) -> Recording {
    let json: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut frames = Vec::new();
    let mut gaps: Vec<(f64, f64)> = Vec::new();
    let endpoint = |name: &Json| {
        let id = json["endpoints"][name.as_str().unwrap()].as_str().unwrap();
        EndpointId::parse_any(id).unwrap()
    };
    let mut add = |t: f64, to, bytes: Vec<u8>, line: &Json| {
        if Envelope::parse(&bytes).is_ok_and(|envelope| envelope.tag == Tag::Command) {
            frames.push(Frame {
                t,
                to,
                bytes,
                sent: line["injected_by_recorder"].is_null(),
                arrived: line["dropped_by_recorder"].is_null(),
            });
        }
    };
    if let Some(lines) = json["frames"].as_array() {
        for line in lines.iter().filter(|line| line["handshake"].is_null()) {
            let t = line["t"].as_f64().unwrap();
            match gaps.last_mut() {
                Some((_, end)) if *end == f64::MAX && line["connection"].is_null() => *end = t,
                Some((_, end)) if *end == f64::MAX => {}
                _ if !line["connection"].is_null() => gaps.push((t, f64::MAX)),
                _ => {}
            }
            if let Some(text) = line["frame_hex"].as_str() {
                let bytes = hex::decode(text).unwrap();
                add(t, endpoint(&line["to"]), bytes, line);
            }
        }
    } else {
        for link in json["links"].as_array().unwrap() {
            for line in link["frames"].as_array().unwrap() {
                let Some(text) = line["hex"].as_str() else {
                    continue;
                };
                let bytes = hex::decode(text).unwrap();
                let to = match line["dir"].as_str().unwrap() {
                    "connector->acceptor" => endpoint(&link["acceptor"]),
                    _ => endpoint(&link["connector"]),
                };
                let t = line["ms"].as_f64().unwrap() / 1000.0;
                add(t, to, bytes[4..].to_vec(), line);
            }
        }
    }
    Recording {
        name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
        frames,
        gaps,
        json,
    }
}

fn command(frame: &[u8]) -> Command<'_> {
    Command::parse(Envelope::parse(frame).unwrap().payload).unwrap()
}

/// What ours sends and the original does not: keepalives by name, which its clones look at;
/// refusals, which they do not; and what tells clones of ours to attach again, to nobody.
fn is_ours(command: &Command<'_>) -> bool {
    match command.content {
        Content::Keepalive { .. } => !command.receiver.is_nil(),
        Content::Subtract { .. } => command.seq == 0,
        Content::RetransmitFailed { .. } => command.receiver.is_nil(),
        _ => false,
    }
}

/// What depends on the phase of a timer: acknowledgements, keepalives, questions and the
/// repetition of handshakes.
fn is_timed(content: &Content<'_>) -> bool {
    matches!(
        content,
        Content::CumulativeAck { .. }
            | Content::Keepalive { .. }
            | Content::Nack { .. }
            | Content::AttachWriter { .. }
    )
}

/// A frame in a form that can be compared: entries of snapshots are in no order, nor are the keys
/// that end in one tick.
fn comparable(frame: &[u8]) -> String {
    let read = command(frame);
    match &read.content {
        Content::Expire { publisher, .. } => format!("expire {} {publisher}", read.seq),
        Content::AckClone {
            offset,
            heartbeat,
            entries,
        } => {
            let entries: BTreeMap<_, _> = entries.iter().collect();
            let receiver = Envelope::parse(frame).unwrap().receiver;
            format!(
                "{} {} {receiver} {offset} {heartbeat} {entries:?}",
                read.seq, read.receiver
            )
        }
        _ => hex::encode(frame),
    }
}

/// Ours, on either side.
enum Store {
    Master(Box<Master<Memory>>),
    Clone(Box<StoreClone>),
}

/// What happens to ours, in order of time.
enum Input<'a> {
    Frame(&'a [u8]),
    Request(Vec<u8>),
    Tick,
}

struct Played {
    frames: Vec<Vec<u8>>,
    events: Vec<String>,
}

/// `gaps` is when what is sent reaches nobody.
fn play(
    mut store: Store,
    mut inputs: Vec<(f64, Input<'_>)>,
    until: f64,
    gaps: &[(f64, f64)],
) -> Played {
    inputs.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let mut played = Played {
        frames: Vec::new(),
        events: Vec::new(),
    };
    drain(&mut store, &mut played);
    for (t, input) in inputs {
        if t > until {
            break;
        }
        #[expect(clippy::cast_possible_truncation, reason = "seconds since the start")]
        let now = Timestamp::from_ns((t * 1e9) as i64);
        match (&mut store, input) {
            (Store::Master(master), Input::Frame(frame)) => {
                let payload = Envelope::parse(frame).unwrap().payload;
                master.handle_command(now, &command(frame), payload);
            }
            (Store::Clone(clone), Input::Frame(frame)) => {
                let payload = Envelope::parse(frame).unwrap().payload;
                clone.handle_command(now, &command(frame), payload);
            }
            (Store::Master(master), Input::Request(payload)) => {
                let _ = master.request(now, &Command::parse(&payload).unwrap().content);
            }
            (Store::Clone(clone), Input::Request(payload)) => {
                clone
                    .request(&Command::parse(&payload).unwrap().content)
                    .unwrap();
            }
            (Store::Master(master), Input::Tick) => master.handle_tick(now),
            (Store::Clone(clone), Input::Tick) => clone.handle_tick(),
        }
        let frames = played.frames.len();
        drain(&mut store, &mut played);
        if gaps.iter().any(|(begin, end)| *begin <= t && t < *end) {
            played.frames.truncate(frames);
        }
    }
    played
}

fn drain(store: &mut Store, played: &mut Played) {
    if let Store::Master(master) = store {
        master.commit().unwrap();
    }
    loop {
        let output = match store {
            Store::Master(master) => master.poll_output(),
            Store::Clone(clone) => clone.poll_output(),
        };
        match output {
            None => break,
            Some(Output::Send(message)) => {
                let frame = message.frame[4..].to_vec();
                if !is_ours(&command(&frame)) {
                    played.frames.push(frame);
                }
            }
            Some(Output::Event(value)) => {
                played.events.push(View::new(&value).unwrap().to_string());
            }
            Some(Output::Fault(_) | Output::Answer { .. }) => {}
        }
    }
}

/// A request as the payload of a command.
fn payload(content: Content<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let command = Command {
        seq: 0,
        sender: EntityId::NIL,
        receiver: EntityId::NIL,
        content,
    };
    command.encode(&mut out);
    out
}

impl Recording {
    /// The stores that took part: each id that sent something, and whether it is a master.
    fn stores(&self) -> BTreeMap<EntityId, bool> {
        let mut stores = BTreeMap::new();
        for frame in self.frames.iter().filter(|frame| frame.sent) {
            let topic = Envelope::parse(&frame.bytes).unwrap().topic.to_vec();
            stores.insert(command(&frame.bytes).sender, topic.ends_with(b"/clone"));
        }
        stores
    }

    fn name_of(&self, endpoint: EndpointId) -> String {
        let endpoints = self.json["endpoints"].as_object().unwrap();
        let is_it = |id: &Json| EndpointId::parse_any(id.as_str().unwrap()) == Some(endpoint);
        let (name, _) = endpoints.iter().find(|(_, id)| is_it(id)).unwrap();
        name.clone()
    }

    /// Ticks when the store sent something by its timer, and evenly in between. What comes a little
    /// later was held back by the connection.
    fn ticks(&self, id: EntityId, begin: f64) -> Vec<(f64, Input<'_>)> {
        const TICK: f64 = 0.1;
        let mut handshakes = BTreeSet::new();
        let mut anchors: Vec<f64> = Vec::new();
        for frame in self.frames.iter().filter(|frame| frame.sent) {
            let command = command(&frame.bytes);
            let timed = match &command.content {
                // The first one answers a handshake at once.
                Content::CumulativeAck { .. } => !handshakes.insert(command.receiver),
                Content::Nack { missing } => **missing != [0],
                Content::Keepalive { .. } => true,
                _ => false,
            };
            let after = anchors
                .last()
                .is_none_or(|last| frame.t - last > 0.7 * TICK);
            if command.sender == id && timed && after {
                anchors.push(frame.t - 0.0002);
            }
        }
        let end = self.frames.last().unwrap().t + 1.0;
        let first = anchors.first().copied().unwrap_or(begin + TICK / 2.0);
        let mut ticks = Vec::new();
        let mut t = first - ((first - begin) / TICK).floor() * TICK;
        for anchor in anchors.into_iter().chain([end]) {
            let steps = ((anchor - t) / TICK).round().max(1.0);
            let step = (anchor - t) / steps;
            while t < anchor - step / 2.0 {
                ticks.push((t, Input::Tick));
                t += step;
            }
            t = anchor;
        }
        ticks
    }

    /// What the users of a master asked for: `put` only, in all recordings.
    fn requests_at_master(&self, id: EntityId) -> Vec<(f64, Input<'_>)> {
        let who = self.name_of(id.endpoint);
        let calls = self.json["api_calls"].as_array();
        let puts = calls.into_iter().flatten().filter(|call| {
            call["who"].as_str() == Some(&who) && call["call"].as_str() == Some("put")
        });
        puts.map(|call| {
            let arguments = call["args"].as_array().unwrap();
            let value = |index: usize| to_bytes(&operations::value_of(&arguments[index])).unwrap();
            let expiry = arguments.get(3).and_then(|it| it["ns"].as_i64());
            let content = Content::Put {
                key: &value(1),
                value: &value(2),
                expiry: expiry.map(Timespan::from_ns),
                publisher: id,
            };
            (
                call["t"].as_f64().unwrap(),
                Input::Request(payload(content)),
            )
        })
        .collect()
    }

    /// The same for recordings that do not list calls: what the master had when its clone came, and
    /// what it published itself.
    fn traces_at_master(&self, id: EntityId, begin: f64) -> Vec<(f64, Input<'_>)> {
        let sent = self.frames.iter().filter(|frame| frame.sent);
        let sent: Vec<&Frame> = sent
            .filter(|frame| command(&frame.bytes).sender == id)
            .collect();
        let ends = |wanted: &[u8]| {
            let expires = |frame: &&&Frame| matches!(command(&frame.bytes).content, Content::Expire { key, .. } if key == wanted);
            sent.iter().find(expires).map(|frame| frame.t)
        };
        let mut requests = Vec::new();
        for frame in &sent {
            match command(&frame.bytes).content {
                Content::AckClone { entries, .. } if requests.is_empty() => {
                    for (key, value) in entries.iter() {
                        // The tick that ended it came at most 100 ms late.
                        let ns = ends(key).map(|end| ((end - begin - 0.05) * 1e9) as i64);
                        let content = Content::Put {
                            key,
                            value,
                            expiry: ns.map(Timespan::from_ns),
                            publisher: id,
                        };
                        requests.push((begin - 0.001, Input::Request(payload(content))));
                    }
                }
                Content::Put { publisher, .. } | Content::Erase { publisher, .. }
                    if publisher == id =>
                {
                    let content = command(&frame.bytes).content;
                    requests.push((frame.t - 0.0005, Input::Request(payload(content))));
                }
                _ => {}
            }
        }
        requests
    }

    /// What the users of a clone asked for: the times of their calls, and what left the clone for
    /// the first time under each number.
    fn requests_at_clone(&self, id: EntityId) -> Vec<(f64, Input<'_>)> {
        const READS: [&str; 8] = [
            "attach_clone",
            "await_idle",
            "exists",
            "get",
            "get_index_from_value",
            "is_initialized",
            "keys",
            "peer",
        ];
        let who = self.name_of(id.endpoint);
        let calls = self.json["api_calls"].as_array();
        let changes = calls.into_iter().flatten().filter(|call| {
            let name = call["call"].as_str().unwrap();
            call["who"].as_str() == Some(&who) && !READS.contains(&name)
        });
        let times: Vec<f64> = changes.map(|call| call["t"].as_f64().unwrap()).collect();
        let mut requests = BTreeMap::new();
        for frame in self.frames.iter().filter(|frame| frame.sent) {
            let command = command(&frame.bytes);
            if command.sender == id && command.content.is_action() {
                let nth = usize::try_from(command.seq - 2).unwrap();
                let t = times.get(nth).copied().unwrap_or(frame.t - 0.0005);
                let request = || (t, Input::Request(payload(command.content)));
                requests.entry(command.seq).or_insert_with(request);
            }
        }
        requests.into_values().collect()
    }

    fn until(&self, endpoint: EndpointId) -> f64 {
        let name = self.name_of(endpoint);
        let difference = DIFFERENCES
            .iter()
            .find(|(file, side, ..)| *file == self.name && *side == name);
        difference.map_or(f64::MAX, |(_, _, until, _)| *until)
    }

    /// Replaces one store by ours and compares; returns how many frames were compared.
    fn check(&self, id: EntityId, is_master: bool) -> (usize, usize) {
        let until = self.until(id.endpoint);
        let begin = self.frames.first().unwrap().t;
        let arrived = self.frames.iter().filter(|frame| {
            let receiver = Envelope::parse(&frame.bytes).unwrap().receiver;
            let for_it = receiver.is_nil() || receiver == id.endpoint;
            let for_role = Envelope::parse(&frame.bytes)
                .unwrap()
                .topic
                .ends_with(b"/master");
            frame.arrived && frame.to == id.endpoint && for_it && for_role == is_master
        });
        let mut inputs: Vec<(f64, Input<'_>)> = arrived
            .map(|frame| (frame.t, Input::Frame(frame.bytes.as_slice())))
            .collect();
        let config = StoreConfig::default();
        let store = if is_master {
            inputs.extend(if self.json["api_calls"].is_null() {
                self.traces_at_master(id, begin)
            } else {
                self.requests_at_master(id)
            });
            inputs.extend(self.ticks(id, begin));
            let mut master = Master::new(id, "test", Memory::new(), config).unwrap();
            master.set_observed(true);
            Store::Master(Box::new(master))
        } else {
            inputs.extend(self.requests_at_clone(id));
            inputs.extend(self.ticks(id, begin));
            let mut clone = StoreClone::new(id, "test", config, CloneOptions::default());
            clone.set_observed(true);
            clone.set_reachable(true);
            Store::Clone(Box::new(clone))
        };
        let played = play(store, inputs, until, &self.gaps);
        // What goes to everybody was recorded once for each clone.
        let mut broadcasts = BTreeSet::new();
        let mut first = |frame: &[u8]| {
            let for_one = !Envelope::parse(frame).unwrap().receiver.is_nil();
            let numbered = command(frame).content.is_action();
            !is_master || for_one || !numbered || broadcasts.insert(frame.to_vec())
        };
        let recorded: Vec<&[u8]> = self
            .frames
            .iter()
            .filter(|frame| frame.sent && frame.t <= until)
            .map(|frame| frame.bytes.as_slice())
            .filter(|frame| command(frame).sender == id && first(frame))
            .collect();
        self.compare(id, &recorded, &played);
        (recorded.len(), self.compare_events(id, until, &played))
    }

    /// What a local subscriber saw; a snapshot and a tick have no order of their own. Returns the
    /// number of events, which is 0 where no subscriber was recorded.
    fn compare_events(&self, id: EntityId, until: f64, played: &Played) -> usize {
        let Some(events) = self.json["store_events"].as_array() else {
            return 0;
        };
        let who = self.name_of(id.endpoint);
        let events = events.iter().filter(|event| {
            event["who"].as_str() == Some(&who) && event["t"].as_f64().unwrap() <= until
        });
        let mut theirs: Vec<String> = events
            .map(|event| {
                let value = to_bytes(&operations::value_of(&event["data"])).unwrap();
                View::new(&value).unwrap().to_string()
            })
            .collect();
        // Not every side had somebody who listened.
        if theirs.is_empty() {
            return 0;
        }
        let mut ours = played.events.clone();
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs, "events of {} as {who}", self.name);
        ours.len()
    }

    fn compare(&self, id: EntityId, recorded: &[&[u8]], played: &Played) {
        let what = format!("{} as {}", self.name, self.name_of(id.endpoint));
        let untimed = |frames: &mut dyn Iterator<Item = &[u8]>| -> Vec<String> {
            let mut ended = BTreeSet::new();
            let untimed = frames.filter(|frame| !is_timed(&command(frame).content));
            let mut lines: Vec<String> = untimed
                .inspect(|frame| {
                    if let Content::Expire { key, .. } = command(frame).content {
                        ended.insert(hex::encode(key));
                    }
                })
                .map(comparable)
                .collect();
            lines.extend(ended);
            lines
        };
        let ours = untimed(&mut played.frames.iter().map(Vec::as_slice));
        let theirs = untimed(&mut recorded.iter().copied());
        for (index, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            assert_eq!(ours, theirs, "{what}, frame {index}");
        }
        assert_eq!(ours.len(), theirs.len(), "{what}");

        let kinds: [fn(&Content<'_>) -> bool; 3] = [
            |content| matches!(content, Content::CumulativeAck { .. }),
            |content| matches!(content, Content::Keepalive { .. }),
            |content| matches!(content, Content::AttachWriter { .. }),
        ];
        for is_kind in kinds {
            let of_kind = |frame: &&[u8]| is_kind(&command(frame).content);
            let theirs = recorded.iter().copied().rfind(|frame| of_kind(frame));
            let mut ours = played.frames.iter().map(Vec::as_slice);
            if let Some(theirs) = theirs {
                let found = ours.any(|frame| frame == theirs);
                assert!(found, "{what}: nothing like {:?}", command(theirs));
            }
        }
        let ours: BTreeSet<&[u8]> = played.frames.iter().map(Vec::as_slice).collect();
        for theirs in recorded {
            if let Content::Nack { .. } = command(theirs).content {
                assert!(ours.contains(theirs), "{what}: {:?}", command(theirs));
            }
        }
    }
}

#[test]
fn every_master_and_every_clone_of_every_session() {
    let (mut stores, mut frames, mut events) = (0, 0, 0);
    for recording in recordings() {
        for (id, is_master) in recording.stores() {
            println!("{} as {id}", recording.name);
            let (compared, seen) = recording.check(id, is_master);
            frames += compared;
            events += seen;
            stores += 1;
        }
    }
    assert_eq!((stores, frames, events), (28, 617, 219));
}
