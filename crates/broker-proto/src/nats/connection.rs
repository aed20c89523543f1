//! One connection of a NATS client, without a socket: operations of the server in, operations of the
//! client out.
//!
//! A client of our own, because what is read here comes from everybody who may publish: a header that
//! cannot be read is a bad message to count, not the end of the connection. See ADR 0351.

use std::fmt::Write;
use std::io::Write as _;

use serde_json::Value;

/// Bytes of a line of the server; the longest is the one that lists the servers of a cluster.
pub const LINE_BYTES_MAX: usize = 256 * 1024;

/// Servers that a cluster may tell of, and that are kept.
pub const SERVERS_MAX: usize = 64;

/// Characters of the server's text that are shown.
const TEXT_MAX: usize = 400;

/// The end of a line.
const CRLF: &[u8] = b"\r\n";

/// A header that is there and is not text. No value of ours is spelled like this.
const NOT_TEXT: &str = "\u{fffd}";

/// What is against the protocol of NATS, so that nothing behind it can be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A line without an end.
    #[error("a line of the server is longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// Another operation than servers have.
    #[error("the server sent an unknown operation: `{0}`")]
    Unknown(String),
    /// A message without proper sizes.
    #[error("the server announced a message that makes no sense: `{0}`")]
    Sizes(String),
    /// A message beyond what was agreed on.
    #[error("the server announced a message of {size} bytes, more than {max}")]
    TooLarge {
        /// Bytes announced.
        size: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The line about the server is no JSON object.
    #[error("the server's INFO cannot be read")]
    Info,
}

/// The server about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its version, for example `2.11.4`.
    pub version: String,
    /// Bytes that headers and payload of a message may have together.
    pub max_payload: usize,
    /// Whether it takes messages with headers.
    pub headers: bool,
    /// Whether it wants TLS before anything else is said.
    pub tls_required: bool,
    /// Whether it could speak TLS.
    pub tls_available: bool,
    /// Whether it keeps streams, or reaches servers of its cluster that do.
    pub jetstream: bool,
    /// What clients with keys have to sign.
    pub nonce: String,
    /// Other servers of the cluster, as `host:port`.
    /// Bound: [`SERVERS_MAX`].
    pub connect_urls: Vec<String>,
}

impl ServerInfo {
    /// Reads the first line of a server, with or without its end.
    ///
    /// # Errors
    ///
    /// When it is not INFO with a JSON object.
    pub fn parse(line: &[u8]) -> Result<Self, ProtocolError> {
        let json = line.strip_prefix(b"INFO").ok_or(ProtocolError::Info)?;
        let value: Value = serde_json::from_slice(json).map_err(|_| ProtocolError::Info)?;
        let fields = value.as_object().ok_or(ProtocolError::Info)?;
        let text = |name: &str| {
            let found = fields.get(name).and_then(Value::as_str).unwrap_or_default();
            found.to_owned()
        };
        let flag = |name: &str| fields.get(name).and_then(Value::as_bool) == Some(true);
        let payload = fields.get("max_payload").and_then(Value::as_u64);
        let urls = fields.get("connect_urls").and_then(Value::as_array);
        let urls = urls.into_iter().flatten().filter_map(Value::as_str);
        Ok(Self {
            version: text("version"),
            max_payload: payload
                .and_then(|it| usize::try_from(it).ok())
                .unwrap_or(usize::MAX),
            headers: flag("headers"),
            tls_required: flag("tls_required"),
            tls_available: flag("tls_available"),
            jetstream: flag("jetstream"),
            nonce: text("nonce"),
            connect_urls: urls.take(SERVERS_MAX).map(str::to_owned).collect(),
        })
    }

    /// The version as three numbers; zeros where there are none.
    pub fn version_numbers(&self) -> [u32; 3] {
        let mut numbers = [0; 3];
        for (number, part) in numbers.iter_mut().zip(self.version.split('.')) {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            *number = part
                .get(..digits)
                .and_then(|it| it.parse().ok())
                .unwrap_or_default();
        }
        numbers
    }

