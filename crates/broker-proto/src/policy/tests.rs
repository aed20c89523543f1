//! Promises of the decision, against a reference that does it the slow way.

use broker_data::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::topic::Topic;

fn seconds(number: i64) -> Timestamp {
    Timestamp::from_ns(number * 1_000_000_000)
}

const ROLES: [&str; 3] = ["a", "b", "c"];

fn glob(text: &str) -> Glob {
    Glob::parse(text).unwrap()
}

/// Few letters and short, so that prefixes are common; what is not UTF-8 among them.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(
        prop_oneof![Just(b'/'), Just(b'a'), Just(b'b'), Just(255)],
        0..4,
    )
}

fn name() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof![Just('N'), Just(':'), Just('n')], 1..3)
        .prop_map(|name| name.into_iter().collect())
}

fn any_glob() -> impl Strategy<Value = String> {
    (name(), any::<bool>()).prop_map(|(name, open)| if open { name + "*" } else { name })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        Just(Operation::Read),
        Just(Operation::Write),
        Just(Operation::Clear)
    ]
}

/// The rules as they were written, in the order in which they were.
#[derive(Debug, Clone, Default)]
struct Written {
    publish: Vec<Vec<u8>>,
    subscribe: Vec<Vec<u8>>,
    events: Option<Vec<String>>,
    stores: Vec<(String, Operation)>,
    http: Vec<Vec<u8>>,
}

fn written(max: usize) -> impl Strategy<Value = Written> {
    let prefixes = || proptest::collection::vec(bytes(), 0..=max);
    (
        prefixes(),
        prefixes(),
        proptest::option::of(proptest::collection::vec(any_glob(), 0..=max)),
        proptest::collection::vec((any_glob(), operation()), 0..=max),
        prefixes(),
    )
        .prop_map(|(publish, subscribe, events, mut stores, http)| {
            // A file has each key once.
            stores.sort();
            stores.dedup_by(|next, kept| next.0 == kept.0);
            Written {
                publish,
                subscribe,
                events,
                stores,
                http,
            }
        })
}

impl Written {
    fn rules(&self, reversed: bool) -> Rules {
        let mut copy = self.clone();
        if reversed {
            copy.publish.reverse();
            copy.subscribe.reverse();
            copy.stores.reverse();
            copy.http.reverse();
            copy.events.iter_mut().for_each(|it| it.reverse());
        }
        let prefixes = |them: &[Vec<u8>]| them.iter().map(|it| &it[..]).collect();
        Rules {
            publish: prefixes(&copy.publish),
            subscribe: prefixes(&copy.subscribe),
            events_publish: copy
                .events
                .map(|them| them.iter().map(|it| glob(it)).collect()),
            stores: copy
                .stores
                .iter()
                .map(|(name, operation)| (glob(name), *operation))
                .collect(),
            http: prefixes(&copy.http),
        }
    }
}

type File = Vec<(Written, Written)>;

fn file() -> impl Strategy<Value = File> {
    proptest::collection::vec((written(3), written(1)), 0..=ROLES.len())
}

fn policy(file: &File, reversed: bool) -> Policy {
    let mut policy = Policy::default();
    let mut roles: Vec<_> = ROLES.iter().zip(file).collect();
    if reversed {
        roles.reverse();
    }
    for (name, (allow, deny)) in &roles {
        let role = Role {
            allow: allow.rules(reversed),
            deny: deny.rules(reversed),
            limits: Limits::default(),
        };
        policy.add_role(name, role).unwrap();
    }
    let names = roles.iter().map(|(name, _)| **name);
    policy.add_principal("p", names).unwrap();
    policy
}

fn has_prefix(prefixes: &[Vec<u8>], bytes: &[u8]) -> bool {
    prefixes.iter().any(|prefix| bytes.starts_with(prefix))
}

fn is_one_of(globs: &[String], name: &[u8]) -> bool {
    globs.iter().any(|glob| match glob.strip_suffix('*') {
        Some(start) => name.starts_with(start.as_bytes()),
        None => glob.as_bytes() == name,
    })
}

