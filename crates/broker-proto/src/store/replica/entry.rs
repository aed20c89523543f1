//! Entries of the stream of a replicated store: what one leader decided at once.
//!
//! ```text
//! entry     "BKSE"  version: u8 = 1  kind: u8  leader: entity  number: u64  time: i64
//!           count: u32  mutation*  checksum: u32
//! mutation  0 key: data  value: data  flag: u8  [expiry: i64]     set, whatever there was
//!           1 key: data                                           removed
//!           2 key: data                                           removed, as its time was over
//!           3                                                     everything removed
//! ```
//!
//! Kind 0 is a group of requests, also one that changes nothing but whose results were told; kind 1
//! is the first entry of a leader and has no mutations. Integers are big-endian, an entity is 24
//! bytes, data is an encoded value, times are nanoseconds since 1970. The checksum is CRC-32C of
//! all bytes before it. An entry says what became of requests, not what was asked: who applies it
//! needs neither a clock nor the rules of the operations. ADR 0401.

use broker_data::{DecodeError, Timestamp};

use crate::recording::crc32c;
use crate::store::command::Fields;
use crate::store::entity::EntityId;

/// What entries begin with.
const MAGIC: &[u8; 4] = b"BKSE";

/// The only version of entries there is.
pub const ENTRY_VERSION: u8 = 1;

/// Bytes of an entry around its mutations.
pub const ENTRY_OVERHEAD: usize = 4 + 1 + 1 + 24 + 8 + 8 + 4 + CHECKSUM_SIZE;

const CHECKSUM_SIZE: usize = 4;

/// Who appended an entry, and which of its entries it is. No two entries that were meant to be
/// different have the same, and one that was sent twice keeps its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    /// A replica that leads or is about to; never used by another process.
    pub leader: EntityId,
    /// Counts its entries.
    pub number: u64,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A group of requests.
    Group,
    /// The first one of a leader: from here on no other one's are stored.
    TakeOver,
}

/// What became of a request. Keys and values are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation<'a> {
    /// A key is set, whatever it held.
    Put {
        /// The key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
        /// When it ends; absent for what stays.
        expiry: Option<Timestamp>,
    },
    /// A key is removed.
    Erase {
        /// The key.
        key: &'a [u8],
    },
    /// A key is removed as its time is over by the leader's clock.
    Expire {
        /// The key.
        key: &'a [u8],
    },
    /// Everything is removed.
    Clear,
}

impl Mutation<'_> {
    /// Appends the bytes of it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Put { key, value, expiry } => {
                out.push(0);
                out.extend_from_slice(key);
                out.extend_from_slice(value);
                put_time(out, *expiry);
            }
            Self::Erase { key } => {
                out.push(1);
                out.extend_from_slice(key);
            }
            Self::Expire { key } => {
                out.push(2);
                out.extend_from_slice(key);
            }
            Self::Clear => out.push(3),
        }
    }
}

/// One entry, its mutations still encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamEntry<'a> {
    /// Whose it is.
    pub id: EntryId,
    /// What it is.
    pub kind: EntryKind,
    /// When it was decided, by the leader's clock.
    pub time: Timestamp,
    /// Number of mutations.
    pub count: u32,
    /// Mutations, back to back.
    pub mutations: &'a [u8],
}

/// Why bytes are not an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Something else.
    #[error("not an entry of a store")]
    NotAnEntry,
    /// Of a version that this one does not know.
    #[error("an entry of version {0}: written by a later release")]
    Version(u8),
    /// Damaged.
    #[error("the checksum of an entry is wrong")]
    Checksum,
    /// The checksum is right, but no version 1 writes this.
    #[error("a malformed entry: {0}")]
    Malformed(#[from] DecodeError),
}

impl<'a> StreamEntry<'a> {
    /// The bytes that are appended to the stream.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ENTRY_OVERHEAD + self.mutations.len());
        out.extend_from_slice(MAGIC);
        out.push(ENTRY_VERSION);
        out.push(match self.kind {
            EntryKind::Group => 0,
            EntryKind::TakeOver => 1,
        });
        self.id.leader.encode(&mut out);
        out.extend_from_slice(&self.id.number.to_be_bytes());
        out.extend_from_slice(&self.time.ns().to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(self.mutations);
        let checksum = crc32c(&[&out]);
        out.extend_from_slice(&checksum.to_be_bytes());
        out
    }

