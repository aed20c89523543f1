//! Status and error events: what an endpoint tells its own application about its peerings.
//!
//! Spec: wire 9.3, 9.4, endpoint 5. Events travel as ordinary values on topics that never leave
//! the endpoint; their codes are those of the wire.

use std::fmt;

use broker_data::{EncodeError, Encoder, Port, Protocol, Source, View};

use crate::id::EndpointId;
use crate::topic::{ERRORS, STATUSES};

/// Text of [`StatusCode::EndpointDiscovered`] events.
pub const TEXT_DISCOVERED: &str = "found a new peer in the network";
/// Text of [`StatusCode::PeerAdded`] events.
pub const TEXT_ADDED: &str = "handshake successful";
/// Text of [`StatusCode::PeerRemoved`] events.
pub const TEXT_REMOVED: &str = "removed connection to remote peer";
/// Text of [`StatusCode::PeerRemoved`] events about a peer that did not take its messages.
pub const TEXT_OVERFLOW: &str =
    "removed connection to remote peer (caf::sec::backpressure_overflow)";
/// Text of [`StatusCode::PeerLost`] events.
pub const TEXT_LOST: &str = "lost connection to remote peer";
/// Text of [`StatusCode::EndpointUnreachable`] events.
pub const TEXT_UNREACHABLE: &str = "lost the last path";
/// Text of [`ErrorCode::PeerUnavailable`] events.
pub const TEXT_UNAVAILABLE: &str = "unable to connect to remote peer";
/// Text of [`ErrorCode::PeerInvalid`] events.
pub const TEXT_INVALID: &str = "cannot unpeer from unknown peer";

/// Begins the text of [`ErrorCode::PeerRefused`] events.
pub const TEXT_REFUSED: &str = "refused an incoming connection";

