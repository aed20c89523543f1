//! Snapshots of a replicated store: its entries as they were behind one sequence of the stream.
//!
//! ```text
//! chunk    "BKSS"  version: u8 = 1  sequence: u64  index: u32  chunks: u32  part  checksum: u32
//! content  name: u32 + bytes  leaders: u32  (leader: entity  number: u64  sequence: u64)*
//!          entries: u64  (key: data  value: data  flag: u8  [expiry: i64])*  digest: 32 bytes
//! ```
//!
//! The parts of all chunks, in order, are the content. Leaders and entries are in the order of
//! their bytes, each once: two replicas with the same state write the same snapshot. The checksum
//! is CRC-32C of the chunk before it and tells which chunk is damaged; the digest is SHA-256 of the
//! sequence and the content before it, so that chunks of different snapshots do not pass for one.
//! ADR 0401.

use std::sync::Arc;

use broker_data::{DecodeError, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::recording::crc32c;
use crate::store::backend::Backend;
use crate::store::command::Fields;
use crate::store::memory::Memory;
use crate::store::replica::entry::{Unchecked, checked, put_time, read_time};
use crate::store::replica::leaders::Leaders;

/// What chunks begin with.
const MAGIC: &[u8; 4] = b"BKSS";

/// The only version of snapshots there is.
pub const SNAPSHOT_VERSION: u8 = 1;

/// Bytes of a chunk around its part.
pub const CHUNK_OVERHEAD: usize = 4 + 1 + 8 + 4 + 4 + 4;

/// Chunks of one snapshot at most: 512 GiB of chunks of the usual size.
const CHUNKS_MAX: u32 = 1 << 22;

const DIGEST_SIZE: usize = 32;

/// Why chunks are not a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// A chunk is something else.
    #[error("chunk {0} is not of a snapshot of a store")]
    NotAChunk(usize),
    /// Of a version that this one does not know.
    #[error("a snapshot of version {0}: written by a later release")]
    Version(u8),
    /// A chunk is damaged.
    #[error("the checksum of chunk {0} is wrong")]
    Checksum(usize),
    /// Chunks are missing, or of another snapshot.
    #[error("chunk {index} of {count} is not there or of another snapshot")]
    Torn {
        /// The first that is.
        index: usize,
        /// How many there should be.
        count: usize,
    },
    /// Every chunk is whole, but they do not belong together.
    #[error("the digest of a snapshot is wrong")]
    Digest,
    /// Of another store.
    #[error("a snapshot of another store")]
    OtherStore,
    /// The digest is right, but no version 1 writes this.
    #[error("a malformed snapshot: {0}")]
    Malformed(#[from] DecodeError),
}

/// A state of a store.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) memory: Memory,
    pub(super) leaders: Leaders,
}

/// Writes the snapshot of a state in chunks of a size at most, overhead included.
pub(super) fn encode(
    store: &str,
    sequence: u64,
    leaders: &Leaders,
    memory: &mut Memory,
    chunk_bytes: usize,
) -> Vec<Arc<[u8]>> {
    let mut content = Vec::new();
    content.extend_from_slice(&length_of(store.len()).to_be_bytes());
    content.extend_from_slice(store.as_bytes());
    content.extend_from_slice(&length_of(leaders.iter().count()).to_be_bytes());
    for (leader, number, sequence) in leaders.iter() {
        leader.encode(&mut content);
        content.extend_from_slice(&number.to_be_bytes());
        content.extend_from_slice(&sequence.to_be_bytes());
    }
    // Memory does not fail.
    let count = memory.count().unwrap_or_default();
    content.extend_from_slice(&count.to_be_bytes());
    let _ = memory.for_each(&mut |key, value, expiry| {
        content.extend_from_slice(key);
        content.extend_from_slice(value);
        put_time(&mut content, expiry);
    });
    seal(sequence, content, chunk_bytes)
}

/// Closes a content with its digest and cuts it into chunks of a size at most, overhead included.
pub fn seal(sequence: u64, mut content: Vec<u8>, chunk_bytes: usize) -> Vec<Arc<[u8]>> {
    let digest = digest(sequence, &content);
    content.extend_from_slice(&digest);
    let parts = content.chunks(chunk_bytes.saturating_sub(CHUNK_OVERHEAD).max(1));
    let total = length_of(parts.len());
    let chunk = |(index, part): (u32, &[u8])| {
        let mut chunk = Vec::with_capacity(CHUNK_OVERHEAD + part.len());
        chunk.extend_from_slice(MAGIC);
        chunk.push(SNAPSHOT_VERSION);
        chunk.extend_from_slice(&sequence.to_be_bytes());
        chunk.extend_from_slice(&index.to_be_bytes());
        chunk.extend_from_slice(&total.to_be_bytes());
        chunk.extend_from_slice(part);
        let checksum = crc32c(&[&chunk]);
        chunk.extend_from_slice(&checksum.to_be_bytes());
        Arc::from(chunk)
    };
    (0..).zip(parts).map(chunk).collect()
}

/// Reads the snapshot behind a sequence and checks all of it.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn check_snapshot(
    store: &str,
    sequence: u64,
    chunks: &[Arc<[u8]>],
) -> Result<(), SnapshotError> {
    decode(store, sequence, chunks).map(|_| ())
}

