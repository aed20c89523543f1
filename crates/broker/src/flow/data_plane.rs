//! The part of an endpoint that messages go through: who it is, who gets what, and what is said of
//! messages that were lost. It knows no sockets and no state machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use broker_data::{Encoder, Source};
use broker_proto::frame::{EnvelopeError, Tag, write_envelope};
use broker_proto::routes::{Origin, RoutingTable};
use broker_proto::{EndpointId, Event, Fault};
use bytes::Bytes;
use tokio::runtime::Handle;

use crate::config::{MAILBOX_MESSAGES_MAX, Options, Overflow};
use crate::flow::counters::Totals;
#[cfg(feature = "status")]
use crate::flow::event_log::EventLog;
use crate::flow::mailbox::{Limits, Patience, Run};
use crate::flow::marking::Marking;
use crate::flow::routing::{Routes, SharedMemo};

/// What everything needs that hands messages on.
#[derive(Debug)]
pub(crate) struct DataPlane {
    pub(crate) id: EndpointId,
    pub(crate) routes: Routes,
    /// The marks of messages, and those that came already.
    pub(crate) marking: Marking,
    /// What was handed on since the endpoint began.
    pub(crate) totals: Totals,
    /// The last events, for those who look later.
    #[cfg(feature = "status")]
    pub(crate) event_log: EventLog,
    pub(crate) peer_limits: Limits,
    pub(crate) local_limits: Limits,
    /// Memo of [`Endpoint::publish`](crate::Endpoint::publish), which any thread may call.
    pub(crate) publish_memo: SharedMemo,
    /// Runs what must not happen while a mailbox is locked.
    pub(super) runtime: Handle,
    is_shut_down: AtomicBool,
}

impl DataPlane {
    /// Makes that of an endpoint; `secret` is what marks are made with.
    pub(crate) fn new(
        id: EndpointId,
        secret: [u8; 24],
        options: &Options,
        runtime: Handle,
    ) -> Arc<Self> {
        let limits = |overflow: Overflow| Limits {
            bytes_max: options.capacity.bytes_max,
            messages_max: options.capacity.messages_max,
            overflow,
            stall_limit: options.stall_limit,
            strict: false,
            translated: false,
        };
        let peer_limits = match options.peer_buffer_size {
            None => limits(options.peer_overflow),
            Some(messages_max) => Limits {
                messages_max: messages_max.min(MAILBOX_MESSAGES_MAX),
                strict: true,
                ..limits(options.peer_overflow)
            },
        };
        Arc::new(Self {
            id,
            routes: Routes::new(RoutingTable::new(id)),
            marking: Marking::new(secret),
            totals: Totals::default(),
            #[cfg(feature = "status")]
            event_log: EventLog::default(),
            peer_limits,
            local_limits: limits(options.subscriber_overflow),
            publish_memo: SharedMemo::new(Origin::Endpoint),
            runtime,
            is_shut_down: AtomicBool::new(false),
        })
    }

    /// Whether the shutdown of the endpoint has begun: nothing is published any more.
    pub(crate) fn is_shut_down(&self) -> bool {
        self.is_shut_down.load(Ordering::Acquire)
    }

    pub(crate) fn mark_shut_down(&self) {
        self.is_shut_down.store(true, Ordering::Release);
    }

    /// Reports an error that happened beside the machine.
    pub(crate) fn report(&self, fault: Fault) {
        self.publish_events(&[Event::Error(fault)]);
    }

    /// Hands events of one topic to the local consumers as one run. Never waits, never leaves.
    pub(crate) fn publish_events(&self, events: &[Event]) {
        let Some(topic) = events.first().map(Event::topic) else {
            return;
        };
        #[cfg(feature = "status")]
        self.event_log.add(events);
        let targets = {
            let table = self.routes.load();
            table.targets(Origin::Internal, self.id, topic.as_bytes(), false)
        };
        if targets.is_empty() {
            return;
        }
        let mut frames = Vec::new();
        for event in events {
            let written = write_envelope(
                &mut frames,
                self.id,
                self.id,
                Tag::Data,
                topic.as_bytes(),
                |out| -> Result<(), EnvelopeError> {
                    // An event holds short strings only: encoding it cannot fail.
                    let _ = event.encode(&mut Encoder::new(out));
                    Ok(())
                },
            );
            debug_assert!(written.is_ok(), "an event fits into a frame");
        }
        let run = Bytes::from(frames);
        for target in targets {
            // Nobody waits for a reader of events: what does not fit is dropped and counted.
            target
                .mailbox
                .push(Run::shared(&run, events.len()), Patience::Exhausted);
        }
    }
}
