//! A run that some of its targets had no room for: offered again until they have it or lost it.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep};

use crate::core::shared::Shared;
use crate::flow::mailbox::Patience;
use crate::flow::marking::PRESS_AFTER;
use crate::flow::retry::{Retry, Unsent};
use crate::flow::target::{Target, TargetKind};

/// A run that some of its targets had no room for.
pub(super) struct UnsentRun {
    rest: Retry,
    /// Whether siblings get it over their limits rather than late. See ADR 0115.
    may_press: bool,
    since: Instant,
    stall: Pin<Box<Sleep>>,
}

impl UnsentRun {
    /// A run of so many frames after these targets had no room for it, unless they are siblings that
    /// get it nonetheless.
    pub(super) fn new(
        shared: &Shared,
        frames: usize,
        unsent: Vec<Unsent>,
        is_marked: bool,
    ) -> Option<Self> {
        let mut rest = Retry::new(frames, unsent);
        let may_press = is_marked && shared.data.marking.is_in_circle();
        if may_press && shared.data.marking.is_pressing(shared.now()) {
            press(shared, &mut rest);
        }
        (!rest.is_over()).then(|| Self {
            rest,
            may_press,
            since: Instant::now(),
            stall: Box::pin(sleep(shared.options.stall_limit)),
        })
    }

    /// Tries again; `true` when nothing is left of it. Otherwise the task is woken to try again.
    pub(super) fn is_over(&mut self, cx: &mut Context<'_>, shared: &Shared) -> bool {
        loop {
            let look_again = self.push(shared);
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
    fn push(&mut self, shared: &Shared) -> Duration {
        let stall_limit = shared.options.stall_limit;
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

/// Hands siblings what they have no room for, as far as it goes.
fn press(shared: &Shared, rest: &mut Retry) {
    let is_sibling = |target: &Target| target.kind == TargetKind::Sibling;
    rest.offer_to(&shared.data, Patience::Presses, is_sibling);
}
