//! Permissions at the edges of an endpoint: the policy that holds now, who is a principal, and what is
//! recorded of decisions.
//!
//! | module | what it is |
//! |---|---|
//! | `pass` | a connection as a principal: what it may do, as long as it may |
//! | `peer` | the same for a native peer: its filter, its messages, its commands of stores |
//! | `client` | the same for a client of a forwarder for ZeroMQ: its subscriptions, its messages |
//! | `content` | events in messages, looked at where rules depend on them |
//! | `account` | limits and counts of a principal, over all its connections |
//! | `audit` | the record of decisions |
//! | `denials` | the last of what was denied |
//!
//! What is decided is `broker_proto::policy`. Nothing in the middle of routing asks: messages are judged
//! where they come in, and filters where they are told.

mod account;
mod audit;
#[cfg(feature = "zeromq")]
mod client;
mod content;
#[cfg(feature = "status")]
mod denials;
mod pass;
mod peer;

use std::collections::BTreeMap;
#[cfg(feature = "status")]
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use broker_data::Timestamp;
use broker_proto::policy::{
    Action, Attempt, CertificateName, Decision, Denial, Failures, Policy, Rights,
};
#[cfg(feature = "zeromq")]
use broker_proto::zmtp::PublicKey;
use tokio::sync::Notify;

pub(crate) use account::Account;
pub(crate) use audit::Audit;
use audit::Entry;
#[cfg(feature = "zeromq")]
pub(crate) use client::ClientPass;
#[cfg(feature = "status")]
use denials::{Denials, Denied};
#[cfg_attr(
    not(feature = "http"),
    expect(unused_imports, reason = "edges that ask are servers")
)]
pub(crate) use pass::{Over, Pass, Publishing};
pub(crate) use peer::{Judgement, PeerFilter, PeerPass};

use crate::config::{AuditOptions, PolicyOptions};
use crate::error::Error;
use crate::lock::Lock;
use crate::net::certificate_names::Shown;
use crate::policy::PolicyCounts;

/// How long the answer to a wrong token waits: a client that guesses gets few, one that mistyped does not
/// notice.
pub(crate) const FAILURE_DELAY: Duration = Duration::from_millis(500);

/// What a connection brings to become a principal.
#[derive(Debug, Clone)]
pub(crate) enum Proof {
    /// No token; it came in at this port, and its certificate has these names, if it has one.
    Connection {
        names: Arc<[CertificateName]>,
        port: u16,
    },
    /// A token, by its name.
    Token(Box<str>),
    /// A client of ZeroMQ came in at this port and has this public key.
    #[cfg(feature = "zeromq")]
    Curve { key: PublicKey, port: u16 },
}

/// Why a connection does not become a principal. The other side is told no more than the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// It has to prove something, or something else.
    Unauthorized,
    /// Too many attempts came from that address.
    TooMany,
}

/// A principal for people.
#[cfg(feature = "status")]
#[derive(Debug)]
pub(crate) struct Principal {
    pub(crate) name: String,
    pub(crate) roles: Vec<String>,
    pub(crate) counts: PolicyCounts,
}

/// The permissions of an endpoint.
#[derive(Debug)]
pub(crate) struct Gate {
    policy: ArcSwap<Policy>,
    /// Moves with the policy, after it.
    version: AtomicU64,
    changed: Notify,
    /// Bound: the principals of the policy.
    accounts: Lock<BTreeMap<Box<str>, Arc<Account>>>,
    failures: Lock<Failures>,
    audit: Audit,
    #[cfg(feature = "status")]
    denials: Denials,
    started: Instant,
}

impl Gate {
    /// # Errors
    ///
    /// When the file of the record cannot be opened.
    pub(crate) fn new(options: &PolicyOptions) -> Result<Self, Error> {
        let audit = Audit::start(&recorded(options))?;
        Ok(Self {
            policy: ArcSwap::from_pointee(options.policy.clone()),
            version: AtomicU64::new(1),
            changed: Notify::new(),
            accounts: Lock::default(),
            failures: Lock::default(),
            audit,
            #[cfg(feature = "status")]
            denials: Denials::default(),
            started: Instant::now(),
        })
    }

