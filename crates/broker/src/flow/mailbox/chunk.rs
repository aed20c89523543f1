//! Chunks: frames, one behind the other, that a consumer takes from its mailbox.

use std::sync::Arc;

#[cfg(feature = "http")]
use broker_proto::frame::frame_size;
use bytes::Bytes;

use crate::flow::translation::Translation;

/// Bytes of frames that are translated at once, unless one is larger: hundreds of small messages share
/// the memory of their texts, and a client that reads slowly pins little of it.
#[cfg(feature = "http")]
pub(crate) const TRANSLATED_BYTES_MAX: usize = 16 * 1024;

/// Some complete frames, as the consumer gets them.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    pub(crate) frames: usize,
    /// Control frames are never dropped by an overflow policy.
    pub(crate) control: bool,
    /// The run that these frames are the end of, where consumers share it as JSON.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "only WebSocket clients read JSON")
    )]
    pub(crate) translation: Option<Arc<Translation>>,
}

impl Chunk {
    /// One frame that was taken out and comes back.
    pub(crate) fn of_frame(frame: Bytes) -> Self {
        Self {
            bytes: frame,
            frames: 1,
            control: false,
            translation: None,
        }
    }

    /// Takes the next messages, to be read as JSON: a run, and which of its messages is the first that
    /// is wanted. `None` at the end, and for control frames, which are of the native protocol.
    #[cfg(feature = "http")]
    pub(crate) fn next_translation(&mut self) -> Option<(Arc<Translation>, usize)> {
        if self.control {
            return None;
        }
        if let Some(translation) = self.translation.take() {
            self.bytes.clear();
            // Of a run whose oldest messages were dropped the last ones are left.
            let index = translation.frames().saturating_sub(self.frames);
            return Some((translation, index));
        }
        let (mut end, mut frames) = (0, 0);
        while let Some(size) = self.bytes.get(end..).and_then(frame_size) {
            let next = end.saturating_add(size);
            if next > self.bytes.len() || frames > 0 && next > TRANSLATED_BYTES_MAX {
                break;
            }
            end = next;
            frames += 1;
        }
        let run = self.bytes.split_to(end);
        (frames > 0).then(|| (Arc::new(Translation::new(run, frames)), 0))
    }
}