    /// Why this server is no place for something that versions of it do from this one on: they take what
    /// they do not know, and do something else.
    ///
    /// # Errors
    ///
    /// With both versions.
    pub fn require(&self, what: &'static str, least: [u32; 2]) -> Result<(), TooOld> {
        let [major, minor, _] = self.version_numbers();
        if [major, minor] >= least {
            return Ok(());
        }
        let version = self.version.clone();
        Err(TooOld {
            what,
            version,
            least,
        })
    }

    /// Why this server is no place for topics; `None` if it is one.
    pub fn flaw(&self) -> Option<String> {
        let version = &self.version;
        // Losses in replicated streams, mended in 2.10.23.
        if ([2, 10, 20]..=[2, 10, 22]).contains(&self.version_numbers()) {
            return Some(format!(
                "the NATS server has version {version}: 2.10.20 to 2.10.22 lose messages, use 2.10.23 or newer"
            ));
        }
        (!self.headers)
            .then(|| format!("the NATS server ({version}) takes no messages with headers"))
    }
}

/// A server that is too old for what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the NATS server has version {version}: {what} need {}.{} or newer", least[0], least[1]
)]
pub struct TooOld {
    /// What is asked for, in the plural.
    pub what: &'static str,
    /// The server's version.
    pub version: String,
    /// The first version that does it.
    pub least: [u32; 2],
}

/// Who this client is for the server. No secret is shown by [`Debug`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// Name in the server's lists of clients.
    pub name: String,
    /// With [`password`](Self::password).
    pub user: Option<String>,
    /// With [`user`](Self::user).
    pub password: Option<String>,
    /// Instead of a user.
    pub token: Option<String>,
    /// A user's JWT.
    pub jwt: Option<String>,
    /// A public key, where there is no JWT.
    pub nkey: Option<String>,
    /// The server's nonce, signed; base 64 for URLs, without padding.
    pub signature: Option<String>,
    /// Whether the connection is encrypted.
    pub is_encrypted: bool,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("name", &self.name)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A message as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Where it was published.
    pub subject: &'a [u8],
    /// The subscription it came for.
    pub sid: u64,
    /// Where an answer is expected; empty where none is.
    pub reply: &'a [u8],
    /// The block of headers, as it is; empty where there is none.
    pub headers: &'a [u8],
    /// The rest.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The number in the first line of the headers, and the text behind it: what a server says instead of
    /// a message. `None` for messages.
    pub fn status(&self) -> Option<(u16, &'a str)> {
        let line = self.headers.split(|byte| *byte == b'\n').next()?;
        let text = std::str::from_utf8(line.strip_prefix(b"NATS/1.0 ")?).ok()?;
        let (number, text) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        Some((number.parse().ok()?, text))
    }

    /// The first value of each of these headers. One that is not text is there, and nothing that could
    /// be meant.
    pub fn headers<const N: usize>(&self, names: [&str; N]) -> [Option<&'a str>; N] {
        let mut found = [None; N];
        for line in self.headers.split(|byte| *byte == b'\n').skip(1) {
            let Some(at) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            let (name, value) = line.split_at(at);
            let place = names.iter().position(|it| it.as_bytes() == name);
            if let Some(slot @ None) = place.and_then(|at| found.get_mut(at)) {
                let value = value.get(1..).unwrap_or_default().trim_ascii();
                *slot = Some(std::str::from_utf8(value).unwrap_or(NOT_TEXT));
            }
        }
        found
    }
}

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A message for a subscription.
    Message(Message<'a>),
    /// The answer to [`ping`](Connection::ping): what was said before it is handled.
    Pong,
    /// Something was wrong; most often the end follows.
    Error(String),
    /// News of the cluster.
    Info(Box<ServerInfo>),
}

