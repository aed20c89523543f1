//! Addresses of peers as URLs: which protocol, which host, which port.
//!
//! A host without a scheme is that of a native peer. What is compared in `unpeer` and shown in
//! events is the form that [`PeerUrl::host`] gives, so that two spellings of one place are one.

use std::fmt;

use crate::http::upgrade::PATH;

/// Port of native peers without one. Spec: zeek 4.1.
const NATIVE_PORT: u16 = 9999;

/// Port of a ZeroMQ proxy's XPUB without one; that of its XSUB is the next. Spec: zeromq 1.1.
const XPUB_PORT: u16 = 5555;

/// The cause where a bare host has no port beside it.
const PORT_MISSING: &str = "a port is missing";

/// Port of servers of NATS without one.
const NATS_PORT: u16 = 4222;

/// Servers of NATS in one address.
const NATS_SERVERS_MAX: usize = 32;

/// What is spoken at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `zeek://`, `tcp://`, or no scheme: the native protocol, with TLS as the endpoint is set up.
    Native,
    /// `ws://`: WebSocket with JSON.
    WebSocket,
    /// `wss://`: the same under TLS.
    SecureWebSocket,
    /// `zmq://`: the proxy of a Zeek cluster that uses ZeroMQ.
    ZeroMq,
    /// `nats://`: servers of NATS, several of one cluster with commas between them.
    Nats,
}

impl Scheme {
    const fn text(self) -> &'static str {
        match self {
            Self::Native => "zeek",
            Self::WebSocket => "ws",
            Self::SecureWebSocket => "wss",
            Self::ZeroMq => "zmq",
            Self::Nats => "nats",
        }
    }

    /// RFC 6455, section 3, for those of WebSockets.
    const fn port(self) -> u16 {
        match self {
            Self::Native => NATIVE_PORT,
            Self::WebSocket => 80,
            Self::SecureWebSocket => 443,
            Self::ZeroMq => XPUB_PORT,
            Self::Nats => NATS_PORT,
        }
    }
}

/// Where a peer is.
///
/// ```
/// use broker_proto::peer_url::{PeerUrl, Scheme};
///
/// let url = PeerUrl::parse("ws://sensor:27759", None)?;
/// assert_eq!((url.scheme, url.port), (Scheme::WebSocket, 27759));
/// assert_eq!(url.host(), "ws://sensor:27759/v1/messages/json");
/// assert_eq!(PeerUrl::parse("zeek://sensor", None)?.host(), "sensor");
/// assert_eq!(PeerUrl::parse("sensor", Some(1))?.port, 1);
/// # Ok::<(), broker_proto::peer_url::PeerUrlError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerUrl {
    /// What is spoken there.
    pub scheme: Scheme,
    /// Name or numeric address, an IPv6 address without brackets.
    pub name: String,
    /// TCP port; of a ZeroMQ proxy that of its XPUB, where subscribers connect.
    pub port: u16,
    /// Path and query; empty for native peers, and for proxies whose ports follow one another. For
    /// servers of NATS the others of the cluster, each behind a comma.
    pub path: String,
}

/// Text that is not the address of a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address of a peer: {cause}")]
pub struct PeerUrlError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub cause: &'static str,
}

impl PeerUrlError {
    /// Whether it is a host that a port would make an address.
    pub fn is_port_missing(&self) -> bool {
        self.cause == PORT_MISSING
    }
}

impl PeerUrl {
    /// Reads an address; `port` is the one given beside it. Beside a URL, 0 means none.
    ///
    /// # Errors
    ///
    /// When the text has a scheme that is unknown, parts that mean nothing here, or a port that
    /// differs from the one beside it.
    pub fn parse(text: &str, port: Option<u16>) -> Result<Self, PeerUrlError> {
        parse(text, port).map_err(|cause| PeerUrlError {
            text: text.to_owned(),
            cause,
        })
    }

    /// The address as the application sees it: a bare host for native peers, a URL otherwise.
    pub fn host(&self) -> String {
        match self.scheme {
            Scheme::Native => self.name.clone(),
            Scheme::WebSocket | Scheme::SecureWebSocket | Scheme::ZeroMq | Scheme::Nats => {
                self.to_string()
            }
        }
    }

    /// The port of a ZeroMQ proxy's XSUB, where publishers connect; `None` for other peers.
    pub fn xsub_port(&self) -> Option<u16> {
        if self.scheme != Scheme::ZeroMq {
            return None;
        }
        match self.path.strip_prefix("?xsub=") {
            Some(digits) => digits.parse().ok(),
            None => self.port.checked_add(1),
        }
    }

