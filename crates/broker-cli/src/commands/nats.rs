//! `broker nats`: streams on servers of NATS, and configurations of servers that are safe.

mod server;

use std::fmt::Write;
use std::time::Duration;

use broker::data::json::put_string;
use broker::proto::peer_url::Scheme;
use broker::{
    DurableError, DurableTopics, StreamDiscard, StreamOptions, StreamReport, StreamState, Topic,
};
use clap::{Args, Subcommand};

use crate::arguments::{ConnectionArguments, Global};
use crate::console::{Console, put_strings};
use crate::duration::duration;
use crate::outcome::{EXIT_CODES, Exit, Failure, Outcome};
use crate::session::{self, OnPeerLoss, Session, Waited};
use crate::target::Target;

const EXAMPLES: &str = "Examples:
  broker nats config --name a --route b:6222 --route c:6222 > a.conf
  broker nats init notices /notices -u nats://a --replicas 3 --max-age 7d
  broker nats init state /state -u nats://a --replicas 3 --retained
  broker nats status -u nats://a";

/// Make and look at streams of NATS servers, print a configuration for these
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct NatsCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Init(Init),
    Status(Status),
    Config(server::Config),
}

/// Make a stream, unless there is one of that name and shape
///
/// A stream of another shape is left as it is, and the difference said.
#[derive(Debug, Args)]
struct Init {
    /// Its name: letters, digits, `_` and `-`
    name: String,
    /// Topics that it keeps: each of them, and everything below it
    #[arg(required = true)]
    topics: Vec<String>,
    /// Servers that have a copy: 1, 3 or 5
    #[arg(long, value_name = "N", default_value_t = 1)]
    replicas: u8,
    /// Age at which messages are forgotten
    #[arg(long, value_name = "TIME", value_parser = duration)]
    max_age: Option<Duration>,
    /// Bytes of all messages
    #[arg(long, value_name = "N")]
    max_bytes: Option<u64>,
    /// Messages
    #[arg(long, value_name = "N")]
    max_messages: Option<u64>,
    /// Messages of each topic
    #[arg(long, value_name = "N")]
    max_messages_per_topic: Option<u64>,
    /// What happens at these limits: the oldest are forgotten, or new ones refused
    #[arg(long, value_name = "WHICH", default_value = "old", value_parser = ["old", "new"])]
    discard: String,
    /// Keep last values: one for each topic, and nothing else
    #[arg(long)]
    retained: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Show streams, their copies and their cursors
#[derive(Debug, Args)]
struct Status {
    #[command(flatten)]
    connection: ConnectionArguments,
}

impl NatsCommand {
    pub(crate) fn run(self, global: &Global, console: &mut Console) -> Outcome {
        match self.action {
            Action::Config(config) => config.run(console),
            Action::Init(init) => {
                let options = init.options();
                on_servers(
                    &init.connection,
                    global,
                    console,
                    async |streams, console| {
                        let state = streams.make_stream(options).await?;
                        show_made(&state, console)
                    },
                )
            }
            Action::Status(status) => on_servers(
                &status.connection,
                global,
                console,
                async |streams, console| {
                    let reports = streams.reports(TIMEOUT).await?;
                    show(&reports, console)
                },
            ),
        }
    }
}

/// How long servers may take: longer than a cluster takes to find a leader.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Does something with the streams of the servers at the one address.
fn on_servers<F>(
    connection: &ConnectionArguments,
    global: &Global,
    console: &mut Console,
    act: F,
) -> Outcome
where
    F: AsyncFnOnce(&DurableTopics, &mut Console) -> Result<(), Failure>,
{
    let target = Target::find(connection, global)?;
    let is_nats = |it: &broker::proto::peer_url::PeerUrl| it.scheme == Scheme::Nats;
    let [url] = target.peers.as_slice() else {
        return Err(Failure::usage("one address of NATS servers at a time"));
    };
    if !is_nats(url) {
        return Err(
            Failure::usage(format!("{url} is no address of NATS servers"))
                .hint("give one such as nats://HOST:4222"),
        );
    }
    let runtime = session::runtime()?;
    let outcome = runtime.block_on(async {
        let mut session = Session::of(target, OnPeerLoss::End)?;
        session.connect().await?;
        let streams = session.endpoint.durable_topics(None)?;
        let done = session.or_signal(act(&streams, console)).await;
        match done {
            Waited::Over(result) => result?,
            Waited::Ended(_) => return Ok(Exit::Interrupted),
        }
        session.leave().await;
        Ok(Exit::Done)
    });
    runtime.shutdown_background();
    outcome
}

impl From<DurableError> for Failure {
    fn from(error: DurableError) -> Self {
        let exit = match &error {
            DurableError::TimedOut { .. } => Exit::Unreachable,
            _ => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl Init {
    fn options(&self) -> StreamOptions {
        let topics = self.topics.iter().map(|it| Topic::from(it.as_str()));
        let discard = match self.discard.as_str() {
            "new" => StreamDiscard::New,
            _ => StreamDiscard::Old,
        };
        StreamOptions {
            replicas: self.replicas,
            age_max: self.max_age,
            bytes_max: self.max_bytes,
            messages_max: self.max_messages,
            topic_messages_max: self.max_messages_per_topic,
            retained: self.retained,
            discard,
            ..StreamOptions::new(&self.name, topics)
        }
    }
}

fn show_made(state: &StreamState, console: &mut Console) -> Result<(), Failure> {
    if console.is_json() {
        let mut line = String::from("{\"stream\":");
        put_string(&mut line, &state.name);
        let _ = write!(
            line,
            ",\"created\":{},\"replicas\":{},\"messages\":{}}}",
            state.is_new, state.replicas, state.messages
        );
        return console.line(line);
    }
    let what = if state.is_new { "made" } else { "is there" };
    console.line(format_args!(
        "stream {} {what}, {} {}, {} messages",
        state.name,
        state.replicas,
        if state.replicas == 1 {
            "copy"
        } else {
            "copies"
        },
        state.messages
    ))?;
    if state.replicas == 1 {
        console.warn(format_args!(
            "with one copy it is gone with the disk of its server; --replicas 3 needs three servers"
        ));
    }
    Ok(())
}

fn show(reports: &[StreamReport], console: &mut Console) -> Result<(), Failure> {
    for report in reports {
        let state = &report.state;
        if console.is_json() {
            let mut line = String::from("{\"stream\":");
            put_string(&mut line, &state.name);
            let _ = write!(
                line,
                ",\"replicas\":{},\"messages\":{},\"bytes\":{},\"last\":{},\"leader\":",
                state.replicas, state.messages, report.bytes, state.last_sequence
            );
            put_string(&mut line, &report.leader);
            line.push_str(",\"late\":");
            put_strings(&mut line, &report.late);
            line.push_str(",\"cursors\":[");
            for (index, cursor) in report.cursors.iter().enumerate() {
                line.push_str(if index == 0 {
                    "{\"name\":"
                } else {
                    ",{\"name\":"
                });
                put_string(&mut line, &cursor.name);
                let _ = write!(
                    line,
                    ",\"pending\":{},\"unacknowledged\":{}}}",
                    cursor.pending, cursor.unacknowledged
                );
            }
            line.push_str("]}");
            console.line(line)?;
            continue;
        }
        console.line(format_args!(
            "{}  {} messages, {} bytes, {} of {} copies up to date{}",
            state.name,
            state.messages,
            report.bytes,
            state.replicas.saturating_sub(report.late.len() as u64),
            state.replicas,
            if report.leader.is_empty() {
                ", no leader"
            } else {
                ""
            },
        ))?;
        for cursor in &report.cursors {
            console.line(format_args!(
                "  {}  {} to come, {} not acknowledged",
                cursor.name, cursor.pending, cursor.unacknowledged
            ))?;
        }
    }
    if reports.is_empty() && !console.is_json() {
        console.say(format_args!("no streams: `broker nats init` makes one"));
    }
    Ok(())
}
