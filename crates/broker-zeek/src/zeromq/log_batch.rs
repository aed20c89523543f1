//! Batches of log records, as nodes push them to loggers. Spec: zeromq 7.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker_data::DecodeErrorKind;
use bytes::Bytes;

use crate::blob::Cursor;
use crate::record::check_values;
use crate::{Field, LogRecord, RecordError, Schema, WriterInfo, ZeekType};

/// First part of a message with a batch.
pub const LOG_TAG: &str = "log-write";

/// Format of batches, the third part of such a message.
pub const LOG_FORMAT: &str = "zeek-bin-serializer";

/// Records that Zeek puts into one batch at most, by default. Spec: zeromq 7.4.
pub const RECORDS_PER_BATCH_MAX: usize = 1000;

/// Field lists that a reader remembers; they are read anew when there are more.
///
/// A Zeek has about sixty logs; paths that scripts make up are logs of their own.
pub const SCHEMAS_MAX: usize = 1024;

/// Bytes of a value that is unset: type, subtype, presence.
const VALUE_BYTES_MIN: usize = 9;

/// A batch that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogBatchError {
    /// What stands before the records is malformed.
    #[error("malformed head of a log batch: {0}")]
    Head(#[from] broker_data::DecodeError),
    /// A record is malformed or does not fit the fields.
    #[error("record {number} of a batch of `{path}`: {error}")]
    Record {
        /// The log.
        path: String,
        /// Which one, from 1.
        number: usize,
        /// What is wrong with it.
        error: RecordError,
    },
    /// Another format than [`LOG_FORMAT`], or another number of parts.
    #[error(
        "a log message of {parts} parts in the format `{format}`: those of Zeek have 4 parts \
             and the format `zeek-bin-serializer`"
    )]
    Message {
        /// Number of parts.
        parts: usize,
        /// The third of them.
        format: String,
    },
}

/// Records of one log, of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct LogBatch {
    schema: Arc<Schema>,
    filter: Arc<str>,
    records: Vec<LogRecord>,
}

impl LogBatch {
    /// Returns what is known about the log.
    #[must_use]
    pub const fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Returns the name of the filter, most often `default`.
    #[must_use]
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// Returns the records, of the type that the native log stream has, too.
    #[must_use]
    pub fn records(&self) -> &[LogRecord] {
        &self.records
    }

    /// Takes the records.
    #[must_use]
    pub fn into_records(self) -> Vec<LogRecord> {
        self.records
    }
}

/// A log, and the name of the filter that writes it.
type Log = (Arc<Schema>, Arc<str>);

/// Reads batches, and remembers the field lists of those before: each batch has its own.
#[derive(Clone, Debug, Default)]
pub struct LogBatchReader {
    heads: BTreeMap<Box<[u8]>, Log>,
}

impl LogBatchReader {
    /// Makes a reader.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the batch of a message of four parts. What the first says is not looked at, as Zeek does
    /// not look at it.
    ///
    /// # Errors
    ///
    /// When it has another number of parts, another format, or is malformed.
    pub fn read_message<'a>(
        &mut self,
        parts: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Result<LogBatch, LogBatchError> {
        self.read(payload(parts)?)
    }

    /// Reads the payload of a batch. The records share one buffer.
    ///
    /// # Errors
    ///
    /// When it is malformed; nothing of it is returned then, as a logger of Zeek keeps nothing of it.
    pub fn read(&mut self, payload: &[u8]) -> Result<LogBatch, LogBatchError> {
        let batch = self.read_if(payload, |_| true)?;
        // Every log is wanted.
        batch.ok_or_else(|| Cursor::new(payload).error(DecodeErrorKind::End).into())
    }

