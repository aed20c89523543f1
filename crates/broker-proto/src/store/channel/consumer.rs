//! The receiving end of a channel.
//!
//! Spec: stores 4.2. Differences from the original: the reorder buffer and a single nack are
//! bounded, a heartbeat is answered at once when the owner asks for it, and an event that came
//! before the handshake is applied after it.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::config::{
    CHANNEL_NACK_MAX, CHANNEL_REORDER_BYTES_MAX, CHANNEL_REORDER_EVENT_BYTES,
    CHANNEL_REORDER_EVENTS_MAX,
};

/// Puts numbered events into order.
#[derive(Debug)]
pub struct Consumer {
    /// The next expected number; 0 until the handshake.
    next: u64,
    /// One past the known end, or the highest number that is kept.
    last: u64,
    /// Events that came too early, and numbers known to be lost (`None`).
    early: BTreeMap<u64, Option<Box<[u8]>>>,
    early_bytes: usize,
    ticks: u64,
    next_at_last_tick: u64,
    idle_ticks: u64,
    /// Ticks between acknowledgements.
    heartbeat: u64,
    nack_timeout: u64,
    /// Events consumed since the last acknowledgement.
    unacknowledged: u64,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It is the next one: apply it, then what [`Consumer::pop_early`] has.
    InOrder,
    /// It is kept until those before it are there.
    Early,
    /// It was there before, or there is no room to keep it.
    Ignored,
}

/// The next number in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Early {
    /// An event that was kept.
    Event(Box<[u8]>),
    /// The producer does not have it any more.
    Lost(u64),
}

/// What is to be sent after a tick.
#[derive(Debug, PartialEq, Eq)]
pub enum Feedback {
    /// Everything up to this number is there.
    Ack(u64),
    /// These are missing, ascending; `[0]` asks for the handshake.
    Nack(Vec<u64>),
}

impl Consumer {
    /// Before the handshake, which is asked for after `nack_timeout` ticks.
    pub fn new(heartbeat: u16, nack_timeout: u16) -> Self {
        Self {
            next: 0,
            last: 0,
            early: BTreeMap::new(),
            early_bytes: 0,
            ticks: 0,
            next_at_last_tick: 0,
            idle_ticks: 0,
            heartbeat: u64::from(heartbeat.max(1)),
            nack_timeout: u64::from(nack_timeout.max(1)),
            unacknowledged: 0,
        }
    }

    /// Whether the handshake is over.
    pub const fn is_attached(&self) -> bool {
        self.next != 0
    }

