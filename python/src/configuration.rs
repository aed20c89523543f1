//! `BrokerOptions` and `Configuration`: what an endpoint is made with.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::argument::{Whole, file_name, flag, string};
use crate::error::from_broker;
use crate::websocket::{duration, overflow};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Clone)]
struct Flags {
    disable_ssl: bool,
    disable_forwarding: bool,
    ttl: u16,
    ignore_broker_conf: bool,
    config_file: String,
    use_real_time: bool,
    /// 0 for the limits in bytes and messages that every endpoint has.
    peer_buffer_size: usize,
    peer_overflow: broker::Overflow,
    web_socket_peer: broker::WebSocketPeerOptions,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            disable_ssl: false,
            disable_forwarding: false,
            ttl: 16,
            ignore_broker_conf: false,
            config_file: String::new(),
            use_real_time: true,
            peer_buffer_size: 0,
            peer_overflow: broker::Overflow::default(),
            web_socket_peer: broker::WebSocketPeerOptions::default(),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Files {
    cafile: String,
    capath: String,
    certificate: String,
    key: String,
    passphrase: String,
}

impl Files {
    fn options(self) -> broker::TlsOptions {
        broker::TlsOptions {
            certificate: path(self.certificate),
            key: path(self.key),
            passphrase: (!self.passphrase.is_empty()).then_some(self.passphrase),
            ca_file: path(self.cafile),
            ca_path: path(self.capath),
        }
    }
}

/// What `BrokerOptions` and `Configuration` have in common: certificates for authentication.
#[pyclass(frozen, subclass, module = "broker._broker", name = "_TlsSettings")]
#[derive(Debug, Default)]
pub(crate) struct TlsSettings(Mutex<Files>);

#[pymethods]
impl TlsSettings {
    /// PEM file with trusted authorities.
    #[getter]
    fn openssl_cafile(&self) -> String {
        lock(&self.0).cafile.clone()
    }

    #[setter]
    fn set_openssl_cafile(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = file_name(value)?;
        lock(&self.0).cafile = value;
        Ok(())
    }

    /// Directory with trusted authorities, hashed as OpenSSL wants it.
    #[getter]
    fn openssl_capath(&self) -> String {
        lock(&self.0).capath.clone()
    }

    #[setter]
    fn set_openssl_capath(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = file_name(value)?;
        lock(&self.0).capath = value;
        Ok(())
    }

    /// PEM file with the endpoint's certificate chain.
    #[getter]
    fn openssl_certificate(&self) -> String {
        lock(&self.0).certificate.clone()
    }

    #[setter]
    fn set_openssl_certificate(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = file_name(value)?;
        lock(&self.0).certificate = value;
        Ok(())
    }

    /// PEM file with the certificate's private key.
    #[getter]
    fn openssl_key(&self) -> String {
        lock(&self.0).key.clone()
    }

    #[setter]
    fn set_openssl_key(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = file_name(value)?;
        lock(&self.0).key = value;
        Ok(())
    }

    /// Passphrase of the private key.
    #[getter]
    fn openssl_passphrase(&self) -> String {
        lock(&self.0).passphrase.clone()
    }

