//! Any bytes as a record of any log. The input is a number of fields, a type and a type of elements
//! for each, and then the record.

#![no_main]

use std::sync::Arc;

use broker::zeek::{Field, LogRecord, RecordWriter, Schema, WriterInfo, ZeekType};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((schema, blob)) = split(bytes) else {
        return;
    };
    let Ok(record) = LogRecord::new(schema.clone(), blob.to_vec().into()) else {
        return;
    };
    assert_eq!(record.values().count(), schema.fields().len());
    let line = record.to_json();
    assert!(line.starts_with('{') && line.ends_with('}'));
    let _ = record.to_value();

    // Written again the record has the same values; bits that mean nothing may differ.
    let mut writer = RecordWriter::new(&schema);
    for (index, (field, value)) in record.fields().enumerate() {
        assert_eq!(format!("{:?}", record.at(index)), format!("{value:?}"));
        match value {
            Some(value) => {
                assert_eq!(value.kind(), field.kind);
                writer
                    .value(value)
                    .expect("the value is of the field's type");
            }
            None => writer.unset().expect("it is one of the fields"),
        }
    }
    let again = writer.finish().expect("every field was written");
    let again = LogRecord::new(schema, again.into()).expect("what was written can be read");
    assert_eq!(format!("{record:?}"), format!("{again:?}"));
    assert_eq!(again.to_json(), line);
});

fn split(bytes: &[u8]) -> Option<(Arc<Schema>, &[u8])> {
    let (count, rest) = bytes.split_first()?;
    let (kinds, blob) = rest.split_at_checked(usize::from(*count) * 2)?;
    let fields = kinds.chunks_exact(2).zip(0..).map(|(pair, index)| {
        let kind = |place: usize| {
            pair.get(place)
                .and_then(|n| ZeekType::from_number((*n).into()))
        };
        let name = format!("f{index}");
        Some(Field::of(name, kind(0)?, kind(1)?))
    });
    let info = WriterInfo {
        path: "fuzz".into(),
        ..WriterInfo::default()
    };
    let schema = Schema::new(
        "Fuzz::LOG",
        "Log::WRITER_NONE",
        info,
        fields.collect::<Option<_>>()?,
    );
    Some((Arc::new(schema), blob))
}
