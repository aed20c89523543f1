//! The way of a clone's requests to its master.
//!
//! Spec: stores 5.3, 6.3. The writer keeps its id for as long as the master is the same, also when
//! the clone attaches again: a master of this implementation remembers how far it had come, so that
//! nothing is applied twice. For another master, or one that has forgotten it, it starts over: what
//! may already have been applied and must not be twice is then reported instead of being sent again.

use std::sync::Arc;

use broker_data::DecodeError;

use crate::frame::{Envelope, FRAME_LEN_SIZE};
use crate::id::EndpointId;
use crate::status::ErrorCode;
use crate::store::channel::Producer;
use crate::store::channel::producer::Missing;
use crate::store::clone::{Contact, HEARTBEATS_MISSED_MAX, StoreClone, Unanswered, describe};
use crate::store::command::{Command, Content, readdress_action};
use crate::store::entity::EntityId;
use crate::store::{Message, Output, Role, StoreFailure};

/// The producer of the up channel.
#[derive(Debug)]
pub(super) struct Writer {
    id: EntityId,
    master: EntityId,
    producer: Producer,
    /// Requests up to this number may have reached the master.
    sent: u64,
    /// Signs of life of the master since it acknowledged something or asked for something.
    beats: u64,
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
    pub fn request(&mut self, content: &Content<'_>) -> Result<(), StoreFailure> {
        if self.failed {
            return Err(self.no_master());
        }
        self.check_mutation_buffer()?;
        let command = Command {
            seq: 0,
            sender: self.id(),
            receiver: EntityId::NIL,
            content: content.clone(),
        };
        let too_large = |bytes: usize, max: usize| {
            let text = format!(
                "a request of {bytes} bytes is larger than `frame_bytes_max` allows, {max}"
            );
            StoreFailure::new(ErrorCode::InvalidData, text)
        };
        let max = self.config.frame_bytes_max.saturating_sub(512);
        let frame = self
            .names
            .frame(Role::Master, EndpointId::NIL, &command)
            .map_err(|_| too_large(command.action_size_max(), max))?;
        let bytes = frame.len();
        let payload_bytes = bytes - self.names.overhead(Role::Master);
        if payload_bytes > max {
            return Err(too_large(payload_bytes, max));
        }
        if !self.has_room(bytes) {
            let text = format!(
                "{} bytes of requests wait for the master already",
                self.unacknowledged().1
            );
            return Err(StoreFailure::new(ErrorCode::RequestTimeout, text));
        }
        if let Content::PutUnique { who, request, .. } = content {
            if who.is_nil() {
                return Err(StoreFailure::new(ErrorCode::InvalidData, "nobody asks"));
            }
            let waits = Unanswered::default();
            if self.unanswered.contains_key(&(*who, *request)) {
                let code = ErrorCode::RepeatedRequestId;
                return Err(StoreFailure::new(
                    code,
                    format!("request {request} is under way"),
                ));
            }
            self.unanswered.insert((*who, *request), waits);
        }
        if self.writer.is_some() {
            self.produce(frame, asked_in(content))
        } else {
            self.backlog.bytes += bytes;
            self.backlog.requests.push_back(frame);
        }
        Ok(())
    }

    /// Spec: stores 2.2, as the options are named.
    fn check_mutation_buffer(&self) -> Result<(), StoreFailure> {
        let never =
            self.options.mutation_buffer_interval.ns() <= 0 && self.contact() == Contact::Searching;
        if never || self.silence() >= self.request_ticks() {
            let text = "the master is silent, and requests are not kept any longer for it";
            return Err(StoreFailure::new(ErrorCode::RequestTimeout, text));
        }
        Ok(())
    }

    /// Ticks of silence for which requests are kept. Without a buffer that is until the silence is
    /// known to be one.
    fn request_ticks(&self) -> u64 {
        let interval = self.options.mutation_buffer_interval;
        match interval.ns() {
            ..=0 => self.missed_ticks(),
            _ => self.config.ticks(interval),
        }
    }

    /// Ticks for which nothing was heard of a master.
    pub(super) fn silence(&self) -> u64 {
        self.ticks - self.heard.any
    }

    /// The id that requests come from.
    pub(super) fn writer_id(&self) -> Option<EntityId> {
        self.writer.as_ref().map(|writer| writer.id)
    }

