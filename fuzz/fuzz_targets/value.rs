//! Any bytes as one value: the validator, the decoder, the view and the order must agree, and a
//! decoded value must survive being written again.

#![no_main]

use std::cmp::Ordering;

use broker_data::{View, compare, decode, to_bytes, validate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let value = match (validate(bytes), decode(bytes)) {
        (Ok(()), Ok(value)) => value,
        (Err(error), Err(_)) => {
            assert!(
                error.offset <= bytes.len(),
                "{error} lies outside of the input"
            );
            return;
        }
        (validated, decoded) => panic!("validate: {validated:?}, decode: {decoded:?}"),
    };

    // What was read may be in any order; what is written is canonical, and stays so.
    let written = to_bytes(&value).expect("a value that was read can be written");
    assert_eq!(decode(&written).as_ref(), Ok(&value));
    assert_eq!(compare(bytes, &written), Ordering::Equal);
    assert_eq!(
        to_bytes(&View::new(&written).expect("written bytes are valid")),
        Ok(written)
    );

    let view = View::new(bytes).expect("validated above");
    assert_eq!(view.to_value(), value);
    assert_eq!(view.to_string(), value.to_string());
    walk(view);
});

/// Visits every element twice, once through the iterator and once by index, and checks that the
/// order of encoded neighbours is the order of their values.
fn walk(view: View<'_>) {
    let mut previous: Option<View<'_>> = None;
    for (index, element) in view.elements().enumerate() {
        assert_eq!(
            view.get(index).map(|again| again.bytes()),
            Some(element.bytes())
        );
        if let Some(previous) = previous {
            let of_values = previous.to_value().cmp(&element.to_value());
            assert_eq!(compare(previous.bytes(), element.bytes()), of_values);
            assert_eq!(
                compare(element.bytes(), previous.bytes()),
                of_values.reverse()
            );
        }
        walk(element);
        previous = Some(element);
    }
    for (key, mapped) in view.entries() {
        walk(key);
        walk(mapped);
    }
}
