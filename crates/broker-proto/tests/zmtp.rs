//! Connections of a real cluster, recorded byte by byte, read by our side of them.
//!
//! The recording is large and lies beside the repository. Without it this test checks nothing and says
//! so, except where checks run: there it fails.

#![cfg(feature = "zeromq")]
#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

use broker_data::Timestamp;
use broker_proto::zmtp::{Connection, ConnectionConfig, Entropy, Event, SocketType};
use serde_json::Value;

#[path = "../../broker/tests/outside/files.rs"]
mod files;

#[test]
fn recorded_connections_are_read() {
    let Some(path) = files::find("zeek", "zeek-zeromq.json") else {
        return;
    };
    let recording: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let now = Timestamp::from_ns(0);
    for direction in recording["zmtp"].as_array().unwrap() {
        let frames = direction["frames"].as_array().unwrap();
        let (link, dir) = (&direction["link"], &direction["dir"]);
        let theirs = frames[1]["data"].as_str().unwrap();
        let fits = |kind: &SocketType| {
            let known = SocketType::ALL.into_iter();
            let theirs = known.filter(|other| theirs.ends_with(&format!("\u{4}{other}")));
            theirs.clone().count() == 1 && theirs.into_iter().all(|theirs| kind.fits(theirs))
        };
        let ours = SocketType::ALL.into_iter().rfind(fits).unwrap();
        let entropy = Entropy::new([0; Entropy::BYTES]);
        let mut connection = Connection::new(ConnectionConfig::new(ours), entropy, now);
        let (mut notices, mut messages, mut is_ready) = (0, 0, false);
        for frame in frames {
            let bytes = hex::decode(frame["hex"].as_str().unwrap()).unwrap();
            connection.handle_bytes(now, &bytes);
            while let Some(event) = connection.poll_event() {
                match event {
                    Event::Ready(peer) => {
                        is_ready = peer.version == (3, 1) && peer.socket_type.fits(ours);
                    }
                    Event::Message(message) => {
                        assert_eq!(message.len(), 4, "{link} {dir}");
                        messages += 1;
                    }
                    Event::Subscribed(_) | Event::Unsubscribed(_) => notices += 1,
                    Event::Failed(error) => panic!("{link} {dir}: {error}"),
                }
            }
        }
        assert!(is_ready, "{link} {dir}");
        if frames.len() > 2 {
            assert!(notices + messages > 0, "{link} {dir}");
        }
    }
}
