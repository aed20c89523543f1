//! A connection as a principal: what it may do, as long as it may.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use broker_data::Timestamp;
use broker_proto::Topic;
use broker_proto::policy::{
    Action, Decision, Granted, OnLimit, Operation, Request, Rights, TopicRight,
};
use rustc_hash::FxHashMap;

use super::content::{judge, judge_unread, names};
use super::{Account, Gate, Proof, UNRECORDED, denial, is_worth_telling, system_time};
use crate::policy::AUDIT_NAME_BYTES_MAX;

/// Topics whose rights a connection keeps: more than busy clients use. When there are more, they are all
/// looked up again.
const TOPICS_MAX: usize = 1024;

/// Denied messages after which a connection ends, unless a role says another number: a client that does
/// not look at its errors fills no record.
const DENIALS_MAX: u64 = 1000;

/// Bytes of a topic or name that are told to a client, and recorded.
const SHOWN_MAX: usize = AUDIT_NAME_BYTES_MAX;

/// What a connection may do.
#[derive(Debug, Clone)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    proof: Proof,
    principal: Box<str>,
    remote: IpAddr,
    /// Those of this version of the policy.
    version: u64,
    rights: Arc<Rights>,
    account: Arc<Account>,
    /// Bound: [`TOPICS_MAX`].
    topics: FxHashMap<Box<[u8]>, Topics>,
    denials: u64,
}

/// What is kept of a right to a topic.
#[derive(Debug, Clone)]
enum Topics {
    All,
    ByEvent,
    Denied(Arc<str>),
}

/// A connection that is no principal any more, or did too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// The policy changed, or its token ended.
    NoRights,
    /// It was denied too often.
    Denials,
    /// It sent too much.
    Limit,
    /// Its subscription has too many topics.
    Subscriptions,
}

impl Over {
    /// For people.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::NoRights => "the permissions of this connection have ended",
            Self::Denials => "too many messages were not permitted",
            Self::Limit => "too many messages for the limits of this connection",
            Self::Subscriptions => "more topics than this connection may subscribe to",
        }
    }
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Publishing {
    /// It is published after that time. What was left out of it is told.
    Go {
        wait: Duration,
        left_out: Option<String>,
    },
    /// It is not, and this is why.
    Refused(String),
    /// The connection ends.
    End(Over),
}

/// What becomes of an operation on a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// It is done after that time.
    Go(Duration),
    Refused,
    /// The connection ends.
    End(Over),
}

impl Pass {
    pub(super) fn new(
        gate: Arc<Gate>,
        principal: &str,
        proof: Proof,
        remote: IpAddr,
    ) -> Option<Self> {
        let (version, rights) = gate.rights(principal)?;
        Some(Self {
            account: gate.account(principal),
            proof,
            principal: principal.into(),
            remote,
            version,
            rights,
            gate,
            topics: FxHashMap::default(),
            denials: 0,
        })
    }

    pub(crate) fn principal(&self) -> &str {
        &self.principal
    }

