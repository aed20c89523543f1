//! A copy of a store on another endpoint.
//!
//! Spec: stores 2.2, 3.3, 5.2, 6.3, 6.4. A clone answers reads from its copy and sends requests to
//! its master; what changes comes back from there.
//!
//! Beyond the original (ADR 0071): the intervals of [`CloneOptions`] do what their names say; a
//! clone whose master is gone, silent or another one, or that missed what cannot be sent again,
//! attaches again under a new id and keeps its copy meanwhile; requests survive that, in order, and
//! against masters of this implementation exactly once.

mod attach;
mod writer;

use std::collections::{BTreeMap, VecDeque};

use broker_data::{Kind, Timestamp, View, canonical};

use crate::config::CHANNEL_NACK_MAX;
use crate::id::EndpointId;
use crate::status::ErrorCode;
use crate::store::channel::Consumer;
use crate::store::channel::consumer::{Arrival, Early, Feedback};
use crate::store::command::{Command, Content};
use crate::store::entity::EntityId;
use crate::store::event::{Change, StoreEvent};
use crate::store::expiry::Expiries;
use crate::store::memory::keys_after;
use crate::store::{
    ACK_EVENTS_MAX, ChangeCounts, CloneOptions, Names, Output, Role, StoreConfig, StoreFailure,
    operation,
};

use attach::Search;
use writer::Writer;

/// Where the numbers of objects of one clone differ: every attachment is an object of its own, and
/// none of the endpoint's other objects has a number that large. Above them is the
/// [`mark`](crate::store::mark) of the clone.
const ATTACHMENT_SHIFT: u32 = 32;

/// Attachments until their numbers begin anew: those of months, one in every tick.
const ATTACHMENTS_MAX: u64 = 1 << 24;

/// Heartbeats that a master may miss before another master of the name is preferred.
const HEARTBEATS_MISSED_MAX: u64 = 3;

/// Events kept that came before a snapshot; more are asked for again behind it.
const EARLY_EVENTS_MAX: usize = 1024;

/// Encoded values by encoded keys.
type Entries = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// What a clone's copy is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact {
    /// It was never filled; the search goes on.
    Searching,
    /// No master was found in time. Attaching again searches again.
    Failed,
    /// It follows its master.
    Attached,
    /// Its master is silent, but not for too long.
    Silent,
    /// Its master has been silent for longer than the stale interval.
    Stale,
}

/// A clone of a store. (`Clone` is taken.)
#[derive(Debug)]
pub struct StoreClone {
    ids: Ids,
    names: Names,
    config: StoreConfig,
    options: CloneOptions,
    entries: Entries,
    /// When entries are over, as far as their changes said so: a snapshot does not. Reads do not see
    /// them from then on; that they are removed is up to the master.
    expiries: Expiries,
    attachment: Option<Attachment>,
    search: Option<Search>,
    failed: bool,
    writer: Option<Writer>,
    backlog: Backlog,
    /// `put_unique` requests without a result: who asked, under which number.
    unanswered: BTreeMap<(EntityId, u64), Unanswered>,
    /// Bound: what one call leads to; the caller drains it after each.
    outputs: VecDeque<Output>,
    observed: bool,
    ticks: u64,
    heard: Heard,
    route: MasterRoute,
    changes: ChangeCounts,
}

/// Its ids: one per attachment.
#[derive(Debug)]
struct Ids {
    /// The endpoint part is that of all.
    first: EntityId,
    attachments: u64,
}

