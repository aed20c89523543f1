//! Events in messages, looked at where rules or the record depend on them.
//!
//! A batch is taken apart: what is denied is left out, and the rest goes on as a batch. Spec: zeek 1.5.

use std::collections::BTreeSet;

use broker_data::{EncodeError, Encoder, Source, View, to_bytes};
use broker_proto::policy::{Content, Decision, Denial, Request, Rights};
use broker_zeek::{BatchBuilder, Message, Problem};

/// Events that are named when a message is denied; a batch may have thousands.
const NAMED_MAX: usize = 16;

/// What became of a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// Whether nothing of it may be published.
    pub(super) is_denied: bool,
    /// What may, if that is not all of it.
    pub(super) rest: Option<Vec<u8>>,
    /// Events that may not, and why; the first of them.
    pub(super) denials: Vec<(Option<Vec<u8>>, Denial)>,
    /// How many there are.
    pub(super) denied: u64,
}

/// Judges a message by the events in it.
pub(super) fn judge(rights: &Rights, topic: &[u8], payload: &[u8]) -> Judged {
    let mut judged = Judged::default();
    // What cannot be read is none of Zeek's messages.
    let Ok(view) = View::new(payload) else {
        return judge_unread(rights, topic);
    };
    match Message::parse(view) {
        Message::Batch(batch) => {
            let total = batch.len();
            let rest = filtered(rights, topic, batch, &mut judged);
            judged.is_denied = judged.denied > 0 && rest.is_empty();
            // An empty batch is judged like any other message.
            if total == 0 {
                judged.is_denied = !judged.allows(rights, topic, Content::Other);
            } else if judged.denied > 0 && !judged.is_denied {
                match to_bytes(&rest) {
                    Ok(bytes) => judged.rest = Some(bytes),
                    Err(_) => judged.is_denied = true,
                }
            }
        }
        message => judged.is_denied = !judged.admits(rights, topic, &message),
    }
    judged
}

/// Judges a message that nothing here reads, and that may hold any event.
pub(super) fn judge_unread(rights: &Rights, topic: &[u8]) -> Judged {
    let mut judged = Judged::default();
    judged.is_denied = !judged.allows(rights, topic, Content::Malformed);
    judged
}

/// The names of the events in a message, each once; `None` among them if there is anything else.
pub(super) fn names(payload: &[u8]) -> BTreeSet<Option<&[u8]>> {
    fn collect<'a>(message: &Message<'a>, names: &mut BTreeSet<Option<&'a [u8]>>) {
        match message {
            Message::Batch(batch) if !batch.is_empty() => {
                batch.messages().for_each(|it| collect(&it, names));
            }
            Message::Event(event) => {
                names.insert(Some(event.name()));
            }
            _ => {
                names.insert(None);
            }
        }
    }
    let mut names = BTreeSet::new();
    match View::new(payload) {
        Ok(view) => collect(&Message::parse(view), &mut names),
        Err(_) => {
            names.insert(None);
        }
    }
    names
}

fn content<'a>(message: &Message<'a>) -> Content<'a> {
    match message {
        Message::Event(event) => Content::Event(event.name()),
        Message::Invalid(invalid) => match invalid.problem() {
            // Values of other programs.
            Problem::NotAVector(_) | Problem::TooShort(_) | Problem::Kind(_) => Content::Other,
            _ => Content::Malformed,
        },
        _ => Content::Other,
    }
}

/// The members that may be published, of batches within it as well.
fn filtered(
    rights: &Rights,
    topic: &[u8],
    batch: broker_zeek::Batch<'_>,
    judged: &mut Judged,
) -> BatchBuilder {
    let mut rest = BatchBuilder::new();
    for message in batch.messages() {
        let kept = match &message {
            Message::Batch(inner) => {
                let inner = filtered(rights, topic, *inner, judged);
                if inner.is_empty() {
                    Ok(())
                } else {
                    rest.push(&inner)
                }
            }
            other => {
                if judged.admits(rights, topic, other) {
                    rest.push(&Member(other))
                } else {
                    Ok(())
                }
            }
        };
        if kept.is_err() {
            judged.deny(None, Denial::Malformed);
        }
    }
    rest
}

/// A message as a member of another batch.
struct Member<'m, 'a>(&'m Message<'a>);

impl Source for Member<'_, '_> {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        match self.0 {
            Message::Event(event) => event.encode(enc),
            Message::LogCreate(log) => log.encode(enc),
            Message::LogWrite(log) => log.encode(enc),
            Message::IdentifierUpdate(update) => update.encode(enc),
            Message::Batch(batch) => batch.encode(enc),
            // Members of a batch are valid.
            Message::Invalid(invalid) => invalid.value().encode(enc),
            _ => Ok(()),
        }
    }
}

