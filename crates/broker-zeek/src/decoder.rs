//! From the messages of a log stream to records.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use broker_data::View;
use bytes::Bytes;

use super::zeromq::{self, LogBatchError, LogBatchReader};
use super::{
    Batch, EncodedValue, LogCreate, LogRecord, LogWrite, Message, Problem, RecordError, Schema,
    SchemaError,
};

/// Greatest number of logs (stream, writer and path) that are told apart.
///
/// A Zeek installation has some hundred. Only senders that make up names reach it.
pub const STREAMS_MAX: usize = 4096;

/// Greatest number of field lists that are remembered for one log.
///
/// More than one exists while the nodes of a cluster run different scripts.
pub const SCHEMAS_PER_LOG_MAX: usize = 4;

/// Greatest number of bytes of records that wait for the field list of their log.
///
/// It comes first from every Zeek; records wait only when it was lost, or when two peers tell of
/// the same log. 8 MiB are some twenty thousand connections.
pub const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// So many logs are announced before a name is reported that is like none of them.
///
/// A busy Zeek has announced as many within seconds; a name that is right and rare, such as `weird`,
/// should have had its chance.
pub const ANNOUNCED_BEFORE_UNKNOWN: usize = 16;

/// Greatest number of names that are suggested for another.
const NEAREST_MAX: usize = 3;

/// What a waiting record costs besides its bytes.
const WAITING_OVERHEAD: usize = 64;

/// A message of a log stream that gave no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// It is not a message of Zeek.
    #[error("not a message of Zeek: {0}")]
    Message(#[from] Problem),
    /// The announcement of a log makes no sense.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A record is malformed or does not fit its log.
    #[error("record of log `{path}` ({stream}): {source}")]
    Record {
        /// Stream of the log.
        stream: String,
        /// Path of the log.
        path: String,
        /// What is wrong.
        source: RecordError,
    },
    /// A record came before its field list and there was no room for it to wait.
    #[error(
        "record of log `{path}` ({stream}) dropped: its field list has not arrived, and \
         {WAITING_BYTES_MAX} bytes of records wait already"
    )]
    Waiting {
        /// Stream of the log.
        stream: String,
        /// Path of the log.
        path: String,
    },
    /// A batch of a cluster that uses ZeroMQ cannot be read.
    #[error(transparent)]
    Batch(#[from] LogBatchError),
    /// There are too many logs.
    #[error("log `{path}` ({stream}) ignored: there are {STREAMS_MAX} logs already")]
    Streams {
        /// Stream of the log.
        stream: String,
        /// Path of the log.
        path: String,
    },
}

/// A name that [`LogDecoder::only`] was given and that no announcement had, though others came:
/// most likely it is misspelt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownName {
    /// The name.
    pub name: String,
    /// Names of announced logs that it may stand for, the nearest first: paths, and streams for
    /// names with `::`.
    pub nearest: Vec<String>,
}

impl std::fmt::Display for UnknownName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nearest: Vec<_> = self.nearest.iter().map(|it| format!("`{it}`")).collect();
        write!(
            f,
            "no log `{}` has been announced; the nearest names that have are {}",
            self.name,
            nearest.join(", ")
        )
    }
}

/// A name of a log that was asked for.
#[derive(Debug)]
struct Wanted {
    name: String,
    /// There is such a log, or it was reported that there seems to be none.
    is_settled: bool,
}

/// One log: what is known about it and what waits for it.
#[derive(Debug)]
struct Log {
    key: Vec<u8>,
    /// The newest first.
    schemas: Vec<Arc<Schema>>,
    waiting: Vec<Bytes>,
}

