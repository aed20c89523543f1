//! `broker bench`: load between two ends, every message counted.
//!
//! One end receives (`bench sub`): it counts, answers, and keeps the store. The other one runs a test
//! against it. Without an address both ends are in this process and speak over loopback.
//!
//! | file | what it is |
//! |---|---|
//! | `receiving` | the end that receives: counts what comes, answers, keeps a store |
//! | `sending` | the tests |
//! | `report` | what is printed |

mod receiving;
mod report;
mod sending;

use std::ffi::OsString;
use std::time::Duration;

use broker::{Endpoint, Options};
use clap::{Args, Subcommand};

use crate::arguments::{ConnectionArguments, Global, TlsArguments};
use crate::compatibility::Tool;
use crate::console::Console;
use crate::contexts::Context;
use crate::duration::{duration, rate};
use crate::interrupt::Interrupt;
use crate::outcome::{EXIT_CODES, Exit, Failure, Outcome};
use crate::session;
use crate::target::{Target, Tls};

use receiving::Receiver;
use report::Report;

/// Reports and remarks that wait to be printed; one comes at the end of a test.
const REPORTS_MAX: usize = 16;

/// Beginning of all topics of the tests.
const TOPICS: &str = "bench/";

const EXAMPLES: &str = "Examples:
  broker bench pub                          both ends here, over loopback
  broker bench sub --listen :9990           the end that receives, for others
  broker bench pub -u sensor:9990 -n 5000000 --size 100
  broker bench latency -u sensor:9990 --report json
  broker bench relay -u hub:9999            through a node with --topic bench/
  broker bench compat --server :9990        as broker-throughput does";

/// Measure how much goes from one end to the other
///
/// Every message is numbered and counted: what is lost or comes twice is told, and makes the exit
/// code 1.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Bench {
    #[command(subcommand)]
    test: Test,
}

#[derive(Debug, Subcommand)]
enum Test {
    /// Publish as fast as the other end takes it
    Pub(TestArguments),
    /// Be the end that receives
    Sub(SubArguments),
    /// Round trips, one after the other
    Latency(TestArguments),
    /// Put entries into a store of the other end, and read them
    Store(TestArguments),
    /// Publish through a relay and back
    Relay(TestArguments),
    /// Do what the original's broker-throughput does
    #[command(disable_help_flag = true)]
    Compat {
        /// Its arguments; see --help of broker-throughput
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARG"
        )]
        arguments: Vec<OsString>,
    },
}

/// How a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// Lines for people
    Text,
    /// One JSON object
    Json,
}

#[derive(Debug, Args)]
struct TestArguments {
    /// Messages, round trips or entries
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Bytes of text in each
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    size: usize,
    /// At most so many, such as 1000/s
    #[arg(short, long, value_name = "RATE", value_parser = rate)]
    rate: Option<Duration>,
    /// How long to wait for the other end
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    timeout: Duration,
    /// How to print the report: text or json
    #[arg(
        long,
        value_name = "FORM",
        default_value = "text",
        hide_possible_values = true
    )]
    report: Form,
    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Debug, Args)]
struct SubArguments {
    /// Listen for the other end: ADDRESS:PORT, :PORT
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// End after one test
    #[arg(long)]
    once: bool,
    /// How to print reports: text or json
    #[arg(
        long,
        value_name = "FORM",
        default_value = "text",
        hide_possible_values = true
    )]
    report: Form,
    #[command(flatten)]
    connection: ConnectionArguments,
}

impl Bench {
    pub(crate) fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let (name, arguments) = match self.test {
            Test::Compat { arguments } => {
                let name = OsString::from("broker-throughput");
                let all: Vec<_> = std::iter::once(name).chain(arguments).collect();
                return Tool::Throughput.execute(&all, console);
            }
            Test::Sub(arguments) => return arguments.run(global, console),
            Test::Pub(arguments) => (sending::Kind::Pub, arguments),
            Test::Latency(arguments) => (sending::Kind::Latency, arguments),
            Test::Store(arguments) => (sending::Kind::Store, arguments),
            Test::Relay(arguments) => (sending::Kind::Relay, arguments),
        };
        arguments.run(name, global, console)
    }
}

/// Waits for a thread that does the work, or for a signal.
async fn until_done<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<Option<T>, Failure> {
    let interrupt = Interrupt::start(&tokio::runtime::Handle::current())
        .map_err(|error| Failure::failed(format!("cannot watch signals: {error}")))?;
    let thread = tokio::task::spawn_blocking(work);
    tokio::select! {
        biased;
        _ = interrupt.wait() => Ok(None),
        done = thread => match done {
            Ok(outcome) => outcome.map(Some),
            Err(error) => Err(Failure::failed(format!("the test ended early: {error}"))),
        },
    }
}

