//! Options of a master on streams of NATS, and how applications name them.

use std::collections::BTreeMap;
use std::time::Duration;

use broker_data::Value;
use broker_proto::peer_url::PeerUrl;
use broker_proto::store::replica::StaleReads;

use crate::config::NatsPeerOptions;
use crate::store::StoreError;

/// Lease unless told otherwise: a leader that is gone is noticed after that time.
const LEASE: Duration = Duration::from_secs(5);

/// Leases that make sense: servers count seconds.
const LEASE_MIN: Duration = Duration::from_secs(1);
const LEASE_MAX: Duration = Duration::from_secs(3600);

/// Entries between two snapshots unless told otherwise.
const SNAPSHOT_ENTRIES: u64 = 10_000;

/// The names of all options, for those who misspell one.
const NAMES: &str = "`url`, `replicas`, `stale_reads`, `require_durable`, `lease`, `snapshot_entries`, \
                     `user`, `password`, `token`, `credentials_file`";

/// What is asked of a master that is kept on streams of NATS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JetStreamOptions {
    /// The servers, `nats://a:4222,b:4222`. They need version 2.11 or newer.
    pub url: PeerUrl,
    /// Servers that keep a copy, where the streams are made by this call: 1, 3 or 5.
    pub replicas: u8,
    /// What reads are answered where a newer state may exist.
    pub stale_reads: StaleReads,
    /// Whether streams with one copy are refused.
    pub require_durable: bool,
    /// After how long another endpoint takes over from a leader that is gone; whole seconds.
    pub lease: Duration,
    /// Entries of the stream between two snapshots.
    pub snapshot_entries: u64,
    /// How to log in.
    pub login: NatsPeerOptions,
}

impl JetStreamOptions {
    /// The defaults, three copies among them, for these servers.
    pub fn new(url: PeerUrl) -> Self {
        Self {
            url,
            replicas: 3,
            stale_reads: StaleReads::Refuse,
            require_durable: false,
            lease: LEASE,
            snapshot_entries: SNAPSHOT_ENTRIES,
            login: NatsPeerOptions::default(),
        }
    }

    /// Reads the options as applications name them: `url`, which must be there, `replicas`,
    /// `stale_reads` (`"refuse"` or `"allow"`), `require_durable`, `lease` in seconds,
    /// `snapshot_entries`, `user`, `password`, `token`, `credentials_file`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Option`] for an option that is missing, unknown, or not what it has to be.
    pub fn from_table(table: &BTreeMap<String, Value>) -> Result<Self, StoreError> {
        let wrong = |name: &'static str, cause: String| StoreError::Option { name, cause };
        let expected = |name: &'static str, what: &str, value: &Value| {
            wrong(name, format!("expected {what}, got {value}"))
        };
        let text = |name: &'static str, value: &Value| {
            let bytes = value.as_bytes().map(<[u8]>::to_vec);
            bytes
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| expected(name, "text", value))
        };
        let url = table.get("url");
        let url = url.ok_or_else(|| wrong("url", "it is missing: `nats://host:port`".into()))?;
        let parsed = PeerUrl::parse(&text("url", url)?, None);
        let parsed = parsed.map_err(|error| wrong("url", error.to_string()))?;
        if parsed.servers().is_empty() {
            return Err(expected("url", "`nats://host:port`", url));
        }
        let mut options = Self::new(parsed);
        for (name, value) in table {
            match name.as_str() {
                "url" => {}
                "replicas" => {
                    let replicas = whole(value).and_then(|it| u8::try_from(it).ok());
                    let replicas = replicas.filter(|it| matches!(it, 1 | 3 | 5));
                    options.replicas =
                        replicas.ok_or_else(|| expected("replicas", "1, 3 or 5", value))?;
                }
                "stale_reads" => {
                    options.stale_reads = match value.as_bytes() {
                        Some(b"refuse") => StaleReads::Refuse,
                        Some(b"allow") => StaleReads::Allow,
                        _ => return Err(expected("stale_reads", "`refuse` or `allow`", value)),
                    };
                }
                "require_durable" => {
                    let required = value.as_bool();
                    options.require_durable =
                        required.ok_or_else(|| expected("require_durable", "a boolean", value))?;
                }
                "lease" => {
                    let lease = whole(value).map(Duration::from_secs);
                    let lease = lease.filter(|it| (LEASE_MIN..=LEASE_MAX).contains(it));
                    options.lease = lease.ok_or_else(|| {
                        expected("lease", "a number of seconds, 1 to 3600", value)
                    })?;
                }
                "snapshot_entries" => {
                    let entries = whole(value).filter(|it| *it > 0);
                    options.snapshot_entries = entries
                        .ok_or_else(|| expected("snapshot_entries", "a number above 0", value))?;
                }
                "user" => options.login.user = Some(text("user", value)?),
                "password" => options.login.password = Some(text("password", value)?),
                "token" => options.login.token = Some(text("token", value)?),
                "credentials_file" => {
                    let path = text("credentials_file", value)?;
                    options.login.credentials_file = Some(path.into());
                }
                other => {
                    let cause = format!("`{other}` is none of {NAMES}");
                    return Err(wrong("JetStream", cause));
                }
            }
        }
        let checked = options.login.check();
        checked.map_err(|error| wrong("user", error.to_string()))?;
        Ok(options)
    }
}

/// A number that is not negative, whether it was given with a sign or not.
fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Count(number) => Some(*number),
        Value::Integer(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table<const N: usize>(options: [(&str, Value); N]) -> BTreeMap<String, Value> {
        let options = options.map(|(name, value)| (name.to_owned(), value));
        options.into_iter().collect()
    }

    #[test]
    fn options_are_read_by_name() {
        let options = JetStreamOptions::from_table(&table([
            ("url", Value::from("nats://a:1,b:2")),
            ("replicas", Value::Integer(1)),
            ("stale_reads", Value::from("allow")),
            ("lease", Value::Count(2)),
            ("require_durable", Value::Boolean(true)),
        ]));
        let options = options.unwrap();
        assert_eq!(options.url.servers().len(), 2);
        assert_eq!((options.replicas, options.require_durable), (1, true));
        assert_eq!(options.stale_reads, StaleReads::Allow);
        assert_eq!(options.lease, Duration::from_secs(2));
    }

    #[test]
    fn what_an_option_must_be_is_said() {
        let url = || ("url", Value::from("nats://a:1"));
        let error = |options: &BTreeMap<String, Value>| {
            JetStreamOptions::from_table(options)
                .unwrap_err()
                .to_string()
        };
        for (options, expected) in [
            (table([]), "`url`: it is missing"),
            (
                table([("url", Value::from("ws://a:1"))]),
                "expected `nats://",
            ),
            (table([url(), ("replicas", Value::Count(2))]), "1, 3 or 5"),
            (table([url(), ("lease", Value::Integer(-1))]), "seconds"),
            (
                table([url(), ("stale_reads", Value::from("no"))]),
                "`refuse`",
            ),
            (
                table([url(), ("replica", Value::Count(1))]),
                "`replica` is none of",
            ),
            (table([url(), ("user", Value::from("a"))]), "`password`"),
        ] {
            let error = error(&options);
            assert!(error.contains(expected), "{error}");
        }
    }
}
