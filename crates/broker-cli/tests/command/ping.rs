//! `broker ping`.

use broker::{WebSocketOptions, WebSocketTls};

use crate::process::{Peer, run};
use crate::schema;

#[test]
fn shows_who_is_there_and_measures() {
    let peer = Peer::at(false, 0);
    let _topics = peer.endpoint.subscriber(["/mine"]).unwrap();
    let ended = run(&["ping", &peer.url, "-n", "3", "--interval", "1ms"]).expect(0);
    let id = peer.endpoint.id().to_string();
    for part in [
        id.as_str(),
        "TLSv1.2",
        "not authenticated",
        "/mine",
        "3 of 3 answered: min ",
    ] {
        assert!(ended.out.contains(part), "{part}: {ended:#?}");
    }
}

#[test]
fn topics_of_a_peer_are_nothing_that_a_terminal_acts_on() {
    let peer = Peer::at(false, 0);
    let _topics = peer.endpoint.subscriber(["\x1b[2J\n/mine"]).unwrap();
    let ended = run(&["ping", &peer.url, "-n", "1"]).expect(0);
    assert!(ended.out.contains("\\u{1b}[2J\\n/mine"), "{ended:?}");
    assert!(!ended.out.contains('\x1b'), "{ended:?}");
}

#[test]
fn json_fits_the_schema() {
    for plain in [true, false] {
        let peer = Peer::at(plain, 0);
        let mut arguments = vec!["ping", &peer.url, "-n", "2", "--interval", "1ms", "--json"];
        arguments.extend(plain.then_some("--no-tls"));
        let lines = run(&arguments).expect(0).json();
        assert_eq!(lines.len(), 2);
        for line in &lines {
            schema::check("ping", line);
        }
        assert_eq!(lines[0]["tls"].is_null(), plain);
        assert_eq!(lines[1]["answered"], 2);
    }
}

#[test]
fn a_websocket_server_is_connected_to_and_not_measured() {
    let peer = Peer::plain();
    let options = WebSocketOptions {
        tls: WebSocketTls::Disabled,
        ..WebSocketOptions::default()
    };
    let port = peer.endpoint.listen_ws_with("127.0.0.1", 0, options);
    let url = format!("ws://127.0.0.1:{}", port.wait().unwrap());
    let ended = run(&["ping", &url]).expect(0);
    assert!(ended.out.contains("WebSocket with JSON"), "{ended:?}");
    assert!(ended.err.contains("not measured"), "{ended:?}");
}
