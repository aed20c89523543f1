//! Configuration of the original, turned into the file of a node. Spec: tools 1.2, 1.3.

use std::fmt::Write as _;

/// Groups inside one another.
const DEPTH_MAX: usize = 16;

/// A value of the original's files.
#[derive(Debug, Clone, PartialEq)]
enum Setting {
    Boolean(bool),
    Integer(u64),
    /// A number and a unit.
    Duration(String),
    Text(String),
    List(Vec<Setting>),
    /// Anything else that may stand there.
    Other(String),
}

/// Reads the original's file and prints it as ours; what has no counterpart is named in comments.
///
/// # Errors
///
/// Says in which line what is wrong.
pub(super) fn convert(text: &str) -> Result<String, String> {
    let mut reader = Reader { text, at: 0 };
    let mut settings = Vec::new();
    reader.group("", 0, &mut settings)?;
    let mut output = Output::default();
    for (name, line, setting) in &settings {
        output
            .take(name, setting)
            .map_err(|expected| format!("line {line}: `{name}` is no {expected}"))?;
    }
    Ok(output.print())
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

/// What goes into our file.
#[derive(Default)]
struct Output {
    top: Vec<(&'static str, String)>,
    tls: Vec<(&'static str, String)>,
    limits: Vec<(&'static str, String)>,
    web_socket: (Option<String>, Option<u64>),
    stores: Vec<(String, &'static str)>,
    left_out: Vec<String>,
}

type Expected = &'static str;

impl Output {
    /// Takes an option of the original; options outside of groups are of the tools.
    fn take(&mut self, name: &str, setting: &Setting) -> Result<(), Expected> {
        let bare = name
            .strip_prefix("broker.")
            .or_else(|| name.strip_prefix("global."))
            .unwrap_or(name);
        match bare {
            "disable-ssl" => {
                let value = (!boolean(setting)?).to_string();
                self.tls.push(("enabled", value));
            }
            "disable-forwarding" => {
                let value = (!boolean(setting)?).to_string();
                self.top.push(("forward", value));
            }
            "peer-buffer-size" => self
                .limits
                .push(("messages-max", integer(setting)?.to_string())),
            "peer-overflow-policy" => {
                let policy = text(setting)?.replace('_', "-");
                self.limits.push(("overflow", quoted(&policy)));
            }
            "web-socket.address" => self.web_socket.0 = Some(text(setting)?),
            "web-socket.port" => self.web_socket.1 = Some(port(setting)?),
            "ssl.certificate" => self.tls.push(("cert", quoted(&text(setting)?))),
            "ssl.key" => self.tls.push(("key", quoted(&text(setting)?))),
            "ssl.passphrase" => self.tls.push(("passphrase", quoted(&text(setting)?))),
            "ssl.cafile" => self.tls.push(("cafile", quoted(&text(setting)?))),
            "ssl.capath" => self.tls.push(("capath", quoted(&text(setting)?))),
            "topics" => self.top.push(("topics", list(&texts(setting)?))),
            "port" => self
                .top
                .push(("listen", format!("[\":{}\"]", port(setting)?))),
            "peers" => {
                let peers = texts(setting)?.into_iter();
                let peers = peers.map(|peer| peer.replacen("tcp://", "zeek://", 1));
                self.top.push(("peers", list(&peers.collect::<Vec<_>>())));
            }
            "master-stores" => self.take_stores(setting, "master")?,
            "clone-stores" => self.take_stores(setting, "clone")?,
            _ => self.left_out.push(format!("{name}: no counterpart here")),
        }
        Ok(())
    }

    fn take_stores(&mut self, setting: &Setting, role: &'static str) -> Result<(), Expected> {
        let names = texts(setting)?.into_iter();
        self.stores.extend(names.map(|name| (name, role)));
        Ok(())
    }

    fn print(&self) -> String {
        let mut out = String::new();
        for left_out in &self.left_out {
            let _ = writeln!(out, "# left out: {left_out}");
        }
        let put = |out: &mut String, name: &str, entries: &[(&str, String)]| {
            if !name.is_empty() && !entries.is_empty() {
                let _ = writeln!(out, "\n[{name}]");
            }
            // Where an option is set twice, the last one counts.
            for (index, (key, value)) in entries.iter().enumerate() {
                let is_last = entries
                    .iter()
                    .skip(index + 1)
                    .all(|(other, _)| other != key);
                if is_last {
                    let _ = writeln!(out, "{key} = {value}");
                }
            }
        };
        put(&mut out, "", &self.top);
        put(&mut out, "tls", &self.tls);
        if let (address, Some(port)) = &self.web_socket {
            let address = address.as_deref().unwrap_or_default();
            let bracketed = match address.contains(':') {
                true => format!("[{address}]"),
                false => address.to_owned(),
            };
            let value = list(&[format!("{bracketed}:{port}")]);
            put(&mut out, "websocket", &[("listen", value)]);
        }
        put(&mut out, "limits", &self.limits);
        for (name, role) in &self.stores {
            let name = quoted(name);
            let _ = write!(out, "\n[[store]]\nname = {name}\nrole = \"{role}\"\n");
        }
        out
    }
}

fn boolean(setting: &Setting) -> Result<bool, Expected> {
    match setting {
        Setting::Boolean(value) => Ok(*value),
        _ => Err("true or false"),
    }
}

fn integer(setting: &Setting) -> Result<u64, Expected> {
    match setting {
        Setting::Integer(value) => Ok(*value),
        _ => Err("number"),
    }
}

fn text(setting: &Setting) -> Result<String, Expected> {
    match setting {
        Setting::Text(value) => Ok(value.clone()),
        _ => Err("text in quotes"),
    }
}

fn texts(setting: &Setting) -> Result<Vec<String>, Expected> {
    match setting {
        Setting::List(list) => list.iter().map(text).collect(),
        _ => Err("list of texts"),
    }
}

/// `N` or `"N/tcp"`.
fn port(setting: &Setting) -> Result<u64, Expected> {
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

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::commands::node::configuration::Configuration;

    #[test]
    fn the_example_of_the_original_becomes_ours() {
        let text = r#"
            # a comment
            broker {
              disable-ssl = true   # another
              ttl = 8
              metrics { port = "9911/tcp" }
              web-socket { port = 9997 address = "127.0.0.1" }
              ssl { certificate = "node.pem" key = 'node.key' cafile = "ca.pem" }
              peer-buffer-size = 100
              peer-overflow-policy = "drop_oldest"
            }
            broker.disable-forwarding = true
            topics = ["/a", "/b",]
            peers = [<tcp://localhost:9999>]
            port = 9998
            master-stores = ["x"]
        "#;
        let converted = convert(text).unwrap_or_else(|error| panic!("{error}"));
        let expected = r#"# left out: broker.ttl: no counterpart here
# left out: broker.metrics.port: no counterpart here
forward = false
topics = ["/a", "/b"]
peers = ["zeek://localhost:9999"]
listen = [":9998"]

[tls]
enabled = false
cert = "node.pem"
key = "node.key"
cafile = "ca.pem"

[websocket]
listen = ["127.0.0.1:9997"]

[limits]
messages-max = 100
overflow = "drop-oldest"

[[store]]
name = "x"
role = "master"
"#;
        assert_eq!(converted, expected);
        let read = Configuration::parse(&converted);
        assert!(read.is_ok(), "{:?}", read.err());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, expected) in [
            ("a {\n b = 1", "line 2: expected `}`"),
            ("\n= 1", "line 2: expected the name of an option"),
            ("a 1", "line 1: expected `=` or `{`"),
            ("a = b", "line 1: expected a value; texts are in quotes"),
            ("a = \"b", "line 1: expected the closing quote"),
            (
                "\n\nbroker.disable-ssl = 1",
                "line 3: `broker.disable-ssl` is no true or false",
            ),
            ("port = \"70000/tcp\"", "line 1: `port` is no port"),
            ("topics = \"/a\"", "line 1: `topics` is no list of texts"),
        ] {
            assert_eq!(convert(text), Err(expected.to_owned()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_comes_out_can_be_read(
            text in "(?:[a-z0-9 \n\"'<>\\[\\]{}=#,.é\\\\-]|broker\\.|topics = |port = ){0,24}"
        ) {
            if let Ok(converted) = convert(&text) {
                prop_assert!(toml::from_str::<toml::Table>(&converted).is_ok(), "{}", converted);
            }
        }
    }
}
