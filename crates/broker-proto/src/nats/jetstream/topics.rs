//! Topics that a stream keeps, and those that a cursor follows, as subjects.
//!
//! Prefixes of subscribers are those of bytes, and subjects consist of tokens. A stream is made for
//! whole tokens: `/notices` keeps that topic and everything below `/notices/`, and not `/noticeable`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::filter::Filter;
use crate::nats::cover::cover_forms;
use crate::nats::subject::{Form, Subjects};

/// Subjects that a cursor follows one by one. Beyond it everything of the stream is read, and filtered
/// by the reader.
pub const CURSOR_SUBJECTS_MAX: usize = 128;

/// The subjects that a stream keeps for a topic and everything below it; with a slash at the end only for
/// what is below. The empty topic stands for all. `None` when the topic is too long for a subject.
///
/// ```
/// use broker_proto::nats::{Subjects, jetstream::topics::kept_subjects};
///
/// let kept = kept_subjects(&Subjects::default(), b"/notices/").unwrap();
/// assert_eq!(kept, ["bk.%.notices.>", "bkb.%.notices.>"]);
/// ```
pub fn kept_subjects(subjects: &Subjects, topic: &[u8]) -> Option<Vec<String>> {
    kept_forms(subjects, topic, &Form::ALL)
}

/// As [`kept_subjects`], for these forms: a stream for last values keeps [`Form::RETAINED`].
pub fn kept_forms(subjects: &Subjects, topic: &[u8], forms: &[Form]) -> Option<Vec<String>> {
    let mut kept = Vec::new();
    for form in forms.iter().copied() {
        if topic.is_empty() {
            kept.push(format!("{}>", subjects.prefix(form)));
            continue;
        }
        let stem = topic.strip_suffix(b"/").unwrap_or(topic);
        if subjects.is_long(form, stem) {
            return None;
        }
        let subject = subjects.of_topic(form, stem);
        let below = format!("{subject}.>");
        if stem.len() == topic.len() {
            kept.push(subject);
        }
        kept.push(below);
    }
    kept.sort_unstable();
    Some(kept)
}

/// The subjects that an existing stream keeps, from its configuration. A copy of other streams (`mirror`,
/// `sources`) names none of its own: it keeps what it is told to take from them, or all that there may be.
pub fn subjects_of_stream(subjects: &Subjects, config: &Value) -> Vec<String> {
    let list = |name: &str| config.get(name).and_then(Value::as_array);
    let own = list("subjects").into_iter().flatten();
    let mut kept: BTreeSet<String> = own.filter_map(Value::as_str).map(str::to_owned).collect();
    let origins = config.get("mirror").filter(|it| it.is_object());
    for origin in origins
        .into_iter()
        .chain(list("sources").into_iter().flatten())
    {
        let only = origin.get("filter_subject").and_then(Value::as_str);
        match only.filter(|only| !only.is_empty()) {
            Some(only) => _ = kept.insert(only.to_owned()),
            None => {
                let forms = Form::ALL.iter().chain(&Form::RETAINED);
                kept.extend(forms.map(|form| format!("{}>", subjects.prefix(*form))));
            }
        }
    }
    kept.into_iter().collect()
}

/// The subjects that a cursor follows in a stream that keeps these, for subscribers to a filter; none
/// when the stream keeps nothing of it. No one of them covers another one.
pub fn followed_subjects(subjects: &Subjects, filter: &Filter, kept: &[String]) -> Vec<String> {
    followed_forms(subjects, filter, kept, &Form::ALL)
}