/// Declares an enum with the numbers and names of the wire.
macro_rules! codes {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $type {
            $($(#[$variant_doc])* $variant = $number,)*
        }

        impl $type {
            /// Every code, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The number on the wire.
            pub const fn number(self) -> u8 {
                self as u8
            }

            /// The code with that number.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The name, as events spell it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The code of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

codes! {
    /// What a status event says.
    StatusCode {
        /// Nothing.
        Unspecified = 0 "unspecified",
        /// A peering is established.
        PeerAdded = 1 "peer_added",
        /// This endpoint ended a peering.
        PeerRemoved = 2 "peer_removed",
        /// The other side ended a peering, or the connection broke.
        PeerLost = 3 "peer_lost",
        /// An endpoint can be reached.
        EndpointDiscovered = 4 "endpoint_discovered",
        /// An endpoint can no longer be reached.
        EndpointUnreachable = 5 "endpoint_unreachable",
    }
}

codes! {
    /// What went wrong. Spec: wire 9.4.
    ErrorCode {
        /// Nothing.
        None = 0 "none",
        /// No further information.
        Unspecified = 1 "unspecified",
        /// The versions of two endpoints do not fit.
        PeerIncompatible = 2 "peer_incompatible",
        /// There is no such peer.
        PeerInvalid = 3 "peer_invalid",
        /// A peer cannot be reached.
        PeerUnavailable = 4 "peer_unavailable",
        /// A peer left in the middle of the handshake.
        PeerDisconnectDuringHandshake = 5 "peer_disconnect_during_handshake",
        /// A peer did not answer in time.
        PeerTimeout = 6 "peer_timeout",
        /// A store has a master already.
        MasterExists = 7 "master_exists",
        /// A store has no master.
        NoSuchMaster = 8 "no_such_master",
        /// A store has no such key.
        NoSuchKey = 9 "no_such_key",
        /// A store did not answer in time.
        RequestTimeout = 10 "request_timeout",
        /// An operation does not suit the type of a value.
        TypeClash = 11 "type_clash",
        /// A value is not what was expected.
        InvalidData = 12 "invalid_data",
        /// A storage backend failed.
        BackendFailure = 13 "backend_failure",
        /// A clone has lost touch with its master.
        StaleData = 14 "stale_data",
        /// A file cannot be opened.
        CannotOpenFile = 15 "cannot_open_file",
        /// A file cannot be written.
        CannotWriteFile = 16 "cannot_write_file",
        /// A topic does not belong to a store.
        InvalidTopicKey = 17 "invalid_topic_key",
        /// A file ended early.
        EndOfFile = 18 "end_of_file",
        /// A tag is unknown.
        InvalidTag = 19 "invalid_tag",
        /// A message is malformed.
        InvalidMessage = 20 "invalid_message",
        /// A status event is malformed.
        InvalidStatus = 21 "invalid_status",
        /// A value cannot be converted.
        ConversionFailed = 22 "conversion_failed",
        /// A consumer exists already.
        ConsumerExists = 23 "consumer_exists",
        /// A store's producer or consumer fell silent.
        ConnectionTimeout = 24 "connection_timeout",
        /// A function was called on an object in the wrong state.
        BadMemberFunctionCall = 25 "bad_member_function_call",
        /// A request's number is in use.
        RepeatedRequestId = 26 "repeated_request_id",
        /// A clone cannot recover.
        BrokenClone = 27 "broken_clone",
        /// The endpoint is shutting down.
        ShuttingDown = 28 "shutting_down",
        /// A peering was asked for in a wrong way.
        InvalidPeeringRequest = 29 "invalid_peering_request",
        /// A handshake was begun twice.
        RepeatedPeeringHandshakeRequest = 30 "repeated_peering_handshake_request",
        /// A handshake message came out of order.
        UnexpectedHandshakeMessage = 31 "unexpected_handshake_message",
        /// A handshake is in no known state.
        InvalidHandshakeState = 32 "invalid_handshake_state",
        /// No path leads to a peer.
        NoPathToPeer = 33 "no_path_to_peer",
        /// The endpoint has no network.
        NoConnectorAvailable = 34 "no_connector_available",
        /// A resource cannot be opened.
        CannotOpenResource = 35 "cannot_open_resource",
        /// A value cannot be encoded.
        SerializationFailed = 36 "serialization_failed",
        /// A value cannot be decoded.
        DeserializationFailed = 37 "deserialization_failed",
        /// The other side speaks another protocol.
        WrongMagicNumber = 38 "wrong_magic_number",
        /// Two endpoints are connected already.
        RedundantConnection = 39 "redundant_connection",
        /// Something that should not happen.
        LogicError = 40 "logic_error",
        /// A text is not JSON. Never on the wire.
        InvalidJson = 41 "invalid_json",
        /// A consumer or a peer lost messages to its overflow policy. Of this implementation, for
        /// events of the own endpoint only. See ADR 0121.
        MessagesLost = 200 "messages_lost",
        /// An incoming connection did not become a peering. As [`MessagesLost`](Self::MessagesLost).
        PeerRefused = 201 "peer_refused",
        /// Messages go round in a circle through endpoints of other implementations. As
        /// [`MessagesLost`](Self::MessagesLost). See ADR 0150.
        ForwardingLoop = 202 "forwarding_loop",
    }
}

/// The first number of codes that are not of the protocol: those never leave the endpoint.
const LOCAL_CODES_MIN: u8 = 200;

impl ErrorCode {
    /// Whether the protocol knows the code. Others occur in events of the own endpoint only.
    pub const fn is_of_protocol(self) -> bool {
        self.number() < LOCAL_CODES_MIN
    }
}

/// State of a peer as the application sees it. The numbers are those of the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PeerStatus {
    /// Known, nothing done yet.
    Initialized = 0,
    /// The handshake is under way.
    Connecting = 1,
    /// The handshake is done.
    Connected = 2,
    /// Messages flow.
    Peered = 3,
    /// The connection ended.
    Disconnected = 4,
    /// The connection ended and another handshake is under way.
    Reconnecting = 5,
    /// No such peer.
    Unknown = 6,
}

/// Where a peer is, or was expected to be.
///
/// For an outgoing peering these are the words of the application: a name stays a name. For an
/// incoming one it is the remote socket's numeric address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkAddress {
    /// Host name or numeric address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whole seconds between attempts, 0 if there is just one.
    pub retry_seconds: u64,
}

impl NetworkAddress {
    /// An address that nobody dials again by itself.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            retry_seconds: 0,
        }
    }

    /// Whether both name the same place; how often it is tried does not matter. Spec: wire 11.
    pub fn is_same_place(&self, host: &str, port: u16) -> bool {
        self.port == port && self.host == host
    }
}

impl fmt::Display for NetworkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL has its port inside. A host name or address has no slash.
        if self.host.contains("://") {
            return f.write_str(&self.host);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Whom an event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointInfo {
    /// Its id, if known.
    pub id: Option<EndpointId>,
    /// Its address, if known.
    pub network: Option<NetworkAddress>,
}

/// A status event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What happened.
    pub code: StatusCode,
    /// To whom; missing only in [`StatusCode::Unspecified`].
    pub context: Option<EndpointInfo>,
    /// In words.
    pub text: String,
}

