//! Any bytes as JSON: as a value in every form, as the messages of the WebSocket interface, and,
//! the other way around, as an encoded value that is written as JSON.

#![no_main]

use broker_data::json::{self, Form};
use broker_data::{decode, to_bytes, validate};
use broker_proto::json::message::{read_data, read_server_message, read_subscriptions, write_data};
use libfuzzer_sys::fuzz_target;

const FORMS: [Form; 3] = [Form::Compatible, Form::Lossless, Form::Original];

fuzz_target!(|bytes: &[u8]| {
    for form in FORMS {
        text(bytes, form);
        value(bytes, form);
    }
    let _ = read_subscriptions(bytes);
    let mut payload = Vec::new();
    if let Ok(topic) = read_data(bytes, Form::Lossless, &mut payload) {
        let mut out = String::new();
        write_data(&mut out, topic.as_bytes(), &payload, Form::Lossless)
            .expect("what was read is a value");
        let mut again = Vec::new();
        assert_eq!(
            read_data(out.as_bytes(), Form::Lossless, &mut again),
            Ok(topic)
        );
        assert_eq!(again, payload);
    }
    let _ = read_server_message(bytes, Form::Original, &mut payload);
});

/// Whatever is accepted is valid, canonical, and survives being written.
fn text(text: &[u8], form: Form) {
    let bytes = match json::from_text(text, form) {
        Ok(bytes) => bytes,
        Err(error) => {
            assert!(
                error.offset <= text.len(),
                "{error} lies outside of the input"
            );
            return;
        }
    };
    let read = decode(&bytes).expect("what was written is valid");
    assert_eq!(to_bytes(&read).as_ref(), Ok(&bytes), "it is canonical");
    assert!(
        bytes.len() <= text.len(),
        "a text is longer than what it says"
    );
    let written = json::to_text(&bytes, Form::Lossless).expect("it is valid");
    assert_eq!(
        json::from_text(written.as_bytes(), Form::Lossless),
        Ok(bytes)
    );
}

/// Whatever is valid can be written, and only that.
fn value(bytes: &[u8], form: Form) {
    let written = json::to_text(bytes, form);
    // Of several faults they may report different ones.
    assert_eq!(written.is_ok(), validate(bytes).is_ok());
    if let Ok(text) = written
        && form == Form::Lossless
    {
        let read = json::from_text(text.as_bytes(), form).expect("nothing is lost");
        let canonical = decode(bytes).map(|value| to_bytes(&value).expect("it was read"));
        assert_eq!(Ok(read), canonical);
    }
}
