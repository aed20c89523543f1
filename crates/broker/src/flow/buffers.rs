//! Large buffers that are free, kept for their next use.
//!
//! What waits in mailboxes is written into buffers of 64 KiB. Giving each back to the system, and
//! touching fresh memory for the next one, costs more than filling it. There is one store for the
//! process, so that its bound is one, too, however many endpoints and connections there are.

use bytes::{Bytes, BytesMut};

use crate::lock::{Lock, Locked};

/// The least size that is kept, up to twice as much; others come from the allocator.
pub(crate) const BUFFER_SIZE: usize = 64 * 1024;

/// How many are kept: two megabytes, which is what fits the caches of a processor.
const KEPT_MAX: usize = 32;

static KEPT: Kept = Kept(Lock::new(Vec::new()));

/// An empty buffer with room for `size` bytes or more.
pub(crate) fn take(size: usize) -> BytesMut {
    KEPT.take(size)
}

/// An empty buffer for a frame that is likely to be as large as one of `size` bytes: one that is kept,
/// or one without room. Large messages come one after the other, and each goes away with its memory.
pub(crate) fn take_for_frame(size: usize) -> Vec<u8> {
    KEPT.take_for_frame(size)
}

/// Keeps the buffer of some bytes, if nobody else has a part of it and there is a place.
pub(crate) fn give(bytes: Bytes) {
    KEPT.give(bytes);
}

#[derive(Debug)]
struct Kept(Lock<Vec<BytesMut>>);

impl Kept {
    /// Nobody waits: the allocator is there, too. And in the child of a fork a lock that some thread
    /// of the parent held is never free again.
    fn lock(&self) -> Option<Locked<'_, Vec<BytesMut>>> {
        self.0.try_lock()
    }

    fn take(&self, size: usize) -> BytesMut {
        let kept = if size > BUFFER_SIZE / 2 && size < 2 * BUFFER_SIZE {
            self.find(size)
        } else {
            None
        };
        kept.unwrap_or_else(|| BytesMut::with_capacity(size))
    }

    /// The latest that has the room: any for runs, one of a large frame for a large frame.
    fn find(&self, size: usize) -> Option<BytesMut> {
        let mut kept = self.lock()?;
        let place = kept.iter().rposition(|it| it.capacity() >= size)?;
        Some(kept.swap_remove(place))
    }

    fn take_for_frame(&self, size: usize) -> Vec<u8> {
        if size <= BUFFER_SIZE / 2 || size >= 2 * BUFFER_SIZE {
            return Vec::new();
        }
        self.find(size).map_or_else(Vec::new, Vec::from)
    }

    fn give(&self, bytes: Bytes) {
        let Ok(mut buffer) = bytes.try_into_mut() else {
            return;
        };
        buffer.clear();
        // The bytes may be a part of more memory than a buffer has, or of less.
        let is_larger = buffer.try_reclaim(2 * BUFFER_SIZE);
        if is_larger || !buffer.try_reclaim(BUFFER_SIZE) {
            return;
        }
        if let Some(mut kept) = self.lock()
            && kept.len() < KEPT_MAX
        {
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_in_use_is_never_handed_out() {
        let kept = Kept(Lock::default());
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
                    kept.give(held.remove(0).1);
                }
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..3 {
                scope.spawn(move || work(thread));
            }
        });
        let kept = kept.lock().unwrap();
        assert!(!kept.is_empty() && kept.len() <= KEPT_MAX);
        let fits = |buffer: &BytesMut| (BUFFER_SIZE..2 * BUFFER_SIZE).contains(&buffer.capacity());
        assert!(kept.iter().all(fits));
    }

    #[test]
    fn only_whole_buffers_of_the_one_size_are_kept() {
        let kept = Kept(Lock::default());
        let count = |bytes: Bytes| {
            kept.give(bytes);
            kept.lock().unwrap().len()
        };
        assert_eq!(count(BytesMut::zeroed(BUFFER_SIZE / 2).freeze()), 0);
        assert_eq!(count(BytesMut::zeroed(4 * BUFFER_SIZE).freeze()), 0);
        assert_eq!(count(Bytes::from_static(&[0; BUFFER_SIZE])), 0);
        let huge = BytesMut::zeroed(256 * BUFFER_SIZE).freeze();
        assert_eq!(count(huge.slice(huge.len() - BUFFER_SIZE - 100..)), 0);
        let end = huge.len() - BUFFER_SIZE - 100;
        let mut rest = huge.try_into_mut().unwrap();
        let rest = rest.split_off(end);
        assert_eq!(count(rest.freeze()), 0, "all of it would be kept");
        let whole = BytesMut::zeroed(BUFFER_SIZE).freeze();
        let part = whole.slice(10..20);
        assert_eq!(count(whole), 0, "somebody has a part of it");
        assert_eq!(&part[..], &[0; 10]);
        assert_eq!(count(part), 1, "the last part is the whole");
        for _ in 0..2 * KEPT_MAX {
            assert!(count(BytesMut::zeroed(BUFFER_SIZE).freeze()) <= KEPT_MAX);
        }
    }

    #[test]
    fn a_large_frame_gets_the_memory_of_one_before_it() {
        let kept = Kept(Lock::default());
        let size = BUFFER_SIZE + 200;
        assert_eq!(kept.take_for_frame(size).capacity(), 0);
        let mut frame = vec![7; size];
        frame.reserve_exact(100);
        let (place, room) = (frame.as_ptr(), frame.capacity());
        kept.give(Bytes::from(frame));
        assert_eq!(kept.take_for_frame(100).capacity(), 0);
        assert_eq!(kept.take_for_frame(4 * BUFFER_SIZE).capacity(), 0);
        let next = kept.take_for_frame(size);
        assert!(next.is_empty() && next.capacity() == room && next.as_ptr() == place);
        // And one that is received gets the same.
        kept.give(Bytes::from(next));
        assert!(kept.take(room + 1).as_ptr() != place);
        assert_eq!(kept.take(size).as_ptr(), place);
    }

    #[test]
    fn nobody_waits_for_the_store() {
        let kept = Kept(Lock::default());
        let locked = kept.0.lock();
        assert!(kept.take(BUFFER_SIZE).capacity() >= BUFFER_SIZE);
        kept.give(BytesMut::zeroed(BUFFER_SIZE).freeze());
        assert!(locked.is_empty());
    }
}
