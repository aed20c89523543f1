//! Any bytes as a recording: they are read block by block without a panic, and what was read and is
//! written again is read as the same.

#![no_main]

use broker_proto::recording::{
    BLOCK_HEADER_SIZE, BlockHeader, BlockWriter, FILE_HEADER, check_file_header,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(header) = bytes.first_chunk::<{ FILE_HEADER.len() }>() {
        let _ = check_file_header(header);
    }
    let mut rest = bytes;
    while let Some((header, behind)) = rest.split_first_chunk::<BLOCK_HEADER_SIZE>() {
        let Ok(header) = BlockHeader::read(header) else {
            return;
        };
        let Ok(messages) = header.messages(behind) else {
            return;
        };
        let messages: Vec<_> = messages.map(|it| it.expect("messages were checked")).collect();
        assert_eq!(messages.len(), header.count as usize);
        let mut writer = BlockWriter::new();
        for message in &messages {
            writer.push(message.time, message.frame);
        }
        if let Some(block) = writer.finish() {
            let (again, behind) = block.bytes().split_first_chunk().expect("a header");
            let again = BlockHeader::read(again).expect("our own header");
            let again = again.messages(behind).expect("our own messages");
            assert!(again.map(|it| it.expect("checked")).eq(messages));
        }
        rest = &behind[header.size..];
    }
});
