//! Any bytes as a frame: the size and the envelope are read without a panic, and what was read can
//! be written again and be forwarded without a change but the sender. A receiver that is a mark is
//! read as one and written back.

#![no_main]

use broker_proto::frame::{FRAME_LEN_SIZE, TTL, frame_size, patch_hop, write_envelope};
use broker_proto::mark::Mark;
use broker_proto::{EndpointId, Envelope, EnvelopeError};
use libfuzzer_sys::fuzz_target;

const ME: EndpointId = EndpointId::from_random([0x5a; 16]);

fuzz_target!(|bytes: &[u8]| {
    let Some(size) = frame_size(bytes) else {
        assert!(bytes.len() < FRAME_LEN_SIZE);
        return;
    };
    assert!(size >= FRAME_LEN_SIZE);
    // A reader that has not got the whole frame yet waits; one that has takes exactly that much.
    let Some(frame) = bytes.get(..size) else {
        return;
    };
    let Ok(envelope) = Envelope::parse(&frame[FRAME_LEN_SIZE..]) else {
        return;
    };

    let Envelope {
        sender,
        receiver,
        tag,
        ttl,
        topic,
        payload,
    } = envelope;
    let mut again = Vec::new();
    write_envelope::<EnvelopeError>(&mut again, sender, receiver, tag, topic, |out| {
        out.extend_from_slice(payload);
        Ok(())
    })
    .expect("what fitted a frame fits a frame");
    if ttl == TTL {
        assert_eq!(again, frame);
    }

    assert_eq!(Mark::of_frame(frame), Mark::from_receiver(receiver));
    if let Some(mark) = Mark::from_receiver(receiver) {
        assert_eq!(mark.to_receiver(), receiver);
        assert!(!receiver.is_nil());
        assert!(mark.after_hop().hops >= mark.hops);
    }

    patch_hop(&mut again, ME);
    let forwarded = Envelope::parse(&again[FRAME_LEN_SIZE..]).expect("still an envelope");
    assert_eq!(
        forwarded,
        Envelope {
            sender: ME,
            ttl: TTL,
            ..envelope
        }
    );
});
