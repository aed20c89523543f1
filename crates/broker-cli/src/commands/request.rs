//! `broker req`: sends an event and waits for the answer.

use std::time::Duration;

use broker::data::View;
use clap::Args;

use super::publish::{await_subscriber, event};
use super::value::{self, GRAMMAR};
use crate::arguments::{ConnectionArguments, Global};
use crate::console::Console;
use crate::duration::duration;
use crate::incoming::{Incoming, Layout};
use crate::outcome::{EXIT_CODES, Exit, Failure, Outcome};
use crate::session::{self, OnPeerLoss, Session, Waited};
use crate::target::Target;

const EXAMPLES: &str = "Examples:
  broker req -u localhost:9999 /ping --event ping hello --reply pong -t /pong
  broker req zeek/cluster/worker --event ask --reply answer --all";

/// Send an event and wait for the answer
///
/// Waits for a peer that is subscribed to the topic, publishes the event, and prints the event that
/// answers it. A peering that is lost meanwhile is an error.
#[derive(Debug, Args)]
#[command(
    after_long_help = format!("{EXAMPLES}\n\n{GRAMMAR}\n\n{EXIT_CODES}")
)]
pub(crate) struct Req {
    /// Topic of the question
    topic: String,
    /// Arguments of the event
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    arguments: Vec<String>,
    /// Name of the event
    #[arg(short, long, value_name = "NAME")]
    event: String,
    /// Name of the answering event; without it any
    #[arg(short, long, value_name = "NAME")]
    reply: Option<String>,
    /// Topic of the answer, if it is another
    #[arg(short = 't', long, value_name = "TOPIC")]
    reply_topic: Option<String>,
    /// Print all answers that come in time
    #[arg(short, long)]
    all: bool,
    /// How long to wait in all
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
    timeout: Duration,
    #[command(flatten)]
    connection: ConnectionArguments,
}

impl Req {
    pub(crate) fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let target = Target::find(&self.connection, global)?;
        let mut arguments = Vec::new();
        for (number, text) in (1..).zip(&self.arguments) {
            arguments.push(value::read(text, number, console)?);
        }
        let question = event(&self.event, &arguments)?;
        let runtime = session::runtime()?;
        let outcome = runtime.block_on(self.ask(target, &question, console));
        runtime.shutdown_background();
        outcome
    }

    async fn ask(self, target: Target, question: &[u8], console: &mut Console) -> Outcome {
        let is_native = target.is_native();
        let mut session = Session::of(target, OnPeerLoss::End)?;
        let reply_topic = self.reply_topic.as_ref().unwrap_or(&self.topic);
        let mut answers = session.subscribe(std::slice::from_ref(reply_topic))?;
        session.connect().await?;
        let interrupt = session.interrupt.clone();
        let deadline = tokio::time::Instant::now() + self.timeout;
        if is_native {
            match await_subscriber(&session, &self.topic, Some(self.timeout)).await {
                Waited::Ended(_) => return Ok(Exit::Interrupted),
                Waited::Over(true) => {}
                Waited::Over(false) => {
                    let what = format!("no peer is subscribed to `{}`", self.topic);
                    return Err(Failure::new(Exit::NothingCame, what));
                }
            }
        }
        let view = View::new(question).map_err(|error| Failure::failed(error.to_string()))?;
        session.endpoint.publish_async(&self.topic, &view).await?;
        let mut layout = Layout::new(console.palette(), false);
        let mut scratch = String::new();
        let mut count = 0;
        let exit = loop {
            tokio::select! {
                biased;
                _ = interrupt.wait() => break Exit::Interrupted,
                event = session.event() => {
                    if let Some(event) = event {
                        session.on_event(&event, console)?;
                    }
                }
                () = session::until(Some(deadline)) => break match count {
                    0 => Exit::NothingCame,
                    _ => Exit::Done,
                },
                message = session::message(&mut answers) => {
                    let message = message?;
                    let message = Incoming::new(session::now(), message.topic(), message.view());
                    if !self.is_answer(&message) {
                        continue;
                    }
                    if console.is_json() { message.put_json(console.buffer(), &mut scratch) } else { message.put_line(console.buffer(), &mut layout) }
                    console.flush()?;
                    count += 1;
                    if !self.all {
                        break Exit::Done;
                    }
                }
            }
        };
        session.leave().await;
        match exit {
            Exit::NothingCame => {
                let what = format!("no answer within {} s", self.timeout.as_secs_f64());
                Err(Failure::new(Exit::NothingCame, what))
            }
            exit => Ok(exit),
        }
    }

    fn is_answer(&self, message: &Incoming<'_>) -> bool {
        let name = message.event.map(|event| event.name());
        match &self.reply {
            Some(reply) => name == Some(reply.as_bytes()),
            None => name.is_some(),
        }
    }
}
