//! Events.

use broker_data::{
    DecodeError, DecodeErrorKind, Elements, EncodeError, Encoder, Kind, Reader, Source, Timestamp,
    View,
};

use super::message::{content, is_metadata, value};
use super::{MessageKind, Problem, VERSION};

/// Metadata with this key is the network timestamp. Spec: zeek 1.1.
pub const NETWORK_TIMESTAMP: u64 = 1;

/// First key of metadata that is free for users; Zeek keeps those below to itself.
pub const USER_METADATA_START: u64 = 200;

/// An event: a name, arguments, perhaps metadata.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event<'a> {
    name: &'a [u8],
    arguments: View<'a>,
    metadata: Option<View<'a>>,
}

impl<'a> Event<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Problem> {
        let mut elements = content(reader, MessageKind::Event)?;
        let name = elements.string("name")?;
        let arguments = elements.vector("arguments")?;
        let metadata = if elements.is_empty() {
            None
        } else {
            Some(elements.any("metadata")?)
        };
        if let Some(entries) = metadata
            && !is_metadata(entries, NETWORK_TIMESTAMP)
        {
            const EXPECTED: &str =
                "a vector of pairs, a count and a value each, for key 1 a timestamp";
            return Err(elements.problem("metadata", EXPECTED, Some(entries.kind())));
        }
        elements.finish()?;
        Ok(Self {
            name,
            arguments,
            metadata,
        })
    }

    /// Returns the fully qualified name, such as `Cluster::hello`.
    #[must_use]
    pub const fn name(&self) -> &'a [u8] {
        self.name
    }

    /// Returns the vector of arguments.
    #[must_use]
    pub const fn arguments(&self) -> View<'a> {
        self.arguments
    }

    /// Visits the metadata: keys and values, as sent. Keys can repeat; the first counts.
    #[must_use]
    pub fn metadata(&self) -> Metadata<'a> {
        Metadata(self.metadata.map(|entries| entries.elements()))
    }

    /// Returns the vector of metadata as it came; Zeek sends an empty one, too.
    #[must_use]
    pub const fn raw_metadata(&self) -> Option<View<'a>> {
        self.metadata
    }

    /// Returns the first value under a key of the metadata.
    #[must_use]
    pub fn metadata_value(&self, key: u64) -> Option<View<'a>> {
        self.metadata()
            .find_map(|(found, value)| (found == key).then_some(value))
    }

    /// Returns the time of the event in terms of the traffic that Zeek looks at.
    #[must_use]
    pub fn network_time(&self) -> Option<Timestamp> {
        self.metadata_value(NETWORK_TIMESTAMP)?.as_timestamp()
    }
}

/// Visits the metadata of an event; see [`Event::metadata`].
#[derive(Clone, Debug)]
pub struct Metadata<'a>(Option<Elements<'a>>);

impl<'a> Iterator for Metadata<'a> {
    type Item = (u64, View<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut fields = self.0.as_mut()?.next()?.elements();
        Some((fields.next()?.as_count()?, fields.next()?))
    }
}

impl Source for Event<'_> {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        encode_event(self.name, &self.arguments, self.metadata.as_ref(), enc)
    }
}

fn encode_event(
    name: &[u8],
    arguments: &impl Source,
    metadata: Option<&impl Source>,
    enc: &mut Encoder<'_>,
) -> Result<(), EncodeError> {
    enc.vector(3, |enc| {
        enc.count(VERSION);
        enc.count(MessageKind::Event.number());
        let length = if metadata.is_some() { 3 } else { 2 };
        enc.vector(length, |enc| {
            enc.string(name)?;
            enc.encode(arguments)?;
            metadata.map_or(Ok(()), |entries| enc.encode(entries))
        })
    })
}

/// Encoded values that become a vector.
#[derive(Clone, Debug, Default)]
struct Items {
    bytes: Vec<u8>,
    length: usize,
}

