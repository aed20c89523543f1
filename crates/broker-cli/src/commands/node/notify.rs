//! What a service tells systemd, where that asks for it: ready, reloading, stopping, alive.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// The socket of the service manager; silent where there is none.
#[derive(Debug)]
pub(super) struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// What the environment asks for. See sd_notify(3) and sd_watchdog_enabled(3).
    pub(super) fn from_environment() -> Self {
        let text = |name| std::env::var(name).ok();
        let is_ours = text("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let period = text("WATCHDOG_USEC").and_then(|text| text.parse::<u64>().ok());
        Self {
            socket: std::env::var_os("NOTIFY_SOCKET").and_then(|path| connect(&path)),
            watchdog: period
                .filter(|period| is_ours && *period > 0)
                .map(Duration::from_micros),
        }
    }

    /// How often to say that the node is alive: twice as often as asked for, as is the custom.
    pub(super) fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|period| period / 2)
    }

    pub(super) fn tell(&self, state: &str) {
        if let Some(socket) = &self.socket {
            // A service manager that does not listen is its own trouble.
            let _ = socket.send(state.as_bytes());
        }
    }

    /// Says that a reload begins; systemd wants to know when.
    pub(super) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let us = now.tv_sec.saturating_mul(1_000_000) + now.tv_nsec / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={us}"));
    }
}

fn connect(path: &std::ffi::OsStr) -> Option<UnixDatagram> {
    use std::os::unix::ffi::OsStrExt as _;
    let socket = UnixDatagram::unbound().ok()?;
    match path.as_bytes().strip_prefix(b"@") {
        None => socket.connect(path).ok()?,
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt as _;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name).ok()?;
            socket.connect_addr(&address).ok()?;
        }
        #[cfg(not(target_os = "linux"))]
        Some(_) => return None,
    }
    Some(socket)
}
