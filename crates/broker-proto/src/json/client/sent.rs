//! The topics of what was sent last, to say what a server's error is about. Spec: websocket 3.2.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::topic::Topic;

use super::report;

/// Topics of sent messages that are remembered to explain errors: servers count the messages, and
/// report at once.
pub(super) const SENT_TOPICS_MAX: usize = 1024;

/// The topics of the last messages on a line, by their number.
#[derive(Debug, Default)]
pub(super) struct SentTopics {
    count: u64,
    /// Bound: `SENT_TOPICS_MAX`.
    recent: VecDeque<Arc<[u8]>>,
}

impl SentTopics {
    pub(super) fn note(&mut self, topic: &[u8]) {
        self.count = self.count.saturating_add(1);
        if self.recent.len() >= SENT_TOPICS_MAX {
            self.recent.pop_front();
        }
        let topic = match self.recent.back() {
            Some(last) if **last == *topic => last.clone(),
            _ => topic.into(),
        };
        self.recent.push_back(topic);
    }

    /// The topic of the message with that number, counted from 1.
    fn numbered(&self, number: u64) -> Option<&[u8]> {
        let back = usize::try_from(self.count.checked_sub(number)?).ok()?;
        let index = self.recent.len().checked_sub(back.checked_add(1)?)?;
        self.recent.get(index).map(|topic| &**topic)
    }

    /// What an error message is about.
    pub(super) fn explain(&self, code: &str, context: &str) -> String {
        let report = report(code, context);
        let number = context
            .strip_prefix("input #")
            .and_then(|rest| rest.split(' ').next()?.parse().ok());
        if let Some(topic) = number.and_then(|number| self.numbered(number)) {
            let topic = Topic::from(topic);
            return format!("the server refused a message under `{topic}`: {report}");
        }
        // Servers that do not count may name the topic themselves.
        match self.recent.back() {
            Some(topic) if !context.contains("on topic '") => {
                let topic = Topic::from(&**topic);
                format!("the server reports: {report}; last sent was a message under `{topic}`")
            }
            _ => format!("the server reports: {report}"),
        }
    }
}
