//! Updates of global variables.

use broker_data::{EncodeError, Encoder, Reader, Source, View};

use super::message::content;
use super::{MessageKind, Problem, VERSION};

/// A new value for a global variable of a script. Spec: zeek 1.4.
///
/// Zeek converts the value to the declared type and only warns when it does not know the name or
/// the value does not fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IdentifierUpdate<'a> {
    name: &'a [u8],
    value: View<'a>,
}

impl<'a> IdentifierUpdate<'a> {
    /// Makes an update of the variable with this name.
    #[must_use]
    pub fn new<N: AsRef<[u8]> + ?Sized>(name: &'a N, value: View<'a>) -> Self {
        let name = name.as_ref();
        Self { name, value }
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Problem> {
        let mut elements = content(reader, MessageKind::IdentifierUpdate)?;
        let update = Self {
            name: elements.string("name")?,
            value: elements.any("value")?,
        };
        elements.finish()?;
        Ok(update)
    }

    /// Returns the name, with its module if it has one.
    #[must_use]
    pub const fn name(&self) -> &'a [u8] {
        self.name
    }

    /// Returns the value.
    #[must_use]
    pub const fn value(&self) -> View<'a> {
        self.value
    }
}

impl Source for IdentifierUpdate<'_> {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.vector(3, |enc| {
            enc.count(VERSION);
            enc.count(MessageKind::IdentifierUpdate.number());
            enc.vector(2, |enc| {
                enc.string(self.name)?;
                enc.encode(&self.value)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use broker_data::to_bytes;

    use super::*;
    use crate::Message;

    #[test]
    fn what_is_built_can_be_parsed() {
        let value = to_bytes(&[1_u64, 2]).unwrap();
        let update = IdentifierUpdate::new("Site::x", View::new(&value).unwrap());
        let bytes = to_bytes(&update).unwrap();
        assert_eq!(
            Message::parse(View::new(&bytes).unwrap()),
            Message::IdentifierUpdate(update)
        );
    }
}
