//! Any bytes as the filter of a peer: what is read is sorted and free of prefixes, survives being
//! written again, and matches as a scan over all entries would.

#![no_main]

use broker_proto::{Filter, Topic};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(filter) = Filter::decode_handshake(bytes) {
        check(&filter, bytes);
    }
    if let Ok(filter) = Filter::decode_update(bytes) {
        check(&filter, bytes);
    }
});

fn check(filter: &Filter, bytes: &[u8]) {
    for (entry, next) in filter.entries().zip(filter.entries().skip(1)) {
        assert!(entry < next);
        assert!(!entry.is_prefix_of(next.as_bytes()));
    }

    let mut written = Vec::new();
    filter.encode(&mut written);
    assert_eq!(Filter::decode_handshake(&written).as_ref(), Ok(filter));
    assert_eq!(Filter::decode_update(&written).as_ref(), Ok(filter));

    // Pieces of the input make topics that are close to the entries.
    for start in 0..bytes.len().min(16) {
        let topic = &bytes[start..];
        let scan = filter
            .entries()
            .any(|entry| entry.is_prefix_of(topic));
        assert_eq!(filter.matches(topic), scan);
    }

    // Adding one by one comes to the same, but for topics that are nobody's business.
    let mut added = Filter::new();
    let entries: Vec<&Topic> = filter.entries().collect();
    for entry in entries.into_iter().rev() {
        added.add(entry.clone());
    }
    let public: Filter = filter
        .entries()
        .filter(|entry| !entry.is_local())
        .cloned()
        .collect::<Vec<Topic>>()
        .into_iter()
        .collect();
    assert_eq!(added, public);
}
