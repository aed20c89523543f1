//! Connections that look at what is at an address: each says as little as it can.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use broker::EndpointId;
use broker::proto::http::request::UpgradeRequest;
use broker::proto::message::{Handshake, VERSION};
use broker::proto::peer_url::{PeerUrl, Scheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant as Deadline, timeout, timeout_at};

use super::speech::{self, Answer, Speaker, ZMTP_GREETING, ZmtpGreeting};

/// How long a protocol in which the server speaks first may take to do so.
const GREETING_PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait for more once something came that may be only a part.
const MORE_PATIENCE: Duration = Duration::from_millis(300);

/// Bytes of a stranger that are looked at.
const HEARD_MAX: usize = 8 * 1024;

/// Any key will do: the answer is not checked. It is the example of RFC 6455.
const WEB_SOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// How an attempt to connect went.
#[derive(Debug)]
pub(super) enum Reach {
    /// Something answers.
    Answers(TcpStream, Duration),
    /// The machine says that nothing listens.
    Closed,
    /// Nothing is said.
    Filtered,
    /// The system, or a router on the way, knows no way there.
    NoRoute(io::Error),
    /// Anything else.
    Failed(io::Error),
}

/// Connects.
pub(super) async fn reach(address: SocketAddr, limit: Duration) -> Reach {
    let started = Instant::now();
    match timeout(limit, TcpStream::connect(address)).await {
        Err(_) => Reach::Filtered,
        Ok(Ok(stream)) => Reach::Answers(stream, started.elapsed()),
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Reach::Closed,
            // The system itself gave up waiting.
            io::ErrorKind::TimedOut => Reach::Filtered,
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable => Reach::NoRoute(error),
            _ => Reach::Failed(error),
        },
    }
}

/// What is at an address.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What speaks there; with TLS, what speaks inside, if that is known.
    pub(super) speaker: Option<Speaker>,
    /// It closes connections without a word.
    pub(super) hangs_up: bool,
    pub(super) zero_mq: Option<ZmtpGreeting>,
    /// What it shows of its TLS, if it has that.
    pub(super) tls: Option<Tls>,
}

/// The look at a TLS server.
#[cfg(feature = "tls")]
pub(super) type Tls = broker::TlsProbe;

/// There is none without TLS.
#[cfg(not(feature = "tls"))]
#[derive(Debug)]
pub(super) enum Tls {}

/// How to look.
#[derive(Debug, Clone)]
pub(super) struct Manner<'a> {
    pub(super) url: &'a PeerUrl,
    #[cfg(feature = "tls")]
    /// Certificate, key and authorities, for native peers and servers alike.
    pub(super) tls: broker::TlsOptions,
    pub(super) limit: Duration,
}

impl Manner<'_> {
    /// The name that a certificate must have: none between native peers. Spec: wire 10.
    #[cfg(feature = "tls")]
    pub(super) fn name(&self) -> Option<&str> {
        (self.url.scheme == Scheme::SecureWebSocket).then_some(self.url.name.as_str())
    }

    fn request(&self) -> Vec<u8> {
        let path = match self.url.scheme {
            Scheme::Native | Scheme::ZeroMq | Scheme::Nats => {
                broker::proto::http::upgrade::PATH.to_owned()
            }
            Scheme::WebSocket | Scheme::SecureWebSocket => self.url.path.clone(),
        };
        let url = PeerUrl {
            scheme: Scheme::WebSocket,
            path,
            ..self.url.clone()
        };
        let request = UpgradeRequest {
            url: &url,
            key: WEB_SOCKET_KEY,
            application: Some("broker-cli"),
            lossless: false,
        };
        request.text().into_bytes()
    }
}