/// Requests that no writer has taken yet: complete frames but for their addresses and numbers.
#[derive(Debug, Default)]
struct Backlog {
    /// Bound: `has_room`; a request beyond it is refused.
    requests: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// Ticks at which the master was heard of last.
#[derive(Debug, Default)]
struct Heard {
    any: u64,
    /// When it said something to this clone by name.
    by_name: u64,
    /// When nothing was known to be missing.
    complete: u64,
}

/// What is known of the way to a master.
#[derive(Debug, Default)]
struct MasterRoute {
    /// Whether a peer leads to a master, and whether it is the one that this clone follows and
    /// knows the writer. Until then requests stay here, where a new writer can still have them.
    reachable: bool,
    confirmed: bool,
    /// Whether that master has answered the writer since.
    served: bool,
    /// Not before this tick another master is looked for: the old one may be about to speak.
    patience: u64,
    /// Peers that stores do not reach, for the user who wonders why no master is found.
    unreached_peers: String,
}

/// The down channel.
#[derive(Debug)]
struct Attachment {
    id: EntityId,
    master: EntityId,
    consumer: Consumer,
    /// What it misses is gone: the copy stays what it is until another attachment.
    broken: bool,
    since: u64,
    /// Ticks between two signs of life, as the master counts them.
    heartbeat: u64,
    /// Whether the master sends signs of life by name. As long as these come it serves the
    /// attachment; masters of the original do not send them.
    named: bool,
    /// Signs of life since the last one by name.
    beats_to_others: u64,
    /// Whether the master has answered the writer since the attachment began.
    answered: bool,
    /// The master has given up the writer, and the attachment with it.
    forgotten: bool,
}

/// A `put_unique` that waits for its result.
#[derive(Debug, Default)]
struct Unanswered {
    /// Its number on the up channel, once it has one.
    seq: Option<u64>,
    /// Ticks for which the master has had it and nothing was missing.
    overdue: u64,
}

impl StoreClone {
    /// A clone that looks for its master. `id` has an object number below 2^32 that no other object
    /// of the endpoint has, and a [`mark`](crate::store::mark::clone_id) if masters are to know it.
    pub fn new(id: EntityId, store: &str, config: StoreConfig, options: CloneOptions) -> Self {
        let mut clone = Self {
            ids: Ids {
                first: id,
                attachments: 0,
            },
            names: Names::new(store),
            config,
            options,
            entries: BTreeMap::new(),
            expiries: Expiries::default(),
            attachment: None,
            search: None,
            failed: false,
            writer: None,
            backlog: Backlog::default(),
            unanswered: BTreeMap::new(),
            outputs: VecDeque::new(),
            observed: false,
            ticks: 0,
            heard: Heard::default(),
            route: MasterRoute::default(),
            changes: ChangeCounts::default(),
        };
        clone.start_search();
        clone
    }

    // --- getters --------------------------------------------------------------------------------

    /// The id that its changes name as their publisher: the one its requests come from.
    pub fn id(&self) -> EntityId {
        let attachment = || self.attachment.as_ref().map(|it| it.id);
        self.writer_id()
            .or_else(attachment)
            .unwrap_or(self.ids.first)
    }

    /// The store's name.
    pub fn store(&self) -> &str {
        &self.names.store
    }

    /// The master it follows.
    pub fn master(&self) -> Option<EntityId> {
        self.attachment.as_ref().map(|it| it.master)
    }

    /// The id under which it follows that master: every snapshot it takes is for another one.
    pub fn attachment_id(&self) -> Option<EntityId> {
        self.attachment.as_ref().map(|it| it.id)
    }

    /// The master whose content the copy is, and the number up to which it has its changes; `None`
    /// when it has to attach again.
    pub fn position(&self) -> Option<(EntityId, u64)> {
        let attachment = self.attachment.as_ref().filter(|it| !it.broken)?;
        Some((attachment.master, attachment.consumer.acknowledged()))
    }

    /// What its copy is worth.
    pub fn contact(&self) -> Contact {
        if self.attachment.is_none() {
            return if self.failed {
                Contact::Failed
            } else {
                Contact::Searching
            };
        }
        let behind = self.ticks - self.heard.complete;
        let stale = self.options.stale_interval;
        if stale.ns() >= 0 && behind >= self.config.ticks(stale).max(1) {
            Contact::Stale
        } else if self.silence() >= self.missed_ticks() {
            Contact::Silent
        } else {
            Contact::Attached
        }
    }

    /// Whether it has everything its master is known to have, and the other way round.
    /// Spec: stores 6.5. A clone that was cut off does not know until its master has spoken again.
    pub fn is_idle(&self) -> bool {
        let reads = self
            .attachment
            .as_ref()
            .is_some_and(|it| it.consumer.is_idle());
        let writes = self.writer.as_ref().is_none_or(Writer::is_idle);
        let settled =
            self.backlog.requests.is_empty() && self.search.is_none() && self.route.served;
        reads && writes && settled && self.unanswered.is_empty()
    }

    /// What it was told so far that changed.
    pub const fn changes(&self) -> ChangeCounts {
        self.changes
    }

