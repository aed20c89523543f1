//! Files with recorded messages: written block by block, read back, gone on with after a crash.
//!
//! `broker record` and endpoints with [`RecordingOptions`](crate::RecordingOptions) write them,
//! `broker replay` sends what is in them. The format is in [`proto::recording`](crate::proto::recording).
//!
//! ```
//! use broker::recording::{RecordingReader, RecordingWriter};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("day.rec");
//! let (writer, torn) = RecordingWriter::open(&path)?;
//! assert_eq!(torn, 0);
//! writer.finish()?;
//! let mut reader = RecordingReader::open(&path)?;
//! assert!(!reader.next_block(|_, _| Ok::<(), broker::recording::RecordingFileError>(()))?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use broker_data::{DecodeError, EncodeError, Encoder, Timestamp, View};
use broker_proto::EndpointId;
use broker_proto::frame::{EnvelopeError, Tag, write_envelope};
use broker_proto::recording::{
    BLOCK_HEADER_SIZE, BlockHeader, BlockWriter, FILE_HEADER, Recorded, RecordingError,
    check_file_header,
};
use broker_zeek::LogDecoder;
use bytes::Bytes;

/// Topic under which recordings have messages of the log stream of ZeroMQ, which has no topics: a
/// vector with the parts of the message as strings. Spec: zeromq 7.1.
pub const ZEROMQ_LOG_TOPIC: &str = "zeromq/log-write";

/// Why a recording cannot be written or read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingFileError {
    /// The system refused something.
    #[error("cannot {what} `{}`: {cause}", path.display())]
    Io {
        /// `write` or `read`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: Arc<io::Error>,
    },
    /// Another writer has the file.
    #[error("`{}` is being written by another `broker record`", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else, or of a version that is not known.
    #[error("`{}`: {cause}", path.display())]
    NotARecording {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: RecordingError,
    },
    /// A message is longer than a frame may be.
    #[error("a message is too long to be recorded")]
    TooLong,
    /// The file has damage that a recorder that was killed does not leave.
    #[error("`{}` is damaged at byte {position}: {cause}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the block begins that cannot be read.
        position: u64,
        /// What is wrong.
        cause: RecordingError,
    },
}

/// A message for which a frame has no room.
struct Unfit;

impl From<EnvelopeError> for Unfit {
    fn from(_: EnvelopeError) -> Self {
        Self
    }
}

impl From<EncodeError> for Unfit {
    fn from(_: EncodeError) -> Self {
        Self
    }
}

/// Hands a recorded message to a decoder of logs: one of Zeek's native log stream, or one of that of
/// ZeroMQ under [`ZEROMQ_LOG_TOPIC`]. Other messages of Zeek are ignored.
///
/// # Errors
///
/// When its value cannot be decoded. What is no record of a log is told by the decoder.
pub fn decode_log(decoder: &mut LogDecoder, message: &Recorded<'_>) -> Result<(), DecodeError> {
    let view = View::new(message.payload)?;
    if message.topic == ZEROMQ_LOG_TOPIC.as_bytes() {
        let parts = view
            .elements()
            .map(|part| part.as_bytes().unwrap_or_default());
        decoder.handle_log_message(parts);
    } else {
        decoder.handle(&Bytes::copy_from_slice(message.payload));
    }
    Ok(())
}

/// A file that messages are written to.
#[derive(Debug)]
pub struct RecordingWriter {
    path: PathBuf,
    file: File,
    block: BlockWriter,
    /// Bytes of whole blocks.
    length: u64,
}

impl RecordingWriter {
    /// Makes a file, or goes on with one; returns how many bytes of an unfinished block were cut off.
    ///
    /// # Errors
    ///
    /// When the file is something else, or another writer has it.
    pub fn open(path: impl AsRef<Path>) -> Result<(Self, u64), RecordingFileError> {
        let path = path.as_ref();
        let failed = |error: io::Error| cannot("write", path, error);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let path = path.to_owned();
                return Err(RecordingFileError::InUse { path });
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let length = match size {
            0 => {
                file.write_all(&FILE_HEADER).map_err(failed)?;
                FILE_HEADER.len() as u64
            }
            _ => {
                let mut reader = RecordingReader::open(path)?;
                while reader.next_block(|_, _| Ok::<(), RecordingFileError>(()))? {}
                if let Some(error) = reader.damage
                    && !is_torn(error, &reader, size)
                {
                    return Err(reader.damaged(error));
                }
                reader.position
            }
        };
        file.set_len(length).map_err(failed)?;
        file.seek(SeekFrom::Start(length)).map_err(failed)?;
        let writer = Self {
            path: path.to_owned(),
            file,
            block: BlockWriter::new(),
            length,
        };
        Ok((writer, size.saturating_sub(length)))
    }

