//! The SQLite back end alone: groups of writes with the default durability, and single reads.
//!
//! The file lies in the temporary directory (`TMPDIR`): what a commit costs is what its disk says.

use std::hint::black_box;

use broker::proto::store::Backend;
use broker::{JournalMode, SqliteBackend, SqliteOptions};
use broker_data::to_bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Keys of the file. The index of that many is two levels deep and does not fit in one page.
const KEYS: u64 = 100_000;

/// Reads of one turn.
const READS: u64 = 20;

fn key(number: u64) -> Vec<u8> {
    to_bytes(&*format!("host/{:06}", number % KEYS)).expect("a short string")
}

fn filled(options: &SqliteOptions) -> SqliteBackend {
    let mut backend = SqliteBackend::open(options).expect("a file of our own");
    for number in 0..KEYS {
        let value = to_bytes(&number).expect("a count");
        backend.put(&key(number), &value, None).expect("it is open");
    }
    backend.commit().expect("it is open");
    backend
}

fn sqlite(c: &mut Criterion) {
    for journal_mode in [JournalMode::Delete, JournalMode::Wal] {
        let directory = tempfile::tempdir().expect("a writable temporary directory");
        let mut options = SqliteOptions::new(directory.path().join("bench.db"));
        options.journal_mode = Some(journal_mode);
        let mut backend = filled(&options);
        let mut group = c.benchmark_group(format!("sqlite/{journal_mode:?}"));
        // Spread over the file, as keys of a real store are.
        let mut number = 0_u64;
        let mut next = || {
            number = number.wrapping_add(7919);
            key(number)
        };
        let value = to_bytes(&7_u64).expect("a count");
        for puts in [1_u64, 10, 100, 1000, 10_000] {
            group.throughput(Throughput::Elements(puts));
            group.sample_size(10);
            group.bench_with_input(BenchmarkId::new("puts", puts), &puts, |b, puts| {
                b.iter(|| {
                    for _ in 0..*puts {
                        backend.put(&next(), &value, None).expect("it is open");
                    }
                    backend.commit().expect("it is open");
                });
            });
        }
        group.throughput(Throughput::Elements(1));
        group.bench_function("get", |b| {
            b.iter(|| black_box(backend.get(&next()).expect("it is open")));
        });
        group.throughput(Throughput::Elements(READS));
        group.bench_function("gets in one turn", |b| {
            b.iter(|| {
                backend.begin_reads().expect("it is open");
                for _ in 0..READS {
                    black_box(backend.get(&next()).expect("it is open"));
                }
                backend.commit().expect("it is open");
            });
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function("contains", |b| {
            b.iter(|| black_box(backend.contains(&next()).expect("it is open")));
        });
        group.throughput(Throughput::Elements(KEYS));
        group.bench_function("for_each", |b| {
            b.iter(|| {
                backend.for_each(&mut |key, _, _| {
                    black_box(key);
                })
            });
        });
        group.finish();
    }
}

criterion_group!(benches, sqlite);
criterion_main!(benches);