/// Turns the messages of log streams into records.
///
/// Hand it every message with [`handle_message`](Self::handle_message), then take records with
/// [`poll_record`](Self::poll_record) until there is none. It remembers the field lists of log
/// creates, of several streams, filters, writers and nodes at once; records that come before their
/// field list wait, up to [`WAITING_BYTES_MAX`]. Other messages of Zeek are ignored. What is wrong
/// with a message is reported in its place and affects no other.
///
/// Which topics to subscribe to is told at [`LOG_TOPIC`](super::LOG_TOPIC) and
/// [`logger_topic`](super::logger_topic).
#[derive(Debug, Default)]
pub struct LogDecoder {
    wanted: Option<Vec<Wanted>>,
    /// Names of announced logs, while a name that was asked for is not among them; at most
    /// `ANNOUNCED_BEFORE_UNKNOWN`.
    announced: Vec<(String, String)>,
    /// Bound: the names that were asked for, each once.
    unknown: VecDeque<UnknownName>,
    logs: Vec<Log>,
    by_key: HashMap<Vec<u8>, usize>,
    /// Where the last message belonged: the next one most often belongs there too.
    last: usize,
    /// Batches of ZeroMQ carry their field lists themselves.
    batches: LogBatchReader,
    waiting_bytes: usize,
    /// Bound: records of one message, and those that waited for it (`WAITING_BYTES_MAX`); the caller
    /// takes them before it hands in the next.
    ready: VecDeque<Result<LogRecord, LogError>>,
}

impl LogDecoder {
    /// Makes a decoder for all logs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Restricts it to logs with one of these names: a path such as `conn`, or a stream such as
    /// `Conn::LOG`.
    #[must_use]
    pub fn only<I>(mut self, names: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        let wanted = names.into_iter().map(|name| Wanted {
            name: name.into(),
            is_settled: false,
        });
        self.wanted = Some(wanted.collect());
        self
    }

    /// Takes in a received message: a reference to a message of the runtime, or what else is an
    /// [`EncodedValue`].
    pub fn handle_message(&mut self, message: impl Into<EncodedValue>) {
        self.handle(message.into().bytes());
    }

    /// Takes in the encoded value of a message. Records share its bytes.
    pub fn handle(&mut self, value: &Bytes) {
        match Message::parse(View::trusted(value)) {
            Message::Invalid(invalid) => self.ready.push_back(Err(invalid.problem().into())),
            message => self.one(&message, value),
        }
    }

