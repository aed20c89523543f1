//! Against our own server: the program of a native peering with another address.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use broker::{
    Endpoint, ErrorCode, Retry, StatusCode, Value, WebSocketOptions, WebSocketPeerOptions,
    WebSocketTls,
};

use crate::ports::reserved_port;
use crate::script::DEADLINE;
use crate::{endpoint, endpoint_with, eventually, expect_status, next, next_fault};

/// An endpoint that native peers and WebSocket clients can reach.
fn server() -> (Endpoint, String, String) {
    let endpoint = endpoint();
    let native = endpoint.listen("127.0.0.1", 0).wait().unwrap();
    let port = serve(&endpoint, 0);
    (
        endpoint,
        format!("zeek://127.0.0.1:{native}"),
        format!("ws://127.0.0.1:{port}/v1/messages/json"),
    )
}

/// Has WebSocket clients served at a port.
fn serve(endpoint: &Endpoint, port: u16) -> u16 {
    let options = WebSocketOptions {
        tls: WebSocketTls::Disabled,
        ..WebSocketOptions::default()
    };
    let served = endpoint.listen_ws_with("127.0.0.1", port, options);
    served.wait().unwrap()
}

/// A program that does not know what it is connected to.
fn program(server: &Endpoint, url: &str) {
    let client = endpoint();
    let events = client.status_subscriber(true).unwrap();
    let answers = client.subscriber(["/answers"]).unwrap();
    let requests = server.subscriber(["/requests"]).unwrap();
    client.peer_url(url, Retry::Never).wait().unwrap();
    expect_status(&events, StatusCode::EndpointDiscovered);
    let added = expect_status(&events, StatusCode::PeerAdded);
    assert_eq!(added.context.unwrap().id, Some(server.id()));
    assert!(client.await_peer(server.id(), DEADLINE).wait());
    assert_eq!(client.peers()[0].id, server.id());
    for number in 0..10_u64 {
        client.publish("/requests/a", &number).unwrap();
        assert_eq!(
            next(&requests),
            ("/requests/a".to_owned(), Value::Count(number))
        );
        server.publish("/answers/a", &(number + 1)).unwrap();
        assert_eq!(next(&answers).1, Value::Count(number + 1));
    }
    // A topic subscribed to later is in place for what is asked after that.
    let late = client.subscriber(["/late"]).unwrap();
    client.publish("/requests/late", &7_u64).unwrap();
    assert_eq!(next(&requests).1, Value::Count(7));
    server.publish("/late/a", &8_u64).unwrap();
    assert_eq!(next(&late).1, Value::Count(8));
    let peer = client.peers().remove(0).network;
    client.unpeer(&peer.host, peer.port).wait();
    let removed = expect_status(&events, StatusCode::PeerRemoved);
    assert_eq!(removed.context.unwrap().network.unwrap().host, peer.host);
    expect_status(&events, StatusCode::EndpointUnreachable);
    assert!(client.peers().is_empty());
    client.shutdown().wait();
}

#[test]
fn a_program_does_not_notice_which_protocol_it_is() {
    let (endpoint, native, web_socket) = server();
    program(&endpoint, &native);
    program(&endpoint, &web_socket);
}

#[test]
fn a_server_that_is_a_peer_already_is_the_same_peer() {
    let (server, native, web_socket) = server();
    let client = endpoint();
    client.peer_url(&native, Retry::Never).wait().unwrap();
    client.peer_url(&web_socket, Retry::Never).wait().unwrap();
    assert_eq!(client.peers().len(), 1);
    assert_eq!(client.peers()[0].id, server.id());
}

#[test]
fn an_address_that_leads_back_is_refused() {
    let (server, _, web_socket) = server();
    let error = server
        .peer_url(&web_socket, Retry::Never)
        .wait()
        .unwrap_err();
    assert!(error.to_string().contains("leads back"), "{error}");
}

#[test]
fn what_is_published_does_not_come_back() {
    // While a connection is renewed we are two clients of the server for a moment.
    let (server, _, web_socket) = server();
    let client = endpoint();
    let own = client.subscriber(["/t"]).unwrap();
    let heard = server.subscriber(["/t"]).unwrap();
    client.peer_url(&web_socket, Retry::Never).wait().unwrap();
    let mut others = Vec::new();
    for number in 0..200_u64 {
        client.publish("/t/client", &number).unwrap();
        if number % 50 == 0 {
            others.push(client.subscriber([format!("/other/{number}")]).unwrap());
        }
    }
    for number in 0..200_u64 {
        assert_eq!(next(&heard).1, Value::Count(number));
    }
    server.publish("/t/server", &1_u64).unwrap();
    assert_eq!(next(&own).0, "/t/server");
}