/// An error event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What went wrong.
    pub code: ErrorCode,
    /// With whom.
    pub context: Option<EndpointInfo>,
    /// In words.
    pub text: String,
    /// Of [`ErrorCode::MessagesLost`]: what was lost.
    pub loss: Option<Loss>,
}

impl Fault {
    /// A failure that is no loss of messages.
    pub const fn new(code: ErrorCode, context: Option<EndpointInfo>, text: String) -> Self {
        Self {
            code,
            context,
            text,
            loss: None,
        }
    }
}

/// What a consumer lost, in an event that tells of it. See ADR 0155.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loss {
    /// How many messages; `None` in the event that tells of the beginning, when more may follow.
    pub count: Option<u64>,
    /// Topics of the consumer if it is a subscriber, the first few of them; of others none.
    pub topics: Vec<String>,
    /// The overflow policy that dropped them, by the name that configuration files use.
    pub reason: String,
}

/// Something an endpoint tells its application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A change of a peering.
    Status(Status),
    /// A failure.
    Error(Fault),
}

impl Event {
    /// The topic it is published under.
    pub const fn topic(&self) -> &'static str {
        match self {
            Self::Status(_) => STATUSES,
            Self::Error(_) => ERRORS,
        }
    }

    /// Reads the value of an event; `None` if it is something else.
    pub fn from_view(view: View<'_>) -> Option<Self> {
        let mut fields = view.elements();
        let kind = fields.next()?;
        let name = fields.next()?.as_enum()?;
        let name = std::str::from_utf8(name).ok()?;
        match kind.as_bytes()? {
            b"status" => {
                let code = StatusCode::from_name(name)?;
                let (context, text) = match code {
                    StatusCode::Unspecified => (None, String::new()),
                    _ => (Some(read_info(fields.next()?)?), read_text(fields.next()?)?),
                };
                Some(Self::Status(Status {
                    code,
                    context,
                    text,
                }))
            }
            b"error" => {
                let code = ErrorCode::from_name(name)?;
                read_fault(code, fields.next()?).map(Self::Error)
            }
            _ => None,
        }
    }
}

impl From<Status> for Event {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<Fault> for Event {
    fn from(fault: Fault) -> Self {
        Self::Error(fault)
    }
}

impl Source for Event {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        match self {
            Self::Status(status) => status.encode(enc),
            Self::Error(fault) => fault.encode(enc),
        }
    }
}

impl Source for Status {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.vector::<EncodeError>(4, |enc| {
            enc.string(b"status")?;
            enc.enum_value(self.code.name().as_bytes())?;
            match &self.context {
                Some(info) => {
                    info.encode(enc)?;
                    enc.string(self.text.as_bytes())?;
                }
                None => {
                    enc.none();
                    enc.none();
                }
            }
            Ok(())
        })
    }
}

impl Source for Fault {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.vector::<EncodeError>(3, |enc| {
            enc.string(b"error")?;
            enc.enum_value(self.code.name().as_bytes())?;
            match (&self.context, &self.loss) {
                (context, Some(loss)) => enc.vector::<EncodeError>(3, |enc| {
                    match context {
                        Some(info) => info.encode(enc)?,
                        None => enc.none(),
                    }
                    enc.string(self.text.as_bytes())?;
                    loss.encode(enc)
                }),
                (Some(info), None) => enc.vector::<EncodeError>(2, |enc| {
                    info.encode(enc)?;
                    enc.string(self.text.as_bytes())
                }),
                (None, None) if self.text.is_empty() => {
                    enc.none();
                    Ok(())
                }
                (None, None) => {
                    enc.vector::<EncodeError>(1, |enc| enc.string(self.text.as_bytes()))
                }
            }
        })
    }
}

impl Source for Loss {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.vector::<EncodeError>(3, |enc| {
            match self.count {
                Some(count) => enc.count(count),
                None => enc.none(),
            }
            enc.vector::<EncodeError>(self.topics.len(), |enc| {
                self.topics
                    .iter()
                    .try_for_each(|topic| enc.string(topic.as_bytes()))
            })?;
            enc.string(self.reason.as_bytes())
        })
    }
}

