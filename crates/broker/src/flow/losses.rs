//! Losses: what an endpoint tells of messages that a consumer did not take.
//!
//! One event when the dropping begins, and one with the number of messages when it ends. See
//! ADR 0123.

use std::sync::Arc;

use broker_proto::{EndpointInfo, ErrorCode, Fault, Loss};

use crate::config::Overflow;
use crate::flow::data_plane::DataPlane;
use crate::flow::mailbox::{Mailbox, Pushed};
use crate::flow::target::{Target, TargetKind};

/// Topics of a subscriber that an event names: enough to tell which it is.
const TOPICS_NAMED_MAX: usize = 4;

/// Whom an event about lost messages is about.
struct Consumer {
    /// In words.
    name: String,
    /// If it is a peer.
    peer: Option<EndpointInfo>,
    /// If it is a subscriber. Bound: `TOPICS_NAMED_MAX`.
    topics: Vec<String>,
}

impl DataPlane {
    /// Tells subscribers of errors that a consumer began to lose messages.
    #[inline]
    pub(crate) fn report_drops(&self, pushed: Pushed, target: &Target) {
        if let Pushed::Dropped { burst_began: true } = pushed {
            self.report_burst(target);
        }
    }

    #[cold]
    fn report_burst(&self, target: &Target) {
        if target.kind == TargetKind::Sample {
            return;
        }
        let consumer = self.consumer(&target.mailbox, target.kind);
        let policy = target.mailbox.policy();
        let which = match policy {
            Overflow::DropOldest => "the oldest",
            Overflow::DropNewest | Overflow::Disconnect | Overflow::Block => "new ones",
        };
        let text = format!(
            "{} does not take its messages: {which} are being dropped",
            consumer.name
        );
        self.report_loss(consumer, None, policy, text);
    }

    /// Has the end of each burst of drops told, too, with the number of messages.
    pub(crate) fn report_bursts_of(self: &Arc<Self>, mailbox: &Mailbox, kind: TargetKind) {
        mailbox.count_lost(self.totals.lost.clone());
        let data = Arc::downgrade(self);
        mailbox.tell_bursts(move |mailbox, burst| {
            let Some(data) = data.upgrade() else {
                return;
            };
            let consumer = data.consumer(mailbox, kind);
            let policy = mailbox.policy();
            let text = format!(
                "{} lost {} messages within {:.1} s, as it did not take them (policy {})",
                consumer.name,
                burst.messages,
                burst.lasted.as_secs_f64(),
                policy.name(),
            );
            // Not here, where the mailbox is locked: it may be that of a reader of events.
            let runtime = data.runtime.clone();
            runtime.spawn(async move {
                data.report_loss(consumer, Some(burst.messages), policy, text);
            });
        });
    }

    fn report_loss(&self, consumer: Consumer, count: Option<u64>, policy: Overflow, text: String) {
        tracing::warn!(event = "messages-lost", "{text}");
        self.report(Fault {
            code: ErrorCode::MessagesLost,
            context: consumer.peer,
            text,
            loss: Some(Loss {
                count,
                topics: consumer.topics,
                reason: policy.name().to_owned(),
            }),
        });
    }

    /// A consumer as events name it: a subscriber by its topics, a peer by its id.
    fn consumer(&self, mailbox: &Mailbox, kind: TargetKind) -> Consumer {
        let what = match kind {
            TargetKind::Peer | TargetKind::Sibling => "a peer",
            TargetKind::Local => "a subscriber",
            TargetKind::Foreign(transport) => transport.peer,
            TargetKind::Client => "a WebSocket client",
            TargetKind::Sample => "a sample",
        };
        let table = self.routes.load();
        let is_it = |target: &Target| std::ptr::eq(Arc::as_ptr(&target.mailbox), mailbox);
        if let Some((id, _, _)) = table.peers().find(|(_, _, target)| is_it(target)) {
            let peer = EndpointInfo {
                id: Some(id),
                network: None,
            };
            return Consumer {
                name: format!("{what} ({id})"),
                peer: Some(peer),
                topics: Vec::new(),
            };
        }
        if let Some((id, _, _)) = table.locals().find(|(_, _, target)| is_it(target)) {
            let topics = table.local_topics(id).take(TOPICS_NAMED_MAX);
            let topics: Vec<String> = topics.map(ToString::to_string).collect();
            let more = match table.local_topics(id).nth(TOPICS_NAMED_MAX) {
                Some(_) => " and others",
                None => "",
            };
            return Consumer {
                name: format!("{what} of `{}`{more}", topics.join("`, `")),
                peer: None,
                topics,
            };
        }
        Consumer {
            name: what.to_owned(),
            peer: None,
            topics: Vec::new(),
        }
    }
}