impl Judged {
    /// Whether a message that is no batch may be published: its event by its name and arguments.
    fn admits(&mut self, rights: &Rights, topic: &[u8], message: &Message<'_>) -> bool {
        if !self.allows(rights, topic, content(message)) {
            return false;
        }
        let Message::Event(event) = message else {
            return true;
        };
        match rights.check_event(event.name(), event.arguments()) {
            Ok(()) => true,
            Err(denial) => {
                self.deny(Some(event.name()), denial);
                false
            }
        }
    }

    fn allows(&mut self, rights: &Rights, topic: &[u8], content: Content<'_>) -> bool {
        match rights.decide(&Request::Publish { topic, content }) {
            Decision::Allow(_) => true,
            Decision::Deny(denial) => {
                let name = match content {
                    Content::Event(name) => Some(name),
                    Content::Other | Content::Malformed => None,
                };
                self.deny(name, denial);
                false
            }
        }
    }

    fn deny(&mut self, name: Option<&[u8]>, denial: Denial) {
        self.denied += 1;
        if self.denials.len() < NAMED_MAX {
            self.denials.push((name.map(<[u8]>::to_vec), denial));
        }
    }
}

#[cfg(test)]
mod tests {
    use broker_data::Value;
    use broker_proto::policy::{Glob, Policy, Role, Schema, TopicRight};
    use broker_zeek::EventBuilder;

    use super::*;

    fn rights(allow: &str, deny: &str) -> Rights {
        let mut role = Role::default();
        role.allow.publish.add(b"/n/");
        let globs = |text: &str| Some(Glob::parse(text).into_iter().collect());
        role.allow.events_publish = globs(allow);
        role.deny.events_publish = globs(deny);
        let mut policy = Policy::default();
        policy.add_role("r", role).unwrap();
        policy.add_principal("p", ["r"]).unwrap();
        policy.rights("p").unwrap()
    }

    fn batch(members: &[&dyn Fn(&mut BatchBuilder)]) -> BatchBuilder {
        let mut batch = BatchBuilder::new();
        for member in members {
            member(&mut batch);
        }
        batch
    }

    fn event(name: &'static str) -> impl Fn(&mut BatchBuilder) {
        move |batch| {
            batch
                .push(&EventBuilder::new(name).argument(&1u64))
                .unwrap()
        }
    }

    fn outline(bytes: &[u8]) -> Vec<String> {
        fn visit(message: Message<'_>, names: &mut Vec<String>) {
            match message {
                Message::Event(event) => {
                    names.push(String::from_utf8_lossy(event.name()).into_owned());
                }
                Message::Batch(batch) => {
                    names.push("(".to_owned());
                    batch.messages().for_each(|it| visit(it, names));
                    names.push(")".to_owned());
                }
                other => names.push(format!("{:?}", other.kind())),
            }
        }
        let mut found = Vec::new();
        visit(Message::parse(View::new(bytes).unwrap()), &mut found);
        found
    }

    #[test]
    fn one_bad_event_of_a_batch_is_left_out_alone() {
        let rights = rights("Net::*", "Net::clear");
        let inner = batch(&[&event("Net::clear"), &event("Net::b"), &event("terminate")]);
        let nothing = batch(&[&event("terminate")]);
        let outer = batch(&[
            &event("Net::a"),
            &|it| it.push(&inner).unwrap(),
            &|it| it.push(&nothing).unwrap(),
            &event("net::a"),
        ]);
        let judged = judge(&rights, b"/n/x", &to_bytes(&outer).unwrap());
        assert!(!judged.is_denied);
        assert_eq!(
            outline(&judged.rest.unwrap()),
            ["(", "Net::a", "(", "Net::b", ")", ")"]
        );
        assert_eq!(judged.denied, 4);
        let all_good = batch(&[&event("Net::a"), &event("Net::b")]);
        let judged = judge(&rights, b"/n/x", &to_bytes(&all_good).unwrap());
        assert_eq!(judged, Judged::default());
        for bad in [&nothing, &batch(&[])] {
            let judged = judge(&rights, b"/n/x", &to_bytes(bad).unwrap());
            assert!(judged.is_denied && judged.rest.is_none());
        }
        assert!(judge(&rights, b"/m/x", &to_bytes(&all_good).unwrap()).is_denied);
    }

