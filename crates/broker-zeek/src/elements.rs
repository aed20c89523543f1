//! Takes the content of a message apart, one element after the other.

use broker_data::{Item, Kind, Reader, View};

use super::message::value;
use super::{MessageKind, Problem};

/// The elements of a content vector that are still to come.
pub(super) struct Elements<'r, 'a> {
    reader: &'r mut Reader<'a>,
    message: MessageKind,
    left: usize,
}

impl<'r, 'a> Elements<'r, 'a> {
    pub(super) fn new(reader: &'r mut Reader<'a>, message: MessageKind, length: usize) -> Self {
        Self {
            reader,
            message,
            left: length,
        }
    }

    /// Makes the error for an element.
    #[cold]
    pub(super) fn problem(
        &self,
        element: &'static str,
        expected: &'static str,
        found: Option<Kind>,
    ) -> Problem {
        let message = self.message;
        Problem::Element {
            message,
            element,
            expected,
            found,
        }
    }

    fn next(&mut self, element: &'static str, expected: &'static str) -> Result<Item<'a>, Problem> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(self.reader.next_item()?)
            }
            None => Err(self.problem(element, expected, None)),
        }
    }

    /// Takes the bytes of a string.
    pub(super) fn string(&mut self, element: &'static str) -> Result<&'a [u8], Problem> {
        const EXPECTED: &str = "a string";
        match self.next(element, EXPECTED)? {
            Item::String(bytes) => Ok(bytes),
            other => Err(self.problem(element, EXPECTED, Some(other.kind()))),
        }
    }

    /// Takes the name of an enum value.
    pub(super) fn enum_value(&mut self, element: &'static str) -> Result<&'a [u8], Problem> {
        const EXPECTED: &str = "an enum value";
        match self.next(element, EXPECTED)? {
            Item::EnumValue(bytes) => Ok(bytes),
            other => Err(self.problem(element, EXPECTED, Some(other.kind()))),
        }
    }

    /// Takes a value of any kind.
    pub(super) fn any(&mut self, element: &'static str) -> Result<View<'a>, Problem> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(value(self.reader)?)
            }
            None => Err(self.problem(element, "any value", None)),
        }
    }

    /// Takes a vector.
    pub(super) fn vector(&mut self, element: &'static str) -> Result<View<'a>, Problem> {
        const EXPECTED: &str = "a vector";
        if self.left == 0 {
            return Err(self.problem(element, EXPECTED, None));
        }
        let view = self.any(element)?;
        match view.kind() {
            Kind::Vector => Ok(view),
            kind => Err(self.problem(element, EXPECTED, Some(kind))),
        }
    }

    /// The number of elements still to come.
    pub(super) fn into_length(self) -> usize {
        self.left
    }

    /// Tells whether there is nothing left to take.
    pub(super) fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Passes over the elements that nobody asked for.
    pub(super) fn finish(self) -> Result<(), Problem> {
        for _ in 0..self.left {
            self.reader.skip_value()?;
        }
        Ok(())
    }
}

/// The value between two positions of a reader.
pub(super) fn into_view<'a>(before: &'a [u8], rest: &[u8]) -> View<'a> {
    let size = before.len().saturating_sub(rest.len());
    View::trusted(before.get(..size).unwrap_or_default())
}
