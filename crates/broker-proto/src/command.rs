//! Commands of data stores, as far as an endpoint that passes them on needs to know them.
//!
//! Spec: wire 6.4. A malformed command must not be forwarded: older peers close the connection it
//! comes on. Checking reads every field and builds nothing.

use broker_data::{DecodeError, DecodeErrorKind, Kind, Reader, validate_prefix};

/// Bytes of an entity: endpoint id and object number.
const ENTITY_SIZE: usize = 24;

/// Checks the payload of a command envelope. Bytes behind the command are accepted. Spec: wire 6.3.
///
/// # Errors
///
/// Names the first byte that is not what it should be.
pub fn check(payload: &[u8]) -> Result<(), DecodeError> {
    let mut fields = Fields {
        reader: Reader::new(payload),
        payload,
        base: 0,
    };
    fields.u64()?; // sequence
    fields.entity()?; // sender
    fields.entity()?; // receiver
    match fields.u8()? {
        // put
        0 => {
            fields.value()?;
            fields.value()?;
            fields.expiry()?;
            fields.entity()
        }
        // put_unique
        1 => {
            fields.value()?;
            fields.value()?;
            fields.expiry()?;
            fields.entity()?;
            fields.u64()?;
            fields.entity()
        }
        // put_unique_result
        2 => {
            fields.u8()?;
            fields.entity()?;
            fields.u64()?;
            fields.entity()
        }
        // erase, expire
        3 | 4 => {
            fields.value()?;
            fields.entity()
        }
        // add
        5 => {
            fields.value()?;
            fields.value()?;
            fields.kind()?;
            fields.expiry()?;
            fields.entity()
        }
        // subtract
        6 => {
            fields.value()?;
            fields.value()?;
            fields.expiry()?;
            fields.entity()
        }
        // clear
        7 => fields.entity(),
        // attach_writer
        8 => {
            fields.u64()?;
            fields.u16()
        }
        // keepalive, cumulative_ack, retransmit_failed
        9 | 10 | 13 => fields.u64(),
        // nack
        11 => {
            for _ in 0..fields.count()? {
                fields.u64()?;
            }
            Ok(())
        }
        // ack_clone
        12 => {
            fields.u64()?;
            fields.u16()?;
            for _ in 0..fields.count()? {
                fields.value()?;
                fields.value()?;
            }
            Ok(())
        }
        _ => Err(fields.error_before("a command from 0 to 13")),
    }
}

/// A reader of fields that also finds its way around whole values.
struct Fields<'a> {
    payload: &'a [u8],
    /// Reads what begins at `base`.
    reader: Reader<'a>,
    base: usize,
}

impl Fields<'_> {
    fn at(&self) -> usize {
        self.base + self.reader.position()
    }

    fn located<T>(&self, read: Result<T, DecodeError>) -> Result<T, DecodeError> {
        read.map_err(|error| DecodeError::new(self.base + error.offset, error.kind))
    }

    fn error_before(&self, expected: &'static str) -> DecodeError {
        DecodeError::new(
            self.at().saturating_sub(1),
            DecodeErrorKind::Other(expected),
        )
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        let read = self.reader.u8();
        self.located(read)
    }

    fn u16(&mut self) -> Result<(), DecodeError> {
        let read = self.reader.u16();
        self.located(read).map(|_| ())
    }

    fn u64(&mut self) -> Result<(), DecodeError> {
        let read = self.reader.u64();
        self.located(read).map(|_| ())
    }

    fn count(&mut self) -> Result<u32, DecodeError> {
        let read = self.reader.varbyte();
        self.located(read)
    }

    fn entity(&mut self) -> Result<(), DecodeError> {
        let read = self.reader.bytes(ENTITY_SIZE);
        self.located(read).map(|_| ())
    }

    fn expiry(&mut self) -> Result<(), DecodeError> {
        match self.u8()? {
            0 => Ok(()),
            1 => self.u64(),
            _ => Err(self.error_before("0 or 1 in front of an expiry")),
        }
    }

    fn kind(&mut self) -> Result<(), DecodeError> {
        match Kind::from_tag(self.u8()?) {
            Some(_) => Ok(()),
            None => Err(self.error_before("a type tag from 0 to 14")),
        }
    }

    fn value(&mut self) -> Result<(), DecodeError> {
        let at = self.at();
        let rest = self.payload.get(at..).unwrap_or_default();
        let length = validate_prefix(rest)
            .map_err(|error| DecodeError::new(at + error.offset, error.kind))?;
        self.base = at + length;
        self.reader = Reader::new(rest.get(length..).unwrap_or_default());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn recorded() -> Vec<(String, Vec<u8>)> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/commands.json");
        let text = std::fs::read_to_string(path).unwrap();
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        let commands = file["commands"].as_array().unwrap();
        assert!(commands.len() > 40);
        commands
            .iter()
            .map(|command| {
                let bytes = hex::decode(command["payload_hex"].as_str().unwrap()).unwrap();
                (command["name"].as_str().unwrap().to_owned(), bytes)
            })
            .collect()
    }

    #[test]
    fn recorded_commands_pass() {
        for (name, bytes) in recorded() {
            assert_eq!(check(&bytes), Ok(()), "{name}");
        }
    }

    #[test]
    fn every_truncation_is_refused_at_its_end() {
        for (name, bytes) in recorded() {
            for length in 0..bytes.len() {
                let error = check(&bytes[..length]).unwrap_err();
                assert!(error.offset <= length, "{name} cut to {length}: {error}");
            }
        }
    }

    #[test]
    fn trailing_bytes_are_accepted() {
        for (name, mut bytes) in recorded() {
            bytes.push(0);
            assert_eq!(check(&bytes), Ok(()), "{name}");
        }
    }

    #[test]
    fn errors_are_located_behind_values() {
        let mut bytes = vec![0; 8 + 2 * ENTITY_SIZE];
        // put, key 1, then a value with a tag that does not exist
        bytes.extend_from_slice(&[0, 1, 1, 99]);
        let error = check(&bytes).unwrap_err();
        assert_eq!(
            error,
            DecodeError::new(8 + 2 * ENTITY_SIZE + 3, DecodeErrorKind::Tag(99))
        );
    }

    #[test]
    fn unknown_commands_are_refused() {
        let mut bytes = vec![0; 8 + 2 * ENTITY_SIZE];
        bytes.push(14);
        assert_eq!(check(&bytes).unwrap_err().offset, bytes.len() - 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&bytes);
        }
    }
}
