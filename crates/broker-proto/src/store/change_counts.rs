//! Changes that a store has made, by their kind.

use crate::store::command::Content;

/// How many changes a store has made since it began, by kind.
///
/// A master counts what it was asked for, whatever came of it, and the entries that it removed as
/// their time was over. A clone counts what its master tells: there a sum is a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ChangeCounts {
    /// Keys that were set.
    pub put: u64,
    /// Keys that were to be set if they were absent.
    pub put_unique: u64,
    /// Keys that were removed.
    pub erase: u64,
    /// Keys that were removed as their time was over.
    pub expire: u64,
    /// Something was added to a value: an increment, an append, an insertion.
    pub add: u64,
    /// Something was taken away from a value: a decrement, a removal.
    pub subtract: u64,
    /// Everything was removed.
    pub clear: u64,
}

impl ChangeCounts {
    /// Counts a change; commands that are none do nothing.
    pub(crate) const fn count(&mut self, content: &Content<'_>) {
        let count = match content {
            Content::Put { .. } => &mut self.put,
            Content::PutUnique { .. } => &mut self.put_unique,
            Content::Erase { .. } => &mut self.erase,
            Content::Expire { .. } => &mut self.expire,
            Content::Add { .. } => &mut self.add,
            Content::Subtract { .. } => &mut self.subtract,
            Content::Clear { .. } => &mut self.clear,
            _ => return,
        };
        *count = count.wrapping_add(1);
    }
}