    #[setter]
    fn set_openssl_passphrase(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = string(value)?;
        lock(&self.0).passphrase = value;
        Ok(())
    }
}

/// Options of an endpoint.
///
/// The `openssl_` settings are those of `Configuration`, which takes them over.
#[pyclass(frozen, subclass, extends = TlsSettings, module = "broker._broker")]
#[derive(Debug, Default)]
pub(crate) struct BrokerOptions(Mutex<Flags>);

#[pymethods]
impl BrokerOptions {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "()")]
    fn py_new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyClassInitializer<Self> {
        PyClassInitializer::from(TlsSettings::default()).add_subclass(Self::default())
    }

    fn __init__(&self) {}

    /// Plain TCP instead of TLS; both sides must agree. Default: False.
    #[getter]
    fn disable_ssl(&self) -> bool {
        lock(&self.0).disable_ssl
    }

    #[setter]
    fn set_disable_ssl(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = flag(value)?;
        lock(&self.0).disable_ssl = value;
        Ok(())
    }

    /// Never pass on messages of one peer to another. Default: False.
    #[getter]
    fn disable_forwarding(&self) -> bool {
        lock(&self.0).disable_forwarding
    }

    #[setter]
    fn set_disable_forwarding(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = flag(value)?;
        lock(&self.0).disable_forwarding = value;
        Ok(())
    }

    /// Whether to pass on messages of one peer to another: the opposite of `disable_forwarding`,
    /// under its name in releases up to 2.0. Default: True.
    #[getter]
    fn forward(&self) -> bool {
        !self.disable_forwarding()
    }

    #[setter]
    fn set_forward(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = flag(value)?;
        lock(&self.0).disable_forwarding = !value;
        Ok(())
    }

    /// Accepted; nothing limits the hops of a message. 0 to 65535. Default: 16.
    #[getter]
    fn ttl(&self) -> u16 {
        lock(&self.0).ttl
    }

    #[setter]
    fn set_ttl(&self, value: Whole<u16>) {
        lock(&self.0).ttl = value.0;
    }

    /// Whether to leave `broker.conf` in the working directory alone, which endpoints otherwise read if
    /// it is there; what it sets counts more than these options and less than the environment, and what
    /// makes no sense in it raises `ConfigurationError` with line and column. Default: False.
    #[getter]
    fn ignore_broker_conf(&self) -> bool {
        lock(&self.0).ignore_broker_conf
    }

    #[setter]
    fn set_ignore_broker_conf(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = flag(value)?;
        lock(&self.0).ignore_broker_conf = value;
        Ok(())
    }

    /// A configuration file that is read instead of `broker.conf`, and has to be there; with
    /// `ignore_broker_conf` as well. Default: "".
    #[getter]
    fn config_file(&self) -> String {
        lock(&self.0).config_file.clone()
    }

    #[setter]
    fn set_config_file(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = file_name(value)?;
        lock(&self.0).config_file = value;
        Ok(())
    }

    /// Whether data stores go by the system's clock. With False their time begins with 1970 and is moved by
    /// `Endpoint.advance_time`. Default: True.
    #[getter]
    fn use_real_time(&self) -> bool {
        lock(&self.0).use_real_time
    }

    #[setter]
    fn set_use_real_time(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = flag(value)?;
        lock(&self.0).use_real_time = value;
        Ok(())
    }

    /// Messages that wait for a peer at most, strictly: the policy applies at once when there are
    /// more. 0 for no such limit: then 64 MiB or 1,048,576 messages wait, and the policy applies to
    /// a peer that takes nothing for five seconds. Default: 0.
    #[getter]
    fn peer_buffer_size(&self) -> usize {
        lock(&self.0).peer_buffer_size
    }

    #[setter]
    fn set_peer_buffer_size(&self, value: Whole<usize>) {
        lock(&self.0).peer_buffer_size = value.0;
    }

    /// What happens to a peer that does not take its messages: "disconnect", "drop_newest",
    /// "drop_oldest" or "block" (publishers wait for as long as it takes). Default: "disconnect".
    #[getter]
    fn peer_overflow_policy(&self) -> &'static str {
        lock(&self.0).peer_overflow.name()
    }

    #[setter]
    fn set_peer_overflow_policy(&self, value: &str) -> PyResult<()> {
        let value = overflow(value)?;
        lock(&self.0).peer_overflow = value;
        Ok(())
    }

    /// Whom peerings under `wss://` trust: "certificate" (signed by an authority, for the host of
    /// the URL; see `web_socket_cafile`), "anonymous" (any server, also by the anonymous ciphers of native peers) or
    /// "anybody" (any server). Default: "certificate".
    #[getter]
    fn web_socket_trust(&self) -> &'static str {
        trust_name(lock(&self.0).web_socket_peer.trust)
    }

    #[setter]
    fn set_web_socket_trust(&self, value: &str) -> PyResult<()> {
        let known = TRUST.iter().find(|(name, _)| *name == value);
        let Some((_, trust)) = known else {
            return Err(PyValueError::new_err(format!(
                "expected \"certificate\", \"anonymous\" or \"anybody\", found `{value}`"
            )));
        };
        lock(&self.0).web_socket_peer.trust = *trust;
        Ok(())
    }

    /// PEM file with the authorities that sign certificates of WebSocket servers; "" for
    /// `openssl_cafile` or, without it, those of the system. Native peers are not concerned.
    /// Default: "".
    #[getter]
    fn web_socket_cafile(&self) -> String {
        shown(lock(&self.0).web_socket_peer.ca_file.as_deref())
    }

    #[setter]
    fn set_web_socket_cafile(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = file_name(value)?;
        lock(&self.0).web_socket_peer.ca_file = path(value);
        Ok(())
    }

    /// Directory with such authorities, hashed as OpenSSL wants it. Default: "".
    #[getter]
    fn web_socket_capath(&self) -> String {
        shown(lock(&self.0).web_socket_peer.ca_path.as_deref())
    }

    #[setter]
    fn set_web_socket_capath(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = file_name(value)?;
        lock(&self.0).web_socket_peer.ca_path = path(value);
        Ok(())
    }

    /// What this program calls itself towards WebSocket servers: letters, digits and `/_-.=:*@`.
    /// Default: "".
    #[getter]
    fn web_socket_application(&self) -> String {
        let application = lock(&self.0).web_socket_peer.application.clone();
        application.unwrap_or_default()
    }

    #[setter]
    fn set_web_socket_application(&self, value: String) {
        let application = (!value.is_empty()).then_some(value);
        lock(&self.0).web_socket_peer.application = application;
    }

    /// Whether to offer WebSocket servers the spelling that loses nothing; only those of this
    /// package know it. Default: False.
    #[getter]
    fn web_socket_lossless(&self) -> bool {
        lock(&self.0).web_socket_peer.lossless
    }

    #[setter]
    fn set_web_socket_lossless(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = flag(value)?;
        lock(&self.0).web_socket_peer.lossless = value;
        Ok(())
    }

    /// Seconds that a WebSocket server has to acknowledge the subscriptions; Zeek can take some.
    /// Takes a timedelta or Timespan, too; more than 0. Default: 30.
    #[getter]
    fn web_socket_ack_timeout(&self) -> f64 {
        lock(&self.0).web_socket_peer.ack_timeout.as_secs_f64()
    }

    #[setter]
    fn set_web_socket_ack_timeout(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = duration(value)?;
        if value.is_zero() {
            return Err(PyValueError::new_err("expected a time of more than 0"));
        }
        lock(&self.0).web_socket_peer.ack_timeout = value;
        Ok(())
    }

    /// Seconds of silence after which a WebSocket server is asked for a sign of life; after twice
    /// that it is given up. Takes a timedelta or Timespan, too; 0 means no pings. Default: 15.
    #[getter]
    fn web_socket_ping_interval(&self) -> f64 {
        lock(&self.0).web_socket_peer.ping_interval.as_secs_f64()
    }

    #[setter]
    fn set_web_socket_ping_interval(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = duration(value)?;
        lock(&self.0).web_socket_peer.ping_interval = value;
        Ok(())
    }

    /// Bytes that a message of a WebSocket server has at most; a larger one ends the connection. At
    /// least 1. Default: 16 MiB.
    #[getter]
    fn web_socket_message_bytes_max(&self) -> usize {
        lock(&self.0).web_socket_peer.message_bytes_max
    }

    #[setter]
    fn set_web_socket_message_bytes_max(&self, value: Whole<usize>) -> PyResult<()> {
        if value.0 == 0 {
            return Err(PyValueError::new_err("expected at least 1 byte, found 0"));
        }
        lock(&self.0).web_socket_peer.message_bytes_max = value.0;
        Ok(())
    }
}

