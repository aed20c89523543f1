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

#[cfg(feature = "policy")]
#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;

    use broker_data::{Kind, to_bytes};
    use broker_proto::store::command::Content;
    use broker_proto::store::entity::EntityId;
    use broker_proto::store::{clone_topic, master_topic};

    use super::super::Gate;
    use super::*;
    use crate::policy::PolicyFile;

    const STORES: [&str; 4] = ["none", "read", "write", "clear"];

    fn contents(key: &[u8]) -> [(Content<'_>, &'static str); 13] {
        let (value, publisher, expiry) = (key, EntityId::NIL, None);
        let (who, request, init) = (publisher, 1, Kind::Count);
        let put = Content::Put {
            key,
            value,
            expiry,
            publisher,
        };
        let put_unique = Content::PutUnique {
            key,
            value,
            expiry,
            who,
            request,
            publisher,
        };
        let result = Content::PutUniqueResult {
            inserted: true,
            who,
            request,
            publisher,
        };
        let add = Content::Add {
            key,
            value,
            init,
            expiry,
            publisher,
        };
        let subtract = Content::Subtract {
            key,
            value,
            expiry,
            publisher,
        };
        let attach = Content::AttachWriter {
            offset: 1,
            heartbeat: 1,
        };
        let nack = Content::Nack {
            missing: Cow::Borrowed(&[1]),
        };
        [
            (put, "write"),
            (put_unique, "write"),
            (result, "write"),
            (Content::Erase { key, publisher }, "write"),
            (Content::Expire { key, publisher }, "write"),
            (add, "write"),
            (subtract, "write"),
            (Content::Clear { publisher }, "clear"),
            (attach, "read"),
            (Content::Keepalive { seq: 1 }, "read"),
            (Content::CumulativeAck { seq: 1 }, "read"),
            (nack, "read"),
            (Content::RetransmitFailed { seq: 1 }, "read"),
        ]
    }

    /// What a right includes.
    fn rank(right: &str) -> usize {
        STORES.iter().position(|it| *it == right).unwrap()
    }

    #[test]
    fn commands_of_stores_are_judged_as_the_reference_says() {
        let text = "[roles.all]\npublish = [\"\"]\nsubscribe = [\"\"]\n\
                    stores = { \"read\" = \"read\", \"write\" = \"write\", \"clear\" = \"clear\", \"denied-read\" = \"read\", \"denied-write\" = \"write\", \"denied-clear\" = \"clear\" }\n\
                    limits = { denials_max = 100000 }\n\
                    [roles.limited]\ndeny.stores = { \"denied-*\" = \"write\" }\n\
                    [roles.readers]\nstores = { \"*\" = \"read\" }\n\
                    [roles.nothing]\npublish = [\"\"]\n\
                    [principals.anonymous]\nroles = [\"all\"]\n\
                    [principals.\"anonymous@1\"]\nroles = [\"all\", \"limited\"]\n\
                    [principals.\"anonymous@2\"]\nroles = [\"readers\"]\n\
                    [principals.\"anonymous@3\"]\nroles = [\"nothing\"]\n";
        let policy = PolicyFile::parse(text, "policy.toml").unwrap();
        let gate = Arc::new(Gate::new(&policy.into()).unwrap());
        let key = to_bytes(&1_u64).unwrap();
        let own = EndpointId::from_bytes([1; 16]);
        let mut asked = 0;
        for port in 0..4 {
            let remote = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let mut peer = gate.admit_peer(&Ok(Vec::new()), remote, port).unwrap();
            for right in STORES {
                for start in ["", "denied-"] {
                    let name = format!("{start}{right}");
                    let given = match port {
                        2 => rank("read"),
                        3 => rank("none"),
                        1 if start == "denied-" => rank(right).min(rank("read")),
                        _ => rank(right),
                    };
                    for (content, needed) in contents(&key) {
                        for (topic, to_master) in
                            [(master_topic(&name), true), (clone_topic(&name), false)]
                        {
                            for sender in [own, EndpointId::from_bytes([2; 16])] {
                                let command = Command {
                                    seq: 1,
                                    sender: EntityId {
                                        endpoint: sender,
                                        ..EntityId::NIL
                                    },
                                    receiver: EntityId::NIL,
                                    content: content.clone(),
                                };
                                let mut payload = Vec::new();
                                command.encode(&mut payload);
                                let is_action = content.is_action();
                                let judged = peer.command(topic.as_bytes(), &payload, own);
                                // Who speaks as a master, or for others, decides about all of it.
                                let needed = if to_master && sender == own {
                                    rank(needed)
                                } else {
                                    rank("clear")
                                };
                                let expected = if needed <= given {
                                    Judgement::Go(Duration::ZERO)
                                } else if is_action && sender == own {
                                    Judgement::RefusedRequest
                                } else {
                                    Judgement::Refused
                                };
                                let what = format!("{port} {topic} {content:?} {sender}");
                                assert_eq!(judged, expected, "{what}");
                                asked += 1;
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(asked, 4 * 8 * 13 * 2 * 2);
    }
}