/// The connection, from behind the first line of the server on.
#[derive(Debug)]
pub struct Connection {
    message_bytes_max: usize,
    /// What came and is not handled.
    /// Bound: `LINE_BYTES_MAX` or the largest message, and what was handed in at once.
    input: Vec<u8>,
    /// What is to be sent.
    /// Bound: that of the caller, who hands in nothing while it is long.
    output: Vec<u8>,
    sent: usize,
    headers: String,
}

impl Connection {
    /// A connection whose server may send messages of so many bytes, headers included.
    pub fn new(message_bytes_max: usize) -> Self {
        Self {
            message_bytes_max,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            headers: String::new(),
        }
    }

    /// Bytes to send.
    pub fn output(&self) -> &[u8] {
        self.output.get(self.sent..).unwrap_or_default()
    }

    /// So many of them are sent.
    pub fn handle_written(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes);
        if self.sent >= self.output.len() {
            self.output.clear();
            self.output.shrink_to(LINE_BYTES_MAX);
            self.sent = 0;
        }
    }

    /// Says who this is; the first thing to say.
    pub fn connect(&mut self, login: &Login) {
        let mut fields = serde_json::json!({
            "verbose": false,
            "pedantic": false,
            "lang": "rust",
            "version": env!("CARGO_PKG_VERSION"),
            "protocol": 1,
            "echo": false,
            "headers": true,
            "no_responders": true,
            "tls_required": login.is_encrypted,
            "name": login.name,
        });
        for (name, value) in [
            ("user", &login.user),
            ("pass", &login.password),
            ("auth_token", &login.token),
            ("jwt", &login.jwt),
            ("nkey", &login.nkey),
            ("sig", &login.signature),
        ] {
            if let Some(value) = value {
                fields[name] = value.as_str().into();
            }
        }
        self.line(format_args!("CONNECT {fields}"));
    }

    /// Asks for an [`Event::Pong`].
    pub fn ping(&mut self) {
        self.output.extend_from_slice(b"PING\r\n");
    }

    /// Subscribes to a subject, under a number of the caller's.
    pub fn subscribe(&mut self, sid: u64, subject: &str) {
        self.line(format_args!("SUB {subject} {sid}"));
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, sid: u64) {
        self.line(format_args!("UNSUB {sid}"));
    }

    /// Publishes a message, unless headers and payload together are more than `max` bytes.
    ///
    /// # Errors
    ///
    /// How many bytes they are.
    pub fn publish(
        &mut self,
        subject: &str,
        headers: impl Iterator<Item = (&'static str, String)>,
        payload: &[u8],
        max: usize,
    ) -> Result<(), usize> {
        self.request(subject, "", headers, payload, max)
    }

    /// As [`publish`](Self::publish), with the subject for an answer.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn request(
        &mut self,
        subject: &str,
        reply: &str,
        headers: impl Iterator<Item = (&'static str, String)>,
        payload: &[u8],
        max: usize,
    ) -> Result<(), usize> {
        self.headers.clear();
        self.headers.push_str("NATS/1.0\r\n");
        for (name, value) in headers {
            // Writing to a string does not fail.
            let _ = write!(self.headers, "{name}: {value}\r\n");
        }
        self.headers.push_str("\r\n");
        let size = self.headers.len();
        let total = size.saturating_add(payload.len());
        if total > max {
            return Err(total);
        }
        let gap = if reply.is_empty() { "" } else { " " };
        self.line(format_args!("HPUB {subject} {reply}{gap}{size} {total}"));
        self.output.extend_from_slice(self.headers.as_bytes());
        self.output.extend_from_slice(payload);
        self.output.extend_from_slice(CRLF);
        Ok(())
    }

    /// Publishes a few bytes without headers, such as an acknowledgement.
    pub fn publish_plain(&mut self, subject: &str, payload: &[u8]) {
        let size = payload.len();
        self.line(format_args!("PUB {subject} {size}"));
        self.output.extend_from_slice(payload);
        self.output.extend_from_slice(CRLF);
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to memory does not fail.
        let _ = self.output.write_fmt(line);
        self.output.extend_from_slice(CRLF);
    }

    /// Takes what came; says what it means. Pings are answered.
    ///
    /// # Errors
    ///
    /// When the server leaves the protocol; the connection is useless then.
    pub fn handle_bytes(
        &mut self,
        bytes: &[u8],
        mut on: impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        self.input.extend_from_slice(bytes);
        let mut start = 0;
        let mut pongs = 0;
        let mut result = Ok(());
        while let Some(rest) = self.input.get(start..) {
            match next(rest, self.message_bytes_max) {
                Ok(Some((op, size))) => {
                    match op {
                        Op::Ping => pongs += 1,
                        Op::Ok => {}
                        Op::Event(event) => on(event),
                    }
                    start += size;
                }
                Ok(None) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.input.drain(..start);
        if self.input.is_empty() {
            self.input.shrink_to(LINE_BYTES_MAX);
        }
        for _ in 0..pongs {
            self.output.extend_from_slice(b"PONG\r\n");
        }
        result
    }
}

enum Op<'a> {
    Ping,
    Ok,
    Event(Event<'a>),
}

/// The first operation of some bytes and its size; `None` when it is not complete.
fn next(bytes: &[u8], max: usize) -> Result<Option<(Op<'_>, usize)>, ProtocolError> {
    let Some(end) = bytes
        .iter()
        .take(LINE_BYTES_MAX)
        .position(|it| *it == b'\n')
    else {
        return match bytes.len() {
            ..LINE_BYTES_MAX => Ok(None),
            _ => Err(ProtocolError::LineTooLong),
        };
    };
    let (line, behind) = bytes.split_at(end + 1);
    let words = line.trim_ascii();
    let at = words.iter().position(u8::is_ascii_whitespace);
    let (name, rest) = words.split_at(at.unwrap_or(words.len()));
    let size = end + 1;
    let event = |event| Ok(Some((Op::Event(event), size)));
    match name.to_ascii_uppercase().as_slice() {
        b"MSG" => message(words, rest, behind, false, max)
            .map(|it| it.map(|(message, more)| (Op::Event(Event::Message(message)), size + more))),
        b"HMSG" => message(words, rest, behind, true, max)
            .map(|it| it.map(|(message, more)| (Op::Event(Event::Message(message)), size + more))),
        b"PING" => Ok(Some((Op::Ping, size))),
        b"PONG" => event(Event::Pong),
        b"+OK" => Ok(Some((Op::Ok, size))),
        b"-ERR" => event(Event::Error(
            shown(rest.trim_ascii()).trim_matches('\'').to_owned(),
        )),
        b"INFO" => event(Event::Info(Box::new(ServerInfo::parse(words)?))),
        _ => Err(ProtocolError::Unknown(shown(words))),
    }
}

/// A message, and the bytes behind its line.
fn message<'a>(
    line: &[u8],
    arguments: &'a [u8],
    behind: &'a [u8],
    has_headers: bool,
    max: usize,
) -> Result<Option<(Message<'a>, usize)>, ProtocolError> {
    let wrong = || ProtocolError::Sizes(shown(line));
    let number = |word: &[u8]| {
        let digits = word.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(word).ok().filter(|_| digits)?;
        text.parse::<usize>().ok()
    };
    let words: Vec<&[u8]> = arguments
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .take(6)
        .collect();
    // Subject, subscription, perhaps where to answer, perhaps the size of the headers, the size.
    let sizes = 1 + usize::from(has_headers);
    if !(2 + sizes..=3 + sizes).contains(&words.len()) {
        return Err(wrong());
    }
    let mut from_end = words.iter().rev();
    let total = from_end
        .next()
        .and_then(|it| number(it))
        .ok_or_else(wrong)?;
    let header = if has_headers {
        from_end
            .next()
            .and_then(|it| number(it))
            .ok_or_else(wrong)?
    } else {
        0
    };
    if total > max {
        return Err(ProtocolError::TooLarge { size: total, max });
    }
    let (Some(subject), Some(sid)) = (words.first(), words.get(1)) else {
        return Err(wrong());
    };
    let sid = number(sid).and_then(|it| u64::try_from(it).ok());
    let sid = sid.ok_or_else(wrong)?;
    let has_reply = words.len() > 2 + sizes;
    let reply = words.get(2).copied().filter(|_| has_reply);
    if header > total {
        return Err(wrong());
    }
    let size = total + CRLF.len();
    let Some(body) = behind.get(..size) else {
        return Ok(None);
    };
    let body = body.strip_suffix(CRLF).ok_or_else(wrong)?;
    let (headers, payload) = body.split_at(header);
    let message = Message {
        subject,
        sid,
        reply: reply.unwrap_or_default(),
        headers,
        payload,
    };
    Ok(Some((message, size)))
}

/// Text of a server, as far as it is shown: one line that prints.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let shown = text.chars().take(TEXT_MAX).flat_map(|it| {
        let escaped = it.is_control().then(|| it.escape_default());
        let plain = escaped.is_none().then_some(it);
        escaped.into_iter().flatten().chain(plain)
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1000;

    fn text(event: &Event<'_>) -> String {
        match event {
            Event::Message(message) => format!(
                "{} {} {:?} {:?}",
                String::from_utf8_lossy(message.subject),
                message.sid,
                message.headers(["A", "Bk-Topic"]),
                String::from_utf8_lossy(message.payload)
            ),
            other => format!("{other:?}"),
        }
    }

    fn feed(bytes: &[u8], piece: usize) -> (Vec<String>, Result<(), ProtocolError>, Vec<u8>) {
        let mut connection = Connection::new(MAX);
        let mut seen = Vec::new();
        let mut result = Ok(());
        for piece in bytes.chunks(piece.max(1)) {
            result = connection.handle_bytes(piece, |event| seen.push(text(&event)));
            if result.is_err() {
                break;
            }
        }
        (seen, result, connection.output().to_vec())
    }

    #[test]
    fn what_a_server_says_is_understood_in_any_pieces() {
        let bytes = b"+OK\r\nPING\r\nMSG a.b 7 2\r\nhi\r\n\
            HMSG c 8 answer 30 32\r\nNATS/1.0\r\nA: 1\r\nA: 2\r\nB: 3\r\n\r\n\r\n\r\npong\r\n\
            -ERR 'Slow Consumer'\r\n";
        for piece in 1..bytes.len() {
            let (seen, result, output) = feed(bytes, piece);
            assert_eq!(result, Ok(()));
            assert_eq!(output, b"PONG\r\n");
            assert_eq!(
                seen,
                [
                    "a.b 7 [None, None] \"hi\"",
                    "c 8 [Some(\"1\"), None] \"\\r\\n\"",
                    "Pong",
                    "Error(\"Slow Consumer\")",
                ]
            );
        }
    }

    #[test]
    fn headers_of_strangers_are_no_end_of_a_connection() {
        let blocks: [&[u8]; 5] = [
            b"",
            b"NATS/1.0\r\nBk-Topic: \xff\r\n\r\n",
            b"no version and no end",
            b"NATS/1.0 999\r\n::::\r\n\n\n:\r\n\0\r\n",
            b"NATS/1.0\r\nBk-Topic\r\n\r\n",
        ];
        for block in blocks {
            let size = block.len();
            let mut bytes = format!("HMSG s 1 {size} {}\r\n", size + 1).into_bytes();
            bytes.extend_from_slice(block);
            bytes.extend_from_slice(b"x\r\nPONG\r\n");
            let (seen, result, _) = feed(&bytes, 3);
            assert_eq!((seen.len(), result), (2, Ok(())), "{seen:?}");
            let is_there = block.starts_with(b"NATS/1.0\r\nBk-Topic:");
            assert_eq!(seen[0].contains(NOT_TEXT), is_there, "{seen:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_ends_it_by_name() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], "unknown operation"),
            (b"MSG a 1\r\n", "makes no sense"),
            (b"MSG a 1 x\r\n", "makes no sense"),
            (b"MSG a 1 r 2 3\r\n", "makes no sense"),
            (b"MSG a -1 2\r\n", "makes no sense"),
            (b"HMSG a 1 5 4\r\n", "makes no sense"),
            (b"MSG a 1 1001\r\n", "1001 bytes, more than 1000"),
            (b"MSG a 1 99999999999999999999999\r\n", "makes no sense"),
            (b"MSG a 1 1\r\nxyz", "makes no sense"),
            (b"INFO []\r\n", "INFO"),
        ] {
            let (_, result, _) = feed(bytes, 1000);
            let error = result.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let (_, result, _) = feed(&vec![b'x'; LINE_BYTES_MAX], 4096);
        assert_eq!(result, Err(ProtocolError::LineTooLong));
    }

    #[test]
    fn the_server_says_who_it_is() {
        let line = br#"INFO {"version":"2.10.21-beta","max_payload":1048576,"headers":true,
            "connect_urls":["a:1","b:2",3],"nonce":"xyz","tls_required":false,"x":{}}"#;
        let info = ServerInfo::parse(line).unwrap();
        assert_eq!((info.max_payload, info.headers), (1 << 20, true));
        assert_eq!(info.connect_urls, ["a:1", "b:2"]);
        assert_eq!(info.version_numbers(), [2, 10, 21]);
        assert!(info.flaw().unwrap().contains("2.10.23"));
        for (version, is_fit) in [("2.10.19", true), ("2.10.23", true), ("2.11.0", true)] {
            let info = ServerInfo {
                version: version.to_owned(),
                ..info.clone()
            };
            assert_eq!(info.flaw().is_none(), is_fit);
        }
        let old = ServerInfo::parse(b"INFO {}").unwrap();
        assert!(old.flaw().unwrap().contains("headers"));
        assert!(ServerInfo::parse(b"SSH-2.0").is_err());
    }

    #[test]
    fn what_a_client_says_is_what_servers_read() {
        let mut connection = Connection::new(MAX);
        let login = Login {
            name: "me".to_owned(),
            user: Some("u".to_owned()),
            password: Some("s\"ecret".to_owned()),
            ..Login::default()
        };
        assert!(!format!("{login:?}").contains("ecret"));
        connection.connect(&login);
        connection.subscribe(1, "bk.>");
        connection.unsubscribe(1);
        let header = || std::iter::once(("A", "1".to_owned()));
        assert_eq!(connection.publish("bk.a", header(), b"xy", 20), Ok(()));
        assert_eq!(connection.publish("bk.a", header(), b"xyz", 20), Err(21));
        let output = String::from_utf8(connection.output().to_vec()).unwrap();
        let (first, rest) = output.split_once("\r\n").unwrap();
        let fields: Value = serde_json::from_str(&first["CONNECT ".len()..]).unwrap();
        assert_eq!(
            (&fields["pass"], &fields["echo"]),
            (&"s\"ecret".into(), &false.into())
        );
        assert_eq!(
            rest,
            "SUB bk.> 1\r\nUNSUB 1\r\nHPUB bk.a 18 20\r\nNATS/1.0\r\nA: 1\r\n\r\nxy\r\n"
        );
        connection.handle_written(output.len() - 2);
        assert_eq!(connection.output(), CRLF);
        connection.handle_written(2);
        assert_eq!(connection.output(), b"");
    }

    proptest! {
        #[test]
        fn anything_is_the_same_in_other_pieces(
            lines in prop::collection::vec(
                prop_oneof![
                    "(H?MSG|PING|-ERR|INFO|\\+OK) ?[a-z0-9{} .]{0,12}\r\n",
                    Just("MSG a 1 2\r\nhi\r\n".to_owned()),
                    Just("HMSG a 1 2 4\r\nhihi\r\n".to_owned()),
                ],
                0..8,
            ),
            piece in 1..20_usize,
        ) {
            let bytes = lines.concat();
            let (seen, result, output) = feed(bytes.as_bytes(), piece);
            prop_assert_eq!((seen, result, output), feed(bytes.as_bytes(), usize::MAX));
        }
    }
}
