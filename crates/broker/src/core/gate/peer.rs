//! A native peer as a principal: what it gets of what it asks for, and what of its messages and commands
//! goes on. What another endpoint sent through it is judged as its own.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use broker_proto::policy::{Operation, PeerGranted, store_request};
use broker_proto::store::command::Command;
use broker_proto::{EndpointId, Filter, Topic};

use super::pass::{Over, Pass, Publishing, Stored};
use super::{Action, is_worth_telling};

/// What a native peer may do.
pub(crate) struct PeerPass {
    pass: Pass,
    /// That of the policy when it got what it has.
    version: u64,
    /// What it asked for: rights may come back.
    wanted: Filter,
    /// What it got of that.
    granted: PeerFilter,
    /// Why it may do nothing any more.
    over: Option<Over>,
    /// Resolves when the rights have to be looked at again. There once it was asked, which it then is
    /// only when they have to be.
    stale: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// The topic of the last message that needed no look of its own.
    free: Option<Topic>,
    message_bytes_max: usize,
    /// Messages that are not counted yet.
    allowed: u64,
}

/// What a peer gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PeerFilter {
    /// Topics, those of stores included.
    pub(crate) filter: Filter,
    /// The topics of stores alone.
    pub(crate) stores: Vec<Topic>,
}

/// What becomes of a message of a peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It goes on after that time.
    Go(Duration),
    /// It goes on after that time with this payload.
    Rest(Vec<u8>, Duration),
    /// Nobody gets it.
    Refused,
    /// As that; its sender, a clone, waits for what becomes of it.
    RefusedRequest,
    /// The connection ends.
    End(Over),
}

impl std::fmt::Debug for PeerPass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerPass")
            .field("principal", &self.pass.principal())
            .field("granted", &self.granted)
            .finish_non_exhaustive()
    }
}

impl PeerPass {
    pub(super) fn new(pass: Pass) -> Self {
        Self {
            message_bytes_max: pass.message_bytes_max(),
            version: pass.version(),
            pass,
            wanted: Filter::new(),
            granted: PeerFilter::default(),
            over: None,
            stale: None,
            free: None,
            allowed: 0,
        }
    }

    /// That of the policy that its rights are of.
    pub(crate) fn version(&self) -> u64 {
        self.pass.version()
    }

    pub(crate) fn principal(&self) -> &str {
        self.pass.principal()
    }

    /// What it asked for the last time.
    pub(crate) fn wanted(&self) -> &Filter {
        &self.wanted
    }

    /// Why it may do nothing any more.
    pub(crate) fn over(&self) -> Option<Over> {
        self.over
    }

    /// Gives it what it may have of what it asks for from now on. What it did not ask for before is
    /// recorded.
    pub(crate) fn ask(&mut self, wanted: Filter) -> PeerFilter {
        let before = std::mem::replace(&mut self.wanted, wanted);
        let max = self.pass.rights().limits().subscriptions_max;
        if max.is_some_and(|max| self.wanted.len() as u64 > max) {
            self.end(Over::Subscriptions);
            self.granted = PeerFilter::default();
            return self.granted.clone();
        }
        let granted = self.pass.rights().granted_to_peer(self.wanted.entries());
        for (topic, action, denial) in &granted.refused {
            if before.contains(topic) {
                continue;
            }
            self.pass.account().count_denied();
            if is_worth_telling(denial) {
                let rule = Some(denial.to_string());
                self.pass.record(*action, topic.as_bytes(), None, rule);
            }
        }
        let old = std::mem::replace(&mut self.granted, PeerFilter::of(granted));
        for topic in self.granted.filter.entries() {
            if !old.filter.contains(topic) {
                self.pass.account().count_allowed();
                let action = Action::Subscribe;
                self.pass.record(action, topic.as_bytes(), None, None);
            }
        }
        self.granted.clone()
    }