/// The names of those whom a peering can trust.
const TRUST: [(&str, broker::WebSocketTrust); 3] = [
    ("certificate", broker::WebSocketTrust::Certificate),
    ("anonymous", broker::WebSocketTrust::Anonymous),
    ("anybody", broker::WebSocketTrust::Anybody),
];

fn trust_name(trust: broker::WebSocketTrust) -> &'static str {
    let known = TRUST.iter().find(|(_, it)| *it == trust);
    known.map_or("certificate", |(name, _)| name)
}

#[derive(Debug, Clone, Default)]
struct Settings {
    flags: Flags,
    threads_max: i64,
    /// As it was set, and as it was read.
    policy: Option<(Arc<Py<PyAny>>, broker::PolicyOptions)>,
}

/// Configuration of an endpoint: options, and certificates for authentication.
///
/// `Configuration(options)` copies the options, `openssl_` settings included. As soon as one of the `openssl_` settings is not
/// empty, peers authenticate each other, and certificate and key are mandatory.
#[pyclass(frozen, subclass, extends = TlsSettings, module = "broker._broker")]
#[derive(Debug, Default)]
pub(crate) struct Configuration(Mutex<Settings>);

/// What the environment says of the log, which has to run before anything is to be logged.
///
/// # Errors
///
/// `ConfigurationError` when an environment variable has a value it cannot have.
pub(crate) fn log_options() -> PyResult<broker::Options> {
    let options = broker::Options::default()
        .with_environment()
        .map_err(|error| from_broker(&error))?;
    // A program that asks for nothing writes nothing on the console, as with the original.
    let console_verbosity = match std::env::var_os("BROKER_CONSOLE_VERBOSITY") {
        Some(_) => options.console_verbosity,
        None => broker::Verbosity::Quiet,
    };
    Ok(broker::Options {
        console_verbosity,
        ..options
    })
}

