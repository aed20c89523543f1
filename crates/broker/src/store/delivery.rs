//! The outputs of a store's state machine carried out: frames to mailboxes, events to local
//! subscribers, answers to those who wait.

use std::sync::Arc;

use broker_data::Encoder;
use broker_proto::frame::{EnvelopeError, Tag, write_envelope};
#[cfg(feature = "nats")]
use broker_proto::store::replica::{Reply, Verdict};
use broker_proto::store::{Message, Role, StoreFailure, event};
use broker_proto::{EndpointId, Origin, Topic};
use bytes::Bytes;

use crate::core::pending::Resolver;
use crate::flow::blocked::BlockedPublish;
use crate::flow::data_plane::DataPlane;
use crate::flow::inject::{inject, push_to_list};
use crate::flow::mailbox::{Run, SHARED_RUN_MIN};
use crate::flow::retry::Unsent;
use crate::flow::routing::{Targets, TopicMemo};
use crate::store::StoreError;

/// Largest snapshot that goes ahead of others in a full mailbox; a larger one waits for room.
const LEADING_BYTES_MAX: usize = 1024 * 1024;

/// What became of a `put_unique`.
pub(super) type UniqueAnswer = Result<bool, StoreError>;

/// Who gets what a store says.
#[derive(Debug)]
pub(super) struct Delivery {
    /// The topic of the other role, which this one's commands go to.
    topic: Topic,
    commands: TopicMemo,
    event_topic: Topic,
    events: TopicMemo,
}

/// What is left to do once the store is unlocked.
#[derive(Debug, Default)]
#[must_use = "answers are waited for"]
pub(super) struct After {
    pub(super) answers: Vec<(Resolver<UniqueAnswer>, UniqueAnswer)>,
    pub(super) blocked: Vec<BlockedPublish>,
}

impl Delivery {
    pub(super) fn new(name: &str, topic: Topic) -> Self {
        Self {
            topic,
            commands: TopicMemo::new(Origin::Endpoint, true),
            event_topic: event::topic(name),
            events: TopicMemo::new(Origin::Internal, false),
        }
    }

    /// Whether somebody here listens to the store's events.
    pub(super) fn is_observed(&mut self, data: &DataPlane) -> bool {
        let topic = self.event_topic.as_bytes();
        !self.events.targets(&data.routes, topic).is_empty()
    }

    /// Whether a peer subscribes to this store's commands.
    pub(super) fn is_reachable(&mut self, data: &DataPlane) -> bool {
        let topic = self.topic.as_bytes();
        let targets = self.commands.targets(&data.routes, topic);
        // Where some get no mark, there is a sibling in the list.
        targets.iter().any(|target| target.kind.carries_stores())
    }

    /// Sends a command to peers. Whether a store on this endpoint gets it, too, is not decided here.
    pub(super) fn send(&mut self, data: &Arc<DataPlane>, message: &Message, after: &mut After) {
        let topic = self.topic.as_bytes();
        let directed;
        let targets: &Targets = if message.receiver.is_nil() {
            self.commands.targets(&data.routes, topic)
        } else {
            let table = data.routes.load();
            let targets = table.targets(Origin::Endpoint, message.receiver, topic, true);
            directed = Targets::new(targets);
            &directed
        };
        let shared_frame;
        let run = if message.frame.len() < SHARED_RUN_MIN {
            Run::copied(&message.frame, 1)
        } else {
            shared_frame = Bytes::from_owner(message.frame.clone());
            Run::shared(&shared_frame, 1)
        };
        let mut unsent = push_to_list(data, run, None, targets, |target| {
            target.kind.carries_stores()
        });
        if message.must_lead && run.len() <= LEADING_BYTES_MAX {
            for Unsent { target, bytes } in unsent.drain(..) {
                target.mailbox.push_control(bytes);
            }
        }
        after.wait_for(data, unsent);
    }

    /// Publishes a store event to local consumers.
    pub(super) fn publish_event(&mut self, data: &Arc<DataPlane>, value: &[u8], after: &mut After) {
        let mut frame = Vec::new();
        let written = write_envelope(
            &mut frame,
            data.id,
            data.id,
            Tag::Data,
            self.event_topic.as_bytes(),
            |out| -> Result<(), EnvelopeError> {
                Encoder::new(out).encoded(value);
                Ok(())
            },
        );
        if written.is_err() {
            return;
        }
        let topic = self.event_topic.as_bytes();
        let targets = self.events.targets(&data.routes, topic);
        after.blocked.extend(inject(data, &mut frame, targets));
    }
}

impl After {
    fn wait_for(&mut self, data: &Arc<DataPlane>, unsent: Vec<Unsent>) {
        self.blocked
            .extend(BlockedPublish::unless_empty(data, unsent));
    }

    /// Gives the answers and returns what has to wait for room.
    pub(super) fn give_answers(self) -> Vec<BlockedPublish> {
        for (resolver, result) in self.answers {
            resolver.resolve(result);
        }
        self.blocked
    }
}

/// Which stores of an endpoint a message is for, besides peers.
pub(super) fn is_for(message: &Message, me: EndpointId) -> bool {
    message.receiver.is_nil() || message.receiver == me
}

pub(super) fn answer_of(result: Result<bool, StoreFailure>) -> UniqueAnswer {
    result.map_err(StoreError::from)
}

/// What a caller is told of its request.
#[cfg(feature = "nats")]
pub(super) fn answer_of_verdict(verdict: Verdict) -> UniqueAnswer {
    match verdict {
        Verdict::Decided(Ok(Reply::Applied(applied))) => Ok(applied),
        Verdict::Decided(Ok(Reply::Value(value))) => Ok(value.is_some()),
        Verdict::Decided(Err(failure)) => Err(StoreError::Refused(failure)),
        Verdict::NotApplied(reason) => Err(StoreError::NotApplied(reason.to_string())),
        Verdict::Unknown => Err(StoreError::OutcomeUnknown),
    }
}

/// The role that hears what a store of that role says.
pub(super) const fn other(role: Role) -> Role {
    match role {
        Role::Master => Role::Clone,
        Role::Clone => Role::Master,
    }
}
