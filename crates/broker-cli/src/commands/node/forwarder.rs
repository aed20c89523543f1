//! The forwarder of a node: the section `[forwarder]` of its file, its start, its keys at a reload.

use std::fmt;
use std::path::PathBuf;

use broker::Endpoint;
use broker::zeromq::{Curve, Forwarder, ForwarderOptions, PublicKey};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

use super::configuration::listen_address;
use crate::outcome::Failure;

/// What stands for no encryption instead of a directory of keys.
const OFF: &str = "off";

/// The section.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Section {
    #[serde(deserialize_with = "address")]
    xpub: Option<String>,
    #[serde(deserialize_with = "address")]
    xsub: Option<String>,
    curve: String,
    clients: Vec<Client>,
    queue_bytes_max: usize,
    total_bytes_max: usize,
}

/// The public key of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Client(PublicKey);

impl Default for Section {
    fn default() -> Self {
        let options = ForwarderOptions::default();
        Self {
            xpub: None,
            xsub: None,
            curve: String::new(),
            clients: Vec::new(),
            queue_bytes_max: options.queue_bytes_max,
            total_bytes_max: options.total_bytes_max,
        }
    }
}

impl Section {
    /// Whether there is to be one.
    pub(super) const fn is_there(&self) -> bool {
        self.xpub.is_some() || self.xsub.is_some()
    }

    /// What the library is to do, if there is to be one; checks everything that can be checked
    /// without doing it.
    pub(super) fn options(&self) -> Result<Option<ForwarderOptions>, Failure> {
        let (xpub, xsub) = match (&self.xpub, &self.xsub) {
            (None, None) => return Ok(None),
            (Some(xpub), Some(xsub)) => (xpub, xsub),
            (Some(_), None) => return Err(incomplete("xpub", "xsub")),
            (None, Some(_)) => return Err(incomplete("xsub", "xpub")),
        };
        let mut options = ForwarderOptions::default();
        options.xpub.clone_from(xpub);
        options.xsub.clone_from(xsub);
        options.curve = self.curve();
        options.clients = self.clients();
        options.queue_bytes_max = self.queue_bytes_max;
        options.total_bytes_max = self.total_bytes_max;
        let checked = options.check();
        checked.map_err(|error| Failure::usage(format!("[forwarder]: {error}")))?;
        Ok(Some(options))
    }

    fn curve(&self) -> Curve {
        match self.curve.as_str() {
            "" => Curve::Environment,
            OFF => Curve::Off,
            directory => Curve::Directory(PathBuf::from(directory)),
        }
    }

    fn clients(&self) -> Vec<PublicKey> {
        self.clients.iter().map(|client| client.0).collect()
    }

    /// Whether more differs than keys, which change while it runs.
    fn differs_beyond_keys(&self, other: &Self) -> bool {
        let keyless = |it: &Self| Self {
            curve: String::new(),
            clients: Vec::new(),
            ..it.clone()
        };
        keyless(self) != keyless(other)
    }
}

fn incomplete(given: &str, missing: &str) -> Failure {
    Failure::usage(format!(
        "[forwarder]: there is `{given}` and no `{missing}`"
    ))
    .hint("publishers connect to `xsub`, subscribers to `xpub`")
}

/// The forwarder that runs, and how it was set up.
#[derive(Debug, Default)]
pub(super) struct Running {
    forwarder: Option<Forwarder>,
    section: Section,
}

impl Running {
    /// Starts it if it is wanted, or gives it its keys if it is there already. With a policy, that of
    /// the endpoint judges its clients.
    pub(super) fn start(
        &mut self,
        wanted: &Section,
        endpoint: &Endpoint,
        has_policy: bool,
    ) -> Result<(), Failure> {
        if let Some(forwarder) = &self.forwarder {
            if wanted.is_there() {
                // Those of a directory may be others although the section is the same.
                forwarder.set_keys(&wanted.curve(), &wanted.clients())?;
                self.section.curve.clone_from(&wanted.curve);
                self.section.clients.clone_from(&wanted.clients);
            }
            return Ok(());
        }
        let Some(mut options) = wanted.options()? else {
            return Ok(());
        };
        options.runtime = Some(tokio::runtime::Handle::current());
        if has_policy {
            endpoint.judge_forwarder(&mut options)?;
        }
        let forwarder = Forwarder::bind(options)?;
        endpoint.report_forwarder(&forwarder)?;
        self.forwarder = Some(forwarder);
        self.section = wanted.clone();
        Ok(())
    }

    /// Whether a section asks for what cannot change while it runs.
    pub(super) fn needs_restart(&self, wanted: &Section) -> bool {
        self.forwarder.is_some() && self.section.differs_beyond_keys(wanted)
    }
}

/// `tcp://ADDRESS:PORT`, or without the scheme as listeners of a node; an empty one is none.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let bare = text.strip_prefix("tcp://").unwrap_or(&text);
    match listen_address(bare) {
        Ok(_) => Ok(Some(text)),
        Err(_) => Err(serde::de::Error::custom(format!(
            "`{text}` is nothing to listen at: expected tcp://ADDRESS:PORT"
        ))),
    }
}

impl<'de> Deserialize<'de> for Client {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ReadClient)
    }
}

/// Refuses a wrong key while it is read: a refusal afterwards has the place of the whole list.
struct ReadClient;

impl Visitor<'_> for ReadClient {
    type Value = Client;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a public key as a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Client, E> {
        // A secret that is given by mistake must not show.
        text.parse().map(Client).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Section, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn both_addresses_or_none() {
        let options = |text| parse(text).unwrap().options();
        assert!(options("").unwrap().is_none());
        assert!(options("xpub = \":0\"\ncurve = \"off\"").is_err());
        assert!(options("xsub = \":0\"\ncurve = \"off\"").is_err());
        let both = "xpub = \"tcp://127.0.0.1:0\"\nxsub = \"[::1]:0\"\ncurve = \"off\"";
        assert!(options(both).unwrap().is_some());
    }

    #[test]
    fn what_makes_no_sense_is_named_and_secrets_are_not() {
        for (text, what) in [
            (
                "xpub = \"udp://a:1\"",
                "`udp://a:1` is nothing to listen at",
            ),
            ("xpub = \"tcp://a\"", "expected tcp://ADDRESS:PORT"),
            ("clients = [\"hunter2\"]", "a CURVE key has 40 characters"),
            ("client = []", "unknown field `client`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                error.contains(what) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn keys_change_and_the_rest_does_not() {
        let section = parse("xpub = \":1\"\nxsub = \":2\"").unwrap();
        let key = broker::zeromq::generate_curve_keypair().unwrap().public;
        let keys = format!("curve = \"/etc/keys\"\nclients = [\"{key}\"]");
        let other = parse(&format!("xpub = \":1\"\nxsub = \":2\"\n{keys}")).unwrap();
        assert!(!section.differs_beyond_keys(&other));
        assert_eq!(other.clients(), [key]);
        for rest in ["xsub = \":3\"", "xsub = \":2\"\ntotal-bytes-max = 1"] {
            let other = parse(&format!("xpub = \":1\"\n{rest}")).unwrap();
            assert!(section.differs_beyond_keys(&other), "{rest}");
        }
    }

    #[test]
    fn limits_reach_the_library() {
        let text = "xpub = \":0\"\nxsub = \":0\"\ncurve = \"off\"\nqueue-bytes-max = 7\ntotal-bytes-max = 8";
        let options = parse(text).unwrap().options().unwrap().unwrap();
        assert_eq!((options.queue_bytes_max, options.total_bytes_max), (7, 8));
    }
}
