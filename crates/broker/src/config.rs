//! Options of an endpoint, their defaults and the environment variables that change them.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use broker_data::Timespan;
use broker_proto::EndpointId;

use crate::error::Error;

pub mod broker_conf;
#[cfg(feature = "zeromq")]
mod curve;
mod file;
#[cfg(feature = "status")]
mod http;
#[cfg(feature = "nats")]
mod nats_peer;
mod policy;
mod recording;
#[cfg(feature = "http")]
mod websocket;
#[cfg(feature = "http")]
mod websocket_peer;
#[cfg(feature = "zeromq")]
mod zeromq_peer;

#[cfg(feature = "zeromq")]
pub use curve::{
    Curve, curve_keys_from_directory, curve_keys_from_environment, curve_keys_from_file,
};
#[cfg(feature = "status")]
pub use http::HttpOptions;
#[cfg(feature = "nats")]
pub use nats_peer::NatsPeerOptions;
pub use policy::{AuditFailure, AuditOptions, AuditService, PolicyOptions};
pub use recording::RecordingOptions;
#[cfg(feature = "http")]
pub use websocket::{WebSocketOptions, WebSocketTls};
#[cfg(feature = "http")]
pub use websocket_peer::{WebSocketPeerOptions, WebSocketTrust};
#[cfg(feature = "zeromq")]
pub use zeromq_peer::{ZeroMqMembership, ZeroMqPeerOptions};

/// Bytes a mailbox may hold: seconds of traffic at full speed, and a bounded share of memory.
pub const MAILBOX_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Messages a mailbox may hold. Small messages reach this and [`MAILBOX_BYTES_MAX`] together, so
/// it only matters as a second line: no bookkeeping per message can grow beyond it.
pub const MAILBOX_MESSAGES_MAX: usize = 1 << 20;

/// How long a consumer may take nothing from a full mailbox before its overflow policy applies.
pub const STALL_LIMIT: Duration = Duration::from_secs(5);

/// Time for one attempt to reach one address. Spec: wire 7.6.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Time from the TCP connection to the end of the handshake: far more than any link needs, short
/// enough that strangers cannot park connections.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time after which a peer that vanished without a word is given up.
pub const DEAD_PEER_TIMEOUT: Duration = Duration::from_secs(30);

/// Accepted connections that have not finished their handshake: at 64 KiB each they hold 16 MiB.
pub const PENDING_CONNECTIONS_MAX: usize = 256;

/// Largest frame accepted from a peer, length prefix excluded: what native peers accept.
/// Spec: wire 2. Buffers grow with the bytes received, so a large limit costs nothing by itself.
pub const FRAME_BYTES_MAX: usize = 2_147_483_643;

/// Default pause before an outgoing peering is tried again. Spec: endpoint 1.
pub const RETRY_DEFAULT: Duration = Duration::from_secs(10);

/// Default time [`Endpoint::await_peer`](crate::Endpoint::await_peer) callers wait.
/// Spec: endpoint 1.
pub const AWAIT_PEER_TIMEOUT: Duration = Duration::from_secs(10);

/// Upper limit of [`Endpoint::shutdown`](crate::Endpoint::shutdown). Spec: endpoint 6.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Topics remembered with their targets, per publisher and per peer: more than busy systems use,
/// and at most a megabyte or two if somebody invents topics.
pub(crate) const MEMO_TOPICS_MAX: usize = 4096;

/// When a time that begins now is over. What does not fit is as good as never.
pub(crate) fn deadline(after: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    let now = Instant::now();
    now.checked_add(after).unwrap_or(now + NEVER)
}