    /// Takes in the parts of a message of a log stream over ZeroMQ, which is a batch of records of one
    /// log. Spec: zeromq 7.1.
    pub fn handle_log_message<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8]>) {
        match zeromq::payload(parts.into_iter()) {
            Ok(payload) => self.handle_log_batch(payload),
            Err(error) => self.ready.push_back(Err(error.into())),
        }
    }

    /// Takes in the payload of such a message.
    pub fn handle_log_batch(&mut self, payload: &[u8]) {
        let wanted = self.wanted.as_ref();
        let mut known = None;
        let batch = self.batches.read_if(payload, |schema| {
            known = Some(schema.clone());
            wanted.is_none_or(|wanted| {
                let mut names = wanted.iter().map(|wanted| wanted.name.as_str());
                names.any(|name| name == schema.path() || name == schema.stream())
            })
        });
        if let Some(schema) = known {
            self.note_announcement(schema.stream(), schema.path());
        }
        match batch {
            Ok(Some(batch)) if self.note_batch(batch.schema()) => {
                self.ready.extend(batch.into_records().into_iter().map(Ok));
            }
            Ok(_) => {}
            Err(error) => self.ready.push_back(Err(error.into())),
        }
    }

    /// Remembers the field list of a batch as that of its log; `false` if there is no room for one more
    /// log.
    fn note_batch(&mut self, schema: &Arc<Schema>) -> bool {
        let (stream, writer, path) = (schema.stream(), schema.writer(), schema.path());
        let index = self.log(stream.as_bytes(), writer.as_bytes(), path.as_bytes());
        let Some(log) = index.and_then(|index| self.logs.get_mut(index)) else {
            return false;
        };
        let is_known = |known: &Arc<Schema>| Arc::ptr_eq(known, schema);
        if !log.schemas.first().is_some_and(is_known) {
            log.schemas.retain(|known| !known.has_records_of(schema));
            log.schemas.insert(0, schema.clone());
            log.schemas.truncate(SCHEMAS_PER_LOG_MAX);
        }
        true
    }

    /// Takes out the next record, or what is wrong with a message.
    pub fn poll_record(&mut self) -> Option<Result<LogRecord, LogError>> {
        self.ready.pop_front()
    }

    /// Takes out a name given to [`only`](Self::only) that seems to be misspelt, once each.
    ///
    /// Zeek announces a log when it first writes to it, so a name that is nothing like those of the
    /// announced logs is reported after [`ANNOUNCED_BEFORE_UNKNOWN`] of them, a near miss at once.
    pub fn poll_unknown_name(&mut self) -> Option<UnknownName> {
        self.unknown.pop_front()
    }

    /// Number of results that can be taken out.
    #[must_use]
    pub fn available(&self) -> usize {
        self.ready.len()
    }

    /// Visits what is known about the logs so far.
    pub fn schemas(&self) -> impl Iterator<Item = &Arc<Schema>> {
        self.logs.iter().flat_map(|log| &log.schemas)
    }

    fn one(&mut self, message: &Message<'_>, value: &Bytes) {
        match message {
            Message::LogWrite(write) => self.write(write, value),
            Message::LogCreate(create) => self.create(create),
            Message::Batch(batch) => self.batch(*batch, value),
            Message::Event(_) | Message::IdentifierUpdate(_) | Message::Invalid(_) => {}
        }
    }

    /// The depth of batches is bounded, so this may recurse.
    fn batch(&mut self, batch: Batch<'_>, value: &Bytes) {
        for message in batch.messages() {
            self.one(&message, value);
        }
    }

    fn create(&mut self, create: &LogCreate<'_>) {
        let schema = match create.schema() {
            Ok(schema) => schema,
            Err(error) => return self.ready.push_back(Err(error.into())),
        };
        // The path is compared as bytes with that of the writes.
        let path = create.info().elements().next();
        let path = path.and_then(|path| path.as_bytes()).unwrap_or_default();
        self.note_announcement(schema.stream(), schema.path());
        let Some(index) = self.log(create.stream(), create.writer(), path) else {
            return;
        };
        let Some(log) = self.logs.get_mut(index) else {
            return;
        };
        // The same list again, as every new peering brings, keeps its identity.
        let known = log
            .schemas
            .iter()
            .position(|known| known.has_records_of(&schema));
        match known {
            Some(place) => log
                .schemas
                .get_mut(..=place)
                .unwrap_or_default()
                .rotate_right(1),
            None => {
                log.schemas.insert(0, Arc::new(schema));
                log.schemas.truncate(SCHEMAS_PER_LOG_MAX);
            }
        }
        let waiting = std::mem::take(&mut log.waiting);
        let freed: usize = waiting.iter().map(waiting_size).sum();
        self.waiting_bytes = self.waiting_bytes.saturating_sub(freed);
        if let Some((newest, older)) = log.schemas.split_first() {
            let records = waiting.into_iter().map(|blob| decode(newest, older, blob));
            self.ready.extend(records);
        }
    }

    fn write(&mut self, write: &LogWrite<'_>, value: &Bytes) {
        let Some(index) = self.log(write.stream(), write.writer(), write.path()) else {
            return;
        };
        let Some(log) = self.logs.get_mut(index) else {
            return;
        };
        if let Some((newest, older)) = log.schemas.split_first() {
            let result = decode(newest, older, value.slice_ref(write.record()));
            return self.ready.push_back(result);
        }
        // A copy: one small record must not keep a large buffer alive for who knows how long.
        let blob = Bytes::copy_from_slice(write.record());
        let size = waiting_size(&blob);
        if self.waiting_bytes.saturating_add(size) > WAITING_BYTES_MAX {
            let (stream, path) = names(write.stream(), write.path());
            self.ready
                .push_back(Err(LogError::Waiting { stream, path }));
            return;
        }
        self.waiting_bytes = self.waiting_bytes.saturating_add(size);
        log.waiting.push(blob);
    }

    /// Compares the name of an announced log with those that were asked for and not found yet.
    fn note_announcement(&mut self, stream: &str, path: &str) {
        let Some(wanted) = &mut self.wanted else {
            return;
        };
        for wanted in wanted.iter_mut() {
            wanted.is_settled |= wanted.name == stream || wanted.name == path;
        }
        if wanted.iter().all(|wanted| wanted.is_settled) {
            return self.announced.clear();
        }
        let is_known = |(known, name): &(String, String)| known == stream && name == path;
        if self.announced.len() >= ANNOUNCED_BEFORE_UNKNOWN || self.announced.iter().any(is_known) {
            return;
        }
        self.announced.push((stream.to_owned(), path.to_owned()));
        let is_last = self.announced.len() == ANNOUNCED_BEFORE_UNKNOWN;
        for wanted in wanted.iter_mut().filter(|wanted| !wanted.is_settled) {
            let (nearest, is_near) = nearest_names(&wanted.name, &self.announced);
            if is_near || is_last {
                wanted.is_settled = true;
                let name = wanted.name.clone();
                let unknown = UnknownName { name, nearest };
                tracing::warn!(event = "log-name-unknown", "{unknown}");
                self.unknown.push_back(unknown);
            }
        }
    }

    /// Finds the log that a message belongs to, or makes its entry; there is none for a log that is
    /// not wanted, so that others cannot take the room of those that are.
    fn log(&mut self, stream: &[u8], writer: &[u8], path: &[u8]) -> Option<usize> {
        if let Some(last) = self.logs.get(self.last)
            && is_key(&last.key, stream, writer, path)
        {
            return Some(self.last);
        }
        let key = key(stream, writer, path);
        if let Some(index) = self.by_key.get(&key) {
            self.last = *index;
            return Some(*index);
        }
        let is_wanted = self.wanted.as_ref().is_none_or(|wanted| {
            let mut names = wanted.iter().map(|wanted| wanted.name.as_bytes());
            names.any(|name| name == path || name == stream)
        });
        if !is_wanted {
            return None;
        }
        let index = self.logs.len();
        if index >= STREAMS_MAX {
            let (stream, path) = names(stream, path);
            self.ready
                .push_back(Err(LogError::Streams { stream, path }));
            return None;
        }
        self.by_key.insert(key.clone(), index);
        self.logs.push(Log {
            key,
            schemas: Vec::new(),
            waiting: Vec::new(),
        });
        self.last = index;
        Some(index)
    }
}

