//! An endpoint with its peers for the time of one command: connect, lose, connect again, leave.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use broker::proto::peer_url::PeerUrl;
use broker::{
    Endpoint, EndpointInfo, Event, Message, Options, Retry, StatusCode, StatusSubscriber,
    Subscriber, Timestamp,
};
use futures_core::Stream;
use tokio::runtime::{Builder, Runtime};

use crate::console::Console;
use crate::interrupt::{Ending, Interrupt};
use crate::outcome::{Exit, Failure};
use crate::target::Target;

/// Pause between attempts to reach a lost peer again.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Threads of the runtime: as many as the library itself would take.
const WORKERS_MAX: usize = 4;

/// Names being resolved at the same time.
const RESOLVER_THREADS_MAX: usize = 16;

/// What a command does about a peer that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnPeerLoss {
    /// Connect again, for as long as it takes.
    Reconnect,
    /// End.
    End,
}

impl OnPeerLoss {
    /// What the option `--no-retry` asks for.
    pub(crate) fn retry_unless(no_retry: bool) -> Self {
        if no_retry { Self::End } else { Self::Reconnect }
    }
}

/// Starts the threads of a command.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads(cores.min(WORKERS_MAX))
        .max_blocking_threads(RESOLVER_THREADS_MAX)
        .thread_name("broker-worker")
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start threads: {error}")))
}

/// The time of the system.
pub(crate) fn now() -> Timestamp {
    Timestamp::try_from(SystemTime::now()).unwrap_or_default()
}

/// The next of a stream; `None` at its end.
pub(crate) async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}

/// The end of an optional time.
pub(crate) async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// How a wait ended that signals can end.
#[derive(Debug)]
pub(crate) enum Waited<T> {
    Over(T),
    Ended(Ending),
}

/// An endpoint and its peers.
pub(crate) struct Session {
    pub(crate) endpoint: Endpoint,
    pub(crate) interrupt: Interrupt,
    statuses: StatusSubscriber,
    peers: Vec<PeerUrl>,
    /// Those that are lost, by their place among the peers.
    lost: Vec<bool>,
    loss: OnPeerLoss,
}

impl Session {
    /// Makes the endpoint; call it inside the runtime.
    pub(crate) fn new(
        options: Options,
        peers: Vec<PeerUrl>,
        loss: OnPeerLoss,
    ) -> Result<Self, Failure> {
        let handle = tokio::runtime::Handle::current();
        let interrupt = Interrupt::start(&handle)
            .map_err(|error| Failure::failed(format!("cannot watch signals: {error}")))?;
        let endpoint = Endpoint::builder()
            .options(options)
            .runtime(handle)
            .build()?;
        let statuses = endpoint.status_subscriber(true)?;
        let lost = vec![false; peers.len()];
        Ok(Self {
            endpoint,
            interrupt,
            statuses,
            peers,
            lost,
            loss,
        })
    }

    pub(crate) fn of(target: Target, loss: OnPeerLoss) -> Result<Self, Failure> {
        Self::new(target.options, target.peers, loss)
    }

    /// Subscribes; before [`Self::connect`], so that the peers know from the first moment on.
    pub(crate) fn subscribe(&self, topics: &[String]) -> Result<Subscriber, Failure> {
        Ok(self
            .endpoint
            .subscriber(topics.iter().map(String::as_str))?)
    }

    /// Connects to all peers, one attempt each.
    pub(crate) async fn connect(&mut self) -> Result<(), Failure> {
        let attempts: Vec<_> = self
            .peers
            .iter()
            .map(|peer| self.endpoint.peer_url(peer.clone(), Retry::Never))
            .collect();
        for (attempt, peer) in attempts.into_iter().zip(&self.peers) {
            match self.or_signal(attempt).await {
                Waited::Over(Ok(())) => {}
                Waited::Over(Err(error)) => return Err(self.explain(peer, error)),
                Waited::Ended(_) => {
                    return Err(Failure::new(
                        Exit::Interrupted,
                        format!("interrupted while connecting to {peer}"),
                    ));
                }
            }
        }
        Ok(())
    }

    fn explain(&self, peer: &PeerUrl, error: broker::Error) -> Failure {
        let failure = Failure::from(error.clone());
        match (failure, error) {
            (Failure::Told { exit, hint, .. }, broker::Error::PeerUnavailable { text, .. }) => {
                let what = format!("cannot connect to {peer}: {text}");
                let failure = Failure::new(exit, what);
                failure
                    .hint(hint.unwrap_or_else(|| format!("`broker doctor {peer}` finds out why")))
            }
            (failure, _) => failure,
        }
    }