/// A duration as the protocol counts it; what does not fit becomes the longest there is.
pub(crate) fn timespan(duration: Duration) -> Timespan {
    Timespan::from_ns(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

/// What happens to messages for a consumer that is full and took nothing for the stall limit.
///
/// While the consumer still moves, producers wait for it and nothing is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// The consumer is cut off: a peer's connection is closed, a subscriber is closed.
    #[default]
    Disconnect,
    /// New messages are dropped until the consumer moves again.
    DropNewest,
    /// The oldest waiting messages make room for new ones.
    DropOldest,
    /// Publishers wait for as long as it takes. Messages that are merely forwarded are dropped
    /// after the stall limit all the same: one consumer must not hold up a whole connection.
    Block,
}

impl Overflow {
    /// The name that configuration files use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::DropNewest => "drop_newest",
            Self::DropOldest => "drop_oldest",
            Self::Block => "block",
        }
    }
}

/// What a subscriber does about messages that it lost to its overflow policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLoss {
    /// Nothing: an error event and a count tell of them.
    #[default]
    Ignore,
    /// The next call that receives fails with [`Error::MessagesLost`](crate::Error::MessagesLost),
    /// before it hands out another message.
    Fail,
}

/// Bounds of one mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// Messages; see [`MAILBOX_MESSAGES_MAX`].
    pub messages_max: usize,
    /// Bytes of frames; see [`MAILBOX_BYTES_MAX`].
    pub bytes_max: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            messages_max: MAILBOX_MESSAGES_MAX,
            bytes_max: MAILBOX_BYTES_MAX,
        }
    }
}

/// Certificates and keys. All empty means encryption without authentication.
///
/// As soon as any field is set, both ends authenticate each other, and certificate and key are
/// mandatory. Spec: wire 10.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// PEM file with the certificate chain, the endpoint's own certificate first.
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key.
    pub key: Option<PathBuf>,
    /// Passphrase of the private key, at most 127 bytes.
    pub passphrase: Option<String>,
    /// PEM file with the trusted authorities.
    pub ca_file: Option<PathBuf>,
    /// Directory with trusted authorities, hashed as OpenSSL wants it.
    pub ca_path: Option<PathBuf>,
}

impl TlsOptions {
    /// Whether peers authenticate each other.
    pub fn is_authenticated(&self) -> bool {
        self.certificate.is_some()
            || self.key.is_some()
            || self.passphrase.is_some()
            || self.ca_file.is_some()
            || self.ca_path.is_some()
    }
}

/// Timing and bounds of the data stores of an endpoint. Spec: stores 2.3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// How often stores look at the time; the intervals below count these ticks.
    pub tick_interval: Duration,
    /// Ticks between signs of life, and between acknowledgements.
    pub heartbeat_interval: u16,
    /// Ticks without progress after which a store asks again for what is missing.
    pub nack_timeout: u16,
    /// Heartbeat intervals of silence after which the other side is given up.
    pub connection_timeout: u16,
    /// How long a read of a clone waits for its first copy.
    pub get_delay_max: Duration,
    /// Bytes of changes that a master keeps for clones that have not acknowledged them, and of
    /// requests that a clone keeps for its master.
    pub buffer_bytes_max: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            tick_interval: Duration::from_millis(100),
            heartbeat_interval: 5,
            nack_timeout: 2,
            connection_timeout: 100,
            get_delay_max: Duration::from_secs(5),
            buffer_bytes_max: broker_proto::store::STORE_BUFFER_BYTES_MAX,
        }
    }
}

