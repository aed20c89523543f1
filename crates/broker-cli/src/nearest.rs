//! The nearest known name to a mistyped one.

use std::path::Path;

use crate::outcome::{Exit, Failure};

/// How alike two names have to be, from 0 to 1; what clap asks for, too.
const LIKENESS_MIN: f64 = 0.7;

/// Finds the name that is most like a mistyped one.
pub(crate) fn nearest<'n>(
    mistyped: &str,
    known: impl IntoIterator<Item = &'n str>,
) -> Option<&'n str> {
    let rated = known
        .into_iter()
        .map(|name| (likeness(mistyped, name), name));
    rated
        .filter(|(likeness, _)| *likeness > LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

/// How alike two names are. Two letters that changed places count little, though a name of three
/// letters has hardly any left in its place then.
fn likeness(mistyped: &str, name: &str) -> f64 {
    let is_swapped =
        strsim::osa_distance(mistyped, name) == 1 && strsim::levenshtein(mistyped, name) == 2;
    if is_swapped {
        1.0
    } else {
        strsim::jaro(mistyped, name)
    }
}

/// Reads a file that was named on the command line.
///
/// # Errors
///
/// Says what the system said; for a file that is not there, which one may be meant.
pub(crate) fn read_file(what: &str, path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::Usage,
            _ => Exit::Failed,
        };
        let said = format!("cannot read {what} `{}`: {error}", path.display());
        let failure = Failure::new(exit, said);
        match neighbour(path) {
            Some(near) if error.kind() == std::io::ErrorKind::NotFound => {
                failure.hint(format!("there is `{near}`"))
            }
            _ => failure,
        }
    })
}

/// Fails if a file that others are going to open is not there.
pub(crate) fn check_file(what: &str, path: &Path) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    let failure = Failure::usage(format!("{what} `{}` does not exist", path.display()));
    Err(match neighbour(path) {
        Some(near) => failure.hint(format!("there is `{near}`")),
        None => failure,
    })
}

/// The file in the same folder whose name is nearest.
fn neighbour(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let entries = std::fs::read_dir(folder).ok()?;
    let names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let near = nearest(name, names.iter().map(String::as_str))?;
    Some(path.with_file_name(near).display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_like_name_is_found_and_nothing_that_is_unlike() {
        let known = ["listen", "peers", "topics"];
        assert_eq!(nearest("peer", known), Some("peers"));
        assert_eq!(nearest("lisen", known), Some("listen"));
        assert_eq!(nearest("zzz", known), None);
        assert_eq!(nearest("sbu", ["pub", "sub"]), Some("sub"));
        assert_eq!(nearest("dub", ["req", "top"]), None);
    }

    #[test]
    fn a_file_that_is_not_there_suggests_its_neighbour() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("broker.toml"), "").expect("a file");
        let missing = folder.path().join("brokr.toml");
        let Err(Failure::Told { exit, hint, .. }) = read_file("the file", &missing) else {
            panic!("it is not there");
        };
        assert_eq!(exit, Exit::Usage);
        assert!(hint.is_some_and(|hint| hint.contains("broker.toml")));
    }
}