/// The decision, rule by rule.
fn reference(file: &File, request: &Request<'_>) -> bool {
    let is_internal =
        |topic: &[u8]| topic.starts_with(b"<$>") || topic.windows(5).any(|part| part == b"/<$>/");
    match *request {
        Request::Publish { topic, content } => {
            let deny_lists: Vec<_> = file.iter().flat_map(|(_, deny)| &deny.events).collect();
            let any_deny_list = deny_lists.iter().any(|it| !it.is_empty());
            let denied = file
                .iter()
                .any(|(_, deny)| has_prefix(&deny.publish, topic))
                || match content {
                    Content::Event(name) => deny_lists.iter().any(|it| is_one_of(it, name)),
                    Content::Other => false,
                    Content::Malformed => any_deny_list,
                };
            let allowed = file.iter().any(|(allow, _)| {
                has_prefix(&allow.publish, topic)
                    && match (&allow.events, content) {
                        (None, _) => true,
                        (Some(list), Content::Event(name)) => is_one_of(list, name),
                        (Some(_), Content::Other | Content::Malformed) => false,
                    }
            });
            allowed && !denied && !is_internal(topic)
        }
        Request::Subscribe { topic } => {
            let overlaps =
                |denied: &Vec<u8>| topic.starts_with(denied) || denied.starts_with(topic);
            let denied = file
                .iter()
                .flat_map(|(_, deny)| &deny.subscribe)
                .any(overlaps);
            let allowed = file
                .iter()
                .any(|(allow, _)| has_prefix(&allow.subscribe, topic));
            allowed && !denied && !is_internal(topic)
        }
        Request::Store { name, operation } => {
            let matches = |glob: &String| is_one_of(std::slice::from_ref(glob), name);
            let mut denied = file.iter().flat_map(|(_, deny)| &deny.stores);
            let mut allowed = file.iter().flat_map(|(allow, _)| &allow.stores);
            allowed.any(|(glob, greatest)| matches(glob) && operation <= *greatest)
                && !denied.any(|(glob, least)| matches(glob) && operation >= *least)
        }
        Request::Http { path } => {
            file.iter().any(|(allow, _)| has_prefix(&allow.http, path))
                && !file.iter().any(|(_, deny)| has_prefix(&deny.http, path))
        }
    }
}

