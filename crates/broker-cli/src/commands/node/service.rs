//! What a node has to do with those who started it: systemd's notifications, watchdog and sockets, and the
//! duties of process 1 in a container.

use std::net::TcpListener;
use std::time::Duration;

use listenfd::ListenFd;
use rustix::process::{WaitOptions, wait};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::nearest::nearest;
use crate::outcome::Failure;

/// Tells systemd something; silent where nobody asked for it. See sd_notify(3).
pub(super) fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        // A service manager that does not listen is its own trouble.
        tracing::debug!(event = "notify-failed", %error);
    }
}

/// Says that a reload begins; systemd wants to know when.
pub(super) fn tell_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// How often to say that the node is alive: twice as often as asked for, as is the custom. See
/// sd_watchdog_enabled(3).
pub(super) fn watchdog_interval() -> Option<Duration> {
    let period = sd_notify::watchdog_enabled()?;
    Some(period / 2).filter(|interval| !interval.is_zero())
}

/// Whom a socket is for that the node was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Peers,
    WebSocket,
    Http,
}

impl Use {
    /// By the name that the manager gave it (`FileDescriptorName=`). One without a name has that of
    /// its unit, or `unknown`, and is for native peers.
    fn of_name(name: &str) -> Result<Self, Failure> {
        match name {
            "peers" | "unknown" | "" => Ok(Self::Peers),
            "websocket" => Ok(Self::WebSocket),
            "http" => Ok(Self::Http),
            unit if unit.ends_with(".socket") => Ok(Self::Peers),
            other => {
                let what = format!("a socket was given to the node (LISTEN_FDNAMES) for `{other}`");
                let known = ["peers", "websocket", "http"];
                let hint = match nearest(other, known) {
                    Some(near) => format!("there is `{near}`"),
                    None => "the names are `peers`, `websocket` and `http`".to_owned(),
                };
                Err(Failure::usage(what).hint(hint))
            }
        }
    }
}

/// Sockets that systemd keeps, and has bound before the node runs. See sd_listen_fds(3).
///
/// # Errors
///
/// When one of them is no TCP socket that listens, or has a name that says nothing here.
pub(super) fn given_listeners() -> Result<Vec<(Use, TcpListener)>, Failure> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut given = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..given.len() {
        let of = Use::of_name(names.next().unwrap_or_default())?;
        let taken = given.take_tcp_listener(index);
        let taken = taken.map_err(|error| {
            Failure::failed(format!(
                "socket {index} that was given to the node (LISTEN_FDS): {error}"
            ))
        })?;
        listeners.extend(taken.map(|listener| (of, listener)));
    }
    Ok(listeners)
}

/// Ends of processes that process 1 inherits, such as those that `docker exec` left: it has to look at
/// them, or they stay for ever.
pub(super) struct Orphans(Option<Signal>);

impl Orphans {
    /// Only for process 1; the node itself starts no processes.
    pub(super) fn of_this_process() -> std::io::Result<Self> {
        let is_first = std::process::id() == 1;
        let signal = is_first.then(|| signal(SignalKind::child())).transpose()?;
        if is_first {
            bury();
        }
        Ok(Self(signal))
    }

    /// Looks at those that have ended; goes on for as long as it is awaited.
    pub(super) async fn bury(&mut self) {
        let Some(ended) = &mut self.0 else {
            return std::future::pending().await;
        };
        while ended.recv().await.is_some() {
            bury();
        }
        std::future::pending().await
    }
}

fn bury() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}
