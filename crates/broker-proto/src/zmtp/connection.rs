//! One connection: bytes in, events out, from the greeting to its end.
//!
//! Every call of `handle_*` is followed by [`Connection::poll_event`] until it returns `None`, and by
//! writing [`Connection::output`] to the socket. What was received lies in one buffer; messages are
//! views of it and are decrypted in it.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use std::collections::BTreeSet;
use std::ops::Range;

use broker_data::{Timespan, Timestamp};

use super::frame::{BodyLimit, COMMAND, Head, MORE};
use super::message::Message;
use super::{
    ConnectionConfig, Entropy, Error, PublicKey, Security, SendError, SocketType, Stage,
    Subscriptions, command, curve, encoded, frame, greeting,
};

/// Received bytes that have been read and are still in front of the buffer before it is moved.
const READ_BYTES_MAX: usize = 64 << 10;
/// Capacity beyond which an empty buffer gives its memory back.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// Bytes that wait to be sent beyond which pings are not answered: traffic is a sign of life too, and
/// a peer that pings and does not read must not make the buffer grow.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What a peer is, known when the handshake is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Kind of its socket.
    pub socket_type: SocketType,
    /// Version that it announced.
    pub version: (u8, u8),
    /// A client's key, if this end is a CURVE server.
    pub key: Option<PublicKey>,
}

