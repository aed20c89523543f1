//! Options from a configuration file of the original. Spec: tools 1.2, 1.3; endpoint 1.
//!
//! Options of other groups belong to the programs that share the file and are not looked at. What the
//! original ignores in silence is an error here: see ADR 0265.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::config::broker_conf::{
    self, Entry, Place, Setting, boolean, duration, integer, port, text, texts,
};
use crate::config::{Options, Overflow};
use crate::error::Error;

/// The file that is read without being named, in the working directory.
const DEFAULT_FILE: &str = "broker.conf";

/// Bytes of a file: a thousand times what one with every option has.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The group that is ours.
const GROUP: &str = "broker.";

/// How alike two names have to be for one to be suggested, from 0 to 1.
const LIKENESS_MIN: f64 = 0.8;

/// Options that change something.
const EFFECTIVE: [&str; 24] = [
    "disable-ssl",
    "disable-forwarding",
    "peer-buffer-size",
    "peer-overflow-policy",
    "web-socket-buffer-size",
    "web-socket-overflow-policy",
    "web-socket.address",
    "web-socket.port",
    "metrics.address",
    "metrics.port",
    "ssl.certificate",
    "ssl.key",
    "ssl.passphrase",
    "ssl.cafile",
    "ssl.capath",
    "recording-directory",
    "output-generator-file-cap",
    "store.tick-interval",
    "store.heartbeat-interval",
    "store.nack-timeout",
    "store.connection-timeout",
    "store.max-get-delay",
    // As the original declares it, and reads it nowhere. Spec: tools 1.3.
    "web_socket-buffer-size",
    "web_socket-overflow-policy",
];

/// Options of the original that change nothing here, or nothing in the original either.
const WITHOUT_EFFECT: [&str; 8] = [
    "ttl",
    "max-pending-inputs-per-source",
    "disable-connector",
    "metrics.endpoint-name",
    "metrics.export.topic",
    "metrics.export.interval",
    "metrics.export.prefixes",
    "metrics.import.topics",
];

impl Options {
    /// These options, changed by `broker.conf` in the working directory if there is one, which is what
    /// the original's documentation says of every endpoint. Environment variables count more:
    ///
    /// ```
    /// let options = broker::Options::default().with_broker_conf()?.with_environment()?;
    /// # let _ = options;
    /// # Ok::<(), broker::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`with_configuration_file`](Self::with_configuration_file).
    pub fn with_broker_conf(self) -> Result<Self, Error> {
        let path = Path::new(DEFAULT_FILE);
        if path.is_file() {
            self.with_configuration_file(path)
        } else {
            Ok(self)
        }
    }

    /// These options, changed by the group `broker` of a configuration file of the original.
    /// A warning in the log tells of options without effect.
    ///
    /// # Errors
    ///
    /// [`Error::ConfigurationFile`] names line and column when the file is no such file, when an option
    /// of the group is unknown, and when a value is none that the option can have; and it says so when
    /// the file cannot be read. Spec: tools 1.2, ADR 0265.
    pub fn with_configuration_file(mut self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text = read(path).map_err(|cause| failure(path, None, cause))?;
        let entries = broker_conf::parse(&text).map_err(|error| {
            let cause = format!("expected {}", error.expected);
            failure(path, Some(error.place), cause)
        })?;
        for Entry {
            name,
            place,
            setting,
        } in &entries
        {
            let Some(bare) = name.strip_prefix(GROUP) else {
                continue;
            };
            self.take(bare, setting)
                .map_err(|cause| failure(path, Some(*place), cause))?;
            if WITHOUT_EFFECT.contains(&bare) {
                tracing::warn!(event = "option-without-effect", option = %name, file = %path.display());
            }
        }
        Ok(self)
    }

    /// These options, changed by one option of the original: by its name without the group `broker`,
    /// such as `metrics.port`.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] when there is no such option, or the value is none that it can have.
    pub fn with_setting(mut self, name: &str, setting: &Setting) -> Result<Self, Error> {
        self.take(name, setting).map_err(|cause| Error::Option {
            name: "broker",
            cause,
        })?;
        Ok(self)
    }

