//! Options of peerings with proxies of Zeek clusters that use ZeroMQ.

use broker_proto::zmtp::{CurveKeys, Security};

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
#[derive(Debug, Clone, Default)]
pub struct ZeroMqPeerOptions {
    /// Keys for CURVE: the server's public one and both of clients. Without any there is no encryption.
    pub curve: CurveKeys,
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
    /// [`Error::Option`] for keys that are not complete or do not belong together, and for names that
    /// no node can have.
    pub fn check(&self) -> Result<(), Error> {
        self.security()?;
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
        match self.curve.client() {
            Ok(security) => Ok(security.unwrap_or(Security::Null)),
            Err(error) => Err(Error::Option {
                name: "curve",
                cause: error.to_string(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
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
        let mut options = ZeroMqPeerOptions::default();
        options.curve.client_public = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID".parse().ok();
        let error = options.check().unwrap_err().to_string();
        assert!(error.contains("server_publickey"), "{error}");
    }
}
