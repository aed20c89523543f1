//! `broker logs`: Zeek's log stream, shown or kept in files.

mod field;
mod files;
mod outside;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use broker::recording::RecordingReader;
use broker::zeek::{LOG_TOPIC, LogDecoder, LogRecord, Schema, logger_topic};
use broker::zeromq::LogReceiver;
use broker::{Message, Subscriber, Timestamp};
use clap::Args;

use self::field::{FieldName, LOG_NAME, MissingFields, Projection};
use self::files::{Closed, FILES_MAX, LogFiles, Spelling, stamp};
pub(super) use self::outside::{LOOK_INTERVAL, Told, bind, close};
use self::table::Table;
use super::subscribe::tell_shortage;
use crate::arguments::{ConnectionArguments, EndArguments, Global};
use crate::condition::Condition;
use crate::console::Console;
use crate::duration::duration;
use crate::nearest::check_file;
use crate::outcome::{EXIT_CODES, Exit, Failure, Outcome};
use crate::session::{self, OnPeerLoss, Session};
use crate::target::{Place, Target};

/// Messages that are taken before signals, times and events of the endpoint are looked at. Zeek puts
/// up to 400 records into one.
const MESSAGES_AT_ONCE: usize = 256;

/// Problems with messages that are told one by one; further ones are counted.
const PROBLEMS_TOLD_MAX: u64 = 10;

/// The clock may be set, so what is due by it is looked at least that often.
const CLOCK_CHECK: Duration = Duration::from_secs(30);

/// A rotation takes as many files as there are logs, and their names have seconds.
const ROTATION_MIN: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "Examples:
  broker logs -u zeek:9999                       all logs, as they come
  broker logs conn -w 'id.orig_h in 10.0.0.0/8 and id.resp_p == 443'
  broker logs conn dns --fields ts,uid,id.orig_h --json | jq .uid
  broker logs --write /var/log/zeek --rotate 1h  files, as a logger keeps them
  broker logs conn --logger logger-1             records for a logger of a cluster
  broker logs -u zmq-pull://:27764               be the logger of a ZeroMQ cluster
  broker logs --recording day.rec conn           what `broker record` kept

In --where: fields before an operator, values behind it (see `broker value
--help`), $field for a field behind one, _path for the name of the log;
== != < <= > >= ~ in contains, not, and, or, ( ).";

/// Show Zeek's logs as they are written, or keep them in files
///
/// Zeek sends records to peers that subscribe to zeek/logs/, which this does. In a cluster they go
/// to its loggers: name them with --logger. Nodes of a cluster that uses ZeroMQ push them to a
/// logger, which this is at zmq-pull://ADDRESS:PORT.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Logs {
    /// Logs, such as conn or Conn::LOG; all unless given
    #[arg(value_name = "LOG")]
    logs: Vec<String>,
    /// Only records of which that holds: 'id.resp_p == 22'
    #[arg(short = 'w', long = "where", value_name = "EXPR")]
    condition: Option<String>,
    /// Only these fields, in that order: ts,id.orig_h
    #[arg(short, long, value_name = "FIELDS", value_delimiter = ',')]
    fields: Vec<String>,
    /// table, json or tsv (Zeek's own)
    ///
    /// On a terminal records are shown as a table, elsewhere as JSON. In files they are tsv unless
    /// given.
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    format: Option<Format>,
    /// Keep a file per log in that folder
    ///
    /// The open one of a log is `conn.log`. Once closed it has its last line and the name
    /// `conn-2026-01-02-03-04-05.log`, with the time at which it was opened, and that name is
    /// printed. All times are UTC. What a writer leaves that is killed, the next one finishes.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// Close the files at each multiple of that time
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "write")]
    rotate: Option<Duration>,
    /// Also take what is for that logger (repeatable)
    #[arg(long = "logger", value_name = "NAME")]
    loggers: Vec<String>,
    /// With zmq-pull://: the logger that gets everything, too
    ///
    /// Each message is passed on to it unchanged, whatever is shown here: zmq-push://HOST:PORT.
    #[arg(long, value_name = "ADDRESS", hide_short_help = true)]
    forward_to: Option<String>,
    /// Logs that are in a file of `broker record`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["urls", "loggers", "forward_to"])]
    recording: Option<PathBuf>,
    /// End when a peer is lost, do not connect again
    #[arg(long, hide_short_help = true)]
    no_retry: bool,
    #[command(flatten)]
    end: EndArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Where records come from.
