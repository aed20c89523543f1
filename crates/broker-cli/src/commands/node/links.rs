//! Links of a node: peers that only listed topics come from and go to.

use broker::proto::peer_url::{PeerUrl, Scheme};
use broker::{Endpoint, LinkRules, NatsPeerOptions, Retry};
use serde::Deserialize;

use super::configuration::{path, secret};
use crate::contexts::Secret;
use crate::nearest::check_file;
use crate::outcome::Failure;
use crate::target::peer_url;

/// One link: `[[link]]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Link {
    peer: String,
    #[serde(default)]
    import: Vec<String>,
    #[serde(default)]
    export: Vec<String>,
    /// How to log in to servers of NATS.
    #[serde(default)]
    nats: Option<Nats>,
}

/// `[link.nats]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Nats {
    user: Option<String>,
    #[serde(deserialize_with = "secret")]
    password: Option<Secret>,
    #[serde(deserialize_with = "secret")]
    token: Option<Secret>,
    #[serde(deserialize_with = "path")]
    credentials_file: Option<std::path::PathBuf>,
    prefix: Option<String>,
}

impl Link {
    /// One that the same topics cross both ways.
    pub(super) fn both_ways(peer: &str, topics: &[String]) -> Self {
        Self {
            peer: peer.to_owned(),
            import: topics.to_vec(),
            export: topics.to_vec(),
            nats: None,
        }
    }

    /// What crosses it one way or the other.
    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        self.import().chain(self.export())
    }

    fn import(&self) -> impl Iterator<Item = &str> {
        self.import.iter().map(String::as_str)
    }

    fn export(&self) -> impl Iterator<Item = &str> {
        self.export.iter().map(String::as_str)
    }

    fn url(&self) -> Result<PeerUrl, Failure> {
        peer_url(&self.peer)
    }

    /// Finds what is wrong with it, without doing anything.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let url = self.url()?;
        if self.import.is_empty() && self.export.is_empty() {
            let what = format!("link `{}`: nothing crosses it", self.peer);
            return Err(Failure::usage(what).hint("give it `import` or `export`; [\"\"] is all"));
        }
        let Some(nats) = &self.nats else {
            return Ok(());
        };
        if url.scheme != Scheme::Nats {
            let what = format!("link `{}`: `nats` is for nats:// only", self.peer);
            return Err(Failure::usage(what));
        }
        nats.options()?.check()?;
        Ok(())
    }

    /// Begins it; what becomes of it is told by events.
    pub(super) fn start(&self, endpoint: &Endpoint, retry: Retry) -> Result<(), Failure> {
        let url = self.url()?;
        let rules = LinkRules::new(self.import(), self.export());
        let (import, export) = (rules.import.len(), rules.export.len());
        endpoint.set_link_rules(&url, rules);
        tracing::info!(event = "link", peer = %url, import, export);
        match &self.nats {
            None => drop(endpoint.peer_url(url, retry)),
            Some(nats) => drop(endpoint.peer_nats(url, retry, nats.options()?)),
        }
        Ok(())
    }

    /// Ends it.
    pub(super) async fn end(&self, endpoint: &Endpoint) {
        if let Ok(url) = self.url() {
            endpoint.unpeer_url(&url).await;
        }
    }

    /// Whether both lead to the same place.
    pub(super) fn is_with_peer_of(&self, other: &Self) -> bool {
        let host_and_port = |link: &Self| link.url().ok().map(|url| (url.host(), url.port));
        host_and_port(self) == host_and_port(other)
    }
}

impl Nats {
    fn options(&self) -> Result<NatsPeerOptions, Failure> {
        if let Some(path) = &self.credentials_file {
            check_file("the file of credentials", path)?;
        }
        let reveal = |secret: &Option<Secret>| secret.as_ref().map(Secret::reveal).transpose();
        Ok(NatsPeerOptions {
            user: self.user.clone(),
            password: reveal(&self.password)?,
            token: reveal(&self.token)?,
            credentials_file: self.credentials_file.clone(),
            prefix: self.prefix.clone(),
            ..NatsPeerOptions::default()
        })
    }
}
