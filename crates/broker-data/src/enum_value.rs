//! Names of members of enumerations.

use std::fmt;
use std::str::Utf8Error;

use crate::ByteString;

/// Name of a member of an enumeration, such as `Notice::ACTION_LOG`; its number is not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnumValue(ByteString);

impl EnumValue {
    /// Makes the member with this name.
    #[must_use]
    pub fn new(name: impl Into<ByteString>) -> Self {
        Self(name.into())
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &ByteString {
        &self.0
    }

    /// Returns the bytes of the name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Returns the name as text.
    ///
    /// # Errors
    ///
    /// When the name is not UTF-8.
    pub fn to_str(&self) -> Result<&str, Utf8Error> {
        self.0.to_str()
    }

    /// Takes the name out.
    #[must_use]
    pub fn into_name(self) -> ByteString {
        self.0
    }
}

impl<T: Into<ByteString>> From<T> for EnumValue {
    fn from(name: T) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for EnumValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
