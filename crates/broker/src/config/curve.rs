//! Where the keys of CURVE come from: the program, the environment, files. Spec: zeromq 8.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use broker_proto::zmtp::{
    Clients, CurveKeys, KEY_FILES, KEY_VARIABLES, KeyError, PublicKey, Security,
};

use crate::error::Error;

/// Bytes of a file that may be a key: 40 characters, and white space of editors.
const KEY_FILE_BYTES_MAX: u64 = 256;

/// Bytes of a file with all keys: their lines, and room for comments.
const KEYS_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Permissions that a file with a secret does not have: others and the group may do something.
const SHARED_MODE: u32 = 0o077;

/// Where the keys of CURVE come from.
///
/// Who was given a key never falls back to no encryption: an incomplete set is an error.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Curve {
    /// The environment variables that Zeek reads, and no encryption if none of them is set.
    #[default]
    Environment,
    /// No encryption, whatever the environment says.
    Off,
    /// These keys.
    Keys(CurveKeys),
    /// The files that zeekctl keeps, in this directory.
    Directory(PathBuf),
    /// A file with a line `NAME=KEY` for each key, see [`curve_keys_from_file`].
    File(PathBuf),
}

impl Curve {
    /// The keys at a path: a directory of zeekctl, or a file with all of them.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        if path.is_dir() {
            Self::Directory(path)
        } else {
            Self::File(path)
        }
    }

    /// What connections to others use.
    pub(crate) fn client(&self) -> Result<Security, Error> {
        let security = self.keys()?.client();
        let security = security.map_err(|error| self.error(&error))?;
        Ok(security.unwrap_or(Security::Null))
    }

    /// What listeners use; `more` are keys of clients to be let in besides the cluster's.
    pub(crate) fn server(&self, more: &[PublicKey]) -> Result<Security, Error> {
        let mut keys = self.keys()?;
        let mut clients: Vec<PublicKey> = more.to_vec();
        // The list stands for the one key that a cluster of Zeek has.
        match (&keys.client_public, more.first()) {
            (Some(key), _) if !clients.contains(key) => clients.push(*key),
            (None, Some(first)) => keys.client_public = Some(*first),
            _ => {}
        }
        let security = keys.server().map_err(|error| self.error(&error))?;
        Ok(match security {
            Some(Security::CurveServer { keys, .. }) => Security::CurveServer {
                keys,
                clients: Clients::Only(clients),
            },
            Some(other) => other,
            None => Security::Null,
        })
    }

    /// The keys of this moment, enough of them for a client.
    pub(crate) fn resolved(&self) -> Result<Self, Error> {
        let keys = self.keys()?;
        keys.client().map_err(|error| self.error(&error))?;
        Ok(Self::Keys(keys))
    }

    fn keys(&self) -> Result<CurveKeys, Error> {
        match self {
            Self::Environment => curve_keys_from_environment(),
            Self::Off => Ok(CurveKeys::default()),
            Self::Keys(keys) => Ok(keys.clone()),
            Self::Directory(directory) => curve_keys_from_directory(directory),
            Self::File(file) => curve_keys_from_file(file),
        }
    }

    /// Says what is wrong by the names that the keys have where they come from.
    fn error(&self, error: &KeyError) -> Error {
        let from = match self {
            Self::Environment => "of the environment".to_owned(),
            Self::Directory(path) | Self::File(path) => format!("in `{}`", path.display()),
            Self::Off | Self::Keys(_) => "given".to_owned(),
        };
        let mut cause = error.to_string();
        if matches!(self, Self::Environment) {
            for (file, variable) in KEY_FILES.iter().zip(KEY_VARIABLES) {
                cause = cause.replace(&format!("`{file}`"), &format!("`{variable}`"));
            }
        }
        Error::CurveKeys { from, cause }
    }
}

/// Reads the keys that stand in the environment, where Zeek looks for them. None set is no keys.
///
/// # Errors
///
/// When the value of a variable is no key; the variable is named.
pub fn curve_keys_from_environment() -> Result<CurveKeys, Error> {
    // A value that is not UTF-8 is no key, and what it becomes here is none either.
    let look_up = |name: &str| std::env::var_os(name).map(|it| it.to_string_lossy().into_owned());
    CurveKeys::find(KEY_VARIABLES, look_up).map_err(|error| Curve::Environment.error(&error))
}