    /// Takes one option of our group.
    fn take(&mut self, name: &str, setting: &Setting) -> Result<(), String> {
        let wrong = |expected| format!("`{GROUP}{name}` is no {expected}");
        let size = || {
            let number = integer(setting).map_err(wrong)?;
            match usize::try_from(number) {
                Ok(0) | Err(_) => Err(wrong("number of at least 1 that fits into memory")),
                Ok(number) => Ok(number),
            }
        };
        let short = || {
            let number = integer(setting).map_err(wrong)?;
            u16::try_from(number).map_err(|_| wrong("number up to 65535"))
        };
        let ticks = || {
            short().and_then(|it| {
                if it == 0 {
                    Err(wrong("number of at least 1"))
                } else {
                    Ok(it)
                }
            })
        };
        let listening = || {
            let number = port(setting).map_err(wrong)?;
            u16::try_from(number).map_err(|_| wrong("port"))
        };
        let string = || text(setting).map_err(wrong);
        let file = || string().map(|it| (!it.is_empty()).then(|| PathBuf::from(it)));
        let policy = || {
            overflow(&string()?)
                .ok_or_else(|| wrong("policy: disconnect, drop_newest or drop_oldest"))
        };
        match name {
            "disable-ssl" => self.disable_ssl = boolean(setting).map_err(wrong)?,
            "disable-forwarding" => self.disable_forwarding = boolean(setting).map_err(wrong)?,
            "peer-buffer-size" => self.peer_buffer_size = Some(size()?),
            "peer-overflow-policy" => self.peer_overflow = policy()?,
            "ssl.certificate" => self.tls.certificate = file()?,
            "ssl.key" => self.tls.key = file()?,
            "ssl.passphrase" => self.tls.passphrase = Some(string()?).filter(|it| !it.is_empty()),
            "ssl.cafile" => self.tls.ca_file = file()?,
            "ssl.capath" => self.tls.ca_path = file()?,
            "recording-directory" => self.recording.directory = file()?,
            "output-generator-file-cap" => {
                self.recording.messages_max = integer(setting).map_err(wrong)?;
            }
            "store.tick-interval" => {
                self.store.tick_interval = duration(setting).map_err(wrong)?;
            }
            "store.heartbeat-interval" => self.store.heartbeat_interval = ticks()?,
            "store.nack-timeout" => self.store.nack_timeout = ticks()?,
            "store.connection-timeout" => self.store.connection_timeout = ticks()?,
            "store.max-get-delay" => self.store.get_delay_max = duration(setting).map_err(wrong)?,
            "web-socket-buffer-size" | "web_socket-buffer-size" => {
                let _size = size()?;
                #[cfg(feature = "http")]
                {
                    self.web_socket.buffer_size = _size;
                }
            }
            "web-socket-overflow-policy" | "web_socket-overflow-policy" => {
                let _policy = policy()?;
                #[cfg(feature = "http")]
                {
                    self.web_socket.overflow = _policy;
                }
            }
            "web-socket.address" => {
                let _address = string()?;
                #[cfg(feature = "http")]
                {
                    self.web_socket.address = _address;
                }
            }
            "web-socket.port" => {
                let _port = listening()?;
                #[cfg(feature = "http")]
                {
                    self.web_socket.port = Some(_port);
                }
            }
            "metrics.address" => {
                let _address = string()?;
                #[cfg(feature = "status")]
                {
                    self.metrics.address = _address;
                }
            }
            "metrics.port" => {
                let _port = listening()?;
                #[cfg(feature = "status")]
                {
                    self.metrics.port = Some(_port);
                }
            }
            "ttl" => drop(short()?),
            "max-pending-inputs-per-source" => drop(integer(setting).map_err(wrong)?),
            "disable-connector" => drop(boolean(setting).map_err(wrong)?),
            "metrics.endpoint-name" | "metrics.export.topic" => drop(string()?),
            "metrics.export.interval" => drop(duration(setting).map_err(wrong)?),
            "metrics.export.prefixes" | "metrics.import.topics" => {
                drop(texts(setting).map_err(wrong)?);
            }
            _ => return Err(unknown(name)),
        }
        Ok(())
    }
}

