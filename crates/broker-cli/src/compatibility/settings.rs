//! Options of the original's tools: command line, configuration file, environment.
//!
//! Spec: tools 1. From weakest to strongest: defaults, file, environment, command line. Values that a
//! known option cannot have and named files that are not there are errors, unlike in the original.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use broker::Options;
use broker::broker_conf::{self, Entry, Setting};
use clap::{Arg, ArgAction, Command};

use crate::outcome::Failure;

/// The file that is read without being named.
const DEFAULT_FILE: &str = "broker.conf";

/// What kind of value an option has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Flag,
    Number,
    Port,
    Text,
    Texts,
    Duration,
}

/// An option.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// With its group: `global.topics`, `broker.ttl`.
    name: &'static str,
    short: Option<char>,
    kind: Kind,
    help: &'static str,
}

impl Known {
    pub(super) const fn new(
        name: &'static str,
        short: Option<char>,
        kind: Kind,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            short,
            kind,
            help,
        }
    }

    /// As it is written on a command line: two groups need not be named.
    fn long(&self) -> &'static str {
        let bare = self.name.strip_prefix("global.");
        let bare = bare.or_else(|| {
            let bare = self.name.strip_prefix("broker.")?;
            (!bare.contains('.')).then_some(bare)
        });
        bare.unwrap_or(self.name)
    }
}

/// Options of every tool. Spec: tools 1.3.
const COMMON: &[Known] = &[
    Known::new(
        "broker.disable-ssl",
        None,
        Kind::Flag,
        "plain TCP instead of TLS",
    ),
    Known::new(
        "broker.disable-forwarding",
        None,
        Kind::Flag,
        "pass no messages on between peers",
    ),
    Known::new(
        "broker.ttl",
        None,
        Kind::Number,
        "without effect: nothing looks at it",
    ),
    Known::new(
        "broker.peer-buffer-size",
        None,
        Kind::Number,
        "messages queued per peer",
    ),
    Known::new(
        "broker.peer-overflow-policy",
        None,
        Kind::Text,
        "disconnect, drop_newest or drop_oldest",
    ),
    Known::new(
        "broker.web-socket-buffer-size",
        None,
        Kind::Number,
        "messages queued per WebSocket client",
    ),
    Known::new(
        "broker.web-socket-overflow-policy",
        None,
        Kind::Text,
        "disconnect, drop_newest or drop_oldest",
    ),
    Known::new(
        "broker.web-socket.address",
        None,
        Kind::Text,
        "address of the WebSocket server",
    ),
    Known::new(
        "broker.web-socket.port",
        None,
        Kind::Port,
        "port of the WebSocket server",
    ),
    Known::new(
        "broker.metrics.address",
        None,
        Kind::Text,
        "address of the server for metrics",
    ),
    Known::new(
        "broker.metrics.port",
        None,
        Kind::Port,
        "port of the server for metrics",
    ),
    Known::new(
        "broker.ssl.certificate",
        None,
        Kind::Text,
        "own certificate chain, PEM",
    ),
    Known::new("broker.ssl.key", None, Kind::Text, "its private key, PEM"),
    Known::new(
        "broker.ssl.passphrase",
        None,
        Kind::Text,
        "passphrase of the key",
    ),
    Known::new(
        "broker.ssl.cafile",
        None,
        Kind::Text,
        "trusted authorities, PEM",
    ),
    Known::new(
        "broker.ssl.capath",
        None,
        Kind::Text,
        "folder of trusted authorities",
    ),
    Known::new(
        "broker.recording-directory",
        None,
        Kind::Text,
        "record into that folder, for broker replay",
    ),
    Known::new(
        "broker.output-generator-file-cap",
        None,
        Kind::Number,
        "messages recorded at most",
    ),
];

/// Names of flags that ask for something else than to run.
const HELP: &str = "help";
const DUMP: &str = "dump-config";
const FILE: &str = "config-file";
const REST: &str = "rest";

/// A tool: its name and what it understands.
#[derive(Debug)]
pub(super) struct Specification {
    pub(super) name: &'static str,
    pub(super) usage: &'static str,
    pub(super) options: &'static [Known],
}

/// What the command line asks for.
#[derive(Debug)]
pub(super) enum Given {
    Help,
    /// The options in effect, as a configuration file.
    Dump(String),
    Settings(Set),
}

