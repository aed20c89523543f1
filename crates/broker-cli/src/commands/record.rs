//! `broker record`: keeps messages in a file, with the times at which they came.

use std::collections::BTreeMap;
use std::path::PathBuf;

use broker::data::json::put_text;
use broker::recording::{RecordingReader, RecordingWriter};
use broker::zeromq::LogReceiver;
use broker::{MessageRef, Subscriber, Timestamp};
use clap::Args;

use super::logs::{self, Told};
use crate::arguments::{ConnectionArguments, EndArguments, Global};
use crate::console::Console;
use crate::incoming::{put_topic, time_text};
use crate::interrupt::Interrupt;
use crate::nearest::check_file;
use crate::outcome::{EXIT_CODES, Exit, Failure, Outcome};
use crate::session::{self, OnPeerLoss, Session};
use crate::target::{Place, Target};

/// Runs of messages that are taken before signals, times and events of the endpoint are looked at.
const RUNS_AT_ONCE: usize = 64;

/// Begins topics of what an endpoint says about itself. Spec: wire 9.3.
const INTERNAL: &[u8] = b"<$>/";

/// Topics that `--info` tells apart; messages on others are counted together.
const TOPICS_MAX: usize = 10_000;

const EXAMPLES: &str = "Examples:
  broker record day.rec zeek/ -u localhost:9999    until Ctrl-C
  broker record day.rec zeek/ --timeout 1h         go on with the same file
  broker record logs.rec -u zmq-pull://:27764       logs of a ZeroMQ cluster
  broker record day.rec --info                     topics, numbers, span
  broker replay day.rec -u localhost:9998          send them again";

/// Keep messages in a file, for `replay`
///
/// A file that is there is gone on with. What a recorder that was killed had not finished is cut off
/// and told.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Record {
    /// The file
    file: PathBuf,
    /// Topics, as prefixes: '' is every topic
    ///
    /// With zmq-pull://ADDRESS:PORT there are none: all logs are kept that the nodes of a ZeroMQ cluster
    /// push there.
    #[arg(value_name = "TOPIC", required_unless_present_any = ["info", "urls"])]
    topics: Vec<String>,
    /// Print what is in the file
    #[arg(long, conflicts_with_all = ["topics", "forward_to"])]
    info: bool,
    /// With zmq-pull://: the logger that gets everything, too
    #[arg(long, value_name = "ADDRESS", hide_short_help = true)]
    forward_to: Option<String>,
    /// End when a peer is lost, do not connect again
    #[arg(long)]
    no_retry: bool,
    #[command(flatten)]
    end: EndArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

impl Record {
    pub(crate) fn run(self, global: &Global, console: &mut Console) -> Outcome {
        if self.info {
            return info(&self.file, console);
        }
        let place = Place::find(&self.connection, global)?;
        let is_pushed = place.logger()?.is_some();
        let source = match (is_pushed, self.topics.is_empty()) {
            (true, true) => {
                let receiver = logs::bind(&place, &self.connection, self.forward_to.clone())?;
                Source::Pushed(receiver)
            }
            (true, false) => {
                let what = "logs that are pushed have no topics: everything is kept";
                return Err(Failure::usage(what));
            }
            (false, true) => {
                return Err(Failure::usage("no topic is given").hint("'' is every topic"));
            }
            (false, false) if self.forward_to.is_some() => {
                return Err(Failure::usage("--forward-to is for logs that are pushed"));
            }
            (false, false) => Source::Peers(Box::new(Target::of(place, &self.connection)?)),
        };
        let (writer, torn) = RecordingWriter::open(&self.file)?;
        if torn > 0 {
            console.warn(format_args!(
                "{torn} bytes of an unfinished block are cut off"
            ));
        }
        let loss = OnPeerLoss::retry_unless(self.no_retry);
        let runtime = session::runtime()?;
        let outcome = runtime.block_on(async {
            match source {
                Source::Peers(target) => self.receive(*target, loss, writer, console).await,
                Source::Pushed(receiver) => self.receive_pushed(receiver, writer, console).await,
            }
        });
        runtime.shutdown_background();
        outcome
    }