    /// The number up to which everything is there; 0 before the handshake.
    pub const fn acknowledged(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// Whether everything that is known to exist is there. Spec: stores 4.2.
    pub fn is_idle(&self) -> bool {
        self.is_attached() && self.early.is_empty() && self.next >= self.last
    }

    /// Events consumed since the last acknowledgement was made.
    pub const fn unacknowledged(&self) -> u64 {
        self.unacknowledged
    }

    /// The number to acknowledge now.
    pub fn acknowledge(&mut self) -> u64 {
        self.unacknowledged = 0;
        self.acknowledged()
    }

    /// How many events are kept until one before them comes.
    pub fn early(&self) -> usize {
        self.early.len()
    }

    /// How many events are known to exist and are not consumed yet.
    pub const fn lag(&self) -> u64 {
        if self.is_attached() {
            self.last.saturating_sub(self.acknowledged())
        } else {
            0
        }
    }

    /// Bytes of what is kept until something before it comes.
    pub const fn early_bytes(&self) -> usize {
        self.early_bytes
    }

    /// The producer's handshake: its next event has the number `offset + 1`. `false` when there was
    /// one before. What is in order now is in [`pop_early`](Self::pop_early).
    pub fn handle_handshake(&mut self, offset: u64, heartbeat: u16) -> bool {
        if self.is_attached() {
            return false;
        }
        // The last number is never reached, so that the next one can always be named.
        self.next = offset.min(u64::MAX - 2) + 1;
        self.last = self.next;
        self.heartbeat = u64::from(heartbeat.max(1));
        self.early = self.early.split_off(&self.next);
        self.early_bytes = self.early.values().map(cost).sum();
        if let Some((highest, _)) = self.early.last_key_value() {
            self.last = self.last.max(*highest);
        }
        self.next_at_last_tick = self.next;
        self.idle_ticks = 0;
        self.unacknowledged = 0;
        true
    }

    /// The producer's last number is `seq`.
    pub fn handle_heartbeat(&mut self, seq: u64) {
        if self.is_attached() && seq > 0 {
            self.last = self.last.max(seq.saturating_add(1));
        }
    }

    /// An event came. `payload` is asked for only if it has to be kept.
    pub fn handle_event(&mut self, seq: u64, payload: impl FnOnce() -> Box<[u8]>) -> Arrival {
        self.handle_event_within(CHANNEL_REORDER_BYTES_MAX, seq, payload)
    }

    /// As [`handle_event`](Self::handle_event), for an owner that has no more than so many bytes
    /// for what is kept here.
    pub fn handle_event_within(
        &mut self,
        bytes_max: usize,
        seq: u64,
        payload: impl FnOnce() -> Box<[u8]>,
    ) -> Arrival {
        // No producer gets to the last number; whoever names it wants to break something.
        if seq < self.next || seq == 0 || seq == u64::MAX {
            return Arrival::Ignored;
        }
        if self.is_attached() && seq == self.next {
            // What may be kept under this number is not needed any more.
            if let Some(marked) = self.early.remove(&seq) {
                self.early_bytes -= cost(&marked);
            }
            self.advance();
            return Arrival::InOrder;
        }
        if let Some(Some(_)) = self.early.get(&seq) {
            return Arrival::Ignored;
        }
        self.last = self.last.max(seq);
        let payload = Some(payload());
        if self.keep(bytes_max, seq, payload) {
            Arrival::Early
        } else {
            // What is left out here is asked for again later.
            Arrival::Ignored
        }
    }

    fn keep(&mut self, bytes_max: usize, seq: u64, payload: Option<Box<[u8]>>) -> bool {
        let new = !self.early.contains_key(&seq);
        let bytes = self.early_bytes.saturating_add(cost(&payload));
        let bytes_max = bytes_max.min(CHANNEL_REORDER_BYTES_MAX);
        if new && self.early.len() >= CHANNEL_REORDER_EVENTS_MAX || bytes > bytes_max {
            return false;
        }
        self.early_bytes = bytes;
        if let Some(marked) = self.early.insert(seq, payload) {
            self.early_bytes -= cost(&marked);
        }
        true
    }

    /// A number is lost for good.
    pub fn handle_lost(&mut self, seq: u64) {
        if seq < self.next || seq == u64::MAX || !self.is_attached() {
            return;
        }
        if !self.early.contains_key(&seq) && self.keep(CHANNEL_REORDER_BYTES_MAX, seq, None) {
            self.last = self.last.max(seq);
        }
    }

    /// Takes what has become in order. To be called until `None` after every call above.
    pub fn pop_early(&mut self) -> Option<Early> {
        if !self.is_attached() {
            return None;
        }
        let first = self.early.first_entry()?;
        if *first.key() != self.next {
            return None;
        }
        let (seq, payload) = first.remove_entry();
        self.early_bytes -= cost(&payload);
        self.advance();
        Some(match payload {
            Some(payload) => Early::Event(payload),
            None => Early::Lost(seq),
        })
    }

    fn advance(&mut self) {
        self.next += 1;
        self.last = self.last.max(self.next);
        self.unacknowledged += 1;
    }

    /// A tick has passed.
    pub fn handle_tick(&mut self) -> Option<Feedback> {
        self.ticks += 1;
        if !self.is_attached() {
            self.idle_ticks += 1;
            return self.take_nack_timeout().then(|| Feedback::Nack(vec![0]));
        }
        let progressed = self.next > self.next_at_last_tick;
        self.next_at_last_tick = self.next;
        let acks = self.ticks.is_multiple_of(self.heartbeat);
        if progressed {
            self.idle_ticks = 0;
        } else {
            self.idle_ticks += 1;
            if self.next < self.last && self.take_nack_timeout() {
                return Some(Feedback::Nack(self.missing()));
            }
        }
        acks.then(|| Feedback::Ack(self.acknowledge()))
    }

    fn take_nack_timeout(&mut self) -> bool {
        let over = self.idle_ticks >= self.nack_timeout;
        if over {
            self.idle_ticks = 0;
        }
        over
    }

    /// The first missing numbers. Never empty when `next < last`: `next` itself is missing.
    fn missing(&self) -> Vec<u64> {
        let mut missing = Vec::new();
        let mut from = self.next;
        let gaps = self
            .early
            .range((Bound::Included(self.next), Bound::Unbounded))
            .map(|(seq, _)| *seq)
            .chain([self.last]);
        for to in gaps {
            for seq in from..to.max(from) {
                if missing.len() == CHANNEL_NACK_MAX {
                    return missing;
                }
                missing.push(seq);
            }
            from = to.saturating_add(1);
        }
        missing
    }
}

fn cost(payload: &Option<Box<[u8]>>) -> usize {
    CHANNEL_REORDER_EVENT_BYTES + payload.as_ref().map_or(0, |payload| payload.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attached() -> Consumer {
        let mut consumer = Consumer::new(5, 2);
        assert!(consumer.handle_handshake(1, 5));
        consumer
    }

    fn event(consumer: &mut Consumer, seq: u64) -> Arrival {
        consumer.handle_event(seq, || Box::from([u8::try_from(seq).unwrap_or(0)]))
    }

    fn early(consumer: &mut Consumer) -> Vec<Early> {
        std::iter::from_fn(|| consumer.pop_early()).collect()
    }

    #[test]
    fn asks_for_the_handshake_every_nack_timeout() {
        let mut consumer = Consumer::new(5, 2);
        let requests: Vec<_> = (0..4).map(|_| consumer.handle_tick()).collect();
        let nack = || Some(Feedback::Nack(vec![0]));
        assert_eq!(requests, [None, nack(), None, nack()]);
    }

    #[test]
    fn events_in_order_are_applied_at_once() {
        let mut consumer = attached();
        assert_eq!(event(&mut consumer, 2), Arrival::InOrder);
        assert_eq!(event(&mut consumer, 2), Arrival::Ignored);
        assert_eq!(event(&mut consumer, 3), Arrival::InOrder);
        assert!(consumer.is_idle());
        assert_eq!(consumer.acknowledged(), 3);
    }

    #[test]
    fn a_gap_is_asked_for_and_filled() {
        let mut consumer = attached();
        assert_eq!(event(&mut consumer, 4), Arrival::Early);
        assert_eq!(event(&mut consumer, 4), Arrival::Ignored);
        assert!(!consumer.is_idle());
        assert_eq!(consumer.handle_tick(), None);
        assert_eq!(consumer.handle_tick(), Some(Feedback::Nack(vec![2, 3])));
        assert_eq!(event(&mut consumer, 2), Arrival::InOrder);
        assert_eq!(early(&mut consumer), []);
        assert_eq!(event(&mut consumer, 3), Arrival::InOrder);
        assert_eq!(early(&mut consumer), [Early::Event(Box::from([4]))]);
        assert!(consumer.is_idle());
    }

    #[test]
    fn quiet_ticks_before_a_gap_count() {
        let mut consumer = attached();
        consumer.handle_tick();
        consumer.handle_tick();
        consumer.handle_heartbeat(2);
        assert_eq!(consumer.handle_tick(), Some(Feedback::Nack(vec![2])));
    }

    #[test]
    fn a_heartbeat_reveals_a_lost_tail() {
        let mut consumer = attached();
        consumer.handle_heartbeat(3);
        assert!(!consumer.is_idle());
        consumer.handle_tick();
        assert_eq!(consumer.handle_tick(), Some(Feedback::Nack(vec![2, 3])));
    }

    #[test]
    fn events_before_the_handshake_are_applied_behind_it() {
        let mut consumer = Consumer::new(5, 2);
        for seq in [9, 11, 12] {
            assert_eq!(event(&mut consumer, seq), Arrival::Early);
        }
        assert!(consumer.handle_handshake(10, 5));
        assert_eq!(
            early(&mut consumer),
            [Early::Event(Box::from([11])), Early::Event(Box::from([12]))]
        );
        assert!(!consumer.handle_handshake(20, 5));
        assert!(consumer.is_idle());
    }

    #[test]
    fn acknowledges_in_ticks_that_are_multiples_of_the_heartbeat() {
        let mut consumer = attached();
        let acks = (1..=10).filter(|_| consumer.handle_tick() == Some(Feedback::Ack(1)));
        assert_eq!(acks.count(), 2);
    }

    #[test]
    fn lost_numbers_are_passed_over_and_told() {
        let mut consumer = attached();
        assert_eq!(event(&mut consumer, 3), Arrival::Early);
        consumer.handle_lost(2);
        assert_eq!(
            early(&mut consumer),
            [Early::Lost(2), Early::Event(Box::from([3]))]
        );
        consumer.handle_lost(1);
        assert_eq!(early(&mut consumer), []);
    }

    #[test]
    fn a_lost_number_that_comes_after_all_is_taken() {
        let mut consumer = attached();
        consumer.handle_lost(3);
        assert_eq!(event(&mut consumer, 3), Arrival::Early);
        assert_eq!(event(&mut consumer, 2), Arrival::InOrder);
        assert_eq!(early(&mut consumer), [Early::Event(Box::from([3]))]);
    }

    #[test]
    fn an_absurd_number_costs_a_bounded_request() {
        let mut consumer = attached();
        consumer.handle_heartbeat(u64::MAX);
        consumer.handle_tick();
        let Some(Feedback::Nack(missing)) = consumer.handle_tick() else {
            panic!("a gap is asked for")
        };
        assert_eq!(missing.len(), CHANNEL_NACK_MAX);
        assert_eq!(missing[0], 2);
    }

    #[test]
    fn the_last_numbers_there_are_break_nothing() {
        for offset in [u64::MAX, u64::MAX - 1, u64::MAX - 2] {
            let mut consumer = Consumer::new(5, 2);
            assert!(consumer.handle_handshake(offset, 5));
            for seq in [u64::MAX - 2, u64::MAX - 1, u64::MAX] {
                event(&mut consumer, seq);
                consumer.handle_lost(seq);
                early(&mut consumer);
            }
            assert!(consumer.is_attached());
            assert_eq!(event(&mut consumer, u64::MAX), Arrival::Ignored);
            consumer.handle_tick();
        }
    }

    #[test]
    fn an_event_in_order_replaces_the_mark_that_it_is_lost() {
        let mut consumer = attached();
        consumer.handle_lost(2);
        assert_eq!(event(&mut consumer, 2), Arrival::InOrder);
        assert_eq!(early(&mut consumer), []);
        assert_eq!(consumer.early_bytes(), 0);
        assert!(consumer.is_idle());
    }

    #[test]
    fn small_events_count_with_what_keeping_them_costs() {
        let mut consumer = attached();
        let room = 2 * (CHANNEL_REORDER_EVENT_BYTES + 1);
        let mut keep = |seq| consumer.handle_event_within(room, seq, || [0].into());
        let kept = [keep(3), keep(4), keep(5)];
        assert_eq!(kept, [Arrival::Early, Arrival::Early, Arrival::Ignored]);
        assert_eq!(consumer.early_bytes(), room);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut consumer = attached();
        let large = CHANNEL_REORDER_BYTES_MAX / 2 + 1;
        let mut keep = |seq| consumer.handle_event(seq, || vec![0; large].into());
        assert_eq!(keep(3), Arrival::Early);
        assert_eq!(keep(4), Arrival::Ignored);
    }
}