    /// The servers of NATS at the address, in its order; none for other peers.
    pub fn servers(&self) -> Vec<(String, u16)> {
        if self.scheme != Scheme::Nats {
            return Vec::new();
        }
        let others = self.path.split(',').filter(|it| !it.is_empty());
        let first = std::iter::once((self.name.clone(), self.port));
        first.chain(others.filter_map(Self::server)).collect()
    }

    /// Name and port of a server of NATS, as addresses and servers write it: `host:port`.
    pub fn server(text: &str) -> Option<(String, u16)> {
        let (name, port) = split_authority(text).ok()?;
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        is_name.then(|| (name.to_owned(), port.unwrap_or(NATS_PORT)))
    }

    /// Host and port as the `Host` field of a request has them.
    pub fn authority(&self) -> String {
        if self.name.contains(':') {
            format!("[{}]:{}", self.name, self.port)
        } else {
            format!("{}:{}", self.name, self.port)
        }
    }
}

impl TryFrom<&str> for PeerUrl {
    type Error = PeerUrlError;

    fn try_from(text: &str) -> Result<Self, PeerUrlError> {
        Self::parse(text, None)
    }
}

impl TryFrom<&String> for PeerUrl {
    type Error = PeerUrlError;

    fn try_from(text: &String) -> Result<Self, PeerUrlError> {
        Self::parse(text, None)
    }
}

impl fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme.text();
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

fn parse(text: &str, port: Option<u16>) -> Result<PeerUrl, &'static str> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok(PeerUrl {
            scheme: Scheme::Native,
            name: text.to_owned(),
            port: port.ok_or(PORT_MISSING)?,
            path: String::new(),
        });
    };
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        // `tcp://` is how the tools of the original spell it. Spec: tools 2.
        "zeek" | "tcp" => Scheme::Native,
        "ws" => Scheme::WebSocket,
        "wss" => Scheme::SecureWebSocket,
        "zmq" => Scheme::ZeroMq,
        "nats" => Scheme::Nats,
        // See ADR 0480.
        "ipc" | "zmq+ipc" => {
            return Err(
                "ZeroMQ is spoken over TCP only: have the proxy bind ports of 127.0.0.1, and use \
                 `zmq://127.0.0.1:PORT`",
            );
        }
        _ => {
            return Err("expected `zeek://`, `tcp://`, `ws://`, `wss://`, `zmq://` or `nats://`");
        }
    };
    // What follows goes into the head of a request as it is.
    if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("expected no blanks, and other characters escaped");
    }
    if rest.contains('#') {
        return Err("expected no fragment");
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        return Err("expected no user or password");
    }
    let (authority, others) = match scheme {
        Scheme::Nats => authority.split_at(authority.find(',').unwrap_or(authority.len())),
        _ => (authority, ""),
    };
    let (name, own_port) = split_authority(authority)?;
    if name.is_empty() {
        return Err("a host is missing");
    }
    let port = match (own_port, port.filter(|port| *port != 0)) {
        (Some(own), Some(beside)) if own != beside => {
            return Err("it has another port than the one given beside it");
        }
        (own, beside) => own.or(beside),
    };
    if scheme == Scheme::Nats {
        return nats(name, port, others, path);
    }
    if scheme == Scheme::ZeroMq {
        return zeromq(name, port, path);
    }
    let port = port.unwrap_or(scheme.port());
    let path = match (scheme, path) {
        (Scheme::Native, "" | "/") => String::new(),
        (Scheme::Native, _) => return Err("native peers have no path"),
        (_, "" | "/") => PATH.to_owned(),
        (_, query) if query.starts_with('?') => format!("{PATH}{query}"),
        (_, path) => path.to_owned(),
    };
    Ok(PeerUrl {
        scheme,
        name: name.to_owned(),
        port,
        path,
    })
}

