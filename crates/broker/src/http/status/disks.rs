//! Whether the disks can be written that the endpoint and its program write to.
//!
//! Nothing is written to find out. A disk that hangs must not hang those who ask: it is looked at on a
//! thread of its own, one look at a time, and a look that takes long is a complaint itself.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};
use tokio::sync::Semaphore;

use super::Snapshot;
use crate::store::Node;

/// Time that a look may take: far more than one that finds a disk in order.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes that have to be free: what a commit of a group of changes and its log may need at least.
const FREE_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// Looks at disks.
#[derive(Debug)]
pub(super) struct Disks {
    /// What the program writes to.
    writes: Vec<PathBuf>,
    /// The right to look; a look that hangs keeps it.
    right: Arc<Semaphore>,
}

impl Disks {
    pub(super) fn new(writes: Vec<PathBuf>) -> Self {
        Self {
            writes,
            right: Arc::new(Semaphore::new(1)),
        }
    }

    /// A snapshot that also knows what is wrong with the disks.
    pub(super) async fn snapshot(&self, node: &Node) -> Snapshot {
        let mut places = node.stores.files();
        places.extend(self.writes.iter().cloned());
        places.extend(node.shared.options.recording.directory.clone());
        let complaints = self.complaints(node, places).await;
        let mut snapshot = Snapshot::of(node);
        snapshot.complaints.extend(complaints);
        snapshot
    }

    /// What is wrong with the places that something is written to, in words.
    async fn complaints(&self, node: &Node, places: Vec<PathBuf>) -> Vec<String> {
        if places.is_empty() {
            return Vec::new();
        }
        let look = async {
            let right = self.right.clone().acquire_owned().await.ok()?;
            let looked = node.shared.runtime.spawn_blocking(move || {
                let complaints = places.iter().filter_map(|place| complaint(place));
                let complaints: Vec<String> = complaints.collect();
                drop(right);
                complaints
            });
            looked.await.ok()
        };
        match tokio::time::timeout(LOOK_TIMEOUT, look).await {
            Ok(looked) => looked.unwrap_or_default(),
            Err(_) => vec![format!(
                "a disk has not answered for {} s",
                LOOK_TIMEOUT.as_secs()
            )],
        }
    }
}

/// What is wrong with a file or directory, and the disk that it is on.
fn complaint(place: &Path) -> Option<String> {
    let shown = place.display();
    // A file that is yet to be made needs its directory.
    let mut known = place.ancestors().filter(|it| !it.as_os_str().is_empty());
    let known = known.find(|it| it.exists()).unwrap_or(Path::new("."));
    let wrong = |cause: &dyn Display| Some(format!("`{shown}` cannot be written: {cause}"));
    if known != place && !known.is_dir() {
        return wrong(&format!("`{}` is no directory", known.display()));
    }
    if let Err(error) = access(known, Access::WRITE_OK) {
        return wrong(&std::io::Error::from(error));
    }
    match statvfs(known) {
        Err(error) => wrong(&std::io::Error::from(error)),
        Ok(disk) if disk.f_flag.contains(StatVfsMountFlags::RDONLY) => {
            wrong(&"its disk is mounted read only")
        }
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let is_full = is_full(disk.f_blocks, free);
            is_full.then(|| format!("the disk of `{shown}` is full: {free} bytes are free"))
        }
    }
}

/// Whether too little is free. Disks without a size tell nothing.
const fn is_full(blocks: u64, free: u64) -> bool {
    blocks > 0 && free < FREE_BYTES_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_can_be_written_is_fine_whether_it_is_there_or_not() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(complaint(directory.path()), None);
        assert_eq!(complaint(&directory.path().join("not/there/yet")), None);
    }

    #[test]
    fn a_disk_with_a_size_may_be_full() {
        assert!(is_full(1000, FREE_BYTES_MIN - 1));
        assert!(!is_full(1000, FREE_BYTES_MIN));
        assert!(!is_full(0, 0));
    }

    #[test]
    fn a_place_that_cannot_be_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let place = file.path().join("below/a/file");
        let text = complaint(&place).unwrap();
        assert!(text.contains("below/a/file"), "{text}");
    }
}
