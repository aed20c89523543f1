//! The log: what comes from a running endpoint, at which verbosity, and what never does.
#![cfg(all(feature = "log", feature = "http", feature = "status"))]
#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use broker::log::{self, Component, Format, Output, Reader, Record, Writer};
use broker::{Backend, Endpoint, HttpOptions, Options, Retry, TlsOptions, Verbosity};

/// Only ends a test that hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// Collects until a record fits.
fn until(reader: &Reader, seen: &mut Vec<Record>, fits: impl Fn(&Record) -> bool) -> Record {
    let start = Instant::now();
    loop {
        let records = reader.wait(Duration::from_millis(100)).unwrap();
        seen.extend(records);
        if let Some(record) = seen.iter().find(|record| fits(record)) {
            return record.clone();
        }
        assert!(start.elapsed() < DEADLINE, "{seen:#?}");
    }
}

fn field(record: &Record, name: &str) -> String {
    let mut fields = record.fields.iter();
    let known = fields.find(|(known, _)| &**known == name);
    known.map_or(String::new(), |(_, field)| field.as_str().to_owned())
}

#[test]
fn components_have_verbosities_of_their_own() {
    log::install().unwrap();
    log::install().unwrap();
    let reader = Reader::new(|component| match component {
        Component::WebSocket => Verbosity::Info,
        _ => Verbosity::Quiet,
    });
    let endpoint = Endpoint::builder().disable_ssl(true).build().unwrap();
    let port = endpoint.listen_ws("127.0.0.1", 0).wait().unwrap();
    let mut seen = Vec::new();
    let of_http = endpoint.serve_http("127.0.0.1", 0, HttpOptions::default());
    of_http.wait().unwrap();
    // A client that makes no sense is refused, with what is known of it.
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(b"nonsense\r\n\r\n").unwrap();
    let address = client.local_addr().unwrap().to_string();
    let refused = |record: &Record| {
        record.event == "web-socket-refused" && field(record, "remote").contains(&address)
    };
    let record = until(&reader, &mut seen, refused);
    assert_eq!(record.component, Component::WebSocket);
    assert_eq!(record.level, Verbosity::Info);
    assert!(seen.iter().all(|it| it.component == Component::WebSocket));
    // Changed while it runs.
    reader.set_levels(|component| match component {
        Component::Http => Verbosity::Info,
        _ => Verbosity::Quiet,
    });
    let of_http = endpoint.serve_http("127.0.0.1", 0, HttpOptions::default());
    let port = of_http.wait().unwrap().to_string();
    let http = until(&reader, &mut seen, |it| {
        field(it, "address").ends_with(&port)
    });
    assert_eq!(http.component, Component::Http);
    endpoint.shutdown().wait();
}

#[test]
fn payloads_and_secrets_are_not_logged() {
    const CANARY: &str = "canary-5f1d";
    log::install().unwrap();
    let reader = Reader::new(|_| Verbosity::Trace);
    let canary = || Some(CANARY.to_owned());
    let with = |tls| Options {
        disable_ssl: true,
        tls,
        ..Options::default()
    };
    let build = |options| Endpoint::builder().options(options).build().unwrap();
    let here = build(with(TlsOptions {
        passphrase: canary(),
        ..TlsOptions::default()
    }));
    let there = build(with(TlsOptions::default()));
    // A passphrase for nothing, a token, and a refused one.
    let wrong = Options {
        tls: TlsOptions {
            passphrase: canary(),
            ..TlsOptions::default()
        },
        ..Options::default()
    };
    assert!(Endpoint::builder().options(wrong).build().is_err());
    let options = HttpOptions {
        token: canary(),
        ..HttpOptions::default()
    };
    let http = there.serve_http("127.0.0.1", 0, options).wait().unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", http)).unwrap();
    let request = format!("GET /metrics HTTP/1.0\r\nAuthorization: Bearer {CANARY}x\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    std::io::copy(&mut client, &mut std::io::sink()).unwrap();
    let subscriber = there.subscriber(["/t"]).unwrap();
    let port = there.listen("127.0.0.1", 0).wait().unwrap();
    here.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
    here.publish("/t", CANARY).unwrap();
    assert!(subscriber.recv_timeout(DEADLINE).unwrap().is_some());
    let master = there.attach_master("kept", Backend::Memory).unwrap();
    let clone = here
        .attach_clone("kept", broker::CloneOptions::default())
        .unwrap();
    clone.put(CANARY, CANARY).unwrap();
    assert!(clone.await_idle(DEADLINE));
    assert!(master.get(CANARY).unwrap().is_some());
    // What does not decode is dropped, and that is logged.
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let _ = client.write_all(format!("\0\0\0\x40{CANARY:64}").as_bytes());
    std::io::copy(&mut client, &mut std::io::sink()).unwrap();
    here.shutdown().wait();
    there.shutdown().wait();
    reader.close();
    let mut lines = String::new();
    while let Some(records) = reader.wait(DEADLINE) {
        for record in records {
            record.put_line(&mut lines, Format::Text);
        }
    }
    assert!(lines.contains("event="), "{lines}");
    assert!(!lines.contains(CANARY), "{lines}");
}

#[test]
fn what_finds_the_queue_full_is_counted_and_told() {
    log::install().unwrap();
    let reader = Reader::new(|component| match component {
        Component::App => Verbosity::Trace,
        _ => Verbosity::Quiet,
    });
    let said = 20_000;
    for number in 0..said {
        tracing::trace!(event = "flood", number, "ours");
    }
    reader.close();
    let (mut kept, mut lost) = (0, 0);
    while let Some(records) = reader.wait(DEADLINE) {
        kept += records.iter().filter(|it| it.event == "flood").count();
        let lost_here = records.iter().filter(|it| it.event == "log-records-lost");
        lost += lost_here
            .map(|it| field(it, "lost").parse::<usize>().unwrap())
            .sum::<usize>();
    }
    assert!(lost > 0);
    assert_eq!(kept + lost, said);
}

#[test]
fn lines_are_written_to_a_file_and_repeated_ones_are_counted() {
    log::install().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let file = std::fs::File::create(&path).unwrap();
    let writer = Writer::start(Output::File(file), Format::Json, Verbosity::Quiet).unwrap();
    writer.set_levels(|component| match component {
        Component::App => Verbosity::Warning,
        _ => Verbosity::Quiet,
    });
    for _ in 0..1000 {
        tracing::warn!(event = "again-and-again", target_port = 1u16);
    }
    writer.flush();
    let lines = std::fs::read_to_string(&path).unwrap();
    let shown = lines.lines().filter(|it| it.contains("again-and-again"));
    let shown = shown.count() as u64;
    assert!((1..10).contains(&shown), "{lines}");
    drop(writer);
    let lines = std::fs::read_to_string(&path).unwrap();
    let last = lines.lines().last().unwrap();
    let last: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["left_out"], 1000 - shown);
    assert_eq!(last["level"], "warning");
}
