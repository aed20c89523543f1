//! Which marked messages an endpoint has had, as far as it remembers.
//!
//! Two generations of keys: the younger one grows until it is full, then the older one is forgotten.
//! A key is a hash under a secret of the endpoint of the mark *and* of everything the message says:
//! a peer that uses somebody else's mark ahead of its owner suppresses nothing but the very same
//! message. The hash need not withstand those who see it, for nobody does.
//!
//! An endpoint with one peer cannot get a message twice, so it does not look anything up. For the
//! case that a second peer comes while copies are under way, it notes what it had as *hints*, which
//! cost next to nothing because they cover the mark and the end of the message only.

use crate::mark::{Mark, content_of};

/// Keys of one generation. The two together remember at least as many messages as a mailbox of
/// 64 MiB holds if they have 128 bytes each; small rings lag less. Full, a generation takes
/// 8 MiB, and only endpoints that get marked messages from several peers have one.
pub const GENERATION_MAX: usize = 512 * 1024;

/// Hints that are kept of the time with one peer: what can be under way on another path while a
/// peering is established.
pub const HINTS_MAX: usize = 4096;

/// Messages after which hints have served their purpose.
const HINTS_USES_MAX: u32 = 64 * 1024;

/// Messages without a second copy, all of them with one peer, after which memory is given back.
const CALM_MAX: u32 = 64 * 1024;

/// Stands for a message with its mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(pub u64);

/// Makes keys; the secret differs between endpoints.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    secret: [u64; 2],
}

impl Keys {
    /// Takes random numbers.
    pub const fn new(secret: [u64; 2]) -> Self {
        Self { secret }
    }

    /// The key of a message, from its mark and the complete frame it came in.
    #[inline]
    pub fn key(&self, mark: Mark, frame: &[u8]) -> Key {
        let (tag, content) = content_of(frame);
        self.finish(self.start(mark, u64::from(tag)), content)
    }

    /// Stands for what the complete frame of a message says, whoever sent it and whatever its mark.
    pub fn content(&self, frame: &[u8]) -> Key {
        let (tag, content) = content_of(frame);
        self.finish(self.secret[1] ^ u64::from(tag), content)
    }

    #[inline]
    fn finish(&self, mut hash: u64, content: &[u8]) -> Key {
        let (chunks, rest) = content.as_chunks::<16>();
        for chunk in chunks {
            hash = self.mix(hash, *chunk);
        }
        let mut last = [0; 16];
        if let Some(place) = last.get_mut(..rest.len()) {
            place.copy_from_slice(rest);
        }
        Key(fold(
            self.mix(hash, last) ^ self.secret[0],
            content.len() as u64 ^ self.secret[1],
        ))
    }

    /// The hint of a message: as the key, but only the end of the message counts.
    #[inline]
    pub fn hint(&self, mark: Mark, frame: &[u8]) -> Key {
        let end = frame.last_chunk::<16>().copied().unwrap_or_default();
        Key(self.mix(self.start(mark, frame.len() as u64), end))
    }

    #[inline]
    fn start(&self, mark: Mark, more: u64) -> u64 {
        let [a, b, c, d, e, f] = mark.origin;
        let origin = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        fold(origin ^ self.secret[0], mark.number ^ self.secret[1]) ^ more
    }

    #[inline]
    fn mix(&self, hash: u64, chunk: [u8; 16]) -> u64 {
        let both = u128::from_le_bytes(chunk);
        let (low, high) = (both as u64, (both >> 64) as u64);
        fold(low ^ self.secret[1], high ^ self.secret[0] ^ hash)
    }
}