    /// Reads the payload of a batch if its log is wanted; otherwise only its head is read.
    ///
    /// # Errors
    ///
    /// As those of [`read`](Self::read).
    pub(crate) fn read_if(
        &mut self,
        payload: &[u8],
        is_wanted: impl FnOnce(&Arc<Schema>) -> bool,
    ) -> Result<Option<LogBatch>, LogBatchError> {
        let mut cursor = Cursor::new(payload);
        let head = Head::pass(&mut cursor)?;
        let size = payload.len().saturating_sub(cursor.rest.len());
        let bytes = payload.get(..size).unwrap_or_default();
        let (schema, filter) = match self.heads.get(bytes) {
            Some(known) => known.clone(),
            None => {
                if self.heads.len() >= SCHEMAS_MAX {
                    self.heads.clear();
                }
                let read = head.read()?;
                self.heads.insert(bytes.into(), read.clone());
                read
            }
        };
        if !is_wanted(&schema) {
            return Ok(None);
        }
        let records = read_records(&schema, &mut cursor)?;
        Ok(Some(LogBatch {
            schema,
            filter,
            records,
        }))
    }
}

/// Finds the batch in the parts of a message.
pub(crate) fn payload<'a>(
    mut parts: impl Iterator<Item = &'a [u8]>,
) -> Result<&'a [u8], LogBatchError> {
    let mut first = [&[][..]; super::PARTS];
    let mut count = 0_usize;
    for (place, part) in first.iter_mut().zip(&mut parts) {
        *place = part;
        count = count.saturating_add(1);
    }
    count = count.saturating_add(parts.count());
    let [_, _, format, payload] = first;
    if count == super::PARTS && format == LOG_FORMAT.as_bytes() {
        return Ok(payload);
    }
    Err(LogBatchError::Message {
        parts: count,
        format: super::event::shortened(format),
    })
}

/// What stands before the records, found but not taken apart.
struct Head<'a> {
    names: [&'a [u8]; 4],
    count: usize,
    fields: Cursor<'a>,
}

impl<'a> Head<'a> {
    /// Passes over it.
    fn pass(cursor: &mut Cursor<'a>) -> Result<Self, broker_data::DecodeError> {
        let mut names: [&[u8]; 4] = [b""; 4];
        for name in &mut names {
            *name = cursor.string()?;
        }
        let count = cursor.u32("a number of fields")? as usize;
        let fields = cursor.clone();
        for _ in 0..count {
            pass_field(cursor)?;
        }
        Ok(Self {
            names,
            count,
            fields,
        })
    }

    fn read(mut self) -> Result<Log, broker_data::DecodeError> {
        let mut fields = Vec::new();
        for _ in 0..self.count {
            fields.push(read_field(&mut self.fields)?);
        }
        let [stream, writer, filter, path] = self.names.map(String::from_utf8_lossy);
        let info = WriterInfo {
            path: path.into_owned(),
            ..WriterInfo::default()
        };
        let schema = Schema::new(stream, writer, info, fields);
        Ok((Arc::new(schema), filter.into()))
    }
}

fn pass_field(cursor: &mut Cursor<'_>) -> Result<(), broker_data::DecodeError> {
    if cursor.flag("whether there is a second name")? {
        cursor.string()?;
    }
    cursor.string()?;
    cursor.u32("a type")?;
    cursor.u32("a subtype")?;
    cursor.flag("whether a field is optional")?;
    Ok(())
}

fn read_field(cursor: &mut Cursor<'_>) -> Result<Field, broker_data::DecodeError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let has_secondary = cursor.flag("whether there is a second name")?;
    let secondary_name = has_secondary
        .then(|| cursor.string().map(text))
        .transpose()?;
    let name = text(cursor.string()?);
    let kind = kind(cursor)?;
    let element_kind = kind_of_elements(cursor, kind)?;
    Ok(Field {
        name,
        secondary_name,
        kind,
        element_kind,
        is_optional: cursor.flag("whether a field is optional")?,
    })
}

