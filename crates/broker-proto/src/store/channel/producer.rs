//! The sending end of a channel.
//!
//! Spec: stores 4.1. The machine does not know what its events are: it is given complete messages
//! and hands them out again when a consumer misses them. It tells its owner whom to send what with
//! the values its methods return.
//!
//! Differences from the original: what is kept is bounded in bytes, a consumer that holds back more
//! than that is dropped; an acknowledgement beyond the last event is not believed; numbers that are
//! gone are told to the owner instead of being declared lost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::config::CHANNEL_RESEND_BYTES_MAX;
use crate::id::EndpointId;
use crate::store::entity::EntityId;

/// The number that the event before the first one would have.
pub const FIRST_SEQ: u64 = 1;

/// Numbers events and keeps them until every consumer has them.
#[derive(Debug)]
pub struct Producer {
    seq: u64,
    tick: u64,
    last_broadcast: u64,
    /// Bound: `kept_bytes_max`; consumers that hold back more are removed.
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    kept_bytes_max: usize,
    paths: BTreeMap<EntityId, Path>,
    /// Ticks between heartbeats.
    heartbeat: u64,
    /// Heartbeats without a sign of life after which a path is removed.
    timeout_factor: u64,
    /// Bytes that were sent again since the last tick.
    resent_bytes: usize,
}

#[derive(Debug)]
struct Kept {
    seq: u64,
    message: Arc<[u8]>,
}

/// What is known of one consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// The number its handshake named.
    pub offset: u64,
    /// The number up to which it has everything; 0 until its first acknowledgement.
    pub acknowledged: u64,
    last_seen: u64,
}

impl Path {
    /// Events up to this number need not be kept for it.
    const fn held(&self) -> u64 {
        match self.acknowledged {
            0 => self.offset,
            acknowledged => acknowledged,
        }
    }
}

/// What an acknowledgement changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledged {
    /// The first one: the handshake is over.
    First,
    /// One among others.
    Noted,
    /// Nothing: it is old, or names what was never sent.
    Ignored,
    /// The consumer has no path.
    Unknown,
}

/// What a consumer that misses events is to be sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Missing {
    /// Its handshake (again).
    Handshake,
    /// These messages, and something else for the numbers that are gone, ascending.
    Events {
        /// What is still there.
        messages: Vec<Arc<[u8]>>,
        /// What is not.
        gone: Vec<u64>,
    },
    /// Nothing.
    Nothing,
    /// The consumer has no path.
    Unknown,
}

/// What a tick brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// Send a heartbeat with this number.
    pub heartbeat: Option<u64>,
    /// These consumers were silent for too long and are removed.
    pub timed_out: Vec<EntityId>,
}

impl Producer {
    /// Without consumers. `heartbeat` is in ticks, the time-out of a path that many times
    /// `timeout_factor`.
    pub fn new(heartbeat: u16, timeout_factor: u16, kept_bytes_max: usize) -> Self {
        Self {
            seq: FIRST_SEQ,
            tick: 1,
            last_broadcast: 1,
            kept: VecDeque::new(),
            kept_bytes: 0,
            kept_bytes_max,
            paths: BTreeMap::new(),
            heartbeat: u64::from(heartbeat.max(1)),
            timeout_factor: u64::from(timeout_factor.max(1)),
            resent_bytes: 0,
        }
    }

    /// The last number that was used.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether anybody is to be sent events. Without paths they get no number either.
    pub fn has_paths(&self) -> bool {
        !self.paths.is_empty()
    }

    /// The consumers.
    pub fn paths(&self) -> impl Iterator<Item = (EntityId, &Path)> {
        self.paths.iter().map(|(id, path)| (*id, path))
    }

    /// The consumers of one endpoint.
    pub fn consumers_of(&self, endpoint: EndpointId) -> impl Iterator<Item = EntityId> {
        let object = |object| EntityId { endpoint, object };
        let range = self.paths.range(object(0)..=object(u64::MAX));
        range.map(|(id, _)| *id)
    }

    /// What is known of a consumer.
    pub fn path(&self, consumer: EntityId) -> Option<&Path> {
        self.paths.get(&consumer)
    }

    /// Bytes of events that are kept.
    pub const fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Number of events that are kept.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Whether everybody has everything. Spec: stores 4.1.
    pub fn is_idle(&self) -> bool {
        self.paths
            .values()
            .all(|path| path.acknowledged == self.seq)
    }

