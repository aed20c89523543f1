//! Any bytes as what a peer sends: they are split into runs and single frames as the reader does, and
//! a look at each frame by itself finds the same.

#![no_main]

use broker_proto::EndpointId;
use broker_proto::frame::{FRAME_LEN_SIZE, frame_size, topic_of};
use broker_proto::inbound::{Inbound, Next, classify, split_run};
use libfuzzer_sys::fuzz_target;

const ME: EndpointId = EndpointId::recognizable([0x5a; 16]);
const PEER: EndpointId = EndpointId::recognizable([0x3c; 16]);

/// Sizes and kinds of the complete frames, one by one; whether a frame beyond the limit is behind.
fn one_by_one(mut rest: &[u8], payload_max: usize) -> (Vec<(usize, Inbound)>, bool) {
    let mut found = Vec::new();
    while let Some(size) = frame_size(rest) {
        if size - FRAME_LEN_SIZE > payload_max {
            return (found, true);
        }
        let Some((frame, behind)) = rest.split_at_checked(size) else {
            break;
        };
        found.push((size, classify(frame, ME, PEER)));
        rest = behind;
    }
    (found, false)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((limit, stream)) = bytes.split_first() else {
        return;
    };
    let payload_max = usize::from(*limit) * 16;
    let (expected, is_cut) = one_by_one(stream, payload_max);
    let mut buffer = stream.to_vec();
    let mut rest = buffer.as_mut_slice();
    let mut found = Vec::new();
    loop {
        // A run is of one topic here; the reader compares targets.
        let mut topic: Option<Vec<u8>> = None;
        let mut run = Vec::new();
        let prefix = split_run(rest, payload_max, ME, PEER, |frame| {
            let joins = topic.get_or_insert_with(|| topic_of(frame).to_vec()) == topic_of(frame);
            if joins {
                run.push((frame.len(), Inbound::Data { mark: None }));
            }
            joins
        });
        assert_eq!(run.len(), prefix.frames);
        assert_eq!(run.iter().map(|(size, _)| size).sum::<usize>(), prefix.bytes);
        found.extend(run);
        match prefix.next {
            Next::Incomplete => {
                assert!(!is_cut);
                break;
            }
            Next::TooLarge { size } => {
                assert!(is_cut && size - FRAME_LEN_SIZE > payload_max);
                break;
            }
            Next::Frame { size, what } => {
                found.push((size, what));
                rest = rest.get_mut(prefix.bytes + size..).expect("it is complete");
            }
        }
    }
    assert_eq!(found, expected);
});