/// Options that are set.
#[derive(Debug, Default)]
pub(super) struct Set {
    values: BTreeMap<&'static str, Setting>,
    /// The configuration file that was read.
    file: Option<PathBuf>,
    /// What stands behind the options.
    pub(super) rest: Vec<String>,
    /// Those of the command line, which count more than the environment.
    from_line: Vec<&'static str>,
}

impl Specification {
    fn known(&self) -> impl Iterator<Item = &'static Known> {
        self.options.iter().chain(COMMON)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.name)
            .no_binary_name(true)
            .disable_help_flag(true)
            .disable_version_flag(true)
            .arg(
                Arg::new(HELP)
                    .long(HELP)
                    .visible_alias("long-help")
                    .short('h')
                    .short_alias('?')
                    .action(ArgAction::SetTrue),
            )
            .arg(Arg::new(DUMP).long(DUMP).action(ArgAction::SetTrue))
            .arg(Arg::new(FILE).long(FILE).require_equals(true))
            .arg(Arg::new(REST).num_args(0..).action(ArgAction::Append));
        for known in self.known() {
            let mut arg = Arg::new(known.name)
                .long(known.long())
                .overrides_with(known.name);
            if let Some(short) = known.short {
                arg = arg.short(short);
            }
            if known.kind == Kind::Flag {
                arg = arg
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true");
            } else {
                arg = arg.allow_hyphen_values(true);
            }
            command = command.arg(arg);
        }
        command
    }

    /// Reads the command line, the file and checks both.
    ///
    /// # Errors
    ///
    /// Says what is wrong with which option.
    pub(super) fn read(&self, arguments: &[OsString]) -> Result<Given, String> {
        let matches = self
            .command()
            .try_get_matches_from(arguments)
            .map_err(|error| {
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default();
                first.strip_prefix("error: ").unwrap_or(first).to_owned()
            })?;
        if matches.get_flag(HELP) {
            return Ok(Given::Help);
        }
        let mut set = Set::default();
        let file = matches.get_one::<String>(FILE).map(PathBuf::from);
        let named = file.is_some();
        let file = file.unwrap_or_else(|| DEFAULT_FILE.into());
        if named || file.is_file() {
            self.read_file(&file, &mut set)?;
            // What this tool has no option for, such as those of data stores, is checked as well.
            let checked = Options::default().with_configuration_file(&file);
            checked.map_err(|error| error.to_string())?;
            set.file = Some(file);
        }
        for known in self.known() {
            let Some(text) = matches.get_one::<String>(known.name) else {
                continue;
            };
            let setting = from_line(known, text)
                .map_err(|cause| format!("invalid_argument(\"--{}\"): {cause}", known.long()))?;
            set.values.insert(known.name, setting);
            set.from_line.push(known.name);
        }
        let rest = matches.get_many::<String>(REST).into_iter().flatten();
        set.rest = rest.cloned().collect();
        if matches.get_flag(DUMP) {
            Ok(Given::Dump(set.dump()))
        } else {
            Ok(Given::Settings(set))
        }
    }

    fn read_file(&self, path: &Path, set: &mut Set) -> Result<(), String> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read `{shown}`: {error}"))?;
        let entries = broker_conf::parse(&text).map_err(|cause| format!("`{shown}`, {cause}"))?;
        for Entry {
            name,
            place,
            setting,
        } in entries
        {
            let full = if name.contains('.') {
                name.clone()
            } else {
                format!("global.{name}")
            };
            // Names of others may stand there, too.
            let Some(known) = self.known().find(|known| known.name == full) else {
                continue;
            };
            check(known, &setting)
                .map_err(|expected| format!("`{shown}`, {place}: `{name}` is no {expected}"))?;
            set.values.insert(known.name, setting);
        }
        Ok(())
    }

    /// What the tool understands.
    pub(super) fn help(&self) -> String {
        let mut text = format!("usage: {} {}\n\n", self.name, self.usage);
        let mut row = |left: &str, help: &str| {
            let _ = writeln!(text, "  {left:<38} {help}");
        };
        row("-h, -?, --help, --long-help", "print this text");
        row("--dump-config", "print the options in effect, as a file");
        row(
            "--config-file=FILE",
            "read options; broker.conf unless given",
        );
        for known in self.known() {
            let value = match known.kind {
                Kind::Flag => "",
                Kind::Number => "=N",
                Kind::Port => "=PORT",
                Kind::Text => "=TEXT",
                Kind::Texts => "='[\"a\",\"b\"]'",
                Kind::Duration => "=TIME",
            };
            let short = known
                .short
                .map_or(String::new(), |short| format!("-{short}, "));
            row(&format!("{short}--{}{value}", known.long()), known.help);
        }
        text
    }
}