    /// Number of entries that are not known to be over.
    pub fn entries(&self, now: Timestamp) -> usize {
        let over = self.expiries.count_over(now);
        self.entries.len().saturating_sub(over)
    }

    /// Requests that the master has not acknowledged, and their bytes.
    pub fn unacknowledged(&self) -> (usize, usize) {
        let (count, bytes) = self.writer.as_ref().map_or((0, 0), Writer::unacknowledged);
        (
            count + self.backlog.requests.len(),
            bytes + self.backlog.bytes,
        )
    }

    /// Changes that came before one that they follow.
    pub fn early(&self) -> usize {
        self.attachment.as_ref().map_or(0, |it| it.consumer.early())
    }

    /// Changes that the master is known to have made and that are not made here yet.
    pub fn lag(&self) -> u64 {
        self.attachment.as_ref().map_or(0, |it| it.consumer.lag())
    }

    /// Bytes of events that wait for a snapshot or for others before them.
    pub fn early_bytes(&self) -> usize {
        let search = self.search.as_ref().map_or(0, Search::early_bytes);
        let attached = self.attachment.as_ref();
        search + attached.map_or(0, |it| it.consumer.early_bytes())
    }

    /// Whether the copy may be read.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::StaleData`] before the first snapshot and when the copy is stale,
    /// [`ErrorCode::NoSuchMaster`] when no master was found.
    pub fn check_readable(&self) -> Result<(), StoreFailure> {
        match self.contact() {
            Contact::Attached | Contact::Silent => Ok(()),
            Contact::Searching => Err(StoreFailure::new(
                ErrorCode::StaleData,
                "the clone has not found its master yet",
            )),
            Contact::Stale => Err(StoreFailure::new(
                ErrorCode::StaleData,
                "the master has been silent for longer than the stale interval",
            )),
            Contact::Failed => Err(self.no_master()),
        }
    }

    /// The value of a key. Spec: stores 7.4. As with all reads, `now` is of the clock of
    /// [`handle_command`](Self::handle_command).
    ///
    /// # Errors
    ///
    /// [`ErrorCode::NoSuchKey`], or as [`check_readable`](Self::check_readable).
    pub fn get(&self, now: Timestamp, key: &[u8]) -> Result<&[u8], StoreFailure> {
        self.check_readable()?;
        match self.entries.get(key) {
            Some(value) if !self.expiries.is_over(key, now) => Ok(value),
            Some(_) | None => Err(StoreFailure::new(ErrorCode::NoSuchKey, "no such key")),
        }
    }

    /// Whether a key is there.
    ///
    /// # Errors
    ///
    /// As [`check_readable`](Self::check_readable).
    pub fn exists(&self, now: Timestamp, key: &[u8]) -> Result<bool, StoreFailure> {
        self.check_readable()?;
        Ok(self.entries.contains_key(key) && !self.expiries.is_over(key, now))
    }

    /// What is at an index of a key's value. Spec: stores 7.4.
    ///
    /// # Errors
    ///
    /// As [`operation::index`] and [`get`](Self::get).
    pub fn get_index(
        &self,
        now: Timestamp,
        key: &[u8],
        index: &[u8],
    ) -> Result<Vec<u8>, StoreFailure> {
        let value = self.get(now, key)?;
        operation::index(value, index).map_err(|code| StoreFailure::new(code, code.to_string()))
    }

