//! Properties of the encoding that hold for all values and for all bytes.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

use std::cmp::Ordering;
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::bin::decode::scan;
use crate::value::arbitrary::values;
use crate::{
    DEPTH_MAX, DecodeError, DecodeErrorKind, EncodeError, Encoder, Item, Reader, Set, Source,
    Table, Value, View, compare, decode, decode_prefix, put_varbyte, to_bytes, validate,
};

/// Encodes with all sets and tables in descending order, which is valid but not canonical.
fn backwards(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put_backwards(&mut out, value);
    out
}

fn put_backwards(out: &mut Vec<u8>, value: &Value) {
    let count = |length: usize| u32::try_from(length).unwrap();
    match value {
        Value::Set(set) => {
            out.push(12);
            put_varbyte(out, count(set.len()));
            set.iter()
                .rev()
                .for_each(|element| put_backwards(out, element));
        }
        Value::Table(table) => {
            out.push(13);
            put_varbyte(out, count(table.len()));
            for (key, mapped) in table.iter().rev() {
                put_backwards(out, key);
                put_backwards(out, mapped);
            }
        }
        Value::Vector(values) => {
            out.push(14);
            put_varbyte(out, count(values.len()));
            values.iter().for_each(|value| put_backwards(out, value));
        }
        scalar => out.extend(to_bytes(scalar).unwrap()),
    }
}

/// Uses everything there is on bytes of any kind.
fn exercise(bytes: &[u8]) {
    let checked = validate(bytes);
    match (checked, decode(bytes)) {
        (Ok(()), Ok(value)) => {
            let written = to_bytes(&value).unwrap();
            assert_eq!(decode(&written).as_ref(), Ok(&value));
            assert_eq!(compare(bytes, &written), Ordering::Equal);
            assert_eq!(View::trusted(bytes).text(), value.text());
        }
        (Err(error), Err(again)) => {
            assert_eq!(error, again);
            assert!(error.offset <= bytes.len(), "{error}");
        }
        other => panic!("{other:?}"),
    }
    if let Ok((_, length)) = decode_prefix(bytes) {
        assert_eq!(validate(&bytes[..length]), Ok(()));
    }
    let view = View::trusted(bytes);
    let _ = (
        view.text(),
        view.to_value(),
        view.len(),
        view.item(),
        view.kind(),
    );
    for element in view.elements() {
        let _ = (
            element.text(),
            compare(element.bytes(), bytes),
            compare(bytes, element.bytes()),
        );
    }
    for (key, mapped) in view.entries() {
        let _ = (key.to_value(), mapped.to_value());
    }
    assert_eq!(to_bytes(&view).is_ok(), checked.is_ok());
    // Nobody may copy such bytes into a set, but it must not end in a panic.
    let _ = Encoder::new(&mut Vec::new()).set(|set| {
        for start in 0..bytes.len().min(8) {
            set.element(|enc| {
                enc.encoded(&bytes[start..]);
                Ok::<(), EncodeError>(())
            })?;
        }
        Ok::<(), EncodeError>(())
    });
    let mut reader = Reader::new(bytes);
    while reader.next_item().is_ok() {}
    assert_eq!(reader.position() + reader.remaining(), bytes.len());
}

proptest! {
    // Sets and tables have one element, so that none is twice there.
    #[test]
    fn containers_in_any_order_are_walked_to_their_end(
        items in vec(
            prop::sample::select(vec![
                &b"\x0e\x01"[..], b"\x0e\x01", b"\x0e\x02", b"\x0e\x03", b"\x0e\x00", b"\x0c\x01",
                b"\x0d\x01", b"\x0c\x00", b"\x00", b"\x01\x01", b"\x08\x00\x50\x01", b"\x08\x00\x50\x04",
                b"\x05\x01x", b"\x05\x81\x00x", b"\x0e\x82\x00", b"\x0f",
            ]),
            0..80,
        ),
        filler in 0..3_usize,
    ) {
        check_scan(&[items.concat(), vec![0; filler * 50]].concat());
    }
}