proptest! {
    #[test]
    fn the_decision_is_that_of_the_reference_whatever_the_order(
        file in file(),
        topic in bytes(),
        event in name(),
        operation in operation(),
    ) {
        let (policy, reversed) = (policy(&file, false), policy(&file, true));
        let mut requests = vec![
            Request::Subscribe { topic: &topic },
            Request::Store { name: event.as_bytes(), operation },
            Request::Http { path: &topic },
        ];
        for content in [Content::Event(event.as_bytes()), Content::Other, Content::Malformed] {
            requests.push(Request::Publish { topic: &topic, content });
        }
        for request in &requests {
            let decision = decide(&policy, "p", request);
            prop_assert_eq!(decision.is_allowed(), reference(&file, request), "{:?}", request);
            prop_assert_eq!(&decision, &decide(&reversed, "p", request));
            prop_assert_eq!(
                decide(&policy, "q", request),
                Decision::Deny(Denial::UnknownPrincipal)
            );
            prop_assert!(!decide(&Policy::default(), "p", request).is_allowed());
        }
    }

    #[test]
    fn a_rule_that_denies_is_never_outvoted(file in file(), denied in bytes(), tail in bytes()) {
        let mut policy = policy(&file, false);
        let mut role = Role::default();
        role.deny.publish.add(&denied);
        role.deny.subscribe.add(&denied);
        role.deny.http.add(&denied);
        policy.add_role("z", role).unwrap();
        policy.add_principal("q", ROLES.iter().copied().take(file.len()).chain(["z"])).unwrap();
        let topic = [&denied[..], &tail].concat();
        for request in [
            Request::Publish { topic: &topic, content: Content::Other },
            Request::Subscribe { topic: &topic },
            Request::Http { path: &topic },
        ] {
            prop_assert!(!decide(&policy, "q", &request).is_allowed());
        }
        let wanted: Vec<Topic> = vec![topic[..].into(), b""[..].into()];
        let rights = policy.rights("q").unwrap();
        for got in rights.granted(&wanted).topics {
            prop_assert!(!got.as_bytes().starts_with(&denied));
            prop_assert!(!denied.starts_with(got.as_bytes()));
        }
    }

    #[test]
    fn what_holds_for_a_topic_holds_for_its_messages(
        file in file(),
        topic in bytes(),
        event in name(),
    ) {
        let rights = policy(&file, false).rights("p").unwrap();
        let contents = [Content::Event(event.as_bytes()), Content::Other, Content::Malformed];
        for content in contents {
            let decision = rights.decide(&Request::Publish { topic: &topic, content });
            match rights.topic(&topic) {
                TopicRight::All(rule) => prop_assert_eq!(decision, Decision::Allow(rule)),
                TopicRight::Deny(denial) => prop_assert_eq!(decision, Decision::Deny(denial)),
                TopicRight::ByEvent => {}
            }
        }
    }

    #[test]
    fn a_filter_becomes_what_it_may_be_byte_by_byte(
        file in file(),
        wanted in proptest::collection::vec(bytes(), 0..5),
        topics in proptest::collection::vec(bytes(), 0..20),
    ) {
        let rights = policy(&file, false).rights("p").unwrap();
        let wanted: Vec<Topic> = wanted.iter().map(|it| it[..].into()).collect();
        let granted = rights.granted(&wanted);
        let has = |them: &[Topic], topic: &[u8]| them.iter().any(|it| it.is_prefix_of(topic));
        let allowed = |topic: &[u8]| {
            file.iter().any(|(allow, _)| has_prefix(&allow.subscribe, topic))
        };
        let denies = file.iter().any(|(_, deny)| !deny.subscribe.is_empty());
        for topic in topics.iter().map(|it| &it[..]).chain(wanted.iter().map(Topic::as_bytes)) {
            let may = has(&wanted, topic) && allowed(topic);
            let gets = has(&granted.topics, topic);
            // A filter cannot leave a part out, so that rules that deny may take more than they say.
            prop_assert!(if denies { may || !gets } else { may == gets }, "{:?}", topic);
            if gets {
                prop_assert!(!file.iter().any(|(_, deny)| has_prefix(&deny.subscribe, topic)));
            }
        }
        // As filters are: sorted, and without what another entry covers.
        for pair in granted.topics.windows(2) {
            prop_assert!(pair[0] < pair[1] && !pair[0].is_prefix_of(pair[1].as_bytes()));
        }
        // Each entry that leads to nothing is named, so that the record can say so.
        for topic in &wanted {
            let leads = granted.topics.iter().any(|it| {
                it.is_prefix_of(topic.as_bytes()) || topic.is_prefix_of(it.as_bytes())
            });
            prop_assert!(leads || granted.refused.iter().any(|(it, _)| it == topic));
        }
    }

    #[test]
    fn a_bucket_never_lets_through_more_than_its_rate(
        rate in 1..1000_u64,
        steps in proptest::collection::vec((0..3_000_000_000_i64, 0..2000_u64), 1..200),
    ) {
        let start = Timestamp::from_ns(0);
        let limits = Limits { bytes_per_second: Some(rate), ..Limits::default() };
        let mut buckets = Buckets::new(&limits, start);
        let (mut now, mut taken, mut largest) = (0_i64, 0_u64, 0_u64);
        for (pause, size) in steps {
            now += pause;
            match buckets.take(size, Timestamp::from_ns(now)) {
                Ok(()) => {
                    taken += size;
                    largest = largest.max(size);
                }
                Err(wait) => {
                    // Waiting as long as it says is enough, and a nanosecond less is not.
                    let after = now + i64::try_from(wait.as_nanos()).unwrap();
                    let mut copy = buckets.clone();
                    prop_assert!(copy.take(size, Timestamp::from_ns(after - 1)).is_err());
                    let mut copy = buckets.clone();
                    prop_assert!(copy.take(size, Timestamp::from_ns(after)).is_ok());
                }
            }
            let most = u128::from(rate) * (now.unsigned_abs() as u128) / 1_000_000_000 + 1;
            prop_assert!(u128::from(taken) <= most + u128::from(rate) + u128::from(largest));
        }
    }

    #[test]
    fn digests_are_read_as_they_are_written(secret in any::<[u8; 32]>(), text in "[0-9a-fA-Fxé]{60,68}") {
        let secret = Secret::from_random(secret);
        let digest = secret.digest();
        prop_assert_eq!(secret.reveal().len(), 43);
        prop_assert_eq!(Digest::parse(&digest.to_string()), Ok(digest));
        let is_one = text.len() == 64 && text.bytes().all(|it| it.is_ascii_hexdigit());
        prop_assert_eq!(Digest::parse(&text).is_ok(), is_one);
    }
}