/// A value as it stands on a command line: texts need no quotes there.
fn from_line(known: &Known, text: &str) -> Result<Setting, String> {
    let setting = match known.kind {
        Kind::Text if !text.starts_with(['"', '\'']) => Setting::Text(text.to_owned()),
        Kind::Port if text.contains('/') => Setting::Text(text.trim_matches('"').to_owned()),
        _ => broker_conf::value(text).map_err(|_| expected(known.kind).to_owned())?,
    };
    match check(known, &setting) {
        Ok(()) => Ok(setting),
        Err(expected) => Err(format!("`{text}` is no {expected}")),
    }
}

const fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Flag => "expected true or false",
        Kind::Number => "expected a number",
        Kind::Port => "expected a port, such as 9999 or 9999/tcp",
        Kind::Text => "expected a text",
        Kind::Texts => "expected a list, such as [\"/a\",\"/b\"]",
        Kind::Duration => "expected a time, such as 250ms",
    }
}

fn check(known: &Known, setting: &Setting) -> Result<(), &'static str> {
    match known.kind {
        Kind::Flag => broker_conf::boolean(setting).map(drop),
        Kind::Number => {
            let number = broker_conf::integer(setting)?;
            if known.name == "broker.ttl" && number > u64::from(u16::MAX) {
                Err("number up to 65535")
            } else {
                Ok(())
            }
        }
        Kind::Port => broker_conf::port(setting).map(drop),
        Kind::Text => broker_conf::text(setting).map(drop),
        Kind::Texts => broker_conf::texts(setting).map(drop),
        Kind::Duration => broker_conf::duration(setting).map(drop),
    }
}

impl Set {
    pub(super) fn flag(&self, name: &str) -> bool {
        self.values.get(name) == Some(&Setting::Boolean(true))
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.values
            .get(name)
            .and_then(|it| broker_conf::integer(it).ok())
    }

    pub(super) fn port(&self, name: &str) -> Option<u16> {
        let port = self
            .values
            .get(name)
            .and_then(|it| broker_conf::port(it).ok())?;
        u16::try_from(port).ok()
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.values
            .get(name)
            .and_then(|it| broker_conf::text(it).ok())
    }

    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let texts = self
            .values
            .get(name)
            .and_then(|it| broker_conf::texts(it).ok());
        texts.unwrap_or_default()
    }

    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        broker_conf::duration(self.values.get(name)?).ok()
    }

    /// The options of an endpoint.
    ///
    /// # Errors
    ///
    /// When an environment variable or a policy has a value that it cannot have.
    pub(super) fn options(&self) -> Result<Options, Failure> {
        // It tells of variables without effect, too.
        let environment = Options::from_env()?;
        let Some(file) = &self.file else {
            return self.on_line(environment);
        };
        let file = Options::default().with_configuration_file(file)?;
        self.on_line(file.with_environment()?)
    }

    /// Options changed by those of the command line.
    fn on_line(&self, mut options: Options) -> Result<Options, Failure> {
        for name in &self.from_line {
            if let (Some(bare), Some(setting)) =
                (name.strip_prefix("broker."), self.values.get(name))
            {
                options = options.with_setting(bare, setting)?;
            }
        }
        Ok(options)
    }

    /// The options as a configuration file; what is secret is left out.
    fn dump(&self) -> String {
        let mut text = String::new();
        for (name, setting) in &self.values {
            let name = name.strip_prefix("global.").unwrap_or(name);
            if name.ends_with("passphrase") {
                let _ = writeln!(text, "# {name} is set");
            } else {
                let _ = writeln!(text, "{name} = {}", written(setting));
            }
        }
        text
    }
}