proptest! {
    #[test]
    fn a_value_survives(value in values()) {
        let bytes = to_bytes(&value).unwrap();
        prop_assert_eq!(validate(&bytes), Ok(()));
        prop_assert_eq!(decode(&bytes), Ok(value.clone()));
        prop_assert_eq!(View::new(&bytes).map(|view| view.to_value()), Ok(value));
    }

    #[test]
    fn a_view_reads_as_its_value(value in values()) {
        let bytes = to_bytes(&value).unwrap();
        let value = decode(&bytes).unwrap();
        let view = View::new(&bytes).unwrap();
        prop_assert_eq!(view.text(), value.text());
        prop_assert_eq!(view.to_string(), value.to_string());
        prop_assert_eq!(view.kind(), value.kind());
        prop_assert_eq!(view.as_count(), value.as_count());
        prop_assert_eq!(view.as_bytes(), value.as_bytes());
        prop_assert_eq!(view.as_subnet(), value.as_subnet());
        let elements: Vec<Value> = view.elements().map(|element| element.to_value()).collect();
        let expected = match &value {
            Value::Set(set) => set.as_slice(),
            Value::Vector(values) => values,
            _ => &[],
        };
        prop_assert_eq!(elements, expected);
        let entries = view.entries().map(|(key, mapped)| (key.to_value(), mapped.to_value()));
        let expected = value.as_table().map(Table::as_slice).unwrap_or_default();
        prop_assert_eq!(entries.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_order_is_total_and_that_of_the_bytes(mut all in vec(values(), 3..8)) {
        for a in &all {
            for b in &all {
                prop_assert_eq!(a.cmp(b), b.cmp(a).reverse());
                let (a_bytes, b_bytes) = (to_bytes(a).unwrap(), to_bytes(b).unwrap());
                prop_assert_eq!(compare(&a_bytes, &b_bytes), a.cmp(b));
                prop_assert_eq!(compare(&backwards(a), &b_bytes), a.cmp(b));
            }
        }
        all.sort();
        for (index, a) in all.iter().enumerate() {
            for b in &all[index..] {
                prop_assert!(a <= b, "{} {}", a, b);
            }
        }
    }

    #[test]
    fn values_in_any_order_are_accepted_and_put_in_order(value in values()) {
        let (bytes, other) = (to_bytes(&value).unwrap(), backwards(&value));
        let value = decode(&bytes).unwrap();
        prop_assert_eq!(validate(&other), Ok(()));
        prop_assert_eq!(decode(&other), Ok(value.clone()));
        let view = View::new(&other).unwrap();
        prop_assert_eq!(view.text(), value.text());
        prop_assert_eq!(to_bytes(&view), Ok(bytes.clone()));
        prop_assert_eq!(view, View::trusted(&bytes));
    }

    #[test]
    fn duplicates_are_refused_wherever_they_are(
        elements in vec(values(), 1..8),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        table in any::<bool>(),
    ) {
        let mut all: Vec<Vec<u8>> = Set::from_iter(elements).iter().map(backwards).collect();
        all.reverse();
        let twice = from.get(&all).clone();
        all.insert(to.index(all.len() + 1), twice);
        let mut bytes = vec![if table { 13 } else { 12 }];
        put_varbyte(&mut bytes, u32::try_from(all.len()).unwrap());
        for element in &all {
            bytes.extend(element);
            if table {
                bytes.push(0);
            }
        }
        prop_assert_eq!(validate(&bytes).unwrap_err().kind, DecodeErrorKind::Unique);
        prop_assert_eq!(decode(&bytes).unwrap_err(), validate(&bytes).unwrap_err());
    }

    #[test]
    fn an_encoder_sorts_like_the_containers(
        elements in vec(values(), 0..8),
        entries in vec((values(), values()), 0..8),
    ) {
        let mut bytes = Vec::new();
        Encoder::new(&mut bytes).set(|set| {
            elements.iter().try_for_each(|element| set.element(|enc| enc.encode(element)))
        }).unwrap();
        // Of equal elements the first stays in both.
        prop_assert_eq!(bytes, to_bytes(&Set::from_iter(elements)).unwrap());

        let mut bytes = Vec::new();
        Encoder::new(&mut bytes).table(|table| {
            entries.iter().try_for_each(|(key, mapped)| {
                table.entry(|enc| enc.encode(key), |enc| enc.encode(mapped))
            })
        }).unwrap();
        prop_assert_eq!(bytes, to_bytes(&Table::from_iter(entries)).unwrap());
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..64)) {
        exercise(&bytes);
    }

    #[test]
    fn bytes_with_known_tags_do_no_harm(bytes in vec(0_u8..17, 0..64)) {
        exercise(&bytes);
    }

    #[test]
    fn damaged_values_do_no_harm(
        value in values(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = backwards(&value);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        exercise(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        exercise(&bytes);
    }

    #[test]
    fn varbytes_survive(number: u32) {
        let mut bytes = Vec::new();
        put_varbyte(&mut bytes, number);
        prop_assert!(bytes.len() <= 5);
        prop_assert_eq!(Reader::new(&bytes).varbyte(), Ok(number));
    }
}

/// Runs on a stack as small as that of a worker thread of a constrained program.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(256 * 1024).spawn(test);
    thread.expect("a thread").join().expect("no panic");
}

/// Prefixes and suffixes that nest one container of each kind.
const NESTS: [(&[u8], &[u8]); 6] = [
    (b"\x0e\x01", b""),
    (b"\x0c\x01", b""),
    (b"\x0d\x01", b"\x00"),
    (b"\x0d\x01\x00", b""),
    // Out of order: the container comes before none.
    (b"\x0c\x02", b"\x00"),
    (b"\x0d\x02", b"\x00\x00\x00"),
];

fn nest((before, after): (&[u8], &[u8]), levels: usize) -> Vec<u8> {
    [before.repeat(levels), vec![1, 0], after.repeat(levels)].concat()
}

/// Deliberately different from the original: `docs/adr/0002-depth-limit.md`.
#[test]
fn the_deepest_value_fits_a_small_stack_and_a_deeper_one_is_refused() {
    for around in NESTS {
        on_a_small_stack(move || {
            let bytes = nest(around, DEPTH_MAX);
            assert_eq!(validate(&bytes), Ok(()));
            let value = decode(&bytes).unwrap();
            assert_eq!(value.clone(), value);
            assert_eq!(View::trusted(&bytes).text(), value.text());
            assert_eq!(View::trusted(&bytes).to_value(), value);
            let written = to_bytes(&value).unwrap();
            assert_eq!(compare(&bytes, &written), Ordering::Equal);
            assert_eq!(to_bytes(&View::trusted(&bytes)), Ok(written));
            assert_eq!(to_bytes(&[&value]), Err(EncodeError::TooDeep));
            assert_eq!(
                to_bytes(&[View::trusted(&bytes)]),
                Err(EncodeError::TooDeep)
            );

            let deeper = nest(around, DEPTH_MAX + 1);
            let error = validate(&deeper).unwrap_err();
            assert_eq!(error.kind, DecodeErrorKind::Depth);
            assert_eq!(error.offset, around.0.len() * DEPTH_MAX);
            assert_eq!(decode(&deeper), Err(error));
            let _ = View::trusted(&deeper).text();

            let far_deeper = nest(around, 100_000);
            assert_eq!(validate(&far_deeper), Err(error));
            assert_eq!(View::trusted(&far_deeper).to_value(), Value::None);
            let _ = View::trusted(&far_deeper).text();
            let _ = compare(&far_deeper, &far_deeper);
        });
    }
}

/// What [`scan`] does, one call per container: bytes that the value at the start takes, and its depth.
fn scan_by_recursion(reader: &mut Reader<'_>, depth: usize) -> Result<usize, DecodeError> {
    let position = reader.position();
    let inside = match reader.next_item()? {
        Item::Set(count) | Item::Vector(count) => count,
        Item::Table(count) => 2 * count,
        _ => return Ok(depth),
    };
    if depth == DEPTH_MAX {
        return Err(DecodeError::new(position, DecodeErrorKind::Depth));
    }
    let mut deepest = depth + 1;
    for _ in 0..inside {
        deepest = deepest.max(scan_by_recursion(reader, depth + 1)?);
    }
    Ok(deepest)
}

fn check_scan(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let depth = scan_by_recursion(&mut reader, 0);
    let expected = depth.map(|depth| (reader.position(), depth));
    let found = scan(bytes).map(|found| (found.length, found.depth));
    assert_eq!(found, expected, "{bytes:?}");
}

#[test]
fn any_depth_is_walked_to_its_end() {
    for around in NESTS {
        for levels in (0..=DEPTH_MAX + 1).filter(|levels| *levels < 20 || *levels + 3 > DEPTH_MAX) {
            let bytes = nest(around, levels);
            check_scan(&bytes);
            // In a vector, in front of something else.
            check_scan(&[&[14, 2], &bytes[..], &bytes[..]].concat());
            check_scan(&bytes[..bytes.len() - 1]);
        }
    }
}

#[test]
fn an_empty_container_counts_as_a_level() {
    let levels = |count: usize| [[14, 1].repeat(count), vec![14, 0]].concat();
    assert_eq!(validate(&levels(DEPTH_MAX - 1)), Ok(()));
    assert_eq!(
        validate(&levels(DEPTH_MAX)).unwrap_err().kind,
        DecodeErrorKind::Depth
    );
}

/// Deliberately different from the original: `docs/adr/0004-announced-counts.md`.
#[test]
fn announced_counts_are_worth_nothing() {
    for tag in [12, 13, 14] {
        let bytes = [tag, 0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        assert!(matches!(
            validate(&bytes).unwrap_err().kind,
            DecodeErrorKind::Truncated(_) | DecodeErrorKind::Unique
        ));
        let view = View::trusted(&bytes);
        assert!(view.elements().size_hint().1 <= Some(1));
        assert!(view.elements().count() + view.entries().count() <= 1);
    }
}

#[test]
fn large_sets_in_the_worst_order_are_no_trouble() {
    // Quadratic work would take minutes.
    let numbers: Vec<u64> = (0..200_000)
        .map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .collect();
    let mut bytes = vec![12];
    put_varbyte(&mut bytes, 200_000);
    for number in &numbers {
        bytes.extend(to_bytes(number).unwrap());
    }
    assert_eq!(validate(&bytes), Ok(()));
    assert_eq!(
        decode(&bytes),
        Ok(Value::Set(numbers.into_iter().map(Value::from).collect()))
    );
}

#[test]
fn sets_inside_of_sets_out_of_order_are_no_trouble() {
    // Each level holds two that are equal up to the very last leaf, the greater one first.
    fn put(out: &mut Vec<u8>, level: u32, last: u64) {
        if level == 0 {
            out.extend(to_bytes(&last).unwrap());
            return;
        }
        out.extend([12, 2]);
        put(out, level - 1, last * 2 + 1);
        put(out, level - 1, last * 2);
    }
    let mut bytes = Vec::new();
    put(&mut bytes, 15, 0);
    assert_eq!(validate(&bytes), Ok(()));
    assert_eq!(compare(&bytes, &bytes), Ordering::Equal);
    let text = View::trusted(&bytes).text();
    assert_eq!(text, decode(&bytes).unwrap().text());
}

#[test]
fn a_failed_write_leaves_no_trace() {
    struct Twice;
    impl Source for Twice {
        fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
            enc.none();
            enc.none();
            Ok(())
        }
    }
    let (announced, written) = (1, 2);
    let twice = EncodeError::Count { announced, written };
    let mut out = b"before".to_vec();
    let mut enc = Encoder::new(&mut out);
    assert_eq!(enc.encode(&Twice), Err(twice.clone()));
    assert_eq!(enc.encode(&[Some(Twice), None]), Err(twice.clone()));
    let short = enc.vector(2, |enc| enc.encode(&1_u64));
    let (announced, written) = (2, 1);
    assert_eq!(short, Err(EncodeError::Count { announced, written }));
    assert_eq!(
        enc.set(|set| set.element(|enc| Twice.encode(enc))),
        Err(twice.clone())
    );
    let table = enc.table(|table| table.entry(|enc| enc.encode(&1_u64), |enc| Twice.encode(enc)));
    assert_eq!(table, Err(twice));
    assert_eq!(
        enc.encode(&View::trusted(b"\x0f")).unwrap_err().to_string(),
        "bytes to copy are not a value: at byte 0: expected a type tag from 0 to 14, found 15"
    );
    enc.none();
    assert_eq!(out, b"before\0");
}

#[test]
fn a_failed_element_can_be_left_out() {
    let mut out = Vec::new();
    Encoder::new(&mut out)
        .set(|set| {
            for number in [2_u64, 1, 3] {
                let element = set.element(|enc| {
                    enc.count(number);
                    if number == 1 {
                        Err(EncodeError::TooDeep)
                    } else {
                        Ok(())
                    }
                });
                assert_eq!(element.is_err(), number == 1);
            }
            Ok::<(), EncodeError>(())
        })
        .unwrap();
    assert_eq!(View::new(&out).unwrap().to_string(), "{2, 3}");
}

#[test]
fn counts_of_more_than_one_byte_find_their_place() {
    for length in [127_u64, 128, 300] {
        let mut out = b"before".to_vec();
        Encoder::new(&mut out)
            .set(|set| {
                (0..length)
                    .rev()
                    .try_for_each(|n| set.element(|enc| enc.encode(&n)))
            })
            .unwrap();
        let value: Set = (0..length).map(Value::from).collect();
        assert_eq!(
            out.strip_prefix(b"before").map(decode),
            Some(Ok(Value::Set(value)))
        );
    }
}

#[test]
fn items_carry_what_the_wire_says() {
    let bytes = to_bytes(&vec![Some((1_u64, "a"))]).unwrap();
    let mut reader = Reader::new(&bytes);
    let mut items = Vec::new();
    while reader.remaining() > 0 {
        items.push(reader.next_item().unwrap());
    }
    assert_eq!(
        items,
        [
            Item::Vector(1),
            Item::Vector(2),
            Item::Count(1),
            Item::String(b"a")
        ]
    );
}
