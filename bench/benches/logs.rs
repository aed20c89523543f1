//! Records per second of a log stream: connections, in batches as Zeek sends them.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use broker::zeek::zeromq::LogBatchWriter;
use broker::zeek::{
    BatchBuilder, Field, LogDecoder, LogValue, LogWrite, RecordWriter, Schema, WriterInfo, ZeekType,
};
use broker::zeromq::{Curve, LogReceiver, LogReceiverOptions, LogSender, LogSenderOptions};
use broker_data::to_bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Records per batch: `Broker::log_batch_size`.
const BATCH: u64 = 400;

/// The fields of `conn.log` in Zeek's default configuration.
fn conn() -> Schema {
    use ZeekType::{Addr, Bool, Count, Enum, Interval, Port, String, Table, Time};
    let fields = [
        ("ts", Time),
        ("uid", String),
        ("id.orig_h", Addr),
        ("id.orig_p", Port),
        ("id.resp_h", Addr),
        ("id.resp_p", Port),
        ("proto", Enum),
        ("service", String),
        ("duration", Interval),
        ("orig_bytes", Count),
        ("resp_bytes", Count),
        ("conn_state", String),
        ("local_orig", Bool),
        ("local_resp", Bool),
        ("missed_bytes", Count),
        ("history", String),
        ("orig_pkts", Count),
        ("orig_ip_bytes", Count),
        ("resp_pkts", Count),
        ("resp_ip_bytes", Count),
        ("tunnel_parents", Table),
        ("ip_proto", Count),
    ];
    let fields = fields.map(|(name, kind)| match kind {
        Table => Field::of(name, kind, String),
        kind => Field::new(name, kind),
    });
    let info = WriterInfo {
        path: "conn".into(),
        ..WriterInfo::default()
    };
    Schema::new("Conn::LOG", "Log::WRITER_ASCII", info, fields.to_vec())
}

fn record(schema: &Schema, number: u64) -> Vec<u8> {
    let mut record = RecordWriter::new(schema);
    for field in schema.fields() {
        let address = |last| broker::Address::from(std::net::Ipv4Addr::new(192, 168, 1, last));
        let value = match (field.name.as_str(), field.kind) {
            ("uid", _) => LogValue::String(b"CEVvDE4AfNHdfRrfx"),
            ("service", _) => LogValue::String(b"http"),
            ("conn_state", _) => LogValue::String(b"SF"),
            ("history", _) => LogValue::String(b"ShADadFf"),
            ("id.orig_h", _) => LogValue::Addr(address(7)),
            (_, ZeekType::Addr) => LogValue::Addr(address(8)),
            (_, ZeekType::Enum) => LogValue::Enum(b"tcp"),
            (_, ZeekType::Time) => LogValue::Time(1_700_000_000.123_456 + number as f64),
            (_, ZeekType::Interval) => LogValue::Interval(0.004_919_052),
            (_, ZeekType::Bool) => LogValue::Bool(true),
            (_, ZeekType::Port) => LogValue::Port(broker::Port::new(443, broker::Protocol::Tcp)),
            (_, ZeekType::Count) => LogValue::Count(number),
            _ => {
                record.unset().expect("it is one of the fields");
                continue;
            }
        };
        record.value(value).expect("of the field's type");
    }
    record.finish().expect("every field has a value")
}