/// Options of an [`Endpoint`](crate::Endpoint).
///
/// ```
/// let options = broker::Options { disable_ssl: true, ..broker::Options::default() };
/// let endpoint = broker::Endpoint::builder().options(options).build()?;
/// # endpoint.shutdown().wait();
/// # Ok::<(), broker::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The endpoint's id; `None` makes a new one, which is right for all but tests and processes that
    /// are to be found again under one id. Two endpoints with the same id cannot peer with the same
    /// third one.
    pub id: Option<EndpointId>,
    /// Plain TCP instead of TLS. Both ends must agree.
    pub disable_ssl: bool,
    /// Never pass on messages of one peer to another.
    pub disable_forwarding: bool,
    /// Whether data stores go by the system's clock. Otherwise their time is that of
    /// [`Endpoint::advance_time`](crate::Endpoint::advance_time), which begins with 1970. Spec: endpoint 1.
    pub use_real_time: bool,
    /// Certificates and keys.
    pub tls: TlsOptions,
    /// Messages buffered per peer. `None`: [`Options::capacity`] with back-pressure. A number is
    /// a strict limit: the policy applies as soon as that many messages wait.
    pub peer_buffer_size: Option<usize>,
    /// What happens to a peer that does not take its messages.
    pub peer_overflow: Overflow,
    /// What happens to a subscriber that does not take its messages.
    pub subscriber_overflow: Overflow,
    /// Bounds of the mailboxes of peers and subscribers.
    pub capacity: Capacity,
    /// See [`STALL_LIMIT`].
    pub stall_limit: Duration,
    /// See [`CONNECT_TIMEOUT`].
    pub connect_timeout: Duration,
    /// See [`HANDSHAKE_TIMEOUT`].
    pub handshake_timeout: Duration,
    /// See [`DEAD_PEER_TIMEOUT`]; zero leaves it to the system's defaults.
    pub dead_peer_timeout: Duration,
    /// See [`PENDING_CONNECTIONS_MAX`].
    pub pending_connections_max: usize,
    /// See [`FRAME_BYTES_MAX`].
    pub frame_bytes_max: usize,
    /// Timing and bounds of data stores.
    pub store: StoreOptions,
    /// The server for WebSocket clients.
    #[cfg(feature = "http")]
    pub web_socket: WebSocketOptions,
    /// Peerings with WebSocket servers.
    #[cfg(feature = "http")]
    pub web_socket_peer: WebSocketPeerOptions,
    /// Peerings with proxies of Zeek clusters that use ZeroMQ, where
    /// [`peer_zeromq`](crate::Endpoint::peer_zeromq) does not say otherwise.
    #[cfg(feature = "zeromq")]
    pub zeromq_peer: ZeroMqPeerOptions,
    /// The server for metrics and status that starts with the endpoint.
    #[cfg(feature = "status")]
    pub metrics: HttpOptions,
    /// Who may do what. With a policy native peers that connect, WebSocket clients and HTTP requests become
    /// principals, by a token, a certificate or as `anonymous`, and may do what it says; peers that this
    /// endpoint connects to are not judged. `None`: everybody that is admitted may do everything. See
    /// `docs/security.md`.
    pub policy: Option<PolicyOptions>,
    /// A recording of what goes through the endpoint.
    pub recording: RecordingOptions,
    /// Verbosity of the log on the console, for programs that [start](crate::log::start) one.
    pub console_verbosity: Verbosity,
    /// Verbosity of the log in a file, for programs that [start](crate::log::start) one.
    pub file_verbosity: Verbosity,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            id: None,
            disable_ssl: false,
            disable_forwarding: false,
            use_real_time: true,
            tls: TlsOptions::default(),
            peer_buffer_size: None,
            peer_overflow: Overflow::Disconnect,
            subscriber_overflow: Overflow::DropNewest,
            capacity: Capacity::default(),
            stall_limit: STALL_LIMIT,
            connect_timeout: CONNECT_TIMEOUT,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            dead_peer_timeout: DEAD_PEER_TIMEOUT,
            pending_connections_max: PENDING_CONNECTIONS_MAX,
            frame_bytes_max: FRAME_BYTES_MAX,
            store: StoreOptions::default(),
            #[cfg(feature = "http")]
            web_socket: WebSocketOptions::default(),
            #[cfg(feature = "http")]
            web_socket_peer: WebSocketPeerOptions::default(),
            #[cfg(feature = "zeromq")]
            zeromq_peer: ZeroMqPeerOptions::default(),
            #[cfg(feature = "status")]
            metrics: HttpOptions::default(),
            policy: None,
            recording: RecordingOptions::default(),
            console_verbosity: Verbosity::Error,
            file_verbosity: Verbosity::Quiet,
        }
    }
}

