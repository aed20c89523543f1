//! Runs of a connection on their way to their targets, and what is held up on the way.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::time::{Duration, Instant};

use broker_proto::EndpointId;
use broker_proto::frame::{patch_hop, patch_receiver};
use broker_proto::mark::Mark;
use bytes::{Bytes, BytesMut};
use tokio::time::{Sleep, sleep};

use crate::core::link::Link;
use crate::core::shared::Shared;
use crate::flow::inject::{push_to, sharing_readers, unmarked};
use crate::flow::mailbox::run::RECEIVED_TRANSLATION_MIN;
use crate::flow::mailbox::{Patience, Pushed, Run};
use crate::flow::marking::PRESS_AFTER;
use crate::flow::retry::{Retry, Unsent};
use crate::flow::routing::{TargetList, Targets};
use crate::flow::target::{Target, TargetKind};
use crate::flow::translation::Slot;

/// Consecutive frames at the start of the buffer with the same targets.
pub(super) struct OpenRun {
    pub(super) end: usize,
    pub(super) frames: usize,
    pub(super) targets: TargetList,
}

/// Messages that were handed on and are not counted yet.
#[derive(Debug, Default)]
pub(super) struct HandedOn {
    messages: usize,
    bytes: usize,
}

impl HandedOn {
    /// Counts them, once for a buffer of them.
    pub(super) fn count(&mut self, shared: &Shared, link: &Link) {
        let Self { messages, bytes } = std::mem::take(self);
        if messages > 0 {
            link.received.count(messages, bytes);
            let received = &shared.data.totals.received;
            received.fetch_add(messages as u64, Ordering::Relaxed);
        }
    }
}

/// What a connection waits for before it reads on.
pub(super) enum Blocked {
    /// Targets that had no room for a run.
    Targets(UnsentRun),
    /// Another look at a limit, at that time.
    Timer(Pin<Box<Sleep>>),
}

/// A run that some of its targets had no room for.
pub(super) struct UnsentRun {
    rest: Retry,
    /// Whether siblings get it over their limits rather than late. See ADR 0115.
    may_press: bool,
    since: Instant,
    stall: Pin<Box<Sleep>>,
}

impl Blocked {
    /// Tries again; `true` when nothing is held up any more. Otherwise the task is woken to try again.
    pub(super) fn is_over(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Shared,
        stall_limit: Duration,
    ) -> bool {
        match self {
            Self::Targets(run) => run.is_over(cx, shared, stall_limit),
            Self::Timer(timer) => timer.as_mut().poll(cx).is_ready(),
        }
    }
}

impl UnsentRun {
    fn is_over(&mut self, cx: &mut Context<'_>, shared: &Shared, stall_limit: Duration) -> bool {
        loop {
            let look_again = self.push(shared, stall_limit);
            if self.rest.is_over() {
                return true;
            }
            self.stall = Box::pin(sleep(look_again));
            let has_room = self.rest.poll_room(cx).is_ready();
            if !has_room && self.stall.as_mut().poll(cx).is_pending() {
                return false;
            }
        }
    }

    /// Tries again; returns when to do so the next time at the latest.
    fn push(&mut self, shared: &Shared, stall_limit: Duration) -> Duration {
        let waited = self.since.elapsed();
        let patience = if waited < stall_limit {
            Patience::Waits
        } else {
            Patience::Exhausted
        };
        let mut look_again = stall_limit.saturating_sub(waited);
        if self.may_press && waited >= PRESS_AFTER {
            shared.data.marking.press(shared.now());
            press(shared, &mut self.rest);
        } else if self.may_press {
            look_again = look_again.min(PRESS_AFTER.saturating_sub(waited));
        }
        let offered = self.rest.offer(&shared.data, patience);
        look_again.min(offered.look_again)
    }
}

/// Makes a frame what this endpoint sends: to everybody in the list, and with a mark if they take
/// one.
#[inline]
pub(super) fn rewrite(frame: &mut [u8], shared: &Shared, targets: &Targets, mark: Option<Mark>) {
    patch_hop(frame, shared.data.id);
    if targets.is_marked() {
        let mark = mark.map_or_else(|| shared.data.marking.next(), Mark::after_hop);
        patch_receiver(frame, mark.to_receiver());
    } else if mark.is_some() {
        patch_receiver(frame, EndpointId::NIL);
    }
}

/// Hands siblings what they have no room for, as far as it goes.
fn press(shared: &Shared, rest: &mut Retry) {
    let is_sibling = |target: &Target| target.kind == TargetKind::Sibling;
    rest.offer_to(&shared.data, Patience::Presses, is_sibling);
}

/// Hands a run to its targets; `false` when some had no room.
pub(super) fn deliver(
    buffer: &mut BytesMut,
    blocked: &mut Option<Blocked>,
    handed_on: &mut HandedOn,
    shared: &Arc<Shared>,
    run: OpenRun,
) -> bool {
    handed_on.messages += run.frames;
    handed_on.bytes += run.end;
    // A share of a large buffer keeps all of it: a small run is copied out instead.
    let is_sparse = run.end < buffer.capacity() / 8;
    let bytes = buffer.split_to(run.end);
    if run.targets.is_empty() {
        return true;
    }
    let bytes = if is_sparse {
        Bytes::copy_from_slice(&bytes)
    } else {
        bytes.freeze()
    };
    let mut unsent: Vec<Unsent> = Vec::new();
    let slot = Slot::default();
    let frames = Run::shared(&bytes, run.frames);
    let readers = sharing_readers(frames, run.targets.iter(), RECEIVED_TRANSLATION_MIN);
    let frames = frames
        .translated_in(&slot, readers, RECEIVED_TRANSLATION_MIN)
        .alone_if(run.targets.len() == 1);
    for target in run.targets.iter() {
        match target.mailbox.push(frames, Patience::Waits) {
            Pushed::Full { .. } => unsent.push(Unsent {
                target: target.clone(),
                bytes: bytes.clone(),
            }),
            pushed => shared.data.report_drops(pushed, target),
        }
    }
    let others = run.targets.unmarked();
    if !others.is_empty() {
        let bytes = unmarked(&bytes);
        let frames = Run::shared(&bytes, run.frames);
        unsent.extend(push_to(&shared.data, frames, others.iter()));
    }
    if unsent.is_empty() {
        return true;
    }
    let mut rest = Retry::new(run.frames, unsent);
    let may_press = run.targets.is_marked() && shared.data.marking.is_in_circle();
    if may_press && shared.data.marking.is_pressing(shared.now()) {
        press(shared, &mut rest);
        if rest.is_over() {
            return true;
        }
    }
    *blocked = Some(Blocked::Targets(UnsentRun {
        rest,
        may_press,
        since: Instant::now(),
        stall: Box::pin(sleep(shared.options.stall_limit)),
    }));
    false
}
