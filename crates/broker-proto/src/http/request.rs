//! The HTTP request that a client opens a WebSocket with, and the judgement of the answer.
//!
//! Spec: websocket 1, 6.

use broker_data::json::Form;

use crate::http::upgrade::{APPLICATION_NAME, LOSSLESS_PROTOCOL};
use crate::peer_url::PeerUrl;

/// Largest head of an answer in bytes. Servers of the protocol send 130; proxies add fields.
pub const ANSWER_BYTES_MAX: usize = 8 * 1024;

/// Bytes of the body of a refusal that are worth repeating.
const BODY_MAX: usize = 200;

/// A request for a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradeRequest<'a> {
    /// Where to.
    pub url: &'a PeerUrl,
    /// 16 random bytes in base 64.
    pub key: &'a str,
    /// What this program calls itself.
    pub application: Option<&'a str>,
    /// Whether to offer the subprotocol that loses nothing, which only servers of this project
    /// know.
    pub lossless: bool,
}

impl UpgradeRequest<'_> {
    /// The request.
    pub fn text(&self) -> String {
        let mut text = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\n",
            self.url.path,
            self.url.authority(),
            self.key
        );
        let mut field = |name: &str, value: &str| {
            text.push_str(name);
            text.push_str(": ");
            text.push_str(value);
            text.push_str("\r\n");
        };
        if let Some(application) = self.application {
            field(APPLICATION_NAME, application);
        }
        if self.lossless {
            field("Sec-WebSocket-Protocol", LOSSLESS_PROTOCOL);
        }
        text.push_str("\r\n");
        text
    }

    /// Judges an answer, its head at the start of `bytes` and behind it what came of a body. The
    /// server must prove with `accept` that it read the key. Returns how messages are spelled.
    ///
    /// # Errors
    ///
    /// When the server does not switch to the protocol that was asked for; in words.
    pub fn judge(&self, bytes: &[u8], accept: &str) -> Result<Form, String> {
        let size = answer_size(bytes)?.unwrap_or(bytes.len());
        let (head, body) = bytes.split_at(size);
        let mut lines = head
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let status = lines.next().unwrap_or_default();
        let fields: Vec<(&[u8], &[u8])> = lines.filter_map(field).collect();
        let Some(rest) = status.strip_prefix(b"HTTP/1.") else {
            return Err("the other side does not speak HTTP".to_owned());
        };
        let rest = rest.get(1..).unwrap_or_default().trim_ascii_start();
        if !rest.starts_with(b"101") {
            let answer = String::from_utf8_lossy(rest.trim_ascii());
            let body = readable(body);
            let between = if body.is_empty() { "" } else { ": " };
            return Err(format!(
                "the server refuses the request with {answer}{between}{body}"
            ));
        }
        let value = |name: &str| {
            let mut found = fields.iter().filter(|(it, _)| is_same(it, name));
            found.next().map(|(_, value)| *value)
        };
        let upgrades = value("Upgrade").is_some_and(|it| is_same(it, "websocket"));
        if !upgrades || value("Sec-WebSocket-Accept") != Some(accept.as_bytes()) {
            return Err("the server's answer is not that of a WebSocket server".to_owned());
        }
        if value("Sec-WebSocket-Extensions").is_some_and(|it| !it.is_empty()) {
            return Err("the server wants an extension that was not offered".to_owned());
        }
        match value("Sec-WebSocket-Protocol") {
            None | Some(b"") => Ok(Form::Original),
            Some(name) if self.lossless && is_same(name, LOSSLESS_PROTOCOL) => Ok(Form::Lossless),
            Some(name) => Err(format!(
                "the server wants the subprotocol `{}`, which was not offered",
                readable(name)
            )),
        }
    }
}