    /// Keeps what nodes push.
    async fn receive_pushed(
        self,
        mut receiver: LogReceiver,
        mut writer: RecordingWriter,
        console: &mut Console,
    ) -> Outcome {
        let interrupt = Interrupt::start(&tokio::runtime::Handle::current())
            .map_err(|error| Failure::failed(format!("cannot watch signals: {error}")))?;
        console.say(format_args!("listening at {}", receiver.local_address()));
        let started = tokio::time::Instant::now();
        let timeout = self.end.timeout.map(|it| started + it);
        let mut heard = started;
        let limit = self.end.count.unwrap_or(u64::MAX);
        let mut look = tokio::time::interval(logs::LOOK_INTERVAL);
        let (mut told, mut messages, mut lost) = (Told::default(), 0, 0);
        let exit = loop {
            let idle = self.end.idle.map(|it| heard + it);
            tokio::select! {
                biased;
                _ = interrupt.wait() => break Exit::Interrupted,
                () = session::until(timeout) => break self.exit_at_end(messages),
                _ = look.tick() => lost += told.look(&receiver, console),
                message = session::next(&mut receiver) => {
                    let mut message = message;
                    let mut taken = 0;
                    while let Some(one) = message {
                        writer.push_log_message(session::now(), one.parts())?;
                        messages += 1;
                        taken += 1;
                        let goes_on = taken < RUNS_AT_ONCE && messages < limit;
                        message = if goes_on { receiver.try_recv() } else { None };
                    }
                    if taken < RUNS_AT_ONCE {
                        writer.flush()?;
                    }
                    heard = tokio::time::Instant::now();
                    if messages >= limit {
                        break Exit::Done;
                    }
                }
                () = session::until(idle) => break self.exit_at_end(messages),
            }
        };
        lost += told.look(&receiver, console);
        logs::close(&receiver, &interrupt, console).await;
        let length = writer.finish()?;
        let took = started.elapsed().as_secs_f64();
        console.say(format_args!(
            "{messages} messages in {took:.1} s; the file has {length} bytes"
        ));
        match lost {
            0 => Ok(exit),
            _ => Err(Failure::failed(format!("{lost} messages are lost"))),
        }
    }

    async fn receive(
        self,
        target: Target,
        loss: OnPeerLoss,
        mut writer: RecordingWriter,
        console: &mut Console,
    ) -> Outcome {
        let mut session = Session::of(target, loss)?;
        let mut subscriber = session.subscribe(&self.topics)?;
        session.connect().await?;
        let started = tokio::time::Instant::now();
        let mut counts = Counts::default();
        let taken = self.take(
            &mut session,
            &mut subscriber,
            &mut writer,
            &mut counts,
            console,
        );
        let ended = taken.await;
        // Whatever ended it, what came is kept.
        let finished = writer.finish();
        session.leave().await;
        let exit = ended?;
        let length = finished?;
        let Counts { messages, lost } = counts;
        let took = started.elapsed().as_secs_f64();
        console.say(format_args!(
            "{messages} messages in {took:.1} s; the file has {length} bytes"
        ));
        match lost {
            0 => Ok(exit),
            _ => Err(Failure::failed(format!("{lost} messages are lost"))),
        }
    }

    async fn take(
        &self,
        session: &mut Session,
        subscriber: &mut Subscriber,
        writer: &mut RecordingWriter,
        counts: &mut Counts,
        console: &mut Console,
    ) -> Outcome {
        let interrupt = session.interrupt.clone();
        let started = tokio::time::Instant::now();
        let timeout = self.end.timeout.map(|it| started + it);
        let mut heard = started;
        let limit = self.end.count.unwrap_or(u64::MAX);
        loop {
            let idle = self.end.idle.map(|it| heard + it);
            tokio::select! {
                biased;
                _ = interrupt.wait() => return Ok(Exit::Interrupted),
                event = session.event() => {
                    if let Some(event) = event {
                        session.on_event(&event, console)?;
                    }
                }
                () = session::until(timeout) => return Ok(self.exit_at_end(counts.messages)),
                message = session::message(subscriber) => {
                    let message = message?;
                    let mut failed = Ok(());
                    let mut push = |topic: &[u8], frame: &[u8], now| {
                        let is_wanted = counts.messages < limit && !topic.starts_with(INTERNAL);
                        if failed.is_ok() && is_wanted {
                            failed = writer.push(now, frame);
                            counts.messages += 1;
                        }
                    };
                    push(message.topic(), message.frame(), session::now());
                    let mut runs = 0;
                    while runs < RUNS_AT_ONCE && interrupt.came().is_none() {
                        let now = session::now();
                        let seen = subscriber.for_each_ready(|message: MessageRef<'_>| {
                            push(message.topic(), message.frame(), now);
                        });
                        if seen == 0 {
                            break;
                        }
                        runs += 1;
                    }
                    failed?;
                    // More will come at once, and fills the block.
                    if runs < RUNS_AT_ONCE {
                        writer.flush()?;
                    }
                    heard = tokio::time::Instant::now();
                    let lost = subscriber.take_loss();
                    if lost > 0 {
                        counts.lost += lost;
                        console.warn(format_args!("{lost} messages came too fast and are lost"));
                    }
                    if counts.messages >= limit {
                        return Ok(Exit::Done);
                    }
                }
                () = session::until(idle) => return Ok(self.exit_at_end(counts.messages)),
            }
        }
    }

    fn exit_at_end(&self, count: u64) -> Exit {
        let is_short = self.end.count.is_some_and(|wanted| count < wanted);
        if count == 0 || is_short {
            Exit::NothingCame
        } else {
            Exit::Done
        }
    }
}

