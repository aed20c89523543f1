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

use broker_data::Timestamp;
use broker_proto::recording::{
    BLOCK_HEADER_SIZE, BlockHeader, BlockWriter, FILE_HEADER, Recorded, RecordingError,
    check_file_header,
};

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
