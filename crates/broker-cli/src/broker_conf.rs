//! The original's configuration files and the values in them. Spec: tools 1.2.

/// Groups inside one another.
const DEPTH_MAX: usize = 16;

/// A value of the original's files.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Setting {
    Boolean(bool),
    Integer(u64),
    /// A number and a unit.
    Duration(String),
    Text(String),
    List(Vec<Setting>),
    /// Anything else that may stand there.
    Other(String),
}

/// What a value was expected to be.
pub(crate) type Expected = &'static str;

/// Reads a file: names with their groups, the lines they stand in, values.
///
/// # Errors
///
/// Says in which line what is wrong.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, usize, Setting)>, String> {
    let mut reader = Reader { text, at: 0 };
    let mut settings = Vec::new();
    reader.group("", 0, &mut settings)?;
    Ok(settings)
}

/// Reads a single value, as it stands on a command line.
///
/// # Errors
///
/// Says what was expected.
pub(crate) fn value(text: &str) -> Result<Setting, String> {
    let mut reader = Reader { text, at: 0 };
    let setting = reader.setting(0)?;
    reader.skip();
    if reader.rest().is_empty() {
        Ok(setting)
    } else {
        reader.error("nothing behind the value")
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn line(&self) -> usize {
        let before = self.text.get(..self.at).unwrap_or_default();
        before.matches('\n').count() + 1
    }

    fn error<T>(&self, expected: &str) -> Result<T, String> {
        Err(format!("line {}: expected {expected}", self.line()))
    }

    /// Blanks, line ends, commas between entries, comments.
    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let bare = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            self.at += rest.len() - bare.len();
            if !bare.starts_with('#') {
                return;
            }
            self.at += bare.find('\n').unwrap_or(bare.len());
        }
    }

    fn take(&mut self, sign: char) -> bool {
        self.skip();
        let found = self.rest().starts_with(sign);
        if found {
            self.at += sign.len_utf8();
        }
        found
    }

    fn word(&mut self, is_part: fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// Entries up to the end of the group.
    fn group(
        &mut self,
        prefix: &str,
        depth: usize,
        settings: &mut Vec<(String, usize, Setting)>,
    ) -> Result<(), String> {
        loop {
            self.skip();
            if self.rest().is_empty() {
                return match depth {
                    0 => Ok(()),
                    _ => self.error("`}`"),
                };
            }
            if depth > 0 && self.take('}') {
                return Ok(());
            }
            let line = self.line();
            let name = self.word(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
            if name.is_empty() {
                return self.error("the name of an option");
            }
            let name = match prefix {
                "" => name.to_owned(),
                prefix => format!("{prefix}.{name}"),
            };
            if self.take('{') {
                if depth >= DEPTH_MAX {
                    return self.error("fewer groups inside one another");
                }
                self.group(&name, depth + 1, settings)?;
                continue;
            }
            if !self.take('=') {
                return self.error("`=` or `{`");
            }
            let setting = self.setting(0)?;
            settings.push((name, line, setting));
        }
    }

    fn setting(&mut self, depth: usize) -> Result<Setting, String> {
        self.skip();
        let rest = self.rest();
        let mut signs = rest.chars();
        match signs.next() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote).map(Setting::Text),
            Some('<') => match rest.find('>') {
                Some(end) => {
                    self.at += end + 1;
                    let uri = rest.get(1..end).unwrap_or_default();
                    Ok(Setting::Text(uri.to_owned()))
                }
                None => self.error("`>`"),
            },
            Some('[') if depth < DEPTH_MAX => {
                self.at += 1;
                let mut list = Vec::new();
                while !self.take(']') {
                    list.push(self.setting(depth + 1)?);
                }
                Ok(Setting::List(list))
            }
            _ => {
                let word = self.word(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'));
                let is_number = word.starts_with(|c: char| c.is_ascii_digit());
                match word {
                    "true" => Ok(Setting::Boolean(true)),
                    "false" => Ok(Setting::Boolean(false)),
                    "" => self.error("a value"),
                    word if word.bytes().all(|byte| byte.is_ascii_digit()) => word
                        .parse()
                        .map(Setting::Integer)
                        .or_else(|_| self.error("a smaller number")),
                    word if crate::duration::duration(word).is_ok() => {
                        Ok(Setting::Duration(word.to_owned()))
                    }
                    word if is_number || word.starts_with(['-', '+', '.']) => {
                        Ok(Setting::Other(word.to_owned()))
                    }
                    _ => self.error("a value; texts are in quotes"),
                }
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut out = String::new();
        let mut signs = self.rest().char_indices().skip(1);
        while let Some((index, sign)) = signs.next() {
            match sign {
                '\n' => break,
                '\\' => match signs.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, 't')) => out.push('\t'),
                    Some((_, 'r')) => out.push('\r'),
                    Some((_, other)) => out.push(other),
                    None => break,
                },
                sign if sign == quote => {
                    self.at += index + sign.len_utf8();
                    return Ok(out);
                }
                sign => out.push(sign),
            }
        }
        self.error("the closing quote")
    }
}

pub(crate) fn boolean(setting: &Setting) -> Result<bool, Expected> {
    match setting {
        Setting::Boolean(value) => Ok(*value),
        _ => Err("true or false"),
    }
}

pub(crate) fn integer(setting: &Setting) -> Result<u64, Expected> {
    match setting {
        Setting::Integer(value) => Ok(*value),
        _ => Err("number"),
    }
}

pub(crate) fn text(setting: &Setting) -> Result<String, Expected> {
    match setting {
        Setting::Text(value) => Ok(value.clone()),
        _ => Err("text in quotes"),
    }
}

pub(crate) fn texts(setting: &Setting) -> Result<Vec<String>, Expected> {
    match setting {
        Setting::List(list) => list.iter().map(text).collect(),
        _ => Err("list of texts"),
    }
}

/// `N` or `"N/tcp"`.
pub(crate) fn port(setting: &Setting) -> Result<u64, Expected> {
    const EXPECTED: Expected = "port";
    let number = match setting {
        Setting::Integer(number) => Some(*number),
        Setting::Text(text) => text.strip_suffix("/tcp").unwrap_or(text).parse().ok(),
        _ => None,
    };
    number
        .filter(|number| *number <= u64::from(u16::MAX))
        .ok_or(EXPECTED)
}