impl Source for EndpointInfo {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.vector::<EncodeError>(4, |enc| {
            match self.id {
                Some(id) => enc.string(id.to_string().as_bytes())?,
                None => enc.none(),
            }
            match &self.network {
                Some(network) => {
                    enc.string(network.host.as_bytes())?;
                    enc.port(Port::new(network.port, Protocol::Tcp));
                    enc.count(network.retry_seconds);
                }
                None => {
                    enc.none();
                    enc.none();
                    enc.none();
                }
            }
            Ok(())
        })
    }
}

fn read_text(view: View<'_>) -> Option<String> {
    view.as_bytes()
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// The context of an error is `none`, a text, an endpoint and a text, or, of a loss, an endpoint or
/// `none`, a text, and what was lost.
fn read_fault(code: ErrorCode, context: View<'_>) -> Option<Fault> {
    let mut fields = context.elements();
    let (context, text, loss) = match (fields.next(), fields.next(), fields.next()) {
        (None, ..) => (None, String::new(), None),
        (Some(text), None, _) => (None, read_text(text)?, None),
        (Some(info), Some(text), None) => (Some(read_info(info)?), read_text(text)?, None),
        (Some(info), Some(text), Some(loss)) => {
            let context = if info.is_none() {
                None
            } else {
                Some(read_info(info)?)
            };
            (context, read_text(text)?, Some(read_loss(loss)?))
        }
    };
    Some(Fault {
        code,
        context,
        text,
        loss,
    })
}

fn read_loss(view: View<'_>) -> Option<Loss> {
    let mut fields = view.elements();
    let (count, topics, reason) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Loss {
        count: count.as_count(),
        topics: topics.elements().map(read_text).collect::<Option<_>>()?,
        reason: read_text(reason)?,
    })
}

/// The id may be any 16 bytes: an event about a peer with an odd id is better than none.
/// See ADR 0016.
fn read_info(view: View<'_>) -> Option<EndpointInfo> {
    let mut fields = view.elements();
    let (id, host, port, retry) = (
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    );
    let id = match read_text(id) {
        Some(text) => Some(EndpointId::parse_any(&text)?),
        None => None,
    };
    let network = match (read_text(host), port.as_port(), retry.as_count()) {
        (Some(host), Some(port), Some(retry_seconds)) => Some(NetworkAddress {
            host,
            port: port.number(),
            retry_seconds,
        }),
        (None, None, None) => None,
        _ => return None,
    };
    Some(EndpointInfo { id, network })
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.fmt(f),
            Self::Error(fault) => fault.fmt(f),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.code)?;
        if let Some(info) = &self.context {
            write!(f, "{}, ", info.id.unwrap_or(EndpointId::NIL))?;
            if let Some(network) = &info.network {
                write!(f, "{network}, ")?;
            }
        }
        write!(f, "\"{}\")", self.text)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(info) = &self.context else {
            return match self.text.as_str() {
                "" => write!(f, "{}", self.code),
                text => write!(f, "{}(\"{text}\")", self.code),
            };
        };
        let id = info.id.unwrap_or(EndpointId::NIL);
        write!(f, "{}(endpoint_info({id}, ", self.code)?;
        match &info.network {
            Some(network) => write!(f, "*{network}")?,
            None => f.write_str("none")?,
        }
        write!(f, "), \"{}\")", self.text)
    }
}

#[cfg(test)]
mod tests {
    use broker_data::to_bytes;

    use super::*;

    fn id() -> EndpointId {
        "afcb7c93-9038-52ac-b62b-07e90c4070c3".parse().unwrap()
    }

    fn network() -> NetworkAddress {
        NetworkAddress {
            host: "127.0.0.1".into(),
            port: 1947,
            retry_seconds: 10,
        }
    }

    fn round_trip(event: &Event) {
        let bytes = to_bytes(event).unwrap();
        assert_eq!(
            Event::from_view(View::new(&bytes).unwrap()).as_ref(),
            Some(event)
        );
    }

    #[test]
    fn an_address_shows_its_port_once() {
        assert_eq!(network().to_string(), "127.0.0.1:1947");
        let url = "ws://127.0.0.1:27759/v1/messages/json";
        assert_eq!(NetworkAddress::new(url, 27759).to_string(), url);
    }

    #[test]
    fn status_events_survive_encoding() {
        for network in [None, Some(network())] {
            let context = Some(EndpointInfo {
                id: Some(id()),
                network,
            });
            let text = TEXT_ADDED.to_owned();
            round_trip(
                &Status {
                    code: StatusCode::PeerAdded,
                    context,
                    text,
                }
                .into(),
            );
        }
        let code = StatusCode::Unspecified;
        round_trip(
            &Status {
                code,
                context: None,
                text: String::new(),
            }
            .into(),
        );
    }

