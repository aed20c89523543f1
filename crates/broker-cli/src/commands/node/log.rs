//! What a node says: events of the library and its own, on standard error, and in a file if the
//! environment asks for one.

use broker::Event;
use broker::log::{Format, Output, Writer};

use super::configuration;
use crate::console::Console;
use crate::outcome::Failure;

/// The log, whose levels can change. What was said is written when it is dropped.
#[derive(Debug)]
pub(super) struct Log {
    lines: Writer,
    _file: Option<Writer>,
}

impl Log {
    /// Takes over what the library says in this process.
    pub(super) fn start(log: &configuration::Log, console: &Console) -> Result<Self, Failure> {
        let failed = |error: broker::Error| Failure::failed(error.to_string());
        let file = log.file.filter(|it| *it != broker::Verbosity::Quiet);
        let file = file.map(|it| Writer::start(Output::new_file()?, Format::Text, it));
        let file = file.transpose().map_err(failed)?;
        broker::log::install().map_err(failed)?;
        let format = log.format(console.is_stderr_colored());
        let lines = Writer::start(Output::Stderr, format, log.level.into()).map_err(failed)?;
        let started = Self { lines, _file: file };
        started.set_levels(log);
        Ok(started)
    }

    pub(super) fn set_levels(&self, log: &configuration::Log) {
        self.lines.set_levels(|component| log.verbosity(component));
    }
}

/// Says what happened to a peering.
pub(super) fn tell(event: &Event) {
    match event {
        Event::Status(status) => {
            let context = status.context.as_ref();
            let peer = context.and_then(|it| it.id).map(|id| id.to_string());
            let address = context.and_then(|it| it.network.as_ref());
            let address = address.map(ToString::to_string);
            tracing::info!(
                target: "broker::peer",
                event = status.code.name(),
                peer = peer.as_deref(),
                address = address.as_deref(),
                "{}",
                status.text
            );
        }
        Event::Error(fault) => {
            let context = fault.context.as_ref();
            let address = context.and_then(|it| it.network.as_ref());
            let address = address.map(ToString::to_string);
            tracing::warn!(
                target: "broker::peer",
                event = fault.code.name(),
                address = address.as_deref(),
                "{}",
                fault.text
            );
        }
    }
}