/// Tries the field lists of a log; if none fits, the newest says what is wrong.
#[inline]
fn decode(newest: &Arc<Schema>, older: &[Arc<Schema>], blob: Bytes) -> Result<LogRecord, LogError> {
    let source = match LogRecord::new(newest.clone(), blob.clone()) {
        Ok(record) => return Ok(record),
        Err(error) => error,
    };
    if source.is_mismatch() {
        let mut older = older.iter();
        let fits = older.find_map(|schema| LogRecord::new(schema.clone(), blob.clone()).ok());
        if let Some(record) = fits {
            return Ok(record);
        }
    }
    Err(LogError::Record {
        stream: newest.stream().to_owned(),
        path: newest.path().to_owned(),
        source,
    })
}

/// The announced names nearest to another one, and whether the first is so near that it is meant.
fn nearest_names(name: &str, announced: &[(String, String)]) -> (Vec<String>, bool) {
    let wanted = plain_name(name);
    let is_stream = name.contains("::");
    let mut near: Vec<(usize, &str)> = announced
        .iter()
        .map(|(stream, path)| {
            let offered = if is_stream { stream } else { path };
            let distance = distance(&wanted, &plain_name(path));
            (
                distance.min(self::distance(&wanted, &plain_name(stream))),
                offered.as_str(),
            )
        })
        .collect();
    near.sort();
    near.dedup_by_key(|(_, offered)| *offered);
    // Short names such as `ssh` and `ssl` are near to each other and mean what they say.
    let tolerated = (wanted.chars().count() / 4).min(2);
    let is_near = near
        .first()
        .is_some_and(|(distance, _)| *distance <= tolerated);
    let names = near.into_iter().take(NEAREST_MAX);
    (
        names.map(|(_, offered)| offered.to_owned()).collect(),
        is_near,
    )
}

