//! What a node says: events of the library and its own, on standard error.

use broker::Event;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Registry, reload};

use super::configuration::Level;
use crate::console::Console;
use crate::outcome::Failure;

/// The log, whose level can change.
pub(super) struct Log {
    level: reload::Handle<LevelFilter, Registry>,
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Off => Self::OFF,
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}

impl Log {
    /// Takes over what the library says in this process.
    pub(super) fn start(level: Level, console: &Console) -> Result<Self, Failure> {
        let (filter, handle) = reload::Layer::new(LevelFilter::from(level));
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(console.is_stderr_colored())
            .with_target(false);
        let subscriber = Registry::default().with(filter).with(lines);
        tracing::subscriber::set_global_default(subscriber)
            .map_err(|_| Failure::failed("this process has a log already"))?;
        Ok(Self { level: handle })
    }

    pub(super) fn set_level(&self, level: Level) {
        // It only fails when the log is gone, which lives as long as the process.
        let _ = self.level.reload(level);
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
                event = status.code.name(),
                peer = peer.unwrap_or_default(),
                address = address.unwrap_or_default(),
                "{}",
                status.text
            );
        }
        Event::Error(fault) => {
            let context = fault.context.as_ref();
            let address = context.and_then(|it| it.network.as_ref());
            let address = address.map(ToString::to_string);
            tracing::warn!(
                event = fault.code.name(),
                address = address.unwrap_or_default(),
                "{}",
                fault.text
            );
        }
    }
}
