//! Where to connect, and how: from the command line, the environment and the contexts.

use std::path::{Path, PathBuf};

use broker::proto::peer_url::{PeerUrl, Scheme};
use broker::zeromq::Curve;
use broker::{Options, TlsOptions};

use crate::arguments::{ConnectionArguments, CurveArguments, Global, TlsArguments};
use crate::contexts::{self, Context, Contexts};
use crate::nearest::check_file;
use crate::outcome::Failure;

/// Peers to connect to, at least one, and the options of the endpoint that does.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) peers: Vec<PeerUrl>,
    pub(crate) options: Options,
}

/// Reads the address of a peer; without a scheme it is that of a native one.
pub(crate) fn peer_url(text: &str) -> Result<PeerUrl, Failure> {
    let url = if text.contains("://") {
        text.to_owned()
    } else {
        format!("zeek://{text}")
    };
    PeerUrl::parse(&url, None).map_err(|mut error| {
        error.text = text.to_owned();
        Failure::usage(error.to_string())
            .hint("addresses are HOST:PORT, zeek://HOST:PORT, ws://HOST:PORT, wss://HOST:PORT, zmq://HOST:PORT or nats://HOST:PORT")
    })
}

/// Addresses as they were given, at least one, and the context that they or the options are of.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) urls: Vec<String>,
    pub(crate) context: Context,
}

impl Place {
    /// What the command line says, else the named context, else `$BROKER_URL`, else the selected
    /// context.
    pub(crate) fn find(connection: &ConnectionArguments, global: &Global) -> Result<Self, Failure> {
        let mut context = Context::default();
        let mut urls = connection.urls.clone();
        if let Some(name) = &global.context {
            context = Contexts::load()?.find(name)?.clone();
        } else if urls.is_empty() {
            match std::env::var("BROKER_URL")
                .ok()
                .filter(|url| !url.is_empty())
            {
                Some(url) => urls = url.split_whitespace().map(str::to_owned).collect(),
                None => {
                    let contexts = Contexts::load()?;
                    let selected = contexts.selected.as_deref();
                    context = match selected {
                        Some(name) => contexts.find(name)?.clone(),
                        None => Context::default(),
                    };
                }
            }
        }
        if urls.is_empty() {
            urls.clone_from(&context.urls);
        }
        if urls.is_empty() {
            return Err(Failure::usage("nowhere to connect to")
                .hint("give -u HOST:PORT, set BROKER_URL, or select a context"));
        }
        Ok(Self { urls, context })
    }

    /// The address to bind to for the logs of a ZeroMQ cluster, if it is that of a logger.
    ///
    /// # Errors
    ///
    /// When there are others beside it.
    pub(crate) fn logger(&self) -> Result<Option<&str>, Failure> {
        let is_logger = |url: &&String| url.starts_with("zmq-pull://");
        match (self.urls.iter().find(is_logger), self.urls.len()) {
            (Some(url), 1) => Ok(Some(url)),
            (Some(url), _) => Err(Failure::usage(format!(
                "`{url}` is where nodes push their logs: no other address goes with it"
            ))),
            (None, _) => Ok(None),
        }
    }
}

impl Target {
    /// Reads what [`Place::find`] finds. TLS is that of the context that gave the address, unless the
    /// command line has some.
    pub(crate) fn find(connection: &ConnectionArguments, global: &Global) -> Result<Self, Failure> {
        Self::of(Place::find(connection, global)?, connection)
    }

    pub(crate) fn of(place: Place, connection: &ConnectionArguments) -> Result<Self, Failure> {
        let Place { urls, context } = place;
        let peers: Vec<PeerUrl> = urls
            .iter()
            .map(|url| peer_url(url))
            .collect::<Result<_, _>>()?;
        let curve = curve(&connection.curve, context.curve.as_deref())?;
        let tls = Tls::of(&connection.tls, context)?;
        let mut options = tls.options(&peers);
        options.zeromq_peer.curve = curve;
        Ok(Self { peers, options })
    }

    /// Whether all peers say what they subscribe to, which WebSocket servers do not.
    pub(crate) fn tells_subscriptions(&self) -> bool {
        let tells = |scheme| matches!(scheme, Scheme::Native | Scheme::ZeroMq);
        self.peers.iter().all(|peer| tells(peer.scheme))
    }

