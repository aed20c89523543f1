//! Data stores: masters, their clones, and what keeps the entries.
//!
//! Spec: stores. [`Master`] and [`StoreClone`] are state machines like the endpoint's: they are told
//! of commands that came, of requests of their users and of ticks, and say what is to be done with
//! [`Output`]. Order and repair are the business of [`channel`], persistence that of
//! a [`Backend`].

pub mod backend;
mod change_counts;
pub mod channel;
pub mod clone;
pub mod command;
pub mod entity;
pub mod event;
mod expiry;
pub mod mark;
pub mod master;
pub mod memory;
pub mod operation;
pub mod replica;

use std::sync::Arc;

use broker_data::Timespan;

use crate::frame::{
    ENVELOPE_SIZE, EnvelopeError, FRAME_LEN_SIZE, PAYLOAD_MAX, Tag, write_envelope,
};
use crate::id::EndpointId;
use crate::status::{ErrorCode, Fault};
use crate::store::command::Command;
use crate::store::entity::EntityId;
use crate::topic::Topic;

pub use backend::{Backend, BackendError, Entry};
pub use change_counts::ChangeCounts;
pub use clone::{Contact, StoreClone};
pub use event::{Change, StoreEvent};
pub use master::Master;
pub use memory::Memory;

const SECOND_NS: i64 = 1_000_000_000;

/// Bytes of changes a master keeps for clones that have not acknowledged them, and of requests a
/// clone keeps for its master: seconds of traffic at full speed, and a bounded share of memory.
pub const STORE_BUFFER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Events after which an acknowledgement is sent without waiting for the tick that is due to send
/// one, so that a fast producer need not keep half a second of traffic.
pub const ACK_EVENTS_MAX: u64 = 1024;

/// Clones, and writers, of one master; who comes beyond is not answered.
pub const CLONES_MAX: usize = 10_000;

/// Every number of the stores that somebody might ask about. Spec: stores 2.3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// How often `handle_tick` is called; intervals in ticks follow it.
    pub tick_interval: Timespan,
    /// Ticks between signs of life and between acknowledgements; at least 1.
    pub heartbeat_interval: u16,
    /// Ticks without progress after which what is missing is asked for; at least 1.
    pub nack_timeout: u16,
    /// Heartbeat intervals of silence after which the other side is given up; at least 1.
    pub connection_timeout: u16,
    /// See [`STORE_BUFFER_BYTES_MAX`].
    pub buffer_bytes_max: usize,
    /// Largest message that is sent, length prefix excluded.
    pub frame_bytes_max: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            tick_interval: Timespan::from_millis(100),
            heartbeat_interval: 5,
            nack_timeout: 2,
            connection_timeout: 100,
            buffer_bytes_max: STORE_BUFFER_BYTES_MAX,
            frame_bytes_max: PAYLOAD_MAX,
        }
    }
}

impl StoreConfig {
    /// A time in ticks, rounded up.
    pub(crate) fn ticks(&self, span: Timespan) -> u64 {
        let tick = self.tick_interval.ns().max(1);
        u64::try_from(span.ns().max(0))
            .unwrap_or(0)
            .div_ceil(tick.unsigned_abs())
    }

    /// Ticks of silence after which the other side has given up.
    pub(crate) fn connection_ticks(&self) -> u64 {
        u64::from(self.heartbeat_interval.max(1)) * u64::from(self.connection_timeout.max(1))
    }
}

/// What a clone's user may set. Spec: stores 2.2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloneOptions {
    /// How long the first search for a master may take, and after how long a silence a clone looks
    /// for another one.
    pub resync_interval: Timespan,
    /// After how long a silence of its master reads fail; negative: never.
    pub stale_interval: Timespan,
    /// How long requests wait for a master that is silent; zero or negative: not at all.
    pub mutation_buffer_interval: Timespan,
}

impl Default for CloneOptions {
    fn default() -> Self {
        Self {
            resync_interval: Timespan::from_ns(10 * SECOND_NS),
            stale_interval: Timespan::from_ns(300 * SECOND_NS),
            mutation_buffer_interval: Timespan::from_ns(120 * SECOND_NS),
        }
    }
}

