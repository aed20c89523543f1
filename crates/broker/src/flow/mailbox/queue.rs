//! The content of a mailbox: chunks, the open tail behind them, and perhaps a joint run at the end.
//!
//! It knows its order, its size and what to discard; who may wait for what is the mailbox's.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use broker_proto::frame::frame_size;

use crate::flow::buffers;
use crate::flow::mailbox::chunk::Chunk;
use crate::flow::mailbox::joint::JointRun;
use crate::flow::mailbox::limits::Limits;
use crate::flow::mailbox::run::{Run, RunBytes, SHARED_RUN_MIN};

/// Largest tail that small runs are collected in: large enough that one system call moves hundreds
/// of messages, small enough to stay in a processor's second-level cache.
pub(crate) const TAIL_SIZE_MAX: usize = 64 * 1024;

/// First tail of a mailbox, so that an idle one costs next to nothing.
const TAIL_SIZE_MIN: usize = 2 * 1024;

/// A joint run that is smaller when it is sealed is copied into the tail: many tiny pieces would be
/// many system calls.
const SETTLED_COPY_MAX: usize = 1024;

/// A mailbox that was full lets producers in again when this fraction of it is free: waking them
/// for every freed byte would cost a thread switch per message.
const ROOM_FRACTION: usize = 16;

/// Frames in order.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Bound: the `Limits` of the mailbox; control frames: `CONTROL_BYTES_MIN`.
    chunks: VecDeque<Chunk>,
    tail: BytesMut,
    tail_frames: usize,
    /// Comes behind the tail, and counts among `bytes` and `messages` once it is settled.
    joint: Option<Arc<JointRun>>,
    tail_size: usize,
    translated: bool,
    bytes: usize,
    messages: usize,
}

impl Queue {
    pub(crate) fn new(translated: bool) -> Self {
        Self {
            chunks: VecDeque::new(),
            tail: BytesMut::new(),
            tail_frames: 0,
            joint: None,
            tail_size: TAIL_SIZE_MIN,
            translated,
            bytes: 0,
            messages: 0,
        }
    }

    /// Bytes of everything but a joint run.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages and bytes of everything, with those of a joint run.
    pub(crate) fn fill(&self) -> (usize, usize) {
        let (frames, bytes) = self.joint.as_ref().map_or((0, 0), |run| run.fill());
        (
            self.messages.saturating_add(frames),
            self.bytes.saturating_add(bytes),
        )
    }

    /// Takes a joint run to the end, where nothing may come behind it before it is settled.
    pub(crate) fn join(&mut self, run: Arc<JointRun>) {
        self.joint = Some(run);
    }

    pub(crate) fn append_control(&mut self, frame: Bytes) {
        self.settle();
        self.seal_tail();
        self.bytes = self.bytes.saturating_add(frame.len());
        self.chunks.push_back(Chunk {
            bytes: frame,
            frames: 0,
            control: true,
            translation: None,
        });
    }

    /// Puts the end of a message first whose beginning the other side has already.
    pub(crate) fn prepend_rest(&mut self, rest: &[u8]) {
        self.bytes = self.bytes.saturating_add(rest.len());
        self.chunks.push_front(Chunk {
            bytes: Bytes::copy_from_slice(rest),
            frames: 0,
            // No overflow policy may drop it.
            control: true,
            translation: None,
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.tail_frames == 0 && self.joint.is_none()
    }

    /// Number of messages waiting, with those of a joint run.
    pub(crate) fn count(&self) -> usize {
        let joint = self.joint.as_ref().map_or(0, |run| run.frames());
        self.messages.saturating_add(joint)
    }

    /// Seals a joint run and counts it as what it is by then.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if let Some(joint) = self.joint.take() {
            self.settle_run(&joint);
        }
    }

    #[inline(never)]
    fn settle_run(&mut self, joint: &JointRun) {
        let (bytes, frames) = joint.settle();
        let run = if bytes.len() < SETTLED_COPY_MAX {
            Run::copied(&bytes, frames)
        } else {
            Run::whole(&bytes, frames)
        };
        self.append(run);
    }

    /// One run is always let in, however large: a limit below a frame's size would block for ever.
    pub(crate) fn has_room(&self, limits: &Limits, bytes: usize, frames: usize) -> bool {
        (self.bytes == 0 || self.bytes.saturating_add(bytes) <= limits.bytes_max)
            && (self.messages == 0 || self.messages.saturating_add(frames) <= limits.messages_max)
            // A count that was asked for is kept to the message.
            && (!limits.strict || self.messages.saturating_add(frames) <= limits.messages_max)
    }

    pub(crate) fn has_spare(&self, limits: &Limits) -> bool {
        self.bytes <= limits.bytes_max - limits.bytes_max / ROOM_FRACTION
            && self.messages <= limits.messages_max - limits.messages_max / ROOM_FRACTION
    }