enum Source {
    Peers(Box<Target>),
    /// Nodes of a ZeroMQ cluster, which push them.
    Pushed(LogReceiver),
    Recorded(RecordingReader),
}

/// How records are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
    Tsv,
}

impl Logs {
    /// The log of what the intelligence framework found.
    pub(super) fn intel(end: EndArguments, connection: ConnectionArguments) -> Self {
        Self {
            logs: vec!["intel".to_owned()],
            condition: None,
            fields: Vec::new(),
            format: None,
            write: None,
            rotate: None,
            loggers: Vec::new(),
            forward_to: None,
            recording: None,
            no_retry: false,
            end,
            connection,
        }
    }

    pub(crate) fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let source = self.source(global)?;
        let condition = self.condition.as_deref().map(Condition::parse).transpose();
        let condition = condition.map_err(|error| Failure::literal("--where", &error))?;
        if self.rotate.is_some_and(|interval| interval < ROTATION_MIN) {
            return Err(Failure::usage("--rotate is a second at least"));
        }
        let (sink, left) = self.sink(console)?;
        let reader = Reader {
            decoder: if self.logs.is_empty() {
                LogDecoder::new()
            } else {
                LogDecoder::new().only(self.logs.clone())
            },
            missing: MissingFields::new(self.named_fields(condition.as_ref())),
            tells_missing_at_once: self.logs.len() == 1,
            condition,
            projection: (!self.fields.is_empty()).then(|| Projection::new(self.fields.clone())),
            sink,
            shown: 0,
            count: self.end.count.unwrap_or(u64::MAX),
            problems: 0,
            lost: 0,
        };
        for closed in left {
            console.say(format_args!(
                "finished `{}`, which a writer that was killed had left{}",
                closed.file.display(),
                match closed.torn_bytes {
                    0 => String::new(),
                    bytes => format!("; {bytes} bytes of an unfinished line are cut off"),
                }
            ));
            put_closed(&closed, console)?;
        }
        let loss = OnPeerLoss::retry_unless(self.no_retry);
        let runtime = session::runtime()?;
        let outcome = runtime.block_on(async {
            match source {
                Source::Peers(target) => self.receive(*target, loss, reader, console).await,
                Source::Pushed(receiver) => self.receive_pushed(receiver, reader, console).await,
                Source::Recorded(file) => self.read(file, reader, console),
            }
        });
        runtime.shutdown_background();
        outcome
    }

    /// Where records come from.
    fn source(&self, global: &Global) -> Result<Source, Failure> {
        if let Some(file) = &self.recording {
            check_file("recording", file)?;
            return Ok(Source::Recorded(RecordingReader::open(file)?));
        }
        let place = Place::find(&self.connection, global)?;
        if place.logger()?.is_none() {
            if self.forward_to.is_some() {
                let failure = Failure::usage("--forward-to is for logs that are pushed");
                return Err(failure.hint("such as with -u zmq-pull://0.0.0.0:27764"));
            }
            return Ok(Source::Peers(Box::new(Target::of(
                place,
                &self.connection,
            )?)));
        }
        if !self.loggers.is_empty() {
            let what = "--logger is for logs of native peers: here nodes push to one logger";
            return Err(Failure::usage(what));
        }
        let receiver = bind(&place, &self.connection, self.forward_to.clone())?;
        Ok(Source::Pushed(receiver))
    }

    fn sink(&self, console: &Console) -> Result<(Sink, Vec<Closed>), Failure> {
        if let Some(folder) = &self.write {
            let spelling = match self.format {
                None | Some(Format::Tsv) => Spelling::Tsv,
                Some(Format::Json) => Spelling::Json,
                Some(Format::Table) => {
                    return Err(Failure::usage("files are --format tsv or --format json"));
                }
            };
            let (files, left) = LogFiles::open(folder, spelling, self.rotate, session::now())?;
            return Ok((Sink::Files(files), left));
        }
        let format = match (self.format, console.is_json(), console.output_is_terminal()) {
            (Some(format), _, _) => format,
            (None, false, true) => Format::Table,
            (None, _, _) => Format::Json,
        };
        let sink = match format {
            Format::Json => Sink::Json(String::new()),
            Format::Tsv => Sink::Tsv(None),
            Format::Table => Sink::Table(Table::new(console.palette(), console.width())),
        };
        Ok((sink, Vec::new()))
    }

    /// Fields that are named on the command line.
    fn named_fields(&self, condition: Option<&Condition<FieldName>>) -> Vec<String> {
        let mut names = self.fields.clone();
        if let Some(condition) = condition {
            condition.for_each_part(&mut |FieldName(name)| names.push(name.clone()));
        }
        names.retain(|name| name != LOG_NAME);
        names.sort_unstable();
        names.dedup();
        names
    }

    async fn receive(
        self,
        target: Target,
        loss: OnPeerLoss,
        mut reader: Reader,
        console: &mut Console,
    ) -> Outcome {
        let mut session = Session::of(target, loss)?;
        let mut topics = vec![LOG_TOPIC.to_owned()];
        topics.extend(self.loggers.iter().map(|name| logger_topic(name)));
        let mut subscriber = session.subscribe(&topics)?;
        session.connect().await?;
        let ended = self
            .take(&mut session, &mut subscriber, &mut reader, console)
            .await;
        // Whatever went wrong, the files that can be are closed.
        let closed = reader.sink.close(console);
        session.leave().await;
        self.conclude(ended, closed, &mut reader, console)
    }

    /// Tells what is to be told at the end.
    fn conclude(
        &self,
        ended: Outcome,
        closed: Result<(), Failure>,
        reader: &mut Reader,
        console: &mut Console,
    ) -> Outcome {
        let exit = ended?;
        closed?;
        reader.tell_missing(console);
        if reader.problems > PROBLEMS_TOLD_MAX {
            let further = reader.problems - PROBLEMS_TOLD_MAX;
            console.warn(format_args!("{further} more messages gave no record"));
        }
        if let Sink::Files(files) = &reader.sink
            && files.refused() > 0
        {
            return Err(Failure::failed(format!(
                "{} records are not written: they are of more logs than {FILES_MAX}",
                files.refused()
            )));
        }
        match reader.lost {
            0 => Ok(exit),
            lost if self.write.is_some() => Err(Failure::failed(format!(
                "{lost} messages came faster than they could be written, and are lost"
            ))),
            _ => Ok(exit),
        }
    }

    async fn take(
        &self,
        session: &mut Session,
        subscriber: &mut Subscriber,
        reader: &mut Reader,
        console: &mut Console,
    ) -> Outcome {
        let interrupt = session.interrupt.clone();
        let started = tokio::time::Instant::now();
        let timeout = self.end.timeout.map(|it| started + it);
        let mut heard = started;
        loop {
            let idle = self.end.idle.map(|it| heard + it);
            let due = reader
                .sink
                .due()
                .map(|due| tokio::time::Instant::now() + due);
            tokio::select! {
                biased;
                _ = interrupt.wait() => {
                    let took = started.elapsed().as_secs_f64();
                    console.say(format_args!("{} records in {took:.1} s", reader.shown));
                    return Ok(Exit::Interrupted);
                }
                event = session.event() => {
                    if let Some(event) = event {
                        session.on_event(&event, console)?;
                    }
                }
                () = session::until(timeout) => return Ok(reader.exit_at_end(&self.end, console)),
                () = session::until(due) => {
                    reader.sink.rotate_if_due(console)?;
                    console.flush()?;
                }
                message = session::message(subscriber) => {
                    let before = reader.shown;
                    let mut message = Some(message?);
                    let mut taken = 0;
                    while let Some(one) = message {
                        reader.handle(&one, console)?;
                        taken += 1;
                        message = if taken < MESSAGES_AT_ONCE && !reader.is_done() { subscriber.try_recv() } else { None };
                    }
                    reader.note_loss(subscriber, console);
                    // More will come at once, and fills the buffers.
                    if taken < MESSAGES_AT_ONCE || reader.is_done() {
                        reader.sink.flush()?;
                        console.flush()?;
                    }
                    if reader.shown > before {
                        heard = tokio::time::Instant::now();
                    }
                    if reader.is_done() {
                        return Ok(Exit::Done);
                    }
                }
                () = session::until(idle) => return Ok(reader.exit_at_end(&self.end, console)),
            }
        }
    }
}

