//! From a URL to a WebSocket: TCP, TLS, the HTTP request.

use std::future::poll_fn;
use std::sync::Arc;

use broker_data::json::Form;
use broker_proto::http::request::{ANSWER_BYTES_MAX, UpgradeRequest, answer_size};
use broker_proto::json::client::ConnectionEnd;
use broker_proto::peer_url::{PeerUrl, Scheme};
use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tungstenite::handshake::derive_accept_key;

use super::connection::Connection;
use crate::config::deadline;
use crate::core::shared::Shared;
use crate::net::connector::{self, ConnectFailure};
use crate::net::socket::{self, Socket};

/// How long the text of a refusal may take behind its head.
const BODY_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(300);

impl From<ConnectFailure> for ConnectionEnd {
    fn from(failure: ConnectFailure) -> Self {
        match failure {
            ConnectFailure::Unreachable(cause) => {
                tracing::debug!(event = "dial-failed", cause);
                Self::Unreachable
            }
            ConnectFailure::Absent(cause) | ConnectFailure::Refused(cause) => Self::Failed(cause),
        }
    }
}

/// Opens a line; the form is the one that was agreed on.
pub(super) async fn open(
    shared: Arc<Shared>,
    url: Arc<PeerUrl>,
) -> Result<(Connection, Form), ConnectFailure> {
    let deadline = Instant::from_std(deadline(shared.options.handshake_timeout));
    let connecting = connector::connect(&url.name, url.port, shared.options.connect_timeout);
    let stream = match timeout_at(deadline, connecting).await {
        Ok(connected) => connected?,
        Err(_) => {
            let cause = format!("`{}` was not resolved and reached in time", url.name);
            return Err(ConnectFailure::Absent(cause));
        }
    };
    socket::configure(&stream, shared.liveness());
    let opening = async {
        let socket = secure(&shared, stream, &url).await?;
        upgrade(&shared, socket, &url).await
    };
    match timeout_at(deadline, opening).await {
        Ok(opened) => opened.map_err(ConnectFailure::Refused),
        Err(_) => Err(ConnectFailure::Refused(format!(
            "the server did not answer the request within {} s",
            shared.options.handshake_timeout.as_secs_f64()
        ))),
    }
}

#[cfg(feature = "tls")]
async fn secure(shared: &Shared, stream: TcpStream, url: &PeerUrl) -> Result<Socket, String> {
    if url.scheme != Scheme::SecureWebSocket {
        return Ok(Socket::Plain(stream));
    }
    // Made when it is needed: reading the authorities of the system takes a while.
    let tls = shared.web_tls.get_or_init(|| {
        crate::net::tls::Tls::for_web_servers(&shared.options).map_err(|error| error.to_string())
    });
    let tls = tls.as_ref().map_err(Clone::clone)?;
    let is_named = shared.options.web_socket_peer.trust == crate::WebSocketTrust::Certificate;
    let connecting = tls.connect_to(stream, &url.name, is_named);
    let stream = connecting.await.map_err(|error| error.cause)?;
    Ok(Socket::Tls(Box::new(stream)))
}

#[cfg(not(feature = "tls"))]
async fn secure(_: &Shared, stream: TcpStream, url: &PeerUrl) -> Result<Socket, String> {
    match url.scheme {
        Scheme::SecureWebSocket => Err("this build has no TLS".to_owned()),
        Scheme::Native | Scheme::WebSocket | Scheme::ZeroMq | Scheme::Nats => {
            Ok(Socket::Plain(stream))
        }
    }
}

async fn upgrade(
    shared: &Shared,
    mut socket: Socket,
    url: &PeerUrl,
) -> Result<(Connection, Form), String> {
    let mut random = [0; 24];
    getrandom::fill(&mut random).map_err(|error| format!("no random bytes: {error}"))?;
    let (key, seed) = random.split_at(16);
    let key = base64(key);
    let masks = seed.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let options = &shared.options.web_socket_peer;
    let request = UpgradeRequest {
        url,
        key: &key,
        application: options.application.as_deref(),
        lossless: options.lossless,
    };
    socket::write_all(&mut socket, request.text().as_bytes())
        .await
        .map_err(|error| format!("the connection broke during the request: {error}"))?;
    let mut answer = BytesMut::with_capacity(1024);
    let size = loop {
        match poll_fn(|cx| socket.poll_read(cx, &mut answer)).await {
            Ok(0) => {
                return Err(format!(
                    "the server ended the connection during the request{}",
                    likely_cause(url)
                ));
            }
            Ok(_) => {}
            Err(error) => {
                return Err(format!(
                    "the connection broke during the request{}: {error}",
                    likely_cause(url)
                ));
            }
        }
        if let Some(size) = answer_size(&answer)? {
            break size;
        }
        answer.reserve(1024);
    };
    let accept = derive_accept_key(key.as_bytes());
    match request.judge(answer.get(..size).unwrap_or_default(), &accept) {
        Ok(form) => {
            let input = answer.split_off(size);
            let line = Connection::new(socket, input, options.message_bytes_max, masks);
            Ok((line, form))
        }
        Err(_) => {
            // Its text may say what is wrong.
            let body = async {
                while answer.len() < ANSWER_BYTES_MAX {
                    answer.reserve(1024);
                    match poll_fn(|cx| socket.poll_read(cx, &mut answer)).await {
                        Ok(0) | Err(_) => return,
                        Ok(_) => {}
                    }
                }
            };
            let _ = timeout(BODY_TIMEOUT, body).await;
            Err(request
                .judge(&answer, &accept)
                .err()
                .unwrap_or_else(|| "the server's answer makes no sense".to_owned()))
        }
    }
}

/// What makes a server hang up without a word.
fn likely_cause(url: &PeerUrl) -> &'static str {
    match url.scheme {
        Scheme::SecureWebSocket => " (does it demand a certificate?)",
        Scheme::Native | Scheme::WebSocket | Scheme::ZeroMq | Scheme::Nats => {
            " (does it use TLS? try `wss://`)"
        }
    }
}

/// The text form of a key. RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = (0..3).fold(0, |sum: usize, at| {
            sum << 8 | usize::from(group.get(at).copied().unwrap_or_default())
        });
        for digit in 0..4 {
            let index = number >> (18 - 6 * digit) & 63;
            let known = digit <= group.len();
            text.push(if known {
                char::from(DIGITS[index])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_base_64() {
        assert_eq!(base64(b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(base64(b"abc"), "YWJj");
        assert_eq!(base64(b"ab"), "YWI=");
    }
}