/// What is left of a name without what people add or leave out: `Conn::LOG`, `conn.log`, `Conn`.
fn plain_name(name: &str) -> String {
    let name = name.to_lowercase().replace('-', "_");
    let name = name.strip_suffix(".log").unwrap_or(&name);
    name.strip_suffix("::log").unwrap_or(name).to_owned()
}

/// Letters that a comparison of names looks at; announced names come from the network.
const COMPARED_MAX: usize = 64;

/// The number of letters to insert, remove or replace.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(COMPARED_MAX).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().take(COMPARED_MAX).enumerate() {
        let mut diagonal = index;
        let mut left = index.saturating_add(1);
        let mut next = vec![left];
        for (above, compared) in row.iter().skip(1).zip(&other) {
            let replaced = diagonal.saturating_add(usize::from(letter != *compared));
            left = replaced
                .min(left.saturating_add(1))
                .min(above.saturating_add(1));
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

fn waiting_size(blob: &Bytes) -> usize {
    blob.len().saturating_add(WAITING_OVERHEAD)
}

fn names(stream: &[u8], path: &[u8]) -> (String, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(stream), text(path))
}

/// The three names of a log in one, their lengths between them.
fn key(stream: &[u8], writer: &[u8], path: &[u8]) -> Vec<u8> {
    let mut key = Vec::new();
    for part in [stream, writer, path] {
        key.extend(part.len().to_be_bytes());
        key.extend_from_slice(part);
    }
    key
}

/// Whether it is the key of these names, without making that.
fn is_key(key: &[u8], stream: &[u8], writer: &[u8], path: &[u8]) -> bool {
    let mut rest = key;
    [stream, writer, path].into_iter().all(|part| {
        let after = rest
            .strip_prefix(part.len().to_be_bytes().as_slice())
            .and_then(|rest| rest.strip_prefix(part));
        rest = after.unwrap_or_default();
        after.is_some()
    }) && rest.is_empty()
}

#[cfg(test)]
mod tests {
    use broker_data::{Source, to_bytes};

    use super::*;
    use crate::{BatchBuilder, EventBuilder, Field, LogValue, RecordWriter, WriterInfo, ZeekType};

    fn schema(stream: &str, path: &str, kinds: &[ZeekType]) -> Schema {
        let info = WriterInfo {
            path: path.into(),
            ..WriterInfo::default()
        };
        let fields = kinds
            .iter()
            .enumerate()
            .map(|(index, kind)| Field::new(format!("f{index}"), *kind));
        Schema::new(stream, "Log::WRITER_ASCII", info, fields.collect())
    }

    fn record(schema: &Schema, number: u64) -> Vec<u8> {
        let mut writer = RecordWriter::new(schema);
        for field in schema.fields() {
            match field.kind {
                ZeekType::Count => writer.value(LogValue::Count(number)),
                _ => writer.unset(),
            }
            .unwrap();
        }
        writer.finish().unwrap()
    }

    fn bytes<S: Source + ?Sized>(source: &S) -> Bytes {
        to_bytes(source).unwrap().into()
    }

    fn write(schema: &Schema, number: u64) -> Bytes {
        bytes(&LogWrite::new(schema, &record(schema, number)))
    }

    fn drain(decoder: &mut LogDecoder) -> Vec<String> {
        std::iter::from_fn(|| decoder.poll_record())
            .map(|result| match result {
                Ok(record) => format!("{} {}", record.path(), record.to_json()),
                Err(error) => error.to_string(),
            })
            .collect()
    }