    #[test]
    fn events_whose_arguments_do_not_fit_are_left_out() {
        let mut role = Role::default();
        role.allow.publish.add(b"/n/");
        let mut policy = Policy::default();
        policy.add_role("r", role).unwrap();
        policy.add_principal("p", ["r"]).unwrap();
        policy.set_schema(Schema::parse("N::a(x: count) N::b(x: string)").unwrap());
        let rights = policy.rights("p").unwrap();
        // No rule is about events, and they are looked at nevertheless.
        assert_eq!(rights.topic(b"/n/x"), TopicRight::ByEvent);
        let mixed = batch(&[&event("N::a"), &event("N::b"), &event("N::c")]);
        let judged = judge(&rights, b"/n/x", &to_bytes(&mixed).unwrap());
        assert_eq!(
            names(judged.rest.as_deref().unwrap()),
            [Some(&b"N::a"[..])].into()
        );
        let told: Vec<_> = judged
            .denials
            .iter()
            .map(|(_, denial)| denial.to_string())
            .collect();
        assert_eq!(
            told,
            [
                "argument 1, x: expected string, got count",
                "the schema has no such event"
            ]
        );
        // What is no event is not in a schema; a bad event elsewhere is denied as ever.
        let other = to_bytes(&Value::from(7_u64)).unwrap();
        assert_eq!(judge(&rights, b"/n/x", &other), Judged::default());
        let good = to_bytes(&EventBuilder::new("N::a").argument(&1_u64)).unwrap();
        assert!(judge(&rights, b"/m/x", &good).is_denied);
        policy.set_permissive(true);
        let rights = policy.rights("p").unwrap();
        assert!(!judge(&rights, b"/m/x", &good).is_denied);
        let bad = to_bytes(&EventBuilder::new("N::b").argument(&1_u64)).unwrap();
        assert!(judge(&rights, b"/m/x", &bad).is_denied);
    }

    #[test]
    fn names_for_the_record_are_those_of_all_members() {
        let bytes = |message: &dyn Source| {
            let mut batch = BatchBuilder::new();
            batch.push(message).unwrap();
            to_bytes(&batch).unwrap()
        };
        let named = |bytes: &[u8]| {
            let names = names(bytes).into_iter();
            names
                .map(|it| it.map(|it| String::from_utf8_lossy(it).into_owned()))
                .collect::<Vec<_>>()
        };
        let inner = batch(&[&event("N::b"), &event("N::a"), &event("N::b")]);
        let (a, b) = (Some("N::a".to_owned()), Some("N::b".to_owned()));
        assert_eq!(named(&bytes(&inner)), [a.clone(), b]);
        assert_eq!(named(&to_bytes(&EventBuilder::new("N::a")).unwrap()), [a]);
        assert_eq!(named(&to_bytes(&batch(&[])).unwrap()), [None]);
        assert_eq!(named(&to_bytes(&Value::from(7_u64)).unwrap()), [None]);
        assert_eq!(named(b"\xff"), [None]);
    }

    #[test]
    fn an_event_is_found_wherever_a_reader_would_find_it() {
        let rights = rights("Net::*", "Net::clear");
        let bytes = |value: Value| to_bytes(&value).unwrap();
        let content =
            |name: &str| Value::from(vec![Value::from(name), Value::from(Vec::<Value>::new())]);
        let message = |version: u64, kind: u64, content: Value| {
            vec![Value::from(version), Value::from(kind), content]
        };
        let good = message(1, 1, content("Net::a"));
        assert!(!judge(&rights, b"/n/x", &bytes(good.clone().into())).is_denied);
        // More elements than there should be are ignored, as readers do.
        let longer = [good.clone(), vec![content("terminate")]].concat();
        assert!(!judge(&rights, b"/n/x", &bytes(longer.into())).is_denied);
        for bad in [
            message(1, 1, content("terminate")),
            message(2, 1, content("Net::a")),
            message(1, 1, Value::from("Net::a")),
            message(1, 1, Value::from(vec![Value::from("Net::a")])),
            // An event as the record of a log, and values that are no messages.
            message(1, 3, content("Net::a")),
            message(1, 5, Value::from(vec![Value::from("Net::a")])),
            vec![Value::from(1u64), Value::from(1u64)],
            vec![],
        ] {
            let judged = judge(&rights, b"/n/x", &bytes(bad.clone().into()));
            assert!(judged.is_denied, "{bad:?}");
        }
        assert!(judge(&rights, b"/n/x", &bytes(Value::from("Net::a"))).is_denied);
        assert!(judge(&rights, b"/n/x", b"\xff").is_denied);
    }
}