/// Where the head of an answer ends; `None` while its end has not come.
///
/// # Errors
///
/// When there is no end within [`ANSWER_BYTES_MAX`], or what came is not HTTP; in words.
pub fn answer_size(bytes: &[u8]) -> Result<Option<usize>, String> {
    const START: &[u8] = b"HTTP/1.";
    let common = bytes.len().min(START.len());
    if bytes.get(..common) != START.get(..common) {
        return Err(match bytes {
            [0x14..=0x17, 3, ..] => "the server uses TLS: try `wss://`".to_owned(),
            _ => "the other side does not speak HTTP".to_owned(),
        });
    }
    let window = bytes.get(..ANSWER_BYTES_MAX).unwrap_or(bytes);
    match window.windows(4).position(|end| end == b"\r\n\r\n") {
        Some(at) => Ok(Some(at.saturating_add(4))),
        None if bytes.len() >= ANSWER_BYTES_MAX => Err("the server's answer has no end".to_owned()),
        None => Ok(None),
    }
}

fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at(colon);
    Some((name, value.get(1..)?.trim_ascii()))
}

fn is_same(bytes: &[u8], text: &str) -> bool {
    bytes.eq_ignore_ascii_case(text.as_bytes())
}

/// The first line of a text of a stranger, without what a terminal would act on.
fn readable(bytes: &[u8]) -> String {
    let bytes = bytes.get(..BODY_MAX).unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    let line = text.trim().lines().next().unwrap_or_default();
    line.chars().filter(|it| !it.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn judge(answer: &str, lossless: bool) -> Result<Form, String> {
        let url = PeerUrl::parse("ws://h:1", None).unwrap();
        let request = UpgradeRequest {
            url: &url,
            key: "dGhlIHNhbXBsZSBub25jZQ==",
            application: None,
            lossless,
        };
        request.judge(answer.as_bytes(), ACCEPT)
    }

    fn switching(fields: &str) -> String {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\n\
             sec-websocket-accept:{ACCEPT}\r\n{fields}\r\n"
        )
    }

    #[test]
    fn a_request_has_what_was_asked_for() {
        let url = PeerUrl::parse("ws://[::1]:1?a", None).unwrap();
        let mut request = UpgradeRequest {
            url: &url,
            key: "k",
            application: None,
            lossless: false,
        };
        let plain = request.text();
        assert!(plain.starts_with("GET /v1/messages/json?a HTTP/1.1\r\nHost: [::1]:1\r\n"));
        assert!(!plain.contains("Protocol") && plain.ends_with("\r\n\r\n"));
        request.application = Some("me");
        request.lossless = true;
        let full = request.text();
        assert!(full.contains("\r\nX-Application-Name: me\r\n"));
        assert!(full.contains("\r\nSec-WebSocket-Protocol: broker-json-v1-lossless\r\n"));
    }

    #[test]
    fn an_answer_proves_that_the_key_was_read() {
        assert_eq!(judge(&switching(""), false), Ok(Form::Original));
        let wrong = switching("").replace("s3p", "xxx");
        assert!(judge(&wrong, false).unwrap_err().contains("not that of a"));
        assert!(judge("HTTP/1.1 101 OK\r\n\r\n", false).is_err());
    }

    #[test]
    fn nothing_is_agreed_on_that_was_not_offered() {
        let protocol = "Sec-WebSocket-Protocol: broker-json-v1-lossless\r\n";
        assert_eq!(judge(&switching(protocol), true), Ok(Form::Lossless));
        assert!(judge(&switching(protocol), false).is_err());
        let extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        assert!(judge(&switching(extension), true).is_err());
    }

    #[test]
    fn a_refusal_is_repeated() {
        let text = "HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\nno \u{1b}way\nmore";
        let error = judge(text, false).unwrap_err();
        assert_eq!(
            error,
            "the server refuses the request with 400 Bad Request: no way"
        );
    }

    #[test]
    fn other_protocols_are_told_from_http() {
        let size = |bytes: &[u8]| answer_size(bytes);
        assert_eq!(size(b""), Ok(None));
        assert_eq!(size(b"HTT"), Ok(None));
        assert_eq!(size(b"HTTP/1.1 101\r\n\r\nx"), Ok(Some(16)));
        assert!(size(&[0x15, 3, 3, 0, 2]).unwrap_err().contains("wss://"));
        assert!(size(b"\0\0\0\x01").unwrap_err().contains("HTTP"));
        let endless = [&b"HTTP/1.1 "[..], &[b'x'; ANSWER_BYTES_MAX]].concat();
        assert!(size(&endless).unwrap_err().contains("no end"));
    }
}