    /// Gives an encoded request the next number and sends it, in the name of the writer: it may have
    /// been made for a former one, or for none. Spec: stores 1.2.
    fn produce(&mut self, mut frame: Vec<u8>, asked: Option<(EntityId, u64)>) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        let (id, master) = (writer.id, writer.master);
        let begin = self.names.overhead(Role::Master);
        if let Some(asked) = asked
            && let Some(unanswered) = self.unanswered.get_mut(&asked)
        {
            unanswered.seq = Some(writer.producer.seq() + 1);
        }
        let (frame, _) = writer.producer.produce(|seq| {
            let payload = frame.get_mut(begin..).unwrap_or_default();
            readdress_action(payload, seq, id, master, id);
            frame.into()
        });
        let seq = writer.producer.seq();
        // Otherwise it is sent when somebody is there, and is known not to be on its way.
        if self.route.reachable && self.route.confirmed {
            writer.sent = seq;
            self.outputs.push_back(Output::Send(to_master(frame)));
        }
    }

    /// Sends what was asked for while nobody was there.
    pub(super) fn send_unsent(&mut self) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        let messages = writer.producer.messages();
        for (_, frame) in messages.filter(|(seq, _)| *seq > writer.sent) {
            self.outputs
                .push_back(Output::Send(to_master(frame.clone())));
        }
        writer.sent = writer.producer.seq();
    }

    /// The clone has attached: opens the channel, or goes on with it unless it was `forgotten`.
    pub(super) fn open_writer(&mut self, forgotten: bool) {
        let Some((attachment, master)) = self.attachment.as_ref().map(|it| (it.id, it.master))
        else {
            return;
        };
        let again = match self.writer.take() {
            Some(writer) if writer.master == master && !forgotten => {
                self.writer = Some(Writer { beats: 0, ..writer });
                self.send_attach_writer();
                self.send_unsent();
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
            beats: 0,
        });
        self.send_attach_writer();
        if let Some(old) = again {
            self.request_again(&old);
        }
        self.flush_backlog();
    }

    /// Brings the requests of a former writer to the new one: they were for another master, or for
    /// one that has forgotten how many of them it has applied.
    fn request_again(&mut self, old: &Writer) {
        for unanswered in self.unanswered.values_mut() {
            *unanswered = Unanswered::default();
        }
        for (seq, frame) in old.producer.messages() {
            let Ok(command) = command_of(frame) else {
                continue;
            };
            let once = match command.content {
                Content::Put { .. } | Content::Erase { .. } | Content::Clear { .. } => true,
                // Twice would be wrong, and the old master may have applied it.
                _ => seq > old.sent,
            };
            if once {
                self.produce(frame.to_vec(), asked_in(&command.content))
            } else {
                self.give_up(&command.content)
            }
        }
        // The old master has had the others, and nobody will say what came of them.
        self.give_up_answers(|waits| waits.seq.is_none());
    }

    /// Gives up results that do not come although the master has had the requests and nothing is
    /// missing: a snapshot has taken their place.
    pub(super) fn give_up_overdue_answers(&mut self) {
        if self.unanswered.is_empty() || !self.is_complete() {
            return;
        }
        let limit = self.missed_ticks();
        let acknowledged = self.writer.as_ref().map_or(0, Writer::acknowledged);
        for waits in self.unanswered.values_mut() {
            if waits.seq.is_some_and(|seq| seq <= acknowledged) {
                waits.overdue += 1;
            }
        }
        self.give_up_answers(|waits| waits.overdue > limit);
    }

    /// Whether the master speaks and nothing is known to be missing.
    fn is_complete(&self) -> bool {
        let idle = self.attachment.as_ref();
        self.contact() == Contact::Attached
            && self.search.is_none()
            && idle.is_some_and(|it| it.consumer.is_idle() && !it.broken)
    }

    fn give_up_answers(&mut self, which: impl Fn(&Unanswered) -> bool) {
        let unanswered = self.unanswered.iter();
        let given_up: Vec<(EntityId, u64)> = unanswered
            .filter(|(_, waits)| which(waits))
            .map(|(id, _)| *id)
            .collect();
        for (who, request) in given_up {
            let text = "the result is lost, whether the key was absent is unknown";
            let failure = StoreFailure::new(ErrorCode::RequestTimeout, text);
            self.answer(who, request, Err(failure));
        }
    }

    fn give_up(&mut self, content: &Content<'_>) {
        let text = format!(
            "{}: the master is gone or has forgotten this clone, whether it was applied is unknown",
            describe(content)
        );
        let failure = StoreFailure::new(ErrorCode::RequestTimeout, text);
        match content {
            Content::PutUnique { who, request, .. } => self.answer(*who, *request, Err(failure)),
            _ => self.fault(&failure),
        }
    }

    fn flush_backlog(&mut self) {
        self.backlog.bytes = 0;
        for frame in std::mem::take(&mut self.backlog.requests) {
            let command = command_of(&frame).ok();
            let asked = command.and_then(|command| asked_in(&command.content));
            self.produce(frame, asked);
        }
    }

    pub(super) fn on_writer_ack(&mut self, seq: u64) {
        self.note_answer();
        if let Some(writer) = &mut self.writer {
            writer.producer.handle_ack(writer.master, seq);
        }
    }

    pub(super) fn on_writer_nack(&mut self, missing: &[u64]) {
        if !missing.is_sorted_by(|a, b| a < b) {
            return;
        }
        self.note_answer();
        let Some(writer) = &mut self.writer else {
            return;
        };
        match writer.producer.handle_nack(writer.master, missing) {
            Missing::Handshake => self.send_attach_writer(),
            Missing::Events { messages, gone } => {
                if let Some(last) = missing.last() {
                    writer.sent = writer.sent.max(*last).min(writer.producer.seq());
                }
                for frame in messages {
                    self.outputs.push_back(Output::Send(to_master(frame)));
                }
                for seq in gone {
                    self.send_of_writer(Content::RetransmitFailed { seq }, true);
                }
            }
            Missing::Nothing | Missing::Unknown => {}
        }
    }

    /// The master is the one that this clone follows.
    pub(super) fn confirm(&mut self) {
        if !self.route.confirmed {
            self.route.confirmed = true;
            self.send_unsent();
        }
    }

    /// The master has said something to the writer.
    fn note_answer(&mut self) {
        self.confirm();
        self.route.served = true;
        if let Some(writer) = &mut self.writer {
            writer.beats = 0;
        }
        if let Some(attachment) = &mut self.attachment {
            attachment.answered = true;
        }
    }

    /// The master has given a sign of life. One that gives several of them between two answers to
    /// the writer has given it up, however fast time passes here and there: both come on the same
    /// connection. A master of the original has then given up the attachment, too. Spec: stores 6.6
    /// item 6.
    pub(super) fn note_beat(&mut self, to_me: bool) {
        let beats_max = self.beats_max();
        let (Some(writer), Some(attachment)) = (&mut self.writer, &mut self.attachment) else {
            return;
        };
        // Whoever sends them by name may send them to all as well.
        if to_me || !attachment.named {
            writer.beats += 1;
            let given_up = writer.beats >= beats_max && !attachment.named;
            attachment.forgotten |= given_up && attachment.answered;
        }
    }

    /// Signs of life without an answer after which the writer is taken for given up.
    fn beats_max(&self) -> u64 {
        let between = self.attachment.as_ref().map_or(1, |it| it.heartbeat);
        let answer = self.heartbeat_ticks().div_ceil(between.max(1));
        HEARTBEATS_MISSED_MAX * answer.max(1)
    }

    /// Whoever is reached now may be about to answer.
    pub(super) fn await_answer(&mut self) {
        self.route.served = false;
        if let Some(writer) = &mut self.writer {
            writer.beats = 0;
        }
    }

    pub(super) fn tick_writer(&mut self) {
        let beats_max = self.beats_max();
        let Some(writer) = &mut self.writer else {
            return;
        };
        let heartbeat = writer.producer.handle_tick().heartbeat;
        if heartbeat.is_some() {
            // One that was forgotten makes way for another one.
            let forgotten = self.attachment.as_ref().is_some_and(|it| it.forgotten);
            if !writer.is_open() || writer.beats >= beats_max && !forgotten {
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
            receiver: if named { writer.master } else { EntityId::NIL },
            content,
        };
        self.send(EndpointId::NIL, &command);
    }

    /// Gives up requests that have waited longer than the mutation buffer interval for a master.
    pub(super) fn drop_old_requests(&mut self) {
        let waits = self.unacknowledged().0 > 0 || !self.unanswered.is_empty();
        if !waits || self.silence() < self.request_ticks() || self.ticks < self.route.patience {
            return;
        }
        let text = "the master has been silent for longer than requests are kept for it";
        self.give_up_requests(&StoreFailure::new(ErrorCode::RequestTimeout, text));
    }

    /// Drops every request that waits, and says so.
    pub(super) fn give_up_requests(&mut self, failure: &StoreFailure) {
        let (count, _) = self.unacknowledged();
        if count > 0 {
            let text = format!("{count} requests are given up: {failure}");
            self.fault(&StoreFailure::new(failure.code, text));
        }
        if let Some(writer) = &mut self.writer {
            writer.producer.discard();
        }
        self.backlog.requests.clear();
        self.backlog.bytes = 0;
        let unanswered: Vec<(EntityId, u64)> = self.unanswered.keys().copied().collect();
        for (who, request) in unanswered {
            self.answer(who, request, Err(failure.clone()));
        }
    }
}

/// Who waits for the result of a request, under which number.
const fn asked_in(content: &Content<'_>) -> Option<(EntityId, u64)> {
    match content {
        Content::PutUnique { who, request, .. } => Some((*who, *request)),
        _ => None,
    }
}

/// A request on its way, to everybody who may lead to the master.
fn to_master(frame: Arc<[u8]>) -> Message {
    Message {
        frame,
        role: Role::Master,
        receiver: EndpointId::NIL,
        must_lead: false,
    }
}

/// Reads a frame of our own making.
fn command_of(frame: &[u8]) -> Result<Command<'_>, DecodeError> {
    let payload = frame.get(FRAME_LEN_SIZE..).unwrap_or_default();
    let payload = Envelope::parse(payload).map_or(&[][..], |envelope| envelope.payload);
    Command::parse(payload)
}
