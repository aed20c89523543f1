//! Any bytes as a command of a data store, or a probe for circles: read without a panic, and what was read is written back
//! byte for byte.

#![no_main]

use broker_proto::circle::Probe;
use broker_proto::store::command::{Command, check};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // What looks for circles has the form of a command.
    if let Ok(Some(probe)) = Probe::parse(bytes) {
        let mut written = Vec::new();
        probe.encode(&mut written);
        assert_eq!(Probe::parse(&written), Ok(Some(probe)));
        assert!(check(&written).is_ok());
    }
    let Ok(command) = Command::parse(bytes) else {
        assert!(check(bytes).is_err());
        return;
    };
    let mut written = Vec::new();
    command.encode(&mut written);
    // Flags have more than one way to say yes, and counts more than one length: what is written is
    // the one of them that everybody writes.
    let again = Command::parse(&written).expect("what was written can be read");
    assert_eq!(again, command);
    let mut twice = Vec::new();
    again.encode(&mut twice);
    assert_eq!(twice, written);
    if written.len() == bytes.len() && check(bytes).is_ok() {
        let same = written.iter().zip(bytes).filter(|(a, b)| a == b).count();
        // At most the two flags of a command differ.
        assert!(written.len() - same <= 2);
    }
});
