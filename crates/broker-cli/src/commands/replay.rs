//! `broker replay`: sends recorded messages again.

use std::path::PathBuf;
use std::time::Duration;

use broker::data::View;
use broker::recording::RecordingReader;
use broker::{Timespan, Timestamp, Value};
use clap::Args;
use tokio::time::Instant;

use super::publish::drain;
use crate::arguments::{ConnectionArguments, Global};
use crate::console::Console;
use crate::duration::duration;
use crate::literal;
use crate::nearest::check_file;
use crate::outcome::{EXIT_CODES, Exit, Failure, Outcome};
use crate::session::{self, OnPeerLoss, Session, Waited};
use crate::target::{Target, Tls};

/// Shorter pauses are left out: timers are no finer.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// How long it is waited until the peers have taken everything.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "Examples:
  broker replay day.rec -u localhost:9999              as fast as they came
  broker replay day.rec --speed 10                     ten times as fast
  broker replay day.rec --speed max --from 1h --to 2h  the second hour, at once
  broker replay day.rec --map-topic zeek/logs/=test/logs/
  broker replay day.rec --listen 127.0.0.1:9999        be the peer of a program";

/// Send recorded messages again
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Replay {
    /// A file of `broker record`
    file: PathBuf,
    /// Times as fast as they came, or max
    #[arg(long, value_name = "N", value_parser = speed, default_value = "1")]
    speed: Speed,
    /// Begin again at the end, until interrupted
    #[arg(long = "loop")]
    again: bool,
    /// Leave out what came before: a time, or how long after the first message
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Leave out what came then or later
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Replace the beginning of topics (repeatable)
    #[arg(long = "map-topic", value_name = "OLD=NEW", value_parser = mapping)]
    mappings: Vec<(String, String)>,
    /// Wait for a peer instead of connecting to one
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "urls")]
    listen: Option<String>,
    /// How long to wait for a peer that subscribes
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Speed {
    Times(f64),
    Max,
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    match text.parse::<f64>() {
        Ok(times) if times.is_finite() && times > 0.0 => Ok(Speed::Times(times)),
        _ => Err("expected a number such as `1`, `10` or `0.5`, or `max`".to_owned()),
    }
}

fn mapping(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=');
    let (old, new) = parts.ok_or("expected the old beginning, `=`, and the new one")?;
    Ok((old.to_owned(), new.to_owned()))
}

/// A border of what is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Border {
    At(Timestamp),
    After(Timespan),
}

impl Border {
    fn parse(whose: &str, text: &str) -> Result<Self, Failure> {
        match literal::parse(text).map_err(|error| Failure::literal(whose, &error))? {
            Value::Timestamp(time) => Ok(Self::At(time)),
            Value::Timespan(span) => Ok(Self::After(span)),
            _ => Err(
                Failure::usage(format!("{whose}: expected a time or a duration"))
                    .hint("such as 2026-01-02T03:04:05Z, or 10min after the first message"),
            ),
        }
    }

    fn time(self, first: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::After(span) => first.saturating_add(span),
        }
    }
}

