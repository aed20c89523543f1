//! Rights of one principal: its roles together.

use std::sync::Arc;

use broker_data::View;

use super::{Content, Decision, Denial, Limits, Operation, Prefixes, Request, Role, Rule, Schema};
use crate::topic::{Topic, is_internal};

/// The roles of a principal. The order in which they were given has no influence on anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    roles: Vec<(Box<str>, Role)>,
    /// The beginnings that all roles allow, for filters.
    subscribe: Prefixes,
    subscribe_denied: Prefixes,
    /// Whether any role denies events.
    denies_events: bool,
    /// Whether all is allowed that no rule denies.
    is_permissive: bool,
    schema: Option<Arc<Schema>>,
    limits: Limits,
}

/// What may be published under a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicRight {
    /// Anything, because of this rule: nobody has to look into the message.
    All(Rule),
    /// It depends on the event.
    ByEvent,
    /// Nothing.
    Deny(Denial),
}

/// The part of a filter that a principal may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// What it gets: where it asked for more than it may have, what it may have of it.
    pub topics: Vec<Topic>,
    /// What it asked for and gets nothing of.
    pub refused: Vec<(Topic, Denial)>,
}

impl Rights {
    pub(super) fn of(
        roles: impl Iterator<Item = (Box<str>, Role)>,
        is_permissive: bool,
        schema: Option<Arc<Schema>>,
    ) -> Self {
        let mut roles: Vec<_> = roles.collect();
        roles.sort_by(|(a, _), (b, _)| a.cmp(b));
        let each = || roles.iter().map(|(_, role)| role);
        let subscribe = each().flat_map(|role| role.allow.subscribe.iter());
        let denied = each().flat_map(|role| role.deny.subscribe.iter());
        let limits = each().fold(Limits::default(), |all, role| all.and(&role.limits));
        let denies_events = each().any(|role| {
            let events = role.deny.events_publish.as_ref();
            events.is_some_and(|events| !events.is_empty())
        });
        Self {
            subscribe: subscribe.collect(),
            subscribe_denied: denied.collect(),
            denies_events,
            is_permissive,
            schema,
            limits,
            roles,
        }
    }

    /// The bounds of all roles together: of each the narrowest.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether there is nothing that it may do.
    pub fn is_empty(&self) -> bool {
        let has_none = self.roles.iter().all(|(_, role)| {
            let allow = &role.allow;
            allow.publish.is_empty()
                && allow.subscribe.is_empty()
                && allow.stores.is_empty()
                && allow.http.is_empty()
        });
        has_none && !self.is_permissive
    }

