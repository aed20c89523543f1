//! Files with recorded messages: written block by block, read back, gone on with after a crash.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use broker::Timestamp;
use broker::proto::recording::{
    BLOCK_HEADER_SIZE, BlockHeader, BlockWriter, FILE_HEADER, Recorded, RecordingError,
    check_file_header,
};

use crate::nearest::check_file;
use crate::outcome::Failure;

/// A file that messages are written to.
#[derive(Debug)]
pub(crate) struct RecordingWriter {
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
    pub(crate) fn open(path: &Path) -> Result<(Self, u64), Failure> {
        let failed = |error: io::Error| cannot("write", path, &error);
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
                let what = format!(
                    "`{}` is being written by another `broker record`",
                    path.display()
                );
                return Err(Failure::failed(what));
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
                while reader.next_block(|_, _| Ok(()))? {}
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
    pub(crate) fn push(&mut self, time: Timestamp, frame: &[u8]) -> Result<(), Failure> {
        self.block.push(time, frame);
        if self.block.is_full() {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Hands everything to the system: whole blocks, or nothing of them.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        let Some(block) = self.block.finish() else {
            return Ok(());
        };
        if let Err(error) = self.file.write_all(block.bytes()) {
            let _ = self.file.set_len(self.length);
            return Err(cannot("write", &self.path, &error));
        }
        self.length += block.bytes().len() as u64;
        Ok(())
    }

    /// Ends the file, which is on the disk then; returns its size.
    pub(crate) fn finish(mut self) -> Result<u64, Failure> {
        self.flush()?;
        let synced = self.file.sync_all();
        synced.map_err(|error| cannot("write", &self.path, &error))?;
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
pub(crate) struct RecordingReader {
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
    /// # Errors
    ///
    /// When the file is no recording.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        check_file("recording", path)?;
        let failed = |error: io::Error| cannot("read", path, &error);
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
    pub(crate) fn next_block(
        &mut self,
        mut show: impl FnMut(BlockHeader, &Recorded<'_>) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
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
        read.map_err(|error| cannot("read", &self.path, &error))?;
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
        read.map_err(|error| cannot("read", &self.path, &error))?;
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
    pub(crate) fn damage(&self) -> Option<(RecordingError, u64)> {
        let behind = self.size.saturating_sub(self.position);
        self.damage.map(|error| (error, behind))
    }

    /// Begins again.
    pub(crate) fn rewind(&mut self) -> Result<(), Failure> {
        self.position = FILE_HEADER.len() as u64;
        self.damage = None;
        let sought = self.file.seek(SeekFrom::Start(self.position));
        sought.map_err(|error| cannot("read", &self.path, &error))?;
        Ok(())
    }

    fn damaged(&self, error: RecordingError) -> Failure {
        let path = self.path.display();
        match error {
            RecordingError::NotARecording | RecordingError::Version(_) => {
                Failure::usage(format!("`{path}`: {error}"))
            }
            _ => Failure::failed(format!(
                "`{path}` is damaged at byte {}: {error}",
                self.position
            )),
        }
    }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot {what} `{}`: {error}", path.display()))
}
