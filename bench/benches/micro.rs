//! Encode, decode and match, one message at a time.

use std::hint::black_box;

use broker::Endpoint;
use broker_data::{Encoder, Reader, decode, validate};
use broker_proto::{Filter, Topic};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

#[path = "../src/payload.rs"]
#[expect(
    dead_code,
    reason = "shared with the end-to-end roles, which use all of it"
)]
mod payload;

use payload::{Event, Size, TOPIC, filler, sequence};

fn values(c: &mut Criterion) {
    let filler = filler();
    for (name, size) in [
        ("small", Size::Small),
        ("medium", Size::Medium),
        ("large", Size::Large),
    ] {
        let event = Event {
            sequence: 7,
            size,
            filler: &filler,
        };
        let mut bytes = Vec::new();
        Encoder::new(&mut bytes)
            .encode(&event)
            .expect("the benchmark's own event is valid");
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        group.bench_function("encode", |b| {
            let mut out = Vec::with_capacity(bytes.len());
            b.iter(|| {
                out.clear();
                Encoder::new(&mut out)
                    .encode(black_box(&event))
                    .expect("as above");
            });
        });
        group.bench_function("validate", |b| b.iter(|| validate(black_box(&bytes))));
        group.bench_function("decode", |b| b.iter(|| decode(black_box(&bytes))));
        group.bench_function("sequence", |b| b.iter(|| sequence(black_box(&bytes))));
        group.bench_function("walk", |b| {
            b.iter(|| {
                let mut reader = Reader::new(black_box(&bytes));
                while reader.remaining() > 0 {
                    black_box(reader.next_item().expect("valid"));
                }
            });
        });
        group.finish();
    }
}

fn matching(c: &mut Criterion) {
    let mut group = c.benchmark_group("match");
    for entries in [1_usize, 100, 10_000] {
        group.bench_function(format!("{entries} entries"), |b| {
            b.iter_batched_ref(
                || {
                    let mut filter = Filter::new();
                    for n in 0..entries {
                        filter.add(Topic::from(format!("/topic/{n:06}/").as_str()));
                    }
                    filter.add(Topic::from(TOPIC));
                    filter
                },
                |filter| black_box(filter.matches(black_box(TOPIC.as_bytes()))),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// From one thread through the mailbox of a local consumer: encode, look up, push, take.
fn mailbox(c: &mut Criterion) {
    const BATCH: usize = 1000;
    let endpoint = Endpoint::builder().disable_ssl(true).build();
    let endpoint = endpoint.expect("an endpoint needs nothing but a thread");
    let hub = endpoint.hub([TOPIC]).expect("it is not shut down");
    let filler = filler();
    let mut group = c.benchmark_group("mailbox");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, size) in [
        ("small", Size::Small),
        ("medium", Size::Medium),
        ("large", Size::Large),
    ] {
        let event = Event {
            sequence: 7,
            size,
            filler: &filler,
        };
        let mut taken = Vec::with_capacity(BATCH);
        group.bench_function(name, |b| {
            b.iter(|| {
                for _ in 0..BATCH {
                    endpoint
                        .publish(TOPIC, black_box(&event))
                        .expect("the event is valid");
                }
                taken.clear();
                assert_eq!(hub.subscriber().recv_batch(BATCH, &mut taken), BATCH);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, values, matching, mailbox);
criterion_main!(benches);
