//! `broker zeek`: asks Zeek processes by the events of their control framework.
//!
//! A process that has loaded `policy/frameworks/control/controllee`, as every node of zeekctl has,
//! subscribes to `zeek/control/` and its endpoint id, and answers below `zeek/control`.
//! Spec: zeek 3.1.

mod schema;
mod scripts;

use std::time::Duration;

use broker::data::json::put_string;
use broker::zeek::{IdentifierUpdate, Message};
use broker::{EndpointId, Subscriber, Value};
use clap::{Args, Subcommand};

use super::publish::event;
use super::value::{self, GRAMMAR};
use crate::arguments::{ConnectionArguments, Global};
use crate::console::Console;
use crate::duration::duration;
use crate::harmless::{harmless_cell, harmless_line};
use crate::literal;
use crate::outcome::{EXIT_CODES, Exit, Failure, Outcome};
use crate::session::{self, OnPeerLoss, Session, Waited};
use crate::target::Target;

/// Topics of requests are this, a slash and the id of an endpoint; answers come below it.
const CONTROL: &str = "zeek/control";

/// What the topic of a node of a cluster begins with, before its name.
const NODE: &str = "zeek/cluster/node/";

const EXAMPLES: &str = "Examples:
  broker zeek nodes -u manager:9999 -u worker:9999   who is there
  broker zeek id Log::default_rotation_interval      a global of a script
  broker zeek set Notice::mail_dest '\"me@example.org\"'
  broker zeek net-stats --node worker-1
  broker zeek shutdown -u localhost:9999
  broker zeek schema site/ --event 'NetControl::*' > events.schema

The process has to have loaded policy/frameworks/control/controllee, which
zeekctl does. Each request goes to every peer, or to those of --node.";

/// Ask Zeek processes: globals, statistics, peers, shutdown; read its scripts
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{GRAMMAR}\n\n{EXIT_CODES}"))]
pub(crate) struct ZeekCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    #[command(flatten)]
    Question(Box<Question>),
    Schema(schema::SchemaArguments),
}

/// What processes are asked.
#[derive(Debug, Clone, Subcommand)]
enum Question {
    /// Print the value of a global
    Id {
        /// Name, with its module: Log::default_rotation_interval
        name: String,
        #[command(flatten)]
        place: Where,
    },
    /// Set a global to a value of its type, and print what it is then
    Set {
        /// Name, with its module
        name: String,
        /// Value
        #[arg(allow_negative_numbers = true)]
        value: String,
        #[command(flatten)]
        place: Where,
    },
    /// Print statistics about packets
    NetStats(Where),
    /// Print the peers of the process
    Peers(Where),
    /// Have the process end
    Shutdown(Where),
    /// Print who the peers are, and whether they can be asked
    Nodes(Where),
}

/// Who is asked.
#[derive(Debug, Clone, Args)]
struct Where {
    /// Only these nodes of a cluster (repeatable)
    #[arg(long = "node", value_name = "NAME")]
    nodes: Vec<String>,
    /// How long to wait for each answer
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
    timeout: Duration,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// A peer.
#[derive(Debug, Clone, PartialEq)]
struct Node {
    id: EndpointId,
    address: String,
    /// Its name in a cluster.
    name: Option<String>,
    /// Where it can be asked.
    topic: Option<String>,
}

impl Node {
    fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.address)
    }
}

impl ZeekCommand {
    pub(crate) fn run(self, global: &Global, console: &mut Console) -> Outcome {
        match self.what {
            What::Question(question) => question.run(global, console),
            What::Schema(arguments) => arguments.run(console),
        }
    }
}

impl Question {
    fn run(&self, global: &Global, console: &mut Console) -> Outcome {
        let target = Target::find(&self.place().connection, global)?;
        if !target.is_native() {
            return Err(Failure::usage(
                "Zeek processes are asked over native connections",
            ));
        }
        let new_value = match self {
            Self::Set { value, .. } => Some(value::read(value, 1, console)?),
            _ => None,
        };
        let runtime = session::runtime()?;
        let outcome = runtime.block_on(self.ask_all(target, new_value, console));
        runtime.shutdown_background();
        outcome
    }

