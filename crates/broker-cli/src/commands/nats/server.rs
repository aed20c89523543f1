//! The configuration of a server that keeps what it acknowledges.

use std::fmt::Write;

use clap::Args;

use crate::console::Console;
use crate::outcome::{Exit, Failure, Outcome};

/// Most routes: a cluster has an odd number of servers, and rarely more than five.
const ROUTES_MAX: usize = 32;

/// Print the configuration of a server that keeps what it acknowledges
///
/// Messages are on disk before they are acknowledged (`sync_interval: always`), and the one user may do
/// what endpoints do and nothing else. The password is read by the server from its environment.
#[derive(Debug, Args)]
pub(super) struct Config {
    /// Name of the server, another one for each
    #[arg(long, default_value = "broker")]
    name: String,
    /// Where clients connect
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4222")]
    listen: String,
    /// Folder of streams
    #[arg(long, value_name = "FOLDER", default_value = "/var/lib/nats")]
    store: String,
    /// Another server of the cluster; once for each
    #[arg(long = "route", value_name = "HOST:PORT")]
    routes: Vec<String>,
    /// Where the other servers connect
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "0.0.0.0:6222",
        requires = "routes"
    )]
    cluster: String,
    /// The user that endpoints log in as
    #[arg(long, default_value = "broker")]
    user: String,
    /// Certificate, key and authority, as PEM: TLS for clients and servers
    #[arg(long, value_name = "FILE", num_args = 3, value_names = ["CERT", "KEY", "CA"])]
    tls: Vec<String>,
    /// What subjects begin with
    #[arg(long, default_value = "bk.")]
    prefix: String,
}

impl Config {
    pub(super) fn run(&self, console: &mut Console) -> Outcome {
        let text = self.text()?;
        console.line(text.trim_end())?;
        Ok(Exit::Done)
    }

    fn text(&self) -> Result<String, Failure> {
        let subjects = broker::proto::nats::Subjects::new(&self.prefix)
            .map_err(|error| Failure::usage(error.to_string()))?;
        if self.routes.len() > ROUTES_MAX {
            return Err(Failure::usage(format!("more than {ROUTES_MAX} routes")));
        }
        if !self.routes.is_empty() && !self.routes.len().is_multiple_of(2) {
            return Err(Failure::usage(format!(
                "{} servers have no majority when they fall in two halves",
                self.routes.len() + 1
            ))
            .hint("give the others of a cluster of three or five, one --route each"));
        }
        let forms = broker::proto::nats::Form::ALL
            .into_iter()
            .chain(broker::proto::nats::Form::RETAINED);
        let own: Vec<String> = forms
            .map(|form| format!("{}>", subjects.prefix(form)))
            .collect();
        let list = |more: &[&str]| {
            let all = own.iter().map(String::as_str).chain(more.iter().copied());
            all.map(quoted).collect::<Vec<_>>().join(", ")
        };
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(text, "listen: {}", quoted(&self.listen));
        let _ = writeln!(text, "server_name: {}", quoted(&self.name));
        let _ = writeln!(text, "jetstream {{");
        let _ = writeln!(text, "  store_dir: {}", quoted(&self.store));
        let _ = writeln!(
            text,
            "  # On disk before it is acknowledged; otherwise up to two minutes are lost"
        );
        let _ = writeln!(text, "  # when the power of all servers fails.");
        let _ = writeln!(text, "  sync_interval: always");
        let _ = writeln!(text, "}}");
        let tls = match self.tls.as_slice() {
            [certificate, key, authority] => format!(
                "tls {{ cert_file: {}, key_file: {}, ca_file: {} }}",
                quoted(certificate),
                quoted(key),
                quoted(authority)
            ),
            _ => String::new(),
        };
        if !tls.is_empty() {
            let _ = writeln!(text, "{tls}");
        }
        if !self.routes.is_empty() {
            let routes: Vec<String> = self
                .routes
                .iter()
                .map(|route| quoted(&format!("nats://{route}")))
                .collect();
            let _ = writeln!(text, "cluster {{");
            let _ = writeln!(text, "  name: broker");
            let _ = writeln!(text, "  listen: {}", quoted(&self.cluster));
            let _ = writeln!(text, "  routes: [{}]", routes.join(", "));
            if !tls.is_empty() {
                let _ = writeln!(text, "  {tls}");
            }
            let _ = writeln!(text, "}}");
        }
        let _ = writeln!(text, "authorization {{ users: [ {{");
        let _ = writeln!(text, "  user: {}", quoted(&self.user));
        let _ = writeln!(text, "  # From the environment of the server.");
        let _ = writeln!(text, "  password: $BROKER_NATS_PASSWORD");
        let _ = writeln!(text, "  permissions: {{");
        let _ = writeln!(
            text,
            "    publish: [{}]",
            list(&["$JS.API.>", "$JS.ACK.>", "bkst.>", "$KV.>"])
        );
        let _ = writeln!(text, "    subscribe: [{}]", list(&["_INBOX.>"]));
        let _ = writeln!(text, "  }}");
        let _ = writeln!(text, "}} ] }}");
        Ok(text)
    }
}

/// Text as a string of the server's language.
fn quoted(text: &str) -> String {
    let plain: String = text.chars().filter(|it| !it.is_control()).collect();
    format!("\"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(routes: &[&str], prefix: &str) -> Config {
        Config {
            name: "a".to_owned(),
            listen: "0.0.0.0:4222".to_owned(),
            store: "/s \"x\"".to_owned(),
            routes: routes.iter().map(|it| (*it).to_owned()).collect(),
            cluster: "0.0.0.0:6222".to_owned(),
            user: "u".to_owned(),
            tls: Vec::new(),
            prefix: prefix.to_owned(),
        }
    }

    #[test]
    fn a_configuration_is_safe() {
        let text = config(&["b:6222", "c:6222"], "bk.").text().ok().unwrap();
        for line in [
            "  sync_interval: always",
            "  store_dir: \"/s \\\"x\\\"\"",
            "  routes: [\"nats://b:6222\", \"nats://c:6222\"]",
            "    publish: [\"bk.>\", \"bkb.>\", \"bkr.>\", \"$JS.API.>\", \"$JS.ACK.>\", \"bkst.>\", \"$KV.>\"]",
            "    subscribe: [\"bk.>\", \"bkb.>\", \"bkr.>\", \"_INBOX.>\"]",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
        assert!(!config(&[], "bk.").text().ok().unwrap().contains("cluster"));
    }

    #[test]
    fn what_cannot_be_safe_is_refused() {
        for wrong in [config(&["b:6222"], "bk."), config(&[], "bk")] {
            assert!(wrong.text().is_err());
        }
    }
}
