//! Connections of ZeroMQ: no bytes of a stranger may panic, loop, or be read differently when they come
//! in other pieces. Greeting, commands, frames and subscriptions, without encryption.
//!
//! The first byte chooses the kind of socket and whether the peer's handshake is a good one, so that
//! what follows is traffic; the second is the size of the pieces.

#![no_main]

use broker_data::Timestamp;
use broker_proto::zmtp::{Connection, ConnectionConfig, Entropy, Event, Limits, SocketType};
use libfuzzer_sys::fuzz_target;

const START: Timestamp = Timestamp::from_ns(0);
const LIMITS_BYTES: usize = 4096;

fn connection(kind: SocketType) -> Connection {
    let config = ConnectionConfig {
        limits: Limits {
            part_bytes_max: LIMITS_BYTES,
            message_bytes_max: LIMITS_BYTES,
            parts_max: 5,
            subscriptions_max: 20,
            subscription_bytes_max: 200,
            ..Limits::default()
        },
        ..ConnectionConfig::new(kind)
    };
    Connection::new(config, Entropy::new([0; Entropy::BYTES]), START)
}

/// What happened, as text.
fn feed(connection: &mut Connection, bytes: &[u8], piece: usize) -> Vec<String> {
    let mut seen = Vec::new();
    for piece in bytes.chunks(piece) {
        connection.handle_bytes(START, piece);
        while let Some(event) = connection.poll_event() {
            seen.push(match event {
                Event::Message(message) => {
                    assert!(message.parts().map(<[u8]>::len).sum::<usize>() <= LIMITS_BYTES);
                    format!("{:?}", message.parts().collect::<Vec<_>>())
                }
                other => format!("{other:?}"),
            });
        }
    }
    connection.handle_closed();
    while let Some(event) = connection.poll_event() {
        seen.push(format!("{event:?}"));
    }
    seen
}

fuzz_target!(|input: &[u8]| {
    let [choice, piece, rest @ ..] = input else {
        return;
    };
    let kind = SocketType::ALL[usize::from(choice & 0x7f) % SocketType::ALL.len()];
    let mut bytes = Vec::new();
    if choice & 0x80 != 0 {
        let fits = |other: &SocketType| kind.fits(*other);
        let other = SocketType::ALL.into_iter().find(fits);
        let mut peer = connection(other.expect("every kind has one that fits"));
        let mut ours = connection(kind);
        for _ in 0..2 {
            let said = peer.take_output();
            bytes.extend(&said);
            ours.handle_bytes(START, &said);
            while ours.poll_event().is_some() {}
            peer.handle_bytes(START, &ours.take_output());
            while peer.poll_event().is_some() {}
        }
    }
    bytes.extend(rest);
    let whole = feed(&mut connection(kind), &bytes, bytes.len().max(1));
    let pieces = feed(&mut connection(kind), &bytes, usize::from(*piece).max(1));
    assert_eq!(whole, pieces);
    let ends = whole.iter().filter(|event| event.starts_with("Failed")).count();
    assert_eq!(ends, 1, "{whole:?}");
});