    /// A message of the log stream over ZeroMQ with that record.
    fn batch(schema: &Arc<Schema>, number: u64) -> [Vec<u8>; 4] {
        let blob = record(schema, number).into();
        let record = LogRecord::new(schema.clone(), blob).unwrap();
        let mut writer = crate::zeromq::LogBatchWriter::new(schema.clone(), "default");
        writer.push(&record).unwrap();
        let format = zeromq::LOG_FORMAT.as_bytes().to_vec();
        [
            b"log-write".to_vec(),
            b"id".to_vec(),
            format,
            writer.finish(),
        ]
    }

    #[test]
    fn batches_of_zeromq_give_the_same_records() {
        let conn = Arc::new(schema("Conn::LOG", "conn", &[ZeekType::Count]));
        let dns = Arc::new(schema("DNS::LOG", "dns", &[ZeekType::Count]));
        let mut decoder = LogDecoder::new().only(["conn", "dnss"]);
        for (schema, number) in [(&conn, 1), (&dns, 2), (&conn, 3)] {
            let parts = batch(schema, number);
            decoder.handle_log_message(parts.iter().map(Vec::as_slice));
        }
        assert_eq!(drain(&mut decoder), ["conn {\"f0\":1}", "conn {\"f0\":3}"]);
        let known: Vec<_> = decoder.schemas().map(|known| known.path()).collect();
        assert_eq!(known, ["conn"]);
        // A name that is misspelt is told here, too.
        let unknown = decoder.poll_unknown_name().unwrap();
        assert_eq!(
            (unknown.name.as_str(), &*unknown.nearest),
            ("dnss", &["dns".to_owned(), "conn".to_owned()][..])
        );
    }

    #[test]
    fn a_message_that_is_no_batch_affects_no_other() {
        let conn = Arc::new(schema("Conn::LOG", "conn", &[ZeekType::Count]));
        let parts = batch(&conn, 1);
        let mut decoder = LogDecoder::new();
        decoder.handle_log_message(parts[..3].iter().map(Vec::as_slice));
        decoder.handle_log_batch(&parts[3][1..]);
        decoder.handle_log_batch(&parts[3]);
        let drained = drain(&mut decoder);
        assert_eq!(drained.len(), 3);
        assert!(
            drained[0].starts_with("a log message of 3 parts"),
            "{drained:?}"
        );
        assert!(drained[1].starts_with("malformed head"), "{drained:?}");
        assert_eq!(drained[2], "conn {\"f0\":1}");
    }

    #[test]
    fn records_that_come_first_wait() {
        let conn = schema("Conn::LOG", "conn", &[ZeekType::Count]);
        let dns = schema("DNS::LOG", "dns", &[ZeekType::Count, ZeekType::Addr]);
        let mut decoder = LogDecoder::new();
        decoder.handle(&write(&conn, 1));
        decoder.handle(&write(&dns, 2));
        decoder.handle(&write(&conn, 3));
        assert_eq!(drain(&mut decoder), [""; 0]);
        assert!(decoder.waiting_bytes > 0);
        decoder.handle(&bytes(&conn));
        assert_eq!(drain(&mut decoder), ["conn {\"f0\":1}", "conn {\"f0\":3}"]);
        decoder.handle(&bytes(&dns));
        assert_eq!(drain(&mut decoder), ["dns {\"f0\":2}"]);
        assert_eq!(decoder.waiting_bytes, 0);
        decoder.handle(&write(&conn, 4));
        assert_eq!(drain(&mut decoder), ["conn {\"f0\":4}"]);
        assert_eq!(decoder.schemas().count(), 2);
    }

    #[test]
    fn the_room_for_waiting_is_limited() {
        let conn = schema("Conn::LOG", "conn", &[ZeekType::String]);
        let mut writer = RecordWriter::new(&conn);
        writer.value(LogValue::String(&[b'x'; 1 << 20])).unwrap();
        let message = bytes(&LogWrite::new(&conn, &writer.finish().unwrap()));
        let mut decoder = LogDecoder::new();
        for _ in 0..8 {
            decoder.handle(&message);
        }
        let dropped = drain(&mut decoder);
        assert_eq!(dropped.len(), 1);
        assert!(dropped[0].starts_with("record of log `conn` (Conn::LOG) dropped"));
        decoder.handle(&bytes(&conn));
        assert_eq!(decoder.available(), 7);
    }