impl Options {
    /// The defaults, changed by `BROKER_CONSOLE_VERBOSITY`, `BROKER_FILE_VERBOSITY`,
    /// `BROKER_WEB_SOCKET_PORT`, `BROKER_METRICS_PORT`, `BROKER_RECORDING_DIRECTORY` and
    /// `BROKER_OUTPUT_GENERATOR_FILE_CAP`. The other variables of Broker are checked; a warning in the
    /// log tells of those that are set, as [`Options::variables_without_effect`] does. Configuration
    /// files are not read; see [`with_broker_conf`](Self::with_broker_conf).
    ///
    /// # Errors
    ///
    /// Fails when a variable has a value it cannot have. Spec: endpoint 1.
    pub fn from_env() -> Result<Self, Error> {
        let options = Self::default().with_environment()?;
        for name in Self::variables_without_effect() {
            tracing::warn!(event = "variable-without-effect", name);
        }
        Ok(options)
    }

    /// The environment variables that are set and would change something in the original, or did
    /// in an earlier release, but not here: those of metrics that are sent as messages.
    pub fn variables_without_effect() -> Vec<&'static str> {
        let names = WITHOUT_EFFECT.iter().map(|(name, _)| *name);
        names.filter(|name| env::var_os(name).is_some()).collect()
    }

    /// These options, changed by the environment as in [`from_env`](Self::from_env), without a warning.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub fn with_environment(self) -> Result<Self, Error> {
        self.with_variables(|name| env::var_os(name))
    }

    #[cfg(test)]
    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        Self::default().with_variables(variable)
    }

    fn with_variables(
        mut self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Error> {
        let verbosity = |name: &'static str, default| {
            match variable(name) {
            None => Ok(default),
            Some(value) => value
                .to_str()
                .and_then(Verbosity::parse)
                .ok_or_else(|| Error::Variable {
                    name,
                    text: format!(
                        "illegal value for environment variable {name}: '{}' (legal values: 'trace', \
                         'debug', 'info', 'warning', 'error', 'quiet')",
                        value.to_string_lossy()
                    ),
                }),
        }
        };
        self.console_verbosity = verbosity("BROKER_CONSOLE_VERBOSITY", self.console_verbosity)?;
        self.file_verbosity = verbosity("BROKER_FILE_VERBOSITY", self.file_verbosity)?;
        #[cfg(feature = "http")]
        self.web_socket.take_variables(&variable)?;
        #[cfg(feature = "status")]
        self.metrics.take_variables(&variable)?;
        self.recording.take_variables(&variable)?;
        for (name, form) in WITHOUT_EFFECT {
            if let Some(value) = variable(name) {
                form.check(name, &value.to_string_lossy())?;
            }
        }
        Ok(self)
    }

    /// Refuses values that could never work; building an endpoint does so, too.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] with the name of the first of them.
    pub fn check(&self) -> Result<(), Error> {
        let positive = |name, value: usize| match value {
            0 => Err(Error::Option {
                name,
                cause: "must be at least 1".to_owned(),
            }),
            _ => Ok(()),
        };
        positive("peer_buffer_size", self.peer_buffer_size.unwrap_or(1))?;
        positive("capacity.messages_max", self.capacity.messages_max)?;
        positive("capacity.bytes_max", self.capacity.bytes_max)?;
        positive("pending_connections_max", self.pending_connections_max)?;
        positive("frame_bytes_max", self.frame_bytes_max)?;
        #[cfg(feature = "http")]
        self.web_socket.check()?;
        #[cfg(feature = "http")]
        self.web_socket_peer.check()?;
        let store = &self.store;
        let tick = usize::from(store.tick_interval >= Duration::from_millis(1));
        positive("store.tick_interval, in milliseconds,", tick)?;
        positive("store.heartbeat_interval", store.heartbeat_interval.into())?;
        positive("store.nack_timeout", store.nack_timeout.into())?;
        positive("store.connection_timeout", store.connection_timeout.into())?;
        positive("store.buffer_bytes_max", store.buffer_bytes_max)
    }
}

