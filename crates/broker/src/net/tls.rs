//! TLS as native peers speak it: anonymous by default, mutual authentication with certificates.
//!
//! Spec: wire 10. Everything that can be wrong with the set-up (a file that cannot be read, a wrong
//! passphrase, a certificate without a key) is found here, when the endpoint is built.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use broker_data::Timestamp;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslVerifyMode, SslVersion,
};
use openssl::x509::X509VerifyResult;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

#[cfg(feature = "http")]
use crate::config::Options;
use crate::config::TlsOptions;
use crate::error::Error;
use crate::net::rotation::Rotation;

/// The one anonymous suite of native peers. Security level 0 is what makes OpenSSL offer it.
const ANONYMOUS_CIPHERS: &str = "AECDH-AES256-SHA@SECLEVEL=0";

/// The one group of native peers without certificates.
const ANONYMOUS_GROUPS: &str = "P-384";

/// Suites for TLS 1.2 with certificates.
const AUTHENTICATED_CIPHERS: &str = "HIGH:!aNULL:!MD5";

/// How long a refused connection may take to end by itself.
const REFUSED_LINGER_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(500);

/// Longest passphrase native peers accept, in bytes.
const PASSPHRASE_MAX: usize = 127;

/// Bytes kept of what the other side sent first: enough to tell TLS from a Broker frame.
const SNIFFED_MAX: usize = 9;

/// Which side of the TCP connection an endpoint is; the connector is the TLS client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Acceptor,
    Connector,
}

/// The TLS set-up of an endpoint.
#[derive(Clone)]
pub(crate) struct Tls {
    set_up: Arc<Rotation>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Builds the set-up from options.
    ///
    /// # Errors
    ///
    /// Fails when the set-up is incomplete or a file cannot be used.
    pub(crate) fn new(options: &TlsOptions) -> Result<Self, Error> {
        Self::following(options, |options| {
            let mut builder = SslContext::builder(SslMethod::tls()).map_err(|e| broken(&e))?;
            if options.is_authenticated() {
                authenticated(&mut builder, options)?;
                trust(&mut builder, Authorities::of_peers(options))?;
            } else {
                anonymous(&mut builder).map_err(|e| broken(&e))?;
            }
            build(builder)
        })
    }

    /// A set-up that is made anew when its files change.
    fn following(
        options: &TlsOptions,
        recipe: impl Fn(&TlsOptions) -> Result<SslContext, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let own = options.clone();
        let set_up = Rotation::new(options, move || recipe(&own))?;
        Ok(Self {
            set_up: Arc::new(set_up),
        })
    }

    /// When the own certificate is over; nothing without one.
    pub(crate) fn expiry(&self) -> Option<Timestamp> {
        self.set_up.expiry()
    }

    /// Builds the set-up of a server whose clients show a certificate only if there is an
    /// authority to check it with.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    #[cfg(feature = "http")]
    pub(crate) fn for_web_clients(options: &TlsOptions) -> Result<Self, Error> {
        if !options.is_authenticated() || options.ca_file.is_some() || options.ca_path.is_some() {
            return Self::new(options);
        }
        Self::following(options, |options| {
            let mut builder = SslContext::builder(SslMethod::tls()).map_err(|e| broken(&e))?;
            authenticated(&mut builder, options)?;
            builder.set_verify(SslVerifyMode::NONE);
            build(builder)
        })
    }

    /// Builds the set-up of a client of WebSocket servers.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    #[cfg(feature = "http")]
    pub(crate) fn for_web_servers(options: &Options) -> Result<Self, Error> {
        let own = options.clone();
        let mut files = options.tls.clone();
        if options.web_socket_peer.has_authorities() {
            files.ca_file.clone_from(&options.web_socket_peer.ca_file);
            files.ca_path.clone_from(&options.web_socket_peer.ca_path);
        }
        Self::following(&files, move |_| Self::web_servers(&own))
    }