    #[test]
    fn streams_filters_and_writers_are_told_apart() {
        let logs = [
            schema("Conn::LOG", "conn", &[ZeekType::Count]),
            schema(
                "Conn::LOG",
                "conn-short",
                &[ZeekType::Addr, ZeekType::Count],
            ),
            schema("Conn::OTHER", "conn", &[ZeekType::Time, ZeekType::Count]),
            Schema::new(
                "Conn::LOG",
                "Log::WRITER_SQLITE",
                schema("", "conn", &[]).info().clone(),
                vec![Field::new("other", ZeekType::Count)],
            ),
        ];
        let mut decoder = LogDecoder::new();
        for log in &logs {
            decoder.handle(&bytes(log));
        }
        for (log, number) in logs.iter().zip(1..) {
            decoder.handle(&write(log, number));
        }
        assert_eq!(
            drain(&mut decoder),
            [
                "conn {\"f0\":1}",
                "conn-short {\"f1\":2}",
                "conn {\"f1\":3}",
                "conn {\"other\":4}"
            ]
        );
    }

    #[test]
    fn only_wanted_logs() {
        let conn = schema("Conn::LOG", "conn", &[ZeekType::Count]);
        let dns = schema("DNS::LOG", "dns", &[ZeekType::Count]);
        for names in [["conn", "weird"], ["Conn::LOG", "x"]] {
            let mut decoder = LogDecoder::new().only(names);
            for message in [bytes(&conn), bytes(&dns), write(&dns, 1), write(&conn, 2)] {
                decoder.handle(&message);
            }
            assert_eq!(drain(&mut decoder), ["conn {\"f0\":2}"]);
        }
    }

    #[test]
    fn unwanted_logs_take_no_room() {
        let mut decoder = LogDecoder::new().only(["conn"]);
        for number in 0..=STREAMS_MAX {
            let log = schema("Junk::LOG", &format!("junk-{number}"), &[]);
            decoder.handle(&bytes(&log));
        }
        let conn = schema("Conn::LOG", "conn", &[ZeekType::Count]);
        decoder.handle(&bytes(&conn));
        decoder.handle(&write(&conn, 1));
        assert_eq!(drain(&mut decoder), ["conn {\"f0\":1}"]);
    }

    fn unknown_names(wanted: &[&str], announced: &[(&str, &str)]) -> Vec<String> {
        let mut decoder = LogDecoder::new().only(wanted.iter().copied());
        for (stream, path) in announced {
            decoder.handle(&bytes(&schema(stream, path, &[])));
        }
        std::iter::from_fn(|| decoder.poll_unknown_name())
            .map(|unknown| unknown.to_string())
            .collect()
    }

    #[test]
    fn misspelt_names_are_told_with_the_nearest() {
        let logs = [
            ("DNS::LOG", "dns"),
            ("Conn::LOG", "conn"),
            ("Known::CERTS_LOG", "known_certs"),
        ];
        for (name, nearest) in [
            ("Conn", "`conn`, `dns`"),
            ("conn.log", "`conn`, `dns`"),
            ("CONN::LOG", "`Conn::LOG`, `DNS::LOG`"),
            ("connn", "`conn`, `dns`"),
            ("known-certs", "`known_certs`, `conn`, `dns`"),
        ] {
            let text = format!(
                "no log `{name}` has been announced; the nearest names that have are {nearest}"
            );
            // Said once, at once, and not about the one that is right.
            assert_eq!(unknown_names(&[name, "dns"], &logs), [text]);
        }
        for name in ["conn", "Conn::LOG", "weird", "ssl"] {
            assert_eq!(unknown_names(&[name], &logs), [""; 0], "{name}");
        }
        assert_eq!(unknown_names(&["ssl"], &[("SSH::LOG", "ssh")]), [""; 0]);
    }

