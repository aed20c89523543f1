//! Runs: complete frames, one behind the other, on their way into mailboxes.

use std::sync::Arc;

use bytes::Bytes;

use crate::flow::buffers;
use crate::flow::translation::{Slot, Translation};

/// Runs from this size on are shared between targets instead of copied: below it a copy is cheaper
/// than the reference count and the pinned read buffer, above it the copy starts to show.
pub(crate) const SHARED_RUN_MIN: usize = 4 * 1024;

/// Bytes of frames that need not be translated again, from which on a shared translation of what is
/// published pays: it is made of allocations that other threads free, about a microsecond. Measured with
/// events of 100 and of 300 bytes for 2, 8 and 64 clients.
pub(crate) const PUBLISHED_TRANSLATION_MIN: usize = 1024;

/// The same for what comes off the network: that comes in runs, whose messages share the price.
pub(crate) const RECEIVED_TRANSLATION_MIN: usize = 1;

/// Complete frames in one piece of memory, on their way into mailboxes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) bytes: RunBytes<'a>,
    pub(crate) frames: usize,
    /// Where several mailboxes whose consumers read JSON find its one translation.
    slot: Option<&'a Slot>,
    /// Whether this goes to one target only.
    pub(crate) is_alone: bool,
}

/// How the bytes of a run are held.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RunBytes<'a> {
    /// Borrowed: copied into each mailbox.
    Copied(&'a [u8]),
    /// Owned together: each mailbox keeps a reference.
    Shared(&'a Bytes),
}

impl<'a> Run<'a> {
    /// Wraps borrowed bytes.
    pub(crate) fn copied(bytes: &'a [u8], frames: usize) -> Self {
        Self {
            bytes: RunBytes::Copied(bytes),
            frames,
            slot: None,
            is_alone: false,
        }
    }

    /// One frame in a buffer: borrowed where a copy is cheaper, otherwise moved to `shared`.
    #[inline]
    pub(crate) fn of_buffer(frame: &'a mut Vec<u8>, shared: &'a mut Bytes) -> Self {
        if frame.len() < SHARED_RUN_MIN {
            return Self::copied(frame, 1);
        }
        Self::of_large_buffer(frame, shared)
    }

    #[inline(never)]
    fn of_large_buffer(frame: &mut Vec<u8>, shared: &'a mut Bytes) -> Self {
        let next = buffers::take_for_frame(frame.len());
        *shared = Bytes::from(std::mem::replace(frame, next));
        Self::shared(shared, 1)
    }

    /// The same run, translated once for so many readers of JSON if that spares at least so many bytes
    /// of frames from being translated again. Otherwise they translate what they take, many messages at
    /// a time.
    pub(crate) fn translated_in(self, slot: &'a Slot, readers: usize, spared_min: usize) -> Self {
        let spared = readers.saturating_sub(1).saturating_mul(self.len());
        Self {
            slot: (spared >= spared_min).then_some(slot),
            ..self
        }
    }

    /// The same run, for one target only or for several.
    pub(crate) fn alone_if(self, is_alone: bool) -> Self {
        Self { is_alone, ..self }
    }

    /// A part of the run. The translation of several frames is not that of one of them.
    pub(crate) fn part(&self, bytes: &'a [u8], frames: usize) -> Self {
        Self {
            bytes: RunBytes::Copied(bytes),
            frames,
            slot: self.slot.filter(|_| frames == self.frames),
            is_alone: self.is_alone,
        }
    }

    /// The run as its readers of JSON share it, if they do.
    pub(crate) fn translation(&self) -> Option<Arc<Translation>> {
        let make = || Arc::new(Translation::new(self.to_bytes(), self.frames));
        self.slot.map(|slot| slot.get_or_init(make).clone())
    }

    /// The bytes with an owner.
    pub(crate) fn to_bytes(self) -> Bytes {
        match self.bytes {
            RunBytes::Copied(bytes) => Bytes::copy_from_slice(bytes),
            RunBytes::Shared(bytes) => bytes.clone(),
        }
    }

    /// Wraps shared bytes, to be copied where that is cheaper.
    pub(crate) fn shared(bytes: &'a Bytes, frames: usize) -> Self {
        let bytes = if bytes.len() < SHARED_RUN_MIN {
            RunBytes::Copied(bytes)
        } else {
            RunBytes::Shared(bytes)
        };
        Self {
            bytes,
            frames,
            slot: None,
            is_alone: false,
        }
    }

    /// Wraps bytes to be shared whatever their size.
    pub(crate) fn whole(bytes: &'a Bytes, frames: usize) -> Self {
        Self {
            bytes: RunBytes::Shared(bytes),
            ..Self::copied(bytes, frames)
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub(crate) fn as_slice(&self) -> &'a [u8] {
        match self.bytes {
            RunBytes::Copied(bytes) => bytes,
            RunBytes::Shared(bytes) => bytes,
        }
    }
}