/// What happened on a connection.
#[derive(Debug)]
pub enum Event<'a> {
    /// The handshake is complete: messages can be sent.
    Ready(Peer),
    /// A message came.
    Message(Message<'a>),
    /// The peer subscribed to this prefix, perhaps again.
    Subscribed(&'a [u8]),
    /// The peer does not want this prefix any more.
    Unsubscribed(&'a [u8]),
    /// It is over. What is in the output is to be written once more, then the socket to be closed.
    Failed(Error),
}

/// What the next timeout is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeoutReason {
    /// The end of the handshake.
    Handshake,
    /// A ping to a silent peer.
    Ping,
    /// A sign of life after that.
    Liveness,
}

/// What a call of `step` came to.
enum Step {
    /// More bytes are needed.
    Nothing,
    /// There may be more.
    Again,
    Ready(Peer),
    Message,
    Subscribed(Range<usize>),
    Unsubscribed(Range<usize>),
}

#[derive(Debug)]
enum State {
    Greeting(Entropy),
    Null,
    Client(Box<curve::Client>),
    Server(Box<curve::Server>),
    Ready(Option<Box<curve::Channel>>),
    Over,
}

/// The state machine of one connection.
#[derive(Debug)]
pub struct Connection {
    config: ConnectionConfig,
    state: State,
    /// The greeting from behind its version on, until the peer's version came.
    greeting_rest: Option<Vec<u8>>,
    /// Minor version of the peer.
    minor: u8,
    version: (u8, u8),
    input: Vec<u8>,
    /// Where in the input the message begins that is incomplete, or was returned last.
    start: usize,
    /// Up to where the input was read.
    at: usize,
    parts: Vec<Range<usize>>,
    /// Whether what lies before `at` was returned and can go.
    is_returned: bool,
    output: Vec<u8>,
    /// Bytes of the output that have been written.
    written: usize,
    /// What this end subscribes to.
    wanted: BTreeSet<Box<[u8]>>,
    /// What the peer is subscribed to.
    subscriptions: Subscriptions,
    handshake_bytes: usize,
    handshake_deadline: Timestamp,
    heard: Timestamp,
    is_pinged: bool,
    is_closed: bool,
    failure: Option<Error>,
}

impl Connection {
    /// Begins a conversation on a socket that is connected: there is output to be written.
    #[must_use]
    pub fn new(config: ConnectionConfig, entropy: Entropy, now: Timestamp) -> Self {
        let mut output = Vec::new();
        greeting::write(&config.security, &mut output);
        let rest = output.split_off(greeting::VERSION_END);
        let handshake_deadline = now.saturating_add(config.limits.handshake_timeout);
        Self {
            config,
            state: State::Greeting(entropy),
            greeting_rest: Some(rest),
            minor: 0,
            version: (0, 0),
            input: Vec::new(),
            start: 0,
            at: 0,
            parts: Vec::new(),
            is_returned: false,
            output,
            written: 0,
            wanted: BTreeSet::new(),
            subscriptions: Subscriptions::new(),
            handshake_bytes: 0,
            handshake_deadline,
            heard: now,
            is_pinged: false,
            is_closed: false,
            failure: None,
        }
    }

    /// Takes bytes from the socket.
    pub fn handle_bytes(&mut self, now: Timestamp, bytes: &[u8]) {
        self.heard = now;
        self.is_pinged = false;
        if matches!(self.state, State::Over) {
            return;
        }
        self.release();
        self.make_room();
        self.input.extend_from_slice(bytes);
    }

    /// Notes that the peer closed the connection, or that it broke. Messages that came before are
    /// returned first.
    pub fn handle_closed(&mut self) {
        self.is_closed = true;
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let Some((due, reason)) = self.next_timeout() else {
            return;
        };
        if now < due {
            return;
        }
        match reason {
            TimeoutReason::Handshake => {
                let error = self.unfinished().unwrap_or(Error::Timeout(self.stage()));
                self.fail(error);
            }
            TimeoutReason::Ping => {
                // A time to live of zero: the peer decides by itself when to give up.
                self.write_command(command::PING, &[0, 0]);
                self.is_pinged = true;
            }
            TimeoutReason::Liveness => self.fail(Error::Silent),
        }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is to be called, and what for.
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Timestamp, TimeoutReason)> {
        match self.state {
            State::Greeting(_) | State::Null | State::Client(_) | State::Server(_) => {
                Some((self.handshake_deadline, TimeoutReason::Handshake))
            }
            State::Ready(_) => {
                let interval = self.config.ping_interval;
                if interval <= Timespan::from_ns(0) || self.minor == 0 {
                    return None;
                }
                let ping = self.heard.saturating_add(interval);
                Some(if self.is_pinged {
                    (ping.saturating_add(interval), TimeoutReason::Liveness)
                } else {
                    (ping, TimeoutReason::Ping)
                })
            }
            State::Over => None,
        }
    }

    /// Returns what happened next; to be called until it returns `None`.
    pub fn poll_event(&mut self) -> Option<Event<'_>> {
        self.release();
        let step = loop {
            match self.step() {
                Ok(Step::Again) => {}
                Ok(step) => break step,
                Err(error) => {
                    self.fail(error);
                    break Step::Nothing;
                }
            }
        };
        if matches!(step, Step::Nothing) && self.is_closed && !self.is_over() {
            let error = self.closed();
            self.fail(error);
        }
        let at = |range: Range<usize>| self.input.get(range).unwrap_or_default();
        match step {
            Step::Ready(peer) => Some(Event::Ready(peer)),
            Step::Message => Some(Event::Message(Message {
                bytes: &self.input,
                parts: &self.parts,
            })),
            Step::Subscribed(range) => Some(Event::Subscribed(at(range))),
            Step::Unsubscribed(range) => Some(Event::Unsubscribed(at(range))),
            Step::Nothing | Step::Again => self.failure.take().map(Event::Failed),
        }
    }

    /// Sends a message: appends it to the output.
    ///
    /// The machine has no limit for that; its caller looks at [`output`](Self::output) and keeps
    /// back, or drops, what is too much. Whether the peer is subscribed is the caller's to know, too.
    ///
    /// # Errors
    ///
    /// When the connection is not ready, or this kind of socket does not send.
    pub fn send(&mut self, parts: &[&[u8]]) -> Result<(), SendError> {
        if !self.config.socket_type.sends() {
            return Err(SendError::Direction(self.config.socket_type));
        }
        let State::Ready(channel) = &mut self.state else {
            return Err(SendError::NotReady);
        };
        let (last, before) = parts.split_last().ok_or(SendError::Empty)?;
        let flagged = before.iter().map(|part| (MORE, part));
        for (flags, part) in flagged.chain([(0, last)]) {
            match channel {
                None => frame::write(flags, part, &mut self.output),
                Some(channel) => channel.seal(flags, part.len(), &mut self.output, |text| {
                    text.extend_from_slice(part);
                }),
            }
        }
        Ok(())
    }

    /// Sends messages that are encoded already; see [`write_message`](super::write_message). As with
    /// [`send`](Self::send), there is no limit here.
    ///
    /// # Errors
    ///
    /// As those of [`send`](Self::send).
    pub fn send_encoded(&mut self, messages: &[u8]) -> Result<(), SendError> {
        if !self.config.socket_type.sends() {
            return Err(SendError::Direction(self.config.socket_type));
        }
        match &mut self.state {
            State::Ready(None) => self.output.extend_from_slice(messages),
            State::Ready(Some(channel)) => {
                for (flags, part) in encoded::frames(messages) {
                    channel.seal(flags, part.len(), &mut self.output, |text| {
                        text.extend_from_slice(part);
                    });
                }
            }
            _ => return Err(SendError::NotReady),
        }
        Ok(())
    }

    /// Subscribes to a prefix, now or as soon as the connection is ready; tells whether it is new.
    ///
    /// Only sockets that subscribe do anything here.
    pub fn subscribe(&mut self, prefix: &[u8]) -> bool {
        let is_new = self.config.socket_type.subscribes()
            && !self.wanted.contains(prefix)
            && self.wanted.insert(prefix.into());
        if is_new && self.is_ready() {
            self.write_subscription(prefix, true);
        }
        is_new
    }

    /// Takes a subscription back; tells whether there was one.
    pub fn unsubscribe(&mut self, prefix: &[u8]) -> bool {
        let was_there = self.wanted.remove(prefix);
        if was_there && self.is_ready() {
            self.write_subscription(prefix, false);
        }
        was_there
    }

    /// Returns what the peer is subscribed to.
    #[must_use]
    pub const fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// Tells whether messages can be sent.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    /// Tells whether it is over.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Returns the bytes that are to be written to the socket.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.output.get(self.written..).unwrap_or_default()
    }

    /// Notes that the first bytes of the output were written.
    pub fn handle_written(&mut self, bytes: usize) {
        self.written = self.written.saturating_add(bytes).min(self.output.len());
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
            shrink(&mut self.output);
        } else if self.written > READ_BYTES_MAX && self.written > self.output.len() / 2 {
            self.output.drain(..self.written);
            self.written = 0;
        }
    }

    /// Takes all of the output.
    pub fn take_output(&mut self) -> Vec<u8> {
        let output = self.output().to_vec();
        self.handle_written(output.len());
        output
    }

    /// Forgets the message that was returned last.
    fn release(&mut self) {
        if self.is_returned {
            self.is_returned = false;
            self.parts.clear();
            self.start = self.at;
        }
    }

    /// Moves the input to the front of its buffer when enough of it was read.
    fn make_room(&mut self) {
        if self.start == self.input.len() {
            self.input.clear();
            shrink(&mut self.input);
        } else if self.start > READ_BYTES_MAX && self.start > self.input.len() / 2 {
            self.input.drain(..self.start);
        } else {
            return;
        }
        let moved = std::mem::take(&mut self.start);
        self.at = self.at.saturating_sub(moved);
        for part in &mut self.parts {
            *part = part.start.saturating_sub(moved)..part.end.saturating_sub(moved);
        }
    }

    fn fail(&mut self, error: Error) {
        self.state = State::Over;
        self.failure = Some(error);
        self.parts.clear();
        self.input = Vec::new();
        self.start = 0;
        self.at = 0;
    }

    const fn stage(&self) -> Stage {
        match &self.state {
            State::Greeting(_) => Stage::Greeting,
            State::Client(client) if !client.has_welcome() => Stage::Welcome,
            State::Null | State::Client(_) => Stage::Ready,
            State::Server(server) if !server.has_hello() => Stage::Hello,
            State::Server(_) => Stage::Initiate,
            State::Ready(_) | State::Over => Stage::Traffic,
        }
    }

    /// What is wrong with a greeting that did not come to its end.
    fn unfinished(&self) -> Option<Error> {
        match (&self.state, self.input.first()) {
            (State::Greeting(_), None) => Some(Error::NoGreeting),
            (State::Greeting(_), Some(first)) if *first != 0xff => {
                Some(Error::NotZmtp(greeting::foreign(&self.input)))
            }
            _ => None,
        }
    }

    /// What it means that the peer closed the connection.
    fn closed(&self) -> Error {
        if let Some(error) = self.unfinished() {
            return error;
        }
        match self.stage() {
            // A server that cannot open the first box closes without a word. Spec: zeromq 8.
            Stage::Welcome => Error::ServerKey,
            Stage::Traffic => Error::Closed,
            stage @ (Stage::Greeting | Stage::Hello | Stage::Initiate | Stage::Ready) => {
                Error::ClosedEarly(stage)
            }
        }
    }

    fn step(&mut self) -> Result<Step, Error> {
        match self.state {
            State::Greeting(_) => self.read_greeting(),
            State::Null | State::Client(_) | State::Server(_) => self.read_handshake(),
            State::Ready(_) => self.read_traffic(),
            State::Over => Ok(Step::Nothing),
        }
    }

    fn read_greeting(&mut self) -> Result<Step, Error> {
        if let Some(start) = self.input.get(..greeting::VERSION_END) {
            greeting::read(start, &self.config.security)?;
            self.output
                .extend(self.greeting_rest.take().unwrap_or_default());
        }
        let Some(greeting) = greeting::read(&self.input, &self.config.security)? else {
            return Ok(Step::Nothing);
        };
        self.minor = greeting.minor;
        self.version = (greeting.major, greeting.minor);
        if greeting.major > 3 {
            // A later version speaks this one, too; what it would announce is unknown.
            self.minor = 1;
        }
        self.at = greeting::GREETING_BYTES;
        self.start = self.at;
        self.handshake_bytes = self.at;
        let State::Greeting(entropy) = std::mem::replace(&mut self.state, State::Over) else {
            return Ok(Step::Nothing);
        };
        self.state = match &self.config.security {
            Security::Null => {
                let metadata = command::metadata(self.config.socket_type);
                command::write(command::READY, &metadata, &mut self.output);
                State::Null
            }
            Security::CurveClient { server, keys } => {
                let client = curve::Client::new(*server, keys.clone(), entropy);
                client.write_hello(&mut self.output);
                State::Client(Box::new(client))
            }
            Security::CurveServer { keys, clients } => {
                let server = curve::Server::new(keys.clone(), clients.clone(), entropy);
                State::Server(Box::new(server))
            }
        };
        Ok(Step::Again)
    }

    /// Takes the next frame off the input; `None` while it is incomplete.
    fn take_frame(&mut self, limit: &BodyLimit) -> Result<Option<(u8, Range<usize>)>, Error> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let Some(head) = Head::read(rest, limit)? else {
            return Ok(None);
        };
        let begin = self.at.saturating_add(head.length);
        let end = begin.saturating_add(head.body);
        let size = end.saturating_sub(self.start);
        let max = self.config.limits.message_bytes_max;
        if size > max {
            return Err(Error::Limit {
                what: "a message",
                found: size as u64,
                max,
                limit: "message_bytes_max",
            });
        }
        if end > self.input.len() {
            return Ok(None);
        }
        self.at = end;
        Ok(Some((head.flags, begin..end)))
    }

    fn read_handshake(&mut self) -> Result<Step, Error> {
        let limits = &self.config.limits;
        let limit = BodyLimit::of_handshake(limits);
        let max = limits.handshake_bytes_max;
        let before = self.at;
        let Some((flags, body)) = self.take_frame(&limit)? else {
            return Ok(Step::Nothing);
        };
        let size = self.at.saturating_sub(before);
        self.handshake_bytes = self.handshake_bytes.saturating_add(size);
        if self.handshake_bytes > max {
            return Err(Error::Limit {
                what: "a handshake",
                found: self.handshake_bytes as u64,
                max,
                limit: "handshake_bytes_max",
            });
        }
        if flags & COMMAND == 0 {
            return Err(Error::Malformed(
                "a message before the end of the handshake",
            ));
        }
        self.start = self.at;
        let body = self.input.get(body).unwrap_or_default();
        let (name, data) = command::split(body)?;
        let data = body.get(data..).unwrap_or_default();
        let ours = self.config.socket_type;
        let out = &mut self.output;
        let (socket_type, key, channel) = match (&mut self.state, name) {
            (State::Client(client), command::ERROR) if client.has_welcome() => {
                // The status of an authenticator that does not know the key. Spec: zeromq 8.
                let reason = command::read_reason(data)?;
                return Err(match reason.as_str() {
                    "400" => Error::ClientKeyRefused(reason),
                    _ => Error::Refused(reason),
                });
            }
            (_, command::ERROR) => return Err(Error::Refused(command::read_reason(data)?)),
            (State::Null, command::READY) => (command::read_metadata(data, ours)?, None, None),
            (State::Client(client), curve::WELCOME) if !client.has_welcome() => {
                client.on_welcome(data, ours, out)?;
                return Ok(Step::Again);
            }
            (State::Client(client), command::READY) => {
                let (socket_type, channel) = client.on_ready(data, ours)?;
                (socket_type, None, Some(channel))
            }
            (State::Client(_), curve::HELLO) => return Err(Error::SameRole("client")),
            (State::Server(server), curve::HELLO) if !server.has_hello() => {
                server.on_hello(data, out)?;
                return Ok(Step::Again);
            }
            (State::Server(server), curve::INITIATE) => {
                let (socket_type, key, channel) = server.on_initiate(data, ours, out)?;
                (socket_type, Some(key), Some(channel))
            }
            _ => {
                return Err(Error::Malformed(
                    "another command than the handshake has next",
                ));
            }
        };
        self.state = State::Ready(channel.map(Box::new));
        for prefix in std::mem::take(&mut self.wanted) {
            self.write_subscription(&prefix, true);
            self.wanted.insert(prefix);
        }
        Ok(Step::Ready(Peer {
            socket_type,
            version: self.version,
            key,
        }))
    }

    fn read_traffic(&mut self) -> Result<Step, Error> {
        let overhead = match &self.state {
            State::Ready(Some(_)) => curve::OVERHEAD,
            _ => 0,
        };
        let limit = BodyLimit::of_traffic(&self.config.limits, overhead);
        let Some((mut flags, mut body)) = self.take_frame(&limit)? else {
            return Ok(Step::Nothing);
        };
        if let State::Ready(Some(channel)) = &mut self.state {
            let sealed = self.input.get_mut(body.clone()).unwrap_or_default();
            let (inner, text) = channel.open(sealed)?;
            flags = inner;
            body = body.start.saturating_add(text.start)..body.end;
        }
        if flags & COMMAND != 0 {
            return self.on_command(body);
        }
        let max = self.config.limits.parts_max;
        if self.parts.len() >= max {
            return Err(Error::Limit {
                what: "a message of parts",
                found: (self.parts.len() as u64).saturating_add(1),
                max,
                limit: "parts_max",
            });
        }
        self.parts.push(body.clone());
        if flags & MORE != 0 {
            return Ok(Step::Again);
        }
        self.is_returned = true;
        if self.config.socket_type.publishes() && self.parts.len() == 1 {
            let first = self.input.get(body.start).filter(|_| !body.is_empty());
            let topic = body.start.saturating_add(1)..body.end;
            match first {
                Some(1) => return self.on_subscribe(topic),
                Some(0) => return Ok(self.on_cancel(topic)),
                Some(_) | None => {}
            }
        }
        if self.config.socket_type.receives() {
            return Ok(Step::Message);
        }
        // A publisher and a pusher have nobody to give a message to.
        self.release();
        Ok(Step::Again)
    }

    fn on_command(&mut self, body: Range<usize>) -> Result<Step, Error> {
        // Between the parts of a message it stays in the buffer until these are complete.
        self.is_returned = self.parts.is_empty();
        let bytes = self.input.get(body.clone()).unwrap_or_default();
        let (name, data) = command::split(bytes)?;
        let data = body.start.saturating_add(data)..body.end;
        let bytes = self.input.get(data.clone()).unwrap_or_default();
        let publishes = self.config.socket_type.publishes();
        match name {
            command::PING => {
                let context = command::read_ping(bytes)?.to_vec();
                if self.output().len() <= ANSWER_BYTES_MAX {
                    self.write_command(command::PONG, &context);
                }
            }
            command::ERROR => return Err(Error::Refused(command::read_reason(bytes)?)),
            command::SUBSCRIBE if publishes => return self.on_subscribe(data),
            command::CANCEL if publishes => return Ok(self.on_cancel(data)),
            // A pong was noted as a sign of life like all bytes, and commands of later versions are
            // passed over.
            _ => {}
        }
        self.release();
        Ok(Step::Again)
    }

    fn on_subscribe(&mut self, topic: Range<usize>) -> Result<Step, Error> {
        let limits = &self.config.limits;
        let prefix = self.input.get(topic.clone()).unwrap_or_default();
        if !self.subscriptions.contains(prefix) {
            let count = self.subscriptions.len();
            if count >= limits.subscriptions_max {
                return Err(Error::Limit {
                    what: "a number of subscriptions",
                    found: (count as u64).saturating_add(1),
                    max: limits.subscriptions_max,
                    limit: "subscriptions_max",
                });
            }
            let bytes = self.subscriptions.bytes().saturating_add(prefix.len());
            if bytes > limits.subscription_bytes_max {
                return Err(Error::Limit {
                    what: "subscriptions",
                    found: bytes as u64,
                    max: limits.subscription_bytes_max,
                    limit: "subscription_bytes_max",
                });
            }
            self.subscriptions.add(prefix);
        }
        Ok(Step::Subscribed(topic))
    }

    fn on_cancel(&mut self, topic: Range<usize>) -> Step {
        let prefix = self.input.get(topic.clone()).unwrap_or_default();
        self.subscriptions.remove(prefix);
        Step::Unsubscribed(topic)
    }

    fn write_command(&mut self, name: &[u8], data: &[u8]) {
        match &mut self.state {
            State::Ready(Some(channel)) => {
                let length = name.len().saturating_add(data.len()).saturating_add(1);
                channel.seal(COMMAND, length, &mut self.output, |text| {
                    command::write_body(name, data, text);
                });
            }
            _ => command::write(name, data, &mut self.output),
        }
    }

    /// Writes a subscription in the form that the peer's version has. Spec: zeromq 2.
    fn write_subscription(&mut self, prefix: &[u8], is_wanted: bool) {
        if self.minor > 0 {
            let name = if is_wanted {
                command::SUBSCRIBE
            } else {
                command::CANCEL
            };
            return self.write_command(name, prefix);
        }
        let first = u8::from(is_wanted);
        let length = prefix.len().saturating_add(1);
        match &mut self.state {
            State::Ready(Some(channel)) => channel.seal(0, length, &mut self.output, |text| {
                text.push(first);
                text.extend_from_slice(prefix);
            }),
            _ => {
                frame::write_head(0, length, &mut self.output);
                self.output.push(first);
                self.output.extend_from_slice(prefix);
            }
        }
    }
}

/// Gives the memory of an empty buffer back that was large for once.
fn shrink(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT_BYTES_MAX {
        *buffer = Vec::new();
    }
}

#[cfg(test)]
mod tests;
