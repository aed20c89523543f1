//! The arguments of an event beside those that pass by: what Zeek would not take.
//!
//! Zeek converts nothing: an argument of another type than the declared one has the event dropped,
//! with a warning in its own log only. Spec: zeek 2.2.

use broker::{Kind, Value, View};

use crate::literal;

/// An argument that differs from the one at its place that passed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misfit {
    /// Its place, from 1.
    pub(super) place: usize,
    /// As it was written.
    pub(super) text: String,
    pub(super) ours: Kind,
    pub(super) theirs: Kind,
}

impl Misfit {
    /// As a sentence.
    pub(super) fn text(&self) -> String {
        format!(
            "argument {} is {} (`{}`) where {} passes by",
            self.place,
            with_article(self.ours),
            self.text,
            with_article(self.theirs)
        )
    }

    /// How the argument is to be written.
    pub(super) fn remedy(&self) -> Option<String> {
        spelled(&self.text, self.ours, self.theirs).map(|text| format!("write `{text}`"))
    }
}

/// Compares the arguments of an event with those of one that passed by.
pub(super) fn misfits(ours: &[Value], theirs: &[View<'_>]) -> Vec<Misfit> {
    let pairs = (1..).zip(ours.iter().zip(theirs));
    let unlike = pairs.filter(|(_, (ours, theirs))| {
        let (ours, theirs) = (ours.kind(), theirs.kind());
        // What may be left out has the type of nothing.
        ours != theirs && ours != Kind::None && theirs != Kind::None
    });
    unlike
        .map(|(place, (ours, theirs))| Misfit {
            place,
            text: literal::to_text(ours),
            ours: ours.kind(),
            theirs: theirs.kind(),
        })
        .collect()
}

/// The arguments whose type is probably not the one that was meant: a number without a letter is an
/// int, and most numbers of Zeek are counts.
pub(super) fn suspects(ours: &[Value]) -> Vec<Misfit> {
    let numbers = (1..)
        .zip(ours)
        .filter(|(_, value)| matches!(value, Value::Integer(number) if *number >= 0));
    numbers
        .map(|(place, value)| Misfit {
            place,
            text: literal::to_text(value),
            ours: Kind::Integer,
            theirs: Kind::Count,
        })
        .collect()
}

/// The name of a type as Zeek's scripts have it.
pub(super) const fn zeek_type(kind: Kind) -> &'static str {
    match kind {
        Kind::None => "unset value",
        Kind::Boolean => "bool",
        Kind::Count => "count",
        Kind::Integer => "int",
        Kind::Real => "double",
        Kind::String => "string",
        Kind::Address => "addr",
        Kind::Subnet => "subnet",
        Kind::Port => "port",
        Kind::Timestamp => "time",
        Kind::Timespan => "interval",
        Kind::EnumValue => "enum",
        Kind::Set => "set",
        Kind::Table => "table",
        Kind::Vector => "vector or record",
    }
}

fn with_article(kind: Kind) -> String {
    let name = zeek_type(kind);
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {name}")
}

/// The text of a value of one type, as one of another type.
fn spelled(text: &str, ours: Kind, theirs: Kind) -> Option<String> {
    let bare = match ours {
        Kind::Count => text.trim_end_matches('c'),
        Kind::String => text.trim_matches('"'),
        Kind::EnumValue => text.strip_prefix("enum:")?,
        Kind::Integer | Kind::Real | Kind::Boolean => text,
        _ => return None,
    };
    let candidate = match theirs {
        Kind::Count => format!("{}c", bare.trim_end_matches(".0")),
        Kind::Integer => bare.trim_end_matches(".0").to_owned(),
        Kind::Real if bare.contains('.') => bare.to_owned(),
        Kind::Real => format!("{bare}.0"),
        Kind::String => format!("str:{bare}"),
        Kind::EnumValue => format!("enum:{bare}"),
        Kind::Timespan => format!("{bare}s"),
        Kind::Timestamp => format!("@{bare}"),
        Kind::Port => format!("{bare}/tcp"),
        Kind::Address | Kind::Subnet | Kind::Boolean => bare.to_owned(),
        _ => return None,
    };
    // Only what really is a value of that type is worth saying.
    let value = literal::parse(&candidate).ok()?;
    (value.kind() == theirs).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use broker::data::to_bytes;

    use super::*;

    fn values(texts: &[&str]) -> Vec<Value> {
        texts
            .iter()
            .map(|text| literal::parse(text).expect("a value"))
            .collect()
    }

    fn compare(ours: &[&str], theirs: &[&str]) -> Vec<Misfit> {
        let theirs: Vec<_> = values(theirs)
            .iter()
            .map(|value| to_bytes(value).expect("a value"))
            .collect();
        let theirs: Vec<_> = theirs
            .iter()
            .map(|bytes| View::new(bytes).expect("a value"))
            .collect();
        misfits(&values(ours), &theirs)
    }

    #[test]
    fn an_int_where_a_count_passes_by_is_named_with_its_remedy() {
        let found = compare(&["hello", "5"], &["x", "3c"]);
        assert_eq!(
            found.iter().map(Misfit::text).collect::<Vec<_>>(),
            ["argument 2 is an int (`5`) where a count passes by"]
        );
        assert_eq!(found[0].remedy().as_deref(), Some("write `5c`"));
    }

    #[test]
    fn every_remedy_is_a_value_of_that_type() {
        for (ours, theirs, remedy) in [
            ("5c", "-1", Some("write `5`")),
            ("5", "1.5", Some("write `5.0`")),
            ("5", "1s", Some("write `5s`")),
            ("80", "443/tcp", Some("write `80/tcp`")),
            ("\"10.0.0.1\"", "10.0.0.2", Some("write `10.0.0.1`")),
            ("Notice::LOG", "enum:A", Some("write `enum:Notice::LOG`")),
            ("5.5", "3c", None),
            ("word", "3c", None),
            ("[a]", "{a}", None),
        ] {
            let found = compare(&[ours], &[theirs]);
            assert_eq!(found[0].remedy().as_deref(), remedy, "{ours} {theirs}");
        }
    }

    #[test]
    fn what_may_be_left_out_and_equal_types_are_no_misfits() {
        assert_eq!(compare(&["none", "5c", "a"], &["1c", "7c"]), []);
        assert_eq!(compare(&["1"], &["none"]), []);
    }

    #[test]
    fn ints_that_could_be_counts_are_suspects() {
        let found = suspects(&values(&["a", "5", "-5", "5c"]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].remedy().as_deref(), Some("write `5c`"));
    }
}
