//! `broker bridge`: joins peers that speak different protocols, for some topics.

use clap::Args;

use super::node::Node;
use crate::arguments::{Global, TlsArguments};
use crate::console::Console;
use crate::outcome::{EXIT_CODES, Outcome};

const EXAMPLES: &str = "Examples:
  broker bridge zmq://manager:27760 nats://hub:4222 --topic /zeek/alerts/
                                     a ZeroMQ cluster and a site far away
  broker bridge zeek://a:9999 ws://b:27759 --topic \"\" --http-listen :9911
                                     everything; metrics per link

Rules for each link and direction, permissions, and more peers that call in
are for the file of `broker node`: [[link]] in `broker node --print-config`.

Messages never go back to where they came from. Two bridges between the same
two places are safe between servers of NATS and native peers; anywhere else
they send messages round: use one.";

/// Join peers of any protocol: listed topics cross, both ways, and nothing else
///
/// It runs until it is told to end, and looks for peers that are lost. Traffic per link is in metrics and
/// in `broker status`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Bridge {
    /// Peers to join: zeek://, ws://, wss://, zmq:// or nats://
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
    /// Topic that crosses, as a prefix; "" is all (repeatable)
    #[arg(long = "topic", value_name = "TOPIC", required = true)]
    topics: Vec<String>,
    /// Listen for native peers, which are joined as well (repeatable)
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Listen for WebSocket clients, which are joined as well (repeatable)
    #[arg(long, value_name = "ADDR")]
    ws_listen: Vec<String>,
    /// Serve metrics, status and health over HTTP (repeatable)
    #[arg(long, value_name = "ADDR")]
    http_listen: Vec<String>,
    #[command(flatten)]
    tls: TlsArguments,
}

impl Bridge {
    pub(crate) fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let node = Node::of_links(self.urls, self.topics, self.tls);
        node.listening(self.listen, self.ws_listen, self.http_listen)
            .run(global, console)
    }
}
