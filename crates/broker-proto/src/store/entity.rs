//! The id of one object of an endpoint: a store, a handle of a store, a program that asks for something.
//!
//! Spec: stores 1.2.

use std::fmt;

use crate::id::{ENDPOINT_ID_SIZE, EndpointId};

/// Bytes of an entity on the wire.
pub const ENTITY_ID_SIZE: usize = ENDPOINT_ID_SIZE + 8;

/// Identifies an object on an endpoint. Ordered by endpoint, then by object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntityId {
    /// Where it lives; decides alone whether this is somebody at all.
    pub endpoint: EndpointId,
    /// Which one it is there, never used twice.
    pub object: u64,
}

impl EntityId {
    /// Nobody.
    pub const NIL: Self = Self {
        endpoint: EndpointId::NIL,
        object: 0,
    };

    /// Whether this is nobody.
    pub fn is_nil(&self) -> bool {
        self.endpoint.is_nil()
    }

    /// Takes the bytes as they are on the wire.
    pub fn from_bytes(bytes: &[u8; ENTITY_ID_SIZE]) -> Self {
        let mut endpoint = [0; ENDPOINT_ID_SIZE];
        let mut object = [0; 8];
        let (front, back) = bytes.split_at(ENDPOINT_ID_SIZE);
        endpoint.copy_from_slice(front);
        object.copy_from_slice(back);
        Self {
            endpoint: EndpointId::from_bytes(endpoint),
            object: u64::from_be_bytes(object),
        }
    }

    /// Appends the bytes as they are on the wire.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.endpoint.bytes());
        out.extend_from_slice(&self.object.to_be_bytes());
    }
}

/// `none`, or `<object>@<endpoint>`.
impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_nil() {
            f.write_str("none")
        } else {
            write!(f, "{}@{}", self.object, self.endpoint)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_text() {
        let id = EntityId {
            endpoint: EndpointId::from_bytes([0x50; 16]),
            object: 258,
        };
        let mut bytes = Vec::new();
        id.encode(&mut bytes);
        assert_eq!(bytes[14..], [0x50, 0x50, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(EntityId::from_bytes(bytes.first_chunk().unwrap()), id);
        assert_eq!(id.to_string(), "258@50505050-5050-5050-5050-505050505050");
        assert_eq!(EntityId::NIL.to_string(), "none");
    }

    #[test]
    fn the_endpoint_decides_whether_it_is_somebody() {
        let nobody = EntityId {
            object: 7,
            ..EntityId::NIL
        };
        assert!(nobody.is_nil());
    }
}
