//! The recording that an endpoint makes of what goes through it: a consumer of every topic, which peers
//! do not hear of, and a thread that writes. See ADR 0266.

use std::sync::Arc;
use std::time::SystemTime;

use broker_data::Timestamp;
use broker_proto::{ErrorCode, Fault};

use crate::core::shared::Shared;
use crate::error::Error;
use crate::message::MessageRef;
use crate::recording::{RecordingFileError, RecordingWriter};
use crate::subscriber::Subscriber;

/// Begins topics of what an endpoint says about itself. Spec: wire 9.3.
const INTERNAL: &[u8] = b"<$>/";

/// Runs of messages that are taken before what they became is handed to the system, if more are waiting.
const RUNS_AT_ONCE: usize = 64;

/// Starts the recording that the options ask for.
///
/// # Errors
///
/// When its file cannot be made, or its thread.
pub(crate) fn start_configured(shared: &Arc<Shared>) -> Result<(), Error> {
    let options = &shared.options.recording;
    let Some(directory) = &options.directory else {
        return Ok(());
    };
    let name = format!("broker_{}_{}.rec", std::process::id(), shared.data.id);
    let path = directory.join(name);
    std::fs::create_dir_all(directory).map_err(|cause| RecordingFileError::Io {
        what: "write",
        path: path.clone(),
        cause: Arc::new(cause),
    })?;
    let (writer, _nothing_torn) = RecordingWriter::open(&path)?;
    tracing::info!(event = "recording-started", file = %path.display());
    let recorder = Recorder {
        subscriber: Subscriber::of_everything(shared)?,
        writer,
        left: options.messages_max,
    };
    let (whole, is_whole) = tokio::sync::oneshot::channel();
    let (told, shown) = (shared.clone(), path.clone());
    let thread = std::thread::Builder::new().name("broker-recorder".to_owned());
    let started = thread.spawn(move || {
        if let Err(error) = recorder.run() {
            tracing::error!(event = "recording-failed", file = %shown.display(), %error);
            let text = format!("the recording ends: {error}");
            let fault = Fault::new(ErrorCode::CannotWriteFile, None, text);
            told.data.report(fault);
        }
        let _nobody_may_wait = whole.send(());
    });
    started.map_err(|error| Error::Start(Arc::new(error)))?;
    shared.is_recorded_by(is_whole);
    Ok(())
}

struct Recorder {
    subscriber: Subscriber,
    writer: RecordingWriter,
    /// Messages that may still be recorded.
    left: u64,
}

impl Recorder {
    /// Writes until nothing comes any more, or enough has come.
    fn run(mut self) -> Result<(), RecordingFileError> {
        self.subscriber.set_name("recording");
        let mut written = Ok(());
        while written.is_ok() && self.left > 0 {
            let Ok(first) = self.subscriber.recv() else {
                break;
            };
            let (writer, left) = (&mut self.writer, &mut self.left);
            let mut push = |topic: &[u8], frame: &[u8], now| {
                if written.is_ok() && *left > 0 && !topic.starts_with(INTERNAL) {
                    written = writer.push(now, frame);
                    *left -= 1;
                }
            };
            push(first.topic(), first.frame(), now());
            for _ in 0..RUNS_AT_ONCE {
                let now = now();
                let seen = self.subscriber.for_each_ready(|message: MessageRef<'_>| {
                    push(message.topic(), message.frame(), now);
                });
                if seen == 0 {
                    break;
                }
            }
            let lost = self.subscriber.take_loss();
            if lost > 0 {
                tracing::warn!(event = "recording-lost-messages", count = lost);
            }
            written = written.and_then(|()| self.writer.flush());
        }
        // Nobody waits for it any more, whatever the disk does.
        drop(self.subscriber);
        written?;
        self.writer.finish().map(drop)
    }
}

fn now() -> Timestamp {
    Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::EPOCH)
}