#[test]
fn a_prefix_is_bytes_and_not_a_path() {
    let mut role = Role::default();
    role.allow.publish.add(b"/notices/");
    let mut policy = Policy::default();
    policy.add_role("r", role).unwrap();
    policy.add_principal("p", ["r"]).unwrap();
    for (topic, expected) in [
        (&b"/notices/"[..], true),
        (b"/notices/x", true),
        (b"/notices", false),
        (b"/notice", false),
        (b"/notice/", false),
        (b"/Notices/", false),
        (b"//notices/", false),
        (b"/notices\0/", false),
        (b" /notices/", false),
        ("/noti\u{441}es/".as_bytes(), false),
        (b"", false),
    ] {
        let content = Content::Other;
        let decision = decide(&policy, "p", &Request::Publish { topic, content });
        assert_eq!(decision.is_allowed(), expected, "{}", topic.escape_ascii());
    }
    for principal in ["P", "p ", "p\0", "", "\u{440}"] {
        let request = Request::Publish {
            topic: b"/notices/",
            content: Content::Other,
        };
        let decision = decide(&policy, principal, &request);
        assert_eq!(decision, Decision::Deny(Denial::UnknownPrincipal));
    }
}

#[test]
fn topics_of_endpoints_belong_to_no_principal() {
    let mut role = Role::default();
    for topic in [&b""[..], b"<$>", b"a/<$>/"] {
        role.allow.publish.add(topic);
        role.allow.subscribe.add(topic);
    }
    let mut policy = Policy::default();
    policy.add_role("all", role).unwrap();
    policy.add_principal("p", ["all"]).unwrap();
    let rights = policy.rights("p").unwrap();
    for topic in [&b"<$>"[..], b"<$>/local/data/errors", b"a/<$>/data/master"] {
        let requests = [
            Request::Publish {
                topic,
                content: Content::Other,
            },
            Request::Subscribe { topic },
        ];
        for request in requests {
            assert_eq!(rights.decide(&request), Decision::Deny(Denial::Reserved));
        }
        let granted = rights.granted([&Topic::from(topic)]);
        assert_eq!(granted.topics, []);
    }
    assert_eq!(rights.granted([&Topic::from("")]).topics, [Topic::from("")]);
}

#[test]
fn a_wider_subscription_becomes_the_right_and_one_that_covers_a_denied_part_is_refused() {
    let mut role = Role::default();
    role.allow.subscribe = [&b"/notices/"[..], b"/logs/"].into_iter().collect();
    role.deny.subscribe.add(b"/logs/secret/");
    let mut policy = Policy::default();
    policy.add_role("r", role).unwrap();
    policy.add_principal("p", ["r"]).unwrap();
    let rights = policy.rights("p").unwrap();
    let granted = |topic: &str| rights.granted([&Topic::from(topic)]);
    assert_eq!(granted("").topics, [Topic::from("/notices/")]);
    assert_eq!(granted("/notices/x").topics, [Topic::from("/notices/x")]);
    assert_eq!(granted("/logs/conn").topics, [Topic::from("/logs/conn")]);
    for topic in ["/logs/", "/logs/s", "/logs/secret/x", "/log", "/notice\0"] {
        assert_eq!(granted(topic).topics, [], "{topic}");
        assert_eq!(granted(topic).refused.len(), 1, "{topic}");
    }
}

