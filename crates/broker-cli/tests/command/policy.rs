//! `broker policy`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use broker::policy::PolicyFile;
use rustix::process::Signal;

use crate::process::{DEADLINE, Running, command, run};
use crate::schema;

/// The example in a folder of its own.
fn example(folder: &tempfile::TempDir) -> (PathBuf, String) {
    let path = folder.path().join("policy.toml");
    let text = run(&["policy", "example"]).expect(0).out;
    std::fs::write(&path, text).unwrap();
    let name = path.display().to_string();
    (path, name)
}

#[test]
fn a_policy_is_checked_and_errors_have_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let (path, name) = example(&folder);
    let said = run(&["policy", "check", &name]).expect(0).err;
    assert!(
        said.contains("makes sense: roles 3, principals 3, tokens 0"),
        "{said}"
    );
    for line in run(&["policy", "check", &name, "--json"]).expect(0).json() {
        schema::check("policy", &line);
    }
    let wrong = "[roles.a]\npublish = \"/x\"\n[roles.b]\n[principals.p]\n";
    std::fs::write(&path, wrong).unwrap();
    let said = run(&["policy", "check", &name]).expect(2).err;
    let expected = format!("`{name}`, line 2, column 11: expected an array of strings");
    assert!(said.contains(&expected), "{said}");
    let idle = "[roles.a]\nsubscribe = [\"/x\"]\ndeny.subscribe = [\"/x/y\"]\n[principals.p]\n";
    std::fs::write(&path, idle).unwrap();
    let said = run(&["policy", "check", &name]).expect(0).err;
    assert!(said.contains("the principal `p` may do nothing"), "{said}");
    assert!(
        said.contains("line 1, column 8: a filter cannot leave"),
        "{said}"
    );
    let missing = run(&["policy", "check", "/nonexistent/policy.toml"])
        .expect(2)
        .err;
    assert!(missing.contains("does not exist"), "{missing}");
}

#[test]
fn explain_names_the_rule_or_the_one_that_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (_, name) = example(&folder);
    let soar = "spiffe://corp/soar";
    for (principal, rest, code, expected) in [
        (
            soar,
            &[
                "--publish",
                "/netcontrol/x",
                "--event",
                "NetControl::add_rule",
            ][..],
            0,
            "allow: roles.responder.events.publish \"NetControl::*\"\n",
        ),
        (
            soar,
            &["--publish", "/netcontrol/x", "--event", "NetControl::clear"],
            5,
            "deny: roles.responder.deny.events.publish \"NetControl::clear*\"\n",
        ),
        (
            soar,
            &["--publish", "/netcontrol/x", "--event", "terminate"],
            5,
            "deny: no rule allows the event\n",
        ),
        (
            soar,
            &["--publish", "/netcontrol/x"],
            5,
            "deny: no rule allows the event\n",
        ),
        (
            soar,
            &["--publish", "/netcontro"],
            5,
            "deny: no rule allows it\n",
        ),
        (
            soar,
            &["--store", "blocked", "--operation", "write"],
            0,
            "allow: roles.responder.stores \"blocked\"\n",
        ),
        (
            soar,
            &["--store", "assets", "--operation", "write"],
            5,
            "deny: no rule allows it\n",
        ),
        (
            "siem",
            &["--http", "/metrics"],
            0,
            "allow: roles.siem.http \"/metrics\"\n",
        ),
        (
            "siem",
            &["--subscribe", "<$>/local"],
            5,
            "deny: topics of endpoints\n",
        ),
        (
            "researcher",
            &["--subscribe", ""],
            0,
            "deny: no rule allows it\nof it is granted: \"zeek/logs/dns\"\n",
        ),
    ] {
        let arguments = [&["policy", "explain", &name, "--as", principal], rest].concat();
        assert_eq!(run(&arguments).expect(code).out, expected, "{arguments:?}");
        for line in run(&[&arguments[..], &["--json"]].concat())
            .expect(code)
            .json()
        {
            schema::check("policy", &line);
        }
    }
    let needed = [
        "policy",
        "explain",
        &name,
        "--as",
        "siem",
        "--publish",
        "/x",
    ];
    let said = run(&needed).expect(5).err;
    assert!(said.contains("publish = [\"/x\"]"), "{said}");
    let unknown = ["policy", "explain", &name, "--as", "siems", "--http", "/"];
    let said = run(&unknown).expect(5).err;
    assert!(said.contains("there is `siem`"), "{said}");
}

