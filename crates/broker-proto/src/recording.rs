//! Recordings: messages and when they came, in blocks with checksums.
//!
//! ```text
//! file    "ZKBREC\r\n"  version: u32 (1)  reserved: u32 (0)  block*
//! block   "BLK\n"  size: u32  count: u32  first: i64  last: i64  checksum: u32  message*
//! message time: i64  frame
//! ```
//!
//! Numbers are in network order. `size` is the number of bytes behind the header of a block, `count`
//! that of the messages in it, `first` and `last` are the earliest and latest of their times, in
//! nanoseconds since 1970. The checksum is CRC-32C (Castagnoli) of the block's header in front of it
//! and of the messages. A frame is that of the wire, its length in front. Spec: wire 2, 6.
//!
//! A block is valid by itself: what a writer that was killed did not finish is a block that is cut
//! off or has a wrong checksum, and what is in front of it is whole. See
//! `docs/adr/0172-recordings.md`.

use broker_data::Timestamp;

use crate::frame::{Envelope, FRAME_LEN_SIZE, PAYLOAD_MAX, Tag, frame_size};

/// What a file begins with: a name that a transfer as text would break, a version, and four bytes
/// that are zero.
pub const FILE_HEADER: [u8; 16] = *b"ZKBREC\r\n\0\0\0\x01\0\0\0\0";

/// Bytes of a block in front of its messages.
pub const BLOCK_HEADER_SIZE: usize = 32;

/// Bytes of messages after which a block is ended: enough that headers do not count, little enough
/// that a reader holds it without thinking.
pub const BLOCK_SIZE: usize = 256 * 1024;

/// Greatest number of bytes of messages in a block: one ends with the message that exceeds
/// [`BLOCK_SIZE`], and a message is no larger than a frame.
pub const BLOCK_SIZE_MAX: usize = BLOCK_SIZE + TIME_SIZE + FRAME_LEN_SIZE + PAYLOAD_MAX;

const BLOCK_MAGIC: [u8; 4] = *b"BLK\n";
const TIME_SIZE: usize = 8;
const CHECKSUM_AT: usize = 28;

/// Why bytes are no recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// It does not begin as a recording does.
    #[error("it is no recording")]
    NotARecording,
    /// A later version of the format.
    #[error("it is a recording of version {0}, and only version 1 is known")]
    Version(u32),
    /// No block begins here.
    #[error("no block begins where one should")]
    NoBlock,
    /// The block goes on behind the end.
    #[error("a block is cut off")]
    Cut,
    /// What is there is not what was written.
    #[error("the checksum of a block is wrong")]
    Checksum,
    /// The checksum is right, and a message is none: it was not written by us.
    #[error("a block has something else than messages in it")]
    Message,
}

/// Checks the header of a file.
///
/// # Errors
///
/// When it is no recording, or one of another version.
pub fn check_file_header(bytes: &[u8; FILE_HEADER.len()]) -> Result<(), RecordingError> {
    let (name, behind) = bytes.split_at(8);
    if FILE_HEADER.get(..8) != Some(name) {
        return Err(RecordingError::NotARecording);
    }
    match behind.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)) {
        Some(1) => Ok(()),
        Some(version) => Err(RecordingError::Version(version)),
        None => Err(RecordingError::NotARecording),
    }
}

/// Collects messages into a block.
#[derive(Debug, Clone, Default)]
pub struct BlockWriter {
    /// Header and messages. Bound: `BLOCK_SIZE_MAX`; the caller takes a block that is full.
    bytes: Vec<u8>,
    count: u32,
    span: Option<(Timestamp, Timestamp)>,
}

impl BlockWriter {
    /// An empty block.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a message; its frame is complete, with its length.
    pub fn push(&mut self, time: Timestamp, frame: &[u8]) {
        if self.bytes.is_empty() {
            self.bytes.resize(BLOCK_HEADER_SIZE, 0);
        }
        self.bytes.extend_from_slice(&time.ns().to_be_bytes());
        self.bytes.extend_from_slice(frame);
        self.count = self.count.saturating_add(1);
        let (first, last) = self.span.unwrap_or((time, time));
        self.span = Some((first.min(time), last.max(time)));
    }

