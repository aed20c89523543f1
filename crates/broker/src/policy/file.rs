//! The policy file: TOML, read strictly, with the place of what is wrong.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use broker_data::Timestamp;
use broker_proto::policy::{
    CertificateName, Digest, Glob, Globs, Limits, OnLimit, Operation, Policy, PolicyError,
    Prefixes, Role, Rules, Schema, Token,
};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::broker_conf::Place;
use crate::config::{AuditFailure, AuditOptions, AuditService, PolicyOptions};
use crate::error::Error;

/// Bytes of a policy file: ten thousand principals with roles of their own.
pub const POLICY_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What a policy file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyFile {
    /// Who may do what.
    pub policy: Policy,
    /// What is recorded of it; a file without a folder is in the one that the program runs in.
    pub audit: AuditOptions,
    /// The file with the types of events' arguments, which `events.schema` names and which has been read.
    pub schema_file: Option<PathBuf>,
    /// What makes sense and hardly does what was meant, with its place.
    pub warnings: Vec<String>,
}

/// What is wrong, and where.
struct Wrong {
    span: Range<usize>,
    cause: String,
}

type Key<'k> = (&'k str, Range<usize>);
type Entries<'t> = Vec<(Key<'t>, &'t Spanned<DeValue<'t>>)>;

impl PolicyFile {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`Error::ConfigurationFile`] names line and column of what is wrong, or says that the file cannot
    /// be read.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text = text_of_file(path).map_err(|cause| Error::ConfigurationFile {
            path: path.to_owned(),
            place: None,
            cause,
        })?;
        Self::parse(&text, path)
    }

    /// Returns the file with the types of events' arguments that a policy names, whether or not that file
    /// makes sense; `None` if the policy names none, or makes no sense itself.
    pub fn schema_named_by(path: impl AsRef<Path>) -> Option<PathBuf> {
        let path = path.as_ref();
        let text = text_of_file(path).ok()?;
        let document = DeTable::parse(&text).ok()?;
        let (_, schema) = of_document(&text, document.get_ref()).ok()?;
        schema.map(|(name, _)| path.with_file_name(name))
    }

    /// Reads the text of a file; the path is for errors, and its folder that of a schema.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn parse(text: &str, path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path: PathBuf = path.into();
        let failure = |span: Range<usize>, cause| Error::ConfigurationFile {
            path: path.clone(),
            place: Some(place(text, span.start)),
            cause,
        };
        let document = match DeTable::parse(text) {
            Ok(document) => document,
            Err(error) => {
                let span = error.span().unwrap_or_default();
                return Err(failure(span, error.message().to_owned()));
            }
        };
        let (mut file, schema) = of_document(text, document.get_ref())
            .map_err(|wrong| failure(wrong.span, wrong.cause))?;
        if let Some((name, span)) = schema {
            let schema_path = path.with_file_name(name);
            // A device or a pipe could have no end.
            let text = if schema_path.is_file() {
                text_of_file(&schema_path)
            } else {
                Err("is no file".to_owned())
            };
            let text = text.map_err(|cause| {
                failure(
                    span,
                    format!("the schema `{}` {cause}", schema_path.display()),
                )
            })?;
            let schema = Schema::parse(&text).map_err(|error| Error::ConfigurationFile {
                path: schema_path.clone(),
                place: Some(place(&text, error.offset)),
                cause: error.cause,
            })?;
            file.policy.set_schema(schema);
            file.schema_file = Some(schema_path);
        }
        Ok(file)
    }
}

impl From<PolicyFile> for PolicyOptions {
    fn from(PolicyFile { policy, audit, .. }: PolicyFile) -> Self {
        Self { policy, audit }
    }
}