impl TestArguments {
    fn run(self, kind: sending::Kind, global: &Global, console: &mut Console) -> Outcome {
        let is_json = console.is_json() || self.report == Form::Json;
        // Without any address the other end is here.
        let has_address = !self.connection.urls.is_empty()
            || global.context.is_some()
            || std::env::var_os("BROKER_URL").is_some_and(|url| !url.is_empty());
        let target = if has_address {
            Some(Target::find(&self.connection, global)?)
        } else {
            None
        };
        let options = match &target {
            Some(target) if !target.is_native() => {
                return Err(Failure::usage("tests need a native peer")
                    .hint("give HOST:PORT of `broker bench sub --listen`"));
            }
            Some(target) if target.peers.len() > 1 => {
                return Err(Failure::usage("one other end at a time"));
            }
            Some(target) => target.options.clone(),
            None => Tls::of(&self.connection.tls, Context::default())?.options(&[]),
        };
        let (tell, mut told) = tokio::sync::mpsc::channel(REPORTS_MAX);
        let plan = sending::Plan {
            kind,
            count: self.count.unwrap_or(kind.count()),
            size: self.size,
            interval: self.rate,
            timeout: self.timeout,
            peer: target.and_then(|target| target.peers.into_iter().next()),
            options,
            tell: Box::new(move |text| drop(tell.try_send(text))),
        };
        let runtime = session::runtime()?;
        let outcome = runtime.block_on(async {
            let handle = tokio::runtime::Handle::current();
            let mut done = std::pin::pin!(until_done(move || sending::run(&plan, &handle)));
            loop {
                tokio::select! {
                    biased;
                    Some(text) = told.recv() => console.say(text),
                    done = &mut done => return done,
                }
            }
        });
        runtime.shutdown_background();
        let Some(report) = outcome? else {
            return Ok(Exit::Interrupted);
        };
        report.print(is_json, console)?;
        Ok(report.exit())
    }
}

impl SubArguments {
    fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let is_json = console.is_json() || self.report == Form::Json;
        let (options, peer) = match &self.listen {
            Some(_) => {
                let tls: &TlsArguments = &self.connection.tls;
                // As of a native peer, whatever is connected to otherwise.
                let options = Tls::of(tls, Context::default())?.options(&[]);
                (options, None)
            }
            None => {
                let target = Target::find(&self.connection, global)?;
                (target.options, target.peers.into_iter().next())
            }
        };
        let runtime = session::runtime()?;
        let outcome = runtime.block_on(self.receive(options, peer, is_json, console));
        runtime.shutdown_background();
        outcome
    }

    async fn receive(
        &self,
        options: Options,
        peer: Option<broker::proto::peer_url::PeerUrl>,
        is_json: bool,
        console: &mut Console,
    ) -> Outcome {
        let interrupt = Interrupt::start(&tokio::runtime::Handle::current())
            .map_err(|error| Failure::failed(format!("cannot watch signals: {error}")))?;
        let endpoint = endpoint(options, &tokio::runtime::Handle::current())?;
        let (sender, mut reports) = tokio::sync::mpsc::channel(REPORTS_MAX);
        let receiver = Receiver::start(&endpoint, move |report| drop(sender.try_send(report)))?;
        if let Some(listen) = &self.listen {
            let (address, port) = super::node::listen_address(listen)?;
            let port = endpoint.listen(&address, port).await?;
            console.say(format_args!(
                "listening at port {port}; waiting for `broker bench pub -u HOST:{port}` or another test"
            ));
        } else if let Some(peer) = peer {
            let retry = broker::Retry::Never;
            endpoint.peer_url(peer.clone(), retry).await?;
        }
        let exit = loop {
            let report: Report = tokio::select! {
                biased;
                _ = interrupt.wait() => break Exit::Done,
                report = reports.recv() => match report {
                    Some(report) => report,
                    None => break Exit::Failed,
                },
            };
            report.print(is_json, console)?;
            console.flush()?;
            if self.once {
                break report.exit();
            }
        };
        drop(receiver);
        endpoint.shutdown().await;
        Ok(exit)
    }
}

/// An endpoint of a test.
fn endpoint(options: Options, handle: &tokio::runtime::Handle) -> Result<Endpoint, Failure> {
    let builder = Endpoint::builder().options(options);
    Ok(builder.runtime(handle.clone()).build()?)
}

/// Time that the process has used on all its processors.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
