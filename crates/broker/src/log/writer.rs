//! Lines of the log, on standard error or in a file, by a thread of their own.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Verbosity;
use crate::error::Error;
use crate::lock::Lock;
use crate::log::component::Component;
use crate::log::record::{Format, Record};
use crate::log::sink::{Reader, now_time};

/// How long the end of a program waits for lines to be written: a pipe whose reader hangs must not hold it up.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a writer without anything to write sleeps.
const IDLE: Duration = Duration::from_secs(3600);

/// The writers of this process that last as long as it.
static KEPT: Lock<Vec<Writer>> = Lock::new(Vec::new());

/// Where lines go.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Standard error.
    Stderr,
    /// A file, which is opened and positioned.
    File(File),
}

impl Output {
    /// Makes a file `broker_<pid>_<time>.log` in the working directory.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be made.
    pub fn new_file() -> Result<Self, Error> {
        let (process, time) = (std::process::id(), now_time().ns());
        let path = PathBuf::from(format!("broker_{process}_{time}.log"));
        let file = File::options().create_new(true).append(true).open(&path);
        file.map(Self::File).map_err(|error| Error::Log {
            cause: format!("cannot make `{}`: {error}", path.display()),
        })
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().write_all(text.as_bytes()),
            Self::File(file) => file.write_all(text.as_bytes()),
        }
    }
}

/// A thread that writes what is said. It ends, with everything written, when this is dropped.
#[derive(Debug)]
pub struct Writer {
    reader: Arc<Reader>,
}

impl Writer {
    /// Starts to write with a verbosity.
    ///
    /// # Errors
    ///
    /// Fails when the process cannot start a thread.
    pub fn start(output: Output, format: Format, verbosity: Verbosity) -> Result<Self, Error> {
        let reader = Arc::new(Reader::new(|_| verbosity));
        let thread = {
            let reader = reader.clone();
            let run = move || run(&reader, output, format);
            std::thread::Builder::new()
                .name("broker-log".to_owned())
                .spawn(run)
        };
        // Its end is awaited by what it reads, with a time limit that joining has not.
        thread.map_err(|error| Error::Start(Arc::new(error)))?;
        Ok(Self { reader })
    }

    /// Changes the verbosities.
    pub fn set_levels(&self, levels: impl Fn(Component) -> Verbosity) {
        self.reader.set_levels(levels);
    }

    /// Waits until everything that was said before is written, for a bounded time.
    pub fn flush(&self) {
        let _is_written = self.reader.flush(FLUSH_TIMEOUT);
    }

    /// Has it write for as long as the process lives.
    pub(super) fn keep(self) {
        KEPT.lock().push(self);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.reader.close();
        let _has_ended = self.reader.ended(FLUSH_TIMEOUT);
    }
}

fn run(reader: &Reader, mut output: Output, format: Format) {
    let mut text = String::new();
    while let Some(records) = reader.wait(IDLE) {
        text.clear();
        for record in &records {
            Record::put_line(record, &mut text, format);
        }
        // A log that cannot be written has no place to say so.
        let _ = output.write(&text);
    }
}

pub(super) fn flush_all() {
    for writer in KEPT.lock().iter() {
        writer.flush();
    }
}

pub(super) fn forget_all() {
    // A thread of the parent may have held it; then there is nothing to forget with.
    if let Some(mut kept) = KEPT.try_lock() {
        std::mem::forget(std::mem::take(&mut *kept));
    }
}
