//! How the command ends: every exit code, signals, advice.

use rustix::process::Signal;

use crate::ports::reserved_port;
use crate::process::{Peer, run};

#[test]
fn wrong_usage_names_the_nearest() {
    for (arguments, said) in [
        (&["subb"][..], "'sub'"),
        (&["sub", "/t", "--evnts", "x"], "'--events'"),
        (&["sub"], "<TOPIC>"),
        (&["pub", "/t", "1x", "-u", "h"], "^^"),
        (&["sub", "/t", "--where", "name = x", "-u", "h"], "=="),
        (&["sub", "/t", "--format", "{nme}", "-u", "h"], "name"),
        (&["sub", "/t", "--timeout", "10", "-u", "h"], "10s"),
        (&["sub", "/t", "-u", "http://h"], "wss://HOST:PORT"),
        (&["sub", "/t"], "BROKER_URL"),
        (&["sub", "/t", "-c", "nowhere"], "context list"),
        (
            &["sub", "/t", "-u", "h", "--cert", "/nonexistent"],
            "does not exist",
        ),
        (&["pub", "/t", "@/nonexistent", "-u", "h"], "/nonexistent"),
        (&["pub", "/t", "--rate", "x", "1"], "100/s"),
        (&["pub", "/t", "1", "-u", "ws://h", "--drain"], "native"),
        (&["node"], "--listen"),
        (&["node", "--listen", "nowhere"], ":PORT"),
    ] {
        let ended = run(arguments).expect(2);
        assert!(ended.err.contains(said), "{arguments:?}: {ended:#?}");
        assert_eq!(ended.out, "", "{arguments:?}");
    }
}

#[test]
fn a_peer_that_is_not_there_is_code_3() {
    let url = format!("127.0.0.1:{}", reserved_port());
    for command in [
        &["sub", "/t"][..],
        &["pub", "/t", "1"],
        &["req", "/t", "--event", "e"],
        &["ping"],
    ] {
        let ended = run(&[command, &["-u", &url]].concat()).expect(3);
        assert!(
            ended
                .err
                .contains(&format!("cannot connect to zeek://{url}")),
            "{ended:?}"
        );
    }
}

#[test]
fn tls_on_one_side_only_is_code_5_with_advice() {
    let plain = Peer::plain();
    let ended = run(&["ping", &plain.url]).expect(5);
    assert!(ended.err.contains("try --no-tls"), "{ended:?}");
    let encrypted = Peer::at(false, 0);
    let ended = run(&["ping", &encrypted.url, "--no-tls"]);
    assert!(matches!(ended.code, Some(3 | 5)), "{ended:?}");
}

#[test]
fn nothing_in_time_is_code_4() {
    let peer = Peer::plain();
    let ended = peer.run(&["sub", "/t", "--timeout", "50ms"]).expect(4);
    assert!(ended.err.contains("nothing came"), "{ended:?}");
    let ended = peer.run(&["logs", "--timeout", "50ms"]).expect(4);
    assert!(ended.err.contains("nothing came"), "{ended:?}");
    peer.run(&["sub", "/t", "--idle", "50ms"]).expect(4);
    let ended = peer.run(&["req", "/t", "--event", "e", "--timeout", "100ms"]);
    assert!(ended.expect(4).err.contains("no peer is subscribed"));
    let arguments = [
        "pub",
        "/t",
        "1",
        "--wait-for-subscriber",
        "--timeout",
        "100ms",
    ];
    assert!(peer.run(&arguments).expect(4).err.contains("subscribed"));
}

#[test]
fn fewer_than_asked_for_is_code_4_and_some_are_enough_without_a_number() {
    // Long enough for the message to come on a busy machine. The three wait at the same time.
    let running = [
        (&["sub", "/t", "--idle", "4s", "-n", "2"][..], 4),
        (&["sub", "/t", "--idle", "4s"], 0),
        (&["sub", "/t", "--timeout", "4s"], 0),
    ]
    .map(|(arguments, code)| {
        let peer = Peer::plain();
        let sub = peer.start(arguments);
        peer.endpoint.publish("/t", &1u64).unwrap();
        (peer, sub, code)
    });
    for (_peer, mut sub, code) in running {
        sub.line();
        sub.end().expect(code);
    }
}

#[test]
fn signals_end_it_with_a_goodbye() {
    for signal in [Signal::INT, Signal::TERM] {
        let peer = Peer::plain();
        let mut sub = peer.start(&["sub", "/t"]);
        peer.endpoint.publish("/t", &1u64).unwrap();
        sub.line();
        sub.signal(signal);
        let ended = sub.end().expect(130);
        assert!(ended.err.contains("1 messages in"), "{ended:?}");
        let req = peer.start(&["req", "/t", "--event", "e", "--timeout", "1min"]);
        req.signal(signal);
        req.end().expect(130);
        let waiting = peer.start(&["pub", "/t", "1", "--wait-for-subscriber"]);
        waiting.signal(signal);
        waiting.end().expect(130);
    }
}

#[test]
fn a_second_signal_ends_even_what_is_stuck() {
    let peer = Peer::plain();
    let mut sub = peer.start(&["sub", "/t"]);
    // Nobody reads the output, so that writing it blocks.
    let output = sub.output.take();
    let text = "x".repeat(100_000);
    for _ in 0..20 {
        peer.endpoint.publish("/t", &text).unwrap();
    }
    sub.signal(Signal::INT);
    let ended = loop {
        // The first of them may come before the command is stuck; it is sent until it has worked.
        sub.signal(Signal::INT);
        if let Some(ended) = sub.try_end() {
            break ended;
        }
    };
    assert_eq!(ended, Some(130));
    drop(output);
}

#[test]
fn every_command_that_waits_ends_by_the_first_signal() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.rec").to_str().unwrap().to_owned();
    let waiting = [
        &["sub", "/t"][..],
        &["logs"],
        &["record", &file, "/t"],
        &["req", "/t", "--event", "e", "--timeout", "1min"],
        &["pub", "/t", "1", "--wait-for-subscriber"],
        &["store", "ls", "hosts", "--timeout", "1min"],
        &["zeek", "peers", "--timeout", "1min"],
        &["intel", "add", "192.0.2.1", "--timeout", "1min"],
        &["intel", "watch"],
        &["ping", "--interval", "1h"],
        &["bench", "pub", "--timeout", "1min"],
        &["bench", "sub"],
        &["top"],
        // Several connections, so that what comes behind could take one of them for its own.
        &["doctor", "--topic", "/d", "--event", "e", "--wait", "1min"],
    ];
    for signal in [Signal::INT, Signal::TERM] {
        let peer = Peer::plain();
        let _wanted = peer.endpoint.subscriber(["/d"]).unwrap();
        for arguments in waiting {
            let running = peer.start(arguments);
            running.signal(signal);
            // The end that receives is ended by nothing else, so that is no interruption.
            let code = if arguments == ["bench", "sub"] {
                0
            } else {
                130
            };
            let ended = running.end();
            assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
            peer.forget_events();
        }
    }
}