    /// Visits the keys behind one, among `limit` of them, in the order of their bytes. Returns the key
    /// that it came to, unless there are no more: where the next call goes on.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), absent keys aside.
    pub fn keys_after(
        &self,
        now: Timestamp,
        after: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Vec<u8>>, StoreFailure> {
        self.check_readable()?;
        Ok(keys_after(&self.entries, after, limit, &mut |key| {
            if !self.expiries.is_over(key, now) {
                visit(key);
            }
        }))
    }

    /// All entries, in the order of their encoded keys.
    ///
    /// # Errors
    ///
    /// As [`check_readable`](Self::check_readable).
    pub fn iter(
        &self,
        now: Timestamp,
    ) -> Result<impl Iterator<Item = (&[u8], &[u8])>, StoreFailure> {
        self.check_readable()?;
        let entries = self.entries.iter();
        let entries = entries.filter(move |(key, _)| !self.expiries.is_over(key, now));
        Ok(entries.map(|(key, value)| (&**key, &**value)))
    }

    /// No master was found in time.
    fn no_master(&self) -> StoreFailure {
        let mut text = "no master was found".to_owned();
        if !self.route.unreached_peers.is_empty() {
            text +=
                " among native peers, and stores do not reach peers of other protocols, so not ";
            text += &self.route.unreached_peers;
        }
        text += "; attach the clone again to search again";
        StoreFailure::new(ErrorCode::NoSuchMaster, text)
    }

    fn heartbeat_ticks(&self) -> u64 {
        u64::from(self.config.heartbeat_interval.max(1))
    }

    /// Ticks after which a master that says nothing is missed.
    fn missed_ticks(&self) -> u64 {
        self.heartbeat_ticks() * HEARTBEATS_MISSED_MAX
    }

    // --- the outside ----------------------------------------------------------------------------

    /// Whether somebody listens to store events; without they are not made.
    pub fn set_observed(&mut self, observed: bool) {
        self.observed = observed;
    }

    /// Names the peers whose protocol knows no stores, as text: a search that fails repeats it.
    pub fn set_unreached_peers(&mut self, names: String) {
        self.route.unreached_peers = names;
    }

    /// What is to be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Asks the master to acknowledge what it has, without waiting for its tick. Masters of this
    /// implementation answer at once.
    pub fn probe(&mut self) {
        self.send_writer_keepalive();
    }

    // --- commands -------------------------------------------------------------------------------

    /// A command came on the clones' topic; `payload` is what it was parsed from. `now` is of any
    /// clock that does not jump: what expires is counted from here.
    pub fn handle_command(&mut self, now: Timestamp, command: &Command<'_>, payload: &[u8]) {
        let from = command.sender;
        if from.is_nil() || self.is_own(from) {
            return;
        }
        let to_me = self.is_own(command.receiver);
        if !(to_me || command.receiver.is_nil()) {
            return;
        }
        if let Content::AckClone {
            offset,
            heartbeat,
            entries,
        } = &command.content
        {
            if to_me {
                self.on_ack_clone(now, command, *offset, *heartbeat, entries);
            }
            return;
        }
        match &self.attachment {
            Some(attachment) if attachment.master == from => {
                // Former ids may still be known to the master, but are none of ours any more.
                let reader = command.receiver == attachment.id;
                let writer = self.writer_id() == Some(command.receiver);
                self.heard.any = self.ticks;
                // Any other master may have forgotten the writer: its answer tells.
                if attachment.named {
                    self.confirm();
                }
                if reader || writer {
                    self.heard.by_name = self.ticks;
                }
                match &command.content {
                    Content::CumulativeAck { seq } if writer => self.on_writer_ack(*seq),
                    Content::Nack { missing } if writer => self.on_writer_nack(missing),
                    Content::Subtract { key, value, .. } if to_me && command.seq == 0 => {
                        self.on_refusal(key, value);
                    }
                    _ => self.on_command_of_master(now, command, reader, payload),
                }
                let complete = |it: &Attachment| it.consumer.is_idle() && !it.broken;
                if self.attachment.as_ref().is_some_and(complete) {
                    self.heard.complete = self.ticks;
                }
            }
            Some(_) => self.on_other_master(command, payload),
            None => self.on_command_before_snapshot(command, payload),
        }
    }

    fn is_own(&self, id: EntityId) -> bool {
        let mask = (1 << ATTACHMENT_SHIFT) - 1;
        id.endpoint == self.ids.first.endpoint && id.object & mask == self.ids.first.object & mask
    }

    /// `to_me` tells that it is for this very attachment.
    fn on_command_of_master(
        &mut self,
        now: Timestamp,
        command: &Command<'_>,
        to_me: bool,
        payload: &[u8],
    ) {
        let to_all = command.receiver.is_nil();
        match &command.content {
            content if content.is_action() => self.on_action(now, command, payload),
            Content::Keepalive { seq } if to_me || to_all => self.on_keepalive(to_me, *seq),
            // What is lost cannot be had from this attachment: a new one brings everything. Masters
            // of this implementation say so to nobody in particular.
            Content::RetransmitFailed { seq } if (to_me || to_all) && *seq > 0 => {
                self.start_search();
            }
            _ => {}
        }
    }

    fn on_action(&mut self, now: Timestamp, command: &Command<'_>, payload: &[u8]) {
        let Some(attachment) = self.attachment.as_mut().filter(|it| !it.broken) else {
            return;
        };
        let arrival = attachment
            .consumer
            .handle_event(command.seq, || payload.into());
        if arrival == Arrival::InOrder {
            self.apply(now, &command.content);
            self.apply_early(now);
        }
        self.acknowledge_if(|consumer| consumer.unacknowledged() >= ACK_EVENTS_MAX);
    }

    fn apply_early(&mut self, now: Timestamp) {
        while let Some(attachment) = self.attachment.as_mut().filter(|it| !it.broken) {
            match attachment.consumer.pop_early() {
                None => return,
                Some(Early::Event(payload)) => {
                    if let Ok(command) = Command::parse(&payload) {
                        self.apply(now, &command.content);
                    }
                }
                // Nobody marks numbers as lost here.
                Some(Early::Lost(_)) => {}
            }
        }
    }

    /// The master says how far it is. Asked by name, the answer is given at once.
    fn on_keepalive(&mut self, to_me: bool, seq: u64) {
        if let Some(attachment) = &mut self.attachment {
            attachment.consumer.handle_heartbeat(seq);
            attachment.named |= to_me;
            attachment.beats_to_others = if to_me {
                0
            } else {
                attachment.beats_to_others + 1
            };
        }
        self.note_beat(to_me);
        if to_me {
            self.acknowledge_if(|consumer| consumer.unacknowledged() > 0);
        }
    }

    fn acknowledge_if(&mut self, condition: impl Fn(&Consumer) -> bool) {
        if let Some(attachment) = &mut self.attachment
            && !attachment.broken
            && condition(&attachment.consumer)
        {
            let seq = attachment.consumer.acknowledge();
            self.send_to_master(Content::CumulativeAck { seq });
        }
    }

    /// Applies what the master did. Spec: stores 6.4.
    fn apply(&mut self, now: Timestamp, content: &Content<'_>) {
        self.changes.count(content);
        match content {
            Content::Put {
                key,
                value,
                expiry,
                publisher,
            } => {
                let (Ok(key), Ok(value)) = (canonical(key), canonical(value)) else {
                    return;
                };
                let old = match self.entries.get_mut(&*key) {
                    Some(stored) => Some(std::mem::replace(stored, (&*value).into())),
                    None => {
                        self.entries.insert((&*key).into(), (&*value).into());
                        None
                    }
                };
                let expiry = *expiry;
                let at = expiry.map(|span| now.saturating_add(span));
                self.expiries.set(&key, at);
                let value = View::trusted(&value);
                let change = match &old {
                    None => Change::Insert { value, expiry },
                    Some(old) => Change::Update {
                        old: View::trusted(old),
                        value,
                        expiry,
                    },
                };
                self.tell(&key, change, *publisher);
            }
            Content::Erase { key, publisher } => self.remove(key, Change::Erase, *publisher),
            Content::Expire { key, publisher } => self.remove(key, Change::Expire, *publisher),
            // The place of what this clone has missed and cannot be sent again.
            Content::Clear { publisher } if publisher.is_nil() => self.break_attachment(),
            Content::Clear { publisher } => {
                let master = self.master().unwrap_or(*publisher);
                for (key, _) in std::mem::take(&mut self.entries) {
                    if self.expiries.is_over(&key, now) {
                        self.tell(&key, Change::Expire, master)
                    } else {
                        self.tell(&key, Change::Erase, *publisher)
                    }
                }
                self.expiries.clear();
            }
            Content::PutUniqueResult {
                inserted,
                who,
                request,
                ..
            } => self.answer(*who, *request, Ok(*inserted)),
            // Masters turn these into the above; from others they mean nothing here.
            _ => {}
        }
    }

    /// What is missing is gone: keeps the copy as it is until a new snapshot replaces it.
    fn break_attachment(&mut self) {
        if let Some(attachment) = &mut self.attachment {
            attachment.broken = true;
        }
        self.start_search();
    }

    fn remove(&mut self, key: &[u8], change: Change<'_>, publisher: EntityId) {
        if let Ok(key) = canonical(key)
            && self.entries.remove(&*key).is_some()
        {
            self.expiries.set(&key, None);
            self.tell(&key, change, publisher);
        }
    }

    fn tell(&mut self, key: &[u8], change: Change<'_>, publisher: EntityId) {
        if !self.observed {
            return;
        }
        let event = StoreEvent {
            store: self.names.store.as_bytes(),
            key: View::trusted(key),
            change,
            publisher,
        };
        // A value at the limit of depth does not fit into an event.
        if let Ok(value) = event.encode() {
            self.outputs.push_back(Output::Event(value));
        }
    }

    fn answer(&mut self, who: EntityId, request: u64, result: Result<bool, StoreFailure>) {
        if self.unanswered.remove(&(who, request)).is_some() {
            self.outputs.push_back(Output::Answer {
                who,
                request,
                result,
            });
        }
    }

    /// A request of this clone was refused: the message that masters of this implementation send.
    fn on_refusal(&mut self, code: &[u8], text: &[u8]) {
        let code = View::trusted(code).as_count();
        let code = code
            .and_then(|code| u8::try_from(code).ok())
            .and_then(ErrorCode::from_number)
            .filter(|code| code.is_of_protocol());
        let text = View::trusted(text);
        let failure = StoreFailure::new(code.unwrap_or(ErrorCode::Unspecified), text.to_string());
        self.fault(&failure);
    }

    fn fault(&mut self, failure: &StoreFailure) {
        let fault = self.names.fault(failure);
        self.outputs.push_back(Output::Fault(fault));
    }

    // --- time -----------------------------------------------------------------------------------

    /// So many ticks were left out, as when the process was suspended. What the user's intervals
    /// measure has passed; whoever could not be heard meanwhile is given the time to be.
    pub fn skip_ticks(&mut self, ticks: u64) {
        self.ticks += ticks;
        if let Some(search) = &mut self.search {
            search.put_off(ticks);
        }
        if ticks >= self.missed_ticks() {
            self.route.confirmed = false;
            self.await_answer();
            self.route.patience = self.ticks + self.missed_ticks();
        }
    }

    /// A tick has passed.
    pub fn handle_tick(&mut self) {
        self.ticks += 1;
        if let Some(attachment) = self.attachment.as_mut().filter(|it| !it.broken) {
            match attachment.consumer.handle_tick() {
                Some(Feedback::Ack(seq)) => self.send_to_master(Content::CumulativeAck { seq }),
                // A snapshot is cheaper than that many single events.
                Some(Feedback::Nack(missing)) if missing.len() >= CHANNEL_NACK_MAX => {
                    self.start_search();
                }
                Some(Feedback::Nack(missing)) => {
                    let missing = missing.into();
                    self.send_to_master(Content::Nack { missing });
                }
                None => {}
            }
        }
        self.tick_writer();
        self.look_after_master();
        self.tick_search();
        self.drop_old_requests();
        self.give_up_overdue_answers();
    }

    // --- sending --------------------------------------------------------------------------------

    /// Sends the master something without a number, by name.
    fn send_to_master(&mut self, content: Content<'_>) {
        if let Some(attachment) = &self.attachment {
            let command = Command {
                seq: 0,
                sender: attachment.id,
                receiver: attachment.master,
                content,
            };
            let receiver = attachment.master.endpoint;
            self.send(receiver, &command);
        }
    }

    fn send(&mut self, receiver: EndpointId, command: &Command<'_>) {
        let max = self.config.frame_bytes_max;
        // Requests are checked before; everything else is small.
        if let Ok(message) = self.names.message(Role::Master, receiver, command, max) {
            self.outputs.push_back(Output::Send(message));
        }
    }
}

/// What a request is called in messages about it.
fn describe(content: &Content<'_>) -> String {
    let (what, key) = match content {
        Content::Put { key, .. } => ("put", *key),
        Content::PutUnique { key, .. } => ("put_unique", *key),
        Content::Erase { key, .. } => ("erase", *key),
        Content::Add { key, .. } => ("add", *key),
        Content::Subtract { key, .. } => ("subtract", *key),
        _ => return "clear".to_owned(),
    };
    let key = View::trusted(key);
    match key.kind() {
        Kind::Set | Kind::Table | Kind::Vector => format!("{what} of a {}", key.kind()),
        _ => format!("{what} of `{key}`"),
    }
}
