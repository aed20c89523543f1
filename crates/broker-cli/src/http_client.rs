//! Asking a node over HTTP: one request per connection, with a deadline and a bound on the answer.

use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
#[cfg(feature = "tls")]
use openssl::ssl::{SslConnector, SslFiletype, SslMethod};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(feature = "tls")]
use tokio_openssl::SslStream;

use crate::arguments::TlsArguments;
use crate::contexts;
use crate::outcome::{Exit, Failure};

/// Time for an answer, from the connection on.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer, or of one event of a stream: a hundred thousand peers.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Port of a node's HTTP server if the address has none.
const PORT: u16 = 9911;

/// A node's HTTP server: where it is and how to ask.
#[derive(Clone)]
pub(crate) struct Server {
    host: String,
    port: u16,
    is_secure: bool,
    #[cfg(feature = "tls")]
    tls: Option<SslConnector>,
    token: Option<String>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("url", &self.to_string())
            .finish_non_exhaustive()
    }
}

/// Its address, without a path.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// What bytes go through.
trait Connection: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Connection for T {}

impl Server {
    /// Whether that is the address of an HTTP server.
    pub(crate) fn is_url(text: &str) -> bool {
        text.starts_with("http://") || text.starts_with("https://")
    }

    /// A server by its URL.
    pub(crate) fn new(
        url: &str,
        tls: &TlsArguments,
        token_file: Option<&Path>,
    ) -> Result<Self, Failure> {
        let wrong = || {
            Failure::usage(format!("`{url}` is not the address of an HTTP server"))
                .hint("addresses are http://HOST:PORT or https://HOST:PORT")
        };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(wrong)?.to_owned();
        let authority = uri.authority().map_or("", |it| it.as_str());
        if authority.len() > host.len() && uri.port_u16().is_none() {
            return Err(wrong());
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(Failure::usage(format!(
                "`{url}` has a path: the paths of a node are known"
            )));
        }
        let token = match token_file {
            Some(path) => Some(contexts::first_line("the token", path)?),
            None => std::env::var("BROKER_HTTP_TOKEN").ok(),
        };
        let token = token.filter(|token| !token.is_empty());
        if token
            .as_ref()
            .is_some_and(|it| !it.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(Failure::usage(
                "the token has characters that no request can carry",
            ));
        }
        let is_secure = uri.scheme_str() == Some("https");
        #[cfg(not(feature = "tls"))]
        if is_secure {
            let _ = tls;
            return Err(Failure::usage(format!("`{url}`: this build has no TLS")));
        }
        Ok(Self {
            port: uri.port_u16().unwrap_or(PORT),
            host,
            is_secure,
            #[cfg(feature = "tls")]
            tls: if is_secure {
                Some(connector(tls)?)
            } else {
                None
            },
            token,
        })
    }

    /// Asks for a path; the body of the answer.
    pub(crate) async fn get(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let answer = async {
            let response = self.send(path).await?;
            let status = response.status().as_u16();
            let mut stream = response.into_body();
            let mut body = Vec::new();
            while let Some(frame) = stream.frame().await {
                let frame = frame.map_err(|error| self.lost(&error))?;
                body.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
                if body.len() > ANSWER_BYTES_MAX {
                    let what =
                        format!("{self}{path} answers with more than {ANSWER_BYTES_MAX} bytes");
                    return Err(Failure::failed(what));
                }
            }
            self.check(path, status)?;
            Ok(body)
        };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await;
        answer.map_err(|_| self.silent())?
    }

    /// Begins to read a stream of events.
    pub(crate) async fn listen(&self, path: &str) -> Result<Events, Failure> {
        let response = tokio::time::timeout(ANSWER_TIMEOUT, self.send(path)).await;
        let response = response.map_err(|_| self.silent())??;
        self.check(path, response.status().as_u16())?;
        Ok(Events {
            server: self.clone(),
            body: response.into_body(),
            buffer: Vec::new(),
        })
    }

