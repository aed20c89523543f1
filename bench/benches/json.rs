//! JSON text to encoded values and back, against `serde_json` on the same text.
//!
//! The two do not do the same work: ours checks everything and turns times, addresses and ports
//! into numbers; the structs for `serde_json` are made for exactly these messages and borrow texts
//! from the input.

use std::hint::black_box;

use broker_data::Encoder;
use broker_data::json::{self, Form};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use serde::ser::{Serialize, SerializeTuple as _, Serializer};
use serde::{Deserialize, Serialize as DeriveSerialize};

#[path = "../src/payload.rs"]
#[expect(
    dead_code,
    reason = "shared with the end-to-end roles, which use all of it"
)]
mod payload;

use payload::{Event, Size, filler};

/// A value whose type is known.
#[derive(Deserialize, DeriveSerialize)]
struct Tagged<'a, T> {
    #[serde(rename = "@data-type")]
    kind: &'a str,
    data: T,
}

type Text<'a> = Tagged<'a, &'a str>;

/// `(count, count, (name, arguments))`.
type Message<'a, A> = Tagged<
    'a,
    (
        Tagged<'a, u64>,
        Tagged<'a, u64>,
        Tagged<'a, (Text<'a>, Tagged<'a, A>)>,
    ),
>;

type Ping<'a> = Message<'a, (Tagged<'a, i64>,)>;
type Connection<'a> = Message<'a, (Tagged<'a, i64>, Tagged<'a, Record<'a>>)>;
type Blob<'a> = Message<'a, (Tagged<'a, i64>, Text<'a>)>;

/// Declares a struct that is read and written as an array.
macro_rules! record {
    ($name:ident, $length:literal, $($field:ident: $type:ty,)+) => {
        struct $name<'a> {
            $($field: Tagged<'a, $type>,)+
        }

        impl Serialize for $name<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut tuple = serializer.serialize_tuple($length)?;
                $(tuple.serialize_element(&self.$field)?;)+
                tuple.end()
            }
        }

        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl<'de> serde::de::Visitor<'de> for Visitor {
                    type Value = $name<'de>;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a record")
                    }

                    fn visit_seq<A: serde::de::SeqAccess<'de>>(
                        self,
                        mut seq: A,
                    ) -> Result<Self::Value, A::Error> {
                        let missing = || serde::de::Error::custom("a field is missing");
                        Ok($name {
                            $($field: seq.next_element()?.ok_or_else(missing)?,)+
                        })
                    }
                }
                deserializer.deserialize_tuple($length, Visitor)
            }
        }
    };
}

record! {
    Record, 20,
    ts: &'a str,
    uid: &'a str,
    orig_h: &'a str,
    orig_p: &'a str,
    resp_h: &'a str,
    resp_p: &'a str,
    proto: &'a str,
    service: &'a str,
    duration: &'a str,
    orig_bytes: u64,
    resp_bytes: u64,
    conn_state: &'a str,
    local_orig: bool,
    local_resp: bool,
    missed_bytes: u64,
    history: &'a str,
    orig_pkts: u64,
    orig_ip_bytes: u64,
    resp_pkts: u64,
    score: f64,
}

/// Returns the encoded event and its text.
fn event(size: Size) -> (Vec<u8>, String) {
    let event = Event {
        sequence: 7,
        size,
        filler: &filler(),
    };
    let mut bytes = Vec::new();
    Encoder::new(&mut bytes)
        .encode(&event)
        .expect("the benchmark's own event is valid");
    let text = json::to_text(&bytes, Form::Compatible).expect("as above");
    (bytes, text)
}

fn start<'c>(c: &'c mut Criterion, name: &str, size: Size) -> BenchmarkGroup<'c, WallTime> {
    let (bytes, text) = event(size);
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("decode", |b| {
        let mut out = Vec::with_capacity(bytes.len());
        b.iter(|| {
            out.clear();
            json::decode(black_box(text.as_bytes()), Form::Compatible, &mut out)
                .expect("the text is ours");
        });
    });
    group.bench_function("encode", |b| {
        let mut out = String::with_capacity(text.len());
        b.iter(|| {
            out.clear();
            json::encode(black_box(&bytes), Form::Compatible, &mut out).expect("as above");
        });
    });
    group
}

/// Measures `serde_json` with a type that is made for the message.
macro_rules! compare {
    ($c:expr, $name:literal, $size:expr, $type:ty) => {{
        let mut group = start($c, $name, $size);
        let (_, text) = event($size);
        let typed: $type = serde_json::from_str(&text).expect("the type fits the text");
        assert_eq!(
            serde_json::to_string(&typed).ok().as_deref(),
            Some(text.as_str())
        );
        group.bench_function("decode serde_json", |b| {
            b.iter(|| {
                let typed: $type =
                    serde_json::from_str(black_box(&text)).expect("the type fits the text");
                black_box(&typed);
            });
        });
        group.bench_function("encode serde_json", |b| {
            let mut out = Vec::with_capacity(text.len());
            b.iter(|| {
                out.clear();
                serde_json::to_writer(&mut out, black_box(&typed)).expect("memory takes it");
            });
        });
        group.finish();
    }};
}

fn messages(c: &mut Criterion) {
    compare!(c, "json small", Size::Small, Ping<'_>);
    compare!(c, "json medium", Size::Medium, Connection<'_>);
    compare!(c, "json large", Size::Large, Blob<'_>);
}

criterion_group!(benches, messages);
criterion_main!(benches);