    /// Replaces the policy whole. Connections look at their rights again before they do anything else.
    ///
    /// # Errors
    ///
    /// When the file of the record cannot be opened; nothing is replaced then.
    pub(crate) fn replace(&self, options: &PolicyOptions) -> Result<(), Error> {
        self.audit.reopen(&recorded(options))?;
        let policy = Arc::new(options.policy.clone());
        let mut accounts = self.accounts.lock();
        accounts.retain(|principal, _| policy.has_principal(principal));
        self.policy.store(policy);
        self.version.fetch_add(1, Ordering::Release);
        drop(accounts);
        self.changed.notify_waiters();
        Ok(())
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Resolves when the policy is another than that of a version.
    pub(crate) async fn replaced(&self, version: u64) {
        let mut changed = std::pin::pin!(self.changed.notified());
        changed.as_mut().enable();
        if self.version() == version {
            changed.await;
        }
    }

    /// Writes what is still to be recorded, for a bounded time.
    pub(crate) fn flush(&self) {
        self.audit.flush();
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, PolicyCounts> {
        let accounts = self.accounts.lock();
        let counts = accounts.iter();
        counts
            .map(|(principal, account)| (principal.to_string(), account.counts()))
            .collect()
    }

    /// The principals with their roles and decisions so far, in ascending order.
    #[cfg(feature = "status")]
    pub(crate) fn principals(&self) -> Vec<Principal> {
        let (policy, counts) = (self.policy.load(), self.counts());
        // A permissive policy judges one more than it lists.
        let names: BTreeSet<&str> = policy
            .principals()
            .chain(counts.keys().map(String::as_str))
            .collect();
        let of = |name: &str| Principal {
            name: name.to_owned(),
            roles: policy.roles_of(name).map(str::to_owned).collect(),
            counts: counts.get(name).copied().unwrap_or_default(),
        };
        names.into_iter().map(of).collect()
    }

    /// The last denials, the latest last.
    #[cfg(feature = "status")]
    pub(crate) fn denials(&self) -> Vec<Denied> {
        self.denials.list()
    }

    #[cfg(feature = "status")]
    pub(crate) fn is_permissive(&self) -> bool {
        self.policy.load().is_permissive()
    }

    /// Denied attempts to become a principal.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.lock().total()
    }

    /// Time for buckets: since the endpoint began.
    fn now(&self) -> Timestamp {
        let elapsed = self.started.elapsed().as_nanos();
        Timestamp::from_ns(i64::try_from(elapsed).unwrap_or(i64::MAX))
    }

    /// Finds the principal of a connection, by its token if it has one.
    pub(crate) fn admit(
        self: &Arc<Self>,
        bearer: Option<&str>,
        shown: &Shown,
        remote: IpAddr,
        port: u16,
    ) -> Result<Pass, Unknown> {
        match self.identify(bearer, shown, remote, port) {
            Ok((principal, proof)) => {
                let pass = Pass::new(self.clone(), &principal, proof, remote);
                self.record(&principal, remote, Action::Connect, b"", None, None);
                pass.ok_or(Unknown::Unauthorized)
            }
            Err(unknown) => Err(unknown),
        }
    }

    /// Finds the principal of a native peer that connected.
    ///
    /// # Errors
    ///
    /// Says why it may do nothing at all.
    pub(crate) fn admit_peer(
        self: &Arc<Self>,
        shown: &Shown,
        remote: IpAddr,
        port: u16,
    ) -> Result<PeerPass, &'static str> {
        let pass = self.admit(None, shown, remote, port).ok();
        let pass = pass.filter(|pass| !pass.rights().is_empty());
        let pass = pass.map(PeerPass::new);
        pass.ok_or(match shown {
            Ok(_) => "the policy has no rights for such connections",
            Err(cause) => cause,
        })
    }

