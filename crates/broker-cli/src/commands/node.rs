//! `broker node`: an endpoint that runs until it is told to end.
//!
//! `configuration` is its file, `import` reads the original's, `links`
//! peers that only some topics come from and go to, `running` is what it does, `forwarder`
//! the proxy of a ZeroMQ cluster in it, `log` what it says, `service` its part with systemd and in
//! containers.

mod configuration;
mod forwarder;
mod import;
mod links;
mod log;
mod policy_watch;
mod running;
mod service;

use std::path::PathBuf;

use clap::Args;

use crate::arguments::{Global, TlsArguments};
use crate::console::Console;
use crate::outcome::{EXIT_CODES, Exit, Failure, Outcome};
use crate::session;

pub(crate) use configuration::listen_address;
use configuration::{Configuration, Level, Role, Store};
use links::Link;

const EXAMPLES: &str = "Examples:
  broker node --listen 0.0.0.0:9999 --topic zeek/    relay what is under zeek/
  broker node --listen :9999 --ws-listen :9997       serve WebSocket clients, too
  broker node --print-config > broker.toml           then edit it
  broker node --config broker.toml --check

SIGTERM and Ctrl-C drain and end it with exit code 0, a second one ends it at
once. SIGHUP reads the file again: peers, topics, listeners, stores, keys of the
forwarder and the log level change while it runs, the rest is named in the log
and waits for a restart.";

/// Run an endpoint: peers, WebSocket clients, stores, relaying
///
/// What the command line says counts more than environment variables, and those more than the file.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Node {
    /// File with everything that can be set
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print such a file with all defaults, explained
    #[arg(long, conflicts_with_all = ["check", "import_conf"])]
    print_config: bool,
    /// Only say whether the configuration makes sense
    #[arg(long)]
    check: bool,
    /// Print the original's broker.conf as such a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["check", "config"])]
    import_conf: Option<PathBuf>,
    /// Listen for native peers (repeatable)
    ///
    /// ADDRESS:PORT, :PORT for all interfaces, [ADDRESS]:PORT for IPv6; port 0 is any.
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Listen for WebSocket clients (repeatable)
    ///
    /// ADDRESS:PORT, :PORT for all interfaces, [ADDRESS]:PORT for IPv6.
    #[arg(long, value_name = "ADDR")]
    ws_listen: Vec<String>,
    /// Serve metrics, status and health over HTTP (repeatable)
    #[arg(long, value_name = "ADDR")]
    http_listen: Vec<String>,
    /// Peer to connect to, and again when lost (repeatable)
    #[arg(long = "peer", value_name = "URL")]
    peers: Vec<String>,
    /// Topic whose messages are relayed (repeatable)
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// Keep a store's master (repeatable)
    ///
    /// NAME keeps it in memory, NAME=FILE in a SQLite file.
    #[arg(long = "store", value_name = "NAME")]
    stores: Vec<String>,
    /// Keep a clone of a store (repeatable)
    #[arg(long = "clone", value_name = "NAME")]
    clones: Vec<String>,
    /// Pass no messages of one peer on to another
    #[arg(long)]
    no_forward: bool,
    /// off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", hide_possible_values = true)]
    log_level: Option<Level>,
    #[command(flatten)]
    tls: TlsArguments,
    /// Peers that only the topics come from and go to: those of `broker bridge`.
    #[arg(skip)]
    links: Vec<String>,
}

impl Node {
    /// A node that joins these peers, for these topics.
    pub(crate) fn of_links(links: Vec<String>, topics: Vec<String>, tls: TlsArguments) -> Self {
        Self {
            config: None,
            print_config: false,
            check: false,
            import_conf: None,
            listen: Vec::new(),
            ws_listen: Vec::new(),
            http_listen: Vec::new(),
            peers: Vec::new(),
            topics,
            stores: Vec::new(),
            clones: Vec::new(),
            no_forward: false,
            log_level: None,
            tls,
            links,
        }
    }

    /// With servers for native peers, WebSocket clients, and metrics.
    pub(crate) fn listening(
        self,
        listen: Vec<String>,
        ws_listen: Vec<String>,
        http_listen: Vec<String>,
    ) -> Self {
        Self {
            listen,
            ws_listen,
            http_listen,
            ..self
        }
    }

    pub(crate) fn run(self, _global: &Global, console: &mut Console) -> Outcome {
        if self.print_config {
            console
                .buffer()
                .extend_from_slice(configuration::DEFAULTS.as_bytes());
            return Ok(Exit::Done);
        }
        if let Some(path) = &self.import_conf {
            let text = crate::nearest::read_file("the configuration", path)?;
            let converted = import::convert(&text)
                .map_err(|error| Failure::usage(format!("`{}`, {error}", path.display())))?;
            console.buffer().extend_from_slice(converted.as_bytes());
            return Ok(Exit::Done);
        }
        let configuration = self.configuration()?;
        // Everything that can be wrong about it shows when the options are made.
        let options = configuration.options()?;
        if self.check {
            if let Some(path) = &self.config {
                console.say(format_args!("`{}` makes sense", path.display()));
            }
            return Ok(Exit::Done);
        }
        let given = service::given_listeners()?;
        if configuration.is_idle() && given.is_empty() {
            return Err(Failure::usage("nothing to do: no listener and no peer")
                .hint("give --listen or --peer, or a file with --config"));
        }
        let log = log::Log::start(&configuration.log, console)?;
        let runtime = session::runtime()?;
        let outcome = runtime.block_on(running::run(&self, configuration, options, given, log));
        runtime.shutdown_background();
        outcome
    }

    /// The file, changed by the environment and by the command line.
    fn configuration(&self) -> Result<Configuration, Failure> {
        let mut configuration = match &self.config {
            None => Configuration::default(),
            Some(path) => {
                let text = crate::nearest::read_file("the configuration", path)?;
                Configuration::parse(&text).map_err(|error| {
                    let failure = Failure::usage(format!("`{}`, {}", path.display(), error.what));
                    match error.hint {
                        Some(hint) => failure.hint(hint),
                        None => failure,
                    }
                })?
            }
        };
        configuration.take_environment()?;
        let replace = |mine: &Vec<String>, its: &mut Vec<String>| {
            if !mine.is_empty() {
                its.clone_from(mine);
            }
        };
        replace(&self.listen, &mut configuration.listen);
        replace(&self.ws_listen, &mut configuration.websocket.listen);
        replace(&self.http_listen, &mut configuration.http.listen);
        replace(&self.peers, &mut configuration.peers);
        replace(&self.topics, &mut configuration.topics);
        if !self.links.is_empty() {
            let links = self.links.iter();
            configuration.links = links
                .map(|url| Link::both_ways(url, &self.topics))
                .collect();
        }
        if !self.stores.is_empty() || !self.clones.is_empty() {
            configuration.stores = self.stores.iter().map(|it| Store::master(it)).collect();
            let clones = self.clones.iter().map(|name| Store {
                name: name.clone(),
                role: Role::Clone,
                file: None,
            });
            configuration.stores.extend(clones);
        }
        if self.no_forward {
            configuration.forward = false;
        }
        if let Some(level) = self.log_level {
            configuration.log.level = level;
        }
        configuration.tls.take_arguments(&self.tls);
        Ok(configuration)
    }
}