    #[test]
    fn error_events_survive_encoding() {
        let info = EndpointInfo {
            id: None,
            network: Some(network()),
        };
        for (context, text) in [(None, ""), (None, "text"), (Some(info), "text")] {
            let code = ErrorCode::PeerUnavailable;
            round_trip(&Fault::new(code, context, text.to_owned()).into());
        }
    }

    #[test]
    fn losses_survive_encoding() {
        let peer = EndpointInfo {
            id: Some(id()),
            network: None,
        };
        let topics = vec!["/a".to_owned(), "/b".to_owned()];
        for (context, count, topics) in [(Some(peer), Some(7), vec![]), (None, None, topics)] {
            let fault = Fault {
                loss: Some(Loss {
                    count,
                    topics,
                    reason: "drop_newest".to_owned(),
                }),
                ..Fault::new(ErrorCode::MessagesLost, context, "text".to_owned())
            };
            round_trip(&fault.into());
        }
    }

    #[test]
    fn layout_is_that_of_the_wire() {
        let context = Some(EndpointInfo {
            id: Some(id()),
            network: None,
        });
        let text = TEXT_DISCOVERED.to_owned();
        let event: Event = Status {
            code: StatusCode::EndpointDiscovered,
            context,
            text,
        }
        .into();
        let mut expected = b"\x0e\x04\x05\x06status\x0b\x13endpoint_discovered".to_vec();
        expected.extend_from_slice(b"\x0e\x04\x05\x24afcb7c93-9038-52ac-b62b-07e90c4070c3\0\0\0");
        expected.extend_from_slice(b"\x05\x1ffound a new peer in the network");
        assert_eq!(to_bytes(&event).unwrap(), expected);
    }

    #[test]
    fn other_values_are_no_events() {
        for bytes in [
            &b"\x00"[..],
            b"\x0e\x00",
            b"\x0e\x01\x05\x06status",
            b"\x0e\x02\x05\x01x\x00",
        ] {
            assert_eq!(Event::from_view(View::new(bytes).unwrap()), None);
        }
    }

    #[test]
    fn text_form_is_that_of_the_original() {
        let discovered = Status {
            code: StatusCode::EndpointDiscovered,
            context: Some(EndpointInfo {
                id: Some(id()),
                network: None,
            }),
            text: TEXT_DISCOVERED.into(),
        };
        assert_eq!(
            discovered.to_string(),
            "endpoint_discovered(afcb7c93-9038-52ac-b62b-07e90c4070c3, \
             \"found a new peer in the network\")"
        );
        let added = Status {
            code: StatusCode::PeerAdded,
            context: Some(EndpointInfo {
                id: Some(id()),
                network: Some(network()),
            }),
            text: TEXT_ADDED.into(),
        };
        assert_eq!(
            added.to_string(),
            "peer_added(afcb7c93-9038-52ac-b62b-07e90c4070c3, 127.0.0.1:1947, \
             \"handshake successful\")"
        );
        let nameless = EndpointInfo {
            id: None,
            network: Some(network()),
        };
        let code = ErrorCode::PeerUnavailable;
        let unavailable = Fault::new(code, Some(nameless), TEXT_UNAVAILABLE.into());
        assert_eq!(
            unavailable.to_string(),
            "peer_unavailable(endpoint_info(00000000-0000-0000-0000-000000000000, \
             *127.0.0.1:1947), \"unable to connect to remote peer\")"
        );
        let unspecified = Status {
            code: StatusCode::Unspecified,
            context: None,
            text: String::new(),
        };
        assert_eq!(unspecified.to_string(), "unspecified(\"\")");
        let none = Fault::new(ErrorCode::None, None, String::new());
        assert_eq!(none.to_string(), "none");
    }

    #[test]
    fn numbers_and_names_agree() {
        let of_protocol = ErrorCode::ALL.iter().filter(|code| code.is_of_protocol());
        let numbers: Vec<u8> = of_protocol.map(|code| code.number()).collect();
        assert_eq!(numbers, (0..42).collect::<Vec<u8>>());
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(*code));
            assert_eq!(ErrorCode::from_name(code.name()), Some(*code));
        }
        for code in StatusCode::ALL {
            assert_eq!(StatusCode::from_number(code.number()), Some(*code));
            assert_eq!(StatusCode::from_name(code.name()), Some(*code));
        }
        assert_eq!(StatusCode::from_number(6), None);
        assert_eq!(ErrorCode::from_number(42), None);
    }
}