    /// Looks at the rights again if they may be others; returns what it gets from now on if that is
    /// something else. The task is woken when there is a reason to.
    ///
    /// # Errors
    ///
    /// When it may do nothing any more.
    pub(crate) fn look_again(&mut self, cx: &mut Context<'_>) -> Result<Option<PeerFilter>, Over> {
        if let Some(over) = self.over {
            return Err(over);
        }
        let mut changed = None;
        loop {
            // A message may have been the first to notice.
            let is_other = self.version != self.pass.version();
            if is_other || !self.pass.is_current() || self.is_stale(cx) {
                self.stale = None;
                if let Err(over) = self.pass.refresh() {
                    self.over = Some(over);
                    return Err(over);
                }
                self.version = self.pass.version();
                self.free = None;
                self.message_bytes_max = self.pass.message_bytes_max();
                let granted = self.pass.rights().granted_to_peer(self.wanted.entries());
                let granted = PeerFilter::of(granted);
                if granted != self.granted {
                    self.granted = granted.clone();
                    changed = Some(granted);
                }
                continue;
            }
            if self.free.is_some() && !self.pass.is_free() {
                self.free = None;
            }
            return Ok(changed);
        }
    }

    /// The first time after a change; then the waker of the task is known.
    fn is_stale(&mut self, cx: &mut Context<'_>) -> bool {
        if self.stale.is_some() {
            return false;
        }
        let stale = self.stale.insert(Box::pin(self.pass.stale()));
        matches!(stale.as_mut().poll(cx), Poll::Ready(()))
    }

    /// Whether a message of that many bytes goes on without a look of its own; if so it is counted.
    #[inline]
    pub(crate) fn admits(&mut self, topic: &Topic, bytes: usize) -> bool {
        let is_known = self.free.as_ref().is_some_and(|free| free.is_same(topic));
        let admits = bytes <= self.message_bytes_max && (is_known || self.is_free(topic));
        self.allowed += u64::from(admits);
        admits
    }

    #[inline(never)]
    fn is_free(&mut self, topic: &Topic) -> bool {
        let is_free = self.pass.is_free() && self.pass.is_all_allowed(topic.as_bytes());
        if is_free {
            self.free = Some(topic.clone());
        }
        is_free
    }

    /// Has the account know of messages that were admitted.
    pub(crate) fn flush_counts(&mut self) {
        if self.allowed > 0 {
            let allowed = std::mem::take(&mut self.allowed);
            self.pass.account().count_allowed_by(allowed);
        }
    }

    /// Decides about a message.
    pub(crate) fn message(&mut self, topic: &[u8], payload: &[u8]) -> Judgement {
        match self.pass.judge(topic, payload) {
            (Publishing::Go { wait, .. }, None) => Judgement::Go(wait),
            (Publishing::Go { wait, .. }, Some(rest)) => Judgement::Rest(rest, wait),
            (Publishing::Refused(_), _) => Judgement::Refused,
            (Publishing::End(over), _) => self.end(over),
        }
    }

    /// Decides about a command of a store.
    pub(crate) fn command(&mut self, topic: &[u8], payload: &[u8], peer: EndpointId) -> Judgement {
        // Of what makes no sense the sender hears nothing, and nobody gets it.
        let Ok(command) = Command::parse(payload) else {
            return Judgement::Refused;
        };
        let Some((name, operation)) = store_request(topic, &command) else {
            return Judgement::Refused;
        };
        // Others speak for themselves, unless this one may decide about all that is in the store.
        let is_own = command.sender.endpoint == peer;
        let operation = if is_own { operation } else { Operation::Clear };
        let is_action = command.content.is_action();
        let size = is_action.then_some(payload.len() as u64);
        match self.pass.store(name, operation, size) {
            Stored::Go(wait) => Judgement::Go(wait),
            Stored::Refused if is_own && is_action => Judgement::RefusedRequest,
            Stored::Refused => Judgement::Refused,
            Stored::End(over) => self.end(over),
        }
    }

    /// Whether it may look for circles of messages of a topic: who sends none has none.
    pub(crate) fn may_probe(&mut self, topic: &[u8]) -> bool {
        !self.pass.is_all_denied(topic)
    }

    fn end(&mut self, over: Over) -> Judgement {
        if over != Over::NoRights {
            self.pass.record_end(over);
        }
        self.over = Some(over);
        Judgement::End(over)
    }
}

impl PeerFilter {
    fn of(granted: PeerGranted) -> Self {
        let all = granted.topics.iter().chain(&granted.stores);
        Self {
            filter: all.cloned().collect(),
            stores: granted.stores,
        }
    }
}
