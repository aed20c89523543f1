//! A server's bytes against our side of a peering with it, without its sockets: the answer to the HTTP
//! request, frames, and the conversation with its renewals. Whatever comes, only values under topics
//! that servers may publish to get through, what the session asks for makes sense, and it ends once.
//!
//! Input: a byte that says which subscriptions change when, then bytes as they come off a socket. While
//! a peering has two connections the size of a frame says which one it came on, and time passes with
//! every message.

#![no_main]

use std::collections::BTreeSet;
use std::io::Cursor;

use broker_data::json::Form;
use broker_data::{Timespan, Timestamp, validate};
use broker_proto::config::REASON_MAX;
use broker_proto::json::client::{ClientConfig, ClientOutput, ClientSession, ServerConnectionId, ConnectionEnd};
use broker_proto::json::message::{is_reserved, write_data};
use broker_proto::http::request::{UpgradeRequest, answer_size};
use broker_proto::peer_url::PeerUrl;
use broker_proto::http::websocket::{CONTROL_BYTES_MAX, FrameHead, FrameKind, FrameRules, close_of};
use broker_proto::{Filter, Topic};
use libfuzzer_sys::fuzz_target;
use tungstenite::protocol::frame::FrameHeader;

/// The key of RFC 6455, section 1.3, and what proves that a server has read it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const MESSAGE_BYTES_MAX: usize = 4096;

/// Texts of the server that go into reports are cut; what stands around them is short.
const REPORT_BYTES_MAX: usize = 4 * REASON_MAX;

struct Scene {
    session: ClientSession,
    now: Timestamp,
    form: Form,
    /// Every connection there ever was, the open ones, and those that were told that it is over.
    known: BTreeSet<ServerConnectionId>,
    open: Vec<ServerConnectionId>,
    closing: BTreeSet<ServerConnectionId>,
    joined: bool,
    ended: bool,
}

impl Scene {
    /// Does what the session asks for, as far as it can be done without a socket.
    fn carry_out(&mut self) {
        while let Some(output) = self.session.poll_output() {
            assert!(!self.ended, "nothing comes behind the end: {output:?}");
            match output {
                ClientOutput::Open { connection } => {
                    assert!(self.known.insert(connection), "numbers of connections are not reused");
                    self.open.push(connection);
                    assert!(self.open.len() <= 2);
                    self.session.handle_opened(self.now, connection, self.form);
                }
                ClientOutput::Send { connection, text } => {
                    assert!(self.open.contains(&connection) && text.starts_with('['));
                }
                ClientOutput::Ping { connection, .. } => assert!(self.open.contains(&connection)),
                ClientOutput::Close { connection } => {
                    assert!(self.open.contains(&connection) && self.closing.insert(connection));
                }
                ClientOutput::Drop { connection } => self.forget(connection),
                ClientOutput::Joined { peer, .. } => {
                    assert!(!self.joined && !peer.is_nil());
                    self.joined = true;
                }
                ClientOutput::Complain { text, .. } => {
                    assert!(self.joined && text.len() <= REPORT_BYTES_MAX, "{text}");
                }
                ClientOutput::Ended { cause } => {
                    assert!(cause.unwrap_or_default().len() <= REPORT_BYTES_MAX);
                    self.ended = true;
                }
            }
        }
        assert_eq!(self.session.is_joined(), self.joined);
        if let Some((connection, form)) = self.session.writer() {
            assert!(self.joined && !self.ended);
            assert!(self.open.contains(&connection) && !self.closing.contains(&connection));
            assert_eq!(form, self.form);
        }
    }

    fn forget(&mut self, connection: ServerConnectionId) {
        self.open.retain(|known| *known != connection);
    }

    fn lose(&mut self, connection: ServerConnectionId, loss: &ConnectionEnd) {
        self.forget(connection);
        self.session.handle_lost(self.now, connection, loss);
        self.carry_out();
    }

    fn text(&mut self, connection: ServerConnectionId, text: &[u8]) {
        let mut payload = vec![0xaa];
        let topic = self.session.handle_text(self.now, connection, text, &mut payload);
        let (kept, value) = payload.split_at(1);
        assert_eq!(kept, [0xaa]);
        match topic {
            None => assert!(value.is_empty()),
            Some(topic) => {
                assert!(self.joined && !is_reserved(topic.as_bytes()));
                assert!(validate(value).is_ok());
                // It may go on to a client of ours.
                let mut text = String::new();
                write_data(&mut text, topic.as_bytes(), value, Form::Lossless)
                    .expect("a value can be written");
            }
        }
        self.carry_out();
    }

