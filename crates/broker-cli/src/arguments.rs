//! The command line as a whole, and options that several commands have.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, FromArgMatches, Parser};

use crate::commands::Command;
use crate::console::Color;
use crate::duration::duration;
use crate::nearest::nearest;
use crate::outcome::EXIT_CODES;
use crate::overview;

/// Publish, subscribe, ask and run nodes: Zeek's messages at a prompt
#[derive(Debug, Parser)]
#[command(
    name = "broker",
    version,
    about,
    after_long_help = EXIT_CODES,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Named place to connect to (`context add`)
    #[arg(short, long, global = true, value_name = "NAME", display_order = 900)]
    pub(crate) context: Option<String>,
    /// Print JSON, one object per line
    #[arg(long, global = true, display_order = 901)]
    pub(crate) json: bool,
    /// Colours: auto, always or never
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        display_order = 902,
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub(crate) color: Color,
}

/// Where to connect, and how.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ConnectionArguments {
    /// Peer: HOST:PORT, wss://HOST, ... (repeatable)
    ///
    /// HOST:PORT and zeek://HOST:PORT speak the native protocol, ws:// and wss:// JSON over
    /// WebSocket, zmq://HOST:PORT ZeroMQ with a Zeek cluster. Without it: the context that is named, $BROKER_URL, the selected context.
    #[arg(short, long = "url", value_name = "URL")]
    pub(crate) urls: Vec<String>,
    #[command(flatten)]
    pub(crate) tls: TlsArguments,
    #[command(flatten)]
    pub(crate) curve: CurveArguments,
}

/// How to encrypt connections of ZeroMQ.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct CurveArguments {
    /// CURVE keys for ZeroMQ: a directory of zeekctl, a file, or `off`
    ///
    /// In the directory are files such as server_publickey, in the file lines NAME=KEY with these
    /// names or those of the environment variables. Without it: the variables that Zeek reads,
    /// ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_SERVER_PUBLICKEY, ..._CLIENT_PUBLICKEY and
    /// ..._CLIENT_SECRETKEY; `off` is for no encryption whatever is in them.
    #[arg(long, value_name = "PATH", hide_short_help = true)]
    pub(crate) curve: Option<PathBuf>,
}

/// How to encrypt.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TlsArguments {
    /// Plain TCP between native peers
    #[arg(long, conflicts_with_all = ["cert", "key", "passphrase_file"])]
    pub(crate) no_tls: bool,
    /// Own certificate chain, PEM
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) cert: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) key: Option<PathBuf>,
    /// File whose first line is the key's passphrase
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Trusted authorities, PEM
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) cafile: Option<PathBuf>,
    /// Folder of trusted authorities
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    pub(crate) capath: Option<PathBuf>,
}

/// When a command that receives is to end.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct EndArguments {
    /// End after N messages
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// End after that time, such as 10s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// End when nothing came for that time
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) idle: Option<Duration>,
}

/// The description of the command line, for help, completions and manual pages.
pub(crate) fn command() -> clap::Command {
    Arguments::command()
}

/// Reads the command line.
pub(crate) fn parse<I, T>(arguments: I) -> Result<Arguments, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let mut command = command();
    if overview::is_wanted(&arguments) {
        let text = overview::text(&command);
        command = command.override_help(text);
    }
    let matches = command
        .try_get_matches_from_mut(&arguments)
        .map_err(|error| suggest_command(error, &command, &arguments))?;
    Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Adds the nearest command to an error where clap, which is strict with short names, has none.
fn suggest_command(
    mut error: clap::Error,
    command: &clap::Command,
    arguments: &[OsString],
) -> clap::Error {
    if error.get(ContextKind::SuggestedSubcommand).is_some() {
        return error;
    }
    let Some(ContextValue::String(mistyped)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    let names = arguments.iter().filter_map(|argument| argument.to_str());
    let level = names.fold(command, |level, name| {
        level.find_subcommand(name).unwrap_or(level)
    });
    let known = level.get_subcommands().map(clap::Command::get_name);
    if let Some(name) = nearest(mistyped, known) {
        let names = ContextValue::Strings(vec![name.to_owned()]);
        error.insert(ContextKind::SuggestedSubcommand, names);
    }
    error
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_does_not_contradict_itself() {
        super::command().debug_assert();
    }

    #[test]
    fn a_mistyped_command_suggests_the_nearest() {
        let said = |arguments: &[&str]| super::parse(arguments).unwrap_err().to_string();
        assert!(said(&["broker", "sbu"]).contains("'sub'"));
        assert!(said(&["broker", "store", "gte"]).contains("'get'"));
        assert!(!said(&["broker", "xyz"]).contains("similar"));
    }
}