#[test]
fn a_renewal_neither_loses_nor_doubles() {
    const AHEAD_MAX: u64 = 1_000;
    let (server, _, web_socket) = server();
    let client = endpoint();
    let messages = client.subscriber(["/t"]).unwrap();
    client.peer_url(&web_socket, Retry::Never).wait().unwrap();
    let publisher = server.clone();
    let (over, taken) = (AtomicBool::new(false), AtomicU64::new(0));
    let (over, taken) = (Arc::new(over), Arc::new(taken));
    let (renewed, heard) = (over.clone(), taken.clone());
    let publishing = thread::spawn(move || {
        let mut number = 0_u64;
        while !renewed.load(Ordering::Relaxed) {
            // Never more on their way than every buffer holds, however slow the machine is.
            if number < heard.load(Ordering::Relaxed) + AHEAD_MAX {
                publisher.publish("/t", &number).unwrap();
                number += 1;
            } else {
                thread::yield_now();
            }
        }
        number
    });
    let mut got = Vec::new();
    let mut take = |message: broker::Message| match message.value() {
        Value::Count(u64::MAX) => true,
        Value::Count(number) => {
            got.push(number);
            taken.fetch_add(1, Ordering::Relaxed);
            false
        }
        other => panic!("{other:?}"),
    };
    let mut others = Vec::new();
    for number in 0..5 {
        let before = server.web_socket_counts()["unknown"].subscribed;
        others.push(client.subscriber([format!("/other/{number}")]).unwrap());
        eventually("a renewal", || {
            while let Some(message) = messages.try_recv() {
                take(message);
            }
            server.web_socket_counts()["unknown"].subscribed > before
        });
    }
    over.store(true, Ordering::Relaxed);
    let published = publishing.join().unwrap();
    // What still comes on an old connection may come behind what is on the new one.
    eventually("all have come", || {
        while let Some(message) = messages.try_recv() {
            take(message);
        }
        taken.load(Ordering::Relaxed) >= published
    });
    server.publish("/t", &u64::MAX).unwrap();
    while !take(messages.recv_timeout(DEADLINE).unwrap().unwrap()) {}
    let mut times = vec![0_u32; usize::try_from(published).unwrap()];
    for number in &got {
        times[usize::try_from(*number).unwrap()] += 1;
    }
    let lost = times.iter().filter(|times| **times == 0).count();
    let doubled = times.iter().filter(|times| **times > 1).count();
    assert_eq!((lost, doubled), (0, 0), "of {published}");
}

#[test]
fn messages_are_passed_on_as_between_native_peers() {
    let (server, _, web_socket) = server();
    let middle = endpoint();
    let port = middle.listen("127.0.0.1", 0).wait().unwrap();
    let end = endpoint();
    let messages = end.subscriber(["/t"]).unwrap();
    let heard = server.subscriber(["/u"]).unwrap();
    middle.forward(["/t", "/u"]);
    middle.peer_url(&web_socket, Retry::Never).wait().unwrap();
    end.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
    assert!(middle.await_peer(end.id(), DEADLINE).wait());
    server.publish("/t", &1_u64).unwrap();
    assert_eq!(next(&messages).1, Value::Count(1));
    end.publish("/u", &2_u64).unwrap();
    assert_eq!(next(&heard).1, Value::Count(2));
}

#[test]
fn what_one_server_sends_is_not_passed_on_to_another() {
    let (first, _, first_url) = server();
    let (second, _, second_url) = server();
    let middle = endpoint();
    let heard = second.subscriber(["/"]).unwrap();
    let passed = middle.subscriber(["/t"]).unwrap();
    middle.peer_url(&first_url, Retry::Never).wait().unwrap();
    middle.peer_url(&second_url, Retry::Never).wait().unwrap();
    first.publish("/t", &1_u64).unwrap();
    assert_eq!(next(&passed).1, Value::Count(1));
    middle.publish("/own", &2_u64).unwrap();
    assert_eq!(next(&heard).0, "/own");
}

/// Its search is short.
fn hasty_clone() -> broker::CloneOptions {
    broker::CloneOptions {
        resync_interval: broker::Timespan::from_millis(300),
        ..broker::CloneOptions::default()
    }
}