    /// Whether it has no message.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether it should be taken.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= BLOCK_SIZE
    }

    /// The complete block, which becomes empty when its bytes are used; `None` without a message.
    pub fn finish(&mut self) -> Option<FinishedBlock<'_>> {
        let (first, last) = self.span.take()?;
        let size = self.bytes.len().saturating_sub(BLOCK_HEADER_SIZE);
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let mut header = [0; CHECKSUM_AT];
        let parts: [&[u8]; 5] = [
            &BLOCK_MAGIC,
            &size.to_be_bytes(),
            &self.count.to_be_bytes(),
            &first.ns().to_be_bytes(),
            &last.ns().to_be_bytes(),
        ];
        for (place, byte) in header.iter_mut().zip(parts.into_iter().flatten()) {
            *place = *byte;
        }
        let messages = self.bytes.get(BLOCK_HEADER_SIZE..).unwrap_or_default();
        let checksum = crc32c(&[&header, messages]);
        let whole = header
            .iter()
            .chain(&checksum.to_be_bytes())
            .copied()
            .collect::<Vec<u8>>();
        if let Some(place) = self.bytes.get_mut(..BLOCK_HEADER_SIZE) {
            place.copy_from_slice(&whole);
        }
        self.count = 0;
        Some(FinishedBlock(&mut self.bytes))
    }
}

/// A block that is ready to be written; dropping it empties the writer.
#[derive(Debug)]
pub struct FinishedBlock<'a>(&'a mut Vec<u8>);

impl FinishedBlock<'_> {
    /// Header and messages.
    pub fn bytes(&self) -> &[u8] {
        self.0
    }
}

impl Drop for FinishedBlock<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// The header of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader {
    /// Bytes of its messages.
    pub size: usize,
    /// Number of its messages.
    pub count: u32,
    /// The earliest of their times.
    pub first: Timestamp,
    /// The latest of their times.
    pub last: Timestamp,
    checksum: u32,
    bytes: [u8; CHECKSUM_AT],
}

impl BlockHeader {
    /// Reads the header of a block. What it says is only known to be right when
    /// [`messages`](Self::messages) has checked it.
    ///
    /// # Errors
    ///
    /// When no block begins there, or it would be larger than any.
    pub fn read(header: &[u8; BLOCK_HEADER_SIZE]) -> Result<Self, RecordingError> {
        let u32_at = |at: usize| {
            let bytes = header.get(at..).and_then(|rest| rest.first_chunk());
            bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
        };
        let time_at = |at: usize| {
            let bytes = header.get(at..).and_then(|rest| rest.first_chunk());
            Timestamp::from_ns(bytes.map_or(0, |bytes| i64::from_be_bytes(*bytes)))
        };
        let size = usize::try_from(u32_at(4)).unwrap_or(usize::MAX);
        let bytes = header.first_chunk().copied().unwrap_or([0; CHECKSUM_AT]);
        if !header.starts_with(&BLOCK_MAGIC) || size > BLOCK_SIZE_MAX {
            return Err(RecordingError::NoBlock);
        }
        Ok(Self {
            size,
            count: u32_at(8),
            first: time_at(12),
            last: time_at(20),
            checksum: u32_at(CHECKSUM_AT),
            bytes,
        })
    }

    /// Checks the bytes behind the header and returns the messages in them.
    ///
    /// # Errors
    ///
    /// When they are too few, not those that were written, or no messages.
    pub fn messages<'a>(&self, bytes: &'a [u8]) -> Result<Messages<'a>, RecordingError> {
        let bytes = bytes.get(..self.size).ok_or(RecordingError::Cut)?;
        if crc32c(&[&self.bytes, bytes]) != self.checksum {
            return Err(RecordingError::Checksum);
        }
        let mut count = 0;
        let mut messages = Messages { rest: bytes };
        for message in messages.clone() {
            count += u32::from(message.is_ok());
            message?;
        }
        messages.rest = bytes;
        if count == self.count {
            Ok(messages)
        } else {
            Err(RecordingError::Message)
        }
    }
}

/// A message and when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded<'a> {
    /// When it came.
    pub time: Timestamp,
    /// The complete frame.
    pub frame: &'a [u8],
    /// Its topic.
    pub topic: &'a [u8],
    /// Its value, encoded and not looked at.
    pub payload: &'a [u8],
}

/// The messages of a block.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    fn split(&mut self) -> Option<Recorded<'a>> {
        let (time, behind) = self.rest.split_first_chunk::<TIME_SIZE>()?;
        let (frame, rest) = behind.split_at_checked(frame_size(behind)?)?;
        let envelope = Envelope::parse(frame.get(FRAME_LEN_SIZE..)?).ok()?;
        if envelope.tag != Tag::Data {
            return None;
        }
        self.rest = rest;
        Some(Recorded {
            time: Timestamp::from_ns(i64::from_be_bytes(*time)),
            frame,
            topic: envelope.topic,
            payload: envelope.payload,
        })
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Recorded<'a>, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let message = self.split();
        if message.is_none() {
            self.rest = &[];
        }
        Some(message.ok_or(RecordingError::Message))
    }
}

/// The polynomial of CRC-32C, its bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Tables of CRC-32C for four bytes at a time.
static TABLES: [[u32; 256]; 4] = tables();

