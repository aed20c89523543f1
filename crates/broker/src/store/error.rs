//! Errors of data stores.

use std::sync::Arc;

use broker_data::EncodeError;
use broker_proto::store::{BackendError, StoreFailure};
use broker_proto::{EndpointId, ErrorCode};

/// Why a call to a store failed. Each maps to the code the original reports.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A store has a name that is not empty and makes a topic that fits the wire.
    #[error("`{name}` cannot be the name of a store: {cause}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// A peer has the master of that name.
    #[error("cannot attach the master of `{name}`: endpoint {peer} has it")]
    MasterExists {
        /// Name of the store.
        name: String,
        /// The peer.
        peer: EndpointId,
    },
    /// A clone makes no sense beside its own master.
    #[error("cannot attach a clone of `{name}`: its master is on this endpoint")]
    MasterIsHere {
        /// Name of the store.
        name: String,
    },
    /// The only peers speak protocols that carry no stores.
    #[error(
        "cannot attach a clone of `{name}`: data stores need native peers, and all there is are \
         peers of other protocols: {peers}"
    )]
    NoNativePeer {
        /// Name of the store.
        name: String,
        /// The URLs of the peers, in backticks, separated by commas.
        peers: String,
    },
    /// An option of the store has a value it cannot have.
    #[error("store option `{name}`: {cause}")]
    Option {
        /// The option.
        name: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// The storage cannot be opened or read.
    #[error("cannot attach the master of `{name}`: {cause}")]
    Backend {
        /// Name of the store.
        name: String,
        /// In the storage's words.
        cause: String,
    },
    /// The store refused; the code says what kind of refusal it is.
    #[error(transparent)]
    Refused(#[from] StoreFailure),
    /// A key or value cannot be encoded.
    #[error(transparent)]
    Value(#[from] EncodeError),
    /// The change was not applied and never will be: its replica leads no longer.
    #[error("the change is not applied: {0}")]
    NotApplied(String),
    /// Whether the change was applied cannot be found out any more.
    #[error("whether the change is applied cannot be found out any more")]
    OutcomeUnknown,
    /// No answer came in time.
    #[error("no answer within {0:?}")]
    Timeout(std::time::Duration),
    /// As much waits for the master as may wait.
    #[error("the store is full of requests that wait for its master")]
    Full,
    /// As many responses of a proxy wait to be taken as may wait.
    #[error("the proxy of the store is full of responses: take some of them first")]
    ProxyFull,
    /// The store's endpoint was shut down.
    #[error("the store is closed: its endpoint is shut down")]
    Closed,
    /// The process has no thread left for the storage.
    #[error("cannot start a thread for the storage: {0}")]
    Thread(Arc<std::io::Error>),
}

impl StoreError {
    /// The code the original would report. Spec: stores 7.8.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Name { .. } => ErrorCode::InvalidTopicKey,
            Self::MasterExists { .. } => ErrorCode::MasterExists,
            Self::MasterIsHere { .. } | Self::NoNativePeer { .. } | Self::NotApplied(_) => {
                ErrorCode::NoSuchMaster
            }
            Self::Option { .. } | Self::Backend { .. } | Self::Thread(_) => {
                ErrorCode::BackendFailure
            }
            Self::Refused(failure) => failure.code,
            Self::Value(_) => ErrorCode::InvalidData,
            Self::Timeout(_) | Self::Full | Self::ProxyFull | Self::OutcomeUnknown => {
                ErrorCode::RequestTimeout
            }
            Self::Closed => ErrorCode::BadMemberFunctionCall,
        }
    }

    pub(crate) fn backend(name: &str, error: &BackendError) -> Self {
        Self::Backend {
            name: name.to_owned(),
            cause: error.to_string(),
        }
    }
}

/// Addresses for a message: in backticks, separated by commas.
pub(super) fn quoted(addresses: &[String]) -> String {
    let quoted: Vec<_> = addresses.iter().map(|it| format!("`{it}`")).collect();
    quoted.join(", ")
}