#[test]
fn rights_of_two_roles_do_not_mix() {
    // One may say anything about assets, the other NetControl's events: together not any event there.
    let mut assets = Role::default();
    assets.allow.publish.add(b"/assets/");
    let mut responder = Role::default();
    responder.allow.publish.add(b"/netcontrol/");
    responder.allow.events_publish = Some([glob("NetControl::*")].into_iter().collect());
    let mut policy = Policy::default();
    policy.add_role("assets", assets).unwrap();
    policy.add_role("responder", responder).unwrap();
    policy.add_principal("p", ["responder", "assets"]).unwrap();
    let decide = |topic: &'static [u8], content| {
        let request = Request::Publish { topic, content };
        super::decide(&policy, "p", &request).is_allowed()
    };
    assert!(decide(
        b"/netcontrol/x",
        Content::Event(b"NetControl::add_rule")
    ));
    assert!(!decide(
        b"/netcontrol/x",
        Content::Event(b"netcontrol::add_rule")
    ));
    assert!(!decide(b"/netcontrol/x", Content::Event(b"terminate")));
    assert!(!decide(b"/netcontrol/x", Content::Other));
    assert!(!decide(b"/netcontrol/x", Content::Malformed));
    assert!(decide(b"/assets/x", Content::Event(b"terminate")));
    assert!(decide(b"/assets/x", Content::Malformed));
}

#[test]
fn secrets_find_their_principal_until_they_end() {
    let mut policy = Policy::default();
    policy.add_principal("soar", []).unwrap();
    let secret = Secret::from_random([7; SECRET_BYTES]);
    let end = seconds(100);
    let token = Token {
        principal: "soar".into(),
        digest: secret.digest(),
        expires: Some(end),
    };
    policy.add_token("first", token.clone()).unwrap();
    let at = |ns: i64, text: &str| {
        let principal = policy.principal_of_secret(text, Timestamp::from_ns(ns));
        principal.map(str::to_owned)
    };
    let text = secret.reveal();
    assert_eq!(text, "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc");
    assert_eq!(at(end.ns() - 1, text), Some("soar".to_owned()));
    assert_eq!(at(end.ns(), text), None);
    let (short, _) = text.split_at(42);
    let digest = token.digest.to_string();
    for wrong in [
        "",
        short,
        &format!("{text} "),
        &text.to_lowercase(),
        &digest,
    ] {
        assert_eq!(at(0, wrong), None, "{wrong}");
    }
    let shown = format!("{secret:?} {token:?} {policy:?}");
    assert!(!shown.contains(text) && !shown.contains(&digest), "{shown}");
}

#[test]
fn certificates_stand_for_the_principals_that_claim_them() {
    let mut policy = Policy::default();
    policy.add_principal("soar", []).unwrap();
    policy.add_principal("siem", []).unwrap();
    let name = |text: &str| CertificateName::parse(text).unwrap();
    policy
        .add_certificate(name("uri:spiffe://corp/soar"), "soar")
        .unwrap();
    policy.add_certificate(name("cn:siem"), "siem").unwrap();
    let again = policy.add_certificate(name("cn:siem"), "soar").unwrap_err();
    assert_eq!(
        again.to_string(),
        "the certificate name `cn:siem` belongs to another principal already"
    );
    let of = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|it| name(it)).collect();
        policy.principal_of_certificate(&names).map(str::to_owned)
    };
    assert_eq!(
        of(&["cn:siem", "uri:spiffe://corp/soar"]),
        Some("soar".to_owned())
    );
    assert_eq!(of(&["dns:siem", "cn:siem"]), Some("siem".to_owned()));
    // A name counts as what it is: a common name that looks like a URI proves none.
    for names in [
        &["cn:spiffe://corp/soar"][..],
        &["dns:siem"],
        &["cn:SIEM"],
        &["cn:siem\0"],
        &[],
    ] {
        assert_eq!(of(names), None, "{names:?}");
    }
    assert_eq!(CertificateName::parse("siem"), None);
    assert_eq!(CertificateName::parse("cn:"), None);
}

