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
    let replace = |text: &str| {
        let beside = folder.path().join("beside");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, &path).unwrap();
    };
    // Without a signal: what is wrong or empty stays out, what is whole comes in.
    for (text, expected) in [
        ("[roles.siem]\npublish = 1\n", "line 2, column 11"),
        ("", "the file says nothing"),
    ] {
        replace(text);
        let said = node.says("the policy is as before");
        assert!(said.contains(expected), "{said}");
    }
    // A schema that makes no sense, or is not there, is told of at once, and taken when it is mended.
    let schema = folder.path().join("events.txt");
    for (broken, expected) in [
        (Some("N::a(x: number)"), "line 1, column 9"),
        (None, "events.txt` is no file"),
    ] {
        let with_schema = good.replace("schema = \"\"", "schema = \"events.txt\"");
        assert_ne!(with_schema, good);
        match broken {
            Some(text) => std::fs::write(&schema, text).unwrap(),
            None => std::fs::remove_file(&schema).unwrap(),
        }
        replace(&with_schema);
        let said = node.says("the policy is as before");
        assert!(said.contains(expected), "{said}");
        std::fs::write(&schema, "N::a(x: count)").unwrap();
        node.says("policy-in-effect");
        replace(&good);
        node.says("policy-in-effect");
    }
    assert_eq!(status(&port, &token), "101");
    node.signal(Signal::TERM);
    node.end().expect(0);
}

/// Waits until a file has these texts.
fn until_it_has(path: &std::path::Path, texts: &[&str]) -> String {
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if texts.iter().all(|it| text.contains(it)) {
            return text;
        }
        assert!(std::time::Instant::now() < deadline, "{text}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_permissive_run_teaches_the_smallest_policy_that_allows_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let name = |name: &str| path(name).display().to_string();
    let policy = format!(
        "permissive = true\n[audit]\nfile = \"{}\"\n[roles.known]\n\
         deny.events.publish = [\"terminate\"]\n[principals.anonymous]\nroles = [\"known\"]\n",
        name("audit")
    );
    std::fs::write(path("policy.toml"), policy).unwrap();
    let said = run(&["policy", "check", &name("policy.toml")])
        .expect(0)
        .err;
    assert!(
        said.contains("line 1, column 1: everything is allowed that no rule denies"),
        "{said}"
    );
    let config = format!("[policy]\nfile = \"{}\"\n", name("policy.toml"));
    std::fs::write(path("broker.toml"), config).unwrap();
    let mut node = Running::start(&mut command(&[
        "node",
        "--config",
        &name("broker.toml"),
        "--no-tls",
        "--ws-listen",
        "127.0.0.1:0",
    ]));
    node.says("policy-permissive");
    let line = node.says("listening-web-socket");
    let url = format!(
        "ws://127.0.0.1:{}",
        line.rsplit_once("port=").unwrap().1.trim()
    );
    node.says("started");
    for arguments in [
        &["/n/x", "--event", "N::add", "1"][..],
        &["/n/x/y", "--event", "N::add", "2"],
        &["/n/x/y", "--event", "N::remove"],
        &["/m", "7"],
        &["/n/x", "--event", "terminate"],
    ] {
        // Whether a refusal comes before the client has gone is not asked.
        run(&[&["pub", "-u", &url][..], arguments].concat());
    }
    until_it_has(
        &path("audit"),
        &[
            r#""resource":"/n/x","event":"N::add","decision":"allow""#,
            r#""event":"N::remove""#,
            r#""resource":"/m""#,
            r#""event":"terminate","decision":"deny""#,
        ],
    );
    node.signal(Signal::TERM);
    node.end().expect(0);
    // The last line was cut, as by a full disk.
    let mut record = std::fs::OpenOptions::new()
        .append(true)
        .open(path("audit"))
        .unwrap();
    record.write_all(b"{\"time\":\"2026-").unwrap();
    let learned = run(&["policy", "learn", &name("audit")]).expect(0);
    assert!(
        learned.err.contains("no line of a record of decisions"),
        "{}",
        learned.err
    );
    let expected = r#"
[roles."anonymous"]
publish = ["/m"]

[roles."anonymous-2"]
publish = ["/n/x"]
events.publish = ["N::add"]

[roles."anonymous-3"]
publish = ["/n/x/y"]
events.publish = ["N::remove"]

[principals."anonymous"]
roles = ["anonymous", "anonymous-2", "anonymous-3"]
"#;
    assert!(learned.out.ends_with(expected), "{}", learned.out);
    std::fs::write(path("learned.toml"), &learned.out).unwrap();
    let explain = |topic: &str, event: &str, code| {
        let file = name("learned.toml");
        let ask = [
            "policy",
            "explain",
            &file,
            "--as",
            "anonymous",
            "--publish",
            topic,
        ];
        run(&[&ask[..], &["--event", event]].concat()).expect(code);
    };
    explain("/n/x/y", "N::remove", 0);
    explain("/n/x", "N::remove", 5);
    explain("/n/x", "terminate", 5);
    // Of principals that did nothing there is nothing to learn.
    let nothing = run(&["policy", "learn", &name("audit"), "--as", "siem"]).expect(1);
    assert!(
        nothing.err.contains("nothing was allowed in the record"),
        "{}",
        nothing.err
    );
}

#[test]
fn the_files_of_the_recipe_make_sense() {
    let folder = tempfile::tempdir().unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/gateway/");
    for name in ["broker.toml", "policy.toml", "events.txt"] {
        std::fs::copy(format!("{source}{name}"), folder.path().join(name)).unwrap();
    }
    for name in ["gateway.pem", "gateway.key"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let within =
        |arguments: &[&str]| Running::start(command(arguments).current_dir(folder.path())).end();
    let said = within(&["policy", "check", "policy.toml"]).expect(0).err;
    assert!(said.contains("roles 3, principals 3, tokens 0"), "{said}");
    within(&["node", "--config", "broker.toml", "--check"]).expect(0);
    let ask = [
        "policy",
        "explain",
        "policy.toml",
        "--as",
        "soar",
        "--publish",
    ];
    for (topic, event, code) in [
        ("/netcontrol/in", "NetControl::soar_drop", 0),
        ("/netcontrol/in", "NetControl::drop", 5),
        ("/netcontrol/out", "NetControl::soar_drop", 5),
    ] {
        within(&[&ask[..], &[topic, "--event", event]].concat()).expect(code);
    }
}