    #[test]
    fn a_name_like_no_other_is_told_after_many_logs() {
        let names: Vec<_> = (0..ANNOUNCED_BEFORE_UNKNOWN)
            .map(|number| (format!("Log{number}::LOG"), format!("log_number_{number}")))
            .collect();
        let logs: Vec<_> = names
            .iter()
            .map(|(stream, path)| (stream.as_str(), path.as_str()))
            .collect();
        let few = logs.get(1..).unwrap();
        assert_eq!(unknown_names(&["conn"], few), [""; 0]);
        // The same again are not more.
        assert_eq!(unknown_names(&["conn"], &few.repeat(3)), [""; 0]);
        assert_eq!(unknown_names(&["conn"], &logs).len(), 1);
        assert_eq!(unknown_names(&["log_number_0"], &logs), [""; 0]);
    }

    #[test]
    fn nodes_may_have_different_field_lists() {
        let old = schema("Conn::LOG", "conn", &[ZeekType::Count]);
        let new = schema("Conn::LOG", "conn", &[ZeekType::Count, ZeekType::Addr]);
        let newer = schema("Conn::LOG", "conn", &[ZeekType::Count, ZeekType::Time]);
        let mut decoder = LogDecoder::new();
        for log in [&old, &new, &old] {
            decoder.handle(&bytes(log));
        }
        assert_eq!(decoder.schemas().count(), 2);
        for (log, number) in [(&new, 1), (&old, 2), (&newer, 3)] {
            decoder.handle(&write(log, number));
        }
        assert_eq!(
            drain(&mut decoder),
            [
                "conn {\"f0\":1}",
                "conn {\"f0\":2}",
                "record of log `conn` (Conn::LOG): expected 1 fields, found 2"
            ]
        );
    }

    #[test]
    fn the_same_field_list_again_is_the_same() {
        let conn = schema("Conn::LOG", "conn", &[ZeekType::Count]);
        let mut decoder = LogDecoder::new();
        decoder.handle(&bytes(&conn));
        let first = decoder.schemas().next().cloned();
        decoder.handle(&bytes(&conn));
        let again = decoder.schemas().next().cloned();
        assert!(Arc::ptr_eq(&first.unwrap(), &again.unwrap()));
    }

    #[test]
    fn one_bad_message_spoils_no_other() {
        let conn = schema("Conn::LOG", "conn", &[ZeekType::Count]);
        let mut batch = BatchBuilder::new();
        batch.push(&conn).unwrap();
        batch
            .push(&LogWrite::new(&conn, b"\0\0\0\x01\0\0\0\x03"))
            .unwrap();
        batch
            .push(&LogWrite::new(&conn, &record(&conn, 5)))
            .unwrap();
        batch.push(&EventBuilder::new("ping")).unwrap();
        let mut outer = BatchBuilder::new();
        outer.push(&batch).unwrap();
        let mut decoder = LogDecoder::new();
        decoder.handle(&bytes(&outer));
        decoder.handle(&bytes(&7_u64));
        assert_eq!(
            drain(&mut decoder),
            [
                "record of log `conn` (Conn::LOG): malformed record: at byte 4: expected type, \
                 subtype and presence of a value, found the end of the input",
                "conn {\"f0\":5}",
                "not a message of Zeek: expected a vector, found count"
            ]
        );
    }

    #[test]
    fn the_number_of_logs_is_limited() {
        let mut decoder = LogDecoder::new();
        for number in 0..=STREAMS_MAX {
            let log = schema("Conn::LOG", &format!("conn-{number}"), &[]);
            decoder.handle(&bytes(&log));
        }
        assert_eq!(
            drain(&mut decoder),
            [format!(
                "log `conn-{STREAMS_MAX}` (Conn::LOG) ignored: there are {STREAMS_MAX} logs already"
            )]
        );
    }
}
