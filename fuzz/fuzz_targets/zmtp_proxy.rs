//! A member of a cluster at a proxy that does what it likes: nothing that comes on either connection may
//! panic, bring an event after the end, or have the session ready twice.
//!
//! The first byte says which connections begin with a good handshake. Then a byte for what is done, one
//! for how many bytes belong to it, and these.

#![no_main]

use broker_data::{Timespan, Timestamp};
use broker_proto::zmtp::{
    Connection, ConnectionConfig, Entropy, Limits, ProxyConfig, ProxyEvent, ProxySession,
    ProxySocket, Security, SocketType,
};
use libfuzzer_sys::fuzz_target;

const LIMITS_BYTES: usize = 4096;

fn entropy() -> Entropy {
    Entropy::new([0; Entropy::BYTES])
}

/// Looks at all events; whether one was the end.
fn look(session: &mut ProxySession, now: Timestamp, is_ready: &mut bool, is_over: &mut bool) {
    session.drain(now, |event| {
        assert!(!*is_over, "{event:?} after the end");
        match event {
            ProxyEvent::Ready => {
                assert!(!*is_ready, "ready twice");
                *is_ready = true;
            }
            ProxyEvent::Failed(_) => *is_over = true,
            ProxyEvent::Message(message) => {
                assert!(*is_ready, "a message before the session is ready");
                assert!(message.parts().map(<[u8]>::len).sum::<usize>() <= LIMITS_BYTES);
            }
            ProxyEvent::Subscribed(_) | ProxyEvent::Unsubscribed(_) => {}
        }
    });
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, mut rest)) = input.split_first() else {
        return;
    };
    let config = ProxyConfig {
        id: "fuzz_1".to_owned(),
        security: Security::Null,
        limits: Limits {
            part_bytes_max: LIMITS_BYTES,
            message_bytes_max: LIMITS_BYTES,
            subscriptions_max: 20,
            subscription_bytes_max: 1000,
            ..Limits::default()
        },
        ping_interval: Timespan::from_secs(1),
    };
    let mut now = Timestamp::from_ns(0);
    let mut session = ProxySession::new(config, [entropy(), entropy()], now);
    let (mut is_ready, mut is_over) = (false, false);
    for (bit, socket, kind) in [
        (1, ProxySocket::Xpub, SocketType::Xpub),
        (2, ProxySocket::Xsub, SocketType::Xsub),
    ] {
        if choice & bit == 0 {
            continue;
        }
        let mut proxy = Connection::new(ConnectionConfig::new(kind), entropy(), now);
        for _ in 0..2 {
            session.handle_bytes(now, socket, &proxy.take_output());
            look(&mut session, now, &mut is_ready, &mut is_over);
            proxy.handle_bytes(now, session.output(socket));
            session.handle_written(socket, session.output(socket).len());
            while proxy.poll_event().is_some() {}
        }
    }
    while let [what, size, more @ ..] = rest {
        let (bytes, others) = more.split_at(usize::from(*size).min(more.len()));
        rest = others;
        match what % 7 {
            0 | 1 => session.handle_bytes(now, ProxySocket::Xpub, bytes),
            2 | 3 => session.handle_bytes(now, ProxySocket::Xsub, bytes),
            4 => session.set_wanted(bytes.chunks(3)),
            5 => {
                // Before it is ready, and for what is too large, it says so.
                let _ = session.publish(&[bytes, b"id", b"broker-bin-v1", b"\x01\x01"]);
            }
            _ => {
                now = now.saturating_add(Timespan::from_secs(i64::from(*size)));
                session.handle_timeout(now);
            }
        }
        look(&mut session, now, &mut is_ready, &mut is_over);
        for socket in ProxySocket::ALL {
            let written = session.output(socket).len();
            session.handle_written(socket, written);
        }
    }
    for socket in ProxySocket::ALL {
        session.handle_closed(socket);
    }
    look(&mut session, now, &mut is_ready, &mut is_over);
    assert!(is_over, "both connections are closed");
});