    /// Reads an entry and checks all of it.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EntryError> {
        let body = checked(bytes, MAGIC, ENTRY_VERSION).map_err(|error| match error {
            Unchecked::Magic => EntryError::NotAnEntry,
            Unchecked::Version(version) => EntryError::Version(version),
            Unchecked::Checksum => EntryError::Checksum,
        })?;
        let mut fields = Fields::new(body);
        let kind = match fields.u8()? {
            0 => EntryKind::Group,
            1 => EntryKind::TakeOver,
            _ => return Err(fields.error_before("a kind of entry, 0 or 1").into()),
        };
        let id = EntryId {
            leader: fields.entity()?,
            number: fields.u64()?,
        };
        let time = Timestamp::from_ns(fields.i64()?);
        let count = fields.u32()?;
        let mutations = body.get(fields.at()..).unwrap_or_default();
        let mut rest = Fields::new(mutations);
        for _ in 0..count {
            read_mutation(&mut rest)?;
        }
        if !rest.is_at_end() {
            return Err(rest.error_before("the end of the last mutation").into());
        }
        if kind == EntryKind::TakeOver && count > 0 {
            return Err(rest.error_before("a first entry without mutations").into());
        }
        Ok(Self {
            id,
            kind,
            time,
            count,
            mutations,
        })
    }

    /// The mutations, in the order in which they are applied.
    pub fn iter(&self) -> impl Iterator<Item = Mutation<'a>> + use<'a> {
        let mut fields = Fields::new(self.mutations);
        (0..self.count).map_while(move |_| read_mutation(&mut fields).ok())
    }
}

/// Why bytes do not reach the part that is specific to them.
pub(super) enum Unchecked {
    Magic,
    Version(u8),
    Checksum,
}

/// What is between the version and the checksum.
pub(super) fn checked<'a>(
    bytes: &'a [u8],
    magic: &[u8; 4],
    version: u8,
) -> Result<&'a [u8], Unchecked> {
    let rest = bytes.strip_prefix(magic).ok_or(Unchecked::Magic)?;
    let (found, rest) = rest.split_first().ok_or(Unchecked::Magic)?;
    if *found != version {
        return Err(Unchecked::Version(*found));
    }
    let (body, checksum) = rest
        .split_last_chunk::<CHECKSUM_SIZE>()
        .ok_or(Unchecked::Checksum)?;
    let (before, _) = bytes
        .split_last_chunk::<CHECKSUM_SIZE>()
        .ok_or(Unchecked::Checksum)?;
    if crc32c(&[before]) != u32::from_be_bytes(*checksum) {
        return Err(Unchecked::Checksum);
    }
    Ok(body)
}

fn read_mutation<'a>(fields: &mut Fields<'a>) -> Result<Mutation<'a>, DecodeError> {
    Ok(match fields.u8()? {
        0 => Mutation::Put {
            key: fields.value()?,
            value: fields.value()?,
            expiry: read_time(fields)?,
        },
        1 => Mutation::Erase {
            key: fields.value()?,
        },
        2 => Mutation::Expire {
            key: fields.value()?,
        },
        3 => Mutation::Clear,
        _ => return Err(fields.error_before("a mutation from 0 to 3")),
    })
}

pub(super) fn put_time(out: &mut Vec<u8>, time: Option<Timestamp>) {
    match time {
        None => out.push(0),
        Some(at) => {
            out.push(1);
            out.extend_from_slice(&at.ns().to_be_bytes());
        }
    }
}

pub(super) fn read_time(fields: &mut Fields<'_>) -> Result<Option<Timestamp>, DecodeError> {
    match fields.u8()? {
        0 => Ok(None),
        1 => Ok(Some(Timestamp::from_ns(fields.i64()?))),
        _ => Err(fields.error_before("a flag, 0 or 1")),
    }
}

