//! Any value as a message of Zeek: what is parsed can be written and read again, what is not keeps
//! its value, and a stream of logs takes everything.

#![no_main]

use broker::data::{Source, View, to_bytes, validate};
use broker::zeek::{LogDecoder, Message, SchemaError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Bytes that are no value cannot come from a peer; they must do no harm all the same.
    walk(
        Message::parse(View::trusted(bytes)),
        bytes,
        validate(bytes).is_ok(),
    );

    let mut logs = LogDecoder::new();
    logs.handle(&bytes.to_vec().into());
    while let Some(result) = logs.poll_record() {
        match result {
            Ok(record) => assert!(record.to_json().starts_with('{')),
            Err(problem) => assert!(!problem.to_string().is_empty()),
        }
    }
});

fn walk(message: Message<'_>, bytes: &[u8], is_value: bool) {
    match message {
        Message::Event(event) => {
            let _ = (
                event.network_time(),
                event.metadata().count(),
                event.arguments().len(),
            );
            written(&event, is_value);
        }
        Message::LogCreate(create) => {
            if let Ok(schema) = create.schema() {
                let again = to_bytes(&schema).expect("a schema that was read can be written");
                let view = View::new(&again).expect("written bytes are valid");
                match Message::parse(view) {
                    // As text, because numbers can be nan.
                    Message::LogCreate(again) => assert_eq!(
                        format!("{:?}", again.schema()),
                        format!("{:?}", Ok::<_, SchemaError>(&schema))
                    ),
                    other => panic!("{other:?}"),
                }
            }
            written(&create, is_value);
        }
        Message::LogWrite(write) => written(&write, is_value),
        Message::IdentifierUpdate(update) => written(&update, is_value),
        Message::Batch(batch) => {
            assert_eq!(batch.messages().count(), batch.len());
            for member in batch.messages() {
                walk(member, &[], is_value);
            }
            written(&batch, is_value);
        }
        Message::Invalid(invalid) => {
            assert_eq!(
                invalid.value().bytes(),
                bytes,
                "members of batches are valid"
            );
            assert!(!invalid.problem().to_string().is_empty());
        }
        other => panic!("a kind that this target does not know: {other:?}"),
    }
}

/// What was parsed from a value can be written, and is the same kind of message again.
fn written(message: &impl Source, is_value: bool) {
    if !is_value {
        return;
    }
    let bytes = to_bytes(message).expect("a message that was read can be written");
    let view = View::new(&bytes).expect("written bytes are valid");
    assert!(Message::parse(view).kind().is_some());
}