/// Reads the keys that zeekctl keeps in a directory, in files such as `server_publickey`. Files that
/// are not there are keys that are not known; of secrets that others can read the log warns.
///
/// # Errors
///
/// When none of the files is there, one cannot be read, or is no key; the file is named.
pub fn curve_keys_from_directory(directory: impl AsRef<Path>) -> Result<CurveKeys, Error> {
    let directory = directory.as_ref();
    let error = |cause: String| Error::CurveKeys {
        from: format!("in `{}`", directory.display()),
        cause,
    };
    let mut found = Vec::new();
    for name in KEY_FILES {
        match read_key_file(&directory.join(name), name.ends_with("secretkey")) {
            Ok(text) => found.push((name, text)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(error(format!("cannot read `{name}`: {cause}"))),
        }
    }
    if found.is_empty() {
        return Err(error(format!("there is none of {}", KEY_FILES.join(", "))));
    }
    let look_up = |name: &str| {
        let mut found = found.iter();
        found.find_map(|(known, text)| (*known == name).then(|| text.clone()))
    };
    CurveKeys::find(KEY_FILES, look_up).map_err(|cause| error(cause.to_string()))
}

/// Reads keys from a file with a line `NAME=KEY` for each of them: the names are those of zeekctl's
/// files or of the environment variables, so that a file for the environment of a service serves.
/// Lines that are empty or begin with `#` do not count. The log warns if others can read the file.
///
/// # Errors
///
/// When the file cannot be read, a line has another form, or a value is no key. What stands in the
/// file is not repeated.
pub fn curve_keys_from_file(path: impl AsRef<Path>) -> Result<CurveKeys, Error> {
    let path = path.as_ref();
    let error = |cause: String| Error::CurveKeys {
        from: format!("in `{}`", path.display()),
        cause,
    };
    let text = read_private(path, KEYS_FILE_BYTES_MAX);
    let text = text.map_err(|cause| error(format!("cannot read the file: {cause}")))?;
    let mut found: [Option<&str>; KEY_FILES.len()] = [None; KEY_FILES.len()];
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // Keys may have a `=` in them, and no quotes.
        let named = line.split_once('=').map(|(name, key)| (name.trim(), key));
        let place = named.and_then(|(name, _)| {
            let mut names = KEY_FILES.iter().zip(KEY_VARIABLES);
            names.position(|(file, variable)| *file == name || variable == name)
        });
        let (Some((_, key)), Some(place)) = (named, place) else {
            let names = KEY_FILES.join(", ");
            let cause = format!("line {number}: expected NAME=KEY with one of {names}");
            return Err(error(cause));
        };
        if let Some(slot) = found.get_mut(place) {
            *slot = Some(key.trim().trim_matches(['"', '\'']));
        }
    }
    if found.iter().all(Option::is_none) {
        return Err(error(format!("there is none of {}", KEY_FILES.join(", "))));
    }
    let look_up = |name: &str| {
        let mut found = KEY_FILES.iter().zip(found);
        let key = found.find_map(|(known, key)| (*known == name).then_some(key));
        key.flatten().map(str::to_owned)
    };
    CurveKeys::find(KEY_FILES, look_up).map_err(|cause| error(cause.to_string()))
}