#[cfg(test)]
mod tests {
    use broker_data::to_bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::id::EndpointId;

    const ID: EntryId = EntryId {
        leader: EntityId {
            endpoint: EndpointId::from_bytes([0x41; 16]),
            object: 2,
        },
        number: 3,
    };

    fn entry(kind: EntryKind, count: u32, mutations: &[u8]) -> StreamEntry<'_> {
        StreamEntry {
            id: ID,
            kind,
            time: Timestamp::from_ns(5),
            count,
            mutations,
        }
    }

    #[test]
    fn the_bytes_of_version_1() {
        let key = to_bytes(&1_u64).unwrap();
        let mut mutations = Vec::new();
        Mutation::Erase { key: &key }.encode(&mut mutations);
        let bytes = entry(EntryKind::Group, 1, &mutations).encode();
        let expected = concat!(
            "424b5345",
            "01",
            "00",
            "41414141414141414141414141414141",
            "0000000000000002",
            "0000000000000003",
            "0000000000000005",
            "00000001",
            "01",
            "020000000000000001",
        );
        let (body, _) = bytes.split_at(bytes.len() - CHECKSUM_SIZE);
        assert_eq!(hex::encode(body), expected);
        assert_eq!(bytes.len(), ENTRY_OVERHEAD + mutations.len());
    }

    #[test]
    fn everything_that_can_be_written_is_read() {
        let (key, value) = (to_bytes("k").unwrap(), to_bytes(&7_u64).unwrap());
        let written = [
            Mutation::Put {
                key: &key,
                value: &value,
                expiry: None,
            },
            Mutation::Put {
                key: &key,
                value: &value,
                expiry: Some(Timestamp::from_ns(-1)),
            },
            Mutation::Erase { key: &key },
            Mutation::Expire { key: &key },
            Mutation::Clear,
        ];
        let mut mutations = Vec::new();
        written.iter().for_each(|it| it.encode(&mut mutations));
        let bytes = entry(EntryKind::Group, 5, &mutations).encode();
        let read = StreamEntry::parse(&bytes).unwrap();
        assert_eq!(read, entry(EntryKind::Group, 5, &mutations));
        assert!(read.iter().eq(written));
        let bytes = entry(EntryKind::TakeOver, 0, &[]).encode();
        assert_eq!(
            StreamEntry::parse(&bytes).unwrap().kind,
            EntryKind::TakeOver
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let good = entry(EntryKind::Group, 1, &[3]).encode();
        assert_eq!(StreamEntry::parse(b"BKS"), Err(EntryError::NotAnEntry));
        assert_eq!(StreamEntry::parse(b"BKSE"), Err(EntryError::NotAnEntry));
        assert_eq!(
            StreamEntry::parse(b"BKSE\x01\x00"),
            Err(EntryError::Checksum)
        );
        let mut later = good.clone();
        later[4] = 2;
        assert_eq!(StreamEntry::parse(&later), Err(EntryError::Version(2)));
        for at in 5..good.len() {
            let mut damaged = good.clone();
            damaged[at] ^= 0x10;
            assert_eq!(
                StreamEntry::parse(&damaged),
                Err(EntryError::Checksum),
                "{at}"
            );
        }
        for (kind, count, mutations) in [
            (EntryKind::Group, 2, &[3_u8][..]),
            (EntryKind::Group, 0, &[3]),
            (EntryKind::Group, 1, &[4]),
            (EntryKind::Group, u32::MAX, &[]),
            (EntryKind::TakeOver, 1, &[3]),
        ] {
            let bytes = entry(kind, count, mutations).encode();
            let read = StreamEntry::parse(&bytes);
            assert!(matches!(read, Err(EntryError::Malformed(_))), "{read:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, count: u32) {
            let _ = StreamEntry::parse(&bytes);
            let sealed = entry(EntryKind::Group, count, &bytes).encode();
            if let Ok(read) = StreamEntry::parse(&sealed) {
                prop_assert_eq!(read.encode(), sealed);
            }
        }
    }
}
