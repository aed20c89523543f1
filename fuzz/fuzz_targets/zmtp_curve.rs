//! The CURVE handshake of ZeroMQ: a session between two ends of ours on which an attacker sits, who
//! changes, cuts and adds bytes. No message may ever come that the other end did not send.
//!
//! The input is a list of attacks, four bytes each: which of the flights of bytes, where, what is done.

#![no_main]

use broker_data::Timestamp;
use broker_proto::zmtp::{
    Clients, Connection, ConnectionConfig, Entropy, Event, KeyPair, Security, SocketType,
};
use libfuzzer_sys::fuzz_target;

const START: Timestamp = Timestamp::from_ns(0);
const SECRET: &[u8] = b"what only the other end says";

fn connection(is_server: bool) -> Connection {
    let [server, client] = [1, 2].map(|number| KeyPair::from_random([number; 32]));
    let (kind, security) = if is_server { (
            SocketType::Xpub,
            Security::CurveServer {
                clients: Clients::Only(vec![client.public]),
                keys: server,
            },
        ) } else { (
            SocketType::Xsub,
            Security::CurveClient {
                server: server.public,
                keys: client,
            },
        ) };
    let config = ConnectionConfig::new(kind).with_security(security);
    let entropy = Entropy::new([3 + u8::from(is_server); Entropy::BYTES]);
    Connection::new(config, entropy, START)
}

fn attack(bytes: &mut Vec<u8>, place: usize, what: u8) {
    let at = place % bytes.len().max(1);
    match what % 4 {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= what >> 2 | 1;
            }
        }
        1 => bytes.truncate(at),
        2 => bytes.insert(at.min(bytes.len()), what >> 2),
        _ => {
            let again = bytes[at.min(bytes.len())..].to_vec();
            bytes.extend(again);
        }
    }
}

fn read(connection: &mut Connection, bytes: &[u8]) {
    connection.handle_bytes(START, bytes);
    while let Some(event) = connection.poll_event() {
        match event {
            Event::Message(message) => assert!(message.parts().eq([SECRET])),
            Event::Subscribed(topic) => assert_eq!(topic, SECRET),
            Event::Unsubscribed(_) => panic!("no end takes a subscription back"),
            Event::Ready(_) | Event::Failed(_) => {}
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let mut ends = [connection(false), connection(true)];
    ends[0].subscribe(SECRET);
    let attacks: Vec<&[u8; 4]> = input.as_chunks::<4>().0.iter().collect();
    for flight in 0..10 {
        let from = flight % 2;
        let mut bytes = ends[from].take_output();
        for [when, high, low, what] in &attacks {
            if usize::from(*when) % 10 == flight {
                attack(&mut bytes, usize::from(u16::from_be_bytes([*high, *low])), *what);
            }
        }
        read(&mut ends[1 - from], &bytes);
        if ends[1 - from].is_ready() {
            let _ = ends[1 - from].send(&[SECRET]);
        }
    }
    if attacks.is_empty() {
        assert!(ends.iter().all(Connection::is_ready));
    }
});
