//! Where a command reads and writes: data on standard output, everything else on standard error.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};

use broker::data::json::put_string;

use crate::harmless::{harmless, of_terminal};
use crate::outcome::{Exit, Failure};

/// Bytes of output that are written at once. What is buffered is also written when there is nothing
/// more to print at the moment.
const OUTPUT_BUFFER: usize = 64 * 1024;

/// How often it is told on a terminal how far something is.
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);

/// When to write colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The streams of a command.
pub struct Console {
    input: Option<Box<dyn Read + Send>>,
    output: Box<dyn Write + Send>,
    errors: Box<dyn Write + Send>,
    buffer: Vec<u8>,
    output_is_terminal: bool,
    errors_is_terminal: bool,
    color: Color,
    /// Whether what is said about the run goes to the output as JSON.
    json: bool,
    /// When it was last told how far something is; the line stands on the terminal.
    progress: Option<Instant>,
}

impl Console {
    /// The streams of the process.
    #[must_use]
    pub fn of_process() -> Self {
        // Not through the standard library's buffer, which looks for the end of every line.
        let output = io::stdout().as_fd().try_clone_to_owned().map(File::from);
        Self {
            output_is_terminal: io::stdout().is_terminal(),
            errors_is_terminal: io::stderr().is_terminal(),
            ..Self::new(
                io::stdin(),
                match output {
                    Ok(file) => Box::new(file) as Box<dyn Write + Send>,
                    Err(_) => Box::new(io::stdout()),
                },
                io::stderr(),
            )
        }
    }

    /// Other streams; none of them is a terminal.
    pub fn new(
        input: impl Read + Send + 'static,
        output: impl Write + Send + 'static,
        errors: impl Write + Send + 'static,
    ) -> Self {
        Self {
            input: Some(Box::new(input)),
            output: Box::new(output),
            errors: Box::new(errors),
            buffer: Vec::with_capacity(OUTPUT_BUFFER),
            output_is_terminal: false,
            errors_is_terminal: false,
            color: Color::Auto,
            json: false,
            progress: None,
        }
    }

    pub(crate) fn set_up(&mut self, color: Color, json: bool) {
        self.color = color;
        self.json = json;
    }

    /// Whether the output is to be JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether the output is a terminal.
    pub(crate) fn output_is_terminal(&self) -> bool {
        self.output_is_terminal
    }

    /// Characters of a line of the terminal that the output is.
    pub(crate) fn width(&self) -> Option<usize> {
        if !self.output_is_terminal {
            return None;
        }
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        (size.ws_col > 0).then(|| size.ws_col.into())
    }