fn kind(cursor: &mut Cursor<'_>) -> Result<ZeekType, broker_data::DecodeError> {
    let before = cursor.clone();
    let number = cursor.u32("a type")?;
    ZeekType::from_number(u64::from(number))
        .ok_or_else(|| before.error(DecodeErrorKind::Other("a type from 0 to 22")))
}

/// The subtype, which means something for sets and vectors only: for others it is 0 or 22.
/// Spec: zeromq 7.3.
fn kind_of_elements(
    cursor: &mut Cursor<'_>,
    container: ZeekType,
) -> Result<ZeekType, broker_data::DecodeError> {
    match container {
        ZeekType::Table | ZeekType::Vector => kind(cursor),
        _ => cursor.u32("a subtype").map(|_| ZeekType::Void),
    }
}

/// Reads the records. Each gets its number of fields in front, which batches do not have and records
/// of the native log stream do: so there is one form of records.
fn read_records(
    schema: &Arc<Schema>,
    cursor: &mut Cursor<'_>,
) -> Result<Vec<LogRecord>, LogBatchError> {
    let before = cursor.clone();
    let count = cursor.u32("a number of records")? as usize;
    let fields = schema.fields().len();
    let bytes_min = count.saturating_mul(fields.saturating_mul(VALUE_BYTES_MIN));
    if bytes_min > cursor.rest.len() || fields == 0 && count > 0 {
        const EXPECTED: &str = "as many records as announced";
        return Err(before.error(DecodeErrorKind::Truncated(EXPECTED)).into());
    }
    let head = u32::try_from(fields).unwrap_or(u32::MAX).to_be_bytes();
    let heads = count.saturating_mul(head.len());
    let mut blobs = Vec::with_capacity(cursor.rest.len().saturating_add(heads));
    let mut ends = Vec::with_capacity(count);
    for number in 0..count {
        let rest = cursor.rest;
        check_values(schema, cursor).map_err(|error| LogBatchError::Record {
            path: schema.path().to_owned(),
            number: number.saturating_add(1),
            error,
        })?;
        let size = rest.len().saturating_sub(cursor.rest.len());
        blobs.extend_from_slice(&head);
        blobs.extend_from_slice(rest.get(..size).unwrap_or_default());
        ends.push(blobs.len());
    }
    if !cursor.rest.is_empty() {
        return Err(cursor.error(DecodeErrorKind::End).into());
    }
    let blobs = Bytes::from(blobs);
    let mut start = 0;
    let records = ends.into_iter().map(|end| {
        let blob = blobs.slice(start..end);
        start = end;
        LogRecord::of_checked(schema.clone(), blob)
    });
    Ok(records.collect())
}

/// Writes a batch for a logger of Zeek.
///
/// ```
/// use std::sync::Arc;
/// use broker_zeek::zeromq::{LogBatchReader, LogBatchWriter};
/// use broker_zeek::{Field, LogRecord, LogValue, RecordWriter, Schema, WriterInfo, ZeekType};
///
/// let info = WriterInfo { path: "demo".into(), ..WriterInfo::default() };
/// let fields = vec![Field::new("count", ZeekType::Count)];
/// let schema = Arc::new(Schema::new("Demo::LOG", "Log::WRITER_ASCII", info, fields));
/// let mut record = RecordWriter::new(&schema);
/// record.value(LogValue::Count(5))?;
/// let record = LogRecord::new(schema.clone(), record.finish()?.into())?;
///
/// let mut batch = LogBatchWriter::new(schema, "default");
/// batch.push(&record)?;
/// let payload = batch.finish();
/// let read = LogBatchReader::new().read(&payload).expect("a batch");
/// assert_eq!(read.records(), &[record]);
/// # Ok::<(), broker_zeek::RecordError>(())
/// ```
#[derive(Clone, Debug)]
pub struct LogBatchWriter {
    schema: Arc<Schema>,
    out: Vec<u8>,
    /// Where the number of records stands.
    count_at: usize,
    count: u32,
}

