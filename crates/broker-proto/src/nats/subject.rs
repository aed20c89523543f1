//! Topics as subjects.
//!
//! A topic is cut at every `/`; each token has everything outside of `[A-Za-z0-9_:-]` percent-escaped,
//! an empty token is `%`. Different topics have different subjects, so what is said of a subject (the
//! last value, its limits, who may read it) is said of one topic. What would be too long for a subject
//! shares a place of its own, `%long`, which no token can be; there the topic is in a header only.

use std::fmt::Write;

use crate::topic::{TOPIC_MAX, Topic};

/// Bytes of a subject. Servers take more; operators and their tools do not.
pub const SUBJECT_BYTES_MAX: usize = 512;

/// Tokens of a subject: servers keep a level of their subscription tree for each.
pub const SUBJECT_TOKENS_MAX: usize = 32;

/// Bytes of a prefix, so that it leaves room for topics.
pub const PREFIX_BYTES_MAX: usize = 128;

/// What subjects begin with unless an option says otherwise.
pub const DEFAULT_PREFIX: &str = "bk.";

/// The token in front of topics that are too long for a subject: no escape is spelled like this.
pub const LONG: &str = "%long";

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// What a subject says of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// It holds one value.
    Single,
    /// It holds several of one topic; who does not know of batches is not subscribed to these.
    Batch,
    /// It is the last value of its topic, kept by a stream for those who come late. It has subjects of its
    /// own, so that a topic has one of them, and what is published otherwise does not take its place.
    Retained,
}

impl Form {
    /// Both of messages on their way.
    pub const ALL: [Self; 2] = [Self::Single, Self::Batch];

    /// That of last values.
    pub const RETAINED: [Self; 1] = [Self::Retained];
}

/// Text that subjects cannot begin with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no prefix of subjects: {cause}", text.escape_debug())]
pub struct PrefixError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub cause: &'static str,
}

/// A subject that is none of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// It has another prefix.
    #[error("the subject is none of topics")]
    Elsewhere,
    /// Its tokens are not what a topic is written as.
    #[error("the subject is not spelled as that of a topic")]
    Spelling,
    /// It stands for all topics that are too long, and the header with the topic is missing.
    #[error("the subject is that of a long topic, which is in the header `Bk-Topic` only")]
    Long,
}

/// How topics are spelled as subjects: the prefixes of single messages, of batches and of last values.
///
/// ```
/// use broker_proto::nats::{Form, Subjects};
///
/// let subjects = Subjects::new("bk.")?;
/// assert_eq!(subjects.of_topic(Form::Single, b"/zeek/a b"), "bk.%.zeek.a%20b");
/// assert_eq!(subjects.of_topic(Form::Batch, b"x"), "bkb.x");
/// assert_eq!(subjects.topic("bk.%.zeek.a%20b").unwrap(), (Form::Single, "/zeek/a b".into()));
/// # Ok::<(), broker_proto::nats::PrefixError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subjects {
    single: String,
    batch: String,
    retained: String,
}

impl Default for Subjects {
    fn default() -> Self {
        Self {
            single: DEFAULT_PREFIX.to_owned(),
            batch: "bkb.".to_owned(),
            retained: "bkr.".to_owned(),
        }
    }
}

