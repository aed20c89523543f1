//! Rules of links by the address of the peer at the other end.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker_proto::link_rules::LinkRules;
use broker_proto::peer_url::PeerUrl;

use crate::lock::Lock;

/// The rules that the program gave.
#[derive(Debug, Default)]
pub(crate) struct RulesByAddress {
    /// Bound: the links that the program asked for and has not ended.
    given: Lock<BTreeMap<(String, u16), Arc<LinkRules>>>,
}

impl RulesByAddress {
    /// Has connections with an address go by these rules from the next one on.
    pub(crate) fn set(&self, url: &PeerUrl, rules: LinkRules) {
        let mut given = self.given.lock();
        given.insert((url.host(), url.port), Arc::new(rules));
    }

    /// Forgets them.
    pub(crate) fn forget(&self, url: &PeerUrl) {
        self.given.lock().remove(&(url.host(), url.port));
    }

    /// Those of an address, if it has any.
    pub(crate) fn of(&self, host: String, port: u16) -> Option<Arc<LinkRules>> {
        self.given.lock().get(&(host, port)).cloned()
    }
}
