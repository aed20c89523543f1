//! `broker tls`: a small authority, and certificates of nodes that it signs.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use broker::data::json::put_string;
use clap::{Args, Subcommand};
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::symm::Cipher;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name, X509NameBuilder};

use crate::console::Console;
use crate::contexts;
use crate::outcome::{EXIT_CODES, Exit, Failure, Outcome};

/// The files of the authority; nodes are named after themselves.
const AUTHORITY: &str = "authority";

/// Bytes of a common name. RFC 5280 calls it `ub-common-name`.
const NAME_MAX: usize = 64;

/// Bits of serial numbers, which are chosen at random: 20 bytes at most. RFC 5280, 4.1.2.2.
const SERIAL_BITS: i32 = 159;

const EXAMPLES: &str = "Examples:
  broker tls init certs --ca --name manager --name worker-1
  broker tls init certs --name worker-2 --host worker-2.lab --host 10.0.0.7

Every node gets NODE.pem, NODE.key and authority.pem; authority.key stays where
certificates are made. Files that are there are never written over.";

/// Make certificates for a cluster
#[derive(Debug, Args)]
pub(crate) struct TlsCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Init(Init),
}

/// Make an authority, and certificates of nodes that it signs
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
struct Init {
    /// Folder for the files; made if it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Make the authority: authority.pem and authority.key
    #[arg(long)]
    ca: bool,
    /// Node to make a certificate for (repeatable)
    #[arg(long = "name", value_name = "NODE", required_unless_present = "ca")]
    names: Vec<String>,
    /// Further name or address in the certificates (repeatable)
    #[arg(long = "host", value_name = "HOST", requires = "names")]
    hosts: Vec<String>,
    /// How long certificates of nodes are good for
    #[arg(long, value_name = "DAYS", default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// How long the authority is good for
    #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    ca_days: u32,
    /// File with a passphrase for the keys of the nodes
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// A certificate and its key.
struct Pair {
    certificate: X509,
    key: PKey<Private>,
}

impl TlsCommand {
    pub(crate) fn run(self, console: &mut Console) -> Outcome {
        match self.action {
            Action::Init(init) => init.run(console),
        }
    }
}

impl Init {
    fn run(self, console: &mut Console) -> Outcome {
        let mut names = self.names.clone();
        names.sort();
        names.dedup();
        for name in &names {
            check_name(name)?;
        }
        let passphrase = self.passphrase_file.as_deref().map(read_passphrase);
        let passphrase = passphrase.transpose()?;
        fs::create_dir_all(&self.directory)
            .map_err(|error| cannot("make", &self.directory, error))?;
        // All of them before the first is written: half of a cluster is worse than none.
        let new = names
            .iter()
            .map(String::as_str)
            .chain(self.ca.then_some(AUTHORITY));
        for path in new.flat_map(|name| [self.path(name, "pem"), self.path(name, "key")]) {
            if fs::symlink_metadata(&path).is_ok() {
                let what = format!(
                    "{} is there already, and is not written over",
                    path.display()
                );
                let hint = if path.file_stem().is_some_and(|stem| stem == AUTHORITY) {
                    "leave --ca out to sign with the authority that is there"
                } else {
                    "move it away first, or take another folder or name"
                };
                return Err(Failure::failed(what).hint(hint));
            }
        }
        let authority = if self.ca {
            let pair = make_authority(self.ca_days).map_err(openssl_failed)?;
            self.keep(AUTHORITY, &pair, None, console)?;
            pair
        } else {
            self.read_authority()?
        };
        for name in &names {
            let pair = self.make_node(name, &authority).map_err(openssl_failed)?;
            self.keep(name, &pair, passphrase.as_deref(), console)?;
        }
        if !console.is_json() {
            console.say("what goes where on the side of Zeek: docs/certificates.md, or");
            console.say("  redef Broker::ssl_cafile = \"authority.pem\";");
            console.say("  redef Broker::ssl_certificate = \"NODE.pem\";");
            console.say("  redef Broker::ssl_keyfile = \"NODE.key\";");
        }
        Ok(Exit::Done)
    }

    fn path(&self, name: &str, kind: &str) -> PathBuf {
        self.directory.join(format!("{name}.{kind}"))
    }

    fn read_authority(&self) -> Result<Pair, Failure> {
        let read = |kind| {
            let path = self.path(AUTHORITY, kind);
            let text = fs::read(&path).map_err(|error| {
                cannot("read", &path, error).hint("--ca makes an authority in that folder")
            })?;
            Ok::<_, Failure>((path, text))
        };
        let (path, text) = read("pem")?;
        let certificate = X509::from_pem(&text).map_err(|error| cannot("use", &path, error))?;
        let (path, text) = read("key")?;
        let key = PKey::private_key_from_pem(&text).map_err(|error| cannot("use", &path, error))?;
        let is_pair = certificate
            .public_key()
            .is_ok_and(|public| public.public_eq(&key));
        if !is_pair {
            let what = format!(
                "{} is not the key of {}",
                path.display(),
                self.path(AUTHORITY, "pem").display()
            );
            return Err(Failure::failed(what));
        }
        let now = Asn1Time::days_from_now(0).map_err(openssl_failed)?;
        if certificate.not_after() < now {
            let what = format!(
                "the authority in {} was good until {}",
                self.directory.display(),
                certificate.not_after()
            );
            return Err(Failure::failed(what).hint("make a new one in another folder with --ca"));
        }
        Ok(Pair { certificate, key })
    }