    /// Finds the principal of a client of a forwarder: by its key if CURVE proved that it has one.
    ///
    /// # Errors
    ///
    /// Says why it may do nothing at all.
    #[cfg(feature = "zeromq")]
    pub(crate) fn admit_client(
        self: &Arc<Self>,
        key: Option<PublicKey>,
        remote: IpAddr,
        port: u16,
    ) -> Result<ClientPass, &'static str> {
        let proof = match key {
            Some(key) => Proof::Curve { key, port },
            None => Proof::Connection {
                names: Arc::default(),
                port,
            },
        };
        let principal = Self::principal_of(&self.policy.load(), &proof);
        let pass = principal.and_then(|it| Pass::new(self.clone(), &it, proof, remote));
        let Some(pass) = pass.filter(|pass| !pass.rights().is_empty()) else {
            self.fail(remote, "no proof");
            return Err("the policy has no rights for such connections");
        };
        self.record(pass.principal(), remote, Action::Connect, b"", None, None);
        Ok(ClientPass::new(pass))
    }

    /// Records a connection that came to nothing before it could be anybody's.
    #[cfg(feature = "tls")]
    pub(crate) fn refused(&self, remote: IpAddr, cause: &str) {
        self.failures.lock().count();
        let rule = Some(cause.to_owned());
        self.record("", remote, Action::Connect, b"", None, rule);
    }

    fn identify(
        &self,
        bearer: Option<&str>,
        shown: &Shown,
        remote: IpAddr,
        port: u16,
    ) -> Result<(Box<str>, Proof), Unknown> {
        let policy = self.policy.load();
        let Some(secret) = bearer else {
            let names = shown.as_deref().map_err(|cause| {
                self.fail(remote, cause);
                Unknown::Unauthorized
            })?;
            let names = names.into();
            let proof = Proof::Connection { names, port };
            let principal = Self::principal_of(&policy, &proof);
            return principal.map(|name| (name, proof)).ok_or_else(|| {
                self.fail(remote, "no proof");
                Unknown::Unauthorized
            });
        };
        if self.failures.lock().attempt(remote, self.now()) == Attempt::TooMany {
            return Err(Unknown::TooMany);
        }
        match policy.token_of_secret(secret, system_time()) {
            Some((name, token)) => Ok((token.principal.clone(), Proof::Token(name.into()))),
            None => {
                self.failures.lock().fail(remote, self.now());
                self.fail(remote, "unknown token");
                Err(Unknown::Unauthorized)
            }
        }
    }

    fn fail(&self, remote: IpAddr, cause: &'static str) {
        self.failures.lock().count();
        let rule = Some(cause.to_owned());
        self.record("", remote, Action::Connect, b"", None, rule);
    }

    /// The principal that a proof still stands for.
    fn principal_of(policy: &Policy, proof: &Proof) -> Option<Box<str>> {
        match proof {
            // A certificate that the policy does not know proves as much as none.
            Proof::Connection { names, port } => policy
                .principal_of_certificate(names)
                .or_else(|| policy.anonymous(*port))
                .map(Into::into),
            Proof::Token(name) => {
                let token = policy.token(name)?;
                let holds = token.expires.is_none_or(|end| system_time() < end);
                holds.then(|| token.principal.clone())
            }
            // A key that the policy does not know proves as much as none.
            #[cfg(feature = "zeromq")]
            Proof::Curve { key, port } => policy
                .principal_of_curve_key(key)
                .or_else(|| policy.anonymous(*port))
                .map(Into::into),
        }
    }

    fn account(&self, principal: &str) -> Arc<Account> {
        let mut accounts = self.accounts.lock();
        if let Some(account) = accounts.get(principal) {
            return account.clone();
        }
        let account = Arc::new(Account::default());
        accounts.insert(principal.into(), account.clone());
        account
    }

    /// The rights of a principal, computed once per policy.
    fn rights(&self, principal: &str) -> Option<(u64, Arc<Rights>)> {
        // In this order: a policy that comes in between is looked at again.
        let version = self.version();
        let policy = self.policy.load();
        let account = self.account(principal);
        let rights = account.rights(version, || policy.rights(principal))?;
        Some((version, rights))
    }

    /// Records a decision; without a rule it was to allow.
    fn record(
        &self,
        principal: &str,
        address: IpAddr,
        action: Action,
        resource: &[u8],
        event: Option<&[u8]>,
        denial: Option<String>,
    ) {
        let is_denied = denial.is_some();
        let entry = Entry {
            principal: principal.into(),
            address,
            action: action.name(),
            resource: resource.into(),
            event: event.map(Into::into),
            decision: if is_denied { "deny" } else { "allow" },
            rule: denial.unwrap_or_default().into(),
        };
        #[cfg(feature = "status")]
        if is_denied {
            self.denials.note(&entry, system_time());
        }
        self.audit.record(entry, Instant::now());
    }
}

/// What is recorded: of a permissive policy everything, which is what it is for.
fn recorded(options: &PolicyOptions) -> AuditOptions {
    let is_permissive = options.policy.is_permissive();
    if is_permissive {
        tracing::warn!(
            event = "policy-permissive",
            "everything is allowed that no rule denies"
        );
    }
    AuditOptions {
        allowed: options.audit.allowed || is_permissive,
        ..options.audit.clone()
    }
}

/// What tokens go by.
fn system_time() -> Timestamp {
    Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::from_ns(i64::MAX))
}

/// Why a request was denied, for the record.
fn denial(decision: &Decision) -> Option<String> {
    match decision {
        Decision::Allow(_) => None,
        Decision::Deny(denial) => Some(denial.to_string()),
    }
}

/// Why, when the record cannot be written.
const UNRECORDED: &str = "the audit record cannot be written";

/// A topic of endpoints that is asked for by mistake is no attack: clients that subscribe to status
/// events of the original do.
fn is_worth_telling(denial: &Denial) -> bool {
    !matches!(denial, Denial::Reserved)
}
