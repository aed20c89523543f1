//! A text that is no value: what is wrong, where, and what to write instead.

use std::fmt;

/// Characters of the text that are shown before the place, so that the caret stays on the screen.
const SHOWN_BEFORE: usize = 50;

/// Characters that are shown from the place on.
const SHOWN_BEHIND: usize = 20;

/// Why a text is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiteralError {
    pub(super) text: String,
    /// Byte where the wrong part begins; on the border of a character.
    pub(super) at: usize,
    /// Bytes of the wrong part.
    pub(super) length: usize,
    pub(super) what: String,
    pub(super) hint: Option<String>,
}

impl LiteralError {
    pub(crate) fn new(text: &str, at: usize, length: usize, what: impl Into<String>) -> Self {
        Self {
            text: text.to_owned(),
            at,
            length,
            what: what.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What to write instead, where that is known.
    #[must_use]
    pub fn suggestion(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Number of characters before the place.
    #[must_use]
    pub fn column(&self) -> usize {
        self.text.get(..self.at).unwrap_or_default().chars().count()
    }

    /// The part of the text around the place and, on a second line, a caret under it.
    #[must_use]
    pub fn excerpt(&self) -> String {
        let before: Vec<char> = self
            .text
            .get(..self.at)
            .unwrap_or_default()
            .chars()
            .collect();
        let behind = self.text.get(self.at..).unwrap_or_default();
        let wrong = behind.get(..self.length).unwrap_or(behind).chars().count();
        let skipped = before.len().saturating_sub(SHOWN_BEFORE);
        let is_cut = behind.chars().count() > SHOWN_BEHIND.max(wrong.min(SHOWN_BEFORE));
        let start = if skipped > 0 { "..." } else { "" };
        let visible = |c: char| if c.is_control() { ' ' } else { c };
        let shown = before.iter().skip(skipped).copied();
        let rest = behind
            .chars()
            .take(SHOWN_BEHIND.max(wrong.min(SHOWN_BEFORE)));
        let line: String = shown.chain(rest).map(visible).collect();
        let indent = start.len() + before.len() - skipped;
        format!(
            "{start}{line}{}\n{:indent$}{}",
            if is_cut { "..." } else { "" },
            "",
            "^".repeat(wrong.clamp(1, SHOWN_BEFORE)),
        )
    }
}

impl fmt::Display for LiteralError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.what, self.excerpt())
    }
}

impl std::error::Error for LiteralError {}