impl Items {
    fn push<S: Source + ?Sized>(&mut self, source: &S) -> Result<(), EncodeError> {
        Encoder::new(&mut self.bytes).encode(source)?;
        self.length = self.length.saturating_add(1);
        Ok(())
    }
}

impl Source for Items {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.vector(self.length, |enc| {
            let mut reader = Reader::new(&self.bytes);
            while reader.remaining() > 0 {
                enc.encode(&value(&mut reader)?)?;
            }
            Ok(())
        })
    }
}

/// Makes an event; publish it like any other value.
///
/// An unsigned number is a Zeek `count`, a signed one an `int`: with the wrong one of the two Zeek
/// drops the event. An argument that cannot be encoded makes publishing fail.
///
/// ```
/// use broker_data::Timestamp;
/// use broker_data::to_bytes;
/// use broker_zeek::EventBuilder;
///
/// let event = EventBuilder::new("ping")
///     .argument("hello")
///     .argument(&3_u64)
///     .network_time(Timestamp::from_ns(5));
/// # let bytes = to_bytes(&event)?;
/// # let view = broker_data::View::new(&bytes)?;
/// assert_eq!(view.to_string(), "(1, 1, (ping, (hello, 3), ((1, 5ns))))");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct EventBuilder {
    name: Vec<u8>,
    arguments: Items,
    metadata: Option<Items>,
    failed: Option<EncodeError>,
}

impl EventBuilder {
    /// Starts an event with a fully qualified name.
    #[must_use]
    pub fn new(name: impl AsRef<[u8]>) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            ..Self::default()
        }
    }

    /// Appends an argument.
    #[must_use]
    pub fn argument<S: Source + ?Sized>(mut self, argument: &S) -> Self {
        let result = self.arguments.push(argument);
        self.note(result);
        self
    }

    /// Appends metadata. The value under key 1 has to be a timestamp.
    #[must_use]
    pub fn metadata<S: Source + ?Sized>(mut self, key: u64, value: &S) -> Self {
        let entries = self.metadata.get_or_insert_default();
        let start = entries.bytes.len();
        let mut result = entries.push(&(key, value));
        // The vector's head takes two bytes, the count nine.
        let tag = entries.bytes.get(start.saturating_add(11)).copied();
        if key == NETWORK_TIMESTAMP && tag != Some(Kind::Timestamp.tag()) && result.is_ok() {
            const WHAT: &str = "a timestamp under key 1 of the metadata";
            result = Err(DecodeError::new(0, DecodeErrorKind::Other(WHAT)).into());
        }
        self.note(result);
        self
    }

    /// Appends the time of the event in terms of the traffic that Zeek looks at.
    #[must_use]
    pub fn network_time(self, time: Timestamp) -> Self {
        self.metadata(NETWORK_TIMESTAMP, &time)
    }

    fn note(&mut self, result: Result<(), EncodeError>) {
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }
}

impl Source for EventBuilder {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None => encode_event(&self.name, &self.arguments, self.metadata.as_ref(), enc),
        }
    }
}

#[cfg(feature = "serde")]
mod typed {
    use broker_data::{SerdeError, Value, from_value, to_value};
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::{Event, EventBuilder};

    /// Arguments of an event that do not fit a type of the program.
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    #[error("event `{event}`: {source}")]
    pub struct EventError {
        /// Name of the event.
        pub event: String,
        /// Which argument, what was expected and what was found.
        pub source: SerdeError,
    }

