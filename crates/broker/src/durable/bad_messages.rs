//! Messages of streams that cannot be read: an error event about them, not one for each.

use std::time::{Duration, Instant};

use broker_proto::{ErrorCode, Fault};

use crate::flow::data_plane::DataPlane;
use crate::lock::Lock;

/// Shortest time between two error events.
const REPORT_PAUSE: Duration = Duration::from_secs(1);

/// Those of one subscriber.
#[derive(Debug, Default)]
pub(super) struct BadMessages(Lock<Unreported>);

#[derive(Debug, Default)]
struct Unreported {
    last: Option<Instant>,
    count: u64,
}

impl BadMessages {
    /// Notes one, in words, and has it reported, with those before it, unless that was done just now.
    pub(super) fn report(&self, data: &DataPlane, text: String) {
        let mut unreported = self.0.lock();
        unreported.count = unreported.count.saturating_add(1);
        let is_early = unreported
            .last
            .is_some_and(|last| last.elapsed() < REPORT_PAUSE);
        if is_early {
            return;
        }
        unreported.last = Some(Instant::now());
        let count = std::mem::take(&mut unreported.count);
        drop(unreported);
        let text = match count {
            1 => format!("{text}; it was given up"),
            _ => format!("{count} messages of a stream cannot be read and were given up; {text}"),
        };
        data.report(Fault::new(ErrorCode::InvalidMessage, None, text));
    }
}