    #[cfg(feature = "http")]
    fn web_servers(options: &Options) -> Result<SslContext, Error> {
        use crate::WebSocketTrust::{Anonymous, Anybody, Certificate};
        let (servers, options) = (&options.web_socket_peer, &options.tls);
        let trusted = servers.trust;
        let authorities = if servers.has_authorities() {
            Authorities {
                file: servers.ca_file.as_deref(),
                path: servers.ca_path.as_deref(),
            }
        } else {
            Authorities::of_peers(options)
        };
        let mut builder = SslContext::builder(SslMethod::tls()).map_err(|e| broken(&e))?;
        if trusted == Anonymous {
            anonymous(&mut builder).map_err(|e| broken(&e))?;
            return build(builder);
        }
        if options.certificate.is_some() || options.key.is_some() {
            authenticated(&mut builder, options)?;
        }
        match trusted {
            Certificate if !authorities.is_empty() => trust(&mut builder, authorities)?,
            Certificate => {
                trust_system(&mut builder).map_err(|e| broken(&e))?;
            }
            Anonymous | Anybody => builder.set_verify(SslVerifyMode::NONE),
        }
        build(builder)
    }

    /// The set-up for servers of NATS: they show a certificate of an authority that is trusted, by
    /// default one of the system's; this endpoint shows its own if there is one.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    #[cfg(feature = "nats")]
    pub(crate) fn for_nats_servers(options: &TlsOptions) -> Result<Self, Error> {
        Self::following(options, |options| {
            let mut builder = SslContext::builder(SslMethod::tls()).map_err(|e| broken(&e))?;
            if options.certificate.is_some() || options.key.is_some() {
                authenticated(&mut builder, options)?;
            }
            let authorities = Authorities::of_peers(options);
            if authorities.is_empty() {
                trust_system(&mut builder).map_err(|e| broken(&e))?;
            } else {
                trust(&mut builder, authorities)?;
            }
            build(builder)
        })
    }

    /// As [`for_web_servers`](Self::for_web_servers) if files are named for that alone, so that a
    /// wrong one is found now; otherwise it is made later.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    #[cfg(feature = "http")]
    pub(crate) fn prepared_for_web_servers(
        options: &Options,
    ) -> Result<std::sync::OnceLock<Result<Self, String>>, Error> {
        Ok(if options.web_socket_peer.has_authorities() {
            Ok(Self::for_web_servers(options)?).into()
        } else {
            std::sync::OnceLock::new()
        })
    }

    /// Performs the TLS handshake.
    ///
    /// # Errors
    ///
    /// Fails with a text that names the cause.
    pub(crate) async fn handshake(
        &self,
        stream: TcpStream,
        role: Role,
    ) -> Result<SslStream<Sniffed>, HandshakeError> {
        let ssl = Ssl::new(&self.set_up.context()).map_err(set_up_failed)?;
        perform(ssl, stream, role).await
    }

    /// Performs the TLS handshake with a server that is known by name; `is_named` says that its
    /// certificate must have that name.
    ///
    /// # Errors
    ///
    /// Fails with a text that names the cause.
    #[cfg(feature = "http")]
    pub(crate) async fn connect_to(
        &self,
        stream: TcpStream,
        name: &str,
        is_named: bool,
    ) -> Result<SslStream<Sniffed>, HandshakeError> {
        let prepare = || {
            let mut ssl = Ssl::new(&self.set_up.context())?;
            let address = name.parse::<std::net::IpAddr>().ok();
            if address.is_none() {
                ssl.set_hostname(name)?;
            }
            if is_named {
                match address {
                    Some(address) => ssl.param_mut().set_ip(address)?,
                    None => ssl.param_mut().set_host(name)?,
                }
            }
            Ok(ssl)
        };
        let ssl = prepare().map_err(set_up_failed)?;
        perform(ssl, stream, Role::Connector).await
    }
}

