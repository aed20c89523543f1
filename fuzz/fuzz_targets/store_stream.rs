//! Any bytes as what replicas of a store write: an entry of the stream, mutations behind a right
//! checksum, chunks of a snapshot, content behind a right digest. They are read without a panic, and
//! an entry that was read is written back byte for byte.

#![no_main]

use std::sync::Arc;

use broker_data::Timestamp;
use broker_proto::store::entity::EntityId;
use broker_proto::store::replica::entry::{EntryId, EntryKind, StreamEntry};
use broker_proto::store::replica::snapshot::{check_snapshot, seal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(entry) = StreamEntry::parse(bytes) {
        assert_eq!(entry.encode(), bytes);
        assert_eq!(entry.iter().count(), entry.count as usize);
    }
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let sealed = StreamEntry {
        id: EntryId { leader: EntityId::NIL, number: 1 },
        kind: EntryKind::Group,
        time: Timestamp::EPOCH,
        count: u32::from(*first),
        mutations: rest,
    };
    let sealed = sealed.encode();
    if let Ok(entry) = StreamEntry::parse(&sealed) {
        let mut mutations = Vec::new();
        entry.iter().for_each(|mutation| mutation.encode(&mut mutations));
        assert_eq!(mutations, rest);
    }

    let size = usize::from(*first) + 1;
    let chunks: Vec<Arc<[u8]>> = rest.chunks(size).map(Arc::from).collect();
    let _ = check_snapshot("s", u64::from(*first), &chunks);
    let chunks = seal(7, rest.to_vec(), 30 + size);
    let _ = check_snapshot("s", 7, &chunks);
});