/// Turns messages into records and puts those that are wanted into the sink.
struct Reader {
    decoder: LogDecoder,
    condition: Option<Condition<FieldName>>,
    projection: Option<Projection>,
    missing: MissingFields,
    /// With one log it is clear that it should have them.
    tells_missing_at_once: bool,
    sink: Sink,
    shown: u64,
    count: u64,
    /// Messages that gave no record.
    problems: u64,
    /// Messages that were dropped before they were taken.
    lost: u64,
}

impl Reader {
    fn is_done(&self) -> bool {
        self.shown >= self.count
    }

    fn exit_at_end(&self, end: &EndArguments, console: &mut Console) -> Exit {
        let is_short = end.count.is_some_and(|count| self.shown < count);
        if self.shown == 0 || is_short {
            tell_shortage(self.shown, console);
            Exit::NothingCame
        } else {
            Exit::Done
        }
    }

    fn handle(&mut self, message: &Message, console: &mut Console) -> Result<(), Failure> {
        self.decoder.handle_message(message);
        self.drain(console)
    }

    /// Takes what the decoder has.
    fn drain(&mut self, console: &mut Console) -> Result<(), Failure> {
        while let Some(name) = self.decoder.poll_unknown_name() {
            console.warn(name);
        }
        while let Some(record) = self.decoder.poll_record() {
            match record {
                Ok(record) => self.record(&record, console)?,
                Err(problem) => self.note_problem(&problem, console),
            }
        }
        Ok(())
    }

