//! The HTTP request that opens a WebSocket for JSON messages, and its answers.
//!
//! Spec: websocket 1.1. Stricter than the original where RFC 6455 asks for it; its texts are kept.
//! What is refused and what is let through: `docs/adr/0081-websockets-by-the-book.md`.

use crate::http::head::{HeadError, RequestHead, text_response};

/// The one path there is.
pub const PATH: &str = "/v1/messages/json";

/// Subprotocol that selects [`Form::Compatible`](broker_data::json::Form::Compatible), the default.
pub const COMPATIBLE_PROTOCOL: &str = "broker-json-v1";

/// Subprotocol that selects [`Form::Lossless`](broker_data::json::Form::Lossless).
pub const LOSSLESS_PROTOCOL: &str = "broker-json-v1-lossless";

/// Beginning of a subprotocol that brings a token, for clients that cannot set fields, as browsers.
pub const BEARER_PROTOCOL: &str = "bearer.";

/// The field in which a client says what it is.
pub const APPLICATION_NAME: &str = "X-Application-Name";

/// Characters of names of applications, beside letters and digits. Spec: websocket 1.2.
const NAME_SPECIALS: &[u8] = b"/_-.=:*@";

/// The only version of the protocol. RFC 6455, section 4.2.1.
const VERSION: &[u8] = b"13";

/// Length of a key in base 64, the two characters of padding included.
const KEY_LEN: usize = 24;

/// Why a request is not upgraded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// It is not HTTP.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The method is not GET, or the fields do not ask for a WebSocket.
    #[error("Expected a WebSocket handshake.")]
    NotWebSocket,
    /// There is nothing under that path.
    #[error("caf::sec::invalid_argument(\"invalid path; try {PATH}\")")]
    Path,
    /// The key is missing, or is not 16 bytes in base 64.
    #[error("Mandatory field Sec-WebSocket-Key missing or invalid.")]
    Key,
    /// The client speaks another version of the protocol.
    #[error("Unsupported WebSocket version; try 13.")]
    Version,
    /// Scripts from that origin are not welcome.
    #[error("Origin not allowed.")]
    Origin,
    /// There are as many clients as may be.
    #[error("Too many clients.")]
    TooMany,
    /// The client has to prove who it is, or did not.
    #[error("A token is needed.")]
    Unauthorized,
    /// Too many attempts to prove it failed from there.
    #[error("Too many attempts.")]
    TooManyAttempts,
}

impl Rejection {
    /// Status code and reason of the answer.
    pub const fn status(&self) -> (u16, &'static str) {
        match self {
            Self::Head(error) => error.status(),
            Self::NotWebSocket | Self::Path | Self::Key => (400, "Bad Request"),
            Self::Version => (426, "Upgrade Required"),
            Self::Origin => (403, "Forbidden"),
            Self::TooMany => (503, "Service Unavailable"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::TooManyAttempts => (429, "Too Many Requests"),
        }
    }

    /// The fields that the answer has beside those about its text; `Connection` closes.
    pub const fn fields(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Head(_) | Self::NotWebSocket | Self::Path | Self::Key | Self::Origin => {
                &[("Connection", "close")]
            }
            Self::Version => &[
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade, close"),
                ("Sec-WebSocket-Version", "13"),
            ],
            Self::TooMany => &[("Connection", "close"), ("Retry-After", "5")],
            Self::Unauthorized => &[("Connection", "close"), ("WWW-Authenticate", "Bearer")],
            Self::TooManyAttempts => &[("Connection", "close"), ("Retry-After", "60")],
        }
    }

    /// The complete answer, after which the connection closes.
    pub fn response(&self) -> String {
        text_response(self.status(), self.fields(), &self.to_string())
    }
}

/// Name of a client's application, from its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplicationName {
    /// It did not say.
    Unknown,
    /// It said this; letters, digits and a few marks.
    Named(String),
    /// What it said has other characters.
    Invalid,
}

impl ApplicationName {
    fn of(value: Option<&[u8]>) -> Self {
        let Some(value) = value else {
            return Self::Unknown;
        };
        if is_application_name(value) {
            Self::Named(String::from_utf8_lossy(value).into_owned())
        } else {
            Self::Invalid
        }
    }
}

/// Whether the name of an application has only the characters it may have. Spec: websocket 1.2.
pub fn is_application_name(name: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || NAME_SPECIALS.contains(byte);
    name.iter().all(fits) && !name.is_empty()
}

/// The token of a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer(String);