#[test]
fn a_clone_that_only_web_sockets_could_serve_is_refused_at_once() {
    let (server, _, web_socket) = server();
    let client = endpoint();
    let _master = server.attach_master("s", broker::Backend::Memory).unwrap();
    client.peer_url(&web_socket, Retry::Never).wait().unwrap();
    let address = client.peers()[0].network.host.clone();
    let error = client
        .attach_clone("s", broker::CloneOptions::default())
        .unwrap_err();
    assert!(
        matches!(error, broker::StoreError::NoNativePeer { .. }),
        "{error:?}"
    );
    assert_eq!(error.code(), ErrorCode::NoSuchMaster);
    assert_eq!(
        error.to_string(),
        format!(
            "cannot attach a clone of `s`: data stores need native peers, and all there is are \
             peers of other protocols: `{address}`"
        )
    );
    // A master needs nobody, and messages still flow.
    client
        .attach_master("own", broker::Backend::Memory)
        .unwrap();
    let messages = server.subscriber(["/t"]).unwrap();
    client.publish("/t", &1_u64).unwrap();
    assert_eq!(next(&messages).1, Value::Count(1));
    let counts = server.web_socket_counts();
    assert_eq!(counts["unknown"].refused, 0);
}

#[test]
fn a_server_that_is_still_looked_for_serves_no_clone_either() {
    let client = endpoint();
    let port = reserved_port();
    let url = format!("ws://127.0.0.1:{port}");
    let _pending = client.peer_url(&url, Retry::After(Duration::from_secs(60)));
    assert!(client.attach_clone("s", hasty_clone()).is_err());
    client.unpeer(&url, port).wait();
    assert!(client.attach_clone("s", hasty_clone()).is_ok());
}

#[test]
fn a_clone_whose_native_peers_have_no_master_learns_of_the_web_sockets() {
    let (server, native, web_socket) = server();
    let other = endpoint();
    let port = other.listen("127.0.0.1", 0).wait().unwrap();
    let client = endpoint();
    client.peer_url(&web_socket, Retry::Never).wait().unwrap();
    client.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
    let faults = client.status_subscriber(false).unwrap();
    let clone = client.attach_clone("s", hasty_clone()).unwrap();
    let error = clone.get("k").unwrap_err();
    assert_eq!(error.code(), ErrorCode::NoSuchMaster);
    for text in [error.to_string(), next_fault(&faults).text] {
        assert!(text.contains(&web_socket), "{text}");
    }
    // A native peering with the same endpoint takes the place of the other.
    let peer = client
        .peers()
        .into_iter()
        .find(|peer| peer.network.host == web_socket)
        .unwrap()
        .network;
    client.unpeer(&peer.host, peer.port).wait();
    let _master = server.attach_master("s", broker::Backend::Memory).unwrap();
    client.peer_url(&native, Retry::Never).wait().unwrap();
    let again = client.attach_clone("s", hasty_clone()).unwrap();
    assert_eq!(again.get("k").unwrap(), None);
}

#[test]
fn who_listens_for_native_peers_can_wait_for_a_master() {
    let (_server, _, web_socket) = server();
    let client = endpoint();
    let port = client.listen("127.0.0.1", 0).wait().unwrap();
    client.peer_url(&web_socket, Retry::Never).wait().unwrap();
    let clone = client
        .attach_clone("s", broker::CloneOptions::default())
        .unwrap();
    let other = endpoint();
    let _master = other.attach_master("s", broker::Backend::Memory).unwrap();
    other.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
    assert_eq!(clone.get("k").unwrap(), None);
}

#[test]
fn our_servers_can_lose_nothing() {
    let (server, _, web_socket) = server();
    let client = endpoint_with(WebSocketPeerOptions {
        lossless: true,
        ..WebSocketPeerOptions::default()
    });
    let messages = client.subscriber(["/t"]).unwrap();
    let heard = server.subscriber(["/t"]).unwrap();
    client.peer_url(&web_socket, Retry::Never).wait().unwrap();
    for value in [
        Value::Timestamp(broker::Timestamp::from_ns(1_234_567_890_123_456_789)),
        Value::Real(f64::INFINITY),
        Value::String(broker::ByteString::from(&b"\xff\xfe"[..])),
    ] {
        server.publish("/t", &value).unwrap();
        assert_eq!(next(&messages).1, value);
        client.publish("/t", &value).unwrap();
        assert_eq!(next(&heard).1, value);
    }
}

#[test]
fn a_server_that_shuts_down_is_lost_and_found() {
    let (first, client) = (endpoint(), endpoint());
    let port = serve(&first, reserved_port());
    let web_socket = format!("ws://127.0.0.1:{port}/v1/messages/json");
    let retry = Retry::After(Duration::from_millis(50));
    client.peer_url(&web_socket, retry).wait().unwrap();
    first.shutdown().wait();
    eventually("it is lost", || client.peers().is_empty());
    let second = endpoint();
    serve(&second, port);
    eventually("it is found", || {
        client.peers().iter().any(|peer| peer.id == second.id())
    });
    let counts = client.web_socket_peer_counts()[&web_socket];
    assert_eq!((counts.connects, counts.reconnects), (2, 1));
    assert!(counts.failures >= 1, "{counts:?}");
    assert_eq!(counts.peered, 1);
}