/// A proxy: its ports are where the query says, else where the address does, else where Zeek has them.
fn zeromq(name: &str, port: Option<u16>, path: &str) -> Result<PeerUrl, &'static str> {
    let query = path.strip_prefix('/').unwrap_or(path);
    let query = match query.strip_prefix('?') {
        Some(query) => query,
        None if query.is_empty() => "",
        None => return Err("a ZeroMQ proxy has no path"),
    };
    let (mut xpub, mut xsub) = (port, None);
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (key, digits) = part
            .split_once('=')
            .ok_or("expected `xsub=PORT` or `xpub=PORT` behind the `?`")?;
        let number = number(digits)?;
        match key {
            "xsub" if xsub.is_none_or(|known| known == number) => xsub = Some(number),
            "xpub" if xpub.is_none_or(|known| known == number) => xpub = Some(number),
            "xsub" | "xpub" => return Err("it names two different ports for one socket"),
            _ => return Err("expected `xsub=PORT` or `xpub=PORT` behind the `?`"),
        }
    }
    let xpub = xpub.unwrap_or(XPUB_PORT);
    let next = xpub.checked_add(1);
    let xsub = xsub
        .or(next)
        .ok_or("there is no port behind 65535: name it with `?xsub=PORT`")?;
    if xpub == xsub {
        return Err("the XPUB and the XSUB of a proxy have different ports");
    }
    if xpub == 0 || xsub == 0 {
        return Err("expected a port from 1 to 65535");
    }
    Ok(PeerUrl {
        scheme: Scheme::ZeroMq,
        name: name.to_owned(),
        port: xpub,
        path: if Some(xsub) == next {
            String::new()
        } else {
            format!("?xsub={xsub}")
        },
    })
}

/// Servers of NATS: each has its port in the text, so that one place has one spelling.
fn nats(name: &str, port: Option<u16>, others: &str, path: &str) -> Result<PeerUrl, &'static str> {
    if !matches!(path, "" | "/") {
        return Err("servers of NATS have no path");
    }
    let mut rest = String::new();
    let others = others.split(',').skip(1);
    for (index, other) in others.enumerate() {
        if index + 1 >= NATS_SERVERS_MAX {
            return Err("expected at most 32 servers: they tell of the others of their cluster");
        }
        let (name, port) = split_authority(other)?;
        if name.is_empty() {
            return Err("a host is missing");
        }
        let (scheme, path) = (Scheme::Native, String::new());
        let server = PeerUrl {
            scheme,
            name: name.to_owned(),
            port: port.unwrap_or(NATS_PORT),
            path,
        };
        rest.push(',');
        rest.push_str(&server.authority());
    }
    let port = port.unwrap_or(NATS_PORT);
    if port == 0 || rest.contains(":0,") || rest.ends_with(":0") {
        return Err("expected a port from 1 to 65535");
    }
    Ok(PeerUrl {
        scheme: Scheme::Nats,
        name: name.to_owned(),
        port,
        path: rest,
    })
}

fn split_authority(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (name, rest) = match authority.strip_prefix('[') {
        Some(inner) => {
            let (name, rest) = inner.split_once(']').ok_or("a bracket is not closed")?;
            if name.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("expected an IPv6 address in brackets");
            }
            (name, rest)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        None => return Err("expected a port behind the bracket"),
        Some("") => None,
        Some(digits) => Some(number(digits)?),
    };
    Ok((name, port))
}