/// Finds out what is at an address: listens, then tries TLS, then HTTP.
pub(super) async fn look(address: SocketAddr, manner: &Manner<'_>) -> Found {
    let mut found = Found::default();
    let Reach::Answers(mut stream, _) = reach(address, manner.limit).await else {
        found.hangs_up = true;
        return found;
    };
    let patience = GREETING_PATIENCE.min(manner.limit);
    let (heard, is_over) = hear(&mut stream, patience, speech::is_enough).await;
    found.speaker = speech::judge(&heard);
    if found.speaker == Some(Speaker::ZeroMq) {
        found.zero_mq = greet_zero_mq(&mut stream, heard).await;
    }
    if found.speaker.is_some() {
        return found;
    }
    if is_over {
        found.hangs_up = true;
        return found;
    }
    drop(stream);
    look_silent(address, manner, &mut found).await;
    found
}

/// Of those that wait to be spoken to.
async fn look_silent(address: SocketAddr, manner: &Manner<'_>, found: &mut Found) {
    #[cfg(feature = "tls")]
    {
        let probing = broker::probe_tls(address, manner.name(), &manner.tls);
        if let Ok(Ok(mut probe)) = timeout(manner.limit, probing).await {
            let is_tls = probe.session.is_some()
                || !probe.chain.is_empty()
                || matches!(
                    probe.refusal,
                    Some(
                        broker::TlsRefusal::Other(_)
                            | broker::TlsRefusal::CertificateDemanded
                            | broker::TlsRefusal::CertificateRefused(_)
                    )
                );
            if is_tls {
                found.speaker = listen_inside(&mut probe, manner).await;
                found.tls = Some(probe);
                return;
            }
            found.speaker = speech::judge(&probe.instead);
        }
        if matches!(found.speaker, Some(Speaker::Broker)) {
            return;
        }
    }
    let Reach::Answers(mut stream, _) = reach(address, manner.limit).await else {
        return;
    };
    if stream.write_all(&manner.request()).await.is_ok() {
        let (heard, is_over) = hear(&mut stream, manner.limit, speech::is_enough).await;
        match speech::judge(&heard) {
            Some(speaker) => found.speaker = Some(speaker),
            None => found.hangs_up = is_over && found.speaker.is_none(),
        }
    }
}

/// What speaks under TLS: a native peer speaks first, a web server when it is asked.
#[cfg(feature = "tls")]
async fn listen_inside(probe: &mut broker::TlsProbe, manner: &Manner<'_>) -> Option<Speaker> {
    probe.session.as_ref()?;
    let mut heard = Vec::new();
    let patience = GREETING_PATIENCE.min(manner.limit);
    for (request, patience) in [(None, patience), (Some(manner.request()), manner.limit)] {
        if let Some(request) = request
            && probe.write(&request).await.is_err()
        {
            return None;
        }
        let deadline = Deadline::now() + patience;
        while !speech::is_enough(&heard) && heard.len() < HEARD_MAX {
            match timeout_at(deadline, probe.read(&mut heard)).await {
                Ok(Ok(1..)) => {}
                Ok(_) => return speech::judge(&heard),
                Err(_) => break,
            }
        }
        if !heard.is_empty() {
            break;
        }
    }
    speech::judge(&heard)
}

/// Reads until there is enough, nothing more comes, or it is over, which is the second value.
async fn hear(
    stream: &mut TcpStream,
    patience: Duration,
    is_enough: impl Fn(&[u8]) -> bool,
) -> (Vec<u8>, bool) {
    let mut heard = Vec::new();
    let mut deadline = Deadline::now() + patience;
    while !is_enough(&heard) && heard.len() < HEARD_MAX {
        match timeout_at(deadline, stream.read_buf(&mut heard)).await {
            Err(_) => return (heard, false),
            Ok(Err(_) | Ok(0)) => return (heard, true),
            Ok(Ok(_)) => deadline = Deadline::now() + MORE_PATIENCE.max(patience),
        }
    }
    (heard, false)
}

