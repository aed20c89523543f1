//! Sessions with real Zeek processes, recorded at the other end of the connection.
//!
//! Our endpoint takes the place of the one inside Zeek, which always accepts the connection.

#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

use broker_proto::{EndpointId, NetworkAddress};

#[path = "replay/session.rs"]
#[expect(
    dead_code,
    reason = "the recorder is always the one that connects and closes"
)]
mod session;

use session::{Side, Step, What};

/// Where the id is in a hello and a version_select.
const ID_OFFSET: usize = 9;

#[test]
fn in_the_place_of_zeek() {
    let mut played = 0;
    for path in session::recordings("zeek") {
        println!("{}", path.display());
        let recording = session::read(&path);
        // The sessions of Zeek's WebSocket server are of another protocol.
        let Some(lines) = recording["frames"].as_array() else {
            continue;
        };
        played += 1;
        let connection = (0, 1);
        let address = NetworkAddress::new("192.0.2.1", 50000);
        let mut steps = vec![Step {
            at_ms: 0.0,
            connection,
            what: What::Accepted(address.clone()),
        }];
        let mut id = None;
        for (line, at) in lines.iter().zip(1..) {
            let frame = session::frame_of(line).unwrap();
            let from_zeek = line["dir"] == "in";
            if from_zeek && matches!(frame[4], 6 | 8) && id.is_none() {
                let bytes: [u8; 16] = frame[ID_OFFSET..ID_OFFSET + 16].try_into().unwrap();
                id = Some(EndpointId::from_bytes(bytes));
            }
            let what = if from_zeek {
                What::Sent(frame)
            } else {
                What::Received(frame)
            };
            steps.push(Step {
                at_ms: f64::from(at),
                connection,
                what,
            });
        }
        let sent = steps
            .iter()
            .filter(|step| matches!(step.what, What::Sent(_)))
            .count();
        steps.push(Step {
            at_ms: lines.len() as f64 + 1.0,
            connection,
            what: What::RemoteClosed,
        });
        let side = Side {
            id: id.expect("Zeek says who it is"),
            forwarding: false,
            shuts_down: false,
        };
        let report = session::play(side, steps);
        assert_eq!(report.compared, sent);
        assert_eq!(report.events.len(), 4);
        assert!(report.events[1].contains(&address.to_string()));
        assert!(report.events[2].starts_with("peer_lost("));
    }
    assert_eq!(played, 5);
}
