//! A look at what a TLS server shows of itself, for programs that search for the reason why no
//! peering comes about.
//!
//! The probe offers everything that there is and trusts everything, so that it gets as far as the
//! server lets it; what an endpoint would think of the server is in [`TlsProbe::distrust`]. It must
//! not be used to exchange anything that matters.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use openssl::ssl::{Ssl, SslContext, SslMethod, SslVerifyMode};
use openssl::x509::X509VerifyResult;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use super::tls::{Sniffed, reason, trust_given, trust_system, use_identity};
use super::tls_session::{Agreed, PeerCertificate, TlsSession};
use crate::config::TlsOptions;
use crate::error::Error;

/// Every suite there is, also those without certificates and those of yesterday.
const ALL_CIPHERS: &str = "ALL:@SECLEVEL=0";

/// Why a TLS server did not go on with the probe.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsRefusal {
    /// It wants to see a certificate, and the probe has none.
    CertificateDemanded,
    /// It does not accept the certificate of the probe; the reason in OpenSSL's words.
    CertificateRefused(String),
    /// What it speaks is no TLS.
    NotTls,
    /// It closed the connection.
    Closed,
    /// Anything else, in OpenSSL's words.
    Other(String),
}

/// What a TLS server showed of itself. See [`probe_tls`].
#[derive(Debug)]
#[non_exhaustive]
pub struct TlsProbe {
    /// What both sides agreed on; `None` when there was no handshake.
    pub session: Option<TlsSession>,
    /// The certificates it showed, its own first; none if it works without.
    pub chain: Vec<PeerCertificate>,
    /// Why its certificate is not to be trusted, by the authorities that were given.
    pub distrust: Option<Distrust>,
    /// Why it did not go on.
    pub refusal: Option<TlsRefusal>,
    /// What it said first if that was no TLS; the first bytes of it.
    pub instead: Vec<u8>,
    has_identity: bool,
    stream: Option<SslStream<Sniffed>>,
}

/// Why a certificate is not to be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Distrust {
    /// Its time is over.
    Expired,
    /// Its time has not come yet.
    NotYetValid,
    /// No authority that is trusted signed it.
    UnknownAuthority,
    /// It is for another name.
    WrongName,
    /// Anything else, in OpenSSL's words.
    Other(String),
}

/// Connects to a server and looks at its TLS: with the certificate of `options` if there is one.
/// `name` is the name its certificate must have; without it names do not count, as between native
/// peers. Without authorities in `options`, those of the system count for a server with a name,
/// and none for others.
///
/// # Errors
///
/// When no connection comes about, or a file of `options` cannot be used.
pub async fn probe_tls(
    address: SocketAddr,
    name: Option<&str>,
    options: &TlsOptions,
) -> Result<TlsProbe, Error> {
    let broken = |error: openssl::error::ErrorStack| Error::Tls {
        cause: format!("cannot set up TLS: {error}"),
    };
    let mut builder = SslContext::builder(SslMethod::tls()).map_err(broken)?;
    let has_identity = options.certificate.is_some() && options.key.is_some();
    if has_identity {
        use_identity(&mut builder, options)?;
    }
    let has_authorities = options.ca_file.is_some() || options.ca_path.is_some();
    if has_authorities {
        trust_given(&mut builder, options)?;
    } else if name.is_some() {
        trust_system(&mut builder).map_err(broken)?;
    }
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_cipher_list(ALL_CIPHERS).map_err(broken)?;
    builder.set_min_proto_version(None).map_err(broken)?;
    let mut ssl = Ssl::new(&builder.build()).map_err(broken)?;
    if let Some(name) = name {
        let named = match name.parse() {
            Ok(address) => ssl.param_mut().set_ip(address),
            Err(_) => ssl
                .set_hostname(name)
                .and_then(|()| ssl.param_mut().set_host(name)),
        };
        named.map_err(broken)?;
    }
    let unreachable = |error: io::Error| Error::Tls {
        cause: format!("cannot connect to {address}: {error}"),
    };
    let stream = TcpStream::connect(address).await.map_err(unreachable)?;
    let mut stream = SslStream::new(ssl, Sniffed::new(stream)).map_err(broken)?;
    let outcome = Pin::new(&mut stream).connect().await;
    let agreed = Agreed::of(stream.ssl());
    let chain = agreed.chain();
    let verdict = stream.ssl().verify_result();
    let is_judged = (has_authorities || name.is_some()) && !chain.is_empty();
    let mut probe = TlsProbe {
        session: None,
        distrust: is_judged.then(|| distrust(verdict)).flatten(),
        refusal: None,
        instead: Vec::new(),
        has_identity,
        chain,
        stream: None,
    };
    match outcome {
        Ok(()) => {
            probe.session = Some(TlsSession::from(&agreed));
            probe.stream = Some(stream);
        }
        Err(error) => {
            let first = stream.get_ref().first();
            if !matches!(first, [] | [0x14..=0x17, ..]) {
                probe.instead = first.to_vec();
                probe.refusal = Some(TlsRefusal::NotTls);
            } else {
                probe.refusal = Some(probe.refusal_of(&error));
            }
        }
    }
    Ok(probe)
}