    impl Event<'_> {
        /// Reads the arguments as a type of the program: the fields of a struct, or the elements
        /// of a tuple, in their order.
        ///
        /// ```
        /// use broker_data::{View, to_bytes};
        /// use broker_zeek::{EventBuilder, Message};
        /// use serde::Deserialize;
        ///
        /// #[derive(Deserialize)]
        /// struct Ping { text: String, n: u64 }
        ///
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// let bytes = to_bytes(&EventBuilder::new("ping").argument("a").argument(&-1_i64))?;
        /// let Message::Event(event) = Message::parse(View::new(&bytes)?) else { panic!() };
        /// let error = event.arguments_as::<Ping>().err().map(|error| error.to_string());
        /// assert_eq!(error.as_deref(), Some("event `ping`: `n`: expected count, found integer"));
        /// assert_eq!(event.arguments_as::<(String, i64)>()?, ("a".to_owned(), -1));
        /// # Ok(())
        /// # }
        /// ```
        ///
        /// # Errors
        ///
        /// Says which argument of which event does not fit, what was expected and what was found.
        pub fn arguments_as<T: DeserializeOwned>(&self) -> Result<T, EventError> {
            let value = self.arguments.to_value();
            from_value(&value).map_err(|source| EventError {
                event: String::from_utf8_lossy(self.name).into_owned(),
                source,
            })
        }
    }

    impl EventBuilder {
        /// Appends the fields of a struct, or the elements of a tuple, as arguments.
        ///
        /// # Errors
        ///
        /// When the type cannot be serialized, or does not become a vector.
        pub fn arguments_of<T: Serialize + ?Sized>(
            mut self,
            arguments: &T,
        ) -> Result<Self, SerdeError> {
            match to_value(arguments)? {
                Value::Vector(values) => {
                    for value in &values {
                        self = self.argument(value);
                    }
                    Ok(self)
                }
                other => Err(SerdeError::Kind {
                    expected: "vector",
                    found: other.kind(),
                }),
            }
        }
    }
}

#[cfg(feature = "serde")]
pub use typed::EventError;

#[cfg(test)]
mod tests {
    use broker_data::{View, to_bytes};
    use proptest::prelude::*;

    use super::*;
    use crate::Message;

