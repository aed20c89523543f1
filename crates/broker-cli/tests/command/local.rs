//! Commands that connect to nothing: `value`, `context`, `completion`, `man`, `version`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::process::{Ended, Peer, Running, command, run, run_with_input};
use crate::schema;

#[test]
fn value_shows_all_forms() {
    let ended = run(&["value", "[5c, 443/tcp]"]).expect(0);
    assert_eq!(
        ended.out,
        "kind   vector\n\
         text   [5c, 443/tcp]\n\
         json   {\"@data-type\":\"vector\",\"data\":[{\"@data-type\":\"count\",\"data\":5},\
         {\"@data-type\":\"port\",\"data\":\"443/tcp\"}]}\n\
         bytes  0e020200000000000000050801bb01\n"
    );
    let lines = run(&["value", "--json", "none", "[2001:db8::1]", "-5"]);
    for line in lines.expect(0).json() {
        schema::check("value", &line);
    }
    let ended = run(&["value", "[1, 10.0.0.300]"]).expect(2);
    assert!(ended.err.contains("\n    ^^^^^^^^^^"), "{ended:?}");
    let read = run_with_input(&mut command(&["value", "-"]), "{a}\n").expect(0);
    assert!(read.out.starts_with("kind   set\n"), "{read:?}");
}

fn context(config: &Path, arguments: &[&str]) -> Ended {
    let mut command = command(&[&["context"], arguments].concat());
    Running::start(command.env("BROKER_CONFIG", config)).end()
}

#[test]
fn contexts_are_kept_and_their_secrets_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("deeper").join("contexts.toml");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "hunter2\n").unwrap();
    let secret = secret.display().to_string();
    let add = [
        "add",
        "lab",
        "-u",
        "wss://lab",
        "--passphrase-file",
        &secret,
    ];
    context(&config, &add).expect(0);
    context(
        &config,
        &["add", "home", "-u", "home:1", "--no-tls", "--select"],
    )
    .expect(0);
    let mode = std::fs::metadata(&config).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let listed = context(&config, &["list"]).expect(0).out;
    assert_eq!(listed, "* home  home:1\n  lab  wss://lab\n");
    let shown = context(&config, &["show", "lab"]).expect(0).out;
    assert!(
        shown.contains("file:") && !shown.contains("hunter2"),
        "{shown}"
    );
    for line in context(&config, &["list", "--json"]).expect(0).json() {
        schema::check("context", &line);
    }
    // One that was written by hand.
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(&format!("file:{secret}"), "hunter2")).unwrap();
    let shown = context(&config, &["show", "lab"]).expect(0).out;
    assert!(
        shown.contains("(hidden)") && !shown.contains("hunter2"),
        "{shown}"
    );
    let ended = context(&config, &["select", "lub"]).expect(2);
    assert!(ended.err.contains("there is `lab`"), "{ended:?}");
    context(&config, &["rm", "home"]).expect(0);
    assert_eq!(
        context(&config, &["list"]).expect(0).out,
        "  lab  wss://lab\n"
    );
    context(&config, &["show"]).expect(2);
    std::fs::write(&config, "[context.x]\nurl = 1\n").unwrap();
    assert!(
        context(&config, &["list"])
            .expect(2)
            .err
            .contains("unknown field")
    );
}

#[test]
fn a_context_says_where_to_connect() {
    let peer = Peer::plain();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("contexts.toml");
    context(&config, &["add", "here", "-u", &peer.url, "--no-tls"]).expect(0);
    let ping = |arguments: &[&str]| {
        let mut command = command(&[&["ping", "-n", "1"], arguments].concat());
        Running::start(command.env("BROKER_CONFIG", &config)).end()
    };
    ping(&["-c", "here"]).expect(0);
    ping(&[]).expect(2);
    context(&config, &["select", "here"]).expect(0);
    ping(&[]).expect(0);
    context(&config, &["select", "--none"]).expect(0);
    ping(&[]).expect(2);
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let out = run(&["completion", shell]).expect(0).out;
        for name in ["sub", "node", "no-tls", "wait-for-subscriber"] {
            assert!(out.contains(name), "{name} for {shell}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    run(&["man", &folder.path().display().to_string()]).expect(0);
    for name in ["broker", "broker-sub", "broker-node", "broker-context-add"] {
        let page = std::fs::read_to_string(folder.path().join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".TH"), "{name}");
    }
    let nowhere = run(&["man", "/proc/nowhere"]).expect(1);
    assert!(nowhere.err.contains("/proc/nowhere"), "{nowhere:?}");
}

#[test]
fn version_says_what_is_in_it() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        run(&["version"]).expect(0).out,
        format!("broker {version}\n")
    );
    let lines = run(&["version", "--json"]).expect(0).json();
    schema::check("version", &lines[0]);
    let named = |list: &str, name: &str| lines[0][list].as_array().unwrap().contains(&name.into());
    for scheme in ["zeek", "ws", "wss", "zmq", "nats"] {
        assert!(named("transports", scheme), "{lines:?}");
    }
    assert!(named("features", "sqlite") && named("features", "tls"));
    assert!(
        lines[0]["tls_library"]
            .as_str()
            .unwrap()
            .starts_with("OpenSSL")
    );
}

#[test]
fn a_full_disk_is_a_failure_and_no_panic() {
    let full = std::fs::File::create("/dev/full").unwrap();
    let mut command = command(&["version"]);
    let ended = Running::start(command.stdout(full)).end().expect(1);
    assert!(ended.err.contains("cannot write the output"), "{ended:?}");
}
