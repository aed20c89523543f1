//! Sessions between endpoints of the original implementation, recorded by a proxy between them.
//!
//! Every endpoint of the described release is replaced by ours in turn. See
//! `vectors/transcripts/README.md` for the layout.

#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

use std::path::Path;

use broker_proto::{EndpointId, NetworkAddress, Outcome};
use serde_json::Value;

#[path = "replay/session.rs"]
mod session;

use session::{Report, Side, Step, What};

/// The release that the recordings without a `releases` key come from.
const REFERENCE: &str = "2.8.0-dev.310";

/// Tag of the last message of a handshake.
const ORIGINATOR_ACK: [u8; 5] = [0, 0, 0, 1, 12];

#[test]
fn every_side_of_every_session() {
    let mut sides = 0;
    let mut compared = 0;
    let mut events = 0;
    for path in session::recordings("transcripts") {
        let recording = session::read(&path);
        for (name, id) in recording["endpoints"].as_object().unwrap() {
            let release = recording["releases"][name].as_str().unwrap_or(REFERENCE);
            if release != REFERENCE {
                continue;
            }
            println!("{} as {name}", path.display());
            let report = play(&path, &recording, name, id.as_str().unwrap());
            events += check_events(&recording, name, &report);
            assert!(
                report
                    .outcomes
                    .iter()
                    .all(|outcome| *outcome == Outcome::Peered)
            );
            sides += 1;
            compared += report.compared;
        }
    }
    assert_eq!((sides, compared, events), (32, 223, 86));
}

fn play(path: &Path, recording: &Value, name: &str, id: &str) -> Report {
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let links = recording["links"].as_array().unwrap();
    let acts_as = |role: &str| links[0][role] == name;
    let shuts_down = (stem.ends_with("shutdown-of-acceptor") && acts_as("acceptor"))
        || (stem.ends_with("shutdown-of-connector") && acts_as("connector"));
    let side = Side {
        id: id.parse().unwrap(),
        forwarding: stem != "chain-no-forwarding",
        shuts_down,
    };
    let mut addresses = Addresses::new(recording, name);
    let mut steps = Vec::new();
    for (index, link) in links.iter().enumerate() {
        if link["connector"] == name || link["acceptor"] == name {
            link_steps(&mut steps, &mut addresses, recording, index, link, name);
        }
    }
    session::play(side, steps)
}

fn link_steps(
    steps: &mut Vec<Step>,
    addresses: &mut Addresses,
    recording: &Value,
    index: usize,
    link: &Value,
    name: &str,
) {
    let connects = link["connector"] == name;
    let sends = if connects {
        "connector->acceptor"
    } else {
        "acceptor->connector"
    };
    let other = link[if connects { "acceptor" } else { "connector" }]
        .as_str()
        .unwrap();
    let peer: EndpointId = recording["endpoints"][other]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let lines = link["frames"].as_array().unwrap();
    let mut known = Vec::new();
    for line in lines {
        // Notes belong to no connection.
        let Some(number) = line["conn"].as_u64() else {
            continue;
        };
        let at_ms = line["ms"].as_f64().unwrap();
        let connection = (index, number);
        if !known.contains(&number) {
            known.push(number);
            let finished = lines.iter().any(|line| {
                line["conn"] == number
                    && session::frame_of(line).is_some_and(|frame| frame == ORIGINATOR_ACK)
            });
            let address = addresses.next(peer, finished);
            let what = if connects {
                What::Dialed(address)
            } else {
                What::Accepted(address)
            };
            steps.push(Step {
                at_ms,
                connection,
                what,
            });
        }
        let own = line["dir"] == sends;
        let what = match (session::frame_of(line), own) {
            (Some(frame), true) => What::Sent(frame),
            (Some(frame), false) => What::Received(frame),
            (None, true) => What::OwnClosed,
            (None, false) => What::RemoteClosed,
        };
        steps.push(Step {
            at_ms,
            connection,
            what,
        });
    }
}

/// Every event of that side, in order, in the words of the original, where they were recorded;
/// returns their number.
fn check_events(recording: &Value, name: &str, report: &Report) -> usize {
    if !recording["events"][name].is_array() {
        return 0;
    }
    let recorded: Vec<_> = event_texts(recording, name).collect();
    assert_eq!(report.events, recorded);
    recorded.len()
}

fn event_texts<'a>(recording: &'a Value, name: &str) -> impl Iterator<Item = &'a str> {
    let events = recording["events"][name].as_array().into_iter().flatten();
    events.map(|event| event.as_str().unwrap())
}

/// The addresses of peers, which are in the events only.
struct Addresses(Vec<(EndpointId, NetworkAddress)>);

impl Addresses {
    fn new(recording: &Value, name: &str) -> Self {
        let added = event_texts(recording, name).filter_map(|event| {
            let mut fields = event.strip_prefix("peer_added(")?.split(", ");
            let id = fields.next()?.parse().ok()?;
            let (host, port) = fields.next()?.rsplit_once(':')?;
            Some((id, NetworkAddress::new(host, port.parse().ok()?)))
        });
        Self(added.collect())
    }

    /// That of the next connection with a peer; any if the peering never came to be.
    fn next(&mut self, peer: EndpointId, finished: bool) -> NetworkAddress {
        match self.0.iter().position(|(id, _)| *id == peer) {
            Some(index) if finished => self.0.remove(index).1,
            _ => NetworkAddress::new("192.0.2.1", 9999),
        }
    }
}