impl LogBatchWriter {
    /// Starts a batch. A logger wants a filter of that name, most often `default`, and its own fields.
    #[must_use]
    pub fn new(schema: Arc<Schema>, filter: &str) -> Self {
        let mut out = Vec::new();
        for name in [schema.stream(), schema.writer(), filter, schema.path()] {
            put_string(&mut out, name);
        }
        let count = u32::try_from(schema.fields().len()).unwrap_or(u32::MAX);
        out.extend(count.to_be_bytes());
        for field in schema.fields() {
            out.push(u8::from(field.secondary_name.is_some()));
            if let Some(name) = &field.secondary_name {
                put_string(&mut out, name);
            }
            put_string(&mut out, &field.name);
            out.extend([0, 0, 0, field.kind.number()]);
            out.extend([0, 0, 0, field.element_kind.number()]);
            out.push(u8::from(field.is_optional));
        }
        let count_at = out.len();
        out.extend([0; 4]);
        Self {
            schema,
            out,
            count_at,
            count: 0,
        }
    }

    /// Appends a record.
    ///
    /// # Errors
    ///
    /// When it does not fit the fields of the batch.
    pub fn push(&mut self, record: &LogRecord) -> Result<(), RecordError> {
        let blob = record.blob();
        if !Arc::ptr_eq(record.schema(), &self.schema) {
            LogRecord::new(self.schema.clone(), blob.clone())?;
        }
        // Behind the number of fields.
        self.out
            .extend_from_slice(blob.get(4..).unwrap_or_default());
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// Returns what the records have in common.
    #[must_use]
    pub const fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Returns the number of records.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Tells whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the payload.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let count = self.count.to_be_bytes();
        if let Some(place) = self.out.get_mut(self.count_at..) {
            for (to, from) in place.iter_mut().zip(count) {
                *to = from;
            }
        }
        self.out
    }
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use broker_data::{Address, Port, Protocol, Subnet};

    use super::*;
    use crate::{LogValue, RecordWriter};

    fn schema() -> Arc<Schema> {
        let kinds = [
            ZeekType::Bool,
            ZeekType::Int,
            ZeekType::Count,
            ZeekType::Double,
            ZeekType::Time,
            ZeekType::Interval,
            ZeekType::String,
            ZeekType::Enum,
            ZeekType::Port,
            ZeekType::Addr,
            ZeekType::Subnet,
            ZeekType::Func,
            ZeekType::File,
        ];
        let mut fields: Vec<Field> = kinds.map(|kind| Field::new(kind.name(), kind)).into();
        fields.push(Field::of("set", ZeekType::Table, ZeekType::Count));
        fields.push(Field::of("vector", ZeekType::Vector, ZeekType::String));
        fields[0].secondary_name = Some("other".into());
        fields[1].is_optional = false;
        let info = WriterInfo {
            path: "demo".into(),
            ..WriterInfo::default()
        };
        Arc::new(Schema::new("Demo::LOG", "Log::WRITER_ASCII", info, fields))
    }

    fn record(schema: &Arc<Schema>) -> LogRecord {
        let mut writer = RecordWriter::new(schema);
        for value in [
            LogValue::Bool(true),
            LogValue::Int(-1),
            LogValue::Count(1),
            LogValue::Double(0.5),
            LogValue::Time(1.5),
            LogValue::Interval(2.5),
            LogValue::String(b"text"),
            LogValue::Enum(b"Demo::NAME"),
            LogValue::Port(Port::new(53, Protocol::Udp)),
            LogValue::Addr(Address::from(Ipv4Addr::new(192, 0, 2, 1))),
            LogValue::Subnet(Subnet::from_raw(
                Address::from(Ipv4Addr::new(192, 0, 2, 0)),
                120,
            )),
            LogValue::Func(b"f"),
            LogValue::File(b"file"),
        ] {
            writer.value(value).unwrap();
        }
        writer.elements(&[Some(LogValue::Count(7))]).unwrap();
        writer.unset().unwrap();
        LogRecord::new(schema.clone(), writer.finish().unwrap().into()).unwrap()
    }

