//! Rules that keep `crates/broker` from waking a task under a lock, and from queues without a limit.
//!
//! - Mutexes are those of `lock.rs`, which count what a thread holds; tasks are woken through it.
//! - Channels are bounded: nothing is made by `unbounded_channel`, or by `channel()` of the standard
//!   library.
//! - A field that is a queue (`VecDeque`) names the constant that bounds it, or why it needs none,
//!   in a line of its documentation that begins with `Bound:`.

use crate::tidy::{Finding, TextFile};

/// Where tasks may be woken and mutexes made.
const LOCK: &str = "crates/broker/src/lock.rs";

/// Where queues have a stated bound.
const BOUNDED: &[&str] = &[
    "crates/broker/src/",
    "crates/broker-proto/src/",
    "crates/broker-zeek/src/",
];

/// What is not written in `crates/broker`, and what is written instead.
const REPLACED: &[(&str, &str)] = &[
    (
        concat!("Mutex", "<"),
        "use `Lock` of `lock.rs`, under which no task is woken",
    ),
    (
        concat!("Mutex", "::new("),
        "use `Lock` of `lock.rs`, under which no task is woken",
    ),
    (
        concat!("task", ".wake()"),
        "use `wake` of `lock.rs`, which waits until no lock is held",
    ),
    (
        concat!("waker", ".wake()"),
        "use `wake` of `lock.rs`, which waits until no lock is held",
    ),
    (
        concat!("for_each(Waker", "::wake)"),
        "use `wake` of `lock.rs`, which waits until no lock is held",
    ),
];

/// What makes a channel without a limit.
const UNBOUNDED: &[&str] = &[
    concat!("unbounded_", "channel"),
    concat!("mpsc::", "channel()"),
];

/// Checks one file, its tests aside.
pub(crate) fn check(file: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !BOUNDED.iter().any(|root| file.path.starts_with(root)) {
        return findings;
    }
    let may_lock = !file.path.starts_with("crates/broker/src/") || file.path == LOCK;
    let mut documentation = Vec::new();
    for (line, number) in file.text.lines().zip(1..) {
        let code = line.trim_start();
        let is_test = [concat!("#[cfg", "(test)]"), concat!("#![cfg", "(test)]")].contains(&line);
        if is_test {
            break;
        }
        if code.starts_with("//") || code.starts_with("#[") {
            documentation.push(code);
            continue;
        }
        let place = || format!("{}:{number}", file.path);
        for (word, instead) in REPLACED.iter().filter(|(word, _)| code.contains(word)) {
            if !may_lock {
                findings.push(Finding::error(place(), format!("`{word}`: {instead}")));
            }
        }
        for word in UNBOUNDED.iter().filter(|word| code.contains(*word)) {
            findings.push(Finding::error(
                place(),
                format!("`{word}`: every queue has a limit"),
            ));
        }
        let has_bound = documentation
            .iter()
            .any(|line| line.starts_with("/// Bound: "));
        if is_queue_field(code) && !has_bound {
            findings.push(Finding::error(
                place(),
                "a queue: say what bounds it in a line `/// Bound: ...`",
            ));
        }
        documentation.clear();
    }
    findings
}

/// Whether a line declares a field that owns a queue.
fn is_queue_field(code: &str) -> bool {
    let Some((name, kind)) = code.split_once(": ") else {
        return false;
    };
    // Behind a visibility, or nothing.
    let name = name.rsplit(' ').next().unwrap_or_default();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let owned = ["", "Lock<", "Option<"].map(|outer| format!("{outer}VecDeque<"));
    is_name && code.ends_with(',') && owned.iter().any(|start| kind.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let file = TextFile {
            path: path.into(),
            text: text.into(),
        };
        check(&file).iter().map(ToString::to_string).collect()
    }

    const PATH: &str = "crates/broker/src/x.rs";

    #[test]
    fn mutexes_and_wakes_of_others_are_found() {
        let mutex = concat!("    state: Mutex", "<State>,\n");
        let wake = concat!("    task", ".wake();\n");
        assert_eq!(
            findings(PATH, &format!("{mutex}{wake}")),
            [
                "error: crates/broker/src/x.rs:1: `Mutex<`: use `Lock` of `lock.rs`, under which no \
                 task is woken",
                "error: crates/broker/src/x.rs:2: `task.wake()`: use `wake` of `lock.rs`, which \
                 waits until no lock is held",
            ]
        );
        assert_eq!(findings(LOCK, &format!("{mutex}{wake}")), [""; 0]);
        let tests = concat!("#[cfg", "(test)]\n");
        assert_eq!(findings(PATH, &format!("// {mutex}{tests}{wake}")), [""; 0]);
        assert_eq!(findings("python/src/x.rs", mutex), [""; 0]);
    }

    #[test]
    fn channels_without_a_limit_are_found() {
        let text = concat!("let (tx, rx) = unbounded_", "channel();\n");
        assert_eq!(findings(PATH, text).len(), 1);
        assert_eq!(
            findings(PATH, "let (tx, rx) = channel(CAPACITY);\n"),
            [""; 0]
        );
    }

    #[test]
    fn a_queue_says_what_bounds_it() {
        let queue = "    pub(super) jobs: VecDeque<Job>,\n";
        let bound = "    /// Jobs.\n    /// Bound: JOBS_MAX.\n";
        assert_eq!(
            findings("crates/broker-proto/src/x.rs", queue),
            [
                "error: crates/broker-proto/src/x.rs:1: a queue: say what bounds it in a line \
                 `/// Bound: ...`"
            ]
        );
        assert_eq!(findings(PATH, &format!("{bound}{queue}")), [""; 0]);
        assert_eq!(
            findings(PATH, &format!("{bound}    a: u8,\n{queue}")).len(),
            1
        );
        for other in [
            "    out: &mut VecDeque<Chunk>,\n",
            "fn take(out: VecDeque<Chunk>) -> Taken {\n",
            "type Backlog = VecDeque<Chunk>;\n",
            "    let held: VecDeque<Chunk> = x;\n",
        ] {
            assert_eq!(findings(PATH, other), [""; 0], "{other}");
        }
    }
}
