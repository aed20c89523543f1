//! Options of the recording that an endpoint makes of its messages.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::Error;

/// Whether an endpoint records what goes through it.
///
/// With a directory it writes a file into it, `broker_<process>_<id of the endpoint>.rec`, that
/// `broker replay` sends again: every message that comes from a peer or a WebSocket client, and every
/// message that a publisher here sends, whether somebody subscribes or not. What peers are asked for
/// does not change by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingOptions {
    /// Where to; `None` for no recording. It is made if it is not there, and what is in it stays.
    pub directory: Option<PathBuf>,
    /// Messages that are recorded at most.
    pub messages_max: u64,
}

impl Default for RecordingOptions {
    fn default() -> Self {
        Self {
            directory: None,
            messages_max: u64::MAX,
        }
    }
}

impl RecordingOptions {
    /// What `BROKER_RECORDING_DIRECTORY` and `BROKER_OUTPUT_GENERATOR_FILE_CAP` change. Spec: tools 1.4.
    pub(crate) fn take_variables(
        &mut self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(), Error> {
        const CAP: &str = "BROKER_OUTPUT_GENERATOR_FILE_CAP";
        if let Some(directory) = variable("BROKER_RECORDING_DIRECTORY") {
            self.directory = (!directory.is_empty()).then(|| directory.into());
        }
        if let Some(value) = variable(CAP) {
            let value = value.to_string_lossy();
            self.messages_max = value
                .parse()
                .map_err(|_| Error::variable(CAP, &value, "a positive integer"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Result<RecordingOptions, Error> {
        let mut options = RecordingOptions::default();
        options
            .take_variables(|asked| (asked == name).then(|| value.into()))
            .map(|()| options)
    }

    #[test]
    fn the_environment_says_where_to_and_how_many() {
        let options = with("BROKER_RECORDING_DIRECTORY", "recordings").unwrap();
        assert_eq!(options.directory, Some("recordings".into()));
        assert_eq!(options.messages_max, u64::MAX);
        let options = with("BROKER_RECORDING_DIRECTORY", "").unwrap();
        assert_eq!(options.directory, None);
        let options = with("BROKER_OUTPUT_GENERATOR_FILE_CAP", "5").unwrap();
        assert_eq!(options.messages_max, 5);
        for value in ["-1", "x", ""] {
            let error = with("BROKER_OUTPUT_GENERATOR_FILE_CAP", value).unwrap_err();
            let expected = format!("FILE_CAP: {value} (expected a positive integer)");
            assert!(error.to_string().contains(&expected), "{error}");
        }
    }
}
