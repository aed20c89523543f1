//! Store events: messages to local subscribers about the changes of a store.
//!
//! Spec: stores 7.6. Events are ordinary values, published on a topic that never leaves the
//! endpoint, by whichever of master and clone lives there.

use broker_data::{ByteString, EncodeError, Encoder, Timespan, View};

use crate::id::EndpointId;
use crate::store::entity::EntityId;
use crate::topic::Topic;

/// The topic of the events of all stores; that of one store has its name behind a slash.
pub const STORE_EVENTS: &str = "<$>/local/data/store-events";

/// The topic of the events of one store.
pub fn topic(store: &str) -> Topic {
    Topic::from(STORE_EVENTS).join(&Topic::from(store))
}

/// One change of a store, its values still encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreEvent<'a> {
    /// Name of the store.
    pub store: &'a [u8],
    /// The key.
    pub key: View<'a>,
    /// What happened to it.
    pub change: Change<'a>,
    /// The master or clone through which it was made; nil if unknown.
    pub publisher: EntityId,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// It appeared.
    Insert {
        /// Its value.
        value: View<'a>,
        /// The time it was given.
        expiry: Option<Timespan>,
    },
    /// It got another value.
    Update {
        /// What it was.
        old: View<'a>,
        /// What it is.
        value: View<'a>,
        /// The time it was given.
        expiry: Option<Timespan>,
    },
    /// It was removed.
    Erase,
    /// Its time was over.
    Expire,
}

impl<'a> StoreEvent<'a> {
    /// Encodes the event as a value.
    ///
    /// # Errors
    ///
    /// Key or value nest too deeply to be put into a vector.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::new();
        let (name, count) = match self.change {
            Change::Insert { .. } => ("insert", 7),
            Change::Update { .. } => ("update", 8),
            Change::Erase => ("erase", 5),
            Change::Expire => ("expire", 5),
        };
        Encoder::new(&mut out).vector(count, |out| {
            out.string(name.as_bytes())?;
            out.string(self.store)?;
            out.encode(&self.key)?;
            match &self.change {
                Change::Insert { value, expiry } => {
                    out.encode(value)?;
                    out.encode(expiry)?;
                }
                Change::Update { old, value, expiry } => {
                    out.encode(old)?;
                    out.encode(value)?;
                    out.encode(expiry)?;
                }
                Change::Erase | Change::Expire => {}
            }
            if self.publisher.is_nil() {
                out.none();
                out.none();
            } else {
                out.string(self.publisher.endpoint.to_string().as_bytes())?;
                out.count(self.publisher.object);
            }
            Ok::<(), EncodeError>(())
        })?;
        Ok(out)
    }

    /// Reads the value of an event; `None` if it is something else.
    pub fn from_view(view: View<'a>) -> Option<Self> {
        let fields: Vec<View<'a>> = view.elements().take(9).collect();
        let name = fields.first()?.as_bytes()?;
        let (change, count) = match name {
            b"insert" => {
                let value = *fields.get(3)?;
                let expiry = read_expiry(fields.get(4)?)?;
                (Change::Insert { value, expiry }, 7)
            }
            b"update" => {
                let (old, value) = (*fields.get(3)?, *fields.get(4)?);
                let expiry = read_expiry(fields.get(5)?)?;
                (Change::Update { old, value, expiry }, 8)
            }
            b"erase" => (Change::Erase, 5),
            b"expire" => (Change::Expire, 5),
            _ => return None,
        };
        if fields.len() != count {
            return None;
        }
        let [.., endpoint, object] = fields.as_slice() else {
            return None;
        };
        Some(Self {
            store: fields.get(1)?.as_bytes()?,
            key: *fields.get(2)?,
            change,
            publisher: read_publisher(endpoint, object)?,
        })
    }

    /// The store's name as text, with replacements for what is no UTF-8.
    pub fn store_name(&self) -> String {
        ByteString::from(self.store).to_string_lossy().into_owned()
    }
}

fn read_expiry(view: &View<'_>) -> Option<Option<Timespan>> {
    if view.is_none() {
        Some(None)
    } else {
        view.as_timespan().map(Some)
    }
}

fn read_publisher(endpoint: &View<'_>, object: &View<'_>) -> Option<EntityId> {
    if endpoint.is_none() && object.is_none() {
        return Some(EntityId::NIL);
    }
    Some(EntityId {
        endpoint: EndpointId::parse_any(endpoint.as_str()?)?,
        object: object.as_count()?,
    })
}

#[cfg(test)]
mod tests {
    use broker_data::to_bytes;

    use super::*;

    const PUBLISHER: EntityId = EntityId {
        endpoint: EndpointId::from_bytes([0x51; 16]),
        object: 7,
    };

    fn round_trip(change: Change<'_>, publisher: EntityId) -> String {
        let key = to_bytes("k").unwrap();
        let event = StoreEvent {
            store: b"s",
            key: View::trusted(&key),
            change,
            publisher,
        };
        let bytes = event.encode().unwrap();
        let view = View::new(&bytes).unwrap();
        assert_eq!(StoreEvent::from_view(view), Some(event));
        view.to_string()
    }

    #[test]
    fn every_kind_is_written_and_read() {
        let (old, new) = (to_bytes(&1_u64).unwrap(), to_bytes(&2_u64).unwrap());
        let (old, value) = (View::trusted(&old), View::trusted(&new));
        let id = "51515151-5151-5151-5151-515151515151, 7";
        let expiry = Some(Timespan::from_ns(5));
        let insert = round_trip(Change::Insert { value, expiry }, PUBLISHER);
        assert_eq!(insert, format!("(insert, s, k, 2, 5ns, {id})"));
        let update = Change::Update {
            old,
            value,
            expiry: None,
        };
        let update = round_trip(update, PUBLISHER);
        assert_eq!(update, format!("(update, s, k, 1, 2, nil, {id})"));
        assert_eq!(
            round_trip(Change::Erase, EntityId::NIL),
            "(erase, s, k, nil, nil)"
        );
        assert_eq!(
            round_trip(Change::Expire, PUBLISHER),
            format!("(expire, s, k, {id})")
        );
    }

    #[test]
    fn what_is_almost_an_event_is_none() {
        let nothing: Option<u64> = None;
        let not_events = [
            to_bytes(&("erase", "s", 1_u64, nothing)).unwrap(),
            to_bytes(&("erase", "s", 1_u64, nothing, nothing, nothing)).unwrap(),
            to_bytes(&("erase", 5_u64, 1_u64, nothing, nothing)).unwrap(),
            to_bytes(&("erase", "s", 1_u64, "no id", 1_u64)).unwrap(),
            to_bytes(&("erase", "s", 1_u64, nothing, 1_u64)).unwrap(),
            to_bytes(&("insert", "s", 1_u64, 2_u64, "soon", nothing, nothing)).unwrap(),
            to_bytes(&("vanish", "s", 1_u64, nothing, nothing)).unwrap(),
            to_bytes("erase").unwrap(),
        ];
        for bytes in &not_events {
            let view = View::new(bytes).unwrap();
            assert_eq!(StoreEvent::from_view(view), None, "{view}");
        }
    }

    #[test]
    fn topics_of_stores_are_below_that_of_all() {
        assert_eq!(topic("a/b").to_string(), format!("{STORE_EVENTS}/a/b"));
    }
}