fn build(mut builder: SslContextBuilder) -> Result<SslContext, Error> {
    builder
        .set_min_proto_version(Some(SslVersion::TLS1_2))
        .map_err(|e| broken(&e))?;
    builder
        .set_session_id_context(b"broker")
        .map_err(|e| broken(&e))?;
    builder.set_mode(
        SslMode::AUTO_RETRY
            | SslMode::ENABLE_PARTIAL_WRITE
            | SslMode::ACCEPT_MOVING_WRITE_BUFFER
            // An idle connection gives its 32 KiB of record buffers back.
            | SslMode::RELEASE_BUFFERS,
    );
    // One system call per record instead of two: header and body come together.
    builder.set_read_ahead(true);
    Ok(builder.build())
}

/// Why a TLS handshake failed.
#[derive(Debug)]
pub(crate) struct HandshakeError {
    pub(crate) cause: String,
    /// The other side has gone and never sent a byte.
    pub(crate) silent: bool,
}

fn set_up_failed(error: ErrorStack) -> HandshakeError {
    HandshakeError {
        cause: format!("cannot set up TLS: {error}"),
        silent: false,
    }
}

async fn perform(
    ssl: Ssl,
    stream: TcpStream,
    role: Role,
) -> Result<SslStream<Sniffed>, HandshakeError> {
    let mut stream = SslStream::new(ssl, Sniffed::new(stream)).map_err(set_up_failed)?;
    let outcome = match role {
        Role::Acceptor => Pin::new(&mut stream).accept().await,
        Role::Connector => Pin::new(&mut stream).connect().await,
    };
    match outcome {
        Ok(()) => Ok(stream),
        Err(error) => {
            let cause = explain(&stream, &error);
            let silent = stream.get_ref().first().is_empty();
            if matches!(role, Role::Acceptor) {
                let ended = end_refused(&mut stream.get_mut().stream);
                let _ = tokio::time::timeout(REFUSED_LINGER_TIMEOUT, ended).await;
            }
            Err(HandshakeError { cause, silent })
        }
    }
}

/// Ends a connection that was refused. Closing with unread input makes the system reset it, and
/// the reset can overtake the alert that says why.
async fn end_refused(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.shutdown().await?;
    let mut sink = [0; 1024];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}

fn broken(error: &ErrorStack) -> Error {
    Error::Tls {
        cause: format!("OpenSSL refuses the set-up: {error}"),
    }
}

fn anonymous(builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_groups_list(ANONYMOUS_GROUPS)?;
    builder.set_cipher_list(ANONYMOUS_CIPHERS)
}

fn authenticated(builder: &mut SslContextBuilder, options: &TlsOptions) -> Result<(), Error> {
    use_identity(builder, options)?;
    builder
        .set_cipher_list(AUTHENTICATED_CIPHERS)
        .map_err(|e| broken(&e))
}

/// Has the certificate of `options` shown to the other side.
pub(super) fn use_identity(
    builder: &mut SslContextBuilder,
    options: &TlsOptions,
) -> Result<(), Error> {
    let missing = |what: &str| Error::Tls {
        cause: format!("no {what} is configured: with authentication both are mandatory"),
    };
    let certificate = options
        .certificate
        .as_deref()
        .ok_or_else(|| missing("certificate"))?;
    let key = options
        .key
        .as_deref()
        .ok_or_else(|| missing("private key"))?;
    readable(certificate, "certificate")?;
    builder
        .set_certificate_chain_file(certificate)
        .map_err(|e| unusable("certificate", certificate, &e))?;
    let private_key = private_key(key, options.passphrase.as_deref())?;
    // OpenSSL compares the two when the key is set; the check catches what it compares later.
    let paired = builder
        .set_private_key(&private_key)
        .and_then(|()| builder.check_private_key());
    paired.map_err(|_| Error::Tls {
        cause: format!(
            "private key `{}` does not belong to certificate `{}`",
            key.display(),
            certificate.display()
        ),
    })
}

/// Where the authorities are whose certificates are accepted.
#[derive(Clone, Copy)]
struct Authorities<'a> {
    file: Option<&'a Path>,
    path: Option<&'a Path>,
}