#[test]
fn connections_without_proof_are_told_apart_by_their_port() {
    let mut policy = Policy::default();
    assert_eq!(policy.anonymous(9999), None);
    policy.add_principal("anonymous@9999", []).unwrap();
    assert_eq!(policy.anonymous(9998), None);
    policy.add_principal("anonymous", []).unwrap();
    assert_eq!(policy.anonymous(9999), Some("anonymous@9999"));
    assert_eq!(policy.anonymous(9998), Some("anonymous"));
}

#[test]
fn what_makes_no_sense_is_no_part_of_a_policy() {
    let mut policy = Policy::default();
    policy.add_role("r", Role::default()).unwrap();
    let twice = policy.add_role("r", Role::default());
    assert_eq!(twice, Err(PolicyError::Twice("r".to_owned())));
    for name in ["", "a\0b", "a\nb", &"x".repeat(NAME_BYTES_MAX + 1)] {
        assert!(policy.add_role(name, Role::default()).is_err());
        assert!(policy.add_principal(name, []).is_err());
    }
    let missing = policy.add_principal("p", ["s"]);
    assert_eq!(missing, Err(PolicyError::Role("s".to_owned())));
    for text in ["", "a*b", "**", "*a"] {
        assert_eq!(Glob::parse(text), None, "{text}");
    }
}

#[test]
fn limits_of_several_roles_are_the_narrowest() {
    let role = |messages, on_limit| Role {
        limits: Limits {
            messages_per_second: messages,
            on_limit,
            ..Limits::default()
        },
        ..Role::default()
    };
    let mut policy = Policy::default();
    policy.add_role("a", role(Some(5), OnLimit::Drop)).unwrap();
    policy.add_role("b", role(None, OnLimit::End)).unwrap();
    policy.add_role("c", role(Some(3), OnLimit::Drop)).unwrap();
    policy.add_principal("p", ["a", "b", "c"]).unwrap();
    let rights = policy.rights("p").unwrap();
    assert_eq!(rights.limits().messages_per_second, Some(3));
    assert_eq!(rights.limits().on_limit, OnLimit::End);
    assert!(rights.is_empty());
}

#[test]
fn messages_that_are_reserved_go_out_at_the_rate() {
    let limits = Limits {
        messages_per_second: Some(2),
        ..Limits::default()
    };
    let start = seconds(100);
    let mut buckets = Buckets::new(&limits, start);
    let second = std::time::Duration::from_secs(1);
    let mut waits = Vec::new();
    while let Some(wait) = buckets.reserve(1, start, second) {
        waits.push(wait);
    }
    let (half, none) = (second / 2, std::time::Duration::ZERO);
    assert_eq!(waits, [none, none, half, second]);
    // What is refused costs nothing.
    assert_eq!(buckets.reserve(1, start, second * 2), Some(half * 3));
}

#[test]
fn a_clock_that_jumps_back_fills_no_bucket() {
    let limits = Limits {
        messages_per_second: Some(1),
        ..Limits::default()
    };
    let mut buckets = Buckets::new(&limits, seconds(100));
    assert!(buckets.take(1, seconds(100)).is_ok());
    let wait = buckets.take(1, seconds(50)).unwrap_err();
    assert_eq!(wait, std::time::Duration::from_secs(1));
    assert!(buckets.take(1, seconds(51)).is_ok());
    assert!(buckets.take(1, Timestamp::from_ns(i64::MIN)).is_err());
    assert!(buckets.take(1, Timestamp::from_ns(i64::MAX)).is_ok());
}

/// A request that owns what it is about.
#[derive(Debug, Clone)]
enum Asked {
    Publish(Vec<u8>, Option<String>),
    Subscribe(Vec<u8>),
    Store(String, Operation),
    Http(Vec<u8>),
}

