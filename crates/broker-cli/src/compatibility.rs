//! The original's tools under their own names: `broker-node`, `broker-pipe`, `broker-throughput`.
//!
//! Options, output and exit codes are those of spec tools 2 to 4, for scripts that rely on them; what
//! that text lists as a defect is mended. ADR 0221 has the list.
//!
//! | module | what it is |
//! |---|---|
//! | `settings` | options from the command line, the configuration file and the environment |
//! | `node`, `pipe`, `throughput` | the tools |

mod node;
mod pipe;
mod settings;
mod throughput;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use broker::Endpoint;

use crate::console::Console;
use crate::interrupt::Interrupt;
use crate::outcome::{Exit, Failure};
use settings::{Given, Set, Specification};

/// How long what was published may take to be written when a tool ends.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A tool of the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Node,
    Pipe,
    Throughput,
}

impl Tool {
    /// The tool of that name, which may have a path in front.
    pub(crate) fn named(program: Option<&OsString>) -> Option<Self> {
        let name = Path::new(program?).file_name()?;
        [Self::Node, Self::Pipe, Self::Throughput]
            .into_iter()
            .find(|tool| name == tool.specification().name)
    }

    const fn specification(self) -> &'static Specification {
        match self {
            Self::Node => &node::SPECIFICATION,
            Self::Pipe => &pipe::SPECIFICATION,
            Self::Throughput => &throughput::SPECIFICATION,
        }
    }

    /// Runs it and returns its exit code.
    pub(crate) fn run(self, arguments: &[OsString], console: &mut Console) -> i32 {
        let outcome = self.execute(arguments, console);
        console.finish(outcome) as i32
    }

    /// Runs it.
    pub(crate) fn execute(
        self,
        arguments: &[OsString],
        console: &mut Console,
    ) -> Result<Exit, Failure> {
        let specification = self.specification();
        let given = match specification.read(arguments.get(1..).unwrap_or_default()) {
            Ok(given) => given,
            Err(cause) => {
                console.say(format_args!("*** error while reading config: {cause}"));
                if self == Self::Throughput {
                    console.say(specification.help());
                }
                return Ok(Exit::Failed);
            }
        };
        let outcome = match given {
            Given::Help => {
                let help = specification.help();
                console.buffer().extend_from_slice(help.as_bytes());
                Ok(Exit::Done)
            }
            Given::Dump(text) => {
                console.buffer().extend_from_slice(text.as_bytes());
                Ok(Exit::Done)
            }
            Given::Settings(set) => self.start(&set, console),
        };
        // The codes of these tools are older than those of the command: all failures are 1.
        outcome.map_err(|failure| match failure {
            Failure::Told { what, hint, .. } => Failure::Told {
                exit: Exit::Failed,
                what,
                hint,
            },
            Failure::ClosedPipe => Failure::ClosedPipe,
        })
    }

    fn start(self, set: &Set, console: &mut Console) -> Result<Exit, Failure> {
        let runtime = crate::session::runtime()?;
        let outcome = runtime.block_on(async {
            let interrupt = Interrupt::start(&tokio::runtime::Handle::current())
                .map_err(|error| Failure::failed(format!("cannot watch signals: {error}")))?;
            match self {
                Self::Node => node::run(set, console, &interrupt).await,
                Self::Pipe => pipe::run(set, console, &interrupt).await,
                Self::Throughput => throughput::run(set, console, &interrupt).await,
            }
        });
        runtime.shutdown_background();
        outcome
    }
}

/// An endpoint with these options.
fn endpoint(set: &Set, id: Option<broker::EndpointId>) -> Result<Endpoint, Failure> {
    let mut options = set.options()?;
    options.id = id;
    let handle = tokio::runtime::Handle::current();
    Ok(Endpoint::builder()
        .options(options)
        .runtime(handle)
        .build()?)
}

/// Waits until the peers have what was published, and says goodbye.
async fn leave(endpoint: &Endpoint) {
    let pings: Vec<_> = endpoint
        .peers()
        .iter()
        .map(|peer| endpoint.ping(peer.id))
        .collect();
    let taken = async {
        for ping in pings {
            ping.await;
        }
    };
    // A peer that takes nothing is not waited for longer.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, taken).await;
    endpoint.shutdown().await;
}