fn logs(c: &mut Criterion) {
    let schema = conn();
    let mut batch = BatchBuilder::new();
    for number in 0..BATCH {
        batch
            .push(&LogWrite::new(&schema, &record(&schema, number)))
            .expect("a record is small");
    }
    let batch = bytes::Bytes::from(to_bytes(&batch).expect("a batch of 400 is small"));
    let mut decoder = LogDecoder::new();
    decoder.handle(&to_bytes(&schema).expect("a schema is valid").into());

    let mut group = c.benchmark_group("conn log");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("decode", |b| {
        b.iter(|| {
            decoder.handle(black_box(&batch));
            while let Some(record) = decoder.poll_record() {
                black_box(record.expect("the record fits"));
            }
        });
    });
    group.bench_function("decode, all values", |b| {
        b.iter(|| {
            decoder.handle(black_box(&batch));
            while let Some(record) = decoder.poll_record() {
                for value in record.expect("the record fits").values() {
                    black_box(value);
                }
            }
        });
    });
    let mut line = String::new();
    group.bench_function("decode, JSON", |b| {
        b.iter(|| {
            decoder.handle(black_box(&batch));
            while let Some(record) = decoder.poll_record() {
                line.clear();
                record.expect("the record fits").write_json(&mut line);
                black_box(&line);
            }
        });
    });
    group.finish();
}

/// Records per batch over ZeroMQ: `Log::write_buffer_size`.
const ZEROMQ_BATCH: u64 = 1000;

/// Batches between the two ends: far less than the receiver has room for, so that none is dropped.
const UNDER_WAY: u64 = 32;

/// A batch as nodes push it.
fn zeromq_batch() -> Vec<u8> {
    let schema = conn();
    let mut decoder = LogDecoder::new();
    decoder.handle(&to_bytes(&schema).expect("a schema is valid").into());
    let mut batch: Option<LogBatchWriter> = None;
    for number in 0..ZEROMQ_BATCH {
        let write = record(&schema, number);
        let write = to_bytes(&LogWrite::new(&schema, &write)).expect("a record is small");
        decoder.handle(&write.into());
        let record = decoder.poll_record().expect("a record").expect("it fits");
        batch
            .get_or_insert_with(|| LogBatchWriter::new(record.schema().clone(), "default"))
            .push(&record)
            .expect("of that log");
    }
    batch.expect("records").finish()
}

fn read_all(decoder: &mut LogDecoder) {
    while let Some(record) = decoder.poll_record() {
        for value in record.expect("the record fits").values() {
            black_box(value);
        }
    }
}

fn zeromq(c: &mut Criterion) {
    let batch = zeromq_batch();
    let mut decoder = LogDecoder::new();
    let mut group = c.benchmark_group("conn log over ZeroMQ");
    group.throughput(Throughput::Elements(ZEROMQ_BATCH));
    group.bench_function("decode", |b| {
        b.iter(|| {
            decoder.handle_log_batch(black_box(&batch));
            while let Some(record) = decoder.poll_record() {
                black_box(record.expect("the record fits"));
            }
        });
    });
    group.bench_function("decode, all values", |b| {
        b.iter(|| {
            decoder.handle_log_batch(black_box(&batch));
            read_all(&mut decoder);
        });
    });
    let mut options = LogReceiverOptions::default();
    options.curve = Curve::Off;
    let receiver = LogReceiver::bind("127.0.0.1:0", options).expect("a port is free");
    let mut options = LogSenderOptions::default();
    options.curve = Curve::Off;
    let address = receiver.local_address().to_string();
    let sender = LogSender::connect(&address, options).expect("an address");
    group.bench_function("socket to all values", |b| {
        b.iter_custom(|batches| {
            let taken = AtomicU64::new(0);
            let began = Instant::now();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for sent in 0..batches {
                        while sent >= taken.load(Ordering::Relaxed) + UNDER_WAY {
                            std::thread::yield_now();
                        }
                        assert!(sender.send(&batch), "there is room");
                    }
                });
                for _ in 0..batches {
                    decoder.handle_log_message(receiver.recv().expect("it is open").parts());
                    assert_eq!(decoder.available() as u64, ZEROMQ_BATCH);
                    read_all(&mut decoder);
                    taken.fetch_add(1, Ordering::Relaxed);
                }
            });
            began.elapsed()
        });
    });
    group.finish();
    assert_eq!(receiver.stats().dropped, 0);
}

criterion_group!(benches, logs, zeromq);
criterion_main!(benches);
