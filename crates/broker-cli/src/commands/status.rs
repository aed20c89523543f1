//! `broker status`: how a node is, once; its exit code tells a probe whether it works.

use std::path::PathBuf;
use std::time::Duration;

use broker::data::json::put_string;
use clap::Args;

use crate::arguments::{ConnectionArguments, Global};
use crate::console::Console;
use crate::harmless::harmless_cell;
use crate::http_client::Server;
use crate::node_status::{self, Health, NodeStatus, age, bytes, whole};
use crate::outcome::{EXIT_CODES, Exit, Failure, Outcome};
use crate::session::{self, OnPeerLoss, Session, Waited};
use crate::target::Target;

/// Time for a peer to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Tell how a node is; exit code 1 when something of it does not work
///
/// http:// and https:// ask the node's HTTP server, which knows everything about it. Any other
/// address is that of a peer: it is connected to, which tells whether it answers.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_CODES)]
pub(crate) struct StatusCommand {
    #[command(flatten)]
    pub(crate) node: NodeArguments,
}

/// Which node, and how to ask it.
#[derive(Debug, Args)]
pub(crate) struct NodeArguments {
    /// Node: http://HOST:9911, or HOST:PORT of a peer
    #[arg(value_name = "URL", conflicts_with = "urls")]
    pub(crate) url: Option<String>,
    /// File whose first line is the token that the HTTP server asks for
    ///
    /// Without it: $BROKER_HTTP_TOKEN.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
}

/// How a node is asked.
#[derive(Debug)]
pub(crate) enum Node {
    /// Its HTTP server.
    Http(Server),
    /// As its peer.
    Peer(Box<Target>),
}

impl NodeArguments {
    /// Finds out which node is meant.
    pub(crate) fn find(&self, global: &Global) -> Result<Node, Failure> {
        let mut connection = self.connection.clone();
        connection.urls.extend(self.url.clone());
        let from_environment = match (connection.urls.as_slice(), &global.context) {
            ([], None) => std::env::var("BROKER_URL").ok(),
            _ => None,
        };
        let only = match connection.urls.as_slice() {
            [] => from_environment.as_deref(),
            [url] => Some(url.as_str()),
            _ => return Err(Failure::usage("one node at a time")),
        };
        if let Some(url) = only
            && Server::is_url(url)
        {
            let server = Server::new(url, &connection.tls, self.token_file.as_deref())?;
            return Ok(Node::Http(server));
        }
        if self.token_file.is_some() {
            return Err(Failure::usage("a token is for http:// and https://"));
        }
        let target = Target::find(&connection, global)?;
        if target.peers.len() > 1 {
            return Err(Failure::usage("one node at a time"));
        }
        Ok(Node::Peer(Box::new(target)))
    }
}

impl StatusCommand {
    pub(crate) fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let node = self.node.find(global)?;
        let runtime = session::runtime()?;
        let outcome = runtime.block_on(async {
            match node {
                Node::Http(server) => ask(&server, console).await,
                Node::Peer(target) => visit(*target, console).await,
            }
        });
        runtime.shutdown_background();
        outcome
    }
}

fn exit(health: &Health) -> Exit {
    if health.is_ok() {
        Exit::Done
    } else {
        Exit::Failed
    }
}

async fn ask(server: &Server, console: &mut Console) -> Outcome {
    let stats = server.get("/v1/stats").await?;
    let ready = server.get("/readyz").await?;
    let status = NodeStatus::parse(&stats)?;
    let health: Health = node_status::parse(&ready)?;
    if console.is_json() {
        let mut line = json_head(&server.to_string(), &health);
        line.push_str(",\"peer\":null,\"stats\":");
        // One line, however it came: in JSON, ends of lines are only between things.
        let stats = String::from_utf8_lossy(&stats).replace(['\n', '\r'], " ");
        line.push_str(stats.trim_end());
        line.push('}');
        console.line(line)?;
        return Ok(exit(&health));
    }
    show(&server.to_string(), &status, &health, console)?;
    Ok(exit(&health))
}

