//! `broker version`: what this program is made of.

use broker::data::json::put_string;
use clap::Args;

use crate::console::{Console, put_strings};
use crate::outcome::{Exit, Outcome};

/// Version of the native protocol. Spec: wire 1.
const NATIVE_PROTOCOL: u32 = 1;

/// Version of what WebSocket clients speak, as in the path of its address. Spec: websocket 1.
const WEB_SOCKET_PROTOCOL: u32 = 1;

/// Version of the protocol of ZeroMQ. Spec: zeromq 1.
const ZMTP_PROTOCOL: &str = "3.1";

/// Show the version, and with --json what is in this build
#[derive(Debug, Args)]
pub(crate) struct Version {}

impl Version {
    pub(crate) fn run(&self, console: &mut Console) -> Outcome {
        let version = env!("CARGO_PKG_VERSION");
        if !console.is_json() {
            console.line(format_args!("broker {version}"))?;
            return Ok(Exit::Done);
        }
        let mut line = String::from("{\"type\":\"version\",\"version\":");
        put_string(&mut line, version);
        line.push_str(&format!(
            ",\"native_protocol\":{NATIVE_PROTOCOL},\"websocket_protocol\":{WEB_SOCKET_PROTOCOL},\
             \"zmtp_protocol\":\"{ZMTP_PROTOCOL}\""
        ));
        for (name, texts) in [
            ("transports", broker::transports()),
            ("features", broker::features()),
        ] {
            let texts: Vec<String> = texts.into_iter().map(str::to_owned).collect();
            line.push_str(&format!(",\"{name}\":"));
            put_strings(&mut line, &texts);
        }
        for (name, library) in [
            ("tls_library", broker::tls_library()),
            ("sqlite_library", broker::sqlite_library()),
        ] {
            line.push_str(&format!(",\"{name}\":"));
            match library {
                Some(library) => put_string(&mut line, library),
                None => line.push_str("null"),
            }
        }
        line.push('}');
        console.line(line)?;
        Ok(Exit::Done)
    }
}