    /// Decides about a request.
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        match self.decide_by_rules(request) {
            Decision::Deny(denial) if !self.holds(&denial) => Decision::Allow(Rule::permissive()),
            decision => decision,
        }
    }

    /// Whether it stays denied: in a permissive policy what is written to be denied, and topics of
    /// endpoints.
    fn holds(&self, denial: &Denial) -> bool {
        match denial {
            Denial::Reserved | Denial::Rule(_) => true,
            // It may hide an event that is denied.
            Denial::Malformed => self.denies_events || self.schema.is_some() || !self.is_permissive,
            Denial::Misfit(_) => true,
            Denial::UnknownPrincipal | Denial::NoRule | Denial::NoEventRule => !self.is_permissive,
        }
    }

    fn decide_by_rules(&self, request: &Request<'_>) -> Decision {
        match *request {
            Request::Publish { topic, content } => self.decide_publish(topic, content),
            Request::Subscribe { topic } => self.decide_subscribe(topic),
            Request::Store { name, operation } => self.decide_store(name, operation),
            Request::Http { path } => {
                let denied = self.find("deny.http", |role| role.deny.http.find(path));
                self.allowed_unless(denied, || {
                    self.find("http", |role| role.allow.http.find(path))
                })
            }
        }
    }

    /// Whether the arguments of an event, the elements of a vector, are what the schema says, if there is
    /// one. What may be published under a topic is asked before: an event has to pass both.
    ///
    /// # Errors
    ///
    /// [`Denial::Misfit`] with the argument and its types.
    pub fn check_event(&self, name: &[u8], arguments: View<'_>) -> Result<(), Denial> {
        match &self.schema {
            Some(schema) => schema.check(name, arguments).map_err(Denial::Misfit),
            None => Ok(()),
        }
    }

    /// What may be published under a topic. It holds as long as the policy does, so that it can be kept.
    ///
    /// With a permissive policy it depends on the event, if only because its name is recorded.
    pub fn topic(&self, topic: &[u8]) -> TopicRight {
        match self.topic_by_rules(topic) {
            TopicRight::Deny(denial) if self.holds(&denial) => TopicRight::Deny(denial),
            _ if self.is_permissive => TopicRight::ByEvent,
            right => right,
        }
    }

    fn topic_by_rules(&self, topic: &[u8]) -> TopicRight {
        if is_internal(topic) {
            return TopicRight::Deny(Denial::Reserved);
        }
        if let Some(rule) = self.find("deny.publish", |role| role.deny.publish.find(topic)) {
            return TopicRight::Deny(Denial::Rule(rule));
        }
        if !self
            .roles
            .iter()
            .any(|(_, role)| role.allow.publish.find(topic).is_some())
        {
            return TopicRight::Deny(Denial::NoRule);
        }
        if self.denies_events || self.schema.is_some() {
            return TopicRight::ByEvent;
        }
        let all = self.find("publish", |role| {
            let has_list = role.allow.events_publish.is_some();
            role.allow.publish.find(topic).filter(|_| !has_list)
        });
        all.map_or(TopicRight::ByEvent, TopicRight::All)
    }

    fn decide_publish(&self, topic: &[u8], content: Content<'_>) -> Decision {
        let of_topic = match self.topic_by_rules(topic) {
            TopicRight::Deny(denial) if self.holds(&denial) => return Decision::Deny(denial),
            // In a permissive policy, where a rule may deny the event all the same.
            TopicRight::Deny(denial) => Some(denial),
            TopicRight::All(rule) => return Decision::Allow(rule),
            TopicRight::ByEvent => None,
        };
        let name = match content {
            Content::Malformed => return Decision::Deny(Denial::Malformed),
            Content::Event(name) => Some(name),
            Content::Other => None,
        };
        let denied = self.find_name("deny.events.publish", |role| {
            let events = role.deny.events_publish.as_ref()?;
            events.find(name?).map(ToString::to_string)
        });
        if let Some(rule) = denied {
            return Decision::Deny(Denial::Rule(rule));
        }
        if let Some(denial) = of_topic {
            return Decision::Deny(denial);
        }
        // The role that allows the topic has to allow the event: rights do not mix.
        let allowed = self.roles.iter().find_map(|(role_name, role)| {
            let prefix = role.allow.publish.find(topic)?;
            match &role.allow.events_publish {
                None => Some(Rule::new(role_name, "publish", prefix)),
                Some(events) => {
                    let glob = events.find(name?)?.to_string();
                    Some(Rule::new(role_name, "events.publish", glob.as_bytes()))
                }
            }
        });
        allowed.map_or(Decision::Deny(Denial::NoEventRule), Decision::Allow)
    }

    fn decide_subscribe(&self, topic: &[u8]) -> Decision {
        // Endpoints keep such topics to themselves, and nobody asks for them by a shorter beginning.
        if is_internal(topic) {
            return Decision::Deny(Denial::Reserved);
        }
        self.allowed_unless(self.subscription_denied(topic), || {
            self.find("subscribe", |role| role.allow.subscribe.find(topic))
        })
    }

    /// The rule that denies all or part of what begins like that. A filter cannot leave anything out.
    fn subscription_denied(&self, topic: &[u8]) -> Option<Rule> {
        let rules = &self.subscribe_denied;
        if rules.find(topic).is_none() && rules.below(topic).next().is_none() {
            return None;
        }
        self.find("deny.subscribe", |role| {
            let rules = &role.deny.subscribe;
            rules.find(topic).or_else(|| rules.below(topic).next())
        })
    }

    /// The part of a filter that may be had: each entry, or what is allowed below it.
    pub fn granted<'a>(&self, wanted: impl IntoIterator<Item = &'a Topic>) -> Granted {
        let mut granted = Granted::default();
        for topic in wanted {
            let bytes = topic.as_bytes();
            if is_internal(bytes) {
                granted.refused.push((topic.clone(), Denial::Reserved));
            } else if self.is_permissive || self.subscribe.find(bytes).is_some() {
                match self.subscription_denied(bytes) {
                    Some(rule) => granted.refused.push((topic.clone(), Denial::Rule(rule))),
                    None => granted.topics.push(topic.clone()),
                }
            } else {
                self.grant_below(topic, &mut granted);
            }
        }
        granted.topics.sort_unstable();
        granted
            .topics
            .dedup_by(|next, kept| kept.is_prefix_of(next.as_bytes()));
        granted
    }

    fn grant_below(&self, topic: &Topic, granted: &mut Granted) {
        let before = granted.topics.len();
        let mut denial = Denial::NoRule;
        for right in self.subscribe.below(topic.as_bytes()) {
            if is_internal(right) {
                continue;
            }
            match self.subscription_denied(right) {
                Some(rule) => denial = Denial::Rule(rule),
                None => granted.topics.push(right.into()),
            }
        }
        if granted.topics.len() == before {
            granted.refused.push((topic.clone(), denial));
        }
    }

    fn decide_store(&self, name: &[u8], operation: Operation) -> Decision {
        let denied = self.find_name("deny.stores", |role| {
            let mut rules = role.deny.stores.iter();
            let rule = rules.find(|(glob, least)| **least <= operation && glob.matches(name));
            rule.map(|(glob, _)| glob.to_string())
        });
        self.allowed_unless(denied, || {
            self.find_name("stores", |role| {
                let mut rules = role.allow.stores.iter();
                let rule =
                    rules.find(|(glob, greatest)| **greatest >= operation && glob.matches(name));
                rule.map(|(glob, _)| glob.to_string())
            })
        })
    }

    fn allowed_unless(
        &self,
        denied: Option<Rule>,
        allowed: impl FnOnce() -> Option<Rule>,
    ) -> Decision {
        match denied {
            Some(rule) => Decision::Deny(Denial::Rule(rule)),
            None => allowed().map_or(Decision::Deny(Denial::NoRule), Decision::Allow),
        }
    }

    fn find<'a>(
        &'a self,
        key: &'static str,
        pattern: impl Fn(&'a Role) -> Option<&'a [u8]>,
    ) -> Option<Rule> {
        let mut roles = self.roles.iter();
        roles.find_map(|(name, role)| Some(Rule::new(name, key, pattern(role)?)))
    }

    fn find_name(
        &self,
        key: &'static str,
        pattern: impl Fn(&Role) -> Option<String>,
    ) -> Option<Rule> {
        let mut roles = self.roles.iter();
        roles.find_map(|(name, role)| Some(Rule::new(name, key, pattern(role)?.as_bytes())))
    }
}
