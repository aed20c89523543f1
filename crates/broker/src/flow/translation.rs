//! A run of messages as JSON, made once for all WebSocket clients that get it.
//!
//! Producers only leave the run's bytes here. The first client that reads it in some form writes
//! the texts; the others share them. Spec: websocket 3.1, ADR 0082.

use std::cell::OnceCell;
use std::sync::Arc;

use bytes::Bytes;

/// Where the mailboxes that a run goes into find its one translation.
pub(crate) type Slot = OnceCell<Arc<Translation>>;

/// A run and its texts.
#[derive(Debug)]
pub(crate) struct Translation {
    run: Bytes,
    #[cfg(feature = "http")]
    frames: usize,
    #[cfg(feature = "http")]
    compatible: std::sync::OnceLock<Texts>,
    #[cfg(feature = "http")]
    lossless: std::sync::OnceLock<Texts>,
}

#[cfg(not(feature = "http"))]
impl Translation {
    pub(crate) fn new(run: Bytes, _frames: usize) -> Self {
        Self { run }
    }
}

impl Translation {
    /// The frames.
    pub(crate) fn run(&self) -> &Bytes {
        &self.run
    }
}

#[cfg(feature = "http")]
pub(crate) use texts::Texts;

#[cfg(feature = "http")]
mod texts {
    use std::sync::OnceLock;

    use broker_data::json::Form;
    use broker_proto::json::message::write_data;
    use bytes::Bytes;

    use super::Translation;
    use crate::message::Message;

    /// What a small message grows to as JSON, for the first guess of a buffer.
    const GROWTH: usize = 3;

    /// The messages of a run, one text behind the other.
    #[derive(Debug)]
    pub(crate) struct Texts {
        text: Bytes,
        /// Where each text ends.
        ends: Box<[usize]>,
    }

    impl Texts {
        /// The text of a message, counted from 0; empty when there is none.
        pub(crate) fn get(&self, index: usize) -> Bytes {
            let start = match index.checked_sub(1) {
                Some(before) => self.ends.get(before).copied(),
                None => Some(0),
            };
            match (start, self.ends.get(index)) {
                (Some(start), Some(end)) => self.text.slice(start..*end),
                _ => Bytes::new(),
            }
        }

        fn write(run: &Bytes, frames: usize, form: Form) -> Self {
            let mut rest = run.clone();
            let mut text = String::with_capacity(run.len().saturating_mul(GROWTH));
            let mut ends = Vec::with_capacity(frames);
            while let Some(message) = Message::split_off(&mut rest) {
                // Values are checked before they are routed; one that cannot be written all the
                // same is skipped.
                let written = write_data(&mut text, message.topic(), message.payload(), form);
                if let Err(error) = written {
                    tracing::debug!(event = "message-dropped", %error);
                }
                ends.push(text.len());
            }
            Self {
                text: text.into(),
                ends: ends.into(),
            }
        }
    }

    impl Translation {
        pub(crate) fn new(run: Bytes, frames: usize) -> Self {
            Self {
                run,
                frames,
                compatible: OnceLock::new(),
                lossless: OnceLock::new(),
            }
        }

        /// Number of messages in the run.
        pub(crate) fn frames(&self) -> usize {
            self.frames
        }

        /// The texts, written now if this is the first to ask.
        pub(crate) fn texts(&self, form: Form) -> &Texts {
            let cell = match form {
                Form::Lossless => &self.lossless,
                Form::Compatible | Form::Original => &self.compatible,
            };
            cell.get_or_init(|| Texts::write(&self.run, self.frames, form))
        }
    }

    #[cfg(test)]
    mod tests {
        use broker_data::{Encoder, Source};
        use broker_proto::EndpointId;
        use broker_proto::frame::{EnvelopeError, Tag, write_envelope};

        use super::*;

        #[test]
        fn every_message_of_a_run_has_its_text() {
            let mut run = Vec::new();
            for number in 0..3_u64 {
                let id = EndpointId::NIL;
                write_envelope(&mut run, id, id, Tag::Data, b"/t", |out| {
                    number.encode(&mut Encoder::new(out)).unwrap();
                    Ok::<_, EnvelopeError>(())
                })
                .unwrap();
            }
            let translation = Translation::new(run.into(), 3);
            let texts = translation.texts(Form::Compatible);
            for number in 0..3 {
                let expected = format!(
                    r#"{{"type":"data-message","topic":"/t","@data-type":"count","data":{number}}}"#
                );
                assert_eq!(texts.get(number), expected);
            }
            assert!(texts.get(3).is_empty() && texts.get(4).is_empty());
            let again = translation.texts(Form::Compatible);
            assert_eq!(texts.get(1).as_ptr(), again.get(1).as_ptr());
        }
    }
}
