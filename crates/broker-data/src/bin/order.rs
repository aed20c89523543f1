//! Brings the elements of encoded sets and the entries of encoded tables into ascending order.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::bin::compare::compare_ordered;
use crate::bin::decode::scan;
use crate::bin::reader::{Head, Reader};
use crate::{DecodeError, DecodeErrorKind};

/// An element of a set or an entry of a table, by its place in a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) start: usize,
    /// End of the element or key.
    pub(crate) key_end: usize,
    /// End of the element or of what is mapped to the key.
    pub(crate) end: usize,
    /// Where it stood in the input, for errors.
    pub(crate) source: usize,
}

impl Entry {
    fn key<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        buffer.get(self.start..self.key_end).unwrap_or_default()
    }

    fn compare(&self, other: &Self, buffer: &[u8]) -> Ordering {
        compare_ordered(self.key(buffer), other.key(buffer))
    }
}

/// What happens to elements or entries with equal keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Equals {
    /// They are an error.
    Refuse,
    /// The first stays.
    KeepFirst,
    /// The last stays.
    KeepLast,
}

/// Finds the elements or entries that make up the end of `buffer` from `content` on.
pub(crate) fn places(
    buffer: &[u8],
    content: usize,
    count: usize,
    mapped: bool,
) -> Result<Vec<Entry>, DecodeError> {
    let mut reader = Reader::new(buffer.get(content..).unwrap_or_default());
    let place = |reader: &Reader<'_>| content.saturating_add(reader.position());
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let start = place(&reader);
        reader.skip_value()?;
        let key_end = place(&reader);
        if mapped {
            reader.skip_value()?;
        }
        entries.push(Entry {
            start,
            key_end,
            end: place(&reader),
            source: start,
        });
    }
    Ok(entries)
}

/// Sorts the entries, which make up the end of `buffer` from `content` on, by their keys.
///
/// Returns the number of entries that stay, or the source of one that is there already. Keys must
/// be ordered encodings.
pub(crate) fn settle(
    buffer: &mut Vec<u8>,
    content: usize,
    mut entries: Vec<Entry>,
    equals: Equals,
) -> Result<usize, usize> {
    if entries.is_sorted_by(|a, b| a.compare(b, buffer) == Ordering::Less) {
        return Ok(entries.len());
    }
    // Stable, so equal keys stay in the order they came in.
    entries.sort_by(|a, b| a.compare(b, buffer));
    match equals {
        Equals::Refuse => {
            let mut previous: Option<&Entry> = None;
            for entry in &entries {
                if previous.is_some_and(|other| other.compare(entry, buffer) == Ordering::Equal) {
                    return Err(entry.source);
                }
                previous = Some(entry);
            }
        }
        Equals::KeepFirst => {
            entries.dedup_by(|later, earlier| later.compare(earlier, buffer) == Ordering::Equal);
        }
        Equals::KeepLast => entries.dedup_by(|later, earlier| {
            let same = later.compare(earlier, buffer) == Ordering::Equal;
            if same {
                *earlier = *later;
            }
            same
        }),
    }
    let mut sorted = Vec::with_capacity(buffer.len().saturating_sub(content));
    for entry in &entries {
        sorted.extend_from_slice(buffer.get(entry.start..entry.end).unwrap_or_default());
    }
    buffer.truncate(content);
    buffer.extend_from_slice(&sorted);
    Ok(entries.len())
}

/// Returns the first value in `bytes`, ordered; bytes that are not valid come back as they are.
pub(crate) fn ordered(bytes: &[u8]) -> Cow<'_, [u8]> {
    match scan(bytes) {
        Ok(found) if found.unordered => {
            let value = bytes.get(..found.length).unwrap_or_default();
            arrange(value).map_or(Cow::Borrowed(bytes), Cow::Owned)
        }
        _ => Cow::Borrowed(bytes),
    }
}

/// A container that is being copied.
struct Level {
    /// Elements, or keys and mapped values, still to come.
    remaining: u64,
    kind: Keyed,
    /// Where its content starts in the copy.
    content: usize,
    entries: Vec<Entry>,
    /// The entry that is being copied.
    current: Entry,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keyed {
    Vector,
    Set,
    Table,
}

impl Level {
    fn open(head: Head, content: usize, source: usize) -> Option<Self> {
        let (kind, remaining) = match head {
            Head::Scalar => return None,
            Head::Vector(count) => (Keyed::Vector, u64::from(count)),
            Head::Set(count) => (Keyed::Set, u64::from(count)),
            Head::Table(count) => (Keyed::Table, u64::from(count).saturating_mul(2)),
        };
        (remaining > 0).then(|| Self {
            remaining,
            kind,
            content,
            entries: Vec::new(),
            current: Entry {
                start: content,
                key_end: content,
                end: content,
                source,
            },
        })
    }

    /// Notes that a value inside has been copied up to `end`, and read up to `source`.
    fn close_value(&mut self, end: usize, source: usize) {
        let is_key = self.kind == Keyed::Table && self.remaining.is_multiple_of(2);
        self.remaining = self.remaining.saturating_sub(1);
        if is_key {
            self.current.key_end = end;
            return;
        }
        if self.kind == Keyed::Set {
            self.current.key_end = end;
        }
        if self.kind != Keyed::Vector {
            self.current.end = end;
            self.entries.push(self.current);
        }
        self.current = Entry {
            start: end,
            key_end: end,
            end,
            source,
        };
    }
}

/// Copies one structurally sound value and sorts its sets and tables, from the inside out.
///
/// Every comparison is one of ordered encodings and stops with the shorter one, which makes the
/// whole O(n log n) comparisons of bytes; the copying adds the size of each container that was
/// out of order, hence at most the depth limit times the size.
///
/// # Errors
///
/// When a set or table has equal keys.
pub(crate) fn arrange(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut out = Vec::with_capacity(bytes.len());
    let mut open: Vec<Level> = Vec::new();
    loop {
        let before = reader.rest();
        let head = reader.skip_item()?;
        let size = before.len().saturating_sub(reader.remaining());
        out.extend_from_slice(before.get(..size).unwrap_or_default());
        if let Some(level) = Level::open(head, out.len(), reader.position()) {
            open.push(level);
            continue;
        }
        // A value is complete, and perhaps the containers that it is the last of.
        loop {
            let Some(level) = open.last_mut() else {
                return Ok(out);
            };
            level.close_value(out.len(), reader.position());
            if level.remaining > 0 {
                break;
            }
            if let Some(done) = open.pop()
                && done.kind != Keyed::Vector
            {
                settle(&mut out, done.content, done.entries, Equals::Refuse)
                    .map_err(|source| DecodeError::new(source, DecodeErrorKind::Unique))?;
            }
        }
    }
}