    /// Writes a message, at once if that fills a block.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush).
    pub fn push(&mut self, time: Timestamp, frame: &[u8]) -> Result<(), RecordingFileError> {
        self.block.push(time, frame);
        if self.block.is_full() {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Writes a message of the log stream of ZeroMQ, given by its parts, under [`ZEROMQ_LOG_TOPIC`].
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush); [`RecordingFileError::TooLong`] for one that no frame has room for.
    pub fn push_log_message<'a>(
        &mut self,
        time: Timestamp,
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), RecordingFileError> {
        let mut frame = Vec::new();
        let (topic, id) = (ZEROMQ_LOG_TOPIC.as_bytes(), EndpointId::NIL);
        let written = write_envelope(&mut frame, id, id, Tag::Data, topic, |out| {
            let parts: Vec<&[u8]> = parts.into_iter().collect();
            Encoder::new(out).vector(parts.len(), |out| {
                parts.iter().try_for_each(|part| out.string(part))
            })?;
            Ok::<(), Unfit>(())
        });
        written.map_err(|Unfit| RecordingFileError::TooLong)?;
        self.push(time, &frame)
    }

    /// Hands everything to the system: whole blocks, or nothing of them.
    ///
    /// # Errors
    ///
    /// When the system does not take it, as on a full disk.
    pub fn flush(&mut self) -> Result<(), RecordingFileError> {
        let Some(block) = self.block.finish() else {
            return Ok(());
        };
        if let Err(error) = self.file.write_all(block.bytes()) {
            let _ = self.file.set_len(self.length);
            return Err(cannot("write", &self.path, error));
        }
        self.length += block.bytes().len() as u64;
        Ok(())
    }

    /// Ends the file, which is on the disk then; returns its size.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush).
    pub fn finish(mut self) -> Result<u64, RecordingFileError> {
        self.flush()?;
        let synced = self.file.sync_all();
        synced.map_err(|error| cannot("write", &self.path, error))?;
        Ok(self.length)
    }
}

impl Drop for RecordingWriter {
    fn drop(&mut self) {
        // A child made by a fork shares the lock, and would keep it if only the descriptor closed.
        let _ = self.file.unlock();
    }
}

/// Whether what is wrong is at the end only, as a writer that was killed leaves it.
fn is_torn(error: RecordingError, reader: &RecordingReader, size: u64) -> bool {
    match error {
        RecordingError::Cut => true,
        // The system may have made room for the block before it wrote it.
        RecordingError::Checksum | RecordingError::NoBlock => reader.block_end >= size,
        _ => false,
    }
}

/// A file that messages are read from.
#[derive(Debug)]
pub struct RecordingReader {
    path: PathBuf,
    file: BufReader<File>,
    /// Where the next block begins.
    position: u64,
    /// Where the block ends that was looked at last, as far as its header says.
    block_end: u64,
    size: u64,
    /// What is wrong where the reading ended.
    damage: Option<RecordingError>,
    block: Vec<u8>,
}

impl RecordingReader {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// When the file is no recording.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RecordingFileError> {
        let path = path.as_ref();
        let failed = |error: io::Error| cannot("read", path, error);
        let file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let mut reader = Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            position: FILE_HEADER.len() as u64,
            block_end: 0,
            size,
            damage: None,
            block: Vec::new(),
        };
        let mut header = [0; FILE_HEADER.len()];
        let read = reader.file.read_exact(&mut header);
        let header = match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(RecordingError::NotARecording)
            }
            Err(error) => return Err(failed(error)),
            Ok(()) => check_file_header(&header),
        };
        header.map_err(|error| reader.damaged(error))?;
        Ok(reader)
    }

    /// Reads the next block and shows its messages; `false` at the end, or where something is wrong.
    ///
    /// # Errors
    ///
    /// When the system cannot read it, and what `show` says.
    pub fn next_block<E: From<RecordingFileError>>(
        &mut self,
        mut show: impl FnMut(BlockHeader, &Recorded<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let left = self.size.saturating_sub(self.position);
        if left == 0 || self.damage.is_some() {
            return Ok(false);
        }
        self.block_end = self.size;
        if left < BLOCK_HEADER_SIZE as u64 {
            self.damage = Some(RecordingError::Cut);
            return Ok(false);
        }
        let mut header = [0; BLOCK_HEADER_SIZE];
        let read = self.file.read_exact(&mut header);
        read.map_err(|error| cannot("read", &self.path, error))?;
        let header = match BlockHeader::read(&header) {
            Ok(header) => header,
            Err(error) => {
                self.damage = Some(error);
                return Ok(false);
            }
        };
        let whole = BLOCK_HEADER_SIZE as u64 + header.size as u64;
        if whole > left {
            self.damage = Some(RecordingError::Cut);
            return Ok(false);
        }
        self.block_end = self.position + whole;
        // No more than the file has.
        self.block.resize(header.size, 0);
        let read = self.file.read_exact(&mut self.block);
        read.map_err(|error| cannot("read", &self.path, error))?;
        let messages = match header.messages(&self.block) {
            Ok(messages) => messages,
            Err(error) => {
                self.damage = Some(error);
                return Ok(false);
            }
        };
        for message in messages.flatten() {
            show(header, &message)?;
        }
        self.position += whole;
        Ok(true)
    }

    /// What is wrong where the reading ended, and how many bytes are behind that.
    pub fn damage(&self) -> Option<(RecordingError, u64)> {
        let behind = self.size.saturating_sub(self.position);
        self.damage.map(|error| (error, behind))
    }

    /// Begins again.
    ///
    /// # Errors
    ///
    /// When the system cannot.
    pub fn rewind(&mut self) -> Result<(), RecordingFileError> {
        self.position = FILE_HEADER.len() as u64;
        self.damage = None;
        let sought = self.file.seek(SeekFrom::Start(self.position));
        sought.map_err(|error| cannot("read", &self.path, error))?;
        Ok(())
    }

    fn damaged(&self, cause: RecordingError) -> RecordingFileError {
        let path = self.path.clone();
        match cause {
            RecordingError::NotARecording | RecordingError::Version(_) => {
                RecordingFileError::NotARecording { path, cause }
            }
            _ => RecordingFileError::Damaged {
                path,
                position: self.position,
                cause,
            },
        }
    }
}

