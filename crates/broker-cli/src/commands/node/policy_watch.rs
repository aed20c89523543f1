//! A look at the file of the policy and that of its schema: are they others than those in effect?

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use broker::PolicyOptions;

/// Time from one look at the file to the next.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What tells a file from what it was before: device, inode, size, times of content and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp([i128; 5]);

impl Stamp {
    /// That of the file at a path; `None` if there is none.
    pub(super) async fn of(path: &Path) -> Option<Self> {
        let path = path.to_owned();
        // A disk far away may take its time.
        let file = tokio::task::spawn_blocking(move || std::fs::metadata(path)).await;
        let file = file.ok()?.ok()?;
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Some(Self([
            i128::from(file.dev()),
            i128::from(file.ino()),
            i128::from(file.size()),
            ns(file.mtime(), file.mtime_nsec()),
            ns(file.ctime(), file.ctime_nsec()),
        ]))
    }
}

/// What of the file is known.
#[derive(Debug)]
pub(super) struct PolicyWatch {
    /// What the file said that was read last and made sense.
    in_effect: PolicyOptions,
    /// The file of the schema, if one was read.
    pub(super) schema: Option<PathBuf>,
    /// Of the files that were read last, in effect or not. The first look reads them: they may have changed
    /// since the start read them.
    read: Option<Stamps>,
    last: Option<Stamps>,
}

/// Of the policy and its schema.
pub(super) type Stamps = [Option<Stamp>; 2];

impl PolicyWatch {
    pub(super) fn new(in_effect: PolicyOptions) -> Self {
        Self {
            in_effect,
            schema: None,
            read: None,
            last: None,
        }
    }

    /// Looks at the files: the policy at that path, and the schema.
    pub(super) async fn stamps(&self, policy: &Path) -> Stamps {
        let schema = match &self.schema {
            Some(path) => Stamp::of(path).await,
            None => None,
        };
        [Stamp::of(policy).await, schema]
    }

    /// Whether the files are to be read: one is another, and both are as at the look before, so that nothing
    /// is in the middle of writing them.
    pub(super) fn look(&mut self, now: Stamps) -> bool {
        let is_still = self.last == Some(now);
        self.last = Some(now);
        if !is_still || self.read == Some(now) {
            return false;
        }
        self.read = Some(now);
        true
    }

    /// Whether what was read is another policy than that in effect.
    pub(super) fn differs(&self, read: &PolicyOptions) -> bool {
        self.in_effect != *read
    }

    /// Remembers the policy that is in effect from here on.
    pub(super) fn set_in_effect(&mut self, policy: PolicyOptions) {
        self.in_effect = policy;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_when_it_is_another_and_nothing_writes_to_it() {
        let stamp = |number: i128| Some(Stamp([number, 0, 0, 0, 0]));
        let mut watch = PolicyWatch::new(PolicyOptions::default());
        let looks = [
            (stamp(1), false),
            // The one that was read at the start, to be sure.
            (stamp(1), true),
            (stamp(1), false),
            // It grows.
            (stamp(2), false),
            (stamp(3), false),
            (stamp(3), true),
            (stamp(3), false),
            // It is replaced by way of a moment without one.
            (None, false),
            (stamp(4), false),
            (stamp(4), true),
            (None, false),
            (None, true),
            (None, false),
            (stamp(4), false),
            (stamp(4), true),
            (stamp(4), false),
        ];
        for (index, (stamp, expected)) in looks.into_iter().enumerate() {
            assert_eq!(watch.look([stamp, None]), expected, "look {index}");
        }
        for (schema, expected) in [(1, false), (1, true), (1, false)] {
            assert_eq!(watch.look([stamp(4), stamp(schema)]), expected);
        }
    }

    #[tokio::test]
    async fn files_have_stamps() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy");
        assert_eq!(Stamp::of(&path).await, None);
        std::fs::write(&path, "a").unwrap();
        let first = Stamp::of(&path).await;
        assert!(first.is_some());
        assert_eq!(Stamp::of(&path).await, first);
        // Another file with the same name and size.
        let other = folder.path().join("other");
        std::fs::write(&other, "b").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_ne!(Stamp::of(&path).await, first);
    }
}