impl Asked {
    fn request(&self) -> Request<'_> {
        match self {
            Self::Publish(topic, event) => Request::Publish {
                topic,
                content: match event {
                    Some(name) => Content::Event(name.as_bytes()),
                    None => Content::Other,
                },
            },
            Self::Subscribe(topic) => Request::Subscribe { topic },
            Self::Store(name, operation) => Request::Store {
                name: name.as_bytes(),
                operation: *operation,
            },
            Self::Http(path) => Request::Http { path },
        }
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    prop_oneof![
        (bytes(), proptest::option::of(name()))
            .prop_map(|(topic, event)| Asked::Publish(topic, event)),
        bytes().prop_map(Asked::Subscribe),
        (name(), operation()).prop_map(|(name, operation)| Asked::Store(name, operation)),
        bytes().prop_map(Asked::Http),
    ]
}

/// All policies with one rule less, or an operation that is less.
fn smaller(policy: &Policy) -> Vec<Policy> {
    let mut all = Vec::new();
    let mut with = |name: &str, role: Role| {
        let mut smaller = Policy::default();
        for (each, old) in policy.roles() {
            let role = if each == name {
                role.clone()
            } else {
                old.clone()
            };
            smaller.add_role(each, role).unwrap();
        }
        for principal in policy.principals() {
            smaller
                .add_principal(principal, policy.roles_of(principal))
                .unwrap();
        }
        all.push(smaller);
    };
    let without = |prefixes: &Prefixes, prefix: &[u8]| {
        prefixes
            .iter()
            .filter(|it| *it != prefix)
            .collect::<Prefixes>()
    };
    for (name, role) in policy.roles() {
        for prefix in role.allow.publish.iter() {
            let mut role = role.clone();
            role.allow.publish = without(&role.allow.publish, prefix);
            with(name, role);
        }
        for prefix in role.allow.subscribe.iter() {
            let mut role = role.clone();
            role.allow.subscribe = without(&role.allow.subscribe, prefix);
            with(name, role);
        }
        for prefix in role.allow.http.iter() {
            let mut role = role.clone();
            role.allow.http = without(&role.allow.http, prefix);
            with(name, role);
        }
        for event in role.allow.events_publish.iter().flat_map(Globs::iter) {
            let mut role = role.clone();
            let events = role.allow.events_publish.iter().flat_map(Globs::iter);
            role.allow.events_publish = Some(events.filter(|it| *it != event).cloned().collect());
            with(name, role);
        }
        for (store, greatest) in &role.allow.stores {
            let mut role = role.clone();
            match greatest {
                Operation::Read => role.allow.stores.remove(store),
                Operation::Write => role.allow.stores.insert(store.clone(), Operation::Read),
                Operation::Clear => role.allow.stores.insert(store.clone(), Operation::Write),
            };
            with(name, role);
        }
    }
    all
}