/// The options of the runtime for a configuration, or without one: what the program says, changed by
/// the configuration file, changed by the environment. Spec: tools 1.1.
///
/// # Errors
///
/// `ConfigurationError` when the file or an environment variable has a value it cannot have.
pub(crate) fn options(
    configuration: Option<&Bound<'_, Configuration>>,
) -> PyResult<broker::Options> {
    let (settings, files) = match configuration {
        Some(configuration) => (
            lock(&configuration.get().0).clone(),
            lock(&configuration.as_super().get().0).clone(),
        ),
        None => Default::default(),
    };
    let flags = settings.flags;
    let options = broker::Options {
        disable_ssl: flags.disable_ssl,
        disable_forwarding: flags.disable_forwarding,
        use_real_time: flags.use_real_time,
        peer_buffer_size: (flags.peer_buffer_size > 0).then_some(flags.peer_buffer_size),
        peer_overflow: flags.peer_overflow,
        web_socket_peer: flags.web_socket_peer,
        tls: files.options(),
        policy: settings.policy.map(|(_, policy)| policy),
        ..broker::Options::default()
    };
    let read = if !flags.config_file.is_empty() {
        options.with_configuration_file(flags.config_file)
    } else if flags.ignore_broker_conf {
        Ok(options)
    } else {
        options.with_broker_conf()
    };
    read.and_then(broker::Options::with_environment)
        .map_err(|error| from_broker(&error))
}

/// A path from a setting, which is empty for none.
fn path(text: String) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

/// A path as a setting; it came from one.
fn shown(path: Option<&Path>) -> String {
    path.map(|path| path.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[pymethods]
impl Configuration {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(options=..., /)")]
    fn py_new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyClassInitializer<Self> {
        PyClassInitializer::from(TlsSettings::default()).add_subclass(Self::default())
    }

    #[pyo3(signature = (*options))]
    fn __init__(slf: &Bound<'_, Self>, options: &Bound<'_, PyTuple>) -> PyResult<()> {
        let expected = || PyTypeError::new_err("expected no argument or a BrokerOptions");
        match options.len() {
            0 => Ok(()),
            1 => {
                let options = options.get_item(0)?;
                let options = options.cast::<BrokerOptions>().map_err(|_| expected())?;
                let flags = lock(&options.get().0).clone();
                let files = lock(&options.as_super().get().0).clone();
                lock(&slf.get().0).flags = flags;
                *lock(&slf.as_super().get().0) = files;
                Ok(())
            }
            _ => Err(expected()),
        }
    }

    /// Who may do what: the name of a file, or a dict with the keys of one, which is read when it is set.
    /// Native peers that connect, WebSocket clients and HTTP requests are judged by it. Default: None.
    #[getter]
    fn policy(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let settings = lock(&self.0);
        let policy = settings.policy.as_ref();
        policy.map(|(value, _)| value.clone_ref(py))
    }

    #[setter]
    fn set_policy(&self, policy: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let policy = match policy {
            Some(value) => {
                let read = crate::policy::policy(value)?;
                Some((Arc::new(value.clone().unbind()), read))
            }
            None => None,
        };
        lock(&self.0).policy = policy;
        Ok(())
    }

    /// Accepted; the number of threads follows the number of processors. Default: 0.
    #[getter]
    fn max_threads(&self) -> i64 {
        lock(&self.0).threads_max
    }

    #[setter]
    fn set_max_threads(&self, value: Whole<i64>) {
        // Numbers that cannot be meant leave the setting as it was.
        if value.0 > 0 {
            lock(&self.0).threads_max = value.0;
        }
    }
}
