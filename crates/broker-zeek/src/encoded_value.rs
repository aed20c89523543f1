//! The encoded value of a message, as a decoder of log streams takes it in.

use bytes::Bytes;

/// One encoded value that was checked when it was received. Clones share the bytes.
///
/// The runtime makes one of a received message; [`Bytes`] that hold nothing but a value become one,
/// too.
#[derive(Clone, Debug)]
pub struct EncodedValue(Bytes);

impl EncodedValue {
    /// The bytes of the value.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl From<Bytes> for EncodedValue {
    fn from(value: Bytes) -> Self {
        Self(value)
    }
}