fn read_key_file(path: &Path, is_secret: bool) -> io::Result<String> {
    if is_secret {
        return read_private(path, KEY_FILE_BYTES_MAX);
    }
    let mut text = String::new();
    File::open(path)?
        .take(KEY_FILE_BYTES_MAX)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Reads the beginning of a file with secrets.
fn read_private(path: &Path, bytes_max: u64) -> io::Result<String> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    if mode & SHARED_MODE != 0 {
        tracing::warn!(
            event = "curve-key-not-private",
            file = %path.display(),
            mode = format_args!("{:o}", mode & 0o777),
            "a secret key can be read by others: set its mode to 600"
        );
    }
    let mut text = String::new();
    file.take(bytes_max).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use broker_proto::zmtp::KeyPair;

    use super::*;

    fn pair(byte: u8) -> KeyPair {
        KeyPair::from_random([byte; 32])
    }

    fn written(keys: &[(&str, String)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in keys {
            let path = directory.path().join(name);
            std::fs::write(&path, format!("{text}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        directory
    }

    #[test]
    fn keys_are_read_as_zeekctl_writes_them() {
        let (server, client) = (pair(1), pair(2));
        let directory = written(&[
            ("server_publickey", server.public.to_string()),
            ("server_secretkey", server.secret.reveal()),
            ("client_publickey", client.public.to_string()),
            ("client_secretkey", client.secret.reveal()),
        ]);
        let curve = Curve::Directory(directory.path().to_owned());
        assert!(matches!(
            curve.client().unwrap(),
            Security::CurveClient { server: found, .. } if found == server.public
        ));
        let more = [PublicKey::from_bytes([7; 32]), client.public];
        let Security::CurveServer { clients, .. } = curve.server(&more).unwrap() else {
            panic!("a server");
        };
        assert_eq!(clients, Clients::Only(more.to_vec()), "each once");
        let text = format!("{curve:?} {:?}", curve.keys().unwrap());
        assert!(!text.contains(&client.secret.reveal()) && !text.contains(&server.secret.reveal()));
    }

    #[test]
    fn a_server_may_have_a_list_instead_of_the_key_of_a_cluster() {
        let server = pair(1);
        let keys = CurveKeys {
            server_secret: Some(server.secret),
            ..CurveKeys::default()
        };
        let key = PublicKey::from_bytes([7; 32]);
        let security = Curve::Keys(keys.clone()).server(&[key]).unwrap();
        assert!(matches!(
            security,
            Security::CurveServer { clients: Clients::Only(list), .. } if list == [key]
        ));
        let error = Curve::Keys(keys).server(&[]).unwrap_err().to_string();
        assert!(error.contains("`client_publickey` is missing"), "{error}");
    }

    #[test]
    fn a_file_may_have_all_keys_by_either_name() {
        let (server, client) = (pair(1), pair(2));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let text = format!(
            "# of the lab\n\n{}={}\nclient_publickey = {}\nclient_secretkey='{}'\n",
            KEY_VARIABLES[0],
            server.public,
            client.public,
            client.secret.reveal()
        );
        std::fs::write(&path, text).unwrap();
        let curve = Curve::at(&path);
        assert!(matches!(
            curve.client().unwrap(),
            Security::CurveClient { server: found, .. } if found == server.public
        ));
        let error = curve.server(&[]).unwrap_err().to_string();
        assert!(error.contains("`server_secretkey` is missing"), "{error}");
        for (text, expected) in [
            ("hunter2\n", "line 1: expected NAME=KEY"),
            ("\nsecret=hunter2", "line 2: expected NAME=KEY"),
            ("# nothing\n", "there is none of server_publickey"),
            (
                "client_secretkey=hunter2",
                "`client_secretkey`: a CURVE key has 40",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = curve.client().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        std::fs::write(&path, [0xff; 40]).unwrap();
        assert!(curve.client().is_err());
        let error = Curve::at(folder.path().join("none")).client().unwrap_err();
        assert!(
            error.to_string().contains("cannot read the file"),
            "{error}"
        );
    }

    #[test]
    fn what_is_wrong_with_a_directory_is_named() {
        let directory = written(&[]);
        let error = curve_keys_from_directory(directory.path()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("there is none of server_publickey")
        );
        let directory = written(&[("server_publickey", "hunter2".to_owned())]);
        let error = curve_keys_from_directory(directory.path())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`server_publickey`: a CURVE key has 40 characters"),
            "{error}"
        );
        assert!(!error.contains("hunter2"));
        let key = PublicKey::from_bytes([7; 32]).to_string();
        let directory = written(&[("client_publickey", key)]);
        let curve = Curve::Directory(directory.path().to_owned());
        let error = curve.client().unwrap_err().to_string();
        assert!(error.contains("`server_publickey` is missing"), "{error}");
        let is_folder = directory.path().join("server_secretkey");
        std::fs::create_dir(is_folder).unwrap();
        let error = curve.client().unwrap_err().to_string();
        assert!(error.contains("cannot read `server_secretkey`"), "{error}");
    }

    #[test]
    fn keys_of_the_environment_are_named_by_their_variables() {
        let missing = KeyError::Missing {
            side: "client",
            missing: "server_publickey",
        };
        assert_eq!(
            Curve::Environment.error(&missing).to_string(),
            "CURVE keys for a client are incomplete: \
             `ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_SERVER_PUBLICKEY` is missing (CURVE keys of the \
             environment)"
        );
    }
}