    async fn ask_all(
        &self,
        target: Target,
        new_value: Option<Value>,
        console: &mut Console,
    ) -> Outcome {
        let mut session = Session::of(target, OnPeerLoss::End)?;
        let mut answers = session.subscribe(&[CONTROL.to_owned()])?;
        session.connect().await?;
        let nodes = match session.or_signal(self.nodes(&session)).await {
            Waited::Ended(_) => return Ok(Exit::Interrupted),
            Waited::Over(nodes) => nodes,
        };
        let outcome = match (self, nodes.is_empty()) {
            (_, true) => Err(self.nobody(&session)),
            (Self::Nodes(_), false) => print_nodes(&nodes, console),
            (_, false) => {
                self.ask_each(&session, &nodes, new_value, &mut answers, console)
                    .await
            }
        };
        session.leave().await;
        outcome
    }

    /// The peers that are meant; waits until at least one of them can be asked.
    async fn nodes(&self, session: &Session) -> Vec<Node> {
        let names = &self.place().nodes;
        let wanted = || {
            let mut wanted = peers(session);
            wanted.retain(|node| {
                let is_named = |name: &String| node.name.as_ref() == Some(name);
                names.is_empty() || names.iter().any(is_named)
            });
            wanted
        };
        let found = session.endpoint.until(|_| {
            let wanted = wanted();
            let is_enough = match names.len() {
                0 => wanted.iter().any(|node| node.topic.is_some()),
                count => wanted.len() >= count && wanted.iter().all(|node| node.topic.is_some()),
            };
            let is_listing = matches!(self, Self::Nodes(_)) && !wanted.is_empty();
            (is_enough || is_listing).then_some(wanted)
        });
        let found = tokio::time::timeout(self.place().timeout, found).await;
        found.unwrap_or_else(|_| wanted())
    }

    fn nobody(&self, session: &Session) -> Failure {
        let there: Vec<String> = peers(session)
            .iter()
            .map(|node| format!("`{}`", node.label()))
            .collect();
        let what = format!("no peer is named {}", self.place().nodes.join(" or "));
        Failure::new(Exit::NothingCame, what).hint(format!("there are {}", there.join(", ")))
    }

    async fn ask_each(
        &self,
        session: &Session,
        nodes: &[Node],
        new_value: Option<Value>,
        answers: &mut Subscriber,
        console: &mut Console,
    ) -> Outcome {
        let mut silent = Vec::new();
        for node in nodes {
            let Some(topic) = &node.topic else {
                console.warn(format_args!(
                    "`{}` does not listen to control events: it has not loaded \
                     policy/frameworks/control/controllee",
                    node.label()
                ));
                silent.push(node.label().to_owned());
                continue;
            };
            if let (Self::Set { name, .. }, Some(value)) = (self, &new_value) {
                let bytes = broker::data::to_bytes(value);
                let bytes = bytes.map_err(|error| Failure::usage(error.to_string()))?;
                let update = IdentifierUpdate::new(name, broker::View::trusted(&bytes));
                session.endpoint.publish_async(topic, &update).await?;
            }
            let (request, arguments) = self.request();
            let request_bytes = event(&format!("Control::{request}_request"), &arguments)?;
            let view = broker::View::trusted(&request_bytes);
            session.endpoint.publish_async(topic, &view).await?;
            let response = format!("Control::{request}_response");
            let answer = self.answer(session, node, &response, answers);
            match session.or_signal(answer).await {
                Waited::Ended(_) => return Ok(Exit::Interrupted),
                Waited::Over(None) => silent.push(node.label().to_owned()),
                Waited::Over(Some(values)) => {
                    print_answer(node, &response, &values, nodes.len() > 1, console)?;
                    console.flush()?;
                }
            }
        }
        if silent.is_empty() {
            Ok(Exit::Done)
        } else {
            let what = format!("no answer from {}", silent.join(", "));
            Err(Failure::new(Exit::NothingCame, what))
        }
    }

    /// The arguments of the next event of that name. One node is asked at a time, since an answer
    /// does not say whose it is.
    async fn answer(
        &self,
        session: &Session,
        node: &Node,
        response: &str,
        answers: &mut Subscriber,
    ) -> Option<Vec<Value>> {
        let deadline = tokio::time::Instant::now() + self.place().timeout;
        let is_to_end = matches!(self, Self::Shutdown(_));
        let mut gone = std::pin::pin!(session.endpoint.until(|it| {
            let is_there = it.peers().iter().any(|peer| peer.id == node.id);
            (is_to_end && !is_there).then_some(())
        }));
        loop {
            let message = tokio::select! {
                biased;
                message = session::message(answers) => message.ok()?,
                // One that was told to end may be gone before its answer is read.
                () = &mut gone => return Some(Vec::new()),
                () = tokio::time::sleep_until(deadline) => return None,
            };
            if let Message::Event(event) = Message::parse(message.view())
                && event.name() == response.as_bytes()
            {
                return Some(
                    event
                        .arguments()
                        .elements()
                        .map(|it| it.to_value())
                        .collect(),
                );
            }
        }
    }
}

