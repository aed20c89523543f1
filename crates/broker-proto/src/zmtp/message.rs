//! A message that was received: views of its parts in the buffer of the connection.

use std::ops::Range;

/// A message: its parts, where they were received.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) parts: &'a [Range<usize>],
}

impl<'a> Message<'a> {
    /// Returns the number of parts, at least one.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.parts.len()
    }

    /// Tells whether there is no part, which does not happen.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Returns a part.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.bytes.get(self.parts.get(index)?.clone())
    }

    /// Visits the parts.
    #[must_use]
    pub fn parts(&self) -> Parts<'a> {
        Parts {
            bytes: self.bytes,
            parts: self.parts.iter(),
        }
    }

    /// Returns the parts, if there are as many as that.
    #[must_use]
    pub fn as_array<const N: usize>(&self) -> Option<[&'a [u8]; N]> {
        let parts = self.parts.first_chunk::<N>()?;
        (self.parts.len() == N).then(|| {
            parts
                .clone()
                .map(|part| self.bytes.get(part).unwrap_or_default())
        })
    }
}

/// Visits the parts of a [`Message`].
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    bytes: &'a [u8],
    parts: std::slice::Iter<'a, Range<usize>>,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.bytes.get(self.parts.next()?.clone())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.parts.size_hint()
    }
}

impl ExactSizeIterator for Parts<'_> {}
