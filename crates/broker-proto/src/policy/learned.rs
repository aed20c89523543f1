//! The smallest policy that allows what was asked for.

use std::collections::{BTreeMap, BTreeSet};

use super::{Content, Glob, Globs, Operation, Policy, PolicyError, Prefixes, Request, Role, Rules};
use crate::topic::is_internal;

/// Different requests that are learned from: a policy of that size is none that people read.
pub const REQUESTS_MAX: usize = 100_000;

/// Why no rule can be made of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unlearnable {
    /// Topics of endpoints and stores belong to no principal.
    #[error("topics of endpoints cannot be allowed")]
    Reserved,
    /// A name with `*` in it, or none at all, is no pattern for itself alone.
    #[error("no rule can name it alone")]
    Name,
    /// There are more than [`REQUESTS_MAX`].
    #[error("there are more than {REQUESTS_MAX} different requests")]
    TooMany,
}

/// What principals asked for.
///
/// ```
/// use broker_proto::policy::{Content, Learned, Request, decide};
///
/// let mut learned = Learned::default();
/// let request = Request::Publish { topic: b"/x", content: Content::Event(b"N::a") };
/// learned.observe("soar", &request)?;
/// let policy = learned.policy()?;
/// assert!(decide(&policy, "soar", &request).is_allowed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// Bound: [`REQUESTS_MAX`].
    principals: BTreeMap<Box<str>, Asked>,
    requests: usize,
}

#[derive(Clone, Debug, Default)]
struct Asked {
    publish: BTreeMap<Box<[u8]>, Contents>,
    subscribe: BTreeSet<Box<[u8]>>,
    stores: BTreeMap<Glob, Operation>,
    http: BTreeSet<Box<[u8]>>,
}

/// What was published under a topic.
#[derive(Clone, Debug, Default)]
struct Contents {
    events: BTreeSet<Glob>,
    /// Anything that is no event, which no list of events allows.
    has_others: bool,
}

impl Learned {
    /// Remembers a principal, whether it asks for anything or not.
    ///
    /// # Errors
    ///
    /// [`Unlearnable::TooMany`].
    pub fn add_principal(&mut self, principal: &str) -> Result<(), Unlearnable> {
        if !self.principals.contains_key(principal) {
            self.count()?;
            self.principals.insert(principal.into(), Asked::default());
        }
        Ok(())
    }

    /// Remembers a request that is to be allowed.
    ///
    /// # Errors
    ///
    /// When no rule can be made of it, or it is one too many ([`Unlearnable::TooMany`]).
    pub fn observe(&mut self, principal: &str, request: &Request<'_>) -> Result<(), Unlearnable> {
        let glob = |name: &[u8]| {
            let name = std::str::from_utf8(name).ok();
            let name = name.filter(|name| !name.contains('*'));
            name.and_then(Glob::parse).ok_or(Unlearnable::Name)
        };
        if let Request::Publish { topic, .. } | Request::Subscribe { topic } = request
            && is_internal(topic)
        {
            return Err(Unlearnable::Reserved);
        }
        let name = match *request {
            Request::Publish {
                content: Content::Event(name),
                ..
            }
            | Request::Store { name, .. } => Some(glob(name)?),
            Request::Publish { .. } | Request::Subscribe { .. } | Request::Http { .. } => None,
        };
        self.add_principal(principal)?;
        let Some(asked) = self.principals.get_mut(principal) else {
            return Ok(());
        };
        let is_new = match (*request, name) {
            (Request::Publish { topic, .. }, Some(event)) => {
                let contents = asked.publish.entry(topic.into()).or_default();
                contents.events.insert(event)
            }
            (Request::Publish { topic, .. }, None) => {
                let contents = asked.publish.entry(topic.into()).or_default();
                !std::mem::replace(&mut contents.has_others, true)
            }
            (Request::Subscribe { topic }, _) => asked.subscribe.insert(topic.into()),
            (Request::Store { operation, .. }, Some(name)) => {
                let greatest = asked.stores.get(&name).copied();
                let needed = greatest.map_or(operation, |greatest| greatest.max(operation));
                asked.stores.insert(name, needed);
                greatest.is_none()
            }
            (Request::Store { .. }, None) => false,
            (Request::Http { path }, _) => asked.http.insert(path.into()),
        };
        if is_new { self.count() } else { Ok(()) }
    }