/// Greets a ZeroMQ socket as a subscriber does, without security; an encrypted one says what it
/// wants all the same. Spec: zeromq 2.
async fn greet_zero_mq(stream: &mut TcpStream, mut heard: Vec<u8>) -> Option<ZmtpGreeting> {
    let mut greeting = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x00NULL".to_vec();
    greeting.resize(ZMTP_GREETING, 0);
    let ready = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB";
    greeting.extend_from_slice(ready);
    stream.write_all(&greeting).await.ok()?;
    let has_socket =
        |bytes: &[u8]| ZmtpGreeting::parse(bytes).is_some_and(|greeting| greeting.socket.is_some());
    let deadline = Deadline::now() + GREETING_PATIENCE;
    while !has_socket(&heard) && heard.len() < HEARD_MAX {
        match timeout_at(deadline, stream.read_buf(&mut heard)).await {
            Ok(Ok(1..)) => {}
            _ => break,
        }
    }
    ZmtpGreeting::parse(&heard)
}

/// Whether a ZeroMQ socket is at an address.
pub(super) async fn is_zero_mq(address: SocketAddr) -> bool {
    let Reach::Answers(mut stream, _) = reach(address, GREETING_PATIENCE).await else {
        return false;
    };
    let (heard, _) = hear(&mut stream, GREETING_PATIENCE, speech::is_enough).await;
    speech::judge(&heard) == Some(Speaker::ZeroMq)
}

/// Whether a WebSocket server is at an address.
pub(super) async fn is_web_socket(address: SocketAddr, manner: &Manner<'_>) -> bool {
    let Reach::Answers(mut stream, _) = reach(address, GREETING_PATIENCE).await else {
        return false;
    };
    if stream.write_all(&manner.request()).await.is_err() {
        return false;
    }
    let (heard, _) = hear(&mut stream, GREETING_PATIENCE, speech::is_enough).await;
    speech::judge(&heard) == Some(Speaker::WebSocket)
}

/// A connection to a native peer.
enum ProbeConnection {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<broker::TlsProbe>),
}

impl ProbeConnection {
    async fn open(address: SocketAddr, encrypted: bool, manner: &Manner<'_>) -> Option<Self> {
        if !encrypted {
            return TcpStream::connect(address).await.ok().map(Self::Plain);
        }
        #[cfg(feature = "tls")]
        {
            let probing = broker::probe_tls(address, manner.name(), &manner.tls);
            probing.await.ok().map(|probe| Self::Tls(Box::new(probe)))
        }
        #[cfg(not(feature = "tls"))]
        {
            let _ = manner;
            None
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            #[cfg(feature = "tls")]
            Self::Tls(probe) => probe.write(bytes).await,
        }
    }

    async fn read(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read_buf(bytes).await,
            #[cfg(feature = "tls")]
            Self::Tls(probe) => probe.read(bytes).await,
        }
    }
}

/// Says hello to a native peer as an endpoint with that id, and goes on to where it has looked for
/// other connections of that id; `None` if it does not answer.
pub(super) async fn say_hello(
    address: SocketAddr,
    id: EndpointId,
    encrypted: bool,
    manner: &Manner<'_>,
) -> Option<Answer> {
    let mut heard = Vec::new();
    let conversation = async {
        let mut line = ProbeConnection::open(address, encrypted, manner).await?;
        let (min, max) = (VERSION, VERSION);
        line.write(&Handshake::Hello { id, min, max }.encode())
            .await
            .ok()?;
        while speech::answer(&heard).is_none() && heard.len() < HEARD_MAX {
            if line.read(&mut heard).await.ok()? == 0 {
                return None;
            }
        }
        // The one with the larger id looks when it is told who leads. Spec: wire 7.5.
        let Some(Answer::Goes(peer)) = speech::answer(&heard) else {
            return None;
        };
        if id < peer {
            let version = VERSION;
            let select = Handshake::VersionSelect { id, version };
            line.write(&select.encode()).await.ok()?;
            let deadline = Deadline::now() + GREETING_PATIENCE;
            while matches!(speech::answer(&heard), Some(Answer::Goes(_))) {
                match timeout_at(deadline, line.read(&mut heard)).await {
                    Ok(Ok(1..)) => {}
                    _ => break,
                }
            }
        }
        Some(())
    };
    // What came before the time was over, or the connection, counts.
    let _ = timeout(manner.limit, conversation).await;
    speech::answer(&heard)
}