    fn note_problem(&mut self, problem: &dyn std::fmt::Display, console: &mut Console) {
        self.problems += 1;
        if self.problems <= PROBLEMS_TOLD_MAX {
            console.warn(problem);
        }
    }

    fn record(&mut self, record: &LogRecord, console: &mut Console) -> Result<(), Failure> {
        if self.is_done() {
            return Ok(());
        }
        self.missing.see(record);
        if self.tells_missing_at_once {
            self.tell_missing(console);
        }
        let is_wanted =
            |condition: &Condition<_>| condition.holds(&|field: &FieldName| field.value(record));
        if !self.condition.as_ref().is_none_or(is_wanted) {
            return Ok(());
        }
        let part = match &mut self.projection {
            None => None,
            Some(projection) => {
                let part = projection.apply(record);
                let Some(part) = part.map_err(|error| Failure::failed(error.to_string()))? else {
                    return Ok(());
                };
                Some(part)
            }
        };
        self.shown += 1;
        self.sink.put(part.as_ref().unwrap_or(record), console)
    }

    fn tell_missing(&mut self, console: &mut Console) {
        for (name, near) in self.missing.take() {
            match near {
                Some(near) => console.warn(format_args!(
                    "no record had a field `{name}`; there is `{near}`"
                )),
                None => console.warn(format_args!("no record had a field `{name}`")),
            }
        }
    }

    fn note_loss(&mut self, subscriber: &Subscriber, console: &mut Console) {
        self.note_lost(subscriber.take_loss(), console);
    }

    fn note_lost(&mut self, lost: u64, console: &mut Console) {
        if lost > 0 {
            self.lost += lost;
            console.warn(format_args!("{lost} messages came too fast and are lost"));
        }
    }
}

/// Where records go.
enum Sink {
    Json(String),
    /// The field list under which the lines stand.
    Tsv(Option<std::sync::Arc<Schema>>),
    Table(Table),
    Files(LogFiles),
}