fn cannot(what: &'static str, path: &Path, cause: io::Error) -> RecordingFileError {
    RecordingFileError::Io {
        what,
        path: path.to_owned(),
        cause: Arc::new(cause),
    }
}

#[cfg(test)]
mod tests {
    use broker_data::{Value, to_bytes};
    use proptest::prelude::*;

    use super::*;

    fn recorded<'a>(topic: &'a str, payload: &'a [u8]) -> Recorded<'a> {
        Recorded {
            time: Timestamp::EPOCH,
            frame: &[],
            topic: topic.as_bytes(),
            payload,
        }
    }

    fn problems(decoder: &mut LogDecoder) -> usize {
        let results = std::iter::from_fn(|| decoder.poll_record());
        results.filter(Result::is_err).count()
    }

    #[test]
    fn parts_are_recorded_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.rec");
        let (mut writer, _) = RecordingWriter::open(&path).unwrap();
        let parts: [&[u8]; 4] = [b"log-write", b"", b"zeek-bin-serializer", &[0xff; 300]];
        writer.push_log_message(Timestamp::EPOCH, parts).unwrap();
        writer.push_log_message(Timestamp::EPOCH, []).unwrap();
        writer.finish().unwrap();
        let mut reader = RecordingReader::open(&path).unwrap();
        let mut found = Vec::new();
        reader
            .next_block(|_, message| {
                assert_eq!(message.topic, ZEROMQ_LOG_TOPIC.as_bytes());
                let view = View::new(message.payload).unwrap();
                let parts = view.elements().map(|it| it.as_bytes().unwrap().to_vec());
                found.push(parts.collect::<Vec<_>>());
                Ok::<(), RecordingFileError>(())
            })
            .unwrap();
        assert_eq!(found, [parts.map(<[u8]>::to_vec).to_vec(), Vec::new()]);
    }

    #[test]
    fn what_was_forked_meanwhile_does_not_keep_the_file_of_a_writer_that_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.rec");
        let (writer, _) = RecordingWriter::open(&path).unwrap();
        let second = RecordingWriter::open(&path).err().unwrap();
        assert!(matches!(second, RecordingFileError::InUse { .. }));
        // As a child has it until it runs another program.
        let inherited = writer.file.try_clone().unwrap();
        drop(writer);
        RecordingWriter::open(&path).unwrap();
        drop(inherited);
    }

    #[test]
    fn other_values_under_the_topic_of_batches_are_problems() {
        let mut decoder = LogDecoder::new();
        for value in [
            Value::from(5_u64),
            Value::from("zeek-bin-serializer"),
            Value::Vector(Vec::new()),
            Value::Vector(vec![Value::from(5_u64); 4]),
            Value::Vector(vec![Value::from("zeek-bin-serializer"); 4]),
        ] {
            let payload = to_bytes(&value).unwrap();
            decode_log(&mut decoder, &recorded(ZEROMQ_LOG_TOPIC, &payload)).unwrap();
            assert_eq!(problems(&mut decoder), 1, "{value}");
        }
        assert!(decode_log(&mut decoder, &recorded(ZEROMQ_LOG_TOPIC, &[0x0e])).is_err());
        assert!(decode_log(&mut decoder, &recorded("zeek/logs/x", &[])).is_err());
    }

    proptest! {
        #[test]
        fn no_payload_brings_a_decoder_down(
            payload in prop::collection::vec(any::<u8>(), 0..200),
            is_batch in any::<bool>(),
        ) {
            let topic = if is_batch { ZEROMQ_LOG_TOPIC } else { "zeek/logs/x" };
            let mut decoder = LogDecoder::new();
            // As it is, and as the last part of a message.
            let _ = decode_log(&mut decoder, &recorded(topic, &payload));
            let parts = [&b"log-write"[..], b"id", b"zeek-bin-serializer", &payload];
            let parts = parts.map(|part| Value::String(part.into()));
            let message = to_bytes(&Value::Vector(parts.to_vec())).unwrap();
            decode_log(&mut decoder, &recorded(topic, &message)).unwrap();
            problems(&mut decoder);
        }
    }
}