    /// Takes the next event; `message` makes it for its number. The message is to be broadcast.
    ///
    /// Consumers whose missing acknowledgements make the owner keep too much are dropped and
    /// returned: they have to attach again.
    pub fn produce(
        &mut self,
        message: impl FnOnce(u64) -> Arc<[u8]>,
    ) -> (Arc<[u8]>, Vec<EntityId>) {
        self.seq += 1;
        self.last_broadcast = self.tick;
        let message = message(self.seq);
        self.kept_bytes += message.len();
        self.kept.push_back(Kept {
            seq: self.seq,
            message: message.clone(),
        });
        let mut dropped = Vec::new();
        while self.kept_bytes > self.kept_bytes_max && self.kept.len() > 1 {
            dropped.extend(self.drop_slowest());
        }
        (message, dropped)
    }

    /// Removes the paths that hold back most, and what was kept for them alone.
    fn drop_slowest(&mut self) -> Vec<EntityId> {
        let slowest = self.paths.values().map(Path::held).min();
        let dropped: Vec<EntityId> = self
            .paths
            .iter()
            .filter(|(_, path)| Some(path.held()) == slowest)
            .map(|(id, _)| *id)
            .collect();
        for id in &dropped {
            self.paths.remove(id);
        }
        self.trim();
        dropped
    }

    /// Uses up a number for an event that nobody is there to be sent: whoever comes back finds that
    /// it has missed something.
    pub fn skip(&mut self) {
        self.seq += 1;
        self.trim();
    }

    /// Rolls back the events behind `seq`: they were never sent.
    pub fn roll_back(&mut self, seq: u64) {
        while self.kept.back().is_some_and(|kept| kept.seq > seq) {
            if let Some(kept) = self.kept.pop_back() {
                self.kept_bytes -= kept.message.len();
            }
        }
        self.seq = self.seq.min(seq);
        // Nobody can have them, whatever it says.
        for path in self.paths.values_mut() {
            path.offset = path.offset.min(seq);
            path.acknowledged = path.acknowledged.min(seq);
        }
    }

    /// Forgets all events without anybody having them.
    pub fn discard(&mut self) {
        self.kept.clear();
        self.kept_bytes = 0;
    }

    /// Adds a consumer, or starts over with one: it is to be sent a handshake with this offset.
    pub fn add(&mut self, consumer: EntityId) -> u64 {
        self.add_at(consumer, self.seq, 0);
        self.seq
    }

    /// Adds a consumer that already has everything up to a number, as it says itself.
    pub fn add_back(&mut self, consumer: EntityId, acknowledged: u64) {
        let acknowledged = acknowledged.min(self.seq);
        self.add_at(consumer, acknowledged, acknowledged);
    }

    fn add_at(&mut self, consumer: EntityId, offset: u64, acknowledged: u64) {
        let path = Path {
            offset,
            acknowledged,
            last_seen: self.tick,
        };
        self.paths.insert(consumer, path);
    }

    /// Removes a consumer.
    pub fn remove(&mut self, consumer: EntityId) {
        if self.paths.remove(&consumer).is_some() {
            self.trim();
        }
    }

    /// A consumer has everything up to a number.
    pub fn handle_ack(&mut self, consumer: EntityId, seq: u64) -> Acknowledged {
        let (tick, last) = (self.tick, self.seq);
        let Some(path) = self.paths.get_mut(&consumer) else {
            return Acknowledged::Unknown;
        };
        if seq < path.acknowledged || seq > last || seq == 0 {
            return Acknowledged::Ignored;
        }
        path.last_seen = tick;
        let first = path.acknowledged == 0;
        if path.acknowledged < seq {
            path.acknowledged = seq;
            self.trim();
        }
        if first {
            Acknowledged::First
        } else {
            Acknowledged::Noted
        }
    }

    /// A consumer misses some numbers, in ascending order.
    pub fn handle_nack(&mut self, consumer: EntityId, missing: &[u64]) -> Missing {
        let Some(first) = missing.first() else {
            return Missing::Nothing;
        };
        let tick = self.tick;
        let Some(path) = self.paths.get_mut(&consumer) else {
            return Missing::Unknown;
        };
        path.last_seen = tick;
        if *first == 0 {
            return Missing::Handshake;
        }
        self.handle_ack(consumer, first - 1);
        let has = self.path(consumer).map_or(0, |path| path.acknowledged);
        let mut messages = Vec::new();
        let mut gone = Vec::new();
        // An old request that was overtaken asks for what has arrived meanwhile.
        for seq in missing.iter().filter(|seq| **seq > has) {
            if self.resent_bytes > CHANNEL_RESEND_BYTES_MAX {
                break;
            }
            match self.message(*seq) {
                Some(message) => {
                    let message = message.clone();
                    self.resent_bytes += message.len();
                    messages.push(message);
                }
                None if *seq <= self.seq => gone.push(*seq),
                // Not produced yet: whoever asks will get it.
                None => {}
            }
        }
        Missing::Events { messages, gone }
    }

