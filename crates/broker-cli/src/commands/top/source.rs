//! Where reports come from: the stream of a node's HTTP server, or an observer among its peers.

use std::time::Duration;

use broker::{Event, Subscriber};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use crate::commands::status::Node;
use crate::http_client::Server;
use crate::interrupt::Interrupt;
use crate::node_status::{self, Health, NodeEvent, NodeStatus};
use crate::outcome::Failure;
use crate::session::{self, OnPeerLoss, Session, full_time};
use crate::target::Target;

/// Updates that wait to be shown. A screen takes them all before it draws.
const UPDATES_MAX: usize = 1024;

/// Pause before a lost stream is tried again, and from one report of an observer to the next.
const PERIOD: Duration = Duration::from_secs(1);

/// Time for a ping of an observer.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Something new about the node.
#[derive(Debug)]
pub(super) enum Update {
    /// How it is.
    Report {
        status: Box<NodeStatus>,
        /// The same as JSON.
        document: String,
    },
    /// What happened.
    Event(NodeEvent),
    /// It cannot be asked at the moment, and why.
    Lost(String),
    /// A signal came.
    Interrupted,
    /// It cannot be asked, and will not be.
    Ended(Failure),
}

/// What asks the node.
pub(super) struct Source {
    pub(super) url: String,
    /// Bound: `UPDATES_MAX`.
    pub(super) updates: Receiver<Update>,
    task: JoinHandle<()>,
    endpoint: Option<broker::Endpoint>,
}

impl Source {
    /// Asks the node for the first time; call it inside the runtime.
    pub(super) async fn start(node: Node, topics: Vec<String>) -> Result<Self, Failure> {
        let (sender, updates) = channel(UPDATES_MAX);
        match node {
            Node::Http(server) => {
                // A first failure ends the command, with its reason.
                let stream = server.listen("/v1/stream").await?;
                let url = server.to_string();
                let task = tokio::spawn(follow(server, stream, sender));
                Ok(Self {
                    url,
                    updates,
                    task,
                    endpoint: None,
                })
            }
            Node::Peer(target) => {
                let mut observer = Observer::join(*target, &topics).await?;
                let url = observer.url.clone();
                let endpoint = Some(observer.session.endpoint.clone());
                let task = tokio::spawn(async move { observer.run(&sender).await });
                Ok(Self {
                    url,
                    updates,
                    task,
                    endpoint,
                })
            }
        }
    }

    /// Stops asking.
    pub(super) async fn end(self) {
        self.task.abort();
        if let Some(endpoint) = self.endpoint {
            endpoint.shutdown().await;
        }
    }
}

/// Hands on what a stream tells, and connects again when it ends.
async fn follow(server: Server, mut stream: crate::http_client::Events, updates: Sender<Update>) {
    let handle = tokio::runtime::Handle::current();
    let Ok(interrupt) = Interrupt::start(&handle) else {
        let failure = Failure::failed("cannot watch signals");
        let _ = updates.send(Update::Ended(failure)).await;
        return;
    };
    let mut last = 0;
    loop {
        let next = tokio::select! {
            next = stream.next() => next,
            _ = interrupt.wait() => {
                let _ = updates.send(Update::Interrupted).await;
                return;
            }
        };
        let told = match next {
            Ok(event) => read(&event.kind, event.data, &mut last),
            Err(failure) => {
                let _ = updates.send(Update::Lost(failure.to_string())).await;
                stream = loop {
                    tokio::time::sleep(PERIOD).await;
                    match server.listen("/v1/stream").await {
                        Ok(stream) => break stream,
                        Err(failure) => {
                            let lost = Update::Lost(failure.to_string());
                            if updates.send(lost).await.is_err() {
                                return;
                            }
                        }
                    }
                };
                // The node may be another one now, that counts its events anew.
                last = 0;
                continue;
            }
        };
        match told {
            Ok(None) => {}
            Ok(Some(update)) => {
                if updates.send(update).await.is_err() {
                    return;
                }
            }
            Err(failure) => {
                let _ = updates.send(Update::Ended(failure)).await;
                return;
            }
        }
    }
}

