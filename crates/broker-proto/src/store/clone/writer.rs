//! The way of a clone's requests to its master.
//!
//! Spec: stores 5.3, 6.3. The writer keeps its id for as long as the master is the same, also when
//! the clone attaches again: a master of this implementation remembers how far it had come, so that
//! nothing is applied twice. For another master it starts over: what may already have been applied
//! and must not be twice is then reported instead of being sent again.

use broker_data::DecodeError;

use crate::channel::Producer;
use crate::channel::producer::Missing;
use crate::command::{Command, Content};
use crate::entity::EntityId;
use crate::frame::{Envelope, FRAME_LEN_SIZE};
use crate::id::EndpointId;
use crate::status::ErrorCode;
use crate::store::clone::{Contact, HEARTBEATS_MISSED_MAX, StoreClone, describe, no_master};
use crate::store::{Failure, Message, Output, Role};

/// The producer of the up channel.
#[derive(Debug)]
pub(super) struct Writer {
    id: EntityId,
    master: EntityId,
    producer: Producer,
    /// Requests up to this number may have reached the master.
    sent: u64,
}

impl Writer {
    pub(super) fn is_idle(&self) -> bool {
        self.producer.is_idle()
    }

    pub(super) fn unacknowledged(&self) -> (usize, usize) {
        (self.producer.kept(), self.producer.kept_bytes())
    }

    /// The number up to which the master has everything; that of the handshake before it said so.
    fn acknowledged(&self) -> u64 {
        self.producer
            .path(self.master)
            .map_or(self.producer.seq(), |path| {
                path.acknowledged.max(path.offset)
            })
    }

    fn is_open(&self) -> bool {
        self.producer
            .path(self.master)
            .is_some_and(|path| path.acknowledged > 0)
    }
}

impl StoreClone {
    /// Whether requests of that many bytes can be kept until the master has them.
    pub fn has_room(&self, bytes: usize) -> bool {
        let (_, used) = self.unacknowledged();
        used == 0 || used.saturating_add(bytes) <= self.config.buffer_bytes_max
    }

    /// A request of a user: one of the actions. What becomes of a `put_unique` comes as an
    /// [`Output::Answer`], a refusal of any other as an [`Output::Fault`].
    ///
    /// # Errors
    ///
    /// The request is not made, and why.
    pub fn request(&mut self, content: &Content<'_>) -> Result<(), Failure> {
        if self.failed {
            return Err(no_master());
        }
        self.check_mutation_buffer()?;
        let mut payload = Vec::new();
        let command = Command {
            seq: 0,
            sender: self.id(),
            receiver: EntityId::NIL,
            content: content.clone(),
        };
        command.encode(&mut payload);
        let max = self.config.frame_bytes_max.saturating_sub(512);
        if payload.len() > max {
            let text = format!(
                "a request of {} bytes is larger than `frame_bytes_max` allows, {max}",
                payload.len()
            );
            return Err(Failure::new(ErrorCode::InvalidData, text));
        }
        if !self.has_room(payload.len()) {
            let text = format!(
                "{} bytes of requests wait for the master already",
                self.unacknowledged().1
            );
            return Err(Failure::new(ErrorCode::RequestTimeout, text));
        }
        if let Content::PutUnique { who, request, .. } = content {
            if who.is_nil() {
                return Err(Failure::new(ErrorCode::InvalidData, "nobody asks"));
            }
            if self.unanswered.insert((*who, *request), ()).is_some() {
                let code = ErrorCode::RepeatedRequestId;
                return Err(Failure::new(
                    code,
                    format!("request {request} is under way"),
                ));
            }
        }
        match self.writer.is_some() {
            true => self.produce(content),
            false => {
                self.backlog_bytes += payload.len();
                self.backlog.push_back((self.ticks, payload.into()));
            }
        }
        Ok(())
    }

    /// Spec: stores 2.2, as the options are named.
    fn check_mutation_buffer(&self) -> Result<(), Failure> {
        let silence = self.silence();
        let interval = self.options.mutation_buffer_interval;
        let limit = match interval.ns() {
            ..=0 => self.heartbeat_ticks() * HEARTBEATS_MISSED_MAX,
            _ => self.config.ticks(interval),
        };
        let never = interval.ns() <= 0 && self.contact() == Contact::Searching;
        if never || silence >= limit {
            let text = "the master is silent, and requests are not kept any longer for it";
            return Err(Failure::new(ErrorCode::RequestTimeout, text));
        }
        Ok(())
    }

    /// Ticks for which nothing was heard of a master.
    fn silence(&self) -> u64 {
        self.ticks - self.heard
    }

    /// Gives a request the next number and sends it.
    fn produce(&mut self, content: &Content<'_>) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        let (names, max) = (&self.names, self.config.frame_bytes_max);
        let (id, master) = (writer.id, writer.master);
        let mut message = None;
        writer.producer.produce(|seq| {
            let command = Command {
                seq,
                sender: id,
                receiver: master,
                content: content.clone(),
            };
            // The size was checked.
            message = names
                .message(Role::Master, EndpointId::NIL, &command, max)
                .ok();
            message
                .as_ref()
                .map_or_else(|| [].into(), |made| made.frame.clone())
        });
        if self.reachable {
            writer.sent = writer.producer.seq();
        }
        self.outputs.extend(message.map(Output::Send));
    }

