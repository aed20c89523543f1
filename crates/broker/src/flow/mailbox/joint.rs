//! Runs that one sender collects for many mailboxes at once.
//!
//! Copying a small message into each of many mailboxes writes the same bytes over and over, into as
//! many cold places. Instead, all of them hold the same *joint run* at their end, and the next
//! message for the same targets is appended to it once. The first mailbox that needs to know what is
//! in it, because its consumer takes it or because something else comes in behind it, seals it for all;
//! with the next message a new one begins.
//!
//! Locks are taken in this order: the list's, a mailbox's, the run's. See ADR 0091.

use bytes::{Bytes, BytesMut};

use crate::flow::buffers;
use crate::lock::{Lock, Locked};

/// A run holds no more than this, so that a mailbox can promise it room in advance.
pub(crate) const JOINT_BYTES_MAX: usize = 64 * 1024;
pub(crate) const JOINT_FRAMES_MAX: usize = 1024;

/// Frames in the making, until it is sealed.
#[derive(Debug)]
pub(crate) struct JointRun {
    state: Lock<State>,
}

#[derive(Debug)]
struct State {
    is_open: bool,
    open: BytesMut,
    sealed: Bytes,
    size: usize,
    frames: usize,
    /// Mailboxes that have not got it yet.
    awaited: usize,
}

impl JointRun {
    pub(crate) fn new(capacity: usize, frame: &[u8], awaited: usize) -> Self {
        let mut open = buffers::take(capacity.max(frame.len()));
        open.extend_from_slice(frame);
        Self {
            state: Lock::new(State {
                is_open: true,
                open,
                sealed: Bytes::new(),
                size: frame.len(),
                frames: 1,
                awaited,
            }),
        }
    }

    /// Whether it holds no memory any more.
    #[cfg(test)]
    pub(crate) fn is_released(&self) -> bool {
        let state = self.lock();
        state.sealed.is_empty() && state.open.is_empty()
    }

    fn lock(&self) -> Locked<'_, State> {
        self.state.lock()
    }

    /// Appends a frame; `false` when it is sealed, or full.
    pub(crate) fn append(&self, frame: &[u8]) -> bool {
        let mut state = self.lock();
        let size = state.size.saturating_add(frame.len());
        let fits = size <= state.open.capacity().min(JOINT_BYTES_MAX);
        if !state.is_open || !fits || state.frames >= JOINT_FRAMES_MAX {
            return false;
        }
        state.open.extend_from_slice(frame);
        state.size = size;
        state.frames += 1;
        true
    }

    /// What it holds, for one of the mailboxes; nothing is appended any more. The last one that is
    /// awaited leaves nothing behind.
    pub(crate) fn settle(&self) -> (Bytes, usize) {
        let mut state = self.lock();
        state.seal();
        state.awaited = state.awaited.saturating_sub(1);
        let bytes = match state.awaited {
            0 => std::mem::take(&mut state.sealed),
            _ => state.sealed.clone(),
        };
        (bytes, state.frames)
    }

    /// Ends it; returns its bytes and frames.
    pub(crate) fn end(&self) -> (usize, usize) {
        let mut state = self.lock();
        state.seal();
        (state.size, state.frames)
    }

    /// A mailbox does not want it.
    pub(crate) fn leave(&self) {
        let mut state = self.lock();
        state.awaited = state.awaited.saturating_sub(1);
        if state.awaited == 0 {
            state.seal();
            state.sealed = Bytes::new();
        }
    }

    /// How many frames it holds at present.
    pub(crate) fn frames(&self) -> usize {
        self.lock().frames
    }

    /// How many frames it holds at present, and their bytes.
    pub(crate) fn fill(&self) -> (usize, usize) {
        let state = self.lock();
        (state.frames, state.size)
    }
}

impl State {
    fn seal(&mut self) {
        if self.is_open {
            self.is_open = false;
            self.sealed = std::mem::take(&mut self.open).freeze();
        }
    }
}
