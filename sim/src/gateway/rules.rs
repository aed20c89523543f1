//! Rules as they are written, read in the slow way: what the decision is compared with.

use broker_proto::policy::{Content, Glob, Operation, Policy, Role, Rules};

use crate::random::Random;

/// Principals of connections.
pub(super) const PRINCIPALS: [&str; 4] = ["a", "b", "c", "d"];

/// Few and alike, so that one is often the beginning of another; some belong to endpoints.
pub(super) const TOPICS: [&str; 10] = [
    "",
    "/",
    "/n",
    "/n/",
    "/n/x",
    "/notice",
    "/notices/",
    "/notices/x",
    "<$>/local",
    "s/<$>/data/master",
];

/// Names of events.
pub(super) const EVENTS: [&str; 5] = ["N::a", "N::ab", "N::b", "n::a", "terminate"];

const GLOBS: [&str; 5] = ["N::a", "N::a*", "N::*", "*", "terminate"];

/// Roles of a policy.
const ROLES_MAX: u64 = 4;

/// A message without batches around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Event(&'static str),
    Other,
}

impl Said {
    pub(super) const fn content(self) -> Content<'static> {
        match self {
            Self::Event(name) => Content::Event(name.as_bytes()),
            Self::Other => Content::Other,
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Half {
    publish: Vec<&'static str>,
    subscribe: Vec<&'static str>,
    events: Option<Vec<&'static str>>,
}

/// A policy as it is written.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    /// What each role allows and denies.
    roles: Vec<(Half, Half)>,
    /// For each principal its roles, if it is known at all.
    principals: Vec<Option<Vec<usize>>>,
    is_permissive: bool,
}

impl Half {
    fn random(random: &mut Random, topics_max: u64) -> Self {
        let some = |random: &mut Random, list: &[&'static str], max: u64| {
            let count = random.below(max + 1);
            (0..count).map(|_| random.choose(list)).collect::<Vec<_>>()
        };
        Self {
            publish: some(random, &TOPICS, topics_max),
            subscribe: some(random, &TOPICS, topics_max),
            events: random
                .permille(400)
                .then(|| some(random, &GLOBS, topics_max)),
        }
    }

    fn rules(&self) -> Rules {
        let prefixes = |them: &[&str]| them.iter().map(|it| it.as_bytes()).collect();
        let globs = |them: &Vec<&str>| them.iter().filter_map(|it| Glob::parse(it)).collect();
        Rules {
            publish: prefixes(&self.publish),
            subscribe: prefixes(&self.subscribe),
            events_publish: self.events.as_ref().map(globs),
            ..Rules::default()
        }
    }

    fn names(&self, event: &str) -> bool {
        let mut globs = self.events.iter().flatten();
        globs.any(|glob| match glob.strip_suffix('*') {
            Some(start) => event.starts_with(start),
            None => event == *glob,
        })
    }
}

fn begins(prefixes: &[&str], topic: &str) -> bool {
    prefixes.iter().any(|prefix| topic.starts_with(prefix))
}

impl Written {
    pub(super) fn random(random: &mut Random) -> Self {
        let roles: Vec<_> = (0..random.below(ROLES_MAX + 1))
            .map(|_| {
                let allow = Half::random(random, 3);
                let denies = random.permille(500);
                let deny = Half::random(random, 1);
                (allow, if denies { deny } else { Half::default() })
            })
            .collect();
        let principals = PRINCIPALS.map(|_| {
            let is_known = random.permille(850);
            let chosen = (0..roles.len()).filter(|_| random.permille(500));
            let chosen: Vec<_> = chosen.collect();
            is_known.then_some(chosen)
        });
        Self {
            roles,
            principals: principals.into(),
            is_permissive: random.permille(50),
        }
    }

    /// The same for the code under test.
    pub(super) fn policy(&self) -> Policy {
        let mut policy = Policy::default();
        policy.set_permissive(self.is_permissive);
        let name = |role: usize| format!("role {role}");
        for (index, (allow, deny)) in self.roles.iter().enumerate() {
            let role = Role {
                allow: allow.rules(),
                deny: deny.rules(),
                ..Role::default()
            };
            policy
                .add_role(&name(index), role)
                .expect("each role has its name");
        }
        for (principal, roles) in PRINCIPALS.iter().zip(&self.principals) {
            let Some(roles) = roles else { continue };
            let roles: Vec<_> = roles.iter().map(|role| name(*role)).collect();
            let added = policy.add_principal(principal, roles.iter().map(String::as_str));
            added.expect("its roles are there");
        }
        // What nothing here is about.
        let mut store = Role::default();
        let glob = Glob::parse("*").expect("a glob");
        store.allow.stores.insert(glob, Operation::Clear);
        policy.add_role("stores", store).expect("a name of its own");
        policy
    }

    fn roles_of(&self, principal: usize) -> Option<Vec<&(Half, Half)>> {
        let roles = self.principals.get(principal)?.as_ref()?;
        Some(
            roles
                .iter()
                .filter_map(|role| self.roles.get(*role))
                .collect(),
        )
    }

    /// Whether a message may be published.
    pub(super) fn may_publish(&self, principal: usize, topic: &str, said: Said) -> bool {
        let Some(roles) = self.roles_of(principal) else {
            return false;
        };
        let is_denied = roles.iter().any(|(_, deny)| {
            let by_name = matches!(said, Said::Event(name) if deny.names(name));
            begins(&deny.publish, topic) || by_name
        });
        let is_allowed = roles.iter().any(|(allow, _)| {
            let by_name = match said {
                Said::Event(name) => allow.events.is_none() || allow.names(name),
                Said::Other => allow.events.is_none(),
            };
            begins(&allow.publish, topic) && by_name
        });
        !belongs_to_endpoints(topic) && !is_denied && (is_allowed || self.is_permissive)
    }

    /// Whether messages of a topic may be had.
    pub(super) fn may_have(&self, principal: usize, topic: &str) -> bool {
        let Some(roles) = self.roles_of(principal) else {
            return false;
        };
        let is_denied = roles.iter().any(|(_, deny)| begins(&deny.subscribe, topic));
        let is_allowed = roles
            .iter()
            .any(|(allow, _)| begins(&allow.subscribe, topic));
        !belongs_to_endpoints(topic) && !is_denied && (is_allowed || self.is_permissive)
    }
}

pub(super) fn belongs_to_endpoints(topic: &str) -> bool {
    topic.starts_with("<$>") || topic.contains("/<$>/")
}