proptest! {
    #[test]
    fn what_was_learned_allows_what_was_asked_for_and_needs_all_of_its_rules(
        asked in proptest::collection::vec((0..2_usize, asked()), 0..12),
    ) {
        let principals = ["p", "p-2"];
        let mut learned = Learned::default();
        for (principal, asked) in &asked {
            prop_assert_eq!(learned.observe(principals[*principal], &asked.request()), Ok(()));
        }
        let policy = learned.policy().unwrap();
        let allows = |policy: &Policy| {
            asked.iter().all(|(principal, asked)| {
                decide(policy, principals[*principal], &asked.request()).is_allowed()
            })
        };
        prop_assert!(allows(&policy), "{policy:?}");
        for smaller in smaller(&policy) {
            prop_assert!(!allows(&smaller), "{policy:?}\n{smaller:?}");
        }
    }

    #[test]
    fn a_permissive_policy_denies_what_is_written_and_topics_of_endpoints(
        file in file(),
        topic in bytes(),
        event in name(),
        operation in operation(),
    ) {
        let strict = policy(&file, false);
        let mut permissive = strict.clone();
        permissive.set_permissive(true);
        let mut requests = vec![
            Request::Subscribe { topic: &topic },
            Request::Store { name: event.as_bytes(), operation },
            Request::Http { path: &topic },
            Request::Subscribe { topic: b"<$>/x" },
            Request::Publish { topic: b"<$>/x", content: Content::Other },
        ];
        for content in [Content::Event(event.as_bytes()), Content::Other, Content::Malformed] {
            requests.push(Request::Publish { topic: &topic, content });
        }
        for request in &requests {
            let decision = decide(&permissive, "p", request);
            let deny = || file.iter().map(|(_, deny)| deny);
            let lists = || deny().flat_map(|deny| &deny.events);
            let is_internal = |topic: &[u8]| {
                topic.starts_with(b"<$>") || topic.windows(5).any(|part| part == b"/<$>/")
            };
            // What is written to be denied, read the slow way.
            let stays = match *request {
                Request::Publish { topic, content } => {
                    is_internal(topic)
                        || deny().any(|deny| has_prefix(&deny.publish, topic))
                        || match content {
                            Content::Event(name) => lists().any(|list| is_one_of(list, name)),
                            Content::Other => false,
                            Content::Malformed => lists().any(|list| !list.is_empty()),
                        }
                }
                _ => matches!(
                    decide(&strict, "p", request),
                    Decision::Deny(Denial::Reserved | Denial::Rule(_))
                ),
            };
            prop_assert_eq!(decision.is_allowed(), !stays, "{:?}", request);
            // Whatever is denied as a topic is denied with every content, and the other way round.
            if let Request::Publish { topic, .. } = request {
                let rights = permissive.rights("p").unwrap();
                let right = rights.topic(topic);
                prop_assert!(right == TopicRight::ByEvent || matches!(right, TopicRight::Deny(_)));
                if matches!(right, TopicRight::Deny(_)) {
                    prop_assert!(!decision.is_allowed());
                }
            }
            if let Request::Subscribe { topic } = request {
                let rights = permissive.rights("p").unwrap();
                let granted = rights.granted([&Topic::from(*topic)]).topics;
                prop_assert_eq!(!granted.is_empty(), decision.is_allowed());
            }
        }
    }
}

#[test]
fn a_permissive_policy_knows_connections_without_proof_and_no_wrong_proof() {
    let mut policy = Policy::default();
    assert_eq!(policy.anonymous(1), None);
    policy.set_permissive(true);
    assert_eq!(policy.anonymous(1), Some(ANONYMOUS));
    assert!(policy.has_principal(ANONYMOUS) && !policy.has_principal("x"));
    assert!(
        policy
            .rights(ANONYMOUS)
            .is_some_and(|rights| !rights.is_empty())
    );
    assert!(policy.rights("x").is_none());
    assert_eq!(policy.principal_of_secret("x", seconds(0)), None);
}

#[test]
fn what_no_rule_can_name_is_not_learned() {
    let mut learned = Learned::default();
    let event = |name: &'static [u8]| Request::Publish {
        topic: b"/x",
        content: Content::Event(name),
    };
    for name in [&b"N::*"[..], b"*", b"", b"\xff"] {
        assert_eq!(learned.observe("p", &event(name)), Err(Unlearnable::Name));
    }
    for topic in [&b"<$>/local"[..], b"s/<$>/data/master"] {
        let request = Request::Subscribe { topic };
        assert_eq!(learned.observe("p", &request), Err(Unlearnable::Reserved));
    }
    assert_eq!(learned.policy().unwrap(), Policy::default());
    // However they differ.
    let kinds: [fn(&[u8]) -> Request<'_>; 4] = [
        |path| Request::Http { path },
        |topic| Request::Subscribe { topic },
        |topic| Request::Publish {
            topic,
            content: Content::Other,
        },
        |name| Request::Store {
            name,
            operation: Operation::Read,
        },
    ];
    for kind in kinds {
        let mut learned = Learned::default();
        for index in 0..REQUESTS_MAX {
            let name = index.to_string();
            let observed = learned.observe("p", &kind(name.as_bytes()));
            // The principal counts as well.
            assert_eq!(observed.is_ok(), index + 1 < REQUESTS_MAX, "{index}");
        }
    }
}