impl TlsProbe {
    /// Sends through the connection.
    ///
    /// # Errors
    ///
    /// As the connection; also without one.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        stream.write_all(bytes).await?;
        stream.flush().await
    }

    /// Appends what comes through the connection; 0 at its end, whose reason is then in
    /// [`refusal`](Self::refusal). In TLS 1.3 a server looks at the certificate of the client
    /// when the handshake is over.
    ///
    /// # Errors
    ///
    /// None but that of a connection that there is not.
    pub async fn read(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        match stream.read_buf(bytes).await {
            Ok(0) => {
                self.refusal.get_or_insert(TlsRefusal::Closed);
                Ok(0)
            }
            Ok(read) => Ok(read),
            Err(error) => {
                let inner = error.get_ref().and_then(|it| it.downcast_ref());
                let refusal = inner.map_or(TlsRefusal::Closed, |error| self.refusal_of(error));
                self.refusal.get_or_insert(refusal);
                Ok(0)
            }
        }
    }

    fn refusal_of(&self, error: &openssl::ssl::Error) -> TlsRefusal {
        let Some(stack) = error.ssl_error() else {
            return TlsRefusal::Closed;
        };
        let reason = reason(stack);
        match reason.rsplit_once(" alert ").map(|(_, alert)| alert) {
            Some("certificate required") => TlsRefusal::CertificateDemanded,
            // Up to TLS 1.2 the same alert stands for everything; a server that has shown its own
            // certificate has found a suite.
            Some("handshake failure") if !self.chain.is_empty() && !self.has_identity => {
                TlsRefusal::CertificateDemanded
            }
            Some(
                alert @ ("unknown ca"
                | "bad certificate"
                | "certificate expired"
                | "certificate revoked"
                | "certificate unknown"
                | "unsupported certificate"
                | "access denied"
                | "decrypt error"),
            ) if self.has_identity => TlsRefusal::CertificateRefused(alert.to_owned()),
            _ if reason == "unexpected eof while reading" => TlsRefusal::Closed,
            _ => TlsRefusal::Other(reason),
        }
    }
}

fn distrust(verdict: X509VerifyResult) -> Option<Distrust> {
    // Numbers of OpenSSL's `X509_V_ERR_`, which the bindings do not name.
    match verdict.as_raw() {
        0 => None,
        9 => Some(Distrust::NotYetValid),
        10 => Some(Distrust::Expired),
        2 | 18..=21 => Some(Distrust::UnknownAuthority),
        62 | 64 => Some(Distrust::WrongName),
        _ => Some(Distrust::Other(verdict.error_string().to_owned())),
    }
}
