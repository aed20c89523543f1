//! Addresses of ZeroMQ sockets: `zmq-pull://0.0.0.0:27764`, `tcp://[::1]:5555`.

use std::fmt;

use crate::error::Error;

/// Host and port, the host without brackets. An empty host is all interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    /// Reads `SCHEME://HOST:PORT`, where the scheme is the one that belongs to the socket or `tcp`,
    /// as ZeroMQ has it, and may be left out. `*` is all interfaces.
    pub(crate) fn parse(text: &str, scheme: &str) -> Result<Self, Error> {
        let wrong = |cause: String| Error::ZeroMqAddress {
            text: text.to_owned(),
            cause,
        };
        let rest = match text.split_once("://") {
            None => text,
            Some((given, rest)) if given == scheme || given == "tcp" => rest,
            Some((given, _)) => {
                return Err(wrong(format!(
                    "the scheme is `{scheme}` or `tcp`, not `{given}`"
                )));
            }
        };
        let expected = || wrong(format!("expected {scheme}://HOST:PORT"));
        let (host, port) = rest.rsplit_once(':').ok_or_else(expected)?;
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        let host = match bare {
            Some(host) => host,
            None if host.contains(':') => {
                return Err(wrong("an IPv6 address stands in brackets".to_owned()));
            }
            None => host,
        };
        let port = port.trim_end_matches('/');
        let port = port
            .parse()
            .map_err(|_| wrong(format!("`{port}` is no port: a number up to 65535")))?;
        let host = if host == "*" { "" } else { host };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_read() {
        for (text, host, port) in [
            ("zmq-pull://0.0.0.0:27764", "0.0.0.0", 27764),
            ("tcp://*:0", "", 0),
            ("sensor:5555", "sensor", 5555),
            ("zmq-pull://[::1]:1/", "::1", 1),
        ] {
            let address = Address::parse(text, "zmq-pull").unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
        }
        let address = Address::parse("[::1]:5", "tcp").unwrap();
        assert_eq!(address.to_string(), "[::1]:5");
    }

    #[test]
    fn others_are_refused_with_what_is_wrong() {
        for (text, cause) in [
            (
                "zmq-push://a:1",
                "the scheme is `zmq-pull` or `tcp`, not `zmq-push`",
            ),
            ("zmq-pull://a", "expected zmq-pull://HOST:PORT"),
            ("zmq-pull://::1:5", "an IPv6 address stands in brackets"),
            ("a:70000", "`70000` is no port: a number up to 65535"),
        ] {
            let error = Address::parse(text, "zmq-pull").unwrap_err().to_string();
            let expected = format!("`{text}` is no address of a ZeroMQ socket: {cause}");
            assert_eq!(error, expected);
        }
    }
}