impl<'a> Authorities<'a> {
    fn of_peers(options: &'a TlsOptions) -> Self {
        Self {
            file: options.ca_file.as_deref(),
            path: options.ca_path.as_deref(),
        }
    }

    const fn is_empty(self) -> bool {
        self.file.is_none() && self.path.is_none()
    }
}

/// As [`trust`], of the authorities of peers.
pub(super) fn trust_given(
    builder: &mut SslContextBuilder,
    options: &TlsOptions,
) -> Result<(), Error> {
    trust(builder, Authorities::of_peers(options))
}

/// Has the other side show a certificate that one of the authorities signed.
fn trust(builder: &mut SslContextBuilder, authorities: Authorities<'_>) -> Result<(), Error> {
    let Authorities { file, path } = authorities;
    if let Some(file) = file {
        readable(file, "CA file")?;
    }
    if let Some(path) = path {
        std::fs::read_dir(path).map_err(|e| Error::Tls {
            cause: format!("cannot read CA directory `{}`: {e}", path.display()),
        })?;
    }
    if !authorities.is_empty() {
        builder
            .load_verify_locations(file, path)
            .map_err(|e| unusable("CA", file.or(path).unwrap_or(Path::new("")), &e))?;
    } else {
        tracing::warn!(
            event = "no-ca",
            "no CA is configured: every peer will be refused"
        );
    }
    builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    Ok(())
}

/// Where systems keep the authorities they trust; the library that is built in does not know.
const SYSTEM_CA_FILES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

/// Has a server show a certificate that an authority of the system signed. `SSL_CERT_FILE` and
/// `SSL_CERT_DIR` count as they do everywhere.
pub(super) fn trust_system(builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
    builder.set_default_verify_paths()?;
    let is_chosen = std::env::var_os("SSL_CERT_FILE").is_some();
    let known = SYSTEM_CA_FILES
        .iter()
        .find(|file| Path::new(file).is_file());
    match known {
        Some(file) if !is_chosen => builder.set_ca_file(file)?,
        _ => {}
    }
    builder.set_verify(SslVerifyMode::PEER);
    Ok(())
}

fn readable(path: &Path, what: &str) -> Result<(), Error> {
    std::fs::File::open(path)
        .and_then(|file| file.metadata())
        .map_or_else(
            |e| {
                Err(Error::Tls {
                    cause: format!("cannot read {what} `{}`: {e}", path.display()),
                })
            },
            |_| Ok(()),
        )
}

fn unusable(what: &str, path: &Path, error: &ErrorStack) -> Error {
    Error::Tls {
        cause: format!(
            "{what} `{}` is not usable: {}",
            path.display(),
            reason(error)
        ),
    }
}

fn private_key(path: &Path, passphrase: Option<&str>) -> Result<PKey<Private>, Error> {
    let pem = std::fs::read(path).map_err(|e| Error::Tls {
        cause: format!("cannot read private key `{}`: {e}", path.display()),
    })?;
    let passphrase = passphrase.unwrap_or_default().as_bytes();
    if passphrase.len() > PASSPHRASE_MAX {
        return Err(Error::Tls {
            cause: format!("the passphrase is longer than {PASSPHRASE_MAX} bytes"),
        });
    }
    let mut asked = false;
    // Without the callback OpenSSL would ask on the terminal.
    let key = PKey::private_key_from_pem_callback(&pem, |buffer| {
        asked = true;
        if let Some(room) = buffer.get_mut(..passphrase.len()) {
            room.copy_from_slice(passphrase);
        }
        Ok(passphrase.len())
    });
    key.map_err(|e| match (asked, passphrase.is_empty()) {
        (true, true) => Error::Tls {
            cause: format!("private key `{}` needs a passphrase", path.display()),
        },
        (true, false) => Error::Tls {
            cause: format!("wrong passphrase for private key `{}`", path.display()),
        },
        (false, _) => unusable("private key", path, &e),
    })
}

