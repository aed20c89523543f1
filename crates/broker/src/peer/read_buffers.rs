//! Read buffers of a connection that were handed out in pieces, kept until the last piece is gone and
//! they are whole again. Without them a busy connection gets fresh memory from the system for each
//! read, and touching fresh memory costs more than reading into it.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::flow::buffers;

/// How many are kept: what a connection's turn reads, a megabyte of the largest ones.
const RETIRED_MAX: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct ReadBuffers {
    /// The oldest, whose pieces are most likely gone, comes first.
    /// Bound: `RETIRED_MAX`.
    retired: VecDeque<BytesMut>,
}

impl ReadBuffers {
    /// Makes sure that `buffer` can take `room` more bytes: in place, in a buffer that is kept, or in
    /// new memory.
    pub(crate) fn make_room(&mut self, buffer: &mut BytesMut, room: usize) {
        if buffer.capacity() - buffer.len() >= room || buffer.try_reclaim(room) {
            return;
        }
        let mut next = self.find(buffer.len().saturating_add(room));
        next.extend_from_slice(buffer);
        let mut old = std::mem::replace(buffer, next);
        old.clear();
        if self.retired.len() == RETIRED_MAX
            && let Some(oldest) = self.retired.pop_front()
        {
            buffers::give(oldest.freeze());
        }
        self.retired.push_back(old);
    }

    fn find(&mut self, size: usize) -> BytesMut {
        let whole = self
            .retired
            .iter_mut()
            .position(|retired| retired.try_reclaim(size));
        whole
            .and_then(|index| self.retired.remove(index))
            .unwrap_or_else(|| buffers::take(size))
    }

    /// Gives all memory back.
    pub(crate) fn clear(&mut self) {
        self.retired = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 64 * 1024;

    #[test]
    fn a_buffer_comes_back_once_its_pieces_are_gone() {
        let mut read_buffers = ReadBuffers::default();
        let mut buffer = BytesMut::new();
        let mut seen = Vec::new();
        for round in 0..20_u8 {
            read_buffers.make_room(&mut buffer, SIZE);
            seen.push(buffer.as_ptr());
            buffer.resize(SIZE, round);
            let piece = buffer.split_to(SIZE).freeze();
            assert!(piece.iter().all(|byte| *byte == round));
        }
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() <= 2, "{} different buffers", seen.len());
    }

    #[test]
    fn what_is_held_is_never_overwritten() {
        let mut read_buffers = ReadBuffers::default();
        let mut buffer = BytesMut::new();
        let mut held = VecDeque::new();
        for round in 0..40_u8 {
            read_buffers.make_room(&mut buffer, SIZE);
            buffer.extend_from_slice(&[round; SIZE]);
            held.push_back((round, buffer.split_to(SIZE).freeze()));
            if held.len() > 6 {
                held.pop_front();
            }
            for (round, piece) in &held {
                assert!(piece.iter().all(|byte| byte == round));
            }
            assert!(read_buffers.retired.len() <= RETIRED_MAX);
        }
    }

    #[test]
    fn an_incomplete_frame_moves_along() {
        let mut read_buffers = ReadBuffers::default();
        let mut buffer = BytesMut::with_capacity(8);
        buffer.extend_from_slice(b"abcdefgh");
        let piece = buffer.split_to(5).freeze();
        read_buffers.make_room(&mut buffer, 100);
        assert_eq!(buffer, b"fgh"[..]);
        assert!(buffer.capacity() >= 103);
        assert_eq!(piece, b"abcde"[..]);
        read_buffers.clear();
        assert!(read_buffers.retired.is_empty());
    }
}
