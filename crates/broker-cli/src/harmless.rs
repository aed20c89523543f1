//! Texts of strangers, without what a terminal would act on or what would not be seen.
//!
//! Topics, names and texts of peers are bytes of their choice. Where one is shown outside of the quotes
//! of a value, it goes through [`harmless_line`] or [`harmless_cell`]; and whatever a command prints on a
//! terminal goes through [`of_terminal`], so that a place which was forgotten does no harm either.

use std::io::Write as _;

/// Characters of one text in a table or a list at most: names are of others, and one of a megabyte is no
/// reason for as many blanks in every line.
const CELL_MAX: usize = 200;

/// Whether a sign commands a terminal, turns the direction of what follows, or has no width: it is shown
/// by its number instead.
pub(crate) fn is_hidden(sign: char) -> bool {
    sign.is_control()
        || matches!(
            sign,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A text of a stranger; lines and tabs stay.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for sign in text.chars() {
        if is_hidden(sign) && !is_blank(sign) {
            out.extend(sign.escape_unicode());
        } else {
            out.push(sign);
        }
    }
    out
}

/// As [`harmless`], in one line.
pub(crate) fn harmless_line(text: &str) -> String {
    harmless(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// What every terminal puts into lines and columns, and nothing else.
const fn is_blank(sign: char) -> bool {
    matches!(sign, '\n' | '\t')
}

/// As [`harmless_line`], and no longer than what a table has room for.
pub(crate) fn harmless_cell(text: &str) -> String {
    let mut signs = text.chars();
    let mut out: String = signs.by_ref().take(CELL_MAX).collect();
    if signs.next().is_some() {
        out.pop();
        out.push('\u{2026}');
    }
    harmless_line(&out)
}

/// Output as it may stand on a terminal: lines, tabs and the colours of the command itself. The rest is
/// escaped as in JSON, so that JSON stays the same: there what is hidden can only be inside of a string.
pub(crate) fn of_terminal(output: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(output.len());
    for chunk in output.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(sign) = rest.chars().next() {
            let style = style_len(rest);
            let length = if style > 0 { style } else { sign.len_utf8() };
            let (this, others) = rest.split_at(length);
            if style > 0 || !is_hidden(sign) || is_blank(sign) {
                out.extend_from_slice(this.as_bytes());
            } else {
                for unit in sign.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            rest = others;
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Bytes of the sequence that sets colours and weights (SGR), if the text begins with one.
fn style_len(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("\x1b[") else {
        return 0;
    };
    let is_number = |byte: &u8| byte.is_ascii_digit() || *byte == b';';
    let numbers = rest.bytes().take_while(|byte| is_number(byte)).count();
    match rest.as_bytes().get(numbers) {
        Some(b'm') => "\x1b[".len() + numbers + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\x1b]0;title\x07\u{9b}2J\r\u{202e}b\u{200f}\u{61c}\u{e0041}\nc\tü";

    #[test]
    fn nothing_that_commands_a_terminal_is_left() {
        for text in [
            harmless(HOSTILE),
            harmless_line(HOSTILE),
            harmless_cell(HOSTILE),
        ] {
            let is_shown = |it| !is_hidden(it) || is_blank(it);
            assert!(text.chars().all(is_shown), "{text:?}");
            assert!(text.starts_with("a\\u{1b}]0;title\\u{7}"), "{text:?}");
        }
        assert!(harmless(HOSTILE).ends_with("\nc\tü"));
        assert!(harmless_line(HOSTILE).ends_with("\\nc\\tü"));
    }

    #[test]
    fn a_name_of_a_megabyte_is_cut_in_a_table() {
        let cell = harmless_cell(&"\u{202e}é".repeat(1 << 19));
        assert!(
            cell.starts_with("\\u{202e}é") && cell.ends_with('\u{2026}'),
            "{cell}"
        );
        assert!(cell.len() < 2000, "{}", cell.len());
        assert_eq!(harmless_cell("short"), "short");
    }

    #[test]
    fn colours_stay_and_what_is_no_colour_does_not() {
        let shown = of_terminal("\x1b[1;36mtopic\x1b[0m \x1b[2J\x1b[38\n\t".as_bytes());
        let shown = String::from_utf8(shown).expect("text");
        assert_eq!(shown, "\x1b[1;36mtopic\x1b[0m \\u001b[2J\\u001b[38\n\t");
        assert_eq!(of_terminal(b"\xff\xc3"), b"\\xff\\xc3");
    }

    #[test]
    fn json_says_the_same_with_escapes() {
        let line = serde_json::json!({ "topic": HOSTILE }).to_string();
        let shown = String::from_utf8(of_terminal(line.as_bytes())).expect("text");
        assert!(!shown.chars().any(is_hidden), "{shown:?}");
        let parsed: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(parsed["topic"], HOSTILE);
    }
}
