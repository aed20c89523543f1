//! Any bytes as a batch of log records, as a member of a ZeroMQ cluster can send them.

#![no_main]

use broker_zeek::zeromq::{LogBatchReader, LogBatchWriter};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = LogBatchReader::new();
    let Ok(batch) = reader.read(bytes) else {
        return;
    };
    let schema = batch.schema().clone();
    let mut writer = LogBatchWriter::new(schema.clone(), batch.filter());
    for record in batch.records() {
        assert_eq!(record.values().count(), schema.fields().len());
        assert!(record.to_json().starts_with('{'));
        writer.push(record).expect("it fits its own fields");
    }
    // Written again the records are the same; names that are not UTF-8 and subtypes of scalars differ.
    let again = writer.finish();
    let again = LogBatchReader::new().read(&again).expect("what was written can be read");
    assert_eq!(again.schema(), batch.schema());
    assert_eq!(again.records().len(), batch.records().len());
    for (again, record) in again.records().iter().zip(batch.records()) {
        assert_eq!(again.blob(), record.blob());
    }
});