pub(super) fn decode(
    store: &str,
    sequence: u64,
    chunks: &[Arc<[u8]>],
) -> Result<Snapshot, SnapshotError> {
    let content = join(sequence, chunks)?;
    let (body, found) = content
        .split_last_chunk::<DIGEST_SIZE>()
        .ok_or(SnapshotError::Digest)?;
    if digest(sequence, body) != *found {
        return Err(SnapshotError::Digest);
    }
    let mut fields = Fields::new(body);
    let length = fields.u32()?;
    let name = fields.bytes(usize::try_from(length).unwrap_or(usize::MAX))?;
    if name != store.as_bytes() {
        return Err(SnapshotError::OtherStore);
    }
    let mut snapshot = Snapshot::default();
    for _ in 0..fields.u32()? {
        let (leader, number, sequence) = (fields.entity()?, fields.u64()?, fields.u64()?);
        snapshot.leaders.note(leader, number, sequence);
    }
    let mut last: Option<&[u8]> = None;
    for _ in 0..fields.u64()? {
        let (key, value) = (fields.value()?, fields.value()?);
        let expiry: Option<Timestamp> = read_time(&mut fields)?;
        if last.is_some_and(|last| last >= key) {
            return Err(fields.error_before("keys in ascending order").into());
        }
        last = Some(key);
        let _ = snapshot.memory.put(key, value, expiry);
    }
    if !fields.is_at_end() {
        return Err(fields.error_before("the end of the last entry").into());
    }
    Ok(snapshot)
}

fn join(sequence: u64, chunks: &[Arc<[u8]>]) -> Result<Vec<u8>, SnapshotError> {
    let mut content = Vec::new();
    let mut total = None;
    for (index, chunk) in chunks.iter().enumerate() {
        let body = checked(chunk, MAGIC, SNAPSHOT_VERSION).map_err(|error| match error {
            Unchecked::Magic => SnapshotError::NotAChunk(index),
            Unchecked::Version(version) => SnapshotError::Version(version),
            Unchecked::Checksum => SnapshotError::Checksum(index),
        })?;
        let mut fields = Fields::new(body);
        let (of, at, count) = (fields.u64()?, fields.u32()?, fields.u32()?);
        let fits = of == sequence
            && usize::try_from(at) == Ok(index)
            && *total.get_or_insert(count) == count
            && count <= CHUNKS_MAX;
        if !fits {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            return Err(SnapshotError::Torn { index, count });
        }
        content.extend_from_slice(body.get(fields.at()..).unwrap_or_default());
    }
    let count = usize::try_from(total.unwrap_or(1)).unwrap_or(usize::MAX);
    if chunks.len() == count {
        Ok(content)
    } else {
        let index = chunks.len();
        Err(SnapshotError::Torn { index, count })
    }
}

fn digest(sequence: u64, content: &[u8]) -> [u8; DIGEST_SIZE] {
    let mut hash = Sha256::new();
    hash.update(sequence.to_be_bytes());
    hash.update(content);
    hash.finalize().into()
}

fn length_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use broker_data::to_bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::id::EndpointId;
    use crate::store::entity::EntityId;

    const LEADER: EntityId = EntityId {
        endpoint: EndpointId::from_bytes([1; 16]),
        object: 9,
    };

    fn sample(entries: u64) -> Vec<Arc<[u8]>> {
        let mut memory = Memory::new();
        for number in 0..entries {
            let (key, value) = (to_bytes(&number).unwrap(), to_bytes("value").unwrap());
            let expiry = (number % 3 == 0).then(|| Timestamp::from_ns(7));
            memory.put(&key, &value, expiry).unwrap();
        }
        let mut leaders = Leaders::default();
        leaders.note(LEADER, 4, 11);
        encode("s", 12, &leaders, &mut memory, 100)
    }

    #[test]
    fn what_was_written_is_read_whatever_its_size() {
        for entries in [0, 1, 2, 50] {
            let chunks = sample(entries);
            assert!(chunks.iter().all(|chunk| chunk.len() <= 100));
            let mut read = decode("s", 12, &chunks).unwrap();
            assert_eq!(read.memory.count(), Ok(entries));
            assert_eq!(read.leaders.last(LEADER), Some(4));
            let again = encode("s", 12, &read.leaders, &mut read.memory, 100);
            assert_eq!(again, chunks);
        }
    }

    #[test]
    fn a_torn_or_mixed_snapshot_is_refused() {
        let chunks = sample(20);
        let count = chunks.len();
        for length in 0..count {
            let error = decode("s", 12, &chunks[..length]).err();
            let torn = matches!(error, Some(SnapshotError::Torn { index, .. }) if index == length);
            assert!(torn, "{error:?}");
        }
        let mut swapped = chunks.clone();
        swapped.swap(0, 1);
        let torn = SnapshotError::Torn { index: 0, count };
        assert_eq!(check_snapshot("s", 12, &swapped), Err(torn));
        let mut mixed = sample(21);
        mixed.truncate(count);
        mixed[0] = chunks[0].clone();
        assert!(check_snapshot("s", 12, &mixed).is_err());
        let other = Err(SnapshotError::OtherStore);
        assert_eq!(check_snapshot("t", 12, &chunks), other);
        assert!(check_snapshot("s", 13, &chunks).is_err());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let chunks = sample(4);
        for (index, chunk) in chunks.iter().enumerate() {
            for at in 0..chunk.len() {
                let mut damaged = chunk.to_vec();
                damaged[at] ^= 1;
                let mut all = chunks.clone();
                all[index] = damaged.into();
                assert!(check_snapshot("s", 12, &all).is_err(), "{index} {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(chunks: Vec<Vec<u8>>, content: Vec<u8>) {
            let chunks: Vec<Arc<[u8]>> = chunks.into_iter().map(Arc::from).collect();
            let _ = check_snapshot("s", 12, &chunks);
            // Behind right checksums, too.
            let _ = check_snapshot("s", 12, &seal(12, content, 40));
        }
    }
}