/// Reads a file that is not too large.
fn read(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let file = File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    let size = read.map_err(unreadable)?;
    if size as u64 > FILE_BYTES_MAX {
        return Err(format!("has more than {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

fn failure(path: &Path, place: Option<Place>, cause: String) -> Error {
    Error::ConfigurationFile {
        path: path.to_owned(),
        place,
        cause,
    }
}

fn unknown(name: &str) -> String {
    let known = EFFECTIVE.iter().chain(&WITHOUT_EFFECT);
    let nearest = known
        .map(|known| (strsim::jaro(name, known), known))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest {
        Some((_, nearest)) => {
            format!("unknown option `{GROUP}{name}`; there is `{GROUP}{nearest}`")
        }
        None => format!("unknown option `{GROUP}{name}`"),
    }
}

/// The policy with that name, of those that the original has.
fn overflow(name: &str) -> Option<Overflow> {
    [
        Overflow::Disconnect,
        Overflow::DropNewest,
        Overflow::DropOldest,
    ]
    .into_iter()
    .find(|policy| policy.name() == name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(text: &str) -> Result<Options, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.conf");
        std::fs::write(&path, text).unwrap();
        Options::default().with_configuration_file(path)
    }

    #[test]
    fn the_group_of_the_original_sets_options() {
        let options = of(r#"
            broker {
              disable-ssl = true
              ttl = 8
              peer-buffer-size = 100
              peer-overflow-policy = "drop_oldest"
              ssl { certificate = "node.pem" passphrase = "" }
              recording-directory = "/var/recordings"
              output-generator-file-cap = 5
              store.tick-interval = 50ms
              store { nack-timeout = 3 }
            }
            broker.disable-forwarding = true
            topics = ["/a"]
            caf.scheduler.max-threads = 4
            "#)
        .unwrap();
        let mut expected = Options {
            disable_ssl: true,
            disable_forwarding: true,
            peer_buffer_size: Some(100),
            peer_overflow: Overflow::DropOldest,
            ..Options::default()
        };
        expected.tls.certificate = Some("node.pem".into());
        expected.recording.directory = Some("/var/recordings".into());
        expected.recording.messages_max = 5;
        expected.store.tick_interval = Duration::from_millis(50);
        expected.store.nack_timeout = 3;
        assert_eq!(options, expected);
    }

    #[cfg(feature = "status")]
    #[test]
    fn servers_are_among_them() {
        let options = of(r#"
            broker.web-socket { port = 9997 address = "127.0.0.1" }
            broker.metrics { port = "9911/tcp" }
            broker.web_socket-buffer-size = 7
            "#)
        .unwrap();
        assert_eq!(options.web_socket.port, Some(9997));
        assert_eq!(options.web_socket.address, "127.0.0.1");
        assert_eq!(options.web_socket.buffer_size, 7);
        assert_eq!(options.metrics.port, Some(9911));
    }

    #[test]
    fn what_the_original_ignores_is_an_error_with_its_place() {
        for (text, expected) in [
            (
                "broker {\n  ttl = 70000\n}",
                "line 2, column 3: `broker.ttl` is no number up to 65535",
            ),
            (
                "broker.ttl = \"x\"",
                "line 1, column 1: `broker.ttl` is no number",
            ),
            (
                "broker.disable-sll = true",
                "line 1, column 1: unknown option `broker.disable-sll`; there is `broker.disable-ssl`",
            ),
            (
                "broker.xyz = true",
                "line 1, column 1: unknown option `broker.xyz`",
            ),
            (
                "broker.peer-overflow-policy = \"block\"",
                "line 1, column 1: `broker.peer-overflow-policy` is no policy: disconnect, drop_newest \
                 or drop_oldest",
            ),
            (
                "broker.peer-buffer-size = 0",
                "line 1, column 1: `broker.peer-buffer-size` is no number of at least 1 that fits into \
                 memory",
            ),
            ("broker {", "line 1, column 9: expected `}`"),
        ] {
            let error = of(text).unwrap_err().to_string();
            assert!(error.ends_with(&format!("x.conf`, {expected}")), "{error}");
        }
    }

    #[test]
    fn every_option_is_known_by_one_list() {
        let names = EFFECTIVE.iter().chain(&WITHOUT_EFFECT);
        for name in names {
            let setting = Setting::Other("1.5".to_owned());
            let error = Options::default().take(name, &setting).unwrap_err();
            assert!(error.contains("is no "), "{error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_says_so() {
        let error = Options::default()
            .with_configuration_file("/nonexistent/broker.conf")
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("`/nonexistent/broker.conf`: cannot be read"),
            "{text}"
        );
        let large = of(&" ".repeat(usize::try_from(FILE_BYTES_MAX).unwrap() + 1));
        assert!(large.unwrap_err().to_string().contains("has more than"));
    }
}