    fn parse(bytes: &[u8]) -> Event<'_> {
        match Message::parse(View::new(bytes).unwrap()) {
            Message::Event(event) => event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_bytes_of_zeek() {
        let bytes = to_bytes(
            &EventBuilder::new("Supervisor::node_status")
                .argument("TEST")
                .argument(&42_u64)
                .network_time(Timestamp::EPOCH),
        )
        .unwrap();
        // Spec: zeek 1.1
        let expected = "0e030200000000000000010200000000000000010e03051753757065727669736f723a3a\
                        6e6f64655f7374617475730e0205045445535402000000000000002a0e010e0202000000\
                        0000000001090000000000000000";
        assert_eq!(hex::encode(&bytes), expected);
        let event = parse(&bytes);
        assert_eq!(event.name(), b"Supervisor::node_status");
        assert_eq!(event.network_time(), Some(Timestamp::EPOCH));
        assert_eq!(to_bytes(&event).unwrap(), bytes);
    }

    #[test]
    fn metadata_can_be_missing_empty_or_unknown() {
        let bytes = to_bytes(&EventBuilder::new("x")).unwrap();
        let event = parse(&bytes);
        assert!(event.raw_metadata().is_none() && event.metadata().next().is_none());
        assert_eq!(event.network_time(), None);

        let bytes = to_bytes(&(1_u64, 1_u64, ("x", [0_u64; 0], [0_u64; 0]))).unwrap();
        let event = parse(&bytes);
        assert!(event.raw_metadata().is_some() && event.metadata().next().is_none());
        assert_eq!(to_bytes(&event).unwrap(), bytes);

        let event = EventBuilder::new("x")
            .metadata(USER_METADATA_START, "v")
            .metadata(USER_METADATA_START, "w");
        let bytes = to_bytes(&event).unwrap();
        let event = parse(&bytes);
        let value = event.metadata_value(USER_METADATA_START);
        assert_eq!(value.and_then(|value| value.as_str()), Some("v"));
        assert_eq!(event.metadata().count(), 2);
        assert_eq!(event.network_time(), None);
    }

    #[test]
    fn what_would_be_invalid_is_not_sent() {
        assert!(to_bytes(&EventBuilder::new("x").metadata(1, "late")).is_err());
        let late = std::time::Duration::MAX;
        assert!(to_bytes(&EventBuilder::new("x").argument(&late)).is_err());
    }

    #[cfg(feature = "serde")]
    mod typed {
        use broker_data::{EnumValue, Timespan, to_value};
        use serde::{Deserialize, Serialize};

        use super::*;

        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Inner {
            number: u64,
            note: Option<String>,
        }

        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        enum Color {
            Red,
            Green,
        }

        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Arguments {
            inner: Inner,
            span: Timespan,
            color: Color,
            list: Vec<i64>,
        }

        fn arguments() -> Arguments {
            Arguments {
                inner: Inner {
                    number: 7,
                    note: None,
                },
                span: Timespan::from_secs(1),
                color: Color::Green,
                list: vec![1, -2],
            }
        }

        #[test]
        fn structs_go_through_an_event() {
            let event = EventBuilder::new("x").arguments_of(&arguments()).unwrap();
            let bytes = to_bytes(&event).unwrap();
            let view = View::new(&bytes).unwrap();
            assert_eq!(
                view.to_string(),
                "(1, 1, (x, ((7, nil), 1000000000ns, Green, (1, -2))))"
            );
            assert_eq!(parse(&bytes).arguments_as::<Arguments>(), Ok(arguments()));
        }

        #[test]
        fn a_mismatch_is_named() {
            let mut value = to_value(&arguments()).unwrap();
            let error = |value: &broker_data::Value| {
                let bytes = to_bytes(&(1_u64, 1_u64, ("x", value))).unwrap();
                let error = parse(&bytes).arguments_as::<Arguments>().unwrap_err();
                error.to_string()
            };
            let broker_data::Value::Vector(fields) = &mut value else {
                panic!("a struct is a vector");
            };
            fields[0] = broker_data::Value::Vector(vec!["seven".into(), ().into()]);
            assert_eq!(
                error(&value),
                "event `x`: `inner.number`: expected count, found string"
            );
            let broker_data::Value::Vector(fields) = &mut value else {
                panic!("a struct is a vector");
            };
            fields[0] = to_value(&arguments().inner).unwrap();
            fields[1] = EnumValue::new("a").into();
            assert_eq!(
                error(&value),
                "event `x`: `span`: expected timespan, found enum-value"
            );
            let broker_data::Value::Vector(fields) = &mut value else {
                panic!("a struct is a vector");
            };
            fields[1] = Timespan::ZERO.into();
            fields[3] = vec![broker_data::Value::Integer(1), true.into()].into();
            assert_eq!(
                error(&value),
                "event `x`: `list[1]`: expected integer, found boolean"
            );
        }

        #[test]
        fn arguments_are_vectors() {
            assert!(EventBuilder::new("x").arguments_of(&7).is_err());
            assert!(EventBuilder::new("x").arguments_of(&()).is_err());
        }
    }

    proptest! {
        #[test]
        fn built_events_come_back(
            name in "[a-z_]{1,12}",
            numbers in proptest::collection::vec(any::<i64>(), 0..6),
            texts in proptest::collection::vec(any::<String>(), 0..6),
            time in proptest::option::of(any::<i64>()),
        ) {
            let mut event = EventBuilder::new(&name);
            for number in &numbers {
                event = event.argument(number);
            }
            for text in &texts {
                event = event.argument(text);
            }
            if let Some(time) = time {
                event = event.network_time(Timestamp::from_ns(time));
            }
            let bytes = to_bytes(&event).unwrap();
            let event = parse(&bytes);
            prop_assert_eq!(event.name(), name.as_bytes());
            prop_assert_eq!(event.arguments().len(), numbers.len() + texts.len());
            prop_assert_eq!(event.network_time(), time.map(Timestamp::from_ns));
            prop_assert_eq!(to_bytes(&event).unwrap(), bytes);
        }
    }
}