impl Bearer {
    /// The token in fields named `Authorization` and in subprotocols that begin with
    /// [`BEARER_PROTOCOL`]. Of several that differ none counts: what is left fits no token.
    pub fn of(head: &RequestHead<'_>) -> Option<Self> {
        let fields = head.values("Authorization").filter_map(|value| {
            let (scheme, token) = value.split_at_checked(7)?;
            let is_bearer = scheme.eq_ignore_ascii_case(b"Bearer ");
            is_bearer.then(|| token.trim_ascii())
        });
        let protocols = head.items("Sec-WebSocket-Protocol");
        let protocols = protocols.filter_map(|item| item.strip_prefix(BEARER_PROTOCOL.as_bytes()));
        let mut all = fields.chain(protocols);
        let first = all.next()?;
        let is_one = all.all(|other| other == first);
        let text = std::str::from_utf8(first).ok().filter(|_| is_one);
        Some(Self(text.unwrap_or_default().to_owned()))
    }

    /// The token itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Without the token.
impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bearer(..)")
    }
}

/// A request that is fine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The client's key, as sent.
    pub key: String,
    /// The subprotocol that is agreed on, if the client offers one that there is.
    pub protocol: Option<&'static str>,
    /// What the client says it is.
    pub application: ApplicationName,
    /// The token that it brings.
    pub bearer: Option<Bearer>,
}

impl Upgrade {
    /// Judges a request; `origins` is the list of allowed origins, `None` for all.
    ///
    /// # Errors
    ///
    /// When it is not a request for a WebSocket under [`PATH`], or comes from a script of an
    /// origin that is not listed. Programs that are no browsers send no origin.
    pub fn of(head: &RequestHead<'_>, origins: Option<&[String]>) -> Result<Self, Rejection> {
        if head.method != "GET" {
            return Err(Rejection::NotWebSocket);
        }
        if head.path() != PATH {
            return Err(Rejection::Path);
        }
        if !head.has_item("Upgrade", "websocket") || !head.has_item("Connection", "upgrade") {
            return Err(Rejection::NotWebSocket);
        }
        if head.field("Sec-WebSocket-Version") != Some(VERSION) {
            return Err(Rejection::Version);
        }
        let mut keys = head.values("Sec-WebSocket-Key");
        let key = keys.next().and_then(key).ok_or(Rejection::Key)?;
        if keys.next().is_some() {
            return Err(Rejection::Key);
        }
        if let (Some(allowed), Some(origin)) = (origins, head.field("Origin"))
            && !allowed
                .iter()
                .any(|known| origin.eq_ignore_ascii_case(known.as_bytes()))
        {
            return Err(Rejection::Origin);
        }
        let protocol = head.items("Sec-WebSocket-Protocol").find_map(|offered| {
            [COMPATIBLE_PROTOCOL, LOSSLESS_PROTOCOL]
                .into_iter()
                .find(|known| offered == known.as_bytes())
        });
        Ok(Self {
            key,
            protocol,
            application: ApplicationName::of(head.field(APPLICATION_NAME)),
            bearer: Bearer::of(head),
        })
    }

    /// The answer; `accept` is what the key stands for. Spec: websocket 1.1, fields in this order.
    pub fn response(&self, accept: &str) -> String {
        let mut response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n"
        );
        if let Some(protocol) = self.protocol {
            response.push_str("Sec-WebSocket-Protocol: ");
            response.push_str(protocol);
            response.push_str("\r\n");
        }
        response.push_str("\r\n");
        response
    }
}