#[expect(clippy::indexing_slicing, reason = "evaluated when it is compiled")]
#[expect(clippy::cast_possible_truncation, reason = "indexes are less than 256")]
const fn tables() -> [[u32; 256]; 4] {
    let mut tables = [[0; 256]; 4];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
            bit += 1;
        }
        tables[0][index] = crc;
        index += 1;
    }
    let mut table = 1;
    while table < 4 {
        let mut index = 0;
        while index < 256 {
            let crc = tables[table - 1][index];
            tables[table][index] = (crc >> 8) ^ tables[0][(crc & 0xff) as usize];
            index += 1;
        }
        table += 1;
    }
    tables
}

/// The checksum of parts that follow one another.
pub(crate) fn crc32c(parts: &[&[u8]]) -> u32 {
    let [one, two, three, four] = &TABLES;
    let at = |table: &[u32; 256], byte: u8| table.get(usize::from(byte)).copied().unwrap_or(0);
    let mut crc = u32::MAX;
    for part in parts {
        let mut fours = part.chunks_exact(4);
        for chunk in &mut fours {
            let word = chunk
                .first_chunk()
                .map_or(0, |bytes| u32::from_le_bytes(*bytes));
            let [a, b, c, d] = (crc ^ word).to_le_bytes();
            crc = at(four, a) ^ at(three, b) ^ at(two, c) ^ at(one, d);
        }
        for byte in fours.remainder() {
            let [low, ..] = crc.to_le_bytes();
            crc = (crc >> 8) ^ at(one, low ^ byte);
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{EnvelopeError, write_envelope};
    use crate::id::EndpointId;

    fn frame(topic: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let id = EndpointId::from_random([1; 16]);
        write_envelope::<EnvelopeError>(&mut frame, id, id, Tag::Data, topic, |out| {
            out.extend_from_slice(payload);
            Ok(())
        })
        .unwrap();
        frame
    }

    fn block(messages: &[(i64, Vec<u8>)]) -> Vec<u8> {
        let mut writer = BlockWriter::new();
        for (time, payload) in messages {
            writer.push(Timestamp::from_ns(*time), &frame(b"/t", payload));
        }
        let block = writer.finish().unwrap().bytes().to_vec();
        assert!(writer.is_empty() && writer.finish().is_none());
        block
    }

    fn read(block: &[u8]) -> Result<Vec<(i64, Vec<u8>)>, RecordingError> {
        let header = block.first_chunk().ok_or(RecordingError::Cut)?;
        let header = BlockHeader::read(header)?;
        let messages = header.messages(&block[BLOCK_HEADER_SIZE..])?;
        let messages = messages.map(|message| {
            let message = message.unwrap();
            assert_eq!(message.topic, b"/t");
            assert!(header.first <= message.time && message.time <= header.last);
            (message.time.ns(), message.payload.to_vec())
        });
        Ok(messages.collect())
    }

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(crc32c(&[b"123456789"]), 0xe306_9283);
        assert_eq!(crc32c(&[b"1234", b"", b"567", b"89"]), 0xe306_9283);
        assert_eq!(crc32c(&[&[0; 32]]), 0x8a91_36aa);
    }

    #[test]
    fn headers_of_files() {
        assert_eq!(check_file_header(&FILE_HEADER), Ok(()));
        let mut other = FILE_HEADER;
        other[11] = 2;
        assert_eq!(check_file_header(&other), Err(RecordingError::Version(2)));
        other[0] = 0;
        assert_eq!(
            check_file_header(&other),
            Err(RecordingError::NotARecording)
        );
    }

    #[test]
    fn a_message_that_is_none_is_found_behind_a_right_checksum() {
        let mut writer = BlockWriter::new();
        writer.push(Timestamp::EPOCH, b"\0\0\0\x01x");
        let block = writer.finish().unwrap().bytes().to_vec();
        assert_eq!(read(&block), Err(RecordingError::Message));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(messages in prop::collection::vec(
            (any::<i64>(), prop::collection::vec(any::<u8>(), 0..20)), 1..8
        )) {
            prop_assert_eq!(read(&block(&messages)), Ok(messages));
        }

        #[test]
        fn a_block_that_is_cut_or_changed_is_refused(
            messages in prop::collection::vec(
                (any::<i64>(), prop::collection::vec(any::<u8>(), 0..20)), 1..8
            ),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let mut block = block(&messages);
            let at = at.index(block.len());
            prop_assert!(read(&block[..at]).is_err());
            block[at] ^= 1 << bit;
            prop_assert!(read(&block).is_err());
        }

        #[test]
        fn any_bytes_are_handled(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let mut block = BLOCK_MAGIC.to_vec();
            block.extend(bytes);
            let _ = read(&block);
        }
    }
}
