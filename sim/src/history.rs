//! Histories of calls as text, from clients of real servers: one call in each line, checked key by key.
//!
//! ```text
//! <key> <begun> <ended or -> put <value> | unique <value> <true, false or -> | erase | add <value>
//!                            | read <value or ->
//! ```
//!
//! Times are whole numbers that order begins and ends of all callers; `-` is for an end or a result that
//! was never learnt, and for a key that is absent. Calls that are known to have had no effect are left out.

use std::collections::BTreeMap;

use crate::linear::{self, Action, Call};

/// What became of a history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Calls in it.
    pub calls: usize,
    /// Those whose result was never learnt.
    pub open: usize,
    /// Keys, each with a history of its own.
    pub keys: usize,
    /// Keys that no order explains, or with too many orders, and the text of why.
    pub violations: Vec<(String, String)>,
}

/// Checks a history.
///
/// # Errors
///
/// Names the first line that is none, counted from 1.
pub fn check(text: &str) -> Result<Report, String> {
    let mut keys: BTreeMap<&str, Vec<Call>> = BTreeMap::new();
    let mut report = Report::default();
    for (number, line) in (1..).zip(text.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (key, call) =
            read(&words).ok_or_else(|| format!("line {number} is no call: `{line}`"))?;
        report.calls += 1;
        report.open += usize::from(call.ended.is_none());
        keys.entry(key).or_default().push(call);
    }
    report.keys = keys.len();
    for (key, calls) in keys {
        if let Err(violation) = linear::check(&calls) {
            report
                .violations
                .push((key.to_owned(), violation.to_string()));
        }
    }
    Ok(report)
}

fn read<'a>(words: &[&'a str]) -> Option<(&'a str, Call)> {
    let (head, action) = words.split_at_checked(3)?;
    let action = match action {
        ["put", value] => Action::Put(value.parse().ok()?),
        ["unique", value, applied] => {
            let applied = match *applied {
                "-" => None,
                text => Some(text.parse().ok()?),
            };
            Action::PutUnique(value.parse().ok()?, applied)
        }
        ["erase"] => Action::Erase,
        ["add", value] => Action::Add(value.parse().ok()?),
        ["read", value] => Action::Read(number(value)?),
        _ => return None,
    };
    let call = Call {
        begun: head[1].parse().ok()?,
        ended: number(head[2])?,
        action,
    };
    Some((head[0], call))
}

/// A number, or none; nothing for what is neither.
fn number(text: &str) -> Option<Option<u64>> {
    if text == "-" {
        return Some(None);
    }
    text.parse().ok().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_of_one_store_passes() {
        let text = "a 1 2 put 5\na 3 6 add 2\na 4 5 read 5\na 7 8 read 7\n\
                    b 1 - unique 1 -\nb 2 3 read -\nb 9 10 unique 2 false\nb 11 12 read 1\nb 13 14 erase\n";
        let report = check(text).unwrap();
        assert_eq!((report.calls, report.open, report.keys), (9, 1, 2));
        assert_eq!(report.violations, []);
    }

    #[test]
    fn what_was_acknowledged_and_lost_is_found() {
        for text in [
            "a 1 2 put 5\na 3 4 read -\n",
            "a 1 2 unique 1 true\na 1 2 unique 2 true\n",
            "a 1 2 add 1\na 3 4 read 2\n",
            "a 1 2 put 5\na 3 4 put 6\na 5 6 read 5\n",
        ] {
            assert_eq!(check(text).unwrap().violations.len(), 1, "{text}");
        }
    }

    #[test]
    fn a_line_that_is_no_call_is_named() {
        for line in [
            "a 1 2",
            "a 1 2 put",
            "a x 2 erase",
            "a 1 2 unique 1 maybe",
            "",
        ] {
            let error = check(&format!("a 1 2 erase\n{line}\n")).unwrap_err();
            assert!(error.starts_with("line 2 "), "{error}");
        }
    }
}