impl Replay {
    pub(crate) fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let border = |whose, text: &Option<String>| {
            text.as_deref()
                .map(|text| Border::parse(whose, text))
                .transpose()
        };
        let borders = (border("--from", &self.from)?, border("--to", &self.to)?);
        check_file("recording", &self.file)?;
        let reader = RecordingReader::open(&self.file)?;
        let target = match &self.listen {
            None => Target::find(&self.connection, global)?,
            Some(_) => {
                let tls = Tls::of(&self.connection.tls, Default::default())?;
                Target {
                    peers: Vec::new(),
                    options: tls.options(&[]),
                }
            }
        };
        let runtime = session::runtime()?;
        let outcome = runtime.block_on(self.send(target, reader, borders, console));
        runtime.shutdown_background();
        outcome
    }

    async fn send(
        self,
        target: Target,
        mut reader: RecordingReader,
        borders: (Option<Border>, Option<Border>),
        console: &mut Console,
    ) -> Outcome {
        let is_native = target.is_native();
        let mut session = Session::of(target, OnPeerLoss::End)?;
        session.connect().await?;
        if let Some(address) = &self.listen {
            let (host, port) = address
                .rsplit_once(':')
                .and_then(|(host, port)| Some((host, port.parse().ok()?)))
                .ok_or_else(|| Failure::usage("--listen: expected HOST:PORT"))?;
            let port = session.endpoint.listen(host, port).await?;
            console.say(format_args!("listening on {host}:{port}"));
        }
        if is_native {
            match session.or_signal(self.await_subscriber(&session)).await {
                Waited::Ended(_) => return Ok(Exit::Interrupted),
                Waited::Over(true) => {}
                Waited::Over(false) => {
                    let what = "no peer subscribed to anything in time";
                    return Err(Failure::new(Exit::NothingCame, what));
                }
            }
        }
        let mut player = Player {
            replay: &self,
            borders,
            first: None,
            started: Instant::now(),
            sent: 0,
        };
        let exit = loop {
            let exit = player.play(&mut reader, &session, console).await?;
            let damage = reader.damage();
            if let Some((error, bytes)) = damage {
                console.warn(format_args!(
                    "{bytes} bytes at the end cannot be read: {error}"
                ));
            }
            if exit != Exit::Done || !self.again || player.sent == 0 {
                break exit;
            }
            reader.rewind()?;
            player.first = None;
        };
        let drained = if exit == Exit::Done && is_native {
            drain(&session, DRAIN_TIMEOUT).await
        } else {
            Ok(())
        };
        let took = player.started.elapsed().as_secs_f64();
        console.say(format_args!("{} messages in {took:.1} s", player.sent));
        session.leave().await;
        drained?;
        Ok(exit)
    }

    /// Waits until a peer wants something: what is sent before is sent to none.
    async fn await_subscriber(&self, session: &Session) -> bool {
        let limit = match (&self.listen, self.timeout) {
            (_, Some(timeout)) => Some(timeout),
            // One that was connected to has said what it wants; it may also want nothing.
            (None, None) => Some(Duration::ZERO),
            (Some(_), None) => None,
        };
        let deadline = limit.map(|limit| Instant::now() + limit);
        let wanted = session
            .endpoint
            .until(|it| (!it.peer_subscriptions().is_empty()).then_some(()));
        tokio::select! {
            biased;
            () = wanted => true,
            () = session::until(deadline) => self.listen.is_none() && self.timeout.is_none(),
        }
    }
}

/// Sends what is in a file once.
struct Player<'a> {
    replay: &'a Replay,
    borders: (Option<Border>, Option<Border>),
    /// The time of the first message in the file, and of the first that is sent.
    first: Option<(Timestamp, Option<Timestamp>)>,
    started: Instant,
    sent: u64,
}

impl Player<'_> {
    async fn play(
        &mut self,
        reader: &mut RecordingReader,
        session: &Session,
        console: &mut Console,
    ) -> Outcome {
        let mut begun = Instant::now();
        loop {
            let mut block = Vec::new();
            let more = reader.next_block(|_, message| {
                block.push((
                    message.time,
                    message.topic.to_vec(),
                    message.payload.to_vec(),
                ));
                Ok::<(), Failure>(())
            });
            if !more? {
                return Ok(Exit::Done);
            }
            for (time, topic, payload) in block {
                let (first, sent_first) = *self.first.get_or_insert((time, None));
                let is_before = self.borders.0.is_some_and(|it| time < it.time(first));
                let is_behind = self.borders.1.is_some_and(|it| time >= it.time(first));
                if is_before || is_behind {
                    continue;
                }
                let zero = sent_first.unwrap_or_else(|| {
                    begun = Instant::now();
                    time
                });
                self.first = Some((first, Some(zero)));
                let due = begun + self.after(zero, time);
                let send = async {
                    if due.saturating_duration_since(Instant::now()) >= PAUSE_MIN {
                        tokio::time::sleep_until(due).await;
                    }
                    let Ok(view) = View::new(&payload) else {
                        return Ok(false);
                    };
                    let topic = self.mapped(topic);
                    session
                        .endpoint
                        .publish_async(topic, &view)
                        .await
                        .map(|()| true)
                };
                match session.or_signal(send).await {
                    Waited::Over(sent) => {
                        self.sent += u64::from(sent?);
                        console.progress(format_args!("{} messages", self.sent));
                    }
                    Waited::Ended(_) => return Ok(Exit::Interrupted),
                }
                if session.endpoint.peers().is_empty() {
                    return Err(Failure::new(Exit::Unreachable, "the peer has left"));
                }
            }
        }
    }

    /// How long after the first message one is due.
    fn after(&self, first: Timestamp, time: Timestamp) -> Duration {
        let ns = u64::try_from(time.ns().saturating_sub(first.ns())).unwrap_or_default();
        match self.replay.speed {
            Speed::Max => Duration::ZERO,
            Speed::Times(times) => {
                let seconds = Duration::from_nanos(ns).as_secs_f64() / times;
                Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4)
            }
        }
    }

    fn mapped(&self, topic: Vec<u8>) -> Vec<u8> {
        for (old, new) in &self.replay.mappings {
            if let Some(rest) = topic.strip_prefix(old.as_bytes()) {
                return [new.as_bytes(), rest].concat();
            }
        }
        topic
    }
}
