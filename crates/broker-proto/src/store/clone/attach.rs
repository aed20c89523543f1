//! The search of a clone for its master, and the signs by which it notices that it needs one.

use std::collections::BTreeMap;

use broker_data::{Timestamp, View, canonical};

use crate::config::CHANNEL_REORDER_BYTES_MAX;
use crate::id::EndpointId;
use crate::status::ErrorCode;
use crate::store::StoreFailure;
use crate::store::channel::Consumer;
use crate::store::channel::consumer::Feedback;
use crate::store::clone::{
    ATTACHMENT_SHIFT, ATTACHMENTS_MAX, Attachment, EARLY_EVENTS_MAX, Entries, StoreClone,
};
use crate::store::command::{self, Command, Content};
use crate::store::entity::EntityId;
use crate::store::event::Change;

/// A search for a master.
#[derive(Debug)]
pub(super) struct Search {
    /// The id of the attachment to be. A master that hears of an id again resends what it sent
    /// before, so every search has its own.
    id: EntityId,
    consumer: Consumer,
    since: u64,
    /// Events that came before the snapshot they belong behind, by master and number.
    early: BTreeMap<(EntityId, u64), Box<[u8]>>,
    early_bytes: usize,
    /// Whether the user knows that a master cannot send its snapshot.
    told: bool,
}

impl Search {
    pub(super) const fn early_bytes(&self) -> usize {
        self.early_bytes
    }

    /// Nobody could have been found in that time.
    pub(super) const fn put_off(&mut self, ticks: u64) {
        self.since += ticks;
    }
}

type Entry = (Box<[u8]>, Box<[u8]>);

impl StoreClone {
    /// Searches again after a search that failed.
    pub fn search_again(&mut self) {
        if self.failed {
            self.heard.any = self.ticks;
            self.start_search();
        }
    }

    /// Whether a peer leads to a master, as far as subscriptions tell.
    pub fn set_reachable(&mut self, reachable: bool) {
        let appeared = reachable && !self.route.reachable;
        self.route.reachable = reachable;
        // Whoever is there next may be another master.
        self.route.confirmed &= reachable && !appeared;
        self.route.served &= self.route.confirmed;
        if !appeared {
            return;
        }
        self.await_answer();
        // The old master, if it is there, is about to speak.
        self.route.patience = self.ticks + self.missed_ticks();
        if let Some(search) = &self.search {
            let id = search.id;
            self.ask(id);
        }
    }

    pub(super) fn start_search(&mut self) {
        if self.search.is_some() {
            return;
        }
        let object =
            self.ids.first.object | (self.ids.attachments % ATTACHMENTS_MAX) << ATTACHMENT_SHIFT;
        let id = EntityId {
            object,
            ..self.ids.first
        };
        self.ids.attachments += 1;
        self.failed = false;
        self.search = Some(Search {
            id,
            consumer: Consumer::new(self.config.heartbeat_interval, self.config.nack_timeout),
            since: self.ticks,
            early: BTreeMap::new(),
            early_bytes: 0,
            told: false,
        });
        self.ask(id);
    }

    /// Asks whoever has a master. Spec: stores 5.2.
    fn ask(&mut self, id: EntityId) {
        let command = Command {
            seq: 0,
            sender: id,
            receiver: EntityId::NIL,
            content: Content::Nack {
                missing: vec![0].into(),
            },
        };
        self.send(EndpointId::NIL, &command);
    }

    pub(super) fn tick_search(&mut self) {
        let Some(search) = &mut self.search else {
            return;
        };
        let (id, since) = (search.id, search.since);
        if let Some(Feedback::Nack(_)) = search.consumer.handle_tick() {
            self.ask(id);
        }
        let limit = self.config.ticks(self.options.resync_interval);
        if self.attachment.is_none() && self.ticks - since >= limit {
            self.search = None;
            self.failed = true;
            let failure = self.no_master();
            self.fault(&failure);
            self.give_up_requests(&failure);
        }
    }

    /// Looks for another master when the one there is has been silent for too long, or does not
    /// send what is missing.
    pub(super) fn look_after_master(&mut self) {
        let Some(attachment) = &self.attachment else {
            return;
        };
        if !self.route.reachable || self.ticks < self.route.patience {
            return;
        }
        // Nobody is silent who speaks as often as agreed.
        let resync = self.config.ticks(self.options.resync_interval);
        let behind = self.ticks - self.heard.complete >= resync.max(self.missed_ticks());
        // What is for all comes, but nothing by name: the master has given this clone up. Answers to
        // the writer do not count where signs of life by name do, which changes may leave no room for.
        let given_up = if attachment.named {
            attachment.beats_to_others >= u64::from(self.config.connection_timeout.max(1))
        } else {
            self.ticks - self.heard.by_name >= self.config.connection_ticks()
        };
        // Snapshots are large: not more often than there is time for one.
        let forgotten = attachment.forgotten && self.ticks - attachment.since >= resync;
        if behind || given_up || forgotten {
            self.start_search();
        }
    }

