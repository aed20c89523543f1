//! Circles through peers of other implementations: what their machine is fed, and what it wants.
//!
//! What is suspicious, proved and cut is decided in [`broker_proto::circle`]; here it meets threads
//! and mailboxes. Endpoints without such peers come here for probes of others only. See ADR 0150.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use broker_proto::circle::{Circles, HeldMessage, Output, Probe, Report, TOPICS_MAX, Verdict};
use broker_proto::frame::{patch_hop, patch_receiver};
use broker_proto::mark::Mark;
use broker_proto::{EndpointId, EndpointInfo, ErrorCode, Fault, Origin, Topic};
use bytes::Bytes;

use crate::core::shared::Shared;
use crate::flow::blocked::BlockedPublish;
use crate::flow::inject::push_to;
use crate::flow::mailbox::Run;
use crate::flow::mailbox::run::PUBLISHED_TRANSLATION_MIN;
use crate::flow::retry::Unsent;
use crate::flow::routing::{Targets, audience, has_several_peers};
use crate::flow::target::Target;

impl Shared {
    /// Does something with the machine, and then what it wants.
    fn with_circles<T>(self: &Arc<Self>, action: impl FnOnce(&mut Circles) -> T) -> T {
        let mut circles = self.circles.lock();
        let before = circles.next_timeout();
        let result = action(&mut circles);
        // Under the lock, so that two threads do not change the routes in the wrong order.
        while let Some(output) = circles.poll_output() {
            self.carry_out_circles(output);
        }
        self.is_testing_circles
            .store(circles.is_testing(), Ordering::Relaxed);
        let after = circles.next_timeout();
        drop(circles);
        if after.is_some() && after != before {
            self.timer.notify_one();
        }
        result
    }

    /// A message of a peer, a complete frame, that goes to other peers, too. `true`: it must not,
    /// as it is held; local consumers get it.
    pub(crate) fn is_held(self: &Arc<Self>, from: EndpointId, topic: &[u8], frame: &[u8]) -> bool {
        let now = self.now();
        self.with_circles(|circles| circles.handle_message(now, from, topic, frame))
            == Verdict::Hold
    }

    /// A command of a data store that goes to other peers, too; `false`: it came too often.
    pub(crate) fn may_pass_command(&self, from: EndpointId, frame: &[u8]) -> bool {
        let now = self.now();
        self.circles.lock().handle_command(now, from, frame)
    }

    /// A probe of this or another endpoint.
    pub(crate) fn handle_probe(self: &Arc<Self>, from: EndpointId, topic: &[u8], probe: Probe) {
        let forwarding = !self.options.disable_forwarding;
        let targets: Vec<Target> = {
            let table = self.data.routes.load();
            let origin = Origin::Peer(from);
            let mut targets = audience(&table, origin, EndpointId::NIL, topic, forwarding);
            targets.retain(|target| target.kind.is_native());
            targets
        };
        let (now, others) = (self.now(), targets.len());
        let passed = self.with_circles(|it| it.handle_probe(now, from, topic, probe, others));
        // The topic came in a frame, so it fits into one.
        if let Some(frame) = passed.and_then(|probe| probe.to_frame(self.data.id, topic).ok()) {
            let frame = Bytes::from(frame);
            for target in targets {
                target.mailbox.push_control(frame.clone());
            }
        }
    }

    /// A peer came, went or wants something else; the routes say so already.
    pub(crate) fn peers_changed(self: &Arc<Self>, gone: Option<EndpointId>) {
        let now = self.now();
        self.with_circles(|circles| match gone {
            Some(peer) => circles.handle_peer_gone(now, peer),
            None => circles.handle_peer_change(),
        });
    }

    pub(crate) fn act_on_circles(self: &Arc<Self>) {
        let now = self.now();
        self.with_circles(|circles| circles.handle_timeout(now));
    }

    fn carry_out_circles(self: &Arc<Self>, output: Output) {
        match output {
            Output::Send { to, topic, probe } => {
                let table = self.data.routes.load();
                let target = table.peer(to).filter(|target| target.kind.is_native());
                if let Some(target) = target
                    && let Ok(frame) = probe.to_frame(self.data.id, topic.as_bytes())
                {
                    target.mailbox.push_control(Bytes::from(frame));
                }
            }
            Output::Close { topic, peers } => {
                self.data
                    .routes
                    .update(|table| table.set_closed(&topic, &peers));
            }
            Output::Release { topic, message } => self.release(&topic, message),
            Output::Report(report) => self.report_circle(report),
        }
    }

