//! What the doctor found, step by step: lines with a tick, or objects.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use broker::data::json::put_string;

use crate::console::{Console, put_strings};
use crate::harmless::harmless_cell;
use crate::outcome::{Exit, Failure};

/// Columns of lines where the terminal does not say.
const WIDTH: usize = 80;

/// Columns beyond which lines are hard to read.
const WIDTH_MAX: usize = 100;

/// Columns in front of the text of a step.
const INDENT: usize = 13;

/// A step of the way that a message takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Name,
    Port,
    Protocol,
    Tls,
    Handshake,
    Filters,
    Event,
    Flow,
}

impl Step {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Port => "port",
            Self::Protocol => "protocol",
            Self::Tls => "tls",
            Self::Handshake => "handshake",
            Self::Filters => "filters",
            Self::Event => "event",
            Self::Flow => "flow",
        }
    }
}

/// How a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Good,
    /// Works, and something about it is worth knowing.
    Warning,
    Broken,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Broken => "broken",
        }
    }

    const fn tick(self) -> (&'static str, AnsiColor) {
        match self {
            Self::Good => ("✓", AnsiColor::Green),
            Self::Warning => ("!", AnsiColor::Yellow),
            Self::Broken => ("✗", AnsiColor::Red),
        }
    }
}

/// Something that is wrong: what, what that means, what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// A name for scripts, which does not change.
    pub(super) code: &'static str,
    /// What the command ends with if nothing worse is found.
    pub(super) exit: Exit,
    pub(super) what: String,
    /// Facts below it, a line each.
    pub(super) details: Vec<String>,
    pub(super) means: String,
    /// What to try, the most promising first.
    pub(super) remedies: Vec<String>,
}

impl Finding {
    pub(super) fn new(
        code: &'static str,
        exit: Exit,
        what: impl Into<String>,
        means: impl Into<String>,
        remedies: &[&str],
    ) -> Self {
        Self {
            code,
            exit,
            what: what.into(),
            details: Vec::new(),
            means: means.into(),
            remedies: remedies.iter().map(|it| (*it).to_owned()).collect(),
        }
    }

    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedies.push(remedy.into());
        self
    }
}

/// Prints the steps as they come.
pub(super) struct Report<'c> {
    console: &'c mut Console,
    width: usize,
    /// What the worst finding so far ends the command with.
    exit: Exit,
    warnings: usize,
    broken: Option<Step>,
}

impl<'c> Report<'c> {
    pub(super) fn new(console: &'c mut Console) -> Self {
        let width = console.width().unwrap_or(WIDTH).clamp(40, WIDTH_MAX);
        Self {
            console,
            width,
            exit: Exit::Done,
            warnings: 0,
            broken: None,
        }
    }

    /// Begins with whom it is about.
    pub(super) fn begin(&mut self, url: &str) -> Result<(), Failure> {
        if self.console.is_json() {
            return Ok(());
        }
        let label = self.console.palette().label;
        self.console.line(format_args!("{label}{url}{label:#}"))
    }

    /// A step that works.
    pub(super) fn good(
        &mut self,
        step: Step,
        text: &str,
        details: &[String],
    ) -> Result<(), Failure> {
        if self.console.is_json() {
            self.object(step, State::Good, text, details, None)?
        } else {
            self.lines(step, State::Good, text, details, None)?
        }
        Ok(self.console.flush()?)
    }

    /// A step that works, with a finding about it.
    pub(super) fn warn(&mut self, step: Step, finding: &Finding) -> Result<(), Failure> {
        self.warnings += 1;
        if self.exit == Exit::Done {
            self.exit = finding.exit;
        }
        self.found(step, State::Warning, finding)
    }

    /// The step at which the way ends.
    pub(super) fn broken(&mut self, step: Step, finding: &Finding) -> Result<(), Failure> {
        self.broken = Some(step);
        self.exit = finding.exit;
        self.found(step, State::Broken, finding)
    }