/// Where messages come from.
enum Source {
    Peers(Box<Target>),
    /// Nodes of a ZeroMQ cluster, which push their logs.
    Pushed(LogReceiver),
}

/// What came.
#[derive(Debug, Default)]
struct Counts {
    messages: u64,
    /// Dropped before they were taken.
    lost: u64,
}

/// What is in a file.
#[derive(Debug, Default)]
struct Contents {
    messages: u64,
    bytes: u64,
    blocks: u64,
    span: Option<(Timestamp, Timestamp)>,
    topics: BTreeMap<Vec<u8>, u64>,
    /// Messages on topics that are not told apart.
    other: u64,
}

impl Contents {
    fn add(&mut self, time: Timestamp, topic: &[u8], bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
        let (first, last) = self.span.unwrap_or((time, time));
        self.span = Some((first.min(time), last.max(time)));
        if let Some(count) = self.topics.get_mut(topic) {
            *count += 1;
        } else if self.topics.len() < TOPICS_MAX {
            self.topics.insert(topic.to_vec(), 1);
        } else {
            self.other += 1;
        }
    }

    /// As an object. See `schema/record.json`.
    fn json(&self, torn: u64) -> String {
        let mut line = format!(
            "{{\"type\":\"recording\",\"messages\":{},\"bytes\":{},\"blocks\":{}",
            self.messages, self.bytes, self.blocks
        );
        for (name, time) in [
            ("first", self.span.map(|it| it.0)),
            ("last", self.span.map(|it| it.1)),
        ] {
            match time {
                Some(time) => {
                    line.push_str(&format!(",\"{name}\":\"{}\"", session::full_time(time)))
                }
                None => line.push_str(&format!(",\"{name}\":null")),
            }
        }
        line.push_str(",\"topics\":[");
        for (index, (topic, count)) in self.topics.iter().enumerate() {
            line.push_str(if index > 0 { "," } else { "" });
            line.push_str("{\"topic\":");
            put_text(&mut line, topic, broker::data::json::Form::Lossless);
            line.push_str(&format!(",\"messages\":{count}}}"));
        }
        line.push_str(&format!(
            "],\"other\":{},\"torn_bytes\":{torn}}}",
            self.other
        ));
        line
    }

    fn print(&self, console: &mut Console) -> Result<(), Failure> {
        console.line(format_args!(
            "{} messages, {} bytes",
            self.messages, self.bytes
        ))?;
        if let Some((first, last)) = self.span {
            #[expect(clippy::cast_precision_loss, reason = "it is shown with three digits")]
            let seconds = last.ns().saturating_sub(first.ns()) as f64 / 1e9;
            let (first, last) = (time_text(first), time_text(last));
            console.line(format_args!("from {first} to {last}: {seconds:.3} s"))?;
        }
        let mut topics: Vec<_> = self.topics.iter().collect();
        topics.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (topic, count) in topics {
            let mut text = Vec::new();
            put_topic(&mut text, topic);
            console.line(format_args!(
                "{count:>12} {}",
                String::from_utf8_lossy(&text)
            ))?;
        }
        if self.other > 0 {
            console.line(format_args!("{:>12} on further topics", self.other))?;
        }
        Ok(())
    }
}

fn info(file: &std::path::Path, console: &mut Console) -> Outcome {
    check_file("recording", file)?;
    let mut reader = RecordingReader::open(file)?;
    let mut contents = Contents::default();
    loop {
        let more = reader.next_block(|_, message| {
            contents.add(message.time, message.topic, message.frame.len());
            Ok::<(), Failure>(())
        });
        if more? { contents.blocks += 1 } else { break }
    }
    let damage = reader.damage();
    if console.is_json() {
        console.line(contents.json(damage.map_or(0, |(_, bytes)| bytes)))?
    } else {
        contents.print(console)?
    }
    if let Some((error, bytes)) = damage {
        console.warn(format_args!(
            "{bytes} bytes at the end cannot be read: {error}"
        ));
    }
    Ok(Exit::Done)
}
