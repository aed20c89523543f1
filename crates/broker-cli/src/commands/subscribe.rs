//! `broker sub`: prints what comes.

use std::io;
use std::time::{Duration, Instant};

use broker::{MessageRef, Timestamp};
use clap::Args;

use crate::arguments::{ConnectionArguments, EndArguments, Global};
use crate::condition::Condition;
use crate::console::Console;
use crate::incoming::{Incoming, Layout, time_text};
use crate::outcome::{EXIT_CODES, Exit, Failure, Outcome};
use crate::pattern;
use crate::session::{self, OnPeerLoss, Session};
use crate::target::Target;
use crate::template::Template;

/// Runs of messages that are shown before signals, times and events of the endpoint are looked at: a
/// run has about 64 KiB.
const RUNS_AT_ONCE: usize = 64;

/// Begins topics of what an endpoint says about itself; they are part of "every topic". Spec: wire 9.3.
const INTERNAL: &str = "<$>/";

/// How often `--stats` prints.
const STATS_INTERVAL: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "Examples:
  broker sub -u localhost:9999 /topic            what comes on /topic and below
  broker sub zeek/ --events 'Cluster::*' -n 1    the first event of such a name
  broker sub '' --where 'args[0] in 10.0.0.0/8'  by the arguments of events
  broker sub /t --format '{time} {name} {args[0]}'
  broker sub /t --json | jq .event

In --where and --format: time, topic, name, args[N], meta[KEY], value,
value[N], json. In --where also: values (see `broker value --help`),
== != < <= > >= ~ in contains, not, and, or, ( ).";

/// Print what comes on topics
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Sub {
    /// Topics, as prefixes: '' is every topic
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Only events with such names, with * and ? (repeatable)
    #[arg(short, long, value_name = "PATTERN")]
    events: Vec<String>,
    /// Only messages of which that holds: 'args[0] > 5'
    #[arg(short = 'w', long = "where", value_name = "EXPR")]
    condition: Option<String>,
    /// Lines of that form: '{time} {name} {args[0]}'
    #[arg(short, long, value_name = "TEXT", conflicts_with_all = ["raw", "stats", "json"])]
    format: Option<String>,
    /// Print the frames of the wire, each with its length
    #[arg(long, conflicts_with_all = ["stats", "json"])]
    raw: bool,
    /// Print rates once per second instead of messages
    #[arg(long)]
    stats: bool,
    /// Print the metadata of events, too
    #[arg(long)]
    header: bool,
    /// End when a peer is lost, do not connect again
    #[arg(long)]
    no_retry: bool,
    #[command(flatten)]
    end: EndArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

impl Sub {
    pub(crate) fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let target = Target::find(&self.connection, global)?;
        let printer = self.printer(console)?;
        let loss = OnPeerLoss::retry_unless(self.no_retry);
        let runtime = session::runtime()?;
        let outcome = runtime.block_on(self.receive(target, loss, printer, console));
        runtime.shutdown_background();
        outcome
    }

    fn printer(&self, console: &Console) -> Result<Printer, Failure> {
        let literal = |what, error| Failure::literal(what, &error);
        let condition = self.condition.as_deref().map(Condition::parse).transpose();
        let template = self.format.as_deref().map(Template::parse).transpose();
        let form = if self.stats {
            Form::Stats(Stats::default())
        } else if self.raw {
            Form::Raw
        } else if console.is_json() {
            Form::Json(String::new())
        } else {
            match template.map_err(|error| literal("--format", error))? {
                Some(template) => {
                    Form::Template(template.for_terminal(console.output_is_terminal()))
                }
                None => Form::Text(Layout::new(console.palette(), self.header)),
            }
        };
        Ok(Printer {
            events: self
                .events
                .iter()
                .map(|it| it.as_bytes().to_vec())
                .collect(),
            condition: condition.map_err(|error| literal("--where", error))?,
            form,
            shows_own: self.topics.iter().any(|it| it.starts_with(INTERNAL)),
            shown: 0,
            count: self.end.count.unwrap_or(u64::MAX),
        })
    }

    async fn receive(
        self,
        target: Target,
        loss: OnPeerLoss,
        mut printer: Printer,
        console: &mut Console,
    ) -> Outcome {
        let mut session = Session::of(target, loss)?;
        let mut subscriber = session.subscribe(&self.topics)?;
        session.connect().await?;
        let interrupt = session.interrupt.clone();
        let started = tokio::time::Instant::now();
        let timeout = self.end.timeout.map(|it| started + it);
        let mut heard = started;
        let mut stats = tokio::time::interval_at(started + STATS_INTERVAL, STATS_INTERVAL);
        let end = loop {
            let idle = self.end.idle.map(|it| heard + it);
            tokio::select! {
                biased;
                _ = interrupt.wait() => break End::Interrupted,
                event = session.event() => {
                    if let Some(event) = event {
                        session.on_event(&event, console)?;
                    }
                }
                () = session::until(timeout) => break End::TimedOut,
                _ = stats.tick(), if self.stats => {
                    printer.put_stats(console)?;
                    console.flush()?;
                }
                message = session::message(&mut subscriber) => {
                    let message = message?;
                    let before = printer.shown;
                    let time = session::now();
                    printer.show(time, message.topic(), message.frame(), message.view(), console)?;
                    let mut runs = 0;
                    while runs < RUNS_AT_ONCE
                        && !printer.is_done()
                        && interrupt.came().is_none()
                        && printer.show_run(&subscriber, console)? > 0
                    {
                        runs += 1;
                    }
                    // More will come at once, and fills the buffer.
                    if runs < RUNS_AT_ONCE {
                        console.flush()?;
                    }
                    if printer.shown > before {
                        heard = tokio::time::Instant::now();
                    }
                    if printer.is_done() {
                        break End::Counted;
                    }
                }
                () = session::until(idle) => break End::TimedOut,
            }
        };
        console.flush()?;
        session.leave().await;
        Ok(self.end(end, &printer, started.into_std(), console))
    }

    fn end(&self, end: End, printer: &Printer, started: Instant, console: &mut Console) -> Exit {
        match end {
            End::Counted => Exit::Done,
            End::Interrupted => {
                let took = started.elapsed().as_secs_f64();
                console.say(format_args!("{} messages in {took:.1} s", printer.shown));
                Exit::Interrupted
            }
            End::TimedOut => {
                let is_short = self.end.count.is_some_and(|count| printer.shown < count);
                if printer.shown == 0 || is_short {
                    tell_shortage(printer.shown, console);
                    Exit::NothingCame
                } else {
                    Exit::Done
                }
            }
        }
    }
}