/// The beginning of the JSON object.
fn json_head(url: &str, health: &Health) -> String {
    let mut line = String::from("{\"type\":\"status\",\"url\":");
    put_string(&mut line, url);
    line.push_str(&format!(",\"healthy\":{},\"reasons\":[", health.is_ok()));
    for (at, reason) in health.reasons.iter().enumerate() {
        line.push_str(if at > 0 { "," } else { "" });
        put_string(&mut line, reason);
    }
    line.push(']');
    line
}

/// A table without lines: the first column to the left, the others to the right.
fn table(head: &[&str], rows: &[Vec<String>], console: &mut Console) -> Result<(), Failure> {
    let label = console.palette().label;
    // Names and addresses are chosen by others.
    let cells = |row: &Vec<String>| row.iter().map(|cell| harmless_cell(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let widths: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(at, title)| {
            let cells = rows.iter().filter_map(|row| row.get(at));
            let widest = cells.map(|cell| cell.chars().count()).max();
            widest.unwrap_or(0).max(title.len())
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (at, (cell, width)) in cells.zip(&widths).enumerate() {
            match at {
                0 => line.push_str(&format!("  {cell:<width$}")),
                _ => line.push_str(&format!("  {cell:>width$}")),
            }
        }
        line
    };
    let titles = line(&mut head.iter().copied());
    console.line(format_args!("{label}{titles}{label:#}"))?;
    for row in rows {
        console.line(line(&mut row.iter().map(String::as_str)))?;
    }
    Ok(())
}

fn show(
    url: &str,
    status: &NodeStatus,
    health: &Health,
    console: &mut Console,
) -> Result<(), Failure> {
    let label = console.palette().label;
    let state = if health.is_ok() {
        "works"
    } else {
        "does not work"
    };
    console.line(format_args!("{label}{url}{label:#} {state}"))?;
    for reason in &health.reasons {
        console.line(format_args!("  ! {}", harmless_cell(reason)))?;
    }
    let traffic = |traffic: node_status::Traffic| {
        let (messages, size) = (whole(traffic.messages), bytes(traffic.bytes));
        format!("{messages} messages, {size}")
    };
    let (waiting, lost) = status.waiting_and_lost();
    for (name, content) in [
        ("endpoint", status.id.clone()),
        ("version", status.version.clone()),
        ("up", age(status.uptime)),
        ("received", traffic(status.received())),
        ("sent", traffic(status.sent())),
        ("published", format!("{} messages", whole(status.published))),
        ("waiting", format!("{} messages", whole(waiting))),
        ("lost", format!("{} messages", whole(lost))),
        (
            "refused",
            format!(
                "{} connections, {} commands",
                whole(status.refused_connections),
                whole(status.refused_commands)
            ),
        ),
    ] {
        console.line(format_args!("  {name:<10} {}", harmless_cell(&content)))?;
    }
    if let Some(policy) = &status.policy {
        let permissive = if policy.permissive {
            "; it is permissive"
        } else {
            ""
        };
        console.line(format_args!(
            "  {:<10} {} messages denied, {} limited, {} connections without proof{permissive}",
            "policy",
            whole(policy.denied),
            whole(policy.limited),
            whole(policy.failures),
        ))?;
    }
    let queue = |queue: &node_status::Queue| {
        let waiting = if queue.stalled {
            format!("{} stalled", whole(queue.waiting_messages))
        } else {
            whole(queue.waiting_messages)
        };
        [whole(queue.messages), waiting, whole(queue.dropped)]
    };
    if !status.peers.is_empty() {
        console.line("")?;
        let rows = status.peers.iter().map(|peer| {
            let first = [
                peer.place(),
                peer.transport.clone(),
                whole(peer.received.messages),
            ];
            first.into_iter().chain(queue(&peer.sent)).collect()
        });
        let rows: Vec<_> = rows.collect();
        let head = ["PEER", "TRANSPORT", "RECEIVED", "SENT", "WAITING", "LOST"];
        table(&head, &rows, console)?;
    }
    if !status.stores.is_empty() {
        console.line("")?;
        let rows = status.stores.iter().map(|store| {
            vec![
                store.name.clone(),
                store.role.clone(),
                match store.working {
                    Some(true) => "works".to_owned(),
                    Some(false) => "does not work".to_owned(),
                    None => "busy".to_owned(),
                },
                store.entries.map_or("-".to_owned(), whole),
                whole(store.updates),
                whole(store.unacknowledged),
            ]
        });
        let rows: Vec<_> = rows.collect();
        let head = [
            "STORE",
            "ROLE",
            "STATE",
            "ENTRIES",
            "CHANGES",
            "UNACKNOWLEDGED",
        ];
        table(&head, &rows, console)?;
    }
    if !status.links.is_empty() {
        console.line("")?;
        let rows = status.links.iter().map(|link| {
            vec![
                link.address.clone(),
                match link.peer {
                    Some(_) => "connected".to_owned(),
                    None => "cut".to_owned(),
                },
                whole(link.received.messages),
                bytes(link.received.bytes),
                whole(link.sent.messages),
                bytes(link.sent.bytes),
                whole(link.dropped),
            ]
        });
        let rows: Vec<_> = rows.collect();
        let head = [
            "LINK", "STATE", "RECEIVED", "BYTES", "SENT", "BYTES", "LOST",
        ];
        table(&head, &rows, console)?;
    }
    if !status.forwarders.is_empty() {
        console.line("")?;
        let rows = status.forwarders.iter().map(|it| {
            vec![
                it.xpub.clone(),
                whole(it.of("publisher").count() as u64),
                whole(it.of("subscriber").count() as u64),
                whole(it.messages),
                whole(it.waiting().messages),
                whole(it.dropped),
                whole(it.denied),
            ]
        });
        let rows: Vec<_> = rows.collect();
        let head = [
            "FORWARDER",
            "PUBLISHERS",
            "SUBSCRIBERS",
            "RECEIVED",
            "WAITING",
            "LOST",
            "DENIED",
        ];
        table(&head, &rows, console)?;
    }
    Ok(())
}

/// Connects as a peer, which is all that can be told of a node without HTTP.
async fn visit(target: Target, console: &mut Console) -> Outcome {
    let is_native = target.is_native();
    let url: String = target.peers.iter().map(ToString::to_string).collect();
    let mut session = Session::of(target, OnPeerLoss::End)?;
    session.connect().await?;
    let Some(peer) = session.endpoint.peers().into_iter().next() else {
        return Err(Failure::new(Exit::Unreachable, "the peer left at once"));
    };
    let ping = tokio::time::timeout(PING_TIMEOUT, session.endpoint.ping(peer.id));
    let round_trip = if is_native {
        match session.or_signal(ping).await {
            Waited::Ended(_) => return Ok(Exit::Interrupted),
            Waited::Over(answer) => answer.ok().flatten(),
        }
    } else {
        None
    };
    let topics = session.endpoint.peer_subscriptions().len();
    session.leave().await;
    let mut health = Health {
        status: "ok".to_owned(),
        reasons: Vec::new(),
    };
    if is_native && round_trip.is_none() {
        health.status = "unavailable".to_owned();
        let reason = format!(
            "the peer answered no ping within {} s",
            PING_TIMEOUT.as_secs()
        );
        health.reasons.push(reason);
    }
    if console.is_json() {
        let mut line = json_head(&url, &health);
        line.push_str(",\"peer\":{\"endpoint\":");
        put_string(&mut line, &peer.id.to_string());
        let null = || "null".to_owned();
        let ns = round_trip.map_or_else(null, |time| time.as_nanos().to_string());
        let topics = if is_native {
            topics.to_string()
        } else {
            null()
        };
        line.push_str(&format!(
            ",\"round_trip_ns\":{ns},\"topics\":{topics}}},\"stats\":null}}"
        ));
        console.line(line)?;
        return Ok(exit(&health));
    }
    let label = console.palette().label;
    let state = if health.is_ok() {
        "answers"
    } else {
        "does not answer"
    };
    console.line(format_args!("{label}{url}{label:#} {state}"))?;
    for reason in &health.reasons {
        console.line(format_args!("  ! {}", harmless_cell(reason)))?;
    }
    console.line(format_args!("  {:<10} {}", "endpoint", peer.id))?;
    if let Some(time) = round_trip {
        let ms = time.as_secs_f64() * 1e3;
        console.line(format_args!("  {:<10} {ms:.3} ms", "round trip"))?;
    }
    if is_native {
        console.line(format_args!("  {:<10} {topics} topics", "subscribes"))?;
    }
    console.say("more is told by the node's HTTP server: broker status http://HOST:9911");
    Ok(exit(&health))
}
