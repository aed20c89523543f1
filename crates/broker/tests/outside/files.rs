//! Finds recordings that are not in the repository.
//!
//! `tools/outside-files.json` says where they are, and when a missing one is a failure instead of a
//! gap; `examples/outside_files.py` is the same for Python.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Returns the path of a file of that kind, or nothing, with a word on the terminal, if it is not
/// there and need not be.
///
/// # Panics
///
/// If the file has to be there: where checks run, a gap is a failure.
pub(crate) fn find(kind: &str, name: &str) -> Option<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(repository.join("tools/outside-files.json")).unwrap();
    let rules: Value = serde_json::from_str(&text).unwrap();
    let rule = &rules["folders"][kind];
    let listed = rule["files"].as_array().unwrap();
    assert!(
        listed.iter().any(|file| file == name),
        "{name} is not listed"
    );
    let variable = rule["variable"].as_str().unwrap();
    let folder = std::env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map_or_else(
            || repository.join("..").join(rule["beside"].as_str().unwrap()),
            PathBuf::from,
        );
    let path = folder.join(name);
    if path.is_file() {
        return Some(path);
    }
    let required = rules["required_when_set"].as_str().unwrap();
    assert!(
        std::env::var_os(required).is_none_or(|value| value.is_empty()),
        "there is no {}, but {required} is set, so it has to be there; {variable} can name another \
         folder",
        path.display()
    );
    // Past the capture of output, which would hide it in a test that passes.
    let _ = writeln!(
        std::io::stderr(),
        "\n*** NOT TESTED: no {}; {variable} can name another folder ***\n",
        path.display()
    );
    None
}