/// Says that too little came in the time that was given.
pub(super) fn tell_shortage(shown: u64, console: &mut Console) {
    match shown {
        0 => console.say("nothing came in time; `broker doctor --topic TOPIC` finds out why"),
        _ => console.say(format_args!("no more than {shown} came in time")),
    }
}

/// Why the receiving ended.
enum End {
    Counted,
    TimedOut,
    Interrupted,
}

/// How messages are printed.
enum Form {
    Text(Layout),
    Json(String),
    Template(Template),
    Raw,
    Stats(Stats),
}

/// What happened since the last line of `--stats`, and in all.
#[derive(Debug, Default)]
struct Stats {
    messages: u64,
    bytes: u64,
    total: u64,
    since: Option<Instant>,
}

/// Prints messages that are wanted.
struct Printer {
    events: Vec<Vec<u8>>,
    condition: Option<Condition>,
    form: Form,
    /// Whether what this endpoint says about itself was asked for.
    shows_own: bool,
    shown: u64,
    count: u64,
}

impl Printer {
    fn is_done(&self) -> bool {
        self.shown >= self.count
    }

    /// Shows what lies together; returns how many messages that were.
    fn show_run(
        &mut self,
        subscriber: &broker::Subscriber,
        console: &mut Console,
    ) -> io::Result<usize> {
        let time = session::now();
        let mut failed = Ok(());
        let seen = subscriber.for_each_ready(|message: MessageRef<'_>| {
            if failed.is_ok() && !self.is_done() {
                let (topic, frame, view) = (message.topic(), message.frame(), message.view());
                failed = self.show(time, topic, frame, view, console);
            }
        });
        failed.map(|()| seen)
    }

    fn show(
        &mut self,
        time: Timestamp,
        topic: &[u8],
        frame: &[u8],
        view: broker::View<'_>,
        console: &mut Console,
    ) -> io::Result<()> {
        if !self.shows_own && topic.starts_with(INTERNAL.as_bytes()) {
            return Ok(());
        }
        let is_filtered = self.condition.is_some() || !self.events.is_empty();
        let is_parsed = is_filtered || !matches!(self.form, Form::Raw | Form::Stats(_));
        if is_parsed {
            let message = Incoming::new(time, topic, view);
            if is_filtered && !self.is_wanted(&message) {
                return Ok(());
            }
            let out = console.buffer();
            match &mut self.form {
                Form::Text(layout) => message.put_line(out, layout),
                Form::Json(scratch) => message.put_json(out, scratch),
                Form::Template(template) => template.put(out, &message),
                Form::Raw | Form::Stats(_) => {}
            }
        }
        match &mut self.form {
            Form::Raw => console.buffer().extend_from_slice(frame),
            Form::Stats(stats) => {
                stats.messages += 1;
                stats.bytes += frame.len() as u64;
            }
            Form::Text(_) | Form::Json(_) | Form::Template(_) => {}
        }
        self.shown += 1;
        console.spill()
    }

    fn is_wanted(&self, message: &Incoming<'_>) -> bool {
        let is_named = |name: &[u8]| self.events.iter().any(|it| pattern::matches(it, name));
        (self.events.is_empty() || message.event.is_some_and(|event| is_named(event.name())))
            && (self.condition.as_ref()).is_none_or(|it| it.holds(&|path| path.value(message)))
    }

    fn put_stats(&mut self, console: &mut Console) -> Result<(), Failure> {
        let Form::Stats(stats) = &mut self.form else {
            return Ok(());
        };
        let now = Instant::now();
        let since = stats.since.replace(now);
        let seconds = since
            .map_or(STATS_INTERVAL, |since| now - since)
            .as_secs_f64();
        #[expect(
            clippy::cast_precision_loss,
            reason = "rates need no more than 53 bits"
        )]
        let per_second = |number: u64| number as f64 / seconds;
        let (messages, bytes) = (per_second(stats.messages), per_second(stats.bytes));
        stats.total += stats.messages;
        let total = stats.total;
        (stats.messages, stats.bytes) = (0, 0);
        let time = session::now();
        if console.is_json() {
            console.line(format_args!(
                "{{\"type\":\"stats\",\"time\":\"{}\",\"messages_per_second\":{messages:.1},\
                 \"bytes_per_second\":{bytes:.1},\"total\":{total}}}",
                session::full_time(time)
            ))
        } else {
            console.line(format_args!(
                "{} {messages:>10.0} messages/s {:>9.3} MB/s {total:>12} total",
                time_text(time),
                bytes / 1e6
            ))
        }
    }
}