    /// Waits for something, or for a signal.
    pub(crate) async fn or_signal<T>(&self, future: impl Future<Output = T>) -> Waited<T> {
        tokio::select! {
            biased;
            ending = self.interrupt.wait() => Waited::Ended(ending),
            value = future => Waited::Over(value),
        }
    }

    /// The next event of the endpoint.
    pub(crate) async fn event(&mut self) -> Option<Event> {
        next(&mut self.statuses).await
    }

    /// The next event of the endpoint if there is one.
    pub(crate) fn try_event(&self) -> Option<Event> {
        self.statuses.try_recv()
    }

    /// What the latest event said that is there.
    pub(crate) fn last_words(&self) -> Option<String> {
        let events = std::iter::from_fn(|| self.statuses.try_recv());
        events
            .map(|event| match event {
                Event::Status(status) => status.text,
                Event::Error(fault) => fault.text,
            })
            .last()
    }

    /// The peers that are lost at the moment.
    pub(crate) fn lost_peers(&self) -> Vec<String> {
        let lost = self.peers.iter().zip(&self.lost).filter(|(_, lost)| **lost);
        lost.map(|(peer, _)| peer.to_string()).collect()
    }

    /// Says what happened to a peer of this session, and connects again to one that was lost.
    pub(crate) fn on_event(&mut self, event: &Event, console: &mut Console) -> Result<(), Failure> {
        let Event::Status(status) = event else {
            return Ok(());
        };
        let place = status.context.as_ref().and_then(|it| self.place(it));
        let (Some(place), code) = (place, status.code) else {
            return Ok(());
        };
        let Some(url) = self.peers.get(place).cloned() else {
            return Ok(());
        };
        let peer = url.to_string();
        let is_lost = matches!(code, StatusCode::PeerLost | StatusCode::PeerRemoved);
        let was_lost = self.lost.get(place).copied().unwrap_or_default();
        if is_lost && !was_lost {
            if self.loss == OnPeerLoss::End {
                let what = format!("lost {peer}: {}", status.text);
                return Err(Failure::new(Exit::Unreachable, what));
            }
            self.note(console, "lost", &peer)?;
            self.set_lost(place, true);
            // The library goes on trying; what becomes of it is told by events.
            drop(self.endpoint.peer_url(url, Retry::After(RECONNECT_PAUSE)));
        } else if code == StatusCode::PeerAdded && was_lost {
            self.set_lost(place, false);
            self.note(console, "restored", &peer)?;
        }
        Ok(())
    }

    fn set_lost(&mut self, place: usize, is_lost: bool) {
        if let Some(lost) = self.lost.get_mut(place) {
            *lost = is_lost;
        }
    }

    /// Which of the peers an event is about.
    fn place(&self, context: &EndpointInfo) -> Option<usize> {
        let network = context.network.as_ref()?;
        self.peers
            .iter()
            .position(|peer| network.is_same_place(&peer.host(), peer.port))
    }

    /// One line on standard error, and an object among the others as JSON.
    fn note(&self, console: &mut Console, state: &str, peer: &str) -> Result<(), Failure> {
        match state {
            "lost" => console.warn(format!("lost {peer}, connecting again")),
            _ => console.say(format!("connected again to {peer}")),
        }
        if console.is_json() {
            let mut line = String::from("{\"type\":\"connection\",\"time\":");
            broker::data::json::put_string(&mut line, &full_time(now()));
            line.push_str(",\"state\":");
            broker::data::json::put_string(&mut line, state);
            line.push_str(",\"peer\":");
            broker::data::json::put_string(&mut line, peer);
            line.push('}');
            console.line(line)?;
            console.flush()?;
        }
        Ok(())
    }

    /// Says goodbye to the peers, once everything is sent.
    pub(crate) async fn leave(&self) {
        self.endpoint.shutdown().await;
    }
}

/// Takes the next message; only ends with the endpoint.
pub(crate) async fn message(subscriber: &mut Subscriber) -> Result<Message, Failure> {
    match next(subscriber).await {
        Some(message) => Ok(message),
        None => Err(Failure::failed("the endpoint was closed")),
    }
}

/// A time with nanoseconds, as JSON has it.
pub(crate) fn full_time(time: Timestamp) -> String {
    let mut text = String::with_capacity(32);
    broker::data::json::put_timestamp(&mut text, time, broker::data::json::Form::Lossless);
    text.push('Z');
    text
}