impl Question {
    fn place(&self) -> &Where {
        match self {
            Self::Id { place, .. }
            | Self::Set { place, .. }
            | Self::NetStats(place)
            | Self::Peers(place)
            | Self::Shutdown(place)
            | Self::Nodes(place) => place,
        }
    }

    /// Name and arguments of the request.
    fn request(&self) -> (&'static str, Vec<Value>) {
        match self {
            Self::Id { name, .. } | Self::Set { name, .. } => {
                ("id_value", vec![Value::from(name.as_str())])
            }
            Self::NetStats(_) => ("net_stats", Vec::new()),
            Self::Peers(_) | Self::Nodes(_) => ("peer_status", Vec::new()),
            Self::Shutdown(_) => ("shutdown", Vec::new()),
        }
    }
}

/// All peers, and what their subscriptions tell of them.
fn peers(session: &Session) -> Vec<Node> {
    let node = |peer: broker::PeerInfo| {
        let topics = session
            .endpoint
            .subscriptions_of(peer.id)
            .unwrap_or_default();
        let topics: Vec<String> = topics.iter().map(ToString::to_string).collect();
        let own = format!("{CONTROL}/{}", peer.id);
        let name = topics.iter().find_map(|topic| {
            let name = topic.strip_prefix(NODE)?;
            Some(name.trim_end_matches('/').to_owned())
        });
        Node {
            id: peer.id,
            address: peer.network.to_string(),
            name,
            topic: topics
                .into_iter()
                .find(|topic| topic.trim_end_matches('/') == own),
        }
    };
    session.endpoint.peers().into_iter().map(node).collect()
}

fn print_nodes(nodes: &[Node], console: &mut Console) -> Outcome {
    for node in nodes {
        if console.is_json() {
            let mut line = String::from("{\"type\":\"node\",\"endpoint\":");
            put_string(&mut line, &node.id.to_string());
            line.push_str(",\"address\":");
            put_string(&mut line, &node.address);
            put_name(&mut line, node);
            line.push_str(&format!(",\"controllable\":{}}}", node.topic.is_some()));
            console.line(line)?;
            continue;
        }
        let name = harmless_cell(node.name.as_deref().unwrap_or("-"));
        let note = match node.topic {
            Some(_) => "",
            None => "  (does not listen to control events)",
        };
        console.line(format_args!(
            "{name:<16} {:<24} {}{note}",
            node.address, node.id
        ))?;
    }
    Ok(Exit::Done)
}

fn put_name(line: &mut String, node: &Node) {
    line.push_str(",\"node\":");
    match &node.name {
        Some(name) => put_string(line, name),
        None => line.push_str("null"),
    }
}

/// An answer as text; as JSON see `schema/zeek.json`.
fn print_answer(
    node: &Node,
    response: &str,
    values: &[Value],
    with_label: bool,
    console: &mut Console,
) -> Result<(), Failure> {
    if console.is_json() {
        let mut line = String::from("{\"type\":\"answer\",\"endpoint\":");
        put_string(&mut line, &node.id.to_string());
        put_name(&mut line, node);
        line.push_str(",\"event\":");
        put_string(&mut line, response);
        line.push_str(",\"arguments\":[");
        for (index, value) in values.iter().enumerate() {
            line.push_str(if index > 0 { "," } else { "" });
            let bytes = broker::data::to_bytes(value);
            let bytes = bytes.map_err(|error| Failure::failed(error.to_string()))?;
            let form = broker::data::json::Form::Lossless;
            let encoded = broker::data::json::encode(&bytes, form, &mut line);
            encoded.map_err(|error| Failure::failed(error.to_string()))?;
        }
        line.push_str("]}");
        return console.line(line);
    }
    // The answer about a global repeats its name.
    let text = match values.last() {
        Some(Value::String(text)) => String::from_utf8_lossy(text.as_bytes())
            .trim_end()
            .to_owned(),
        Some(other) => literal::to_text(other),
        None => "done".to_owned(),
    };
    for line in text.lines() {
        let line = harmless_line(&line.replace('\t', " "));
        if with_label {
            console.line(format_args!("{}: {line}", harmless_cell(node.label())))?
        } else {
            console.line(line)?
        }
    }
    Ok(())
}
