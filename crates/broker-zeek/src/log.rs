//! Announcements of logs, and their records as they are sent.

use broker_data::{EncodeError, Encoder, Reader, Source, View};

use super::message::content;
use super::{MessageKind, Problem, Schema, SchemaError, VERSION};

/// Subscribe to this for the announcements of all logs, and outside of clusters for their records.
///
/// Each log has its own topic below it, `zeek/logs/Conn::LOG`. Spec: zeek 3.1.
pub const LOG_TOPIC: &str = "zeek/logs/";

/// The topic of the records that nodes of a cluster send to one of its loggers.
///
/// In a cluster that spreads its logs over loggers, which is the default, [`LOG_TOPIC`] carries the
/// announcements only: subscribe to this for every logger too. Spec: zeek 3.1.
#[must_use]
pub fn logger_topic(logger: &str) -> String {
    format!("zeek/cluster/node/{logger}/")
}

/// The announcement of a log. Spec: zeek 1.2.
///
/// Zeek sends it when a filter of the log is made, and again to every new peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogCreate<'a> {
    stream: &'a [u8],
    writer: &'a [u8],
    info: View<'a>,
    fields: View<'a>,
}

impl<'a> LogCreate<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Problem> {
        let mut elements = content(reader, MessageKind::LogCreate)?;
        let create = Self {
            stream: elements.enum_value("stream")?,
            writer: elements.enum_value("writer")?,
            info: elements.any("writer info")?,
            fields: elements.any("field list")?,
        };
        elements.finish()?;
        Ok(create)
    }

    /// Returns the name of the stream, such as `Conn::LOG`.
    #[must_use]
    pub const fn stream(&self) -> &'a [u8] {
        self.stream
    }

    /// Returns the name of the writer, such as `Log::WRITER_ASCII`.
    #[must_use]
    pub const fn writer(&self) -> &'a [u8] {
        self.writer
    }

    /// Returns the writer info as it came.
    #[must_use]
    pub const fn info(&self) -> View<'a> {
        self.info
    }

    /// Returns the field list as it came.
    #[must_use]
    pub const fn fields(&self) -> View<'a> {
        self.fields
    }

    /// Reads writer info and field list. Validity of the message does not include them.
    ///
    /// # Errors
    ///
    /// Says which part is not what it should be.
    pub fn schema(&self) -> Result<Schema, SchemaError> {
        Schema::read(self)
    }
}

impl Source for LogCreate<'_> {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.vector(3, |enc| {
            enc.count(VERSION);
            enc.count(MessageKind::LogCreate.number());
            enc.vector(4, |enc| {
                enc.enum_value(self.stream)?;
                enc.enum_value(self.writer)?;
                enc.encode(&self.info)?;
                enc.encode(&self.fields)
            })
        })
    }
}

/// One record of a log, still in its own format. Spec: zeek 1.3.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogWrite<'a> {
    stream: &'a [u8],
    writer: &'a [u8],
    path: &'a [u8],
    record: &'a [u8],
}

impl<'a> LogWrite<'a> {
    /// Makes the message for a record, as [`RecordWriter`](super::RecordWriter) wrote it.
    #[must_use]
    pub fn new(schema: &'a Schema, record: &'a [u8]) -> Self {
        Self {
            stream: schema.stream().as_bytes(),
            writer: schema.writer().as_bytes(),
            path: schema.path().as_bytes(),
            record,
        }
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Problem> {
        let mut elements = content(reader, MessageKind::LogWrite)?;
        let write = Self {
            stream: elements.enum_value("stream")?,
            writer: elements.enum_value("writer")?,
            path: elements.string("path")?,
            record: elements.string("record")?,
        };
        elements.finish()?;
        Ok(write)
    }

    /// Returns the name of the stream, such as `Conn::LOG`.
    #[must_use]
    pub const fn stream(&self) -> &'a [u8] {
        self.stream
    }

    /// Returns the name of the writer, such as `Log::WRITER_ASCII`.
    #[must_use]
    pub const fn writer(&self) -> &'a [u8] {
        self.writer
    }

    /// Returns the path, such as `conn`: the name of the log.
    #[must_use]
    pub const fn path(&self) -> &'a [u8] {
        self.path
    }

    /// Returns the record, still encoded.
    #[must_use]
    pub const fn record(&self) -> &'a [u8] {
        self.record
    }
}

impl Source for LogWrite<'_> {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.vector(3, |enc| {
            enc.count(VERSION);
            enc.count(MessageKind::LogWrite.number());
            enc.vector(4, |enc| {
                enc.enum_value(self.stream)?;
                enc.enum_value(self.writer)?;
                enc.string(self.path)?;
                enc.string(self.record)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use broker_data::{EnumValue, to_bytes};

    use super::*;
    use crate::Message;

    #[test]
    fn both_survive_being_written_again() {
        let stream = EnumValue::new("Conn::LOG");
        let writer = EnumValue::new("Log::WRITER_ASCII");
        for content in [
            to_bytes(&(1_u64, 2_u64, (&stream, &writer, 5_u64, ()))).unwrap(),
            to_bytes(&(1_u64, 3_u64, (&stream, &writer, "conn", "blob"))).unwrap(),
        ] {
            let again = match Message::parse(View::new(&content).unwrap()) {
                Message::LogCreate(create) => {
                    assert!(create.schema().is_err());
                    assert_eq!(create.stream(), b"Conn::LOG");
                    to_bytes(&create)
                }
                Message::LogWrite(write) => {
                    assert_eq!((write.path(), write.record()), (&b"conn"[..], &b"blob"[..]));
                    to_bytes(&write)
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(again.unwrap(), content);
        }
    }

    #[test]
    fn topics_of_loggers() {
        assert_eq!(logger_topic("logger-1"), "zeek/cluster/node/logger-1/");
    }
}