    pub(crate) fn append(&mut self, run: Run<'_>) {
        self.bytes = self.bytes.saturating_add(run.len());
        self.messages = self.messages.saturating_add(run.frames);
        if self.translated
            && let Some(translation) = run.translation()
        {
            self.seal_tail();
            self.chunks.push_back(Chunk {
                bytes: translation.run().clone(),
                frames: run.frames,
                control: false,
                translation: Some(translation),
            });
            return;
        }
        match run.bytes {
            RunBytes::Copied(bytes) if bytes.len() < SHARED_RUN_MIN => {
                self.reserve_tail(bytes.len());
                self.tail.extend_from_slice(bytes);
                self.tail_frames += run.frames;
            }
            RunBytes::Copied(bytes) => self.push_chunk(Bytes::copy_from_slice(bytes), run.frames),
            RunBytes::Shared(bytes) => self.push_chunk(bytes.clone(), run.frames),
        }
    }

    fn push_chunk(&mut self, bytes: Bytes, frames: usize) {
        self.seal_tail();
        self.chunks.push_back(Chunk {
            bytes,
            frames,
            control: false,
            translation: None,
        });
    }

    fn reserve_tail(&mut self, bytes: usize) {
        if self.tail.capacity() - self.tail.len() >= bytes {
            return;
        }
        if self.tail_frames > 0 {
            self.seal_tail();
            self.tail_size = self.tail_size.saturating_mul(2).min(TAIL_SIZE_MAX);
        }
        let room = bytes.max(self.tail_size);
        if !self.tail.try_reclaim(room) {
            self.tail = buffers::take(room);
        }
    }

    fn seal_tail(&mut self) {
        if self.tail_frames > 0 {
            let bytes = self.tail.split().freeze();
            let frames = std::mem::take(&mut self.tail_frames);
            self.chunks.push_back(Chunk {
                bytes,
                frames,
                control: false,
                translation: None,
            });
        }
    }

    /// Discards the oldest messages until the run fits; returns how many were lost.
    pub(crate) fn drop_oldest(&mut self, limits: &Limits, bytes: usize, frames: usize) -> usize {
        let mut lost = 0;
        while !self.has_room(limits, bytes, frames) && self.messages > 0 {
            let Some(size) = self.drop_first() else { break };
            self.bytes = self.bytes.saturating_sub(size);
            self.messages = self.messages.saturating_sub(1);
            lost += 1;
        }
        lost
    }

    /// Discards the oldest data frame and returns its size.
    fn drop_first(&mut self) -> Option<usize> {
        let Some(index) = self.chunks.iter().position(|chunk| !chunk.control) else {
            let size = frame_size(&self.tail)?.min(self.tail.len());
            self.tail.advance(size);
            self.tail_frames = self.tail_frames.saturating_sub(1);
            return Some(size);
        };
        let chunk = self.chunks.get_mut(index)?;
        let size = frame_size(&chunk.bytes)?.min(chunk.bytes.len());
        chunk.bytes.advance(size);
        chunk.frames = chunk.frames.saturating_sub(1);
        if chunk.bytes.is_empty() {
            self.chunks.remove(index);
        }
        Some(size)
    }

    pub(crate) fn clear(&mut self) {
        self.chunks = VecDeque::new();
        self.tail = BytesMut::new();
        self.tail_frames = 0;
        if let Some(joint) = self.joint.take() {
            joint.leave();
        }
        self.bytes = 0;
        self.messages = 0;
    }

    /// Moves chunks of up to `budget` bytes in total, but at least one; returns the number of messages.
    pub(crate) fn take(&mut self, budget: usize, out: &mut VecDeque<Chunk>) -> usize {
        // A joint run may grow for as long as there is something else to do.
        if self.chunks.is_empty() && self.tail_frames == 0 {
            self.settle();
        }
        let (mut bytes, mut messages) = (0usize, 0usize);
        while let Some(front) = self.chunks.front() {
            if bytes > 0 && bytes.saturating_add(front.bytes.len()) > budget {
                break;
            }
            let Some(chunk) = self.chunks.pop_front() else {
                break;
            };
            bytes += chunk.bytes.len();
            messages += chunk.frames;
            out.push_back(chunk);
        }
        let tail_fits = bytes == 0 || bytes.saturating_add(self.tail.len()) <= budget;
        if self.chunks.is_empty() && self.tail_frames > 0 && tail_fits {
            bytes += self.tail.len();
            messages += self.tail_frames;
            let frames = std::mem::take(&mut self.tail_frames);
            out.push_back(Chunk {
                bytes: self.tail.split().freeze(),
                frames,
                control: false,
                translation: None,
            });
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        self.messages = self.messages.saturating_sub(messages);
        if self.is_empty() && bytes < self.tail_size / 16 && self.tail_size > TAIL_SIZE_MIN {
            // Little traffic: give the large tail back.
            self.tail_size /= 2;
            self.tail = BytesMut::new();
        }
        messages
    }
}
