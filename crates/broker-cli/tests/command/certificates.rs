//! `broker tls init`: what it makes is what endpoints take, and nothing is written over.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use broker::{Endpoint, TlsOptions};

use crate::process::{Ended, run};
use crate::schema;

fn init(folder: &Path, more: &[&str]) -> Ended {
    let folder = folder.to_str().unwrap();
    let mut arguments = vec!["tls", "init", folder];
    arguments.extend(more);
    run(&arguments)
}

/// An endpoint with the certificate of a node, and where it listens.
fn node(folder: &Path, name: &str) -> (Endpoint, String) {
    let tls = TlsOptions {
        certificate: Some(folder.join(format!("{name}.pem"))),
        key: Some(folder.join(format!("{name}.key"))),
        ca_file: Some(folder.join("authority.pem")),
        ..TlsOptions::default()
    };
    let endpoint = Endpoint::builder().tls(tls).build().unwrap();
    let port = endpoint.listen("127.0.0.1", 0).wait().unwrap();
    (endpoint, format!("127.0.0.1:{port}"))
}

fn ping(url: &str, folder: &Path, name: &str, more: &[&str]) -> Ended {
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let certificate = file(&format!("{name}.pem"));
    let (key, authority) = (file(&format!("{name}.key")), file("authority.pem"));
    let mut arguments = vec!["ping", url, "-n", "1", "--cert", &certificate];
    arguments.extend(["--key", &key, "--cafile", &authority]);
    arguments.extend(more);
    run(&arguments)
}

#[test]
fn nodes_of_one_authority_take_each_other_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    let made = init(&ours, &["--ca", "--name", "manager", "--name", "worker-1"]).expect(0);
    assert_eq!(made.out.lines().count(), 3, "{made:?}");
    init(&theirs, &["--ca", "--name", "worker-1"]).expect(0);
    let (_endpoint, url) = node(&ours, "manager");
    let seen = ping(&url, &ours, "worker-1", &[]).expect(0);
    for part in ["CN=manager", "CN=Broker authority", " days left", "manager"] {
        assert!(seen.out.contains(part), "{part}: {}", seen.out);
    }
    ping(&url, &theirs, "worker-1", &[]).expect(5);
    for entry in fs::read_dir(&ours).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        let is_key = entry.path().extension().unwrap() == "key";
        assert!(!is_key || mode == 0o600, "{entry:?} {mode:o}");
    }
}

#[test]
fn a_node_comes_later_with_addresses_and_a_passphrase() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let lines = init(folder, &["--ca", "--name", "manager", "--json"]);
    for line in lines.expect(0).json() {
        schema::check("tls", &line);
    }
    let passphrase = folder.join("passphrase");
    fs::write(&passphrase, "open sesame\n").unwrap();
    let passphrase = passphrase.to_str().unwrap();
    let hosts = ["--host", "10.0.0.7", "--host", "worker-2.lab"];
    let mut arguments = vec!["--name", "worker-2", "--passphrase-file", passphrase];
    arguments.extend(hosts);
    init(folder, &arguments).expect(0);
    let key = fs::read_to_string(folder.join("worker-2.key")).unwrap();
    assert!(key.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    let certificate = fs::read(folder.join("worker-2.pem")).unwrap();
    let certificate = openssl::x509::X509::from_pem(&certificate).unwrap();
    let names = certificate.subject_alt_names().unwrap();
    let dns: Vec<_> = names.iter().filter_map(|name| name.dnsname()).collect();
    let addresses: Vec<_> = names.iter().filter_map(|name| name.ipaddress()).collect();
    assert_eq!(dns, ["worker-2", "worker-2.lab"]);
    assert_eq!(addresses, [[10, 0, 0, 7]]);
    let (_endpoint, url) = node(folder, "manager");
    ping(&url, folder, "worker-2", &["--passphrase-file", passphrase]).expect(0);
}

#[test]
fn files_that_are_there_stay() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    init(folder, &["--ca", "--name", "manager"]).expect(0);
    let content = |name: &str| fs::read(folder.join(name)).unwrap();
    let before = [
        "authority.pem",
        "authority.key",
        "manager.pem",
        "manager.key",
    ]
    .map(content);
    let again = init(folder, &["--ca", "--name", "worker-1"]).expect(1);
    assert!(again.err.contains("leave --ca out"), "{}", again.err);
    // Not one of several, either.
    let again = init(folder, &["--name", "aardvark", "--name", "manager"]).expect(1);
    assert!(
        again.err.contains("manager.pem is there already"),
        "{}",
        again.err
    );
    assert!(!folder.join("aardvark.pem").exists() && !folder.join("worker-1.pem").exists());
    let after = [
        "authority.pem",
        "authority.key",
        "manager.pem",
        "manager.key",
    ]
    .map(content);
    assert_eq!(before, after);
}

#[test]
fn what_cannot_be_done_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let none = init(folder, &["--name", "worker-1"]).expect(1);
    assert!(
        none.err.contains("authority.pem") && none.err.contains("--ca"),
        "{}",
        none.err
    );
    for name in ["../up", "", "authority", "a b", ".hidden", "-x"] {
        let argument = format!("--name={name}");
        let refused = init(folder, &["--ca", &argument]).expect(2);
        assert!(
            refused.err.contains("cannot name a node"),
            "{}",
            refused.err
        );
    }
    init(folder, &[]).expect(2);
    init(folder, &["--ca", "--days", "0"]).expect(2);
    let empty = tempfile::NamedTempFile::new().unwrap();
    let empty = empty.path().to_str().unwrap();
    let arguments = ["--ca", "--name", "worker-1", "--passphrase-file", empty];
    let refused = init(folder, &arguments).expect(2);
    assert!(
        refused.err.contains("no passphrase in its first line"),
        "{}",
        refused.err
    );
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
    // A key of another authority is noticed before anything is signed with it.
    init(folder, &["--ca"]).expect(0);
    fs::remove_file(folder.join("authority.pem")).unwrap();
    let key = fs::read(folder.join("authority.key")).unwrap();
    fs::remove_file(folder.join("authority.key")).unwrap();
    init(folder, &["--ca"]).expect(0);
    fs::write(folder.join("authority.key"), key).unwrap();
    let foreign = init(folder, &["--name", "worker-1"]).expect(1);
    assert!(foreign.err.contains("is not the key of"), "{}", foreign.err);
}
