//! Who has a file open.
//!
//! Our own stores lock theirs. The original does not, so the system is asked where it tells: on
//! Linux, about processes of the same user.

use std::path::Path;

use crate::outcome::Failure;

/// Fails if another process has the file open.
pub(super) fn refuse_open_file(file: &Path) -> Result<(), Failure> {
    let Ok(file) = file.canonicalize() else {
        // That it is not there, others say better.
        return Ok(());
    };
    let Some((process, name)) = holder(&file) else {
        return Ok(());
    };
    let what = format!(
        "`{}` is in use: process {process} ({name}) has it open",
        file.display()
    );
    Err(Failure::failed(what).hint("end the process, or ask the running store: NAME -u HOST:PORT"))
}

/// The first process that has it open, and its name.
fn holder(file: &Path) -> Option<(u32, String)> {
    let own = std::process::id();
    let processes = std::fs::read_dir("/proc").ok()?;
    for entry in processes.flatten() {
        let name = entry.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if process == own {
            continue;
        }
        let Ok(descriptors) = std::fs::read_dir(entry.path().join("fd")) else {
            continue;
        };
        let is_it = |path: std::path::PathBuf| std::fs::read_link(path).is_ok_and(|it| it == file);
        if descriptors
            .flatten()
            .any(|descriptor| is_it(descriptor.path()))
        {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some((process, name.trim_end().to_owned()));
        }
    }
    None
}