    /// Resolves when the rights have to be looked at again: the policy is another one, or the token ends.
    pub(crate) fn stale(&self) -> impl Future<Output = ()> + Send + 'static {
        let (gate, version) = (self.gate.clone(), self.version);
        let expires = match &self.proof {
            Proof::Connection { .. } => None,
            #[cfg(feature = "zeromq")]
            Proof::Curve { .. } => None,
            Proof::Token(name) => gate.policy.load().token(name).and_then(|it| it.expires),
        };
        async move {
            tokio::select! {
                () = gate.replaced(version) => {}
                () = until(expires) => {}
            }
        }
    }

    /// That of the policy that the rights are of.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Whether the policy is still the one that the rights are of. One load.
    pub(crate) fn is_current(&self) -> bool {
        self.gate.version() == self.version
    }

    /// Looks at the rights again.
    ///
    /// # Errors
    ///
    /// When the connection has none any more, or is another principal.
    pub(crate) fn refresh(&mut self) -> Result<(), Over> {
        let principal = Gate::principal_of(&self.gate.policy.load(), &self.proof);
        let rights = principal
            .filter(|it| *it == self.principal)
            .and_then(|_| self.gate.rights(&self.principal));
        let Some((version, rights)) = rights.filter(|(_, rights)| !rights.is_empty()) else {
            let rule = Some(Over::NoRights.reason().to_owned());
            self.record(Action::Connect, b"", None, rule);
            return Err(Over::NoRights);
        };
        // The account may be a new one, if the principal was not there for a while.
        self.account = self.gate.account(&self.principal);
        self.version = version;
        self.rights = rights;
        self.topics.clear();
        Ok(())
    }

    /// What of a filter the connection may have. What is refused is recorded if this is the first time
    /// that it is asked for.
    ///
    /// # Errors
    ///
    /// When there are more topics than it may subscribe to.
    pub(crate) fn granted(&self, wanted: &[Topic], is_first: bool) -> Result<Vec<Topic>, Over> {
        let max = self.rights.limits().subscriptions_max;
        if is_first && max.is_some_and(|max| wanted.len() as u64 > max) {
            let rule = Some(Over::Subscriptions.reason().to_owned());
            self.record(Action::Subscribe, b"", None, rule);
            return Err(Over::Subscriptions);
        }
        let granted = self.rights.granted(wanted);
        if is_first {
            self.record_subscriptions(&granted);
        }
        Ok(granted.topics)
    }

    /// What of a prefix the connection may have, and why it gets nothing otherwise. It is recorded if this
    /// is the first time that the prefix is asked for.
    #[cfg(feature = "zeromq")]
    pub(super) fn granted_of(&self, wanted: &Topic, is_first: bool) -> Vec<Topic> {
        let granted = self.rights.granted([wanted]);
        if is_first {
            self.record_subscriptions(&granted);
        }
        granted.topics
    }

    fn record_subscriptions(&self, granted: &Granted) {
        for (topic, denial) in &granted.refused {
            self.account.count_denied();
            if is_worth_telling(denial) {
                let rule = Some(denial.to_string());
                self.record(Action::Subscribe, topic.as_bytes(), None, rule);
            }
        }
        for topic in &granted.topics {
            self.account.count_allowed();
            self.record(Action::Subscribe, topic.as_bytes(), None, None);
        }
    }

    /// Decides about a request that is no message.
    pub(crate) fn decide(&self, request: &Request<'_>) -> bool {
        let decision = self.rights.decide(request);
        self.record(
            request.action(),
            request.resource(),
            None,
            denial(&decision),
        );
        match decision {
            Decision::Allow(_) => self.account.count_allowed(),
            Decision::Deny(_) => self.account.count_denied(),
        }
        decision.is_allowed()
    }

    /// Decides about a message; leaves out of the payload what may not be published.
    pub(crate) fn publish(&mut self, topic: &[u8], payload: &mut Vec<u8>) -> Publishing {
        let (publishing, rest) = self.judge(topic, payload);
        if let Some(rest) = rest {
            *payload = rest;
        }
        publishing
    }

    /// Decides about a message; the second is what may be published if that is not all of it.
    pub(super) fn judge(&mut self, topic: &[u8], payload: &[u8]) -> (Publishing, Option<Vec<u8>>) {
        self.judge_part(topic, Some(payload), payload.len())
    }

    /// Decides about a message of that many bytes. Of one whose payload is not read here there is none.
    pub(super) fn judge_part(
        &mut self,
        topic: &[u8],
        payload: Option<&[u8]>,
        bytes: usize,
    ) -> (Publishing, Option<Vec<u8>>) {
        let mut rest = None;
        let publishing = self.judge_parts(topic, payload, bytes, &mut rest);
        (publishing, rest)
    }

    fn judge_parts(
        &mut self,
        topic: &[u8],
        payload: Option<&[u8]>,
        bytes: usize,
        rest: &mut Option<Vec<u8>>,
    ) -> Publishing {
        if !self.is_current()
            && let Err(over) = self.refresh()
        {
            return Publishing::End(over);
        }
        let size = bytes as u64;
        let limits = self.rights.limits();
        if limits.message_bytes_max.is_some_and(|max| size > max) {
            return self.limited(topic, "message_bytes_max", "the message is too large");
        }
        let mut left_out = None;
        match self.topic(topic) {
            Topics::Denied(rule) => {
                let what = format!("publishing to \"{}\" is not permitted", shown(topic));
                return self.refuse(topic, 1, &[(None, rule.to_string())], what);
            }
            Topics::All => {}
            Topics::ByEvent => {
                let judged = match payload {
                    Some(payload) => judge(&self.rights, topic, payload),
                    None => judge_unread(&self.rights, topic),
                };
                if judged.denied > 0 || judged.is_denied {
                    let names = judged
                        .denials
                        .iter()
                        .filter_map(|(name, _)| name.as_deref());
                    let mut what = String::from("publishing ");
                    for (index, name) in names.enumerate() {
                        what.push_str(if index == 0 { "\"" } else { ", \"" });
                        what.push_str(&shown(name));
                        what.push('"');
                    }
                    if what.ends_with(' ') {
                        what.push_str("this message");
                    }
                    what.push_str(&format!(" to \"{}\" is not permitted", shown(topic)));
                    let told: Vec<_> = judged
                        .denials
                        .into_iter()
                        .map(|(name, denial)| (name, denial.to_string()))
                        .collect();
                    let refused = self.refuse(topic, judged.denied.max(1), &told, what);
                    // What is refused as a whole is not to be taken for its rest.
                    match (judged.rest, refused) {
                        (Some(part), Publishing::Refused(what)) => {
                            *rest = Some(part);
                            left_out = Some(what);
                        }
                        (_, refused) => return refused,
                    }
                }
            }
        }
        if self.gate.audit.refuses() {
            // The attempt to record it is what finds out that the record can be written again.
            self.account.count_denied();
            self.record(Action::Publish, topic, None, Some(UNRECORDED.to_owned()));
            let what = format!("publishing to \"{}\" is not possible now", shown(topic));
            return Publishing::Refused(what);
        }
        let Some(wait) = self.account.charge(&self.rights, size, self.gate.now()) else {
            return self.limited(topic, "messages_per_second or bytes_per_second", "too many");
        };
        self.account.count_allowed();
        if self.gate.audit.wants_allowed() {
            let whole = payload.unwrap_or_default();
            for event in names(rest.as_deref().unwrap_or(whole)) {
                self.record(Action::Publish, topic, event, None);
            }
        }
        Publishing::Go { wait, left_out }
    }

    /// Whether messages under topics that are allowed need no look of their own: no limit over time, and
    /// no line in the record.
    pub(super) fn is_free(&self) -> bool {
        let limits = self.rights.limits();
        let audit = &self.gate.audit;
        limits.messages_per_second.is_none()
            && limits.bytes_per_second.is_none()
            && !audit.refuses()
            && !audit.wants_allowed()
    }

    pub(super) fn message_bytes_max(&self) -> usize {
        let max = self.rights.limits().message_bytes_max;
        max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX))
    }

    /// Whether anything may be published under a topic.
    pub(super) fn is_all_allowed(&mut self, topic: &[u8]) -> bool {
        matches!(self.topic(topic), Topics::All)
    }

    /// Whether nothing may be published under a topic.
    pub(super) fn is_all_denied(&mut self, topic: &[u8]) -> bool {
        matches!(self.topic(topic), Topics::Denied(_))
    }

    pub(super) fn rights(&self) -> &Rights {
        &self.rights
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// Decides about an operation on a store. `size` is that of a change, which counts as a message does;
    /// what has none is answered at once.
    pub(super) fn store(&mut self, name: &[u8], operation: Operation, size: Option<u64>) -> Stored {
        if !self.is_current()
            && let Err(over) = self.refresh()
        {
            return Stored::End(over);
        }
        let action = Action::Store(operation);
        let decision = self.rights.decide(&Request::Store { name, operation });
        if let Some(rule) = denial(&decision) {
            self.account.count_denied();
            self.record(action, name, None, Some(rule));
            // A clone that looks for its store asks several times a second, and does no harm by it.
            return match size {
                Some(_) => self.count_denials(1).map_or(Stored::Refused, Stored::End),
                None => Stored::Refused,
            };
        }
        let Some(size) = size else {
            return Stored::Go(Duration::ZERO);
        };
        if self.gate.audit.refuses() {
            self.account.count_denied();
            self.record(action, name, None, Some(UNRECORDED.to_owned()));
            return Stored::Refused;
        }
        let is_too_large = size > self.message_bytes_max() as u64;
        let charged = self.account.charge(&self.rights, size, self.gate.now());
        let Some(wait) = charged.filter(|_| !is_too_large) else {
            self.account.count_limited();
            self.record(action, name, None, Some("limit".to_owned()));
            return match self.rights.limits().on_limit {
                OnLimit::Drop => Stored::Refused,
                OnLimit::End => Stored::End(Over::Limit),
            };
        };
        self.account.count_allowed();
        if self.gate.audit.wants_allowed() {
            self.record(action, name, None, None);
        }
        Stored::Go(wait)
    }

    /// Tells that a connection ends because of what was denied or too much.
    pub(super) fn record_end(&self, over: Over) {
        self.record(Action::Connect, b"", None, Some(over.reason().to_owned()));
    }

    fn topic(&mut self, topic: &[u8]) -> Topics {
        if let Some(known) = self.topics.get(topic) {
            return known.clone();
        }
        let right = match self.rights.topic(topic) {
            TopicRight::All(_) => Topics::All,
            TopicRight::ByEvent => Topics::ByEvent,
            TopicRight::Deny(denial) => Topics::Denied(denial.to_string().into()),
        };
        if self.topics.len() >= TOPICS_MAX {
            self.topics.clear();
        }
        self.topics.insert(topic.into(), right.clone());
        right
    }

    fn limited(&mut self, topic: &[u8], limit: &str, what: &str) -> Publishing {
        self.account.count_limited();
        self.record(Action::Publish, topic, None, Some(format!("limit {limit}")));
        match self.rights.limits().on_limit {
            OnLimit::Drop => Publishing::Refused(format!(
                "publishing to \"{}\" is not permitted: {what}",
                shown(topic)
            )),
            OnLimit::End => Publishing::End(Over::Limit),
        }
    }

    /// Refuses a message that is none.
    #[cfg(feature = "zeromq")]
    pub(super) fn refuse_malformed(&mut self, topic: &[u8]) -> Publishing {
        let what = format!("publishing to \"{}\" is not permitted", shown(topic));
        let rule = broker_proto::policy::Denial::Malformed.to_string();
        self.refuse(topic, 1, &[(None, rule)], what)
    }

    /// Counts and records what is denied; tells what, or that it was too much.
    fn refuse(
        &mut self,
        topic: &[u8],
        denied: u64,
        told: &[(Option<Vec<u8>>, String)],
        what: String,
    ) -> Publishing {
        for (event, rule) in told {
            let event = event.as_deref();
            self.record(Action::Publish, topic, event, Some(rule.clone()));
        }
        self.account.count_denied();
        let over = self.count_denials(denied);
        over.map_or(Publishing::Refused(what), Publishing::End)
    }

    /// Counts what was denied on this connection; says that it was too much.
    fn count_denials(&mut self, denied: u64) -> Option<Over> {
        self.denials = self.denials.saturating_add(denied);
        let max = self.rights.limits().denials_max.unwrap_or(DENIALS_MAX);
        (self.denials >= max).then_some(Over::Denials)
    }

    pub(super) fn record(
        &self,
        action: Action,
        resource: &[u8],
        event: Option<&[u8]>,
        denial: Option<String>,
    ) {
        let principal = &self.principal;
        let cut = |bytes: &'_ [u8]| bytes.get(..SHOWN_MAX).unwrap_or(bytes).to_vec();
        let event = event.map(cut);
        let (resource, event) = (cut(resource), event.as_deref());
        self.gate
            .record(principal, self.remote, action, &resource, event, denial);
    }
}

/// As much of a name as a message has room for.
fn shown(bytes: &[u8]) -> String {
    let start = bytes.get(..SHOWN_MAX).unwrap_or(bytes);
    String::from_utf8_lossy(start).into_owned()
}

/// Resolves at a time of the system's clock; never without one.
async fn until(time: Option<Timestamp>) {
    /// The clock may be moved: how often it is looked at.
    const LOOK_INTERVAL: Duration = Duration::from_secs(60);
    let Some(time) = time else {
        return std::future::pending().await;
    };
    loop {
        if system_time() >= time {
            return;
        }
        let left = SystemTime::from(time).duration_since(SystemTime::now());
        let left = left.unwrap_or_default();
        tokio::time::sleep(left.min(LOOK_INTERVAL)).await;
    }
}