    /// Lets time pass, and a timeout happen if that is long enough.
    fn pass(&mut self, span: Timespan) {
        self.now = self.now.saturating_add(span);
        if let Some((at, _)) = self.session.next_timeout()
            && at <= self.now
        {
            self.session.handle_timeout(self.now);
            self.carry_out();
        }
    }
}

fn filter(topics: &[&str]) -> Filter {
    topics.iter().map(|topic| Topic::from(*topic)).collect()
}

/// The frame at the front of some bytes and its size, if it is complete and may come now.
fn frame<'a>(rules: &FrameRules, bytes: &'a [u8]) -> Option<(FrameKind, &'a [u8], usize)> {
    let mut cursor = Cursor::new(bytes);
    let (header, length) = FrameHeader::parse(&mut cursor).ok()??;
    let kind = rules.judge(&FrameHead {
        is_final: header.is_final,
        is_reserved: header.rsv1 || header.rsv2 || header.rsv3,
        is_masked: header.mask.is_some(),
        opcode: header.opcode.into(),
        length,
    });
    let start = usize::try_from(cursor.position()).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    Some((kind.ok()?, bytes.get(start..end)?, end))
}

fuzz_target!(|bytes: &[u8]| {
    let Some((plan, bytes)) = bytes.split_first() else {
        return;
    };
    let url = PeerUrl::parse("ws://localhost:27759", None).expect("a URL");
    let request = UpgradeRequest {
        url: &url,
        key: KEY,
        application: Some("fuzz"),
        lossless: plan & 1 != 0,
    };
    let size = match answer_size(bytes) {
        Ok(Some(size)) => size,
        Ok(None) => return,
        Err(cause) => return assert!(cause.len() <= REPORT_BYTES_MAX),
    };
    // As it is judged when the head is there, and with what comes behind a refusal.
    let (head, mut input) = bytes.split_at(size);
    let form = match request.judge(head, ACCEPT) {
        Ok(form) => form,
        Err(_) => {
            request
                .judge(bytes, ACCEPT)
                .expect_err("a body changes nothing");
            return;
        }
    };
    assert!(form == Form::Original || request.lossless && form == Form::Lossless);

    let config = ClientConfig {
        seed: u64::from(*plan),
        ack_timeout: Timespan::from_millis(30_000),
        ping_interval: Timespan::from_millis(15_000),
    };
    let mut scene = Scene {
        session: ClientSession::new(config, &filter(&["/zeek/event/out"])),
        now: Timestamp::from_ns(0),
        form,
        known: BTreeSet::new(),
        open: Vec::new(),
        closing: BTreeSet::new(),
        joined: false,
        ended: false,
    };
    scene.carry_out();
    let mut rules = FrameRules::new(MESSAGE_BYTES_MAX);
    let mut message = Vec::new();
    for number in 0_usize.. {
        let Some((kind, payload, end)) = frame(&rules, input) else {
            break;
        };
        rules.taken(kind, payload.len());
        input = input.get(end..).expect("it is complete");
        let Some(connection) = scene
            .open
            .get(payload.len() % scene.open.len().max(1))
            .copied()
        else {
            break;
        };
        scene.session.handle_heard(scene.now, connection);
        match kind {
            FrameKind::Data { is_last } => {
                message.extend_from_slice(payload);
                assert!(message.len() <= MESSAGE_BYTES_MAX);
                if is_last {
                    scene.text(connection, &message);
                    message.clear();
                }
            }
            FrameKind::Ping => assert!(payload.len() <= CONTROL_BYTES_MAX),
            FrameKind::Pong => {
                scene.session.handle_pong(scene.now, connection, payload);
                scene.carry_out();
            }
            FrameKind::Close => {
                let (code, reason) = close_of(payload);
                scene.lose(connection, &ConnectionEnd::Closed { code, reason });
            }
        }
        if usize::from(plan >> 1) == number {
            scene
                .session
                .set_interest(scene.now, &filter(&["/zeek", "/other"]));
            scene.carry_out();
        }
        scene.pass(Timespan::from_millis(
            i64::try_from(payload.len()).unwrap_or(0),
        ));
    }
    // When nothing more comes the session is over after a while.
    for _ in 0..1000 {
        let Some((at, _)) = scene.session.next_timeout() else {
            break;
        };
        scene.now = scene.now.max(at);
        scene.pass(Timespan::ZERO);
    }
    assert!(scene.ended && scene.session.next_timeout().is_none());
});
