//! Zeek's cluster backend ZeroMQ: what its messages hold, its topics, its members. No I/O and no
//! ZeroMQ: parts of messages in, values out. Spec: zeromq 3, 4, 5, 7.
//!
//! | to | use |
//! |---|---|
//! | read events out of messages of four parts | [`EventReader`] |
//! | write such a message | [`EventParts`], [`check_outgoing`] |
//! | read and write batches of log records | [`LogBatchReader`], [`LogBatchWriter`] |
//! | know which topics nodes subscribe to | [`ClusterTopics`] |
//! | follow who is in the cluster, or be in it | [`Membership`] |

mod event;
mod log_batch;
mod membership;
mod topic;

pub use event::{
    BINARY_FORMAT, BadMessage, EventParts, EventReader, FromCluster, JSON_FORMAT, MessageCounts,
    NotAnEvent, PARTS, Report, check_outgoing,
};
pub(crate) use log_batch::payload;
pub use log_batch::{
    LOG_FORMAT, LOG_TAG, LogBatch, LogBatchError, LogBatchReader, LogBatchWriter,
    RECORDS_PER_BATCH_MAX, SCHEMAS_MAX,
};
pub use membership::{
    HELLO_EXPIRATION, Membership, MembershipOutput, NODES_MAX, Node, NodeIdentity, NodeState,
};
pub use topic::{ClusterTopics, NodeKind, is_zeek_topic};