    async fn send(&self, path: &str) -> Result<hyper::Response<Incoming>, Failure> {
        let connection = TokioIo::new(self.connect().await?);
        let (mut sender, driver) = http1::handshake(connection)
            .await
            .map_err(|error| self.lost(&error))?;
        tokio::spawn(driver);
        let mut request = Request::get(path).header(HOST, format!("{}:{}", self.host, self.port));
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Empty::<Bytes>::new());
        let request = request.map_err(|error| Failure::failed(error.to_string()))?;
        sender
            .send_request(request)
            .await
            .map_err(|error| self.lost(&error))
    }

    async fn connect(&self) -> Result<Pin<Box<dyn Connection>>, Failure> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, self.port))
            .await
            .map_err(|error| {
                let what = format!("cannot connect to {self}: {error}");
                Failure::new(Exit::Unreachable, what)
                    .hint("does the node have [http] in its file, or BROKER_METRICS_PORT?")
            })?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return self.encrypt(tls, host, stream).await;
        }
        Ok(Box::pin(stream))
    }

    #[cfg(feature = "tls")]
    async fn encrypt(
        &self,
        tls: &SslConnector,
        host: &str,
        stream: TcpStream,
    ) -> Result<Pin<Box<dyn Connection>>, Failure> {
        let refused = |error: &dyn fmt::Display| {
            Failure::new(Exit::Refused, format!("TLS with {self} failed: {error}"))
                .hint("give --cafile with the authority of its certificate, or use http://")
        };
        let ssl = tls.configure().and_then(|it| it.into_ssl(host));
        let ssl = ssl.map_err(|error| refused(&error))?;
        let stream = SslStream::new(ssl, stream).map_err(|error| refused(&error))?;
        let mut stream = Box::pin(stream);
        stream
            .as_mut()
            .connect()
            .await
            .map_err(|error| refused(&error))?;
        Ok(stream)
    }

    /// What statuses other than those of health mean.
    fn check(&self, path: &str, status: u16) -> Result<(), Failure> {
        let (exit, what, hint) = match status {
            200 => return Ok(()),
            503 if path == "/readyz" => return Ok(()),
            401 => (
                Exit::Refused,
                "asks for a token",
                "give --token-file FILE, or set BROKER_HTTP_TOKEN",
            ),
            421 => (
                Exit::Refused,
                "answers to names of its own machine only",
                "ask it as localhost, through a tunnel if need be",
            ),
            404 => (
                Exit::Failed,
                "has no status: is it a Broker node?",
                "`broker doctor` tells what listens there",
            ),
            _ => {
                let what = format!("{self}{path} answers with status {status}");
                return Err(Failure::failed(what));
            }
        };
        Err(Failure::new(exit, format!("{self} {what}")).hint(hint))
    }

    fn lost(&self, error: &hyper::Error) -> Failure {
        let failure = Failure::new(Exit::Unreachable, format!("lost {self}: {error}"));
        // An answer that is none, or a connection that ends instead of one.
        if error.is_parse() || error.is_canceled() || error.is_incomplete_message() {
            failure.hint("what listens there may not speak HTTP: try zeek:// or https://")
        } else {
            failure
        }
    }

    fn silent(&self) -> Failure {
        let what = format!(
            "{self} did not answer within {} s",
            ANSWER_TIMEOUT.as_secs()
        );
        Failure::new(Exit::Unreachable, what)
    }
}

#[cfg(feature = "tls")]
fn connector(tls: &TlsArguments) -> Result<SslConnector, Failure> {
    let build = || {
        let mut builder = SslConnector::builder(SslMethod::tls_client())?;
        if let Some(path) = &tls.cafile {
            builder.set_ca_file(path)?;
        }
        if let Some(path) = &tls.cert {
            builder.set_certificate_chain_file(path)?;
            builder.set_private_key_file(tls.key.as_ref().unwrap_or(path), SslFiletype::PEM)?;
        }
        Ok::<_, openssl::error::ErrorStack>(builder.build())
    };
    build().map_err(|error| Failure::usage(format!("cannot use the certificates: {error}")))
}

/// A stream of server-sent events.
#[derive(Debug)]
pub(crate) struct Events {
    server: Server,
    body: Incoming,
    /// Bound: `ANSWER_BYTES_MAX`.
    buffer: Vec<u8>,
}

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ServerEvent {
    pub(crate) kind: String,
    pub(crate) data: String,
}

impl Events {
    /// The next event; comments and what has no data are passed over.
    pub(crate) async fn next(&mut self) -> Result<ServerEvent, Failure> {
        loop {
            while let Some(block) = take_block(&mut self.buffer) {
                if let Some(event) = parse_block(&block) {
                    return Ok(event);
                }
            }
            if self.buffer.len() > ANSWER_BYTES_MAX {
                return Err(Failure::failed(format!(
                    "{} sends events without end",
                    self.server
                )));
            }
            let frame = self.body.frame().await;
            let frame = frame.ok_or_else(|| {
                let what = format!("{} ended the stream", self.server);
                Failure::new(Exit::Unreachable, what)
            })?;
            let frame = frame.map_err(|error| self.server.lost(&error))?;
            let data = frame.data_ref().map_or(&[][..], |data| data.as_ref());
            self.buffer.extend_from_slice(data);
        }
    }
}

/// Takes what comes before an empty line.
fn take_block(buffer: &mut Vec<u8>) -> Option<String> {
    let end = buffer.windows(2).position(|two| two == b"\n\n")?;
    let block: Vec<u8> = buffer.drain(..end + 2).collect();
    Some(String::from_utf8_lossy(&block).into_owned())
}

fn parse_block(block: &str) -> Option<ServerEvent> {
    let field = |name: &str| {
        let mut lines = block.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    Some(ServerEvent {
        kind: field("event")?.to_owned(),
        data: field("data")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Result<Server, Failure> {
        Server::new(url, &TlsArguments::default(), None)
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (url, expected) in [
            ("http://localhost", "http://localhost:9911"),
            ("http://localhost/", "http://localhost:9911"),
            ("https://[::1]:1", "https://[::1]:1"),
        ] {
            assert_eq!(
                server(url).map(|it| it.to_string()).ok(),
                Some(expected.to_owned())
            );
        }
        for url in [
            "http://",
            "http://host/metrics",
            "http://host:x",
            "http://ho st",
        ] {
            assert!(server(url).is_err(), "{url}");
        }
    }

    #[test]
    fn events_are_blocks_of_lines() {
        let mut buffer =
            b"retry: 1\n\n: hello\n\nid: 3\nevent: status\ndata: {}\n\nevent: st".to_vec();
        let blocks: Vec<_> = std::iter::from_fn(|| take_block(&mut buffer)).collect();
        let events: Vec<_> = blocks.iter().filter_map(|it| parse_block(it)).collect();
        let expected = ServerEvent {
            kind: "status".to_owned(),
            data: "{}".to_owned(),
        };
        assert_eq!(events, [expected]);
        assert_eq!(buffer, b"event: st");
    }
}