impl Sink {
    fn put(&mut self, record: &LogRecord, console: &mut Console) -> Result<(), Failure> {
        match self {
            Self::Files(files) => return files.write(record, session::now()),
            Self::Json(scratch) => put_json(record, scratch, console.buffer()),
            Self::Tsv(last) => {
                let schema = record.schema();
                let now = stamp(session::now());
                let out = console.buffer();
                if !last
                    .as_ref()
                    .is_some_and(|it| std::sync::Arc::ptr_eq(it, schema))
                {
                    if last.is_some() {
                        out.extend_from_slice(Schema::tsv_footer(&now).as_bytes());
                    }
                    out.extend_from_slice(schema.tsv_header(&now).as_bytes());
                    *last = Some(schema.clone());
                }
                out.extend_from_slice(record.to_tsv().as_bytes());
                out.push(b'\n');
            }
            Self::Table(table) => table.put(record, console.buffer()),
        }
        console.spill()?;
        Ok(())
    }

    /// Hands what is to be in files to the system.
    fn flush(&mut self) -> Result<(), Failure> {
        match self {
            Self::Files(files) => files.flush(),
            Self::Json(_) | Self::Tsv(_) | Self::Table(_) => Ok(()),
        }
    }

    /// How long until files may have to be closed.
    fn due(&self) -> Option<Duration> {
        let Self::Files(files) = self else {
            return None;
        };
        let left = files.due()?.ns().saturating_sub(session::now().ns());
        let left = Duration::from_nanos(u64::try_from(left).unwrap_or_default());
        Some(left.min(CLOCK_CHECK))
    }

    fn rotate_if_due(&mut self, console: &mut Console) -> Result<(), Failure> {
        let Self::Files(files) = self else {
            return Ok(());
        };
        let now = session::now();
        if files.due().is_some_and(|due| due <= now) {
            for closed in files.rotate(now)? {
                put_closed(&closed, console)?;
            }
        }
        Ok(())
    }

    fn close(&mut self, console: &mut Console) -> Result<(), Failure> {
        match self {
            Self::Files(files) => {
                for closed in files.close(session::now())? {
                    put_closed(&closed, console)?;
                }
            }
            Self::Tsv(Some(_)) => {
                let footer = Schema::tsv_footer(&stamp(session::now()));
                console.buffer().extend_from_slice(footer.as_bytes());
            }
            Self::Json(_) | Self::Tsv(None) | Self::Table(_) => {}
        }
        console.flush()?;
        Ok(())
    }
}

/// Zeek's JSON with the name of the log in front.
fn put_json(record: &LogRecord, scratch: &mut String, out: &mut Vec<u8>) {
    scratch.clear();
    scratch.push_str("{\"");
    scratch.push_str(LOG_NAME);
    scratch.push_str("\":");
    broker::data::json::put_string(scratch, record.path());
    let fields_at = scratch.len();
    record.write_json(scratch);
    // The brace of the record becomes the comma behind the name, or goes if it has no fields.
    let is_empty = scratch.get(fields_at..) == Some("{}");
    scratch.replace_range(fields_at..=fields_at, if is_empty { "" } else { "," });
    scratch.push('\n');
    out.extend_from_slice(scratch.as_bytes());
}

/// A line per closed file: its name, or what is known of it as JSON. See `schema/logs.json`.
fn put_closed(closed: &Closed, console: &mut Console) -> Result<(), Failure> {
    let file = closed.file.display().to_string();
    if !console.is_json() {
        return console.line(file);
    }
    let mut line = String::from("{\"type\":\"log-file\",\"time\":");
    let put_string = broker::data::json::put_string;
    put_string(&mut line, &time());
    line.push_str(",\"log\":");
    put_string(&mut line, &closed.log);
    line.push_str(",\"file\":");
    put_string(&mut line, &file);
    let records = closed
        .records
        .map_or("null".to_owned(), |it| it.to_string());
    line.push_str(&format!(
        ",\"records\":{records},\"torn_bytes\":{}}}",
        closed.torn_bytes
    ));
    console.line(line)
}

fn time() -> String {
    let now: Timestamp = session::now();
    session::full_time(now)
}