    /// The clone has attached: opens the channel, or goes on with it.
    pub(super) fn open_writer(&mut self) {
        let Some((attachment, master)) = self.attachment.as_ref().map(|it| (it.id, it.master))
        else {
            return;
        };
        let again = match self.writer.take() {
            Some(writer) if writer.master == master => {
                self.writer = Some(writer);
                self.send_attach_writer();
                self.send_writer_keepalive();
                self.flush_backlog();
                return;
            }
            other => other,
        };
        let mut producer = Producer::new(
            self.config.heartbeat_interval,
            // Not the producer decides when to give up, but the clone.
            u16::MAX,
            usize::MAX,
        );
        producer.add(master);
        self.writer = Some(Writer {
            id: attachment,
            master,
            producer,
            sent: 0,
        });
        self.send_attach_writer();
        if let Some(old) = again {
            self.request_again(&old);
        }
        self.flush_backlog();
    }

    /// Brings requests of another master's time to the new one.
    fn request_again(&mut self, old: &Writer) {
        for (seq, frame) in old.producer.messages() {
            let Ok(command) = command_of(frame) else {
                continue;
            };
            let once = match command.content {
                Content::Put { .. } | Content::Erase { .. } | Content::Clear { .. } => true,
                // Twice would be wrong, and the old master may have applied it.
                _ => seq > old.sent,
            };
            match once {
                true => self.produce(&command.content),
                false => self.give_up(&command.content),
            }
        }
    }

    fn give_up(&mut self, content: &Content<'_>) {
        let text = format!(
            "{}: the master is gone, whether it was applied is unknown",
            describe(content)
        );
        let failure = Failure::new(ErrorCode::RequestTimeout, text);
        match content {
            Content::PutUnique { who, request, .. } => self.answer(*who, *request, Err(failure)),
            _ => self.fault(&failure),
        }
    }

    fn flush_backlog(&mut self) {
        self.backlog_bytes = 0;
        for (_, payload) in std::mem::take(&mut self.backlog) {
            if let Ok(command) = Command::parse(&payload) {
                self.produce(&command.content);
            }
        }
    }

    pub(super) fn on_writer_ack(&mut self, seq: u64) {
        if let Some(writer) = &mut self.writer {
            writer.producer.handle_ack(writer.master, seq);
        }
    }

    pub(super) fn on_writer_nack(&mut self, missing: &[u64]) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        if !missing.is_sorted_by(|a, b| a < b) {
            return;
        }
        match writer.producer.handle_nack(writer.master, missing) {
            Missing::Handshake => self.send_attach_writer(),
            Missing::Events { messages, gone } => {
                if let Some(last) = missing.last() {
                    writer.sent = writer.sent.max(*last).min(writer.producer.seq());
                }
                for frame in messages {
                    self.outputs.push_back(Output::Send(Message {
                        frame,
                        role: Role::Master,
                        receiver: EndpointId::NIL,
                        must_lead: false,
                    }));
                }
                for seq in gone {
                    self.send_of_writer(Content::RetransmitFailed { seq }, true);
                }
            }
            Missing::Nothing | Missing::Unknown => {}
        }
    }

    pub(super) fn tick_writer(&mut self) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        let heartbeat = writer.producer.handle_tick().heartbeat;
        if heartbeat.is_some() {
            if !writer.is_open() {
                self.send_attach_writer();
            }
            self.send_writer_keepalive();
        }
    }

    fn send_attach_writer(&mut self) {
        let Some(writer) = &self.writer else {
            return;
        };
        let offset = writer.acknowledged();
        let heartbeat = self.config.heartbeat_interval;
        self.send_of_writer(Content::AttachWriter { offset, heartbeat }, true);
    }

    pub(super) fn send_writer_keepalive(&mut self) {
        if let Some(writer) = &self.writer {
            let seq = writer.producer.seq();
            self.send_of_writer(Content::Keepalive { seq }, false);
        }
    }

    /// Sends something of the writer without a number, to everybody who may lead to the master.
    /// Spec: stores 3.2.
    fn send_of_writer(&mut self, content: Content<'_>, named: bool) {
        let Some(writer) = &self.writer else {
            return;
        };
        let command = Command {
            seq: 0,
            sender: writer.id,
            receiver: match named {
                true => writer.master,
                false => EntityId::NIL,
            },
            content,
        };
        self.send(EndpointId::NIL, &command);
    }

    /// Gives up requests that have waited longer than the mutation buffer interval for a master.
    pub(super) fn drop_old_requests(&mut self) {
        let interval = self.options.mutation_buffer_interval;
        if interval.ns() <= 0 {
            return;
        }
        let limit = self.config.ticks(interval);
        if self.silence() < limit || self.unacknowledged().0 == 0 {
            return;
        }
        let text = "the master has been silent for longer than requests are kept for it";
        self.give_up_requests(&Failure::new(ErrorCode::RequestTimeout, text));
    }

    /// Drops every request that waits, and says so.
    pub(super) fn give_up_requests(&mut self, failure: &Failure) {
        let (count, _) = self.unacknowledged();
        if count > 0 {
            let text = format!("{count} requests are given up: {failure}");
            self.fault(&Failure::new(failure.code, text));
        }
        if let Some(writer) = &mut self.writer {
            writer.producer.discard();
        }
        self.backlog.clear();
        self.backlog_bytes = 0;
        let unanswered: Vec<(EntityId, u64)> = self.unanswered.keys().copied().collect();
        for (who, request) in unanswered {
            self.answer(who, request, Err(failure.clone()));
        }
    }
}

/// Reads a frame of our own making.
fn command_of(frame: &[u8]) -> Result<Command<'_>, DecodeError> {
    let payload = frame.get(FRAME_LEN_SIZE..).unwrap_or_default();
    let payload = Envelope::parse(payload).map_or(&[][..], |envelope| envelope.payload);
    Command::parse(payload)
}
