//! The file of a node: what can be set, and what it means for the library.

use std::path::PathBuf;
use std::time::Duration;

use broker::log::{Component, Format};
use broker::policy::PolicyFile;
use broker::{
    Capacity, HttpOptions, Options, Overflow, PolicyOptions, RecordingOptions, TlsOptions,
    Verbosity, WebSocketOptions, WebSocketTls,
};
use serde::{Deserialize, Deserializer};

use super::forwarder;
use super::links::Link;
use crate::arguments::TlsArguments;
use crate::contexts::Secret;
use crate::duration::duration;
use crate::nearest::{check_file, nearest};
use crate::outcome::Failure;
use crate::target::peer_url;

/// The file that `--print-config` prints; a test compares it with the defaults below.
pub(super) const DEFAULTS: &str = include_str!("default.toml");

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Configuration {
    pub(super) listen: Vec<String>,
    pub(super) peers: Vec<String>,
    #[serde(deserialize_with = "time")]
    pub(super) retry: Duration,
    pub(super) topics: Vec<String>,
    pub(super) forward: bool,
    #[serde(deserialize_with = "time")]
    pub(super) drain_timeout: Duration,
    pub(super) tls: Tls,
    pub(super) websocket: WebSocket,
    pub(super) http: Http,
    pub(super) forwarder: forwarder::Section,
    pub(super) limits: Limits,
    pub(super) policy: Permissions,
    pub(super) recording: Recording,
    pub(super) log: Log,
    #[serde(rename = "store")]
    pub(super) stores: Vec<Store>,
    #[serde(rename = "link")]
    pub(super) links: Vec<Link>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Tls {
    enabled: bool,
    #[serde(deserialize_with = "path")]
    cert: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    key: Option<PathBuf>,
    #[serde(deserialize_with = "secret")]
    passphrase: Option<Secret>,
    #[serde(deserialize_with = "path")]
    cafile: Option<PathBuf>,
    #[serde(deserialize_with = "path")]
    capath: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct WebSocket {
    pub(super) listen: Vec<String>,
    tls: WebSocketMode,
    origins: Vec<String>,
    clients_max: usize,
    message_bytes_max: usize,
    buffer_messages_max: usize,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Http {
    pub(super) listen: Vec<String>,
    tls: WebSocketMode,
    #[serde(deserialize_with = "secret")]
    token: Option<Secret>,
    connections_max: usize,
    web_socket: bool,
    origins: Vec<String>,
    samples: bool,
    writes: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WebSocketMode {
    Native,
    Off,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Limits {
    messages_max: usize,
    bytes_max: usize,
    #[serde(deserialize_with = "time")]
    stall_limit: Duration,
    overflow: OverflowPolicy,
    message_bytes_max: usize,
    #[serde(deserialize_with = "time")]
    connect_timeout: Duration,
    #[serde(deserialize_with = "time")]
    handshake_timeout: Duration,
    #[serde(deserialize_with = "time")]
    dead_peer_timeout: Duration,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Recording {
    #[serde(deserialize_with = "path")]
    directory: Option<PathBuf>,
    /// 0 for any number.
    messages_max: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Permissions {
    #[serde(deserialize_with = "path")]
    pub(super) file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OverflowPolicy {
    Disconnect,
    DropNewest,
    DropOldest,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Log {
    pub(super) level: Level,
    format: LogFormat,
    components: Components,
    /// Of a file beside, which only the environment asks for.
    #[serde(skip)]
    pub(super) file: Option<Verbosity>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LogFormat {
    Text,
    Json,
}

/// Levels of components that have another one than the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Components {
    core: Option<Level>,
    peer: Option<Level>,
    store: Option<Level>,
    websocket: Option<Level>,
    http: Option<Level>,
    app: Option<Level>,
}

impl Log {
    /// The verbosity of a component.
    pub(super) fn verbosity(&self, component: Component) -> Verbosity {
        let own = match component {
            Component::Core => self.components.core,
            Component::Peer => self.components.peer,
            Component::Store => self.components.store,
            Component::WebSocket => self.components.websocket,
            Component::Http => self.components.http,
            // Parts that come later are the program's until they have a key.
            _ => self.components.app,
        };
        own.unwrap_or(self.level).into()
    }

    /// Whether lines look alike, and go to the same places.
    pub(super) fn has_format_of(&self, other: &Self) -> bool {
        (self.format, self.file) == (other.format, other.file)
    }

    /// Takes over the levels, and nothing else.
    pub(super) fn take_levels(&mut self, other: Self) {
        (self.level, self.components) = (other.level, other.components);
    }

    /// How lines look.
    pub(super) fn format(&self, is_colored: bool) -> Format {
        match (self.format, is_colored) {
            (LogFormat::Json, _) => Format::Json,
            (LogFormat::Text, true) => Format::Colored,
            (LogFormat::Text, false) => Format::Text,
        }
    }
}

impl From<Level> for Verbosity {
    fn from(level: Level) -> Self {
        match level {
            Level::Off => Self::Quiet,
            Level::Error => Self::Error,
            Level::Warn => Self::Warning,
            Level::Info => Self::Info,
            Level::Debug => Self::Debug,
            Level::Trace => Self::Trace,
        }
    }
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Level {
    /// Nothing
    Off,
    /// What is broken
    Error,
    /// What is worth a look
    Warn,
    /// Changes of state
    Info,
    /// Odd paths
    Debug,
    /// Everything
    Trace,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Store {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Role {
    Master,
    Clone,
}

impl Store {
    /// Reads `NAME` or `NAME=FILE`.
    pub(super) fn master(text: &str) -> Self {
        let (name, file) = match text.split_once('=') {
            Some((name, file)) => (name, Some(file.into())),
            None => (text, None),
        };
        Self {
            name: name.to_owned(),
            role: Role::Master,
            file,
        }
    }
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            peers: Vec::new(),
            retry: broker::RETRY_DEFAULT,
            topics: Vec::new(),
            forward: true,
            drain_timeout: Duration::from_secs(3),
            tls: Tls::default(),
            websocket: WebSocket::default(),
            http: Http::default(),
            forwarder: forwarder::Section::default(),
            limits: Limits::default(),
            policy: Permissions::default(),
            recording: Recording::default(),
            log: Log::default(),
            stores: Vec::new(),
            links: Vec::new(),
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            enabled: true,
            cert: None,
            key: None,
            passphrase: None,
            cafile: None,
            capath: None,
        }
    }
}

impl Default for WebSocket {
    fn default() -> Self {
        let options = WebSocketOptions::default();
        Self {
            listen: Vec::new(),
            tls: WebSocketMode::Native,
            origins: Vec::new(),
            clients_max: options.clients_max,
            message_bytes_max: options.message_bytes_max,
            buffer_messages_max: options.buffer_size,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            tls: WebSocketMode::Off,
            token: None,
            connections_max: HttpOptions::default().connections_max,
            web_socket: false,
            origins: Vec::new(),
            samples: false,
            writes: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let options = Options::default();
        Self {
            messages_max: options.capacity.messages_max,
            bytes_max: options.capacity.bytes_max,
            stall_limit: options.stall_limit,
            overflow: OverflowPolicy::Disconnect,
            message_bytes_max: options.frame_bytes_max,
            connect_timeout: options.connect_timeout,
            handshake_timeout: options.handshake_timeout,
            dead_peer_timeout: options.dead_peer_timeout,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: Level::Info,
            format: LogFormat::Text,
            components: Components::default(),
            file: None,
        }
    }
}

/// A file that makes no sense: where and why, and which key may be meant.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) hint: Option<String>,
}

impl Configuration {
    /// Reads the file.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let before = text.get(..at).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            let message = error.message();
            Wrong {
                what: format!("line {line}, column {column}: {message}"),
                hint: suggestion(message),
            }
        })
    }

    /// The variables that the library knows. Spec: tools 1.4.
    pub(super) fn take_environment(&mut self) -> Result<(), Failure> {
        let options = Options::from_env()?;
        if std::env::var_os("BROKER_CONSOLE_VERBOSITY").is_some() {
            self.log.level = match options.console_verbosity {
                broker::Verbosity::Quiet => Level::Off,
                broker::Verbosity::Error => Level::Error,
                broker::Verbosity::Warning => Level::Warn,
                broker::Verbosity::Info => Level::Info,
                broker::Verbosity::Debug => Level::Debug,
                broker::Verbosity::Trace => Level::Trace,
            };
        }
        if std::env::var_os("BROKER_FILE_VERBOSITY").is_some() {
            self.log.file = Some(options.file_verbosity);
        }
        if options.recording.directory.is_some() {
            self.recording.directory = options.recording.directory;
        }
        if options.recording.messages_max != RecordingOptions::default().messages_max {
            self.recording.messages_max = options.recording.messages_max;
        }
        if let Some(port) = options.web_socket.port {
            self.websocket.listen = vec![format!(":{port}")];
        }
        if let Some(port) = options.metrics.port {
            self.http.listen = vec![format!("{}:{port}", options.metrics.address)];
        }
        Ok(())
    }

    /// Whether it neither listens nor peers.
    pub(super) fn is_idle(&self) -> bool {
        let listeners = [&self.listen, &self.websocket.listen, &self.http.listen];
        !self.forwarder.is_there()
            && self.peers.is_empty()
            && self.links.is_empty()
            && listeners.iter().all(|it| it.is_empty())
    }

    /// What the library is to do; checks everything that can be checked without doing it.
    pub(super) fn options(&self) -> Result<Options, Failure> {
        let listeners = [&self.listen, &self.websocket.listen, &self.http.listen];
        for address in listeners.into_iter().flatten() {
            listen_address(address)?;
        }
        for peer in &self.peers {
            peer_url(peer)?;
        }
        for (number, link) in self.links.iter().enumerate() {
            link.check()?;
            let before = self.links.iter().take(number);
            if before.into_iter().any(|it| it.is_with_peer_of(link)) {
                let failure = Failure::usage("two links with the same `peer`");
                return Err(failure.hint("put their topics into one"));
            }
        }
        for store in &self.stores {
            if store.role == Role::Clone && store.file.is_some() {
                let what = format!("store `{}`: a clone is kept in memory", store.name);
                return Err(Failure::usage(what).hint("leave `file` out, or make it a master"));
            }
        }
        let mut options = Options {
            disable_ssl: !self.tls.enabled,
            disable_forwarding: !self.forward,
            peer_overflow: match self.limits.overflow {
                OverflowPolicy::Disconnect => Overflow::Disconnect,
                OverflowPolicy::DropNewest => Overflow::DropNewest,
                OverflowPolicy::DropOldest => Overflow::DropOldest,
            },
            capacity: Capacity {
                messages_max: self.limits.messages_max,
                bytes_max: self.limits.bytes_max,
            },
            stall_limit: self.limits.stall_limit,
            connect_timeout: self.limits.connect_timeout,
            handshake_timeout: self.limits.handshake_timeout,
            dead_peer_timeout: self.limits.dead_peer_timeout,
            frame_bytes_max: self.limits.message_bytes_max,
            recording: RecordingOptions {
                directory: self.recording.directory.clone(),
                messages_max: match self.recording.messages_max {
                    0 => RecordingOptions::default().messages_max,
                    messages_max => messages_max,
                },
            },
            ..Options::default()
        };
        if self.tls.enabled {
            options.tls = self.tls.options()?;
        }
        options.web_socket = self.web_socket_options();
        options.policy = self.policy.options()?;
        if options.policy.is_some() && self.http.token.is_some() {
            let failure = Failure::usage("`http.token` and a policy exclude each other");
            return Err(failure.hint("make a token of the policy: broker policy token add"));
        }
        let wrong = |error: broker::Error| Failure::usage(error.to_string());
        options.check().map_err(wrong)?;
        self.http_options()?.check().map_err(wrong)?;
        self.forwarder.options()?;
        Ok(options)
    }

    /// How servers of WebSocket clients are.
    pub(super) fn web_socket_options(&self) -> WebSocketOptions {
        WebSocketOptions {
            tls: match self.websocket.tls {
                WebSocketMode::Native => WebSocketTls::AsNative,
                WebSocketMode::Off => WebSocketTls::Disabled,
            },
            origins: if self.websocket.origins.is_empty() {
                None
            } else {
                Some(self.websocket.origins.clone())
            },
            clients_max: self.websocket.clients_max,
            message_bytes_max: self.websocket.message_bytes_max,
            buffer_size: self.websocket.buffer_messages_max,
            ..WebSocketOptions::default()
        }
    }

    /// How the server for metrics and status is.
    pub(super) fn http_options(&self) -> Result<HttpOptions, Failure> {
        let is_encrypted = self.http.tls == WebSocketMode::Native && self.tls.enabled;
        Ok(HttpOptions {
            tls: is_encrypted.then(|| self.tls.options()).transpose()?,
            token: self.http.token.as_ref().map(Secret::reveal).transpose()?,
            connections_max: self.http.connections_max,
            web_socket: self.http.web_socket.then(|| self.web_socket_options()),
            origins: self.http.origins.clone(),
            samples: self.http.samples,
            writes: self.http.writes.clone(),
            ..HttpOptions::default()
        })
    }
}

impl Permissions {
    /// Reads the policy, if there is one.
    pub(super) fn read(&self) -> Result<Option<PolicyFile>, Failure> {
        let Some(path) = &self.file else {
            return Ok(None);
        };
        check_file("the policy", path)?;
        Ok(Some(PolicyFile::read(path)?))
    }

    fn options(&self) -> Result<Option<PolicyOptions>, Failure> {
        Ok(self.read()?.map(Into::into))
    }
}

impl Tls {
    /// What the command line says counts more.
    pub(super) fn take_arguments(&mut self, arguments: &TlsArguments) {
        let replace = |mine: &Option<PathBuf>, its: &mut Option<PathBuf>| {
            if mine.is_some() {
                its.clone_from(mine);
            }
        };
        replace(&arguments.cert, &mut self.cert);
        replace(&arguments.key, &mut self.key);
        replace(&arguments.cafile, &mut self.cafile);
        replace(&arguments.capath, &mut self.capath);
        if let Some(path) = &arguments.passphrase_file {
            self.passphrase = Some(Secret::new(format!("file:{}", path.display())));
        }
        if arguments.no_tls {
            self.enabled = false;
        }
    }

    fn options(&self) -> Result<TlsOptions, Failure> {
        for (what, path) in [
            ("certificate", &self.cert),
            ("key", &self.key),
            ("CA file", &self.cafile),
            ("CA folder", &self.capath),
        ] {
            if let Some(path) = path {
                check_file(what, path)?;
            }
        }
        Ok(TlsOptions {
            certificate: self.cert.clone(),
            key: self.key.clone(),
            passphrase: self.passphrase.as_ref().map(Secret::reveal).transpose()?,
            ca_file: self.cafile.clone(),
            ca_path: self.capath.clone(),
        })
    }
}

/// Reads `ADDRESS:PORT`, `:PORT` or `[ADDRESS]:PORT`.
pub(crate) fn listen_address(text: &str) -> Result<(String, u16), Failure> {
    let wrong = || {
        Failure::usage(format!("`{text}` is nothing to listen at"))
            .hint("expected ADDRESS:PORT, :PORT for all interfaces, [ADDRESS]:PORT for IPv6")
    };
    let (address, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    let bare = address
        .strip_prefix('[')
        .and_then(|it| it.strip_suffix(']'));
    match bare {
        None if address.contains(':') => Err(wrong()),
        _ => Ok((bare.unwrap_or(address).to_owned(), port)),
    }
}

/// The nearest of the keys that a message of the parser lists.
fn suggestion(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if !message.starts_with("unknown ") {
        return None;
    }
    let unknown = quoted.next()?;
    nearest(unknown, quoted).map(|near| format!("there is `{near}`"))
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    duration(&text).map_err(serde::de::Error::custom)
}

/// A path; an empty one is none.
pub(super) fn path<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok((!text.is_empty()).then(|| text.into()))
}

pub(super) fn secret<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Secret>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok((!text.is_empty()).then(|| Secret::new(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Configuration {
        Configuration::parse(text).unwrap_or_else(|wrong| panic!("{}", wrong.what))
    }

    #[test]
    fn the_printed_file_is_the_defaults() {
        assert_eq!(parse(DEFAULTS), Configuration::default());
        assert_eq!(parse(""), Configuration::default());
        let options = Configuration::default().options();
        let expected = Options::default();
        assert_eq!(options.ok(), Some(expected));
    }

    #[test]
    fn every_key_is_in_the_printed_file() {
        // The parser lists all keys of a table when it meets an unknown one.
        for table in [
            "",
            "[tls]\n",
            "[websocket]\n",
            "[http]\n",
            "[forwarder]\n",
            "[limits]\n",
            "[recording]\n",
            "[log]\n",
            "[log.components]\n",
        ] {
            let wrong = Configuration::parse(&format!("{table}zzz = 1\n"));
            let Err(Wrong { what, .. }) = wrong else {
                panic!("`zzz` is no key of {table}");
            };
            for key in what.split('`').skip(3).step_by(2) {
                let is_there = |line: &str| {
                    line.trim_start_matches("# ")
                        .starts_with(&format!("{key} = "))
                        || line == format!("[{key}]")
                        || line == format!("[log.{key}]")
                        || line == format!("# [[{key}]]")
                };
                assert!(DEFAULTS.lines().any(is_there), "{key} of {table}");
            }
        }
    }

    #[test]
    fn a_wrong_key_is_named_with_its_place_and_its_neighbour() {
        for (text, what, hint) in [
            (
                "\nlisten = []\npeer = []",
                "line 3, column 1: unknown field `peer`",
                "`peers`",
            ),
            ("[tls]\nkeys = \"\"", "line 2, column 1", "`key`"),
            ("[log]\nlevel = \"loud\"", "line 2, column 9", ""),
            ("retry = \"10\"", "line 1, column 9", ""),
            ("[[store]]\nname = \"a\"", "missing field `role`", ""),
            (
                "[forwarder]\nclients = [\n  \"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7\",\n  \"short\",\n]",
                "line 4, column 3: a CURVE key has 40 characters",
                "",
            ),
            (
                "[forwarder]\nclients = [7]",
                "line 2, column 12: invalid type: integer `7`, expected a public key",
                "",
            ),
            (
                "[forwarder]\nxpub = \"27760\"",
                "line 2, column 8: `27760` is nothing to listen at",
                "",
            ),
            ("x", "line 1, column 2", ""),
        ] {
            let Err(wrong) = Configuration::parse(text) else {
                panic!("{text}");
            };
            assert!(wrong.what.contains(what), "{}", wrong.what);
            assert!(wrong.hint.unwrap_or_default().contains(hint), "{text}");
        }
    }

    #[test]
    fn addresses_to_listen_at() {
        for (text, address, port) in [
            (":9999", "", 9999),
            ("127.0.0.1:0", "127.0.0.1", 0),
            ("[::1]:1", "::1", 1),
            ("localhost:1", "localhost", 1),
        ] {
            let read = listen_address(text).unwrap_or_else(|failure| panic!("{failure:?}"));
            assert_eq!(read, (address.to_owned(), port));
        }
        for text in ["", "9999", "host", "::1:9", "host:x", "host:70000"] {
            assert!(listen_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn links_that_could_never_work_are_refused() {
        for (text, what) in [
            ("[[link]]\npeer = \"nats://a\"", "nothing crosses it"),
            (
                "[[link]]\npeer = \"a:1\"\nimport = [\"\"]\n[link.nats]\nuser = \"u\"",
                "`nats` is for nats:// only",
            ),
            (
                "[[link]]\npeer = \"nats://a\"\nimport = [\"\"]\n[link.nats]\nuser = \"u\"",
                "`password`",
            ),
            ("[[link]]\npeer = \"no://a\"\nimport = [\"\"]", "no://a"),
            (
                "[[link]]\npeer = \"a:1\"\nimport = [\"\"]\n[[link]]\npeer = \"zeek://a:1\"\nexport = [\"\"]",
                "two links",
            ),
        ] {
            let refused = parse(text).options().expect_err(text);
            assert!(format!("{refused:?}").contains(what), "{refused:?}");
        }
        let good =
            "[[link]]\npeer = \"nats://a\"\nimport = [\"\"]\n[link.nats]\ntoken = \"env:PATH\"";
        assert!(parse(good).options().is_ok());
    }

    #[test]
    fn a_clone_has_no_file() {
        let text = "[[store]]\nname = \"a\"\nrole = \"clone\"\nfile = \"x\"\n";
        assert!(parse(text).options().is_err());
    }
}