impl Subjects {
    /// Takes a prefix: one or more tokens of letters, digits, `_` and `-`, each with a dot behind it.
    /// That of batches has a `b` behind its last token, that of last values an `r`.
    ///
    /// # Errors
    ///
    /// For anything else; among it what servers keep for themselves (`$SYS`, `_INBOX`).
    pub fn new(prefix: &str) -> Result<Self, PrefixError> {
        let refuse = |cause| PrefixError {
            text: prefix.to_owned(),
            cause,
        };
        let tokens = prefix
            .strip_suffix('.')
            .ok_or_else(|| refuse("expected a dot at the end, as in `bk.`"))?;
        if prefix.len() > PREFIX_BYTES_MAX || tokens.split('.').count() > SUBJECT_TOKENS_MAX / 2 {
            return Err(refuse("it is too long"));
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !tokens
            .split('.')
            .all(|token| !token.is_empty() && token.bytes().all(is_plain))
        {
            return Err(refuse(
                "expected tokens of letters, digits, `_` and `-`, each with a dot behind it",
            ));
        }
        if tokens.starts_with("_INBOX") {
            return Err(refuse("answers to requests go to `_INBOX`"));
        }
        Ok(Self {
            single: prefix.to_owned(),
            batch: format!("{tokens}b."),
            retained: format!("{tokens}r."),
        })
    }

    /// What subjects of a form begin with.
    pub fn prefix(&self, form: Form) -> &str {
        match form {
            Form::Single => &self.single,
            Form::Batch => &self.batch,
            Form::Retained => &self.retained,
        }
    }

    /// The subject of a topic.
    pub fn of_topic(&self, form: Form, topic: &[u8]) -> String {
        let prefix = self.prefix(form);
        let mut subject = String::with_capacity(prefix.len() + topic.len() + 8);
        subject.push_str(prefix);
        let mut tokens = prefix.split('.').count() - 1;
        for (index, token) in topic.split(|byte| *byte == b'/').enumerate() {
            tokens += 1;
            if index > 0 {
                subject.push('.');
            }
            push_token(&mut subject, token);
            if tokens > SUBJECT_TOKENS_MAX || subject.len() > SUBJECT_BYTES_MAX {
                return self.of_long(form, topic);
            }
        }
        subject
    }

    /// Whether the topic is too long for a subject of its own.
    pub fn is_long(&self, form: Form, topic: &[u8]) -> bool {
        let subject = self.of_topic(form, topic);
        is_long(subject.get(self.prefix(form).len()..).unwrap_or_default())
    }

    fn of_long(&self, form: Form, topic: &[u8]) -> String {
        // FNV-1a, 128 bits: it spreads topics over subjects. Two that share one are told apart by the
        // header, so nothing rests on it.
        let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        for byte in topic {
            hash =
                (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
        format!("{}{LONG}.{hash:032x}", self.prefix(form))
    }

    /// The subject of all topics that are too long, for a subscription.
    pub fn all_long(&self, form: Form) -> String {
        format!("{}{LONG}.>", self.prefix(form))
    }

    /// The form and the topic that a subject stands for.
    ///
    /// # Errors
    ///
    /// When it stands for none, or for several.
    pub fn topic(&self, subject: &str) -> Result<(Form, Topic), SubjectError> {
        let (form, rest) = self.split(subject)?;
        if is_long(rest) {
            return Err(SubjectError::Long);
        }
        let mut topic = Vec::with_capacity(rest.len());
        for (index, token) in rest.split('.').enumerate() {
            if index > 0 {
                topic.push(b'/');
            }
            if token != "%" {
                unescape(token, &mut topic).ok_or(SubjectError::Spelling)?;
            }
        }
        // One spelling for each topic: others would be other subjects for the same.
        if self.of_topic(form, &topic) != subject {
            return Err(SubjectError::Spelling);
        }
        Ok((form, Topic::from(topic.as_slice())))
    }

    /// The form that a subject says, and what is behind the prefix.
    ///
    /// # Errors
    ///
    /// When it has none of the prefixes.
    pub fn split<'a>(&self, subject: &'a str) -> Result<(Form, &'a str), SubjectError> {
        let of = |form| Some((form, subject.strip_prefix(self.prefix(form))?));
        let forms = Form::ALL.into_iter().chain(Form::RETAINED);
        let found = forms.into_iter().find_map(of);
        found.ok_or(SubjectError::Elsewhere)
    }
}

fn is_long(rest: &str) -> bool {
    rest.strip_prefix(LONG)
        .is_some_and(|rest| rest.starts_with('.'))
}

/// Whether a byte of a token stands for itself.
const fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-')
}

pub(super) fn push_token(out: &mut String, token: &[u8]) {
    if token.is_empty() {
        out.push('%');
    }
    for byte in token {
        push_byte(out, *byte, is_literal(*byte));
    }
}

fn push_byte(out: &mut String, byte: u8, is_literal: bool) {
    if is_literal {
        out.push(char::from(byte));
    } else {
        // Writing to a string does not fail.
        let _ = write!(out, "%{byte:02X}");
    }
}

/// A topic as the text of a header: everything that prints stands for itself.
pub fn topic_text(topic: &[u8]) -> String {
    let mut text = String::with_capacity(topic.len());
    for byte in topic {
        push_byte(&mut text, *byte, byte.is_ascii_graphic() && *byte != b'%');
    }
    text
}

/// The topic in a header; `None` when it is not spelled as [`topic_text`] does it, or too long.
pub fn topic_of_text(text: &str) -> Option<Topic> {
    if text.len() > 3 * TOPIC_MAX {
        return None;
    }
    let mut topic = Vec::with_capacity(text.len());
    unescape(text, &mut topic)?;
    (topic.len() <= TOPIC_MAX && topic_text(&topic) == text).then(|| Topic::from(topic.as_slice()))
}

fn unescape(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let digit = |byte: u8| {
        let at = HEX.iter().position(|it| *it == byte)?;
        u8::try_from(at).ok()
    };
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
            out.push(high << 4 | low);
        } else {
            out.push(byte);
        }
    }
    Some(())
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Topics of few different tokens, so that equal ones and prefixes come up, and of anything.
    pub(in crate::nats) fn topics() -> impl Strategy<Value = Vec<u8>> {
        let token = prop_oneof![
            4 => prop::sample::select(vec![
                "", "a", "ab", "b", "%", "%25", "%long", "$SYS", ">", "*", ".", "a.b", "\u{e9}", " ",
            ])
            .prop_map(|it| it.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..6),
        ];
        let few = prop::collection::vec(token.clone(), 0..6);
        let many = prop::collection::vec(token, 25..40);
        let long = (few.clone(), 0..1200_usize).prop_map(|(mut tokens, size)| {
            tokens.push(vec![b'x'; size]);
            tokens
        });
        prop_oneof![8 => few, 1 => many, 1 => long].prop_map(|it| it.join(&b'/'))
    }

    fn is_subject(text: &str) -> bool {
        !text.starts_with('$')
            && text.len() <= SUBJECT_BYTES_MAX
            && text.split('.').count() <= SUBJECT_TOKENS_MAX
            && text.split('.').all(|token| {
                !token.is_empty()
                    && token
                        .bytes()
                        .all(|it| it.is_ascii_graphic() && !matches!(it, b'*' | b'>'))
            })
    }

    proptest! {
        #[test]
        fn every_topic_has_a_subject_that_leads_back(topic in topics()) {
            let subjects = Subjects::default();
            for form in Form::ALL {
                let subject = subjects.of_topic(form, &topic);
                prop_assert!(is_subject(&subject), "{}", subject);
                if subjects.is_long(form, &topic) {
                    prop_assert_eq!(subjects.topic(&subject), Err(SubjectError::Long));
                } else {
                    let found = (form, Topic::from(topic.as_slice()));
                    prop_assert_eq!(subjects.topic(&subject), Ok(found));
                }
            }
        }

        #[test]
        fn different_topics_have_different_subjects(one in topics(), other in topics()) {
            let subjects = Subjects::default();
            let of = |topic: &[u8]| subjects.of_topic(Form::Single, topic);
            prop_assert_eq!(of(&one) == of(&other), one == other);
            prop_assert_eq!(topic_text(&one) == topic_text(&other), one == other);
            prop_assert_eq!(topic_of_text(&topic_text(&one)), Some(Topic::from(one.as_slice())));
        }

        #[test]
        fn a_subject_that_leads_to_a_topic_is_the_one_of_that_topic(
            text in "(bk\\.|bkb\\.|)([a-z%2E0-9_:$ >.*-]|%2E|%long){0,12}",
        ) {
            let subjects = Subjects::default();
            if let Ok((form, topic)) = subjects.topic(&text) {
                prop_assert_eq!(subjects.of_topic(form, topic.as_bytes()), text);
            }
        }
    }

    #[test]
    fn subjects_are_spelled_as_the_design_has_it() {
        let subjects = Subjects::default();
        for (topic, expected) in [
            ("", "bk.%"),
            ("/", "bk.%.%"),
            ("/zeek/logs/conn", "bk.%.zeek.logs.conn"),
            ("zeek.cluster.worker", "bk.zeek%2Ecluster%2Eworker"),
            ("$SYS", "bk.%24SYS"),
            ("a:b_c-d", "bk.a:b_c-d"),
            ("%", "bk.%25"),
            ("\u{e9}", "bk.%C3%A9"),
        ] {
            assert_eq!(subjects.of_topic(Form::Single, topic.as_bytes()), expected);
        }
    }

    #[test]
    fn long_topics_share_a_place() {
        let subjects = Subjects::default();
        // 31 tokens and the prefix are 32.
        let fits = vec!["a"; 31].join("/");
        let tokens = format!("{fits}/a");
        assert!(!subjects.is_long(Form::Single, fits.as_bytes()));
        let bytes = "a".repeat(SUBJECT_BYTES_MAX - 3);
        assert!(!subjects.is_long(Form::Single, bytes.as_bytes()));
        for long in [tokens, format!("{bytes}a")] {
            let subject = subjects.of_topic(Form::Single, long.as_bytes());
            assert!(subject.starts_with("bk.%long."), "{subject}");
            assert_eq!(subject.len(), "bk.%long.".len() + 32);
        }
    }

    #[test]
    fn prefixes_are_plain() {
        let subjects = Subjects::new("site-1.bk.").unwrap();
        assert_eq!(subjects.of_topic(Form::Single, b"a"), "site-1.bk.a");
        assert_eq!(subjects.of_topic(Form::Batch, b"a"), "site-1.bkb.a");
        assert_eq!(subjects.topic("bk.a"), Err(SubjectError::Elsewhere));
        assert_eq!(Subjects::new(DEFAULT_PREFIX), Ok(Subjects::default()));
        let long = format!("{}.", "a".repeat(PREFIX_BYTES_MAX));
        for text in [
            "",
            ".",
            "bk",
            "a..",
            "$SYS.",
            "a.>.",
            "a b.",
            "_INBOX.x.",
            &long,
        ] {
            let error = Subjects::new(text).unwrap_err();
            assert!(error.to_string().contains("no prefix"), "{error}");
        }
    }
}