#[test]
fn a_token_is_shown_once_and_kept_as_a_digest() {
    let folder = tempfile::tempdir().unwrap();
    let (path, name) = example(&folder);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let before = std::fs::read_to_string(&path).unwrap();
    let added = [
        "policy",
        "token",
        "add",
        "grafana \"1\"",
        &name,
        "--role",
        "siem",
        "--days",
        "90",
    ];
    let ended = run(&added).expect(0);
    let secret = ended.out.trim_end();
    assert_eq!(secret.len(), 43, "{secret}");
    assert!(!ended.err.contains(secret));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text.starts_with(&before) && !text.contains(secret),
        "{text}"
    );
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let policy = PolicyFile::read(&path).unwrap().policy;
    let now = broker::Timestamp::try_from(std::time::SystemTime::now()).unwrap();
    assert_eq!(
        policy.principal_of_secret(secret, now),
        Some("grafana \"1\"")
    );
    let later = broker::Timestamp::from_ns(now.ns() + 91 * 24 * 3600 * 1_000_000_000);
    assert_eq!(policy.principal_of_secret(secret, later), None);
    // A second one of the name changes nothing.
    let said = run(&added).expect(2).err;
    assert!(
        said.contains("there is a token `grafana \"1\"` already"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    let mine = [
        "policy",
        "token",
        "add",
        "mine",
        &name,
        "--principal",
        "siem",
        "--json",
    ];
    for line in run(&mine).expect(0).json() {
        schema::check("policy", &line);
        assert_ne!(line["secret"].as_str(), Some(secret));
    }
    let listed = run(&["policy", "token", "list", &name]).expect(0).out;
    assert!(listed.ends_with("mine  siem  ends: never\n"), "{listed}");
    for line in run(&["policy", "token", "list", &name, "--json"])
        .expect(0)
        .json()
    {
        schema::check("policy", &line);
    }
    let nowhere = [
        "policy",
        "token",
        "add",
        "x",
        &name,
        "--principal",
        "nobody",
    ];
    assert!(
        run(&nowhere)
            .expect(2)
            .err
            .contains("there is no principal `nobody`")
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Status of the answer to a request for a WebSocket, with these fields.
fn status(port: &str, fields: &str) -> String {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = format!(
        "GET /v1/messages/json HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n{fields}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    String::from_utf8_lossy(&start[9..]).into_owned()
}

#[test]
fn a_node_judges_its_clients_and_reads_the_policy_again() {
    let folder = tempfile::tempdir().unwrap();
    let (path, name) = example(&folder);
    let secret = run(&["policy", "token", "add", "t", &name, "--principal", "siem"]);
    let secret = secret.expect(0).out.trim_end().to_owned();
    let config = folder.path().join("broker.toml");
    std::fs::write(&config, format!("[policy]\nfile = \"{name}\"\n")).unwrap();
    let config = config.display().to_string();
    let mut node = Running::start(&mut command(&[
        "node",
        "--config",
        &config,
        "--no-tls",
        "--ws-listen",
        "127.0.0.1:0",
    ]));
    let line = node.says("listening-web-socket");
    let port = line.rsplit_once("port=").unwrap().1.trim().to_owned();
    node.says("started");
    let token = format!("Authorization: Bearer {secret}\r\n");
    assert_eq!(status(&port, ""), "401");
    assert_eq!(status(&port, &token), "101");
    // What makes no sense changes nothing, and has a place.
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, "[roles.siem]\nsubscribe = 1\n").unwrap();
    node.signal(Signal::HUP);
    let said = node.says("reload-failed");
    assert!(said.contains("line 2, column 13"), "{said}");
    assert_eq!(status(&port, &token), "101");
    let (without, _) = good.split_once("[tokens.\"t\"]").unwrap();
    std::fs::write(&path, without).unwrap();
    node.signal(Signal::HUP);
    node.says("policy-in-effect");
    assert_eq!(status(&port, &token), "401");
    node.signal(Signal::TERM);
    node.end().expect(0);
}