/// What a store wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a complete frame with a command.
    Send(Message),
    /// Publish the value of a store event on [`event::topic`].
    Event(Vec<u8>),
    /// Tell the application what failed.
    Fault(Fault),
    /// A `put_unique` has its result.
    Answer {
        /// Who asked.
        who: EntityId,
        /// Under which number.
        request: u64,
        /// Whether the key was absent.
        result: Result<bool, StoreFailure>,
    },
}

/// A command on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The complete frame.
    pub frame: Arc<[u8]>,
    /// Who is at the other end.
    pub role: Role,
    /// One endpoint, or nil for all that subscribed.
    pub receiver: EndpointId,
    /// Must not be lost while later messages of the same store are delivered.
    pub must_lead: bool,
}

/// One of the two kinds of stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Has the entries.
    Master,
    /// Follows a master.
    Clone,
}

/// Why something asked of a store was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct StoreFailure {
    /// What the original calls it.
    pub code: ErrorCode,
    /// In words.
    pub text: String,
}

impl StoreFailure {
    pub(crate) fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

impl From<BackendError> for StoreFailure {
    fn from(error: BackendError) -> Self {
        let code = match error {
            BackendError::InvalidData(_) => ErrorCode::InvalidData,
            BackendError::Failed(_) => ErrorCode::BackendFailure,
        };
        Self::new(code, error.to_string())
    }
}

/// The topic that masters of a store listen on. Spec: stores 1.1.
pub fn master_topic(store: &str) -> Topic {
    Topic::from(format!("{store}/<$>/data/master").as_str())
}

/// The topic that clones of a store listen on. Spec: stores 1.1.
pub fn clone_topic(store: &str) -> Topic {
    Topic::from(format!("{store}/<$>/data/clone").as_str())
}

/// A store's names and how its messages are made.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) store: String,
    master: Topic,
    clone: Topic,
}

impl Names {
    pub(crate) fn new(store: &str) -> Self {
        Self {
            store: store.to_owned(),
            master: master_topic(store),
            clone: clone_topic(store),
        }
    }

    /// Bytes of a frame around its command.
    pub(crate) fn overhead(&self, role: Role) -> usize {
        FRAME_LEN_SIZE + ENVELOPE_SIZE + self.topic(role).as_bytes().len()
    }

    const fn topic(&self, role: Role) -> &Topic {
        match role {
            Role::Master => &self.master,
            Role::Clone => &self.clone,
        }
    }

    /// Encodes a complete frame.
    pub(crate) fn frame(
        &self,
        role: Role,
        receiver: EndpointId,
        command: &Command<'_>,
    ) -> Result<Vec<u8>, EnvelopeError> {
        let mut frame = Vec::with_capacity(256);
        let write = |out: &mut Vec<u8>| -> Result<(), EnvelopeError> {
            command.encode(out);
            Ok(())
        };
        write_envelope(
            &mut frame,
            command.sender.endpoint,
            receiver,
            Tag::Command,
            self.topic(role).as_bytes(),
            write,
        )?;
        Ok(frame)
    }

    /// Makes a message; fails when it is larger than `frame_bytes_max`.
    pub(crate) fn message(
        &self,
        role: Role,
        receiver: EndpointId,
        command: &Command<'_>,
        frame_bytes_max: usize,
    ) -> Result<Message, EnvelopeError> {
        let frame = self.frame(role, receiver, command)?;
        let length = frame.len() - FRAME_LEN_SIZE;
        if length > frame_bytes_max {
            return Err(EnvelopeError::FrameTooLarge { length });
        }
        Ok(Message {
            frame: frame.into(),
            role,
            receiver,
            must_lead: false,
        })
    }

    /// An error event about this store.
    pub(crate) fn fault(&self, failure: &StoreFailure) -> Fault {
        let text = format!("store `{}`: {}", self.store, failure.text);
        Fault::new(failure.code, None, text)
    }
}
