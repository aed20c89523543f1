//! Options of peerings with proxies of Zeek clusters that use ZeroMQ.

use broker_proto::zmtp::Security;

use super::Curve;
use crate::error::Error;

/// Longest name of a node. Those of layouts are short; ids have the name in them.
const NAME_BYTES_MAX: usize = 128;

/// What this endpoint is in the cluster. Spec: zeromq 5.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ZeroMqMembership {
    /// It looks on: nodes do not count it as one of them.
    #[default]
    Observer,
    /// It takes the place of a node of the layout: it says hello, and is subscribed to what nodes of its
    /// kind are, so that it gets a share of their work.
    Node {
        /// Name in the layout, such as `proxy-1`.
        name: String,
    },
}

/// Options of one peering with a proxy, `zmq://`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ZeroMqPeerOptions {
    /// Where keys for CURVE come from: the server's public one and both of clients are needed. They are
    /// looked up when the peering is asked for.
    pub curve: Curve,
    /// What this endpoint is in the cluster.
    pub membership: ZeroMqMembership,
    /// Whether topics of clusters have one spelling, `zeek/cluster/worker`, whatever connects the
    /// cluster: `zeek.cluster.worker` of this one is read and written as that.
    pub unifies_topics: bool,
}

impl ZeroMqPeerOptions {
    /// Refuses values that could never work.
    ///
    /// # Errors
    ///
    /// [`Error::CurveKeys`] for keys that cannot be read, are not complete or do not belong together,
    /// [`Error::Option`] for names that no node can have.
    pub fn check(&self) -> Result<(), Error> {
        self.security()?;
        self.check_membership()
    }

    /// Whether connections are encrypted: whether there are keys.
    ///
    /// # Errors
    ///
    /// [`Error::CurveKeys`] for keys that cannot be read, are not complete or do not belong together.
    pub fn is_encrypted(&self) -> Result<bool, Error> {
        Ok(matches!(self.security()?, Security::CurveClient { .. }))
    }

    /// These options with the keys of this moment, checked.
    pub(crate) fn resolved(mut self) -> Result<Self, Error> {
        self.check_membership()?;
        self.curve = self.curve.resolved()?;
        Ok(self)
    }

    fn check_membership(&self) -> Result<(), Error> {
        if let ZeroMqMembership::Node { name } = &self.membership {
            let is_name = !name.is_empty()
                && name.len() <= NAME_BYTES_MAX
                && name.bytes().all(|byte| byte.is_ascii_graphic());
            if !is_name {
                return Err(Error::Option {
                    name: "membership name",
                    cause: format!(
                        "expected the name of a node such as `proxy-1`, found `{}`",
                        name.escape_debug()
                    ),
                });
            }
        }
        Ok(())
    }

    pub(crate) fn security(&self) -> Result<Security, Error> {
        self.curve.client()
    }
}

#[cfg(test)]
mod tests {
    use broker_proto::zmtp::CurveKeys;

    use super::*;

    #[test]
    fn what_could_never_work_is_refused() {
        let named = |name: &str| ZeroMqPeerOptions {
            membership: ZeroMqMembership::Node {
                name: name.to_owned(),
            },
            ..ZeroMqPeerOptions::default()
        };
        assert!(ZeroMqPeerOptions::default().check().is_ok());
        assert!(named("worker-1").check().is_ok());
        for name in ["", "a b", "a\n", "\u{e9}"] {
            let error = named(name).check().unwrap_err().to_string();
            assert!(error.contains("proxy-1"), "{error}");
        }
        assert!(named(&"a".repeat(NAME_BYTES_MAX + 1)).check().is_err());
        let options = ZeroMqPeerOptions {
            curve: Curve::Keys(CurveKeys {
                client_public: "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID".parse().ok(),
                ..CurveKeys::default()
            }),
            ..ZeroMqPeerOptions::default()
        };
        let error = options.check().unwrap_err().to_string();
        assert!(error.contains("server_publickey"), "{error}");
    }
}