fn number(digits: &str) -> Result<u16, &'static str> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse().ok().filter(|_| is_number);
    number.ok_or("expected a port from 0 to 65535; an IPv6 address needs brackets")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> String {
        PeerUrl::parse(text, None).unwrap().host()
    }

    #[test]
    fn spellings_of_one_place_are_one() {
        let expected = "ws://h:27759/v1/messages/json";
        for text in [
            "ws://h:27759",
            "WS://h:27759/",
            "ws://h:27759/v1/messages/json",
        ] {
            assert_eq!(host(text), expected);
        }
        let beside = PeerUrl::parse("ws://h", Some(27759)).unwrap();
        assert_eq!(beside.host(), expected);
        let both = PeerUrl::parse("ws://h:27759", Some(27759)).unwrap();
        assert_eq!(both.host(), expected);
    }

    #[test]
    fn defaults() {
        assert_eq!(host("wss://h"), "wss://h:443/v1/messages/json");
        assert_eq!(host("ws://h?a=b"), "ws://h:80/v1/messages/json?a=b");
        assert_eq!(host("ws://h/other"), "ws://h:80/other");
        let native = PeerUrl::parse("zeek://h/", None).unwrap();
        assert_eq!((native.host().as_str(), native.port), ("h", 9999));
        let tcp = PeerUrl::parse("TCP://h:1", None).unwrap();
        assert_eq!(tcp, PeerUrl::parse("zeek://h:1", None).unwrap());
    }

    #[test]
    fn addresses_of_version_6_are_in_brackets() {
        let url = PeerUrl::parse("wss://[::1]:27759", None).unwrap();
        assert_eq!((url.name.as_str(), url.port), ("::1", 27759));
        assert_eq!(url.authority(), "[::1]:27759");
        let native = PeerUrl::parse("zeek://[::1]:9997", None).unwrap();
        assert_eq!((native.host().as_str(), native.port), ("::1", 9997));
    }

    #[test]
    fn proxies_have_two_ports() {
        for (text, expected, xsub) in [
            ("zmq://h", "zmq://h:5555", 5556),
            ("ZMQ://h:27760/", "zmq://h:27760", 27761),
            ("zmq://h:1?xsub=2", "zmq://h:1", 2),
            ("zmq://h:1?xsub=9", "zmq://h:1?xsub=9", 9),
            ("zmq://h?xsub=9&xpub=1", "zmq://h:1?xsub=9", 9),
            ("zmq://h?xpub=7", "zmq://h:7", 8),
            ("zmq://[::1]:27760", "zmq://[::1]:27760", 27761),
            ("zmq://h:65535?xsub=1", "zmq://h:65535?xsub=1", 1),
        ] {
            let url = PeerUrl::parse(text, None).unwrap();
            assert_eq!(
                (url.host().as_str(), url.xsub_port()),
                (expected, Some(xsub))
            );
            assert_eq!(PeerUrl::parse(expected, None).unwrap(), url);
        }
        assert_eq!(PeerUrl::parse("zmq://h", Some(9)).unwrap().port, 9);
        assert_eq!(PeerUrl::parse("ws://h", None).unwrap().xsub_port(), None);
        for text in [
            "zmq://",
            "zmq://h/path",
            "zmq://h?xsub=5555",
            "zmq://h:1?xpub=2",
            "zmq://h?xsub=1&xsub=2",
            "zmq://h?other=1",
            "zmq://h?xsub",
            "zmq://h?xsub=x",
            "zmq://h:65535",
            "zmq://h:0",
        ] {
            assert!(PeerUrl::parse(text, None).is_err(), "{text}");
        }
    }

    #[test]
    fn sockets_in_the_file_system_are_refused_with_what_to_do_instead() {
        for text in ["zmq+ipc:///run/zeek/xpub", "ipc:///run/zeek/xpub"] {
            let error = PeerUrl::parse(text, None).unwrap_err().to_string();
            assert!(error.contains("over TCP only"), "{error}");
            assert!(error.contains("`zmq://127.0.0.1:PORT`"), "{error}");
        }
    }

    #[test]
    fn servers_of_nats_are_several() {
        for (text, expected, servers) in [
            ("nats://h", "nats://h:4222", vec![("h", 4222)]),
            (
                "NATS://a:1,b,[::1]:3/",
                "nats://a:1,b:4222,[::1]:3",
                vec![("a", 1), ("b", 4222), ("::1", 3)],
            ),
        ] {
            let url = PeerUrl::parse(text, None).unwrap();
            assert_eq!(url.host(), expected);
            assert_eq!(PeerUrl::parse(expected, Some(url.port)).unwrap(), url);
            let found = url.servers();
            let found: Vec<_> = found
                .iter()
                .map(|(name, port)| (name.as_str(), *port))
                .collect();
            assert_eq!(found, servers);
        }
        let many = format!("nats://h{}", ",h".repeat(NATS_SERVERS_MAX));
        for text in [
            "nats://",
            "nats://,a",
            "nats://a,",
            "nats://a,,b",
            "nats://a/x",
            "nats://a?x",
            "nats://u@a",
            "nats://a:0",
            "nats://a,b:0",
            "nats://a,b:0,c",
            "nats://a:1,b:x",
            &many,
        ] {
            assert!(PeerUrl::parse(text, None).is_err(), "{text}");
        }
        assert_eq!(PeerUrl::server("a b:1"), None);
    }

    #[test]
    fn a_host_without_a_scheme_stays_as_it_is() {
        let url = PeerUrl::parse("[::1]", Some(9999)).unwrap();
        assert_eq!((url.scheme, url.host().as_str()), (Scheme::Native, "[::1]"));
        assert!(PeerUrl::parse("h", None).is_err());
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in [
            "http://h",
            "ws://",
            "ws://:1",
            "ws://h:65536",
            "ws://h:+1",
            "ws://::1",
            "ws://[::1",
            "ws://[::1]x",
            "ws://[h]",
            "ws://user@h",
            "ws://h/#a",
            "ws://h/a b",
            "ws://h/\r\nX: y",
            "ws://\u{e9}",
            "zeek://h/path",
        ] {
            let error = PeerUrl::parse(text, None).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        assert!(PeerUrl::parse("ws://h:1", Some(2)).is_err());
    }
}
