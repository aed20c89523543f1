//! A client that is judged by a policy: its subscriptions and messages as they go on, and when it has to
//! wait.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use broker_proto::Topic;
use broker_proto::zmtp::Message;
use tokio::time::{Sleep, sleep};

use super::{Gathered, Registered};
use crate::core::gate::{ClientPass, Judgement};
use crate::transport::zeromq::connection::{Answer, Reading};

/// Between a connection and the forwarder.
pub(super) struct Judge {
    pass: ClientPass,
    held: Option<Held>,
}

/// A message that limits hold back. Nothing is read before it goes on.
struct Held {
    parts: Vec<Vec<u8>>,
    wait: Pin<Box<Sleep>>,
}

impl Judge {
    pub(super) fn new(pass: ClientPass) -> Self {
        Self { pass, held: None }
    }

    pub(super) fn principal(&self) -> &str {
        self.pass.principal()
    }

    /// Follows the policy and the clock.
    pub(super) fn look_again(
        &mut self,
        cx: &mut Context<'_>,
        own: &Registered,
        gathered: &mut Gathered,
    ) -> Answer {
        match self.pass.look_again(cx) {
            Ok(None) => {}
            Ok(Some(regranted)) => {
                // What waited may not be permitted any more.
                if let Some(held) = self.held.take() {
                    let parts = held.parts.iter().map(Vec::as_slice);
                    let held = self.message(parts, own, gathered);
                    gathered.pass_on(&own.shared);
                    if held.is_break() {
                        return held;
                    }
                }
                for topic in &regranted.removed {
                    own.unsubscribed(topic.as_bytes());
                }
                tell(&regranted.added, own)?;
            }
            Err(over) => return self.end(over.reason(), own),
        }
        if let Some(held) = &mut self.held {
            if held.wait.as_mut().poll(cx).is_pending() {
                return ControlFlow::Continue(Reading::Stops);
            }
            gathered.add(&own.shared, held.parts.iter().map(Vec::as_slice));
            gathered.pass_on(&own.shared);
            self.held = None;
        }
        ControlFlow::Continue(Reading::GoesOn)
    }

    pub(super) fn subscribed(&mut self, prefix: &[u8], own: &Registered) -> Answer {
        match self.pass.subscribe(prefix) {
            Ok(granted) => tell(&granted, own),
            Err(over) => self.end(over.reason(), own),
        }
    }

    pub(super) fn unsubscribed(&mut self, prefix: &[u8], own: &Registered) {
        for topic in self.pass.unsubscribe(prefix) {
            own.unsubscribed(topic.as_bytes());
        }
    }

    /// Decides about a message, and passes on what may be of it.
    pub(super) fn published(
        &mut self,
        message: &Message<'_>,
        own: &Registered,
        gathered: &mut Gathered,
    ) -> Answer {
        self.message(message.parts(), own, gathered)
    }

    fn message<'m>(
        &mut self,
        parts: impl ExactSizeIterator<Item = &'m [u8]> + Clone,
        own: &Registered,
        gathered: &mut Gathered,
    ) -> Answer {
        let judgement = self.pass.message(parts.clone());
        let (rest, wait) = match judgement {
            Judgement::Go(wait) => (None, wait),
            Judgement::Rest(rest, wait) => {
                own.shared.count_denied();
                (Some(rest), wait)
            }
            Judgement::Refused | Judgement::RefusedRequest => {
                own.shared.count_denied();
                return ControlFlow::Continue(Reading::GoesOn);
            }
            Judgement::End(over) => {
                own.shared.count_denied();
                return self.end(over.reason(), own);
            }
        };
        let before = if rest.is_some() { 3 } else { usize::MAX };
        let parts = parts.take(before).map(as_slice).chain(rest.as_deref());
        if wait.is_zero() {
            gathered.add(&own.shared, parts);
            return ControlFlow::Continue(Reading::GoesOn);
        }
        self.hold(parts.map(<[u8]>::to_vec).collect(), wait);
        ControlFlow::Continue(Reading::Stops)
    }

    fn hold(&mut self, parts: Vec<Vec<u8>>, wait: Duration) {
        let wait = Box::pin(sleep(wait));
        self.held = Some(Held { parts, wait });
    }

    fn end(&self, reason: &'static str, own: &Registered) -> Answer {
        let (principal, remote) = (self.principal(), own.outlet.address);
        tracing::warn!(event = "zeromq-client-not-permitted", %remote, principal, reason);
        ControlFlow::Break(reason.to_owned())
    }
}

/// The same with a lifetime that fits to that of another part.
fn as_slice<'s, 'm: 's>(part: &'m [u8]) -> &'s [u8] {
    part
}

/// Has publishers told of subscriptions that were granted.
fn tell(granted: &[Topic], own: &Registered) -> Answer {
    for topic in granted {
        if let Err(error) = own.subscribed(topic.as_bytes()) {
            return ControlFlow::Break(error.to_string());
        }
    }
    ControlFlow::Continue(Reading::GoesOn)
}