    /// A master that is not the one this clone follows said something.
    pub(super) fn on_other_master(&mut self, command: &Command<'_>, payload: &[u8]) {
        if self.silence() >= self.missed_ticks() && self.ticks >= self.route.patience {
            self.start_search();
        }
        self.on_command_before_snapshot(command, payload);
    }

    pub(super) fn on_command_before_snapshot(&mut self, command: &Command<'_>, payload: &[u8]) {
        let Some(search) = &mut self.search else {
            return;
        };
        let bytes = search.early_bytes.saturating_add(payload.len());
        let has_room = search.early.len() < EARLY_EVENTS_MAX && bytes <= CHANNEL_REORDER_BYTES_MAX;
        match &command.content {
            content if content.is_action() && command.seq > 0 && has_room => {
                let id = (command.sender, command.seq);
                if search.early.insert(id, payload.into()).is_none() {
                    search.early_bytes = bytes;
                }
            }
            // How masters of this implementation say that they cannot serve a clone.
            Content::RetransmitFailed { seq: 0 } if !search.told => {
                search.told = true;
                let text = "the master cannot send its snapshot: it is larger than the master's \
                            `frame_bytes_max`, or cannot be read";
                self.fault(&StoreFailure::new(ErrorCode::BackendFailure, text));
            }
            _ => {}
        }
    }

    /// A master's handshake, with everything it has. Spec: stores 5.2.
    pub(super) fn on_ack_clone(
        &mut self,
        now: Timestamp,
        command: &Command<'_>,
        offset: u64,
        heartbeat: u16,
        entries: &command::Entries<'_>,
    ) {
        let master = command.sender;
        let asked = |search: &Search| search.id == command.receiver;
        if !self.search.as_ref().is_some_and(asked) {
            return;
        }
        // A snapshot that is not one is dropped as a whole, and asked for again.
        let Some(entries) = read_snapshot(entries) else {
            return;
        };
        let Some(mut search) = self.search.take() else {
            return;
        };
        for ((sender, seq), payload) in std::mem::take(&mut search.early) {
            if sender == master {
                search.consumer.handle_event(seq, || payload);
            }
        }
        search.consumer.handle_handshake(offset, heartbeat);
        let forgotten = self.attachment.as_ref().is_some_and(|it| it.forgotten);
        self.attachment = Some(Attachment {
            id: search.id,
            master,
            consumer: search.consumer,
            broken: false,
            since: self.ticks,
            heartbeat: u64::from(heartbeat.max(1)),
            named: false,
            beats_to_others: 0,
            answered: false,
            forgotten: false,
        });
        self.await_answer();
        self.heard.complete = self.ticks;
        self.heard.any = self.ticks;
        self.heard.by_name = self.ticks;
        self.route.confirmed = true;
        self.acknowledge_if(|_| true);
        self.replace_entries(entries, master);
        self.apply_early(now);
        self.open_writer(forgotten);
    }

    /// Takes a snapshot; local subscribers are told what is different from before.
    fn replace_entries(&mut self, entries: Entries, master: EntityId) {
        let old = std::mem::replace(&mut self.entries, entries);
        self.expiries.clear();
        if !self.observed {
            return;
        }
        let mut removed: Vec<Entry> = old.into_iter().collect();
        let mut written = Vec::new();
        for (key, value) in &self.entries {
            let before = removed.binary_search_by(|(other, _)| other.cmp(key)).ok();
            let before = before.map(|index| &mut removed[index].1);
            match before {
                Some(old) if *old == *value => {}
                before => written.push((key.clone(), value.clone(), before.map(|old| old.clone()))),
            }
        }
        removed.retain(|(key, _)| !self.entries.contains_key(key));
        for (key, _) in removed {
            self.tell(&key, Change::Erase, master);
        }
        for (key, value, old) in written {
            let value = View::trusted(&value);
            let expiry = None;
            let change = match &old {
                None => Change::Insert { value, expiry },
                Some(old) => Change::Update {
                    old: View::trusted(old),
                    value,
                    expiry,
                },
            };
            self.tell(&key, change, master);
        }
    }
}

fn read_snapshot(entries: &command::Entries<'_>) -> Option<Entries> {
    let mut list: Vec<Entry> = Vec::new();
    for (key, value) in entries.iter() {
        list.push((
            canonical(key).ok()?.into_owned().into(),
            canonical(value).ok()?.into_owned().into(),
        ));
    }
    let count = list.len();
    let map: Entries = list.into_iter().collect();
    (map.len() == count).then_some(map)
}