    fn is_colored(&self, is_terminal: bool) -> bool {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                is_terminal && !is_set("NO_COLOR") && !is_dumb
            }
        }
    }

    /// How to write on the output.
    pub(crate) fn palette(&self) -> Palette {
        Palette::new(self.is_colored(self.output_is_terminal))
    }

    /// Whether the output may have colours.
    pub(crate) fn is_output_colored(&self) -> bool {
        self.is_colored(self.output_is_terminal)
    }

    /// Whether what is said may have colours.
    pub(crate) fn is_stderr_colored(&self) -> bool {
        self.is_colored(self.errors_is_terminal)
    }

    /// Standard input; the second time it is empty.
    pub(crate) fn take_input(&mut self) -> Box<dyn Read + Send> {
        self.input.take().unwrap_or_else(|| Box::new(io::empty()))
    }

    /// What is to be printed; call [`Self::spill`] now and then.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Writes if enough has come together.
    pub(crate) fn spill(&mut self) -> io::Result<()> {
        if self.buffer.len() >= OUTPUT_BUFFER {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Writes everything.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let written = if self.output_is_terminal {
            let shown = of_terminal(&self.buffer);
            self.output.write_all(&shown)
        } else {
            self.output.write_all(&self.buffer)
        };
        self.buffer.clear();
        written?;
        self.output.flush()
    }

    /// Prints a line of data.
    pub(crate) fn line(&mut self, text: impl fmt::Display) -> Result<(), Failure> {
        // Writing to memory does not fail.
        let _ = writeln!(self.buffer, "{text}");
        self.spill()?;
        Ok(())
    }

    /// Tells on a terminal how far something is that takes long, in a line that the next one replaces; in a
    /// pipe nothing. It costs little to call it often.
    pub(crate) fn progress(&mut self, text: impl fmt::Display) {
        let is_early = self
            .progress
            .is_some_and(|it| it.elapsed() < PROGRESS_PAUSE);
        if !self.errors_is_terminal || self.json || is_early {
            return;
        }
        self.progress = Some(Instant::now());
        let _ = write!(self.errors, "\r{text}\x1b[K");
        let _ = self.errors.flush();
    }

    /// Takes the line that tells how far it is off the terminal.
    fn end_progress(&mut self) {
        if self.progress.take().is_some() {
            let _ = write!(self.errors, "\r\x1b[K");
        }
    }

    /// Says something that is no data. That standard error is gone is no reason to end.
    pub(crate) fn say(&mut self, text: impl fmt::Display) {
        self.end_progress();
        let text = harmless(&text.to_string());
        let _ = writeln!(self.errors, "{text}");
    }

    /// Says something in front of which stands in colour what it is.
    fn say_as(&mut self, what: &str, color: AnsiColor, text: impl fmt::Display) {
        let palette = Palette::new(self.is_colored(self.errors_is_terminal));
        let style = palette.of(color.on_default().bold());
        // Errors quote what peers said.
        let text = harmless(&text.to_string());
        self.end_progress();
        let _ = writeln!(self.errors, "{style}{what}:{style:#} {text}");
    }

    pub(crate) fn warn(&mut self, text: impl fmt::Display) {
        self.say_as("warning", AnsiColor::Yellow, text);
    }

    /// What clap has to say: help on the output, errors on standard error.
    pub(crate) fn show_usage(&mut self, error: &clap::Error) -> Exit {
        let is_error = error.use_stderr();
        let is_terminal = if is_error {
            self.errors_is_terminal
        } else {
            self.output_is_terminal
        };
        let text = if self.is_colored(is_terminal) {
            error.render().ansi().to_string()
        } else {
            error.render().to_string()
        };
        if is_error {
            let _ = self.errors.write_all(text.as_bytes());
            Exit::Usage
        } else {
            self.buffer.extend_from_slice(text.as_bytes());
            Exit::Done
        }
    }

    /// Ends the output and says why the command ends; returns the exit code.
    pub(crate) fn finish(&mut self, outcome: Result<Exit, Failure>) -> Exit {
        self.end_progress();
        let flushed = self.flush().map_err(Failure::from);
        let outcome = match (outcome, flushed) {
            (Ok(exit), flushed) => flushed.map(|()| exit),
            (Err(failure), _) => Err(failure),
        };
        match outcome {
            Ok(exit) => exit,
            Err(Failure::ClosedPipe) => Exit::Done,
            Err(Failure::Told { exit, what, hint }) => {
                self.say_as("error", AnsiColor::Red, what);
                if let Some(hint) = hint {
                    self.say_as(" hint", AnsiColor::Cyan, hint);
                }
                exit
            }
        }
    }
}

/// Appends a JSON list of texts.
pub(crate) fn put_strings(line: &mut String, texts: &[String]) {
    line.push('[');
    for (index, text) in texts.iter().enumerate() {
        line.push_str(if index > 0 { "," } else { "" });
        put_string(line, text);
    }
    line.push(']');
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

/// Styles, all of them plain where there are to be no colours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Palette {
    is_colored: bool,
    pub(crate) time: Style,
    pub(crate) topic: Style,
    pub(crate) name: Style,
    pub(crate) label: Style,
}

impl Palette {
    fn new(is_colored: bool) -> Self {
        let plain = Self {
            is_colored,
            time: Style::new(),
            topic: Style::new(),
            name: Style::new(),
            label: Style::new(),
        };
        Self {
            time: plain.of(Style::new().dimmed()),
            topic: plain.of(AnsiColor::Cyan.on_default()),
            name: plain.of(Style::new().bold()),
            label: plain.of(Style::new().bold()),
            ..plain
        }
    }

    fn of(self, style: Style) -> Style {
        if self.is_colored { style } else { Style::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Sends what is written.
    struct Sent(mpsc::Sender<u8>);

    impl Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            for byte in bytes {
                let _ = self.0.send(*byte);
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn said(is_terminal: bool, talk: impl FnOnce(&mut Console)) -> String {
        let (sender, receiver) = mpsc::channel();
        let mut console = Console::new(io::empty(), io::sink(), Sent(sender));
        console.errors_is_terminal = is_terminal;
        console.color = Color::Never;
        talk(&mut console);
        drop(console);
        String::from_utf8(receiver.iter().collect()).expect("it is text")
    }

    #[test]
    fn progress_is_one_line_of_a_terminal_that_goes_away() {
        let talk = |console: &mut Console| {
            console.progress("1 line");
            // At once: too early for another.
            console.progress("2 lines");
            console.warn("line 3");
            console.say("done");
        };
        assert_eq!(
            said(true, talk),
            "\r1 line\x1b[K\r\x1b[Kwarning: line 3\ndone\n"
        );
        assert_eq!(said(false, talk), "warning: line 3\ndone\n");
    }
}
