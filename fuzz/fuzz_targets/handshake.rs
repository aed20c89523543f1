//! A stranger's bytes against an endpoint: messages that are read can be written again, and no
//! sequence of frames, in either role, leaves anything behind once the stranger has gone.
//!
//! Input: one byte for the role, then frames as they come off a socket.

#![no_main]

use broker_data::{Timespan, Timestamp};
use broker_proto::frame::{FRAME_LEN_SIZE, frame_size};
use broker_proto::message::Handshake;
use broker_proto::{
    Closed, Config, Endpoint, EndpointId, NetworkAddress, Output, PeerStatus, Retry, Topic,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((role, mut stream)) = bytes.split_first() else {
        return;
    };
    let now = Timestamp::EPOCH;
    // The highest bits of the role are the first byte of our id: smaller or larger than theirs.
    let mut endpoint = Endpoint::new(Config::new(EndpointId::from_random([role & 0xfe; 16]), 1));
    endpoint.subscribe(now, &[Topic::from("/fuzz")]);
    let connection = if role & 1 == 0 {
        endpoint.handle_accepted(now, NetworkAddress::new("192.0.2.1", 1))
    } else {
        endpoint.peer(now, "192.0.2.1", 1, Retry::Never, None);
        let Some(Output::Dial { connection, .. }) = endpoint.poll_output() else {
            panic!("a peering begins with a dial")
        };
        endpoint.handle_dialed(now, connection);
        connection
    };

    let mut peer = None;
    let mut closed = false;
    while let Some(frame) = frame_size(stream).and_then(|size| stream.get(..size)) {
        stream = &stream[frame.len()..];
        let payload = &frame[FRAME_LEN_SIZE..];
        if let Ok(message) = Handshake::parse(payload) {
            let again = message.encode();
            assert_eq!(Handshake::parse(&again[FRAME_LEN_SIZE..]), Ok(message));
        }
        endpoint.handle_frame(now, connection, payload);
        while let Some(output) = endpoint.poll_output() {
            assert!(
                !closed || !matches!(output, Output::Send { .. }),
                "sends after closing"
            );
            match output {
                Output::Install {
                    peer: installed, ..
                } => {
                    assert_eq!(peer.replace(installed), None, "installed twice");
                }
                Output::Close { .. } => closed = true,
                Output::Pause { .. } => panic!("there is just one connection"),
                _ => {}
            }
        }
    }

    if let Some(peer) = peer {
        assert_eq!(endpoint.peer_status(peer), PeerStatus::Peered);
    }
    endpoint.handle_closed(now, connection, Closed::Remote);
    assert!(endpoint.peers().is_empty());
    assert_eq!(endpoint.next_timeout(), None);
    endpoint.shutdown(now);
    endpoint.handle_timeout(now.saturating_add(Timespan::from_secs(3)));
    let complete = std::iter::from_fn(|| endpoint.poll_output())
        .filter(|output| matches!(output, Output::ShutdownComplete));
    assert_eq!(complete.count(), 1);
});