    fn make_node(&self, name: &str, authority: &Pair) -> Result<Pair, ErrorStack> {
        let key = make_key()?;
        let common_name = common_name(name)?;
        let mut builder = begin(&common_name, &key, self.days)?;
        builder.set_issuer_name(authority.certificate.subject_name())?;
        builder.append_extension(BasicConstraints::new().critical().build()?)?;
        let usage = KeyUsage::new().critical().digital_signature().build()?;
        builder.append_extension(usage)?;
        // Nodes connect, and are connected to.
        let usage = ExtendedKeyUsage::new()
            .server_auth()
            .client_auth()
            .build()?;
        builder.append_extension(usage)?;
        let mut names = SubjectAlternativeName::new();
        for host in std::iter::once(name).chain(self.hosts.iter().map(String::as_str)) {
            if host.parse::<IpAddr>().is_ok() {
                names.ip(host);
            } else {
                names.dns(host);
            }
        }
        let context = builder.x509v3_context(Some(&authority.certificate), None);
        let extensions = [
            names.build(&context)?,
            SubjectKeyIdentifier::new().build(&context)?,
            AuthorityKeyIdentifier::new().keyid(true).build(&context)?,
        ];
        for extension in extensions {
            builder.append_extension(extension)?;
        }
        builder.sign(&authority.key, MessageDigest::sha256())?;
        let certificate = builder.build();
        Ok(Pair { certificate, key })
    }

    /// Writes both files and tells of them.
    fn keep(
        &self,
        name: &str,
        pair: &Pair,
        passphrase: Option<&str>,
        console: &mut Console,
    ) -> Result<(), Failure> {
        let key = match passphrase {
            None => pair.key.private_key_to_pem_pkcs8(),
            Some(passphrase) => pair
                .key
                .private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), passphrase.as_bytes()),
        };
        let key = key.map_err(openssl_failed)?;
        let certificate = pair.certificate.to_pem().map_err(openssl_failed)?;
        let (key_path, path) = (self.path(name, "key"), self.path(name, "pem"));
        write_new(&key_path, &key, 0o600)?;
        write_new(&path, &certificate, 0o644)?;
        let until = pair.certificate.not_after();
        if !console.is_json() {
            let (path, key_path) = (path.display(), key_path.display());
            return console.line(format_args!("{path}  {key_path}  good until {until}"));
        }
        let mut line = String::from("{\"type\":\"certificate\",\"name\":");
        put_string(&mut line, name);
        line.push_str(",\"certificate\":");
        put_string(&mut line, &path.to_string_lossy());
        line.push_str(",\"key\":");
        put_string(&mut line, &key_path.to_string_lossy());
        line.push_str(",\"not_after\":");
        put_string(&mut line, &until.to_string());
        line.push('}');
        console.line(line)
    }
}

/// A name becomes that of files, and of a host in the certificate.
fn check_name(name: &str) -> Result<(), Failure> {
    let is_sign = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '-' | '_' | '.');
    let reason = if name == AUTHORITY {
        "that is what the files of the authority are called"
    } else if name.len() > NAME_MAX {
        "names in certificates have 64 characters at most"
    } else if name.is_empty() || name.starts_with(['.', '-']) || !name.chars().all(is_sign) {
        "a name has letters, digits, dots, hyphens and underscores, and begins with none of the first two"
    } else {
        return Ok(());
    };
    Err(Failure::usage(format!(
        "`{name}` cannot name a node: {reason}"
    )))
}

fn read_passphrase(path: &Path) -> Result<String, Failure> {
    let passphrase = contexts::first_line("the passphrase", path)?;
    if passphrase.is_empty() {
        let what = format!("{} has no passphrase in its first line", path.display());
        return Err(Failure::usage(what));
    }
    Ok(passphrase)
}

fn make_key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

/// What certificates of nodes and of the authority have in common.
fn begin(name: &X509Name, key: &PKey<Private>, days: u32) -> Result<X509Builder, ErrorStack> {
    let mut serial = BigNum::new()?;
    serial.rand(SERIAL_BITS, MsbOption::MAYBE_ZERO, false)?;
    let serial = serial.to_asn1_integer()?;
    let (begin, end) = (Asn1Time::days_from_now(0)?, Asn1Time::days_from_now(days)?);
    let mut builder = X509::builder()?;
    // Version 3, which has extensions.
    builder.set_version(2)?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(name)?;
    builder.set_pubkey(key)?;
    builder.set_not_before(&begin)?;
    builder.set_not_after(&end)?;
    Ok(builder)
}

fn common_name(name: &str) -> Result<X509Name, ErrorStack> {
    let mut builder = X509NameBuilder::new()?;
    builder.append_entry_by_nid(Nid::COMMONNAME, name)?;
    Ok(builder.build())
}

fn make_authority(days: u32) -> Result<Pair, ErrorStack> {
    let key = make_key()?;
    let name = common_name("Broker authority")?;
    let mut builder = begin(&name, &key, days)?;
    builder.set_issuer_name(&name)?;
    // It signs nodes, and no further authorities.
    builder.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build()?)?;
    let usage = KeyUsage::new()
        .critical()
        .key_cert_sign()
        .crl_sign()
        .build()?;
    builder.append_extension(usage)?;
    let context = builder.x509v3_context(None, None);
    let identifier = SubjectKeyIdentifier::new().build(&context)?;
    builder.append_extension(identifier)?;
    builder.sign(&key, MessageDigest::sha256())?;
    let certificate = builder.build();
    Ok(Pair { certificate, key })
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(|error| cannot("write", path, error))
}

fn cannot(what: &str, path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("cannot {what} {}: {error}", path.display()))
}

fn openssl_failed(error: ErrorStack) -> Failure {
    Failure::failed(format!("cannot make the certificates: {error}"))
}