/// What the value of an environment variable must look like.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// Anything, or a list with commas, which is anything, too.
    Text,
    /// A number and a unit.
    Interval,
}

/// Units of intervals.
const UNITS: [&str; 6] = ["ns", "us", "ms", "s", "min", "h"];

/// The original's variables that only have their form checked here. Spec: tools 1.4.
const WITHOUT_EFFECT: [(&str, Form); 5] = [
    ("BROKER_METRICS_ENDPOINT_NAME", Form::Text),
    ("BROKER_METRICS_EXPORT_TOPIC", Form::Text),
    ("BROKER_METRICS_EXPORT_INTERVAL", Form::Interval),
    ("BROKER_METRICS_EXPORT_PREFIXES", Form::Text),
    ("BROKER_METRICS_IMPORT_TOPICS", Form::Text),
];

impl Form {
    fn check(self, name: &'static str, value: &str) -> Result<(), Error> {
        let (fits, expected) = match self {
            Self::Text => (true, ""),
            Self::Interval => {
                let unit = value.trim_start_matches(|digit: char| digit.is_ascii_digit());
                let fits = unit.len() < value.len() && UNITS.contains(&unit);
                (fits, "an interval such as '5s'")
            }
        };
        if fits {
            return Ok(());
        }
        Err(Error::variable(name, value, expected))
    }
}

/// Levels of the logs, by the names configuration uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Verbosity {
    /// Nothing.
    Quiet,
    /// What is broken.
    Error,
    /// What is worth a look.
    Warning,
    /// Changes of state.
    Info,
    /// Odd paths.
    Debug,
    /// Everything, down to single messages.
    Trace,
}

impl Verbosity {
    /// All of them, from the one that says least.
    pub const ALL: [Self; 6] = [
        Self::Quiet,
        Self::Error,
        Self::Warning,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    /// The name that configuration uses. Spec: tools 1.4.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// The verbosity with that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_sets_the_verbosity() {
        let options = Options::from_variables(|name| {
            (name == "BROKER_CONSOLE_VERBOSITY").then(|| "debug".into())
        });
        assert_eq!(options.unwrap().console_verbosity, Verbosity::Debug);
    }

    #[test]
    fn an_unknown_verbosity_is_refused_by_name() {
        let error = Options::from_variables(|_| Some("loud".into())).unwrap_err();
        assert!(
            error.to_string().contains("BROKER_CONSOLE_VERBOSITY"),
            "{error}"
        );
        assert!(error.to_string().contains("'loud'"), "{error}");
    }

    #[test]
    fn variables_without_effect_are_checked() {
        let with = |name: &str, value: &str| {
            Options::from_variables(|asked| (asked == name).then(|| value.into()))
        };
        for (name, good, bad) in [
            (
                "BROKER_METRICS_EXPORT_INTERVAL",
                &["5s", "250ms", "5min"][..],
                &["zz", "5", "s", "-5s", "5 s", ""][..],
            ),
            ("BROKER_METRICS_IMPORT_TOPICS", &["/a, /b", ""], &[]),
        ] {
            for value in good {
                assert_eq!(with(name, value).unwrap(), Options::default(), "{value}");
            }
            for value in bad {
                let error = with(name, value).unwrap_err().to_string();
                assert!(error.contains(name), "{error}");
                assert!(error.contains(&format!(": {value} (expected a")), "{error}");
            }
        }
    }

    #[test]
    fn limits_of_zero_are_refused() {
        let options = Options {
            peer_buffer_size: Some(0),
            ..Options::default()
        };
        assert!(options.check().is_err());
    }
}
