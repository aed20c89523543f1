//! Large buffers that nobody uses at the moment, kept for whoever needs one next.
//!
//! What waits in mailboxes is written into buffers of 64 KiB. Giving each back to the system, and
//! touching fresh memory for the next one, costs more than filling it. There is one store for the
//! process, so that its bound is one, too, however many endpoints and connections there are.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

/// The one size that is kept; others come from the allocator.
pub(crate) const BUFFER_SIZE: usize = 64 * 1024;

/// How many are kept: two megabytes, which is what fits the caches of a processor.
const KEPT_MAX: usize = 32;

static KEPT: Kept = Kept(Mutex::new(Vec::new()));

/// An empty buffer with room for `size` bytes or more.
pub(crate) fn take(size: usize) -> BytesMut {
    KEPT.take(size)
}

/// Keeps the buffer of some bytes, if nobody else has a part of it and there is a place.
pub(crate) fn give(bytes: Bytes) {
    if let Ok(buffer) = bytes.try_into_mut() {
        give_back(buffer);
    }
}

/// As [`give`], of a buffer.
pub(crate) fn give_back(buffer: BytesMut) {
    KEPT.give(buffer);
}

#[derive(Debug)]
struct Kept(Mutex<Vec<BytesMut>>);

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Vec<BytesMut>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, size: usize) -> BytesMut {
        let kept = match size > BUFFER_SIZE / 2 && size <= BUFFER_SIZE {
            true => self.lock().pop(),
            false => None,
        };
        kept.unwrap_or_else(|| BytesMut::with_capacity(size))
    }

    fn give(&self, mut buffer: BytesMut) {
        buffer.clear();
        // Of a buffer that is shared, or another size, nothing can be had back.
        if buffer.try_reclaim(BUFFER_SIZE) && buffer.capacity() < 2 * BUFFER_SIZE {
            let mut kept = self.lock();
            if kept.len() < KEPT_MAX {
                kept.push(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn give(kept: &Kept, bytes: Bytes) {
        if let Ok(buffer) = bytes.try_into_mut() {
            kept.give(buffer);
        }
    }

    #[test]
    fn a_buffer_in_use_is_never_handed_out() {
        let kept = Kept(Mutex::default());
        let work = |thread: u8| {
            let mut held: Vec<(u8, Bytes)> = Vec::new();
            for round in 0..60 {
                let stamp = thread * 60 + round;
                let mut buffer = kept.take(BUFFER_SIZE);
                assert!(buffer.is_empty() && buffer.capacity() >= BUFFER_SIZE);
                buffer.resize(BUFFER_SIZE, stamp);
                held.push((stamp, buffer.split_to(100).freeze()));
                held.push((stamp, buffer.freeze()));
                for (stamp, piece) in &held {
                    assert!(piece.iter().all(|byte| byte == stamp));
                }
                // The first piece has a sibling, the second has not.
                while held.len() > 20 {
                    give(&kept, held.remove(0).1);
                }
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..3 {
                scope.spawn(move || work(thread));
            }
        });
        let kept = kept.lock();
        assert!(!kept.is_empty() && kept.len() <= KEPT_MAX);
        let fits = |buffer: &BytesMut| (BUFFER_SIZE..2 * BUFFER_SIZE).contains(&buffer.capacity());
        assert!(kept.iter().all(fits));
    }

    #[test]
    fn only_whole_buffers_of_the_one_size_are_kept() {
        let kept = Kept(Mutex::default());
        let count = |bytes: Bytes| {
            give(&kept, bytes);
            kept.lock().len()
        };
        assert_eq!(count(BytesMut::zeroed(BUFFER_SIZE / 2).freeze()), 0);
        assert_eq!(count(BytesMut::zeroed(4 * BUFFER_SIZE).freeze()), 0);
        assert_eq!(count(Bytes::from_static(&[0; BUFFER_SIZE])), 0);
        let whole = BytesMut::zeroed(BUFFER_SIZE).freeze();
        let part = whole.slice(10..20);
        assert_eq!(count(whole), 0, "somebody has a part of it");
        assert_eq!(&part[..], &[0; 10]);
        assert_eq!(count(part), 1, "the last part is the whole");
        for _ in 0..2 * KEPT_MAX {
            assert!(count(BytesMut::zeroed(BUFFER_SIZE).freeze()) <= KEPT_MAX);
        }
    }
}