    /// Ends with a sentence about everything; returns what the command is to end with.
    pub(super) fn end(self, url: &str) -> Result<Exit, Failure> {
        let Self {
            console,
            exit,
            warnings,
            broken,
            ..
        } = self;
        if console.is_json() {
            let mut line = String::from("{\"type\":\"verdict\",\"url\":");
            put_string(&mut line, url);
            line.push_str(",\"broken\":");
            match broken {
                Some(step) => put_string(&mut line, step.name()),
                None => line.push_str("null"),
            }
            let _ = write!(line, ",\"warnings\":{warnings},\"exit\":{}}}", exit as i32);
            console.line(line)?;
        } else {
            let verdict = match (broken, warnings) {
                (Some(step), _) => format!("broken at: {}", step.name()),
                (None, 0) => "everything works".to_owned(),
                (None, 1) => "works, with one thing to look at".to_owned(),
                (None, many) => format!("works, with {many} things to look at"),
            };
            console.line(verdict)?;
        }
        Ok(exit)
    }

    fn found(&mut self, step: Step, state: State, finding: &Finding) -> Result<(), Failure> {
        let (what, details) = (finding.what.as_str(), finding.details.as_slice());
        if self.console.is_json() {
            self.object(step, state, what, details, Some(finding))?
        } else {
            self.lines(step, state, what, details, Some(finding))?
        }
        Ok(self.console.flush()?)
    }

    fn lines(
        &mut self,
        step: Step,
        state: State,
        text: &str,
        details: &[String],
        finding: Option<&Finding>,
    ) -> Result<(), Failure> {
        let (tick, color) = state.tick();
        let style = if self.console.is_output_colored() {
            color.on_default().bold()
        } else {
            Style::new()
        };
        let label = self.console.palette().label;
        let name = step.name();
        let head = format!("{style}{tick}{style:#} {name:<10} ");
        let mut rows = vec![(head, text)];
        rows.extend(
            details
                .iter()
                .map(|detail| (" ".repeat(INDENT), detail.as_str())),
        );
        if let Some(finding) = finding {
            let word = |word: &str| format!("    {label}{word:<8}{label:#} ");
            rows.push((word("means"), &finding.means));
            for (number, remedy) in finding.remedies.iter().enumerate() {
                rows.push((word(if number == 0 { "try" } else { "or" }), remedy));
            }
        }
        for (head, text) in rows {
            let words = text.split(' ').map(harmless_cell);
            let text = words.collect::<Vec<_>>().join(" ");
            for (number, line) in wrap(&text, self.width - INDENT).iter().enumerate() {
                match number {
                    0 => self.console.line(format_args!("{head}{line}"))?,
                    _ => self.console.line(format_args!("{:INDENT$}{line}", ""))?,
                }
            }
        }
        Ok(())
    }

    fn object(
        &mut self,
        step: Step,
        state: State,
        text: &str,
        details: &[String],
        finding: Option<&Finding>,
    ) -> Result<(), Failure> {
        let mut line = String::from("{\"type\":\"step\",\"step\":");
        put_string(&mut line, step.name());
        line.push_str(",\"state\":");
        put_string(&mut line, state.name());
        line.push_str(",\"code\":");
        put_string(&mut line, finding.map_or("good", |finding| finding.code));
        line.push_str(",\"text\":");
        put_string(&mut line, text);
        line.push_str(",\"details\":");
        put_strings(&mut line, details);
        if let Some(finding) = finding {
            line.push_str(",\"means\":");
            put_string(&mut line, &finding.means);
            line.push_str(",\"try\":");
            put_strings(&mut line, &finding.remedies);
        }
        line.push('}');
        self.console.line(line)
    }
}

/// Lines of at most that many characters, broken at blanks; longer words stay whole.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one from the beginning");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_blanks() {
        assert_eq!(wrap("a bb ccc", 4), ["a bb", "ccc"]);
        assert_eq!(wrap("a longword b", 4), ["a", "longword", "b"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