    /// Whether all peers speak the native protocol.
    pub(crate) fn is_native(&self) -> bool {
        self.peers.iter().all(|peer| peer.scheme == Scheme::Native)
    }
}

/// The path that stands for no encryption of ZeroMQ.
pub(crate) const CURVE_OFF: &str = "off";

/// Keys of ZeroMQ: what the command line says, else the context, else the environment. What is in
/// them is looked at when they are used.
pub(crate) fn curve(arguments: &CurveArguments, context: Option<&Path>) -> Result<Curve, Failure> {
    let Some(path) = arguments.curve.as_deref().or(context) else {
        return Ok(Curve::Environment);
    };
    if path == Path::new(CURVE_OFF) {
        return Ok(Curve::Off);
    }
    check_file("CURVE keys", path)?;
    Ok(Curve::at(path))
}

/// Certificates, from wherever they are said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tls {
    options: TlsOptions,
    disabled: bool,
}

impl Tls {
    /// What the command line says; what it does not say is that of the context.
    pub(crate) fn of(arguments: &TlsArguments, context: Context) -> Result<Self, Failure> {
        let given = |path: &Option<PathBuf>, other: Option<PathBuf>| path.clone().or(other);
        let (certificate, key) = match &arguments.cert {
            // A key of the context belongs to the certificate of the context.
            Some(certificate) => (Some(certificate.clone()), arguments.key.clone()),
            None => (context.cert, given(&arguments.key, context.key)),
        };
        let passphrase = match (&arguments.passphrase_file, &context.passphrase) {
            (Some(path), _) => Some(contexts::first_line("the passphrase", path)?),
            (None, Some(secret)) if arguments.key.is_none() && !arguments.no_tls => {
                Some(secret.reveal()?)
            }
            (None, _) => None,
        };
        let options = TlsOptions {
            certificate,
            key,
            passphrase,
            ca_file: given(&arguments.cafile, context.cafile),
            ca_path: given(&arguments.capath, context.capath),
        };
        for (what, path) in [
            ("certificate", &options.certificate),
            ("key", &options.key),
            ("CA file", &options.ca_file),
            ("CA folder", &options.ca_path),
        ] {
            if let Some(path) = path {
                check_file(what, path)?;
            }
        }
        let disabled = arguments.no_tls || context.no_tls && arguments.cert.is_none();
        Ok(Self { options, disabled })
    }

    /// The options of an endpoint with that.
    pub(crate) fn options(self, peers: &[PeerUrl]) -> Options {
        let mut options = Options {
            disable_ssl: self.disabled,
            ..Options::default()
        };
        let is_native = peers.iter().any(|peer| peer.scheme == Scheme::Native);
        if self.options.certificate.is_none() && self.options.key.is_none() && !is_native {
            // An authority alone is enough for a WebSocket server; native peers need more.
            options.web_socket_peer.ca_file = self.options.ca_file;
            options.web_socket_peer.ca_path = self.options.ca_path;
        } else if !self.disabled {
            options.tls = self.options;
        }
        options.web_socket_peer.application = Some("broker-cli".to_owned());
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_scheme_is_native() {
        for (text, expected) in [
            ("host", "zeek://host:9999"),
            ("host:1", "zeek://host:1"),
            ("[::1]:1", "zeek://[::1]:1"),
            ("ws://host:2", "ws://host:2/v1/messages/json"),
            ("zmq://host", "zmq://host:5555"),
        ] {
            let url = peer_url(text).unwrap_or_else(|failure| panic!("{failure:?}"));
            assert_eq!(url.to_string(), expected);
        }
        for text in ["", "host:x", "http://host", "host:70000", "mqtt://host"] {
            assert!(peer_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_authority_alone_is_for_servers() {
        let tls = || Tls {
            options: TlsOptions {
                ca_file: Some("ca.pem".into()),
                ..TlsOptions::default()
            },
            disabled: false,
        };
        let url = |text| vec![peer_url(text).unwrap_or_else(|failure| panic!("{failure:?}"))];
        let server = tls().options(&url("wss://host"));
        assert_eq!(server.web_socket_peer.ca_file, Some("ca.pem".into()));
        assert!(!server.tls.is_authenticated());
        assert!(tls().options(&url("host")).tls.is_authenticated());
    }
}