    fn message(&self, seq: u64) -> Option<&Arc<[u8]>> {
        let first = self.kept.front()?.seq;
        let index = usize::try_from(seq.checked_sub(first)?).ok()?;
        self.kept.get(index).map(|kept| &kept.message)
    }

    /// The messages that are kept, from the oldest.
    pub fn messages(&self) -> impl Iterator<Item = (u64, &Arc<[u8]>)> {
        self.kept.iter().map(|kept| (kept.seq, &kept.message))
    }

    /// A tick has passed.
    pub fn handle_tick(&mut self) -> Tick {
        self.tick += 1;
        self.resent_bytes = 0;
        let mut result = Tick::default();
        if self.last_broadcast + self.heartbeat <= self.tick {
            self.last_broadcast = self.tick;
            result.heartbeat = Some(self.seq);
        }
        let (tick, limit) = (self.tick, self.heartbeat * self.timeout_factor);
        self.paths.retain(|id, path| {
            let alive = tick - path.last_seen < limit;
            if !alive {
                result.timed_out.push(*id);
            }
            alive
        });
        if !result.timed_out.is_empty() {
            self.trim();
        }
        result
    }

    /// Forgets what everybody has.
    fn trim(&mut self) {
        let floor = self.paths.values().map(Path::held).min();
        let floor = floor.unwrap_or(self.seq);
        while self.kept.front().is_some_and(|kept| kept.seq <= floor) {
            if let Some(kept) = self.kept.pop_front() {
                self.kept_bytes -= kept.message.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::EndpointId;

    const A: EntityId = EntityId {
        endpoint: EndpointId::from_bytes([1; 16]),
        object: 1,
    };
    const B: EntityId = EntityId {
        endpoint: EndpointId::from_bytes([2; 16]),
        object: 1,
    };

    fn producer() -> Producer {
        Producer::new(5, 100, 1000)
    }

    /// Events of ten bytes that begin with their number.
    fn produce(producer: &mut Producer) -> Vec<EntityId> {
        let message = |seq: u64| Arc::from([u8::try_from(seq).unwrap_or(0); 10]);
        producer.produce(message).1
    }

    fn numbers(messages: &[Arc<[u8]>]) -> Vec<u8> {
        messages.iter().map(|message| message[0]).collect()
    }

    #[test]
    fn the_first_event_has_number_two() {
        let mut producer = producer();
        assert_eq!(producer.add(A), 1);
        produce(&mut producer);
        assert_eq!(producer.seq(), 2);
        assert!(!producer.is_idle());
    }

    #[test]
    fn events_are_kept_until_all_have_them() {
        let mut producer = producer();
        producer.add(A);
        producer.add(B);
        produce(&mut producer);
        produce(&mut producer);
        assert_eq!(producer.handle_ack(A, 3), Acknowledged::First);
        assert_eq!(producer.kept(), 2);
        assert_eq!(producer.handle_ack(B, 2), Acknowledged::First);
        assert_eq!(producer.kept(), 1);
        assert_eq!(producer.handle_ack(B, 3), Acknowledged::Noted);
        assert_eq!((producer.kept(), producer.kept_bytes()), (0, 0));
        assert!(producer.is_idle());
    }

    #[test]
    fn acknowledgements_that_cannot_be_are_not_believed() {
        let mut producer = producer();
        producer.add(A);
        produce(&mut producer);
        assert_eq!(producer.handle_ack(A, 3), Acknowledged::Ignored);
        assert_eq!(producer.handle_ack(A, 2), Acknowledged::First);
        assert_eq!(producer.handle_ack(A, 1), Acknowledged::Ignored);
        assert_eq!(producer.handle_ack(B, 2), Acknowledged::Unknown);
    }

    #[test]
    fn a_nack_acknowledges_what_is_before_it() {
        let mut producer = producer();
        producer.add(A);
        for _ in 0..3 {
            produce(&mut producer);
        }
        let Missing::Events { messages, gone } = producer.handle_nack(A, &[3, 4, 9]) else {
            panic!("events are missing")
        };
        assert_eq!((numbers(&messages), gone), (vec![3, 4], vec![]));
        assert_eq!(producer.path(A).unwrap().acknowledged, 2);
        assert_eq!(producer.handle_nack(A, &[0]), Missing::Handshake);
        assert_eq!(producer.handle_nack(A, &[]), Missing::Nothing);
        assert_eq!(producer.handle_nack(B, &[2]), Missing::Unknown);
    }

    #[test]
    fn what_is_sent_again_within_a_tick_is_bounded() {
        let mut producer = Producer::new(5, 100, usize::MAX);
        producer.add(A);
        for _ in 0..4 {
            producer.produce(|_| vec![0; CHANNEL_RESEND_BYTES_MAX / 2].into());
        }
        let mut sent = || match producer.handle_nack(A, &[2, 3, 4, 5]) {
            Missing::Events { messages, .. } => messages.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!((sent(), sent()), (3, 0));
        producer.handle_tick();
        let Missing::Events { messages, .. } = producer.handle_nack(A, &[5]) else {
            panic!("events are missing")
        };
        assert_eq!(messages.len(), 1);
    }

    #[test]
    fn a_number_used_up_is_missed_by_whoever_comes_back() {
        let mut producer = producer();
        producer.add(A);
        produce(&mut producer);
        producer.remove(A);
        producer.skip();
        producer.add_back(A, 2);
        let gone = Missing::Events {
            messages: vec![],
            gone: vec![3],
        };
        assert_eq!(producer.handle_nack(A, &[3]), gone);
    }

    #[test]
    fn an_old_nack_asks_for_nothing() {
        let mut producer = producer();
        producer.add(A);
        produce(&mut producer);
        producer.handle_ack(A, 2);
        let nothing = Missing::Events {
            messages: vec![],
            gone: vec![],
        };
        assert_eq!(producer.handle_nack(A, &[2]), nothing);
    }

    #[test]
    fn a_consumer_taken_back_is_told_what_is_gone() {
        let mut producer = producer();
        producer.add(A);
        produce(&mut producer);
        produce(&mut producer);
        producer.remove(A);
        producer.add(B);
        produce(&mut producer);
        producer.add_back(A, 1);
        let Missing::Events { messages, gone } = producer.handle_nack(A, &[2, 3, 4]) else {
            panic!("events are missing")
        };
        assert_eq!((numbers(&messages), gone), (vec![4], vec![2, 3]));
    }

    #[test]
    fn every_event_postpones_the_heartbeat() {
        let mut producer = producer();
        let beats = |producer: &mut Producer, ticks| {
            (0..ticks)
                .filter(|_| producer.handle_tick().heartbeat.is_some())
                .count()
        };
        assert_eq!(beats(&mut producer, 10), 2);
        producer.add(A);
        beats(&mut producer, 3);
        produce(&mut producer);
        assert_eq!(beats(&mut producer, 4), 0);
        assert_eq!(producer.handle_tick().heartbeat, Some(2));
    }

    #[test]
    fn silent_paths_are_removed_with_what_was_kept_for_them() {
        let mut producer = Producer::new(1, 3, 1000);
        producer.add(A);
        producer.add(B);
        produce(&mut producer);
        let mut gone = Vec::new();
        for _ in 0..3 {
            producer.handle_ack(B, 2);
            gone.extend(producer.handle_tick().timed_out);
        }
        assert_eq!(gone, [A]);
        assert_eq!(producer.kept(), 0);
        assert!(producer.has_paths());
    }

    #[test]
    fn whoever_holds_back_too_much_is_dropped() {
        let mut producer = Producer::new(5, 100, 30);
        producer.add(A);
        producer.add(B);
        for _ in 0..3 {
            assert_eq!(produce(&mut producer), []);
        }
        producer.handle_ack(B, 4);
        assert_eq!(produce(&mut producer), [A]);
        assert_eq!(producer.kept(), 1);
    }

    #[test]
    fn events_that_were_not_sent_are_taken_back() {
        let mut producer = producer();
        producer.add(A);
        produce(&mut producer);
        produce(&mut producer);
        producer.roll_back(2);
        assert_eq!((producer.seq(), producer.kept()), (2, 1));
        assert_eq!(producer.kept_bytes(), 10);
    }
}
