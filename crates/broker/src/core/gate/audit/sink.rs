//! The place of the record: a file, or a service that takes datagrams at a socket of this system.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use crate::config::{AuditOptions, AuditService};
use crate::error::Error;

/// How long a service may be busy before the record counts as one that cannot be written.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(1);

/// The facility of messages about security and permissions, which few may read (RFC 5424, 6.2.1).
const FACILITY: u8 = 10;

/// Severities of that document: what was denied is notable, the rest is information.
const NOTICE: u8 = 5;
const INFORMATIONAL: u8 = 6;

/// The name that services file messages under.
const IDENTIFIER: &str = "broker";

#[derive(Debug)]
pub(super) enum Sink {
    File(File),
    /// A socket of its own each, that is connected to nothing: a service that was started again is found.
    Service(AuditService, UnixDatagram),
}

impl Sink {
    /// # Errors
    ///
    /// When a file cannot be opened, or nothing takes datagrams at a socket.
    pub(super) fn open(options: &AuditOptions) -> Result<Option<Self>, Error> {
        match (&options.file, &options.service) {
            (None, None) => Ok(None),
            (Some(path), None) => {
                let file = File::options().create(true).append(true).open(path);
                let file = file.map_err(|error| cannot("open", path, &error))?;
                Ok(Some(Self::File(file)))
            }
            (None, Some(service)) => {
                let path = service.path();
                let probe = UnixDatagram::unbound().and_then(|probe| probe.connect(path));
                probe.map_err(|error| cannot("send the record to", path, &error))?;
                let socket = UnixDatagram::unbound().and_then(|socket| {
                    socket.set_write_timeout(Some(SERVICE_TIMEOUT))?;
                    Ok(socket)
                });
                let socket = socket.map_err(|error| cannot("make a socket for", path, &error))?;
                Ok(Some(Self::Service(service.clone(), socket)))
            }
            (Some(_), Some(_)) => Err(Error::Log {
                cause: "a record goes to a file or to a service, and not to both".to_owned(),
            }),
        }
    }

    /// Writes lines, and keeps what was not written: what a full disk took of a line is continued later.
    pub(super) fn write(&self, lines: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::File(file) => write_some(file, lines),
            Self::Service(service, socket) => send_some(service, socket, lines),
        }
    }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::Log {
        cause: format!("cannot {what} `{}`: {error}", path.display()),
    }
}

fn write_some(mut file: &File, bytes: &mut Vec<u8>) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(size) => drop(bytes.drain(..size)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn send_some(service: &AuditService, socket: &UnixDatagram, lines: &mut Vec<u8>) -> io::Result<()> {
    let mut sent = 0;
    let mut outcome = Ok(());
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        match send(socket, service.path(), &datagram(service, text)) {
            Ok(()) => sent += line.len(),
            // No later attempt would be another.
            Err(error) if error.raw_os_error() == Some(too_large()) => {
                tracing::error!(event = "audit-line-too-large", bytes = text.len());
                sent += line.len();
            }
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    lines.drain(..sent);
    outcome
}

fn send(socket: &UnixDatagram, path: &Path, datagram: &[u8]) -> io::Result<()> {
    loop {
        match socket.send_to(datagram, path) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

const fn too_large() -> i32 {
    rustix::io::Errno::MSGSIZE.raw_os_error()
}

/// A line of the record as a service takes it.
fn datagram(service: &AuditService, line: &[u8]) -> Vec<u8> {
    // Quotes within names are escaped, so that this can only be the key.
    let key: &[u8] = br#""decision":"deny""#;
    let is_denied = line.windows(key.len()).any(|part| part == key);
    let severity = if is_denied { NOTICE } else { INFORMATIONAL };
    let mut datagram = Vec::with_capacity(line.len() + 128);
    match service {
        // As programs write to the socket of the system: without time and host, which it knows.
        AuditService::Syslog(_) => {
            let priority = FACILITY * 8 + severity;
            let process = std::process::id();
            datagram.extend_from_slice(format!("<{priority}>{IDENTIFIER}[{process}]: ").as_bytes());
            datagram.extend_from_slice(line);
        }
        // Fields, one on a line each; a line of the record has no line breaks.
        AuditService::Journald(_) => {
            datagram.extend_from_slice(b"MESSAGE=");
            datagram.extend_from_slice(line);
            let fields = format!(
                "\nPRIORITY={severity}\nSYSLOG_FACILITY={FACILITY}\nSYSLOG_IDENTIFIER={IDENTIFIER}\n\
                 BROKER_EVENT=policy-decision\n"
            );
            datagram.extend_from_slice(fields.as_bytes());
        }
    }
    datagram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_get_a_line_as_they_take_it() {
        let (syslog, journald) = (
            AuditService::Syslog("/s".into()),
            AuditService::Journald("/j".into()),
        );
        let allowed = br#"{"principal":"\"decision\":\"deny\"","decision":"allow"}"#;
        let denied = br#"{"principal":"p","decision":"deny"}"#;
        let text = |service, line: &[u8]| String::from_utf8(datagram(service, line)).unwrap();
        let process = std::process::id();
        let start = format!("<86>broker[{process}]: {{\"principal\"");
        assert!(text(&syslog, allowed).starts_with(&start));
        assert!(text(&syslog, denied).starts_with("<85>broker["));
        assert_eq!(
            text(&journald, denied),
            "MESSAGE={\"principal\":\"p\",\"decision\":\"deny\"}\nPRIORITY=5\nSYSLOG_FACILITY=10\n\
             SYSLOG_IDENTIFIER=broker\nBROKER_EVENT=policy-decision\n"
        );
        assert!(text(&journald, allowed).contains("\nPRIORITY=6\n"));
    }

    #[test]
    fn a_line_that_no_datagram_can_hold_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let service = UnixDatagram::bind(&path).unwrap();
        let options = AuditOptions {
            service: Some(AuditService::Syslog(path)),
            ..AuditOptions::default()
        };
        let sink = Sink::open(&options).unwrap().unwrap();
        let mut lines = vec![b'x'; 1 << 20];
        lines.extend_from_slice(b"\nlast\n");
        sink.write(&mut lines).unwrap();
        assert!(lines.is_empty());
        let mut got = [0; 64];
        let size = service.recv(&mut got).unwrap();
        assert!(got[..size].ends_with(b": last"));
    }
}
