//! The file of contexts: named places to connect to, with how to.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::nearest::nearest;
use crate::outcome::Failure;

/// All contexts, as in the file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The one that counts when none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) selected: Option<String>,
    #[serde(default, rename = "context")]
    pub(crate) all: BTreeMap<String, Context>,
}

/// One place to connect to.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Context {
    #[serde(default)]
    pub(crate) urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) passphrase: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cafile: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) capath: Option<PathBuf>,
    /// Where the CURVE keys of ZeroMQ are; never the keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) curve: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) no_tls: bool,
}

/// A secret, or where it is: `file:PATH` (its first line) or `env:NAME`.
#[derive(Clone, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Looks the secret up.
    pub(crate) fn reveal(&self) -> Result<String, Failure> {
        if let Some(path) = self.0.strip_prefix("file:") {
            return first_line("the passphrase", Path::new(path));
        }
        match self.0.strip_prefix("env:") {
            Some(name) => std::env::var(name).map_err(|_| {
                Failure::usage(format!("the passphrase is in `${name}`, which is not set"))
            }),
            None => Ok(self.0.clone()),
        }
    }
}

/// Where it is, if it is somewhere else; never the secret.
impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.starts_with("file:") || self.0.starts_with("env:") {
            f.write_str(&self.0)
        } else {
            f.write_str("(hidden)")
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first line of a file with a secret, such as `the passphrase`.
pub(crate) fn first_line(what: &str, path: &Path) -> Result<String, Failure> {
    let text = crate::nearest::read_file(what, path)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Where the file is: `$BROKER_CONFIG`, else in the user's folder for configuration.
pub(crate) fn path() -> Result<PathBuf, Failure> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(path) = set("BROKER_CONFIG") {
        return Ok(path.into());
    }
    let folder = set("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".config")));
    let folder = folder.ok_or_else(|| {
        Failure::usage("no place for contexts: set BROKER_CONFIG to a file, or HOME")
    })?;
    Ok(folder.join("broker").join("contexts.toml"))
}

impl Contexts {
    /// Reads the file; without one there are no contexts.
    pub(crate) fn load() -> Result<Self, Failure> {
        let path = path()?;
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                let what = format!("cannot read contexts `{}`: {error}", path.display());
                return Err(Failure::failed(what));
            }
        };
        toml::from_str(&text).map_err(|error| {
            let what = format!("contexts `{}`: {error}", path.display());
            Failure::usage(what.trim_end())
        })
    }

    /// Replaces the file at once: others see the old or the new one. Only the user can read it.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        let path = path()?;
        let failed = |error: std::io::Error| {
            Failure::failed(format!(
                "cannot write contexts `{}`: {error}",
                path.display()
            ))
        };
        let text = toml::to_string(self)
            .map_err(|error| Failure::failed(format!("cannot write contexts: {error}")))?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        // A link stays one; what it leads to is replaced.
        let target = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        let mut temporary = target.clone().into_os_string();
        temporary.push(format!(".{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let written = (|| {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&temporary, &target)
        })();
        written.map_err(|error| {
            // It is of no use to the user.
            let _ = std::fs::remove_file(&temporary);
            failed(error)
        })
    }

    /// Finds a context by its name.
    pub(crate) fn find(&self, name: &str) -> Result<&Context, Failure> {
        self.all.get(name).ok_or_else(|| {
            let failure = Failure::usage(format!("there is no context `{name}`"));
            match nearest(name, self.all.keys().map(String::as_str)) {
                Some(near) => failure.hint(format!("there is `{near}`")),
                None => failure.hint("`broker context list` shows those that there are"),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown_where_they_are_is() {
        for (text, shown) in [
            ("file:/etc/passphrase", "file:/etc/passphrase"),
            ("env:PASSPHRASE", "env:PASSPHRASE"),
            ("hunter2", "(hidden)"),
        ] {
            let secret = Secret::new(text);
            assert_eq!(format!("{secret} {secret:?}"), format!("{shown} {shown}"));
        }
        let context = Context {
            passphrase: Some(Secret::new("hunter2")),
            ..Context::default()
        };
        assert!(!format!("{context:?}").contains("hunter2"));
    }

    #[test]
    fn contexts_read_back_as_they_were_written() {
        let contexts = Contexts {
            selected: Some("lab".to_owned()),
            all: BTreeMap::from([(
                "lab".to_owned(),
                Context {
                    urls: vec!["wss://lab".to_owned()],
                    passphrase: Some(Secret::new("env:X")),
                    no_tls: true,
                    ..Context::default()
                },
            )]),
        };
        let text = toml::to_string(&contexts).expect("TOML");
        assert_eq!(toml::from_str::<Contexts>(&text).expect(&text), contexts);
        assert!(toml::from_str::<Contexts>("[context.a]\nurl = \"x\"\n").is_err());
    }
}
