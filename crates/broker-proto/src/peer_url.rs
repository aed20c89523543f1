//! Addresses of peers as URLs: which protocol, which host, which port.
//!
//! A host without a scheme is that of a native peer. What is compared in `unpeer` and shown in
//! events is the form that [`PeerUrl::host`] gives, so that two spellings of one place are one.

use std::fmt;

use crate::http::upgrade::PATH;

/// Port of native peers without one. Spec: zeek 4.1.
const NATIVE_PORT: u16 = 9999;

/// What is spoken at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `zeek://`, `tcp://`, or no scheme: the native protocol, with TLS as the endpoint is set up.
    Native,
    /// `ws://`: WebSocket with JSON.
    WebSocket,
    /// `wss://`: the same under TLS.
    SecureWebSocket,
}

impl Scheme {
    const fn text(self) -> &'static str {
        match self {
            Self::Native => "zeek",
            Self::WebSocket => "ws",
            Self::SecureWebSocket => "wss",
        }
    }

    /// RFC 6455, section 3, for those of WebSockets.
    const fn port(self) -> u16 {
        match self {
            Self::Native => NATIVE_PORT,
            Self::WebSocket => 80,
            Self::SecureWebSocket => 443,
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
    /// TCP port.
    pub port: u16,
    /// Path and query; empty for native peers.
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

impl PeerUrl {
    /// Reads an address; `port` is the one given beside it.
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
            Scheme::WebSocket | Scheme::SecureWebSocket => self.to_string(),
        }
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
            port: port.ok_or("a port is missing")?,
            path: String::new(),
        });
    };
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        // `tcp://` is how the tools of the original spell it. Spec: tools 2.
        "zeek" | "tcp" => Scheme::Native,
        "ws" => Scheme::WebSocket,
        "wss" => Scheme::SecureWebSocket,
        _ => return Err("expected `zeek://`, `tcp://`, `ws://` or `wss://`"),
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
    let (name, own_port) = split_authority(authority)?;
    if name.is_empty() {
        return Err("a host is missing");
    }
    let port = match (own_port, port) {
        (Some(own), Some(beside)) if own != beside => {
            return Err("it has another port than the one given beside it");
        }
        (own, beside) => own.or(beside).unwrap_or(scheme.port()),
    };
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