/// As [`followed_subjects`], for these forms.
pub fn followed_forms(
    subjects: &Subjects,
    filter: &Filter,
    kept: &[String],
    forms: &[Form],
) -> Vec<String> {
    let wanted = cover_forms(subjects, filter, forms);
    let pairs = wanted
        .iter()
        .flat_map(|wanted| kept.iter().map(move |kept| (wanted, kept)));
    let common: BTreeSet<String> = pairs
        .filter_map(|(wanted, kept)| overlap(wanted, kept))
        .filter(|pattern| may_match(subjects, filter, pattern))
        .collect();
    let is_covered = |it: &&String| {
        let covers = |other: &String| other != *it && overlap(other, it).as_ref() == Some(*it);
        !common.iter().any(covers)
    };
    let followed: Vec<String> = common.iter().filter(is_covered).cloned().collect();
    if followed.len() > CURSOR_SUBJECTS_MAX {
        let mut all = kept.to_vec();
        all.sort_unstable();
        return all;
    }
    followed
}

/// Whether topics under a pattern of subjects can begin with a prefix of the filter: tokens that are
/// incomplete in a prefix are not in the subjects of its subscriptions.
fn may_match(subjects: &Subjects, filter: &Filter, pattern: &str) -> bool {
    let mut literal = String::new();
    let mut is_open = false;
    for token in pattern.split('.') {
        if matches!(token, "*" | ">") {
            is_open = true;
            break;
        }
        if !literal.is_empty() {
            literal.push('.');
        }
        literal.push_str(token);
    }
    let is_all = Form::ALL
        .iter()
        .chain(&Form::RETAINED)
        .any(|form| subjects.prefix(*form).strip_suffix('.') == Some(&literal));
    let mut start = match subjects.topic(&literal) {
        Ok((_, topic)) => topic.as_bytes().to_vec(),
        Err(_) if is_all => Vec::new(),
        // That of long topics, which says nothing of them, or one of an operator.
        Err(_) => return true,
    };
    if is_open && !is_all {
        start.push(b'/');
    }
    filter.entries().any(|prefix| {
        let prefix = prefix.as_bytes();
        start.starts_with(prefix) || is_open && prefix.starts_with(&start)
    })
}

