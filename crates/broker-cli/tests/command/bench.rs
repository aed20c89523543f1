//! Load tests: both ends in one process, in two, through a relay; every message is counted.

use crate::process::{Ended, Running, command, run};
use crate::schema;

fn report(arguments: &[&str]) -> serde_json::Value {
    let mut all = vec!["bench"];
    all.extend(arguments);
    all.extend(["--no-tls", "--report", "json"]);
    only(&run(&all).expect(0))
}

fn only(ended: &Ended) -> serde_json::Value {
    let lines = ended.json();
    let [line] = lines.as_slice() else {
        panic!("{ended:#?}");
    };
    schema::check("bench", line);
    line.clone()
}

#[test]
fn every_message_is_counted_with_both_ends_in_one_process() {
    for (test, unit, has_times) in [
        ("pub", "messages", false),
        ("latency", "round trips", true),
        ("store", "entries", true),
        ("relay", "messages", false),
    ] {
        let report = report(&[test, "-n", "1000", "--size", "20"]);
        assert_eq!(report["test"], test);
        assert_eq!(report["unit"], unit);
        assert_eq!(
            (&report["sent"], &report["received"]),
            (&1000.into(), &1000.into())
        );
        assert_eq!(report["percentiles_ns"].is_object(), has_times, "{report}");
    }
}

#[test]
fn two_processes_agree_on_what_came() {
    let listen = [
        "bench",
        "sub",
        "--listen",
        "127.0.0.1:0",
        "--once",
        "--no-tls",
        "--report",
        "json",
    ];
    let mut end = Running::start(&mut command(&listen));
    let port = end
        .says("listening at port ")
        .split(' ')
        .nth(3)
        .unwrap()
        .trim_end_matches(';')
        .to_owned();
    let url = format!("127.0.0.1:{port}");
    let latency = report(&["latency", "-u", &url, "-n", "50"]);
    assert_eq!(latency["received"], 50);
    let sent = report(&["pub", "-u", &url, "-n", "5000"]);
    let received = only(&end.end().expect(0));
    assert_eq!(
        (&received["test"], &sent["test"]),
        (&"sub".into(), &"pub".into())
    );
    assert_eq!(
        (&received["received"], &sent["received"]),
        (&5000.into(), &5000.into())
    );
    assert_eq!(received["bytes_each"], sent["bytes_each"]);
}

#[test]
fn the_text_names_rates_and_losses() {
    let ended = run(&["bench", "pub", "--no-tls", "-n", "100"]).expect(0);
    let lines: Vec<_> = ended.out.lines().collect();
    assert!(
        lines[0].starts_with("pub      100 messages in "),
        "{lines:?}"
    );
    assert_eq!(lines[1], "counted  all came, each once and in order");
    assert!(lines[2].starts_with("CPU      ") && lines[2].ends_with(" % of a processor"));
}

#[test]
fn an_end_that_is_none_is_told() {
    let peer = crate::process::Peer::plain();
    let arguments = [
        "bench",
        "pub",
        "--no-tls",
        "-u",
        &peer.url,
        "--timeout",
        "100ms",
    ];
    let ended = run(&arguments).expect(4);
    assert!(ended.err.contains("broker bench sub"), "{ended:?}");
    let ended = run(&["bench", "pub", "--no-tls", "-u", "127.0.0.79:9"]).expect(3);
    assert!(ended.err.contains("broker doctor"), "{ended:?}");
}

#[test]
fn compat_is_the_throughput_of_the_original() {
    let ended = run(&["bench", "compat", "--help"]).expect(0);
    assert!(
        ended.out.starts_with("usage: broker-throughput "),
        "{ended:?}"
    );
    run(&["bench", "compat", "localhost"]).expect(1);
}