/// A value as it stands in a file.
fn written(setting: &Setting) -> String {
    match setting {
        Setting::Boolean(value) => value.to_string(),
        Setting::Integer(value) => value.to_string(),
        Setting::Duration(text) | Setting::Other(text) => text.clone(),
        Setting::Text(text) => {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{}\"", text.replace('\n', "\\n"))
        }
        Setting::List(list) => {
            let list: Vec<_> = list.iter().map(written).collect();
            format!("[{}]", list.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: Specification = Specification {
        name: "tool",
        usage: "",
        options: &[
            Known::new("global.topics", Some('t'), Kind::Texts, ""),
            Known::new("global.rate", Some('r'), Kind::Flag, ""),
            Known::new("global.num-messages", Some('n'), Kind::Number, ""),
            Known::new("global.retry", None, Kind::Duration, ""),
            Known::new("global.mode", Some('m'), Kind::Text, ""),
        ],
    };

    fn read(arguments: &[&str]) -> Result<Set, String> {
        let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        match TOOL.read(&arguments)? {
            Given::Settings(set) => Ok(set),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn long_options_have_an_equals_sign_and_short_ones_a_blank() {
        let set = read(&[
            "--topics=[\"/a\",\"/b\"]",
            "-n",
            "5",
            "-r",
            "--retry=50ms",
            "-m",
            "x",
            "rest",
        ]);
        let set = set.expect("they are fine");
        assert_eq!(set.texts("global.topics"), ["/a", "/b"]);
        assert_eq!(set.number("global.num-messages"), Some(5));
        assert!(set.flag("global.rate") && !set.flag("broker.disable-ssl"));
        assert_eq!(
            set.duration("global.retry"),
            Some(Duration::from_millis(50))
        );
        assert_eq!(set.text("global.mode").as_deref(), Some("x"));
        assert_eq!(set.rest, ["rest"]);
    }

    #[test]
    fn groups_are_named_unless_they_are_the_two() {
        let set = read(&["--ttl=8", "--broker.metrics.port=9911/tcp", "--disable-ssl"]);
        let set = set.expect("they are fine");
        assert_eq!(set.number("broker.ttl"), Some(8));
        assert_eq!(set.port("broker.metrics.port"), Some(9911));
        assert!(set.flag("broker.disable-ssl"));
    }

    #[test]
    fn what_makes_no_sense_is_an_error_that_names_the_option() {
        for (arguments, name) in [
            (["-t", "/a"].as_slice(), "--topics"),
            (&["--ttl=70000"], "--ttl"),
            (&["--ttl=x"], "--ttl"),
            (&["--retry=5"], "--retry"),
            (&["--nothing"], "--nothing"),
            (&["--config-file=/nonexistent"], "/nonexistent"),
        ] {
            let error = read(arguments).expect_err(name);
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn the_command_line_counts_more_than_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.conf");
        std::fs::write(
            &path,
            "mode = \"file\"\nbroker { ttl = 3 }\nother.name = 1\n",
        )
        .expect("a file");
        let file = format!("--config-file={}", path.display());
        let set = read(&[&file, "-m", "line"]).expect("they are fine");
        assert_eq!(set.text("global.mode").as_deref(), Some("line"));
        assert_eq!(set.number("broker.ttl"), Some(3));
        let options = set.options().expect("they are fine");
        assert!(!options.disable_ssl);
        std::fs::write(
            &path,
            "broker { disable-ssl = true peer-buffer-size = 3 store.nack-timeout = 7 }\n",
        )
        .expect("a file");
        let set = read(&[&file, "--peer-buffer-size=4"]).expect("they are fine");
        let options = set.options().expect("they are fine");
        assert!(options.disable_ssl);
        assert_eq!(options.peer_buffer_size, Some(4));
        assert_eq!(options.store.nack_timeout, 7);
        std::fs::write(&path, "broker.disable-sll = true\n").expect("a file");
        let error = read(&[&file]).expect_err("no such option");
        assert!(error.contains("there is `broker.disable-ssl`"), "{error}");
        std::fs::write(&path, "mode = 5\n").expect("a file");
        let error = read(&[&file]).expect_err("no text");
        assert!(
            error.contains("line 1") && error.contains("mode"),
            "{error}"
        );
    }

    #[test]
    fn what_is_dumped_can_be_read() {
        let arguments: Vec<_> = [
            "--dump-config",
            "-t",
            "[\"a\\\"\"]",
            "--broker.ssl.passphrase=x",
        ]
        .iter()
        .map(OsString::from)
        .collect();
        let Ok(Given::Dump(text)) = TOOL.read(&arguments) else {
            panic!("a dump was asked for");
        };
        assert_eq!(
            text,
            "# broker.ssl.passphrase is set\ntopics = [\"a\\\"\"]\n"
        );
        assert!(broker_conf::parse(&text).is_ok());
    }
}
