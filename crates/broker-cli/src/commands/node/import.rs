//! Configuration of the original, turned into the file of a node. Spec: tools 1.2, 1.3.

use std::fmt::Write as _;

use broker::broker_conf::{self, Entry, Expected, Setting, boolean, integer, port, text, texts};

/// Reads the original's file and prints it as ours; what has no counterpart is named in comments.
///
/// # Errors
///
/// Says where what is wrong.
pub(super) fn convert(text: &str) -> Result<String, String> {
    let entries = broker_conf::parse(text).map_err(|error| error.to_string())?;
    let mut output = Output::default();
    for Entry {
        name,
        place,
        setting,
    } in &entries
    {
        output
            .take(name, setting)
            .map_err(|expected| format!("{place}: `{name}` is no {expected}"))?;
    }
    Ok(output.print())
}

/// What goes into our file.
#[derive(Default)]
struct Output {
    top: Vec<(&'static str, String)>,
    tls: Vec<(&'static str, String)>,
    limits: Vec<(&'static str, String)>,
    recording: Vec<(&'static str, String)>,
    web_socket: (Option<String>, Option<u64>),
    http: (Option<String>, Option<u64>),
    stores: Vec<(String, &'static str)>,
    left_out: Vec<String>,
}

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
            "metrics.address" => self.http.0 = Some(text(setting)?),
            "metrics.port" => self.http.1 = Some(port(setting)?),
            "ssl.certificate" => self.tls.push(("cert", quoted(&text(setting)?))),
            "ssl.key" => self.tls.push(("key", quoted(&text(setting)?))),
            "ssl.passphrase" => self.tls.push(("passphrase", quoted(&text(setting)?))),
            "ssl.cafile" => self.tls.push(("cafile", quoted(&text(setting)?))),
            "ssl.capath" => self.tls.push(("capath", quoted(&text(setting)?))),
            "recording-directory" => {
                self.recording.push(("directory", quoted(&text(setting)?)));
            }
            "output-generator-file-cap" => {
                let number = integer(setting)?.to_string();
                self.recording.push(("messages-max", number));
            }
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
        for (table, listener) in [("websocket", &self.web_socket), ("http", &self.http)] {
            let (address, Some(port)) = listener else {
                continue;
            };
            let address = address.as_deref().unwrap_or_default();
            let bracketed = if address.contains(':') {
                format!("[{address}]")
            } else {
                address.to_owned()
            };
            let value = list(&[format!("{bracketed}:{port}")]);
            put(&mut out, table, &[("listen", value)]);
        }
        put(&mut out, "limits", &self.limits);
        put(&mut out, "recording", &self.recording);
        for (name, role) in &self.stores {
            let name = quoted(name);
            let _ = write!(out, "\n[[store]]\nname = {name}\nrole = \"{role}\"\n");
        }
        out
    }
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
              recording-directory = "recordings"
            }
            broker.disable-forwarding = true
            topics = ["/a", "/b",]
            peers = [<tcp://localhost:9999>]
            port = 9998
            master-stores = ["x"]
        "#;
        let converted = convert(text).unwrap_or_else(|error| panic!("{error}"));
        let expected = r#"# left out: broker.ttl: no counterpart here
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

[http]
listen = [":9911"]

[limits]
messages-max = 100
overflow = "drop-oldest"

[recording]
directory = "recordings"

[[store]]
name = "x"
role = "master"
"#;
        assert_eq!(converted, expected);
        let read = Configuration::parse(&converted);
        assert!(read.is_ok(), "{:?}", read.err());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, expected) in [
            ("a {\n b = 1", "line 2, column 7: expected `}`"),
            ("\n= 1", "line 2, column 1: expected the name of an option"),
            ("a 1", "line 1, column 3: expected `=` or `{`"),
            (
                "a = b",
                "line 1, column 5: expected a value; texts are in quotes",
            ),
            ("a = \"b", "line 1, column 5: expected the closing quote"),
            (
                "\n\nbroker.disable-ssl = 1",
                "line 3, column 1: `broker.disable-ssl` is no true or false",
            ),
            (
                "port = \"70000/tcp\"",
                "line 1, column 1: `port` is no port",
            ),
            (
                "topics = \"/a\"",
                "line 1, column 1: `topics` is no list of texts",
            ),
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