/// The last reason in OpenSSL's words.
pub(super) fn reason(error: &ErrorStack) -> String {
    let reason = error
        .errors()
        .last()
        .and_then(openssl::error::Error::reason);
    reason.map_or_else(|| error.to_string(), str::to_owned)
}

/// Says in the user's words why a TLS handshake failed.
fn explain(stream: &SslStream<Sniffed>, error: &openssl::ssl::Error) -> String {
    let first = stream.get_ref().first();
    if let Some(what) = not_tls(first) {
        return what.to_owned();
    }
    let verdict = stream.ssl().verify_result();
    if verdict != X509VerifyResult::OK {
        return format!(
            "the other side's certificate is not trusted: {}",
            verdict.error_string()
        );
    }
    if let Some(stack) = error.ssl_error() {
        return in_words(stack);
    }
    match error.io_error() {
        Some(cause) => format!("TLS handshake failed: {cause}"),
        None if error.code() == ErrorCode::ZERO_RETURN || first.is_empty() => closed(),
        None => format!("TLS handshake failed: {error}"),
    }
}

fn in_words(stack: &ErrorStack) -> String {
    let reason = reason(stack);
    match reason.as_str() {
        "no shared cipher"
        | "sslv3 alert handshake failure"
        | "ssl/tls alert handshake failure" => {
            "no common cipher: one side authenticates with certificates, the other does not"
                .to_owned()
        }
        "tlsv1 alert unknown ca" => {
            "the other side does not trust the CA of our certificate".to_owned()
        }
        "tlsv13 alert certificate required" | "peer did not return a certificate" => {
            "one side demands a certificate and the other has none".to_owned()
        }
        "unexpected eof while reading" => closed(),
        _ => format!("TLS handshake failed: {reason}"),
    }
}

/// What the other side said against us in an error of an encrypted stream: in TLS 1.3 it looks at
/// our certificate when our handshake is over.
pub(crate) fn alert(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<openssl::ssl::Error>()?;
    let stack = error.ssl_error()?;
    reason(stack).contains(" alert ").then(|| in_words(stack))
}

/// Whether an error of an encrypted stream only says that it is over: OpenSSL tells the reason once, and
/// whoever uses the stream after that gets none.
pub(crate) fn is_end(error: &io::Error) -> bool {
    let error = error.get_ref();
    let error = error.and_then(|error| error.downcast_ref::<openssl::ssl::Error>());
    error.is_some_and(|error| error.code() == ErrorCode::SYSCALL && error.io_error().is_none())
}

fn closed() -> String {
    "the connection was closed during the TLS handshake (does the other side use TLS?)".to_owned()
}

/// Recognises what speaks instead of TLS.
fn not_tls(first: &[u8]) -> Option<&'static str> {
    match first {
        [] | [0x14..=0x17, ..] => None,
        [0, _, _, _, tag, ..] if matches!(*tag, 6..=12) => {
            Some("the other side is a Broker endpoint without TLS")
        }
        _ => Some("the other side does not speak TLS"),
    }
}

/// A TCP stream that remembers the first bytes that came, to name the cause of a failure.
#[derive(Debug)]
pub(crate) struct Sniffed {
    stream: TcpStream,
    first: [u8; SNIFFED_MAX],
    length: usize,
}

impl Sniffed {
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            first: [0; SNIFFED_MAX],
            length: 0,
        }
    }

    /// The stream below.
    #[cfg(feature = "status")]
    pub(super) const fn tcp(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn first(&self) -> &[u8] {
        self.first.get(..self.length).unwrap_or_default()
    }
}

impl AsyncRead for Sniffed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.length < SNIFFED_MAX {
            let this = &mut *self;
            let came = buf.filled().get(before..).unwrap_or_default();
            for (slot, byte) in this.first.iter_mut().skip(this.length).zip(came) {
                *slot = *byte;
                this.length += 1;
            }
        }
        polled
    }
}

impl AsyncWrite for Sniffed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
