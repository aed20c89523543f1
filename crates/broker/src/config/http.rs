//! Options of the HTTP server for metrics and status.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::config::{TlsOptions, WebSocketOptions};
use crate::error::Error;

/// Connections at a time: a Prometheus or two, and a few people.
const CONNECTIONS_MAX: usize = 64;

/// The only address by default: what is told is nobody else's business.
const ADDRESS: &str = "127.0.0.1";

/// Options of the HTTP server that tells metrics, status and health of an endpoint.
///
/// ```
/// use broker::HttpOptions;
///
/// let endpoint = broker::Endpoint::new()?;
/// let port = endpoint.serve_http("127.0.0.1", 0, HttpOptions::default()).wait()?;
/// assert_ne!(port, 0);
/// # endpoint.shutdown().wait();
/// # Ok::<(), broker::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// Port of a server that starts with the endpoint; `None` for none. `BROKER_METRICS_PORT` sets
    /// it. Spec: tools 1.4.
    pub port: Option<u16>,
    /// Address of that server: loopback by default; empty for all interfaces.
    pub address: String,
    /// Certificate and key of `https`; clients need a certificate only if there is an authority to
    /// check it with. `None` for plain HTTP.
    pub tls: Option<TlsOptions>,
    /// What requests have to bring as `Authorization: Bearer …`; health is told without it.
    pub token: Option<String>,
    /// Connections at a time; others wait.
    pub connections_max: usize,
    /// Serves WebSocket clients at the same port, under `/v1/messages/json`, as
    /// [`listen_ws_with`](crate::Endpoint::listen_ws_with) does at a port of its own. Port, address
    /// and TLS are those of this server, whose token and names of the machine count for clients, too.
    pub web_socket: Option<WebSocketOptions>,
    /// Origins of web pages elsewhere whose scripts may read the answers, for example
    /// `https://dashboard.example`; none by default.
    pub origins: Vec<String>,
    /// Whether those who may ask can have messages of a topic shown, under
    /// `/v1/topics/TOPIC/sample`; not by default.
    pub samples: bool,
    /// Directories and files that the program writes to, beside the files of data stores: the
    /// endpoint is not ready while one of them cannot be written.
    pub writes: Vec<PathBuf>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            port: None,
            address: ADDRESS.to_owned(),
            tls: None,
            token: None,
            connections_max: CONNECTIONS_MAX,
            web_socket: None,
            origins: Vec::new(),
            samples: false,
            writes: Vec::new(),
        }
    }
}

/// Without the token.
impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOptions")
            .field("port", &self.port)
            .field("address", &self.address)
            .field("tls", &self.tls.is_some())
            .field("token", &self.token.is_some())
            .field("connections_max", &self.connections_max)
            .field("web_socket", &self.web_socket)
            .field("origins", &self.origins)
            .field("samples", &self.samples)
            .field("writes", &self.writes)
            .finish()
    }
}

impl HttpOptions {
    /// What `BROKER_METRICS_PORT` changes. Spec: tools 1.4.
    pub(crate) fn take_variables(
        &mut self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(), Error> {
        const NAME: &str = "BROKER_METRICS_PORT";
        let Some(value) = variable(NAME) else {
            return Ok(());
        };
        let value = value.to_string_lossy();
        let number = value.strip_suffix("/tcp").unwrap_or(&value);
        match number.parse() {
            Ok(port) if port != 0 => {
                self.port = Some(port);
                Ok(())
            }
            _ => Err(Error::variable(NAME, &value, "a non-zero port number")),
        }
    }

    /// Refuses values that could never work; [`serve_http`](crate::Endpoint::serve_http) does so, too.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] with what is wrong.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |cause: &str| {
            Err(Error::Option {
                name: "http",
                cause: cause.to_owned(),
            })
        };
        if self.connections_max == 0 {
            return wrong("`connections_max` must not be 0");
        }
        if self.token.as_deref().is_some_and(str::is_empty) {
            return wrong("`token` must not be empty");
        }
        for origin in &self.origins {
            let host = origin.split_once("://").map_or("", |(_, host)| host);
            let is_one = !host.is_empty() && !host.contains(['/', '?', '#']);
            if !is_one || !origin.bytes().all(|it| it.is_ascii_graphic()) {
                return wrong(&format!(
                    "`{origin}` is no origin: it has a scheme, a host and perhaps a port, as in \
                     `https://dashboard.example`"
                ));
            }
        }
        self.web_socket
            .as_ref()
            .map_or(Ok(()), WebSocketOptions::check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_sets_the_port() {
        let with = |value: &str| {
            let value = value.to_owned();
            let mut options = HttpOptions::default();
            let variable =
                move |name: &str| (name == "BROKER_METRICS_PORT").then(|| value.clone().into());
            options.take_variables(variable).map(|()| options)
        };
        for value in ["4242", "4242/tcp"] {
            let options = with(value).unwrap();
            assert_eq!(options.port, Some(4242));
            assert_eq!(options.address, ADDRESS);
        }
        for value in ["0", "abc", "", "65536", "1/udp"] {
            let error = with(value).unwrap_err().to_string();
            assert!(error.contains("BROKER_METRICS_PORT"), "{error}");
            assert!(error.contains(&format!(": {value} (expected a")), "{error}");
        }
        let mut options = HttpOptions::default();
        options.take_variables(|_| None).unwrap();
        assert_eq!(options.port, None);
    }

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        let with = |origin: &str| HttpOptions {
            origins: vec![origin.to_owned()],
            ..HttpOptions::default()
        };
        for origin in ["https://a.example", "http://localhost:3000"] {
            with(origin).check().unwrap();
        }
        for origin in [
            "",
            "*",
            "a.example",
            "https://",
            "https://a/",
            "https://a b",
        ] {
            let error = with(origin).check().unwrap_err().to_string();
            assert!(error.contains("no origin"), "{error}");
        }
    }
}