/// The subjects that two patterns have in common, as a pattern.
fn overlap(one: &str, other: &str) -> Option<String> {
    let (mut left, mut right) = (one.split('.'), other.split('.'));
    let mut common: Vec<&str> = Vec::new();
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Some(common.join(".")),
            (Some(">"), Some(token)) => {
                common.push(token);
                common.extend(right);
                return Some(common.join("."));
            }
            (Some(token), Some(">")) => {
                common.push(token);
                common.extend(left);
                return Some(common.join("."));
            }
            (Some("*"), Some(token)) | (Some(token), Some("*")) => common.push(token),
            (Some(a), Some(b)) if a == b => common.push(a),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::topic::Topic;

    fn kept(topics: &[&str]) -> Vec<String> {
        let subjects = Subjects::default();
        let all = topics
            .iter()
            .map(|it| kept_subjects(&subjects, it.as_bytes()).unwrap());
        all.flatten().collect()
    }

    fn followed(prefixes: &[&str], topics: &[&str]) -> Vec<String> {
        let filter: Filter = prefixes.iter().map(|it| Topic::from(*it)).collect();
        let all = followed_subjects(&Subjects::default(), &filter, &kept(topics));
        all.into_iter().filter(|it| it.starts_with("bk.")).collect()
    }

    #[test]
    fn streams_keep_whole_tokens() {
        assert_eq!(kept(&[""]), ["bk.>", "bkb.>"]);
        assert_eq!(
            kept(&["/a b"]),
            ["bk.%.a%20b", "bk.%.a%20b.>", "bkb.%.a%20b", "bkb.%.a%20b.>"]
        );
        assert_eq!(kept(&["a/"]), ["bk.a.>", "bkb.a.>"]);
        let long = "x".repeat(600);
        assert_eq!(kept_subjects(&Subjects::default(), long.as_bytes()), None);
    }

    #[test]
    fn a_cursor_follows_what_it_wants_of_what_there_is() {
        assert_eq!(
            followed(&["/notices"], &["/notices"]),
            ["bk.%.notices", "bk.%.notices.>"]
        );
        assert_eq!(followed(&["/notices/"], &["/notices"]), ["bk.%.notices.>"]);
        assert_eq!(
            followed(&["/notices/a/"], &["/notices"]),
            ["bk.%.notices.a.>"]
        );
        assert_eq!(
            followed(&["/notices/a/"], &[""]),
            ["bk.%.notices.a.>", "bk.%long.>"]
        );
        assert_eq!(
            followed(&[""], &["/a", "/b/"]),
            ["bk.%.a", "bk.%.a.>", "bk.%.b.>"]
        );
        assert_eq!(followed(&["/b/"], &["/a"]), [""; 0]);
        assert_eq!(followed(&["/b"], &["/a"]), [""; 0]);
        assert_eq!(followed(&["/a b/c"], &["/a b"]), ["bk.%.a%20b.>"]);
        assert_eq!(
            followed(&["/ab"], &["/a", "/abc/d"]),
            ["bk.%.abc.d", "bk.%.abc.d.>"]
        );
        assert_eq!(followed(&["/a/b/c/d"], &["/a/b/"]), ["bk.%.a.b.c.>"]);
        assert_eq!(followed(&["/a/bc"], &["/a/b/", "/a/b"]), [""; 0]);
        assert_eq!(followed(&["/a/b/", "/a/"], &["/a"]), ["bk.%.a.>"]);
        let many: Vec<String> = (0..200).map(|it| format!("/a/{it}/")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(followed(&many, &["/a"]), ["bk.%.a", "bk.%.a.>"]);
    }

    #[test]
    fn last_values_have_subjects_of_their_own() {
        let subjects = Subjects::default();
        let kept = kept_forms(&subjects, b"/a", &Form::RETAINED).unwrap();
        assert_eq!(kept, ["bkr.%.a", "bkr.%.a.>"]);
        let filter: Filter = std::iter::once(Topic::from("/a/b/")).collect();
        let followed = followed_forms(&subjects, &filter, &kept, &Form::RETAINED);
        assert_eq!(followed, ["bkr.%.a.b.>"]);
        assert_eq!(followed_subjects(&subjects, &filter, &kept), [""; 0]);
        let all = kept_forms(&subjects, b"", &Form::RETAINED).unwrap();
        assert_eq!(
            followed_forms(&subjects, &filter, &all, &Form::RETAINED),
            ["bkr.%.a.b.>", "bkr.%long.>"]
        );
        let (form, topic) = subjects.topic("bkr.%.a.b").unwrap();
        assert_eq!((form, topic), (Form::Retained, "/a/b".into()));
    }

    #[test]
    fn a_mirror_keeps_what_it_takes_from_its_origin() {
        let kept = |config: Value| subjects_of_stream(&Subjects::default(), &config);
        let own = json!({"subjects": ["bk.a", "bk.b.>"]});
        assert_eq!(kept(own), ["bk.a", "bk.b.>"]);
        let all = ["bk.>", "bkb.>", "bkr.>"];
        assert_eq!(kept(json!({"mirror": {"name": "S"}})), all);
        let part = json!({"mirror": {"name": "S", "filter_subject": "bk.a.>"}});
        assert_eq!(kept(part), ["bk.a.>"]);
        let several = json!({"subjects": ["x"], "sources": [
            {"name": "S", "filter_subject": "bk.a"}, {"name": "T", "filter_subject": "bk.b"}]});
        assert_eq!(kept(several), ["bk.a", "bk.b", "x"]);
        assert_eq!(kept(json!({})), [""; 0]);
    }

    #[test]
    fn patterns_overlap_token_by_token() {
        for (one, other, expected) in [
            ("a.>", "a.b", Some("a.b")),
            ("a.b.>", "a.>", Some("a.b.>")),
            ("a.*", "a.b", Some("a.b")),
            ("*.b", "a.*", Some("a.b")),
            ("a.>", "a", None),
            ("a.b", "a.c", None),
            ("a.b", "a.b.c", None),
            (">", "a.*", Some("a.*")),
        ] {
            assert_eq!(overlap(one, other).as_deref(), expected);
            assert_eq!(overlap(other, one).as_deref(), expected);
        }
    }
}