/// The two halves of a product, mixed.
#[inline]
const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128).wrapping_mul(b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Keys, each once. They are hashes already, so a key says where it stands: there, or behind others
/// that stand in its place.
#[derive(Debug, Default)]
struct Set {
    /// Zero where there is none; at most half of them are taken. Their number is a power of two.
    slots: Vec<u64>,
    len: usize,
}

impl Set {
    const SLOTS_MIN: usize = 64;

    /// Zero stands for no key.
    fn stored(key: u64) -> u64 {
        key.max(1)
    }

    /// Where the key stands, or would stand; `None` when there is no room yet.
    fn find(&self, key: u64) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = usize::try_from(key).unwrap_or_default() & mask;
        loop {
            match self.slots.get(at)? {
                0 => return Some(at),
                found if *found == key => return Some(at),
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn contains(&self, key: u64) -> bool {
        let key = Self::stored(key);
        self.find(key)
            .is_some_and(|at| self.slots.get(at) == Some(&key))
    }

    /// Adds a key; `false` says that it was there.
    fn insert(&mut self, key: u64) -> bool {
        let key = Self::stored(key);
        if self.len * 2 >= self.slots.len() {
            self.grow();
        }
        let Some(slot) = self.find(key).and_then(|at| self.slots.get_mut(at)) else {
            return false;
        };
        let is_new = *slot == 0;
        *slot = key;
        self.len += usize::from(is_new);
        is_new
    }

    fn grow(&mut self) {
        let slots = vec![0; (self.slots.len() * 2).max(Self::SLOTS_MIN)];
        let before = std::mem::replace(&mut self.slots, slots);
        for key in before.into_iter().filter(|key| *key != 0) {
            if let Some(slot) = self.find(key).and_then(|at| self.slots.get_mut(at)) {
                *slot = key;
            }
        }
    }
}

/// What an endpoint remembers of the marked messages it had.
#[derive(Debug)]
pub struct Duplicates {
    generation_max: usize,
    young: Set,
    old: Set,
    hints: Set,
    /// Messages since the last hint was added.
    hints_uses: u32,
    /// Messages since the last duplicate or the last time with several peers.
    calm: u32,
}

impl Default for Duplicates {
    fn default() -> Self {
        Self::new(GENERATION_MAX)
    }
}

impl Duplicates {
    /// Remembers at least so many messages, and fewer than twice as many.
    pub fn new(generation_max: usize) -> Self {
        Self {
            generation_max: generation_max.max(1),
            young: Set::default(),
            old: Set::default(),
            hints: Set::default(),
            hints_uses: 0,
            calm: 0,
        }
    }

    /// Adds hints from the time with one peer, at most [`HINTS_MAX`].
    pub fn add_hints(&mut self, hints: impl IntoIterator<Item = Key>) {
        for Key(hint) in hints.into_iter().take(HINTS_MAX) {
            if self.hints.len >= HINTS_MAX {
                return;
            }
            self.hints.insert(hint);
            self.hints_uses = 0;
        }
    }

    /// Whether the message was there before.
    pub fn contains(&self, key: Key, hint: impl FnOnce() -> Key) -> bool {
        self.young.contains(key.0)
            || self.old.contains(key.0)
            || (self.hints.len > 0 && self.hints.contains(hint().0))
    }

    /// Notes a message; `false` says that it was there before.
    pub fn insert(&mut self, key: Key, hint: impl FnOnce() -> Key) -> bool {
        if self.contains(key, hint) {
            self.calm = 0;
            return false;
        }
        if self.hints.len > 0 {
            self.hints_uses += 1;
            if self.hints_uses > HINTS_USES_MAX {
                self.hints = Set::default();
            }
        }
        if self.young.len >= self.generation_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.0)
    }

    /// To be called for messages while there is one peer only; `true` says that enough of them came
    /// without a copy: everything is forgotten and nothing need be noted until there are several.
    pub fn calms_down(&mut self) -> bool {
        self.calm = self.calm.saturating_add(1);
        let is_calm = self.calm > CALM_MAX;
        if is_calm {
            *self = Self::new(self.generation_max);
        }
        is_calm
    }

    /// How many keys and hints are held.
    pub fn len(&self) -> usize {
        self.young.len + self.old.len + self.hints.len
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{EnvelopeError, Tag, patch_receiver, write_envelope};
    use crate::id::EndpointId;

    const KEYS: Keys = Keys::new([0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344]);

    fn mark(number: u64) -> Mark {
        Mark {
            origin: *b"origin",
            number,
            hops: 0,
        }
    }

    fn frame(topic: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let id = EndpointId::from_bytes([1; 16]);
        write_envelope::<EnvelopeError>(&mut out, id, EndpointId::NIL, Tag::Data, topic, |out| {
            out.extend_from_slice(payload);
            Ok(())
        })
        .unwrap();
        out
    }

    fn insert(seen: &mut Duplicates, number: u64) -> bool {
        let frame = frame(b"/t", b"x");
        let key = KEYS.key(mark(number), &frame);
        seen.insert(key, || KEYS.hint(mark(number), &frame))
    }

    #[test]
    fn second_copies_are_found_for_as_long_as_promised() {
        let mut seen = Duplicates::new(10);
        for number in 0..1000 {
            assert!(insert(&mut seen, number));
            for before in number.saturating_sub(9)..=number {
                assert!(!insert(&mut seen, before), "{before} after {number}");
            }
            assert!(seen.len() <= 20);
        }
        assert!(insert(&mut seen, 0));
    }

    #[test]
    fn hints_count_until_they_are_old() {
        let mut seen = Duplicates::default();
        let had = frame(b"/t", b"x");
        seen.add_hints((0..10_000).map(|number| KEYS.hint(mark(number), &had)));
        assert_eq!(seen.len(), HINTS_MAX);
        assert!(!insert(&mut seen, 7));
        for number in 20_000..20_000 + u64::from(HINTS_USES_MAX) + 1 {
            assert!(insert(&mut seen, number));
        }
        assert!(insert(&mut seen, 7));
    }

    #[test]
    fn memory_is_given_back_when_one_peer_is_left() {
        let mut seen = Duplicates::default();
        assert!(insert(&mut seen, 0));
        for _ in 0..CALM_MAX {
            assert!(!seen.calms_down());
        }
        assert!(!insert(&mut seen, 0));
        for _ in 0..CALM_MAX {
            assert!(!seen.calms_down());
        }
        assert!(seen.calms_down());
        assert!(seen.is_empty());
    }

    #[test]
    fn sets_hold_any_keys() {
        let mut set = Set::default();
        assert!(!set.contains(0));
        let keys: Vec<u64> = (0..2000)
            .map(|number: u64| number << 40)
            .chain([u64::MAX])
            .collect();
        for key in &keys {
            assert!(!set.contains(*key) && set.insert(*key) && !set.insert(*key));
        }
        assert!(keys.iter().all(|key| set.contains(*key)));
        assert_eq!(set.len, keys.len());
        assert!(!set.contains(12345));
    }

    proptest! {
        /// A key covers the mark without its hops, the topic and the payload, and where they part.
        #[test]
        fn keys_tell_messages_apart(
            number: u64,
            topic in prop::collection::vec(any::<u8>(), 1..40),
            payload in prop::collection::vec(any::<u8>(), 1..60),
            at: prop::sample::Index,
            hops: u8,
        ) {
            let original = frame(&topic, &payload);
            let key = KEYS.key(mark(number), &original);
            let later = Mark { hops, ..mark(number) };
            prop_assert_eq!(KEYS.key(later, &original), key);
            prop_assert_ne!(KEYS.key(mark(number ^ 1), &original), key);
            let mut changed = payload.clone();
            changed[at.index(payload.len())] ^= 1;
            prop_assert_ne!(KEYS.key(mark(number), &frame(&topic, &changed)), key);
            prop_assert_ne!(KEYS.content(&frame(&topic, &changed)), KEYS.content(&original));
            let mut marked = original.clone();
            patch_receiver(&mut marked, mark(number).to_receiver());
            prop_assert_eq!(KEYS.content(&marked), KEYS.content(&original));
            let longer = [&payload[..], &[0]].concat();
            prop_assert_ne!(KEYS.key(mark(number), &frame(&topic, &longer)), key);
            let moved = frame(&[&topic[..], &payload[..1]].concat(), &payload[1..]);
            prop_assert_ne!(KEYS.key(mark(number), &moved), key);
            let other = Keys::new([1, 2]);
            prop_assert_ne!(other.key(mark(number), &original), key);
        }
    }
}
