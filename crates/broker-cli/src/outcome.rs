//! How a command ends.

use std::fmt;
use std::io;

use broker::PeerFailure;
use broker::recording::RecordingFileError;

use crate::literal::LiteralError;

/// Exit codes; part of what scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The command line or a file makes no sense.
    Usage = 2,
    /// A peer could not be reached, or was lost for good.
    Unreachable = 3,
    /// Nothing, or too little, came in time.
    NothingCame = 4,
    /// The other side, or this one, does not accept the other: TLS, certificates, access.
    Refused = 5,
    /// A signal ended it early.
    Interrupted = 130,
}

/// Shown at the end of every help text.
pub(crate) const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 could not connect,
4 nothing came in time, 5 refused (TLS, access), 130 interrupted";

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// With this code and these words on standard error.
    Told {
        exit: Exit,
        what: String,
        hint: Option<String>,
    },
    /// The reader of the output has gone; that is no failure.
    ClosedPipe,
}

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self::Told {
            exit,
            what: what.into(),
            hint: None,
        }
    }

    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Self::new(Exit::Failed, what)
    }

    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Told { exit, what, .. } => Self::Told {
                exit,
                what,
                hint: Some(hint.into()),
            },
            Self::ClosedPipe => Self::ClosedPipe,
        }
    }

    /// A text on the command line that is no value; `whose` says which.
    pub(crate) fn literal(whose: impl fmt::Display, error: &LiteralError) -> Self {
        let failure = Self::usage(format!("{whose}: {error}"));
        match error.suggestion() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// What would be said on standard error, without the hint.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Told { what, .. } => what,
            Self::ClosedPipe => "the output is closed",
        })
    }
}

/// Only output is written with `?`, so this is about that.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::failed(format!("cannot write the output: {error}")),
        }
    }
}

impl From<RecordingFileError> for Failure {
    fn from(error: RecordingFileError) -> Self {
        match &error {
            RecordingFileError::NotARecording { .. } => Self::usage(error.to_string()),
            _ => Self::failed(error.to_string()),
        }
    }
}

impl From<broker::Error> for Failure {
    fn from(error: broker::Error) -> Self {
        match &error {
            broker::Error::PeerUnavailable { failure, text, .. } => {
                let exit = match failure {
                    PeerFailure::Refused => Exit::Refused,
                    _ => Exit::Unreachable,
                };
                let failure = Self::new(exit, error.to_string());
                match advice(text) {
                    Some(advice) => failure.hint(advice),
                    None => failure,
                }
            }
            broker::Error::Tls { .. } => Self::new(Exit::Refused, error.to_string()),
            broker::Error::Address(_)
            | broker::Error::CurveKeys { .. }
            | broker::Error::ZeroMqAddress { .. }
            | broker::Error::Option { .. }
            | broker::Error::ConfigurationFile { .. }
            | broker::Error::Variable { .. } => Self::usage(error.to_string()),
            _ => Self::failed(error.to_string()),
        }
    }
}

/// What to try, by what the library says of TLS and CURVE.
fn advice(text: &str) -> Option<&'static str> {
    if text.contains("not encrypted, but CURVE keys are given") {
        return Some("leave --curve out, or give `--curve off` if the environment has keys");
    }
    if text.contains("CURVE") {
        return Some("give the keys of the cluster: --curve DIRECTORY, where zeekctl keeps them");
    }
    if text.contains("without TLS") {
        return Some("try --no-tls");
    }
    if text.contains("does the other side use TLS") || text.contains("does not speak TLS") {
        return Some("try --no-tls, or ws:// or wss:// if that is what listens there");
    }
    if text.contains("no common cipher") || text.contains("demands a certificate") {
        return Some("give --cert, --key and --cafile if the other side has certificates");
    }
    None
}

pub(crate) type Outcome = Result<Exit, Failure>;
