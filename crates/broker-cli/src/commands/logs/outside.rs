//! Records that come outside of a peering: pushed by the nodes of a ZeroMQ cluster, or recorded.

use std::time::Duration;

use broker::recording::{self, RecordingReader};
use broker::zeromq::{LogReceiver, LogReceiverOptions};
use tokio::time::{Instant, MissedTickBehavior};

use super::{Logs, MESSAGES_AT_ONCE, Reader};
use crate::arguments::ConnectionArguments;
use crate::console::Console;
use crate::interrupt::Interrupt;
use crate::outcome::{Exit, Failure, Outcome};
use crate::session;
use crate::target::{self, Place};

/// How often it is looked for connections that were refused and messages that are lost.
pub(in crate::commands) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Binds to the address of a logger, with the keys that a server has.
pub(in crate::commands) fn bind(
    place: &Place,
    connection: &ConnectionArguments,
    forward_to: Option<String>,
) -> Result<LogReceiver, Failure> {
    let address = place.urls.first().map_or("", String::as_str);
    let mut options = LogReceiverOptions::default();
    options.curve = target::curve(&connection.curve, place.context.curve.as_deref())?;
    options.forward_to = forward_to;
    Ok(LogReceiver::bind(address, options)?)
}

/// How long the logger behind may take for what is left at the end.
const PASS_ON_TIMEOUT: Duration = Duration::from_secs(30);

/// The same for a command that is interrupted: the time that Zeek's nodes give their loggers.
const PASS_ON_TIMEOUT_INTERRUPTED: Duration = Duration::from_millis(500);

/// Closes a receiver once the logger behind it has everything.
pub(in crate::commands) async fn close(
    receiver: &LogReceiver,
    interrupt: &Interrupt,
    console: &mut Console,
) {
    let is_over = interrupt.came().is_none()
        && tokio::select! {
            biased;
            _ = interrupt.wait() => false,
            is_over = receiver.close_async(PASS_ON_TIMEOUT) => is_over,
        };
    if !is_over && !receiver.close_async(PASS_ON_TIMEOUT_INTERRUPTED).await {
        console.warn("the logger behind has not taken everything");
    }
}

/// What a receiver counted and was told.
#[derive(Debug, Default)]
pub(in crate::commands) struct Told {
    refused: u64,
    dropped: u64,
    forward_dropped: u64,
}

impl Told {
    /// Tells what went wrong since the last time; returns how many messages are lost here.
    pub(in crate::commands) fn look(
        &mut self,
        receiver: &LogReceiver,
        console: &mut Console,
    ) -> u64 {
        let stats = receiver.stats();
        let refused = stats.refused.saturating_sub(self.refused);
        if refused > 0 {
            console.warn(format_args!(
                "{refused} connections were refused: no node of Zeek, or one with other CURVE keys"
            ));
        }
        let behind = stats.forward_dropped.saturating_sub(self.forward_dropped);
        if behind > 0 {
            console.warn(format_args!(
                "{behind} messages are lost to the logger behind, which does not take them"
            ));
        }
        let lost = stats.dropped.saturating_sub(self.dropped);
        *self = Self {
            refused: stats.refused,
            dropped: stats.dropped,
            forward_dropped: stats.forward_dropped,
        };
        lost
    }
}

impl Logs {
    /// Shows what nodes push.
    pub(super) async fn receive_pushed(
        &self,
        mut receiver: LogReceiver,
        mut reader: Reader,
        console: &mut Console,
    ) -> Outcome {
        let interrupt = interrupt()?;
        console.say(format_args!("listening at {}", receiver.local_address()));
        let mut told = Told::default();
        let taken = self.take_pushed(&mut receiver, &interrupt, &mut told, &mut reader, console);
        let ended = taken.await;
        let lost = told.look(&receiver, console);
        reader.note_lost(lost, console);
        close(&receiver, &interrupt, console).await;
        let closed = reader.sink.close(console);
        self.conclude(ended, closed, &mut reader, console)
    }

    async fn take_pushed(
        &self,
        receiver: &mut LogReceiver,
        interrupt: &Interrupt,
        told: &mut Told,
        reader: &mut Reader,
        console: &mut Console,
    ) -> Outcome {
        let started = Instant::now();
        let timeout = self.end.timeout.map(|it| started + it);
        let mut heard = started;
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let idle = self.end.idle.map(|it| heard + it);
            let due = reader.sink.due().map(|due| Instant::now() + due);
            tokio::select! {
                biased;
                _ = interrupt.wait() => {
                    let took = started.elapsed().as_secs_f64();
                    console.say(format_args!("{} records in {took:.1} s", reader.shown));
                    return Ok(Exit::Interrupted);
                }
                () = session::until(timeout) => return Ok(reader.exit_at_end(&self.end, console)),
                () = session::until(due) => {
                    reader.sink.rotate_if_due(console)?;
                    console.flush()?;
                }
                _ = look.tick() => {
                    let lost = told.look(receiver, console);
                    reader.note_lost(lost, console);
                }
                message = session::next(receiver) => {
                    let before = reader.shown;
                    let mut message = message;
                    let mut taken = 0;
                    while let Some(one) = message {
                        reader.decoder.handle_log_message(one.parts());
                        reader.drain(console)?;
                        taken += 1;
                        message = if taken < MESSAGES_AT_ONCE && !reader.is_done() {
                            receiver.try_recv()
                        } else {
                            None
                        };
                    }
                    // More will come at once, and fills the buffers.
                    if taken < MESSAGES_AT_ONCE || reader.is_done() {
                        reader.sink.flush()?;
                        console.flush()?;
                    }
                    if reader.shown > before {
                        heard = Instant::now();
                    }
                    if reader.is_done() {
                        return Ok(Exit::Done);
                    }
                }
                () = session::until(idle) => return Ok(reader.exit_at_end(&self.end, console)),
            }
        }
    }

    /// Shows what is in a file.
    pub(super) fn read(
        &self,
        file: RecordingReader,
        mut reader: Reader,
        console: &mut Console,
    ) -> Outcome {
        let interrupt = interrupt()?;
        let ended = read_blocks(file, &interrupt, &mut reader, console);
        let closed = reader.sink.close(console);
        self.conclude(ended, closed, &mut reader, console)
    }
}

fn read_blocks(
    mut file: RecordingReader,
    interrupt: &Interrupt,
    reader: &mut Reader,
    console: &mut Console,
) -> Outcome {
    loop {
        let more = file.next_block(|_, message| {
            if let Err(error) = recording::decode_log(&mut reader.decoder, message) {
                reader.note_problem(&error, console);
            }
            reader.drain(console)
        });
        if !more? {
            break;
        }
        if interrupt.came().is_some() {
            return Ok(Exit::Interrupted);
        }
        if reader.is_done() {
            return Ok(Exit::Done);
        }
    }
    if let Some((error, bytes)) = file.damage() {
        console.warn(format_args!(
            "{bytes} bytes at the end cannot be read: {error}"
        ));
    }
    Ok(Exit::Done)
}

fn interrupt() -> Result<Interrupt, Failure> {
    Interrupt::start(&tokio::runtime::Handle::current())
        .map_err(|error| Failure::failed(format!("cannot watch signals: {error}")))
}