    /// Passes on what was held, as it would have been.
    fn release(self: &Arc<Self>, topic: &Topic, message: HeldMessage) {
        let HeldMessage { mut frame, copies } = message;
        patch_hop(&mut frame, self.data.id);
        patch_receiver(&mut frame, EndpointId::NIL);
        let plain = Bytes::from(frame);
        let mut unsent: Vec<Unsent> = Vec::new();
        let table = self.data.routes.load();
        for copy in copies {
            let mark = Mark::from_receiver(copy.receiver);
            let origin = Origin::Peer(copy.from);
            let nobody = EndpointId::NIL;
            let mut targets = audience(&table, origin, nobody, topic.as_bytes(), true);
            let is_exhausted = mark.is_some_and(|mark| mark.is_exhausted());
            targets.retain(|it| it.kind.is_peer() && !(is_exhausted && it.kind.is_native()));
            let targets = Targets::of_all(targets, has_several_peers(&table));
            let marked = targets.is_marked().then(|| {
                let mark = mark.map_or_else(|| self.data.marking.next(), Mark::after_hop);
                let mut marked = plain.to_vec();
                patch_receiver(&mut marked, mark.to_receiver());
                Bytes::from(marked)
            });
            let bytes = marked.as_ref().unwrap_or(&plain);
            let (siblings, others) = (targets.iter(), targets.unmarked().iter());
            unsent.extend(self.push_held(bytes, siblings));
            unsent.extend(self.push_held(&plain, others));
        }
        self.finish_later(unsent);
    }

    /// Hands a message that is held to the local consumers.
    pub(crate) fn give_to_locals(self: &Arc<Self>, frame: &Bytes, targets: &Targets) {
        let locals = targets.iter().filter(|target| !target.kind.is_peer());
        let unsent = self.push_held(frame, locals);
        self.finish_later(unsent);
    }

    /// Hands a message that is held no more to some targets; returns what has no room.
    fn push_held<'a>(
        &self,
        frame: &Bytes,
        targets: impl Iterator<Item = &'a Target> + Clone,
    ) -> Vec<Unsent> {
        let run = Run::shared(frame, 1);
        push_to(&self.data, run, targets, PUBLISHED_TRANSLATION_MIN)
    }

    fn finish_later(self: &Arc<Self>, unsent: Vec<Unsent>) {
        if let Some(blocked) = BlockedPublish::unless_empty(&self.data, unsent) {
            self.runtime.spawn(blocked.finished());
        }
    }

    fn report_circle(self: &Arc<Self>, report: Report) {
        let (peer, text) = match report {
            Report::Found {
                open,
                closed,
                topic,
            } => (
                open,
                format!(
                    "messages under `{topic}` that are sent to the peer {open} come back from the \
                     peer {closed}: a circle through endpoints of another implementation, cut at \
                     {closed}; leave out a link or disable forwarding at one of its endpoints"
                ),
            ),
            Report::Gone {
                open,
                closed,
                topic,
            } => {
                tracing::info!(
                    event = "loop-gone",
                    "what is sent to the peer {open} under `{topic}` no longer comes back from the \
                     peer {closed}"
                );
                return;
            }
            Report::Behind { peer, topic } => (
                peer,
                format!(
                    "messages under `{topic}` go round in a circle behind the peer {peer}, of which \
                     this endpoint is no part and which it cannot cut: disable forwarding at one of \
                     its endpoints"
                ),
            ),
            Report::Crowded { topic } => {
                let text = format!(
                    "messages under more than {TOPICS_MAX} topics (`circle::TOPICS_MAX`) seem to go \
                     round in circles: the topic that was quiet for longest, now `{topic}`, is \
                     forgotten for each further one, and goes round again until it is found anew; \
                     leave out a link or disable forwarding, or publish under fewer topics"
                );
                tracing::warn!(event = "loop-topics-full", "{text}");
                let fault = Fault::new(ErrorCode::ForwardingLoop, None, text);
                return self.data.report(fault);
            }
            Report::Suspected { peer, topic } => (
                peer,
                format!(
                    "the same messages under `{topic}` keep coming from the peer {peer} and from \
                     others: if nobody publishes them that often they go round in a circle, perhaps \
                     through a WebSocket server; leave out a link or disable forwarding"
                ),
            ),
        };
        tracing::warn!(event = "loop-found", "{text}");
        let context = EndpointInfo {
            id: Some(peer),
            network: None,
        };
        self.data
            .report(Fault::new(ErrorCode::ForwardingLoop, Some(context), text));
    }
}
