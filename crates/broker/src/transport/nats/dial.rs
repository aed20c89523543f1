//! From a URL to a server that has taken us in.

use std::future::poll_fn;
use std::io;

use broker_proto::endpoint::{DialFault, PeerFailure};
use broker_proto::nats::connection::{Connection, Event, LINE_BYTES_MAX, ServerInfo};
use broker_proto::peer_url::PeerUrl;
use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::login;
use crate::config::{NatsPeerOptions, deadline};
use crate::core::shared::Shared;
use crate::net::connector;
use crate::net::socket::{self, Socket};

/// Bytes that are read at once before a connection is in use.
const READ_BYTES: usize = 4096;

/// Bytes of a frame that are no payload of NATS, and of a NATS message that are no frame: headers.
const HEADERS_BYTES_MAX: usize = 256 * 1024;

/// A connection that is logged in.
pub(super) struct Opened {
    pub(super) socket: Socket,
    pub(super) connection: Connection,
    pub(super) info: ServerInfo,
    /// The server, as it is shown.
    pub(super) server: String,
}

/// Why one server did not do.
enum Failure {
    /// Others may.
    Server(PeerFailure, String),
    /// None of the cluster will.
    Cluster(String),
}

/// Connects to one of the servers: of those in the URL and those that they told of, starting with
/// another one each time.
pub(super) async fn open(
    shared: &Shared,
    url: &PeerUrl,
    options: &NatsPeerOptions,
) -> Result<Opened, DialFault> {
    let mut last = (PeerFailure::Unreachable, "there is no server".to_owned());
    for (name, port) in shared.nats.servers(url) {
        let limit = Instant::from_std(deadline(shared.options.handshake_timeout));
        let opening = open_one(shared, options, &name, port);
        last = match timeout_at(limit, opening).await {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(Failure::Server(failure, text))) => (failure, text),
            Ok(Err(Failure::Cluster(text))) => {
                let failure = PeerFailure::Refused;
                return Err(DialFault { failure, text });
            }
            Err(_) => {
                let text = format!("the NATS server {name}:{port} did not answer in time");
                (PeerFailure::Refused, text)
            }
        };
        tracing::debug!(event = "dial-failed", cause = last.1);
    }
    let (failure, text) = last;
    Err(DialFault { failure, text })
}

async fn open_one(
    shared: &Shared,
    options: &NatsPeerOptions,
    name: &str,
    port: u16,
) -> Result<Opened, Failure> {
    let server = format!("{name}:{port}");
    let refused = |text: String| {
        Failure::Server(
            PeerFailure::Refused,
            format!("the NATS server {server}: {text}"),
        )
    };
    let stream = connector::connect(name, port, shared.options.connect_timeout).await;
    let stream = stream.map_err(|failure| {
        let text = format!("the NATS server {server}: {}", failure.log());
        Failure::Server(PeerFailure::Unreachable, text)
    })?;
    socket::configure(&stream, shared.liveness());
    let info = first_line(&stream)
        .await
        .map_err(|error| refused(format!("{error} (is a NATS server listening there?)")))?;
    let info = ServerInfo::parse(&info).map_err(|error| refused(error.to_string()))?;
    if let Some(flaw) = info.flaw() {
        return Err(refused(flaw));
    }
    let wants_tls = options.tls.is_some();
    if wants_tls && !info.tls_required && !info.tls_available {
        return Err(refused("it has no TLS, which is asked for".to_owned()));
    }
    let mut socket = if wants_tls || info.tls_required {
        secure(shared, options, stream, name)
            .await
            .map_err(&refused)?
    } else {
        Socket::Plain(stream)
    };
    let is_encrypted = !matches!(socket, Socket::Plain(_));
    let login = login::login(shared, options, &info, is_encrypted)
        .map_err(|cause| Failure::Cluster(format!("the NATS server {server}: {cause}")))?;
    let most = shared.options.frame_bytes_max.min(info.max_payload);
    let mut connection = Connection::new(most.saturating_add(HEADERS_BYTES_MAX));
    connection.connect(&login);
    connection.ping();
    // The first answer to the ping says that it is taken in.
    let mut answer = None;
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    while answer.is_none() {
        let output = connection.output().to_vec();
        let broke = |error: io::Error| refused(format!("it hung up: {error}"));
        socket::write_all(&mut socket, &output)
            .await
            .map_err(broke)?;
        connection.handle_written(output.len());
        buffer.clear();
        buffer.reserve(READ_BYTES);
        let read = poll_fn(|cx| socket.poll_read(cx, &mut buffer)).await;
        if read.map_err(broke)? == 0 {
            return Err(refused("it hung up during the log-in".to_owned()));
        }
        let fed = connection.handle_bytes(&buffer, |event| match event {
            Event::Pong => answer = answer.take().or(Some(Ok(()))),
            Event::Error(text) => answer = answer.take().or(Some(Err(text))),
            Event::Info(_) | Event::Message(_) => {}
        });
        fed.map_err(|error| refused(error.to_string()))?;
    }
    match answer {
        Some(Err(text)) => Err(Failure::Cluster(format!(
            "the NATS server {server} does not let `{}` in: {text}",
            options.who()
        ))),
        _ => Ok(Opened {
            socket,
            connection,
            info,
            server,
        }),
    }
}

/// The line with which a server begins, and nothing behind it: TLS may follow.
async fn first_line(stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        stream.readable().await?;
        let mut peeked = [0; READ_BYTES];
        let count = stream.peek(&mut peeked).await?;
        let peeked = peeked.get(..count).unwrap_or_default();
        let end = peeked.iter().position(|byte| *byte == b'\n');
        let wanted = end.map_or(count, |end| end + 1);
        if wanted == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut taken = vec![0; wanted];
        match stream.try_read(&mut taken) {
            Ok(count) => line.extend_from_slice(taken.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        if line.last() == Some(&b'\n') {
            return Ok(line);
        }
        if line.len() > LINE_BYTES_MAX {
            let text = "its first line has no end";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
    }
}

#[cfg(feature = "tls")]
async fn secure(
    _: &Shared,
    options: &NatsPeerOptions,
    stream: TcpStream,
    name: &str,
) -> Result<Socket, String> {
    let files = options.tls.clone().unwrap_or_default();
    let tls = crate::net::tls::Tls::for_nats_servers(&files).map_err(|error| error.to_string())?;
    let stream = tls.connect_to(stream, name, true).await;
    let stream = stream.map_err(|error| error.cause)?;
    Ok(Socket::Tls(Box::new(stream)))
}

#[cfg(not(feature = "tls"))]
async fn secure(_: &Shared, _: &NatsPeerOptions, _: TcpStream, _: &str) -> Result<Socket, String> {
    Err("it wants TLS, and this build has none".to_owned())
}