/// What a file has, or what is wrong with it.
fn text_of_file(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let file = File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    let read = file
        .take(POLICY_FILE_BYTES_MAX + 1)
        .read_to_string(&mut text);
    if read.map_err(unreadable)? as u64 > POLICY_FILE_BYTES_MAX {
        return Err(format!("has more than {POLICY_FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

/// The policy, and the name of the file with the schema if there is one.
fn of_document<'t>(
    text: &str,
    document: &'t DeTable<'_>,
) -> Result<(PolicyFile, Option<Key<'t>>), Wrong> {
    let mut file = PolicyFile::default();
    let (mut roles, mut principals, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
    let (mut permissive, mut schema) = (None, None);
    for ((key, span), value) in entries(document) {
        match key {
            "roles" => roles = table(value)?,
            "principals" => principals = table(value)?,
            "tokens" => tokens = table(value)?,
            "audit" => file.audit = audit(value)?,
            "events" => {
                for ((key, span), value) in table(value)? {
                    match key {
                        "schema" => {
                            let name = Some((string(value)?, value.span()));
                            schema = name.filter(|(name, _)| !name.is_empty());
                        }
                        _ => return Err(unknown(key, span, "schema")),
                    }
                }
            }
            "permissive" => {
                let is_permissive = boolean(value)?;
                file.policy.set_permissive(is_permissive);
                permissive = is_permissive.then_some(span);
            }
            _ => {
                let known = "roles, principals, tokens, audit, events and permissive";
                return Err(unknown(key, span, known));
            }
        }
    }
    if let Some(span) = permissive {
        let place = place(text, span.start);
        file.warnings.push(format!(
            "{place}: everything is allowed that no rule denies"
        ));
        if file.audit.file.is_none() && file.audit.service.is_none() {
            file.warnings.push(format!(
                "{place}: nothing can be learned without `audit.file`"
            ));
        }
    }
    let policy = &mut file.policy;
    for ((name, span), value) in roles {
        let role = role(value)?;
        for right in role.allow.subscribe.iter() {
            let mut denied = role.deny.subscribe.iter();
            if let Some(part) = denied.find(|denied| denied.starts_with(right)) {
                file.warnings.push(format!(
                    "{}: a filter cannot leave \"{}\" out, so that nothing gets all of \"{}\"",
                    place(text, span.start),
                    part.escape_ascii(),
                    right.escape_ascii()
                ));
            }
        }
        add(policy.add_role(name, role), &span)?;
    }
    for ((name, span), value) in principals {
        principal(policy, name, &span, value)?;
    }
    for ((name, span), value) in tokens {
        token(policy, name, &span, value)?;
    }
    Ok((file, schema))
}

fn audit(value: &Spanned<DeValue<'_>>) -> Result<AuditOptions, Wrong> {
    let mut audit = AuditOptions::default();
    for ((key, span), value) in table(value)? {
        match key {
            "file" | "syslog" | "journald" => {
                let path = string(value)?;
                if path.is_empty() {
                    continue;
                }
                if audit.file.is_some() || audit.service.is_some() {
                    let cause = "a record goes to one of file, syslog and journald".to_owned();
                    return Err(Wrong { span, cause });
                }
                match key {
                    "file" => audit.file = Some(path.into()),
                    "syslog" => audit.service = Some(AuditService::Syslog(path.into())),
                    _ => audit.service = Some(AuditService::Journald(path.into())),
                }
            }
            "failure" => {
                audit.failure = match string(value)? {
                    "closed" => AuditFailure::Closed,
                    "open" => AuditFailure::Open,
                    _ => return Err(wrong(value, "expected closed or open")),
                };
            }
            "allowed" => audit.allowed = boolean(value)?,
            _ => {
                let known = "file, syslog, journald, failure and allowed";
                return Err(unknown(key, span, known));
            }
        }
    }
    Ok(audit)
}

fn role(value: &Spanned<DeValue<'_>>) -> Result<Role, Wrong> {
    let mut role = Role::default();
    for ((key, span), value) in table(value)? {
        match key {
            "limits" => role.limits = limits(value)?,
            "deny" => {
                for ((key, span), value) in table(value)? {
                    rule(&mut role.deny, key, span, value)?;
                }
            }
            _ => rule(&mut role.allow, key, span, value)?,
        }
    }
    Ok(role)
}

fn rule(
    rules: &mut Rules,
    key: &str,
    span: Range<usize>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(), Wrong> {
    match key {
        "publish" => rules.publish = prefixes(value)?,
        "subscribe" => rules.subscribe = prefixes(value)?,
        "http" => rules.http = prefixes(value)?,
        "events" => {
            for ((key, span), value) in table(value)? {
                match key {
                    "publish" => rules.events_publish = Some(globs(value)?),
                    _ => return Err(unknown(key, span, "publish")),
                }
            }
        }
        "stores" => {
            for ((name, span), value) in table(value)? {
                let glob = Glob::parse(name).ok_or_else(|| not_a_glob(span, name))?;
                let operation = Operation::parse(string(value)?);
                let operation =
                    operation.ok_or_else(|| wrong(value, "expected read, write or clear"))?;
                rules.stores.insert(glob, operation);
            }
        }
        _ => {
            let known = "publish, subscribe, events, stores, http, limits and deny";
            return Err(unknown(key, span, known));
        }
    }
    Ok(())
}

fn limits(value: &Spanned<DeValue<'_>>) -> Result<Limits, Wrong> {
    let mut limits = Limits::default();
    for ((key, span), value) in table(value)? {
        match key {
            "messages_per_second" => limits.messages_per_second = Some(number(value)?),
            "bytes_per_second" => limits.bytes_per_second = Some(size(value)?),
            "message_bytes_max" => limits.message_bytes_max = Some(size(value)?),
            "subscriptions_max" => limits.subscriptions_max = Some(number(value)?),
            "denials_max" => limits.denials_max = Some(number(value)?),
            "on_limit" => {
                limits.on_limit = match string(value)? {
                    "drop" => OnLimit::Drop,
                    "end" => OnLimit::End,
                    _ => return Err(wrong(value, "expected drop or end")),
                };
            }
            _ => {
                let known = "messages_per_second, bytes_per_second, message_bytes_max, \
                             subscriptions_max, denials_max and on_limit";
                return Err(unknown(key, span, known));
            }
        }
    }
    Ok(limits)
}

fn principal(
    policy: &mut Policy,
    name: &str,
    span: &Range<usize>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(), Wrong> {
    let (mut roles, mut certificates, mut curve_keys) = (None, Vec::new(), Vec::new());
    for ((key, key_span), value) in table(value)? {
        match key {
            "roles" => roles = Some(names(value)?),
            "certificates" => certificates = names(value)?,
            "curve_keys" => curve_keys = names(value)?,
            _ => {
                let known = "roles, certificates and curve_keys";
                return Err(unknown(key, key_span, known));
            }
        }
    }
    add_principal(policy, name, span, roles.unwrap_or_default())?;
    // A name that is a URI speaks for itself.
    if certificates.is_empty() && name.contains("://") {
        let name_of_certificate = CertificateName::Uri(name.to_owned());
        add(policy.add_certificate(name_of_certificate, name), span)?;
    }
    for (text, span) in certificates {
        let certificate = CertificateName::parse(text).ok_or_else(|| Wrong {
            span: span.clone(),
            cause: "expected uri:NAME, dns:NAME or cn:NAME".to_owned(),
        })?;
        add(policy.add_certificate(certificate, name), &span)?;
    }
    for (text, span) in curve_keys {
        curve_key(policy, name, text, &span)?;
    }
    Ok(())
}

#[cfg(feature = "zeromq")]
fn curve_key(
    policy: &mut Policy,
    principal: &str,
    text: &str,
    span: &Range<usize>,
) -> Result<(), Wrong> {
    // The text itself may be a secret that was put here by mistake.
    let key = text
        .parse()
        .map_err(|error: broker_proto::zmtp::KeyError| Wrong {
            span: span.clone(),
            cause: error.to_string(),
        })?;
    add(policy.add_curve_key(key, principal), span)
}

/// A key that nothing looks at would leave its principal without the rights that the file gives it.
#[cfg(not(feature = "zeromq"))]
fn curve_key(_: &mut Policy, _: &str, _: &str, span: &Range<usize>) -> Result<(), Wrong> {
    Err(Wrong {
        span: span.clone(),
        cause: "keys of CURVE are for ZeroMQ, which this program was built without".to_owned(),
    })
}

fn token(
    policy: &mut Policy,
    name: &str,
    span: &Range<usize>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(), Wrong> {
    let (mut digest, mut owner, mut roles, mut expires) = (None, None, None, None);
    for ((key, key_span), value) in table(value)? {
        match key {
            "sha256" => {
                let parsed = Digest::parse(string(value)?);
                // The text itself may be a secret that was put here by mistake.
                digest = Some(parsed.map_err(|error| wrong(value, &error.to_string()))?);
            }
            "principal" => owner = Some((string(value)?, value.span())),
            "roles" => roles = Some(names(value)?),
            "expires" => expires = Some(time(value)?),
            _ => {
                return Err(unknown(
                    key,
                    key_span,
                    "sha256, principal, roles and expires",
                ));
            }
        }
    }
    let missing = |cause: &str| Wrong {
        span: span.clone(),
        cause: cause.to_owned(),
    };
    let digest = digest.ok_or_else(|| missing("a token needs its `sha256`"))?;
    let (owner, owner_span) = match (owner, roles) {
        (Some(owner), None) => owner,
        (None, Some(roles)) => {
            add_principal(policy, name, span, roles)?;
            (name, span.clone())
        }
        _ => return Err(missing("a token has either a `principal` or `roles`")),
    };
    let token = Token {
        principal: owner.into(),
        digest,
        expires,
    };
    add(policy.add_token(name, token), &owner_span)
}

fn add_principal(
    policy: &mut Policy,
    name: &str,
    span: &Range<usize>,
    roles: Vec<Key<'_>>,
) -> Result<(), Wrong> {
    for (role, span) in &roles {
        if !policy.has_role(role) {
            return add(Err(PolicyError::Role((*role).to_owned())), span);
        }
    }
    add(
        policy.add_principal(name, roles.into_iter().map(|(role, _)| role)),
        span,
    )
}

// --- values --------------------------------------------------------------------------------------

/// The entries of a table in the order in which they stand in the file.
fn entries<'t>(table: &'t DeTable<'_>) -> Entries<'t> {
    let mut entries: Entries<'t> = table
        .iter()
        .map(|(key, value)| ((&**key.get_ref(), key.span()), value))
        .collect();
    entries.sort_by_key(|((_, span), _)| span.start);
    entries
}

fn table<'t>(value: &'t Spanned<DeValue<'_>>) -> Result<Entries<'t>, Wrong> {
    match value.get_ref() {
        DeValue::Table(table) => Ok(entries(table)),
        _ => Err(wrong(value, "expected a table")),
    }
}

fn string<'t>(value: &'t Spanned<DeValue<'_>>) -> Result<&'t str, Wrong> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text),
        _ => Err(wrong(value, "expected a string")),
    }
}

fn boolean(value: &Spanned<DeValue<'_>>) -> Result<bool, Wrong> {
    match value.get_ref() {
        DeValue::Boolean(boolean) => Ok(*boolean),
        _ => Err(wrong(value, "expected true or false")),
    }
}

fn names<'t>(value: &'t Spanned<DeValue<'_>>) -> Result<Vec<Key<'t>>, Wrong> {
    match value.get_ref() {
        DeValue::Array(array) => array
            .iter()
            .map(|value| Ok((string(value)?, value.span())))
            .collect(),
        _ => Err(wrong(value, "expected an array of strings")),
    }
}

fn prefixes(value: &Spanned<DeValue<'_>>) -> Result<Prefixes, Wrong> {
    let names = names(value)?;
    Ok(names.iter().map(|(text, _)| text.as_bytes()).collect())
}

fn globs(value: &Spanned<DeValue<'_>>) -> Result<Globs, Wrong> {
    let globs = names(value)?.into_iter();
    globs
        .map(|(text, span)| Glob::parse(text).ok_or_else(|| not_a_glob(span, text)))
        .collect()
}

fn not_a_glob(span: Range<usize>, text: &str) -> Wrong {
    let text = text.escape_debug();
    Wrong {
        span,
        cause: format!("`{text}` is no name, which may have a `*` at the end and nowhere else"),
    }
}

fn number(value: &Spanned<DeValue<'_>>) -> Result<u64, Wrong> {
    let expected = "expected a number of at least 1";
    let DeValue::Integer(number) = value.get_ref() else {
        return Err(wrong(value, expected));
    };
    let number = u64::from_str_radix(number.as_str(), number.radix()).ok();
    let number = number.filter(|number| *number > 0 && i64::try_from(*number).is_ok());
    number.ok_or_else(|| wrong(value, expected))
}

fn size(value: &Spanned<DeValue<'_>>) -> Result<u64, Wrong> {
    let DeValue::String(text) = value.get_ref() else {
        return number(value);
    };
    let expected = "expected a number of bytes, such as 4096, \"64KiB\", \"1MiB\" or \"1GiB\"";
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1_u64 << 30)];
    let size = units.iter().find_map(|(unit, factor)| {
        let digits = text.strip_suffix(unit)?;
        // No signs.
        let digits = digits
            .bytes()
            .all(|it| it.is_ascii_digit())
            .then_some(digits)?;
        digits.parse::<u64>().ok()?.checked_mul(*factor)
    });
    let size = size.filter(|size| *size > 0 && i64::try_from(*size).is_ok());
    size.ok_or_else(|| wrong(value, expected))
}

fn time(value: &Spanned<DeValue<'_>>) -> Result<Timestamp, Wrong> {
    let expected = "expected a time with its offset, such as 2030-01-01T00:00:00Z";
    let DeValue::Datetime(time) = value.get_ref() else {
        return Err(wrong(value, expected));
    };
    let text = time.offset.map(|_| time.to_string());
    let time = text.and_then(|text| broker_data::json::timestamp(text.as_bytes()));
    time.ok_or_else(|| wrong(value, expected))
}

fn wrong(value: &Spanned<DeValue<'_>>, cause: &str) -> Wrong {
    Wrong {
        span: value.span(),
        cause: cause.to_owned(),
    }
}

fn unknown(key: &str, span: Range<usize>, known: &str) -> Wrong {
    let key = key.escape_debug();
    Wrong {
        span,
        cause: format!("unknown key `{key}`; there are {known}"),
    }
}

fn add(added: Result<(), PolicyError>, span: &Range<usize>) -> Result<(), Wrong> {
    added.map_err(|error| Wrong {
        span: span.clone(),
        cause: error.to_string(),
    })
}

/// Line and column of a byte.
fn place(text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Place {
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
    }
}

#[cfg(test)]
mod tests {
    use broker_proto::policy::{Content, Request, decide};

    use super::*;

    const FILE: &str = r#"
[roles.siem]
subscribe = ["zeek/logs/", "/notices/"]
http = ["/metrics"]

[roles.responder]
publish = ["/netcontrol/"]
events.publish = ["NetControl::*"]
stores = { "blocked" = "write", "assets*" = "read" }
limits = { messages_per_second = 500, bytes_per_second = "1MiB", message_bytes_max = "64KiB", subscriptions_max = 20, denials_max = 0x10, on_limit = "end" }
deny = { publish = ["/netcontrol/zeek/"], events.publish = ["NetControl::clear*"] }

[principals."spiffe://corp/soar"]
roles = ["responder"]

[principals.siem]
roles = ["siem"]
certificates = ["dns:siem.corp", "cn:siem"]

[tokens.soar-2026]
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
principal = "spiffe://corp/soar"
expires = 2030-01-01T00:00:00+01:00

[tokens.grafana]
sha256 = "1111111111111111111111111111111111111111111111111111111111111111"
roles = ["siem"]
"#;

    fn parse(text: &str) -> Result<PolicyFile, Error> {
        PolicyFile::parse(text, "policy.toml")
    }

    #[test]
    fn a_file_says_who_may_do_what() {
        let file = parse(FILE).unwrap();
        assert_eq!(file.warnings, [""; 0]);
        let policy = file.policy;
        let principals: Vec<_> = policy.principals().collect();
        assert_eq!(principals, ["grafana", "siem", "spiffe://corp/soar"]);
        let publish = |topic: &'static [u8], event: &'static [u8]| Request::Publish {
            topic,
            content: Content::Event(event),
        };
        let store = |name: &'static [u8], operation| Request::Store { name, operation };
        for (principal, request, expected) in [
            (
                "spiffe://corp/soar",
                publish(b"/netcontrol/x", b"NetControl::add_rule"),
                true,
            ),
            (
                "spiffe://corp/soar",
                publish(b"/netcontrol/x", b"NetControl::clear_all"),
                false,
            ),
            (
                "spiffe://corp/soar",
                publish(b"/netcontrol/zeek/x", b"NetControl::add_rule"),
                false,
            ),
            (
                "spiffe://corp/soar",
                publish(b"/netcontrol/x", b"terminate"),
                false,
            ),
            (
                "spiffe://corp/soar",
                store(b"blocked", Operation::Write),
                true,
            ),
            (
                "spiffe://corp/soar",
                store(b"blocked", Operation::Clear),
                false,
            ),
            (
                "spiffe://corp/soar",
                store(b"assets-2", Operation::Read),
                true,
            ),
            (
                "spiffe://corp/soar",
                Request::Subscribe {
                    topic: b"/notices/",
                },
                false,
            ),
            (
                "siem",
                Request::Subscribe {
                    topic: b"/notices/x",
                },
                true,
            ),
            ("grafana", Request::Http { path: b"/metrics" }, true),
            ("grafana", Request::Http { path: b"/v1/stats" }, false),
        ] {
            let decision = decide(&policy, principal, &request);
            assert_eq!(
                decision.is_allowed(),
                expected,
                "{principal} {request:?} {decision:?}"
            );
        }
        let rights = policy.rights("spiffe://corp/soar").unwrap();
        let limits = Limits {
            messages_per_second: Some(500),
            bytes_per_second: Some(1 << 20),
            message_bytes_max: Some(64 << 10),
            subscriptions_max: Some(20),
            denials_max: Some(16),
            on_limit: OnLimit::End,
        };
        assert_eq!(rights.limits(), &limits);
        let certificate = |text| {
            let name = CertificateName::parse(text).unwrap();
            policy.principal_of_certificate(&[name]).map(str::to_owned)
        };
        assert_eq!(
            certificate("uri:spiffe://corp/soar").as_deref(),
            Some("spiffe://corp/soar")
        );
        assert_eq!(certificate("cn:siem").as_deref(), Some("siem"));
        assert_eq!(certificate("uri:siem"), None);
        let tokens: Vec<_> = policy.tokens().collect();
        assert_eq!(tokens.len(), 2);
        let (name, token) = tokens[1];
        assert_eq!(name, "soar-2026");
        assert_eq!(
            token.expires,
            Some(Timestamp::from_ns(1_893_452_400_000_000_000))
        );
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        for (text, expected) in [
            ("[roles", "line 1, column 7: "),
            (
                "\nx = 1",
                "line 2, column 1: unknown key `x`; there are roles, principals, tokens, audit, events and permissive",
            ),
            (
                "[audit]\nfile = \"a\"\nsyslog = \"/dev/log\"",
                "line 3, column 1: a record goes to one of file, syslog and journald",
            ),
            (
                "permissive = 1",
                "line 1, column 14: expected true or false",
            ),
            ("roles = 1", "line 1, column 9: expected a table"),
            (
                "[roles.a]\n  publish = \"/x\"",
                "line 2, column 13: expected an array of strings",
            ),
            (
                "[roles.a]\npublish = [\"é\", 1]",
                "line 2, column 17: expected a string",
            ),
            (
                "[roles.a]\npublsh = []",
                "line 2, column 1: unknown key `publsh`; there are publish, subscribe, events, stores, http, limits and deny",
            ),
            (
                "[roles.a]\nevents.publish = [\"a*b\"]",
                "line 2, column 19: `a*b` is no name, which may have a `*` at the end and nowhere else",
            ),
            (
                "[roles.a]\nstores = { x = \"rw\" }",
                "line 2, column 16: expected read, write or clear",
            ),
            (
                "[roles.a]\nlimits = { messages_per_second = 0 }",
                "line 2, column 34: expected a number of at least 1",
            ),
            (
                "[roles.a]\nlimits = { bytes_per_second = \"+1MiB\" }",
                "line 2, column 31: expected a number of bytes, such as 4096, \"64KiB\", \"1MiB\" or \"1GiB\"",
            ),
            (
                "[audit]\nfailure = \"shut\"",
                "line 2, column 11: expected closed or open",
            ),
            (
                "[audit]\nallowed = 1",
                "line 2, column 11: expected true or false",
            ),
            ("[roles.a]\n[roles.a]", "line 2, column 8: "),
            (
                "[roles.\"a\\u0000\"]",
                "line 1, column 8: `a\\0` is no name: it has 1 to 1024 bytes and no control characters",
            ),
            (
                "[principals.p]\nroles = [\"a\"]",
                "line 2, column 10: there is no role `a`",
            ),
            (
                "[principals.p]\ncertificates = [\"p\"]",
                "line 2, column 17: expected uri:NAME, dns:NAME or cn:NAME",
            ),
            (
                "[tokens.t]\nroles = []",
                "line 1, column 9: a token needs its `sha256`",
            ),
            (
                "[tokens.t]\nsha256 = \"hunter2\"",
                "line 2, column 10: a digest has 64 hexadecimal digits",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            let expected = format!("`policy.toml`, {expected}");
            assert!(error.starts_with(&expected), "{error}\n{expected}");
        }
        let digest = "0".repeat(64);
        for (rest, expected) in [
            (
                "",
                "line 1, column 9: a token has either a `principal` or `roles`",
            ),
            (
                "principal = \"p\"",
                "line 3, column 13: there is no principal `p`",
            ),
            (
                "roles = []\nexpires = 2030-01-01",
                "line 4, column 11: expected a time with its offset, such as 2030-01-01T00:00:00Z",
            ),
        ] {
            let text = format!("[tokens.t]\nsha256 = \"{digest}\"\n{rest}");
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
        }
    }

    #[test]
    fn a_record_goes_to_a_file_or_a_service() {
        for (line, expected) in [
            ("file = \"\"\nsyslog = \"\"", None),
            (
                "file = \"\"\nsyslog = \"/dev/log\"",
                Some(AuditService::Syslog("/dev/log".into())),
            ),
            (
                "journald = \"/j\"",
                Some(AuditService::Journald("/j".into())),
            ),
        ] {
            let audit = parse(&format!("[audit]\n{line}")).unwrap().audit;
            assert_eq!((audit.service, audit.file), (expected, None));
        }
    }

    #[test]
    fn a_schema_is_a_file_beside_the_policy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        std::fs::write(&path, "[roles.a]\n[events]\nschema = \"events.txt\"\n").unwrap();
        let read = || PolicyFile::read(&path);
        let schema_path = folder.path().join("events.txt");
        let expected = format!(
            "`{}`, line 3, column 10: the schema `{}` is no file",
            path.display(),
            schema_path.display()
        );
        assert_eq!(read().unwrap_err().to_string(), expected);
        std::fs::write(&schema_path, "N::a(x: count)\nN::b(y: Rule)\n").unwrap();
        let error = read().unwrap_err().to_string();
        let expected = format!(
            "`{}`, line 2, column 9: unknown type `Rule`",
            schema_path.display()
        );
        assert!(error.starts_with(&expected), "{error}");
        std::fs::write(&schema_path, "N::a(x: count)\n").unwrap();
        let file = read().unwrap();
        assert_eq!(file.policy.schema().map(Schema::len), Some(1));
        assert_eq!(file.schema_file, Some(schema_path));
        assert!(
            parse("events.schema = \"\"")
                .unwrap()
                .policy
                .schema()
                .is_none()
        );
        let device = parse("events.schema = \"/dev/zero\"")
            .unwrap_err()
            .to_string();
        assert!(
            device.contains("column 17: the schema `/dev/zero` is no file"),
            "{device}"
        );
    }

    #[test]
    fn a_permissive_policy_is_warned_of() {
        let file = parse("\npermissive = true").unwrap();
        assert!(file.policy.is_permissive());
        assert_eq!(
            file.warnings,
            [
                "line 2, column 1: everything is allowed that no rule denies",
                "line 2, column 1: nothing can be learned without `audit.file`"
            ]
        );
        let file = parse("permissive = true\naudit.file = \"audit\"").unwrap();
        assert_eq!(file.warnings.len(), 1);
        let file = parse("permissive = false").unwrap();
        assert!(!file.policy.is_permissive() && file.warnings.is_empty());
    }

    #[test]
    fn a_rule_that_cannot_be_told_to_filters_is_warned_of() {
        let text = "[roles.a]\nsubscribe = [\"/logs/\"]\ndeny.subscribe = [\"/logs/x\", \"/y\"]";
        let warnings = parse(text).unwrap().warnings;
        assert_eq!(
            warnings,
            [
                "line 1, column 8: a filter cannot leave \"/logs/x\" out, so that nothing gets all of \"/logs/\""
            ]
        );
    }
}
