//! `broker top`: a live screen of a node.
//!
//! | module | what it is |
//! |---|---|
//! | `source` | where reports come from: a node's HTTP server, or an observer among its peers |
//! | `state` | what is shown: the view, its order, its filter; what keys do |
//! | `screen` | the state as cells of a terminal |

mod screen;
mod source;
mod state;

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;

use crate::arguments::Global;
use crate::commands::status::NodeArguments;
use crate::console::Console;
use crate::outcome::{EXIT_CODES, Exit, Failure, Outcome};
use crate::session;
use source::{Source, Update};
use state::{State, Step};

/// How long keys are waited for before updates are looked at: a delay that is not seen.
const KEY_WAIT: Duration = Duration::from_millis(50);

/// Watch a node: peers, topics, stores, queues, drops, events
///
/// http:// and https:// read the node's HTTP server, which knows everything about it. Any other
/// address is that of a peer: this command joins as an observer, which sees what a subscriber sees.
/// In a pipe, and with --json, it prints what is counted once a second instead.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_CODES)]
pub(crate) struct Top {
    #[command(flatten)]
    node: NodeArguments,
    /// Topics to watch as an observer: all without it (repeatable)
    #[arg(short, long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// End after N reports
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

impl Top {
    pub(crate) fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let node = self.node.find(global)?;
        let runtime = session::runtime()?;
        let mut source = runtime.block_on(Source::start(node, self.topics))?;
        let is_screen =
            console.output_is_terminal() && !console.is_json() && io::stdin().is_terminal();
        let outcome = if is_screen {
            watch(&source.url, &mut source.updates, self.count)
        } else {
            print(&mut source.updates, self.count, console)
        };
        runtime.block_on(source.end());
        runtime.shutdown_background();
        outcome
    }
}

/// Prints the reports as they are.
fn print(updates: &mut Receiver<Update>, count: Option<u64>, console: &mut Console) -> Outcome {
    let mut printed = 0;
    loop {
        match updates.blocking_recv() {
            Some(Update::Report { document, .. }) => {
                console.line(document)?;
                console.flush()?;
                printed += 1;
                if count == Some(printed) {
                    return Ok(Exit::Done);
                }
            }
            Some(Update::Event(_)) => {}
            Some(Update::Lost(why)) => console.warn(why),
            Some(Update::Interrupted) => return Ok(Exit::Interrupted),
            Some(Update::Ended(failure)) => return Err(failure),
            None => return Err(Failure::failed("nothing more comes")),
        }
    }
}

/// Shows the screen until it is left.
fn watch(url: &str, updates: &mut Receiver<Update>, count: Option<u64>) -> Outcome {
    let mut terminal = ratatui::try_init()
        .map_err(|error| Failure::failed(format!("cannot use the terminal: {error}")))?;
    let mut state = State::new(url);
    let mut left = count;
    let outcome = loop {
        if let Err(error) = terminal.draw(|frame| screen::draw(&mut state, frame)) {
            break Err(error.into());
        }
        match next_step(&mut state, updates, &mut left) {
            Ok(Step::Stay) => {}
            Ok(Step::Leave(exit)) => break Ok(exit),
            Err(failure) => break Err(failure),
        }
    };
    ratatui::restore();
    outcome
}

/// Waits for a key or an update.
fn next_step(
    state: &mut State,
    updates: &mut Receiver<Update>,
    left: &mut Option<u64>,
) -> Result<Step, Failure> {
    loop {
        let mut has_changed = false;
        if event::poll(KEY_WAIT)? {
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    if let Step::Leave(exit) = state.press(key) {
                        return Ok(Step::Leave(exit));
                    }
                    has_changed = true;
                }
                Event::Resize(..) => has_changed = true,
                _ => {}
            }
        }
        loop {
            match updates.try_recv() {
                Ok(Update::Report { status, .. }) => {
                    state.report(*status);
                    if let Some(left) = left {
                        *left = left.saturating_sub(1);
                        if *left == 0 {
                            return Ok(Step::Leave(Exit::Done));
                        }
                    }
                }
                Ok(Update::Event(event)) => state.event(event),
                Ok(Update::Lost(why)) => state.lost(why),
                Ok(Update::Interrupted) => return Ok(Step::Leave(Exit::Interrupted)),
                Ok(Update::Ended(failure)) => return Err(failure),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return Err(Failure::failed("nothing more comes"));
                }
            }
            has_changed = true;
        }
        if has_changed {
            return Ok(Step::Stay);
        }
    }
}