    fn count(&mut self) -> Result<(), Unlearnable> {
        if self.requests >= REQUESTS_MAX {
            return Err(Unlearnable::TooMany);
        }
        self.requests += 1;
        Ok(())
    }

    /// The policy: for each principal a role, and one more for each list of events that belongs to other
    /// topics than the first, as rights do not mix.
    ///
    /// # Errors
    ///
    /// When a principal's name is none.
    pub fn policy(&self) -> Result<Policy, PolicyError> {
        let mut policy = Policy::default();
        for (principal, asked) in &self.principals {
            let mut names: Vec<String> = Vec::new();
            for role in asked.roles() {
                let name = self.free_name(&policy, principal, names.is_empty());
                policy.add_role(&name, role)?;
                names.push(name);
            }
            policy.add_principal(principal, names.iter().map(String::as_str))?;
        }
        Ok(policy)
    }

    /// The principal's own name for its first role; for others one that neither a role nor a principal has.
    fn free_name(&self, policy: &Policy, principal: &str, is_first: bool) -> String {
        if is_first {
            return principal.to_owned();
        }
        let numbers = 2_u64..;
        let mut names = numbers.map(|number| format!("{principal}-{number}"));
        let free = names
            .find(|name| !policy.has_role(name) && !self.principals.contains_key(name.as_str()));
        free.unwrap_or_default()
    }
}

impl Asked {
    fn roles(&self) -> Vec<Role> {
        let mut everything = Prefixes::default();
        let mut by_events: BTreeMap<BTreeSet<&Glob>, Prefixes> = BTreeMap::new();
        for (topic, contents) in &self.publish {
            match self.needed(topic, contents) {
                Needed::Everything => everything.add(topic),
                Needed::Events(events) if events.is_empty() => {}
                Needed::Events(events) => by_events.entry(events).or_default().add(topic),
            }
        }
        let mut roles = Vec::new();
        if !everything.is_empty() {
            roles.push(Role {
                allow: Rules {
                    publish: everything,
                    ..Rules::default()
                },
                ..Role::default()
            });
        }
        for (events, publish) in by_events {
            let events: Globs = events.into_iter().cloned().collect();
            roles.push(Role {
                allow: Rules {
                    publish,
                    events_publish: Some(events),
                    ..Rules::default()
                },
                ..Role::default()
            });
        }
        let has_more =
            !self.subscribe.is_empty() || !self.stores.is_empty() || !self.http.is_empty();
        if roles.is_empty() && has_more {
            roles.push(Role::default());
        }
        if let Some(first) = roles.first_mut() {
            first.allow.subscribe = self.subscribe.iter().map(|topic| &**topic).collect();
            first.allow.http = self.http.iter().map(|path| &**path).collect();
            first.allow.stores.clone_from(&self.stores);
        }
        roles
    }

    /// What shorter topics do not allow already.
    fn needed<'a>(&'a self, topic: &[u8], contents: &'a Contents) -> Needed<'a> {
        let shorter = (0..topic.len()).filter_map(|size| self.publish.get(topic.get(..size)?));
        let mut events: BTreeSet<_> = contents.events.iter().collect();
        for contents in shorter {
            if contents.has_others {
                return Needed::Events(BTreeSet::new());
            }
            events.retain(|event| !contents.events.contains(*event));
        }
        if contents.has_others {
            Needed::Everything
        } else {
            Needed::Events(events)
        }
    }
}

enum Needed<'a> {
    Everything,
    Events(BTreeSet<&'a Glob>),
}
