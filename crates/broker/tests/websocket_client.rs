//! Peerings with WebSocket servers: scripted ones, recorded ones, bad ones, and our own.
#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

#[path = "websocket_client/bad_servers.rs"]
mod bad_servers;
#[path = "websocket_client/checklist.rs"]
mod checklist;
#[path = "websocket_client/own_server.rs"]
mod own_server;
#[path = "machine/ports.rs"]
mod ports;
#[path = "websocket_client/recorded.rs"]
mod recorded;
#[path = "websocket_client/script.rs"]
mod script;
#[path = "websocket_client/slow_subscribers.rs"]
mod slow_subscribers;
#[path = "websocket_client/transport.rs"]
mod transport;

use std::time::{Duration, Instant};

use broker::{
    Endpoint, ErrorCode, Event, Fault, Options, Retry, StatusCode, StatusSubscriber, Subscriber,
    Value, WebSocketPeerOptions,
};
use script::{DEADLINE, Script, Served};

fn endpoint() -> Endpoint {
    Endpoint::builder().disable_ssl(true).build().unwrap()
}

fn endpoint_with(web_socket_peer: WebSocketPeerOptions) -> Endpoint {
    let options = Options {
        disable_ssl: true,
        web_socket_peer,
        ..Options::default()
    };
    Endpoint::builder().options(options).build().unwrap()
}

/// A peering with a scripted server.
fn joined(endpoint: &Endpoint, script: &Script) -> (Served, String) {
    let peering = endpoint.peer_url(&script.url(), Retry::Never);
    let served = script.accept_subscribed();
    peering.wait().unwrap();
    served
}

fn next_event(events: &StatusSubscriber) -> Event {
    events
        .recv_timeout(DEADLINE)
        .unwrap()
        .expect("an event comes")
}

fn next_fault(events: &StatusSubscriber) -> Fault {
    loop {
        if let Event::Error(fault) = next_event(events) {
            return fault;
        }
    }
}

fn expect_status(events: &StatusSubscriber, code: StatusCode) -> broker::Status {
    match next_event(events) {
        Event::Status(status) if status.code == code => status,
        other => panic!("expected {code:?}, got {other}"),
    }
}

fn next(subscriber: &Subscriber) -> (String, Value) {
    let message = subscriber
        .recv_timeout(DEADLINE)
        .unwrap()
        .expect("a message comes");
    (message.to_topic().to_string(), message.value())
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Why peering failed.
fn failure(endpoint: &Endpoint, url: &str) -> String {
    let error = endpoint.peer_url(url, Retry::Never).wait().unwrap_err();
    assert!(
        matches!(
            error.code(),
            ErrorCode::PeerUnavailable | ErrorCode::PeerInvalid
        ),
        "{error}"
    );
    error.to_string()
}