/// An event of the stream.
fn read(kind: &str, data: String, last: &mut u64) -> Result<Option<Update>, Failure> {
    match kind {
        "stats" => Ok(Some(Update::Report {
            status: Box::new(NodeStatus::parse(data.as_bytes())?),
            document: data,
        })),
        "status" | "error" => {
            let event: NodeEvent = node_status::parse(data.as_bytes())?;
            // A stream begins with events that may be known already.
            let is_new = event.number > *last;
            *last = event.number.max(*last);
            Ok(is_new.then_some(Update::Event(event)))
        }
        _ => Ok(None),
    }
}

/// An endpoint of this command that is a peer of the node and subscribes to what is watched.
struct Observer {
    url: String,
    session: Session,
    messages: Subscriber,
    is_native: bool,
    events: u64,
}

impl Observer {
    async fn join(target: Target, topics: &[String]) -> Result<Self, Failure> {
        let is_native = target.is_native();
        let url = target.peers.iter().map(ToString::to_string).collect();
        let mut session = Session::of(target, OnPeerLoss::Reconnect)?;
        let all = [String::new()];
        let messages = session.subscribe(if topics.is_empty() { &all } else { topics })?;
        session.connect().await?;
        Ok(Self {
            url,
            session,
            messages,
            is_native,
            events: 0,
        })
    }

    async fn run(&mut self, updates: &Sender<Update>) {
        let mut ticks = tokio::time::interval(PERIOD);
        let interrupt = self.session.interrupt.clone();
        loop {
            tokio::select! {
                biased;
                _ = interrupt.wait() => {
                    let _ = updates.send(Update::Interrupted).await;
                    return;
                }
                event = self.session.event() => {
                    let Some(event) = event else { return };
                    let update = Update::Event(self.told(&event));
                    if updates.send(update).await.is_err() {
                        return;
                    }
                    self.reconnect(&event);
                }
                _ = ticks.tick() => {
                    let report = self.report().await;
                    if updates.send(report).await.is_err() {
                        return;
                    }
                }
                message = session::next(&mut self.messages) => {
                    // Taken, so that they do not wait; the endpoint counts them by topic.
                    if message.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// Connects again to a peer that is lost; the events say how that goes.
    fn reconnect(&mut self, event: &Event) {
        let mut silent =
            crate::console::Console::new(std::io::empty(), std::io::sink(), std::io::sink());
        // Nothing is written that could fail.
        let _ = self.session.on_event(event, &mut silent);
    }

    /// An event as a node's HTTP server would tell it.
    fn told(&mut self, event: &Event) -> NodeEvent {
        self.events += 1;
        let (kind, code, context, text) = match event {
            Event::Status(status) => ("status", status.code.name(), &status.context, &status.text),
            Event::Error(fault) => ("error", fault.code.name(), &fault.context, &fault.text),
        };
        let (peer, network) = match context.clone() {
            Some(context) => (context.id, context.network),
            None => (None, None),
        };
        NodeEvent {
            number: self.events,
            time: full_time(session::now()),
            kind: kind.to_owned(),
            code: code.to_owned(),
            text: text.clone(),
            peer: peer.map(|id| id.to_string()),
            address: network.map(|network| network.to_string()),
        }
    }

    /// What an observer sees: its own endpoint, and what came from the node by topic.
    async fn report(&self) -> Update {
        let document = self.session.endpoint.stats_json();
        let mut status = match NodeStatus::parse(document.as_bytes()) {
            Ok(status) => status,
            Err(failure) => return Update::Ended(failure),
        };
        if self.is_native {
            for (peer, told) in self.session.endpoint.peers().iter().zip(&mut status.peers) {
                let ping = self.session.endpoint.ping(peer.id);
                let answer = tokio::time::timeout(PING_TIMEOUT, ping).await;
                if told.id == peer.id.to_string() {
                    let answer = answer.ok().flatten();
                    told.round_trip = answer.map(|time| time.as_secs_f64());
                }
            }
        }
        let lost = self.session.lost_peers();
        status.ready = Some(Health {
            status: if lost.is_empty() { "ok" } else { "unavailable" }.to_owned(),
            reasons: lost
                .iter()
                .map(|peer| format!("{peer} is lost; trying again"))
                .collect(),
        });
        Update::Report {
            status: Box::new(status),
            document,
        }
    }
}
