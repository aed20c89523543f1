//! `broker doctor`: walks the way that a message takes and stops where it is broken.
//!
//! | file | what it is |
//! |---|---|
//! | `walk` | the steps, in their order |
//! | `probe` | connections that look at what is at an address |
//! | `speech` | what speaks there, by its first bytes |
//! | `topics`, `arguments` | topics beside filters, arguments beside those that pass by |
//! | `flow` | what a peer's status page tells of its queues |
//! | `causes` | everything that can be wrong, in words |
//! | `report` | what is printed |

mod arguments;
mod causes;
mod flow;
mod probe;
mod report;
mod speech;
mod topics;
mod walk;

use std::thread;
use std::time::Duration;

use broker::proto::peer_url::PeerUrl;
use broker::{EndpointId, Options, Value};
use clap::Args;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::value::{self, GRAMMAR};
use crate::arguments::{ConnectionArguments, Global};
use crate::console::Console;
use crate::duration::duration;
use crate::interrupt::Interrupt;
use crate::outcome::{EXIT_CODES, Exit, Failure, Outcome};
use crate::session;
use crate::target::Target;

const EXAMPLES: &str = "Examples:
  broker doctor sensor:9999
  broker doctor sensor:9999 --topic /zeek/x
  broker doctor sensor:9999 --topic /zeek/x --event ping hello 3c
  broker doctor sensor:9999 --topic /ping --event ping hello --send
  broker doctor sensor:9999 --status sensor:9911

It ends with the code of the first broken step: 3 if nothing is reached, 4 if
nothing comes, 5 if one side does not accept the other, 1 for the rest.";

/// Find out why messages do not arrive
///
/// Walks the way that a message takes: name, port, protocol, TLS, handshake, filters, events, flow.
/// Stops at the first step that is broken, says what that means and what to do about it.
#[derive(Debug, Default, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{GRAMMAR}\n\n{EXIT_CODES}"))]
pub(crate) struct Doctor {
    /// Peer; without it those of -u, the context, ...
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// Arguments that the event is to have
    #[arg(value_name = "ARG", requires = "event", allow_negative_numbers = true)]
    arguments: Vec<String>,
    /// Topic that messages do not come through on
    #[arg(short, long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Event to look at, as it passes by on the topic
    #[arg(short, long, value_name = "NAME", requires = "topic")]
    event: Option<String>,
    /// Send the event, and wait for an answer
    #[arg(long, requires = "event")]
    send: bool,
    /// Topic of the answer, if it is another
    #[arg(long, value_name = "TOPIC", requires = "send")]
    reply_topic: Option<String>,
    /// Id of the endpoint that has the trouble, to find it twice
    #[arg(long, value_name = "UUID")]
    id: Option<EndpointId>,
    /// The peer's page of metrics and status: HOST:PORT
    #[arg(long, value_name = "PLACE")]
    status: Option<String>,
    /// How long to wait for messages
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
    wait: Duration,
    /// How long each other step may take
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
    timeout: Duration,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Why there is no peering with an address, as [`diagnose`] found out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnosis {
    /// Names the cause, for programs: "port-closed" and so on, as in the output of `broker doctor --json`.
    pub code: &'static str,
    /// What is wrong, in a sentence.
    pub what: String,
    /// What that means.
    pub means: String,
    /// What to try, the most promising first.
    pub remedies: Vec<String>,
}

/// Of the time that a diagnosis may take, the part that each of its steps may: name, port, protocol.
const STEPS: u32 = 3;

/// Looks why there is no peering with an address, as `broker doctor` does: name, port, protocol, TLS, handshake.
///
/// `options` are those of the endpoint that tries it, `text` is what it was told. The look is taken in a
/// thread of its own, makes connections of its own to that address, and ends when the future is dropped.
/// `None` when nothing was found within `limit`.
pub fn diagnose(
    url: PeerUrl,
    options: Options,
    text: String,
    limit: Duration,
) -> impl Future<Output = Option<Diagnosis>> + Send + 'static {
    let (mut sender, receiver) = oneshot::channel();
    let look = move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        let finding = runtime.block_on(async {
            let doctor = Doctor {
                timeout: limit / STEPS,
                ..Doctor::default()
            };
            let walk = tokio::time::timeout(limit, walk::why_not(&doctor, &url, &options, &text));
            tokio::select! {
                () = sender.closed() => None,
                found = walk => found.ok().flatten(),
            }
        });
        // Names may still be looked up.
        runtime.shutdown_background();
        let _nobody_waits = sender.send(finding.map(|finding| Diagnosis {
            code: finding.code,
            what: finding.what,
            means: finding.means,
            remedies: finding.remedies,
        }));
    };
    let started = thread::Builder::new()
        .name("broker-doctor".to_owned())
        .spawn(look);
    async move {
        started.ok()?;
        receiver.await.ok().flatten()
    }
}

impl Doctor {
    pub(crate) fn run(mut self, global: &Global, console: &mut Console) -> Outcome {
        if !self.connection.urls.is_empty() || global.context.is_some() {
            // The address is said elsewhere, so what stands in its place is an argument.
            let first = self.url.take().into_iter();
            self.arguments = first.chain(std::mem::take(&mut self.arguments)).collect();
            if self.event.is_none() && !self.arguments.is_empty() {
                return Err(Failure::usage("the peer is given twice")
                    .hint("give it as URL, with -u, or with -c"));
            }
        }
        self.connection.urls.extend(self.url.take());
        let target = Target::find(&self.connection, global)?;
        let mut values: Vec<Value> = Vec::new();
        for (number, text) in (1..).zip(&self.arguments) {
            values.push(value::read(text, number, console)?);
        }
        let runtime = session::runtime()?;
        let outcome = runtime.block_on(async {
            let interrupt = Interrupt::start(&tokio::runtime::Handle::current())
                .map_err(|error| Failure::failed(format!("cannot watch signals: {error}")))?;
            tokio::select! {
                biased;
                _ = interrupt.wait() => Ok(Exit::Interrupted),
                outcome = walk::all(&self, target, &values, console) => outcome,
            }
        });
        runtime.shutdown_background();
        outcome
    }
}