/// A key that is 16 bytes in base 64: 22 characters and two of padding.
fn key(value: &[u8]) -> Option<String> {
    let digits = value.strip_suffix(b"==")?;
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let fits = value.len() == KEY_LEN && digits.iter().all(is_digit);
    fits.then(|| String::from_utf8_lossy(value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn upgrade(head: &str, origins: Option<&[String]>) -> Result<Upgrade, Rejection> {
        Upgrade::of(&RequestHead::parse(head.as_bytes()).unwrap(), origins)
    }

    fn request(extra: &str) -> String {
        format!(
            "GET {PATH}?q HTTP/1.1\r\nHost: a\r\nUpgrade: h2c, WebSocket\r\n\
             connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             sec-websocket-key: {KEY}\r\n{extra}\r\n"
        )
    }

    #[test]
    fn a_standard_request_is_fine() {
        let expected = Upgrade {
            key: KEY.to_owned(),
            protocol: None,
            application: ApplicationName::Unknown,
            bearer: None,
        };
        assert_eq!(upgrade(&request(""), None), Ok(expected.clone()));
        assert_eq!(
            expected.response("x"),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: x\r\n\r\n"
        );
    }

    #[test]
    fn requests_that_are_not_ours_are_refused_with_the_texts_of_the_original() {
        let good = request("");
        for (from, to, rejection) in [
            ("GET", "POST", Rejection::NotWebSocket),
            (PATH, "/v1/messages/xml", Rejection::Path),
            (PATH, "/v1/messages/json/", Rejection::Path),
            (PATH, "//v1/messages/json", Rejection::Path),
            ("WebSocket\r", "other\r", Rejection::NotWebSocket),
            (", Upgrade", "", Rejection::NotWebSocket),
            ("13", "8", Rejection::Version),
            (KEY, "short", Rejection::Key),
            (KEY, "dGhlIHNhbXBsZSBub25jZQAA", Rejection::Key),
            ("sec-websocket-key", "other", Rejection::Key),
        ] {
            assert_eq!(
                upgrade(&good.replace(from, to), None),
                Err(rejection),
                "{to}"
            );
        }
        let twice = request(&format!("Sec-WebSocket-Key: {KEY}\r\n"));
        assert_eq!(upgrade(&twice, None), Err(Rejection::Key));
        assert_eq!(
            Rejection::Path.response(),
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 65\r\n\
             Connection: close\r\n\r\n\
             caf::sec::invalid_argument(\"invalid path; try /v1/messages/json\")"
        );
    }

    #[test]
    fn origins_are_looked_at_when_there_is_a_list() {
        let from = |origin: &str| request(&format!("Origin: {origin}\r\n"));
        let list = ["https://a.example".to_owned()];
        assert!(upgrade(&from("https://A.example"), Some(&list)).is_ok());
        assert!(upgrade(&request(""), Some(&list)).is_ok());
        assert!(upgrade(&from("null"), None).is_ok());
        for origin in ["https://b.example", "null", "http://a.example"] {
            assert_eq!(upgrade(&from(origin), Some(&list)), Err(Rejection::Origin));
        }
    }

    #[test]
    fn the_first_known_subprotocol_is_agreed_on() {
        for (offer, agreed) in [
            ("chat", None),
            (LOSSLESS_PROTOCOL, Some(LOSSLESS_PROTOCOL)),
            (
                "chat, broker-json-v1-lossless, broker-json-v1",
                Some(LOSSLESS_PROTOCOL),
            ),
            (
                "broker-json-v1,broker-json-v1-lossless",
                Some(COMPATIBLE_PROTOCOL),
            ),
        ] {
            let field = format!("Sec-WebSocket-Protocol: {offer}\r\n");
            assert_eq!(upgrade(&request(&field), None).unwrap().protocol, agreed);
        }
    }

    #[test]
    fn a_token_comes_in_a_field_or_as_a_subprotocol() {
        let bearer = |fields: &str| {
            let upgrade = upgrade(&request(fields), None).unwrap();
            assert!(!format!("{upgrade:?}").contains("s3cret"));
            upgrade.bearer.map(|it| it.reveal().to_owned())
        };
        for (fields, token) in [
            ("Authorization: Bearer s3cret\r\n", Some("s3cret")),
            ("authorization: bearer  s3cret \r\n", Some("s3cret")),
            (
                "Sec-WebSocket-Protocol: broker-json-v1, bearer.s3cret\r\n",
                Some("s3cret"),
            ),
            ("Authorization: Basic s3cret\r\n", None),
            ("Authorization: s3cret\r\n", None),
            ("Authorization: Bearer \r\n", None),
            // Of two that differ none counts.
            (
                "Authorization: Bearer s3cret\r\nAuthorization: Bearer other\r\n",
                Some(""),
            ),
            (
                "Authorization: Bearer other\r\nSec-WebSocket-Protocol: bearer.s3cret\r\n",
                Some(""),
            ),
            (
                "Authorization: Bearer s3cret\r\nSec-WebSocket-Protocol: bearer.s3cret\r\n",
                Some("s3cret"),
            ),
        ] {
            assert_eq!(bearer(fields).as_deref(), token, "{fields}");
        }
        let both = "Sec-WebSocket-Protocol: bearer.s3cret, broker-json-v1-lossless\r\n";
        let agreed = upgrade(&request(both), None).unwrap();
        assert_eq!(agreed.protocol, Some(LOSSLESS_PROTOCOL));
        assert!(!agreed.response("x").contains("s3cret"));
    }

    #[test]
    fn names_of_applications_are_checked() {
        for (value, name) in [
            (
                "zeekctl/3.1@host",
                ApplicationName::Named("zeekctl/3.1@host".to_owned()),
            ),
            ("two words", ApplicationName::Invalid),
            ("", ApplicationName::Invalid),
        ] {
            let field = format!("x-application-name: {value}\r\n");
            assert_eq!(upgrade(&request(&field), None).unwrap().application, name);
        }
    }
}