    fn batch(count: usize) -> Vec<u8> {
        let schema = schema();
        let record = record(&schema);
        let mut writer = LogBatchWriter::new(schema, "default");
        assert!(writer.is_empty());
        for _ in 0..count {
            writer.push(&record).unwrap();
        }
        assert_eq!(writer.len(), count);
        writer.finish()
    }

    #[test]
    fn batches_of_every_size_are_read_as_they_were_written() {
        let mut reader = LogBatchReader::new();
        for count in [0, 1, 2, RECORDS_PER_BATCH_MAX] {
            let parts = [
                &b"log-write"[..],
                b"id",
                b"zeek-bin-serializer",
                &batch(count),
            ];
            let read = reader.read_message(parts.into_iter()).unwrap();
            assert_eq!(read.records().len(), count);
            assert_eq!(*read.schema(), schema());
            assert_eq!(read.filter(), "default");
            assert!(
                read.into_records()
                    .iter()
                    .all(|read| *read == record(&schema()))
            );
        }
        assert_eq!(reader.heads.len(), 1);
    }

    #[test]
    fn a_batch_that_is_cut_off_or_goes_on_is_refused() {
        let bytes = batch(2);
        let mut reader = LogBatchReader::new();
        for end in 0..bytes.len() {
            assert!(reader.read(&bytes[..end]).is_err(), "{end}");
        }
        assert!(reader.read(&[&bytes[..], b"\0"].concat()).is_err());
        let parts = [&b"log-write"[..], b"id", b"zeek-bin-v1", &bytes];
        let error = reader.read_message(parts.into_iter()).unwrap_err();
        assert!(error.to_string().contains("`zeek-bin-v1`"));
        let error = reader.read_message(parts[..3].iter().copied()).unwrap_err();
        assert!(matches!(error, LogBatchError::Message { parts: 3, .. }));
    }

    #[test]
    fn announced_numbers_do_not_count() {
        let schema = Arc::new(Schema::new("", "", WriterInfo::default(), Vec::new()));
        let mut bytes = LogBatchWriter::new(schema, "").finish();
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&u32::MAX.to_be_bytes());
        // Records of no fields take no bytes, so there could be as many as that.
        assert!(LogBatchReader::new().read(&bytes).is_err());
        // Fields: the four empty names are behind their lengths.
        bytes[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(LogBatchReader::new().read(&bytes).is_err());
    }

    #[test]
    fn a_bad_record_is_named() {
        let mut bytes = batch(3);
        let at = bytes.len() - 9;
        bytes[at + 3] = 7;
        let error = LogBatchReader::new().read(&bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            "record 3 of a batch of `demo`: field `vector`: expected vector, found string"
        );
    }

    #[test]
    fn a_subtype_of_22_means_nothing() {
        // Spec: zeromq 7.3.
        let mut bytes = batch(1);
        let name = bytes
            .windows(5)
            .position(|window| window == b"count")
            .unwrap();
        bytes[name + 5 + 7] = 22;
        let read = LogBatchReader::new().read(&bytes).unwrap();
        assert_eq!(*read.schema(), schema());
    }

    #[test]
    fn field_lists_are_forgotten_when_there_are_too_many() {
        let mut reader = LogBatchReader::new();
        for number in 0..=SCHEMAS_MAX {
            let info = WriterInfo {
                path: format!("log-{number}"),
                ..WriterInfo::default()
            };
            let schema = Arc::new(Schema::new("Demo::LOG", "", info, Vec::new()));
            reader
                .read(&LogBatchWriter::new(schema, "default").finish())
                .unwrap();
        }
        assert_eq!(reader.heads.len(), 1);
    }
}
