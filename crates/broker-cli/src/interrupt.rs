//! Ctrl-C and SIGTERM: the first asks the command to end, the second ends the process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::outcome::{Exit, Failure};

/// Which signal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

#[derive(Debug, Default)]
struct State {
    /// 0, or one more than the number of the [`Ending`].
    came: AtomicU8,
    told: Notify,
}

/// The signals of a command that runs in one thread and looks for itself whether one came.
#[derive(Debug)]
pub(crate) struct Signals {
    pub(crate) interrupt: Interrupt,
    /// Where they are watched; its thread only waits.
    _runtime: Runtime,
}

impl Signals {
    /// Takes the signals over.
    ///
    /// # Errors
    ///
    /// When the system has no thread or descriptor for it.
    pub(crate) fn watch() -> Result<Self, Failure> {
        let failed = |error| Failure::failed(format!("cannot watch signals: {error}"));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("broker-signals")
            .enable_all()
            .build()
            .map_err(failed)?;
        let interrupt = {
            let _inside = runtime.enter();
            Interrupt::start(runtime.handle()).map_err(failed)?
        };
        Ok(Self {
            interrupt,
            _runtime: runtime,
        })
    }
}

/// Tells when the command is to end.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    state: Arc<State>,
}

impl Interrupt {
    /// Takes the signals over; call it inside the runtime.
    pub(crate) fn start(runtime: &Handle) -> io::Result<Self> {
        let state = Arc::new(State::default());
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut terminations = signal(SignalKind::terminate())?;
        let shared = state.clone();
        runtime.spawn(async move {
            loop {
                let ending = tokio::select! {
                    _ = interrupts.recv() => Ending::Interrupt,
                    _ = terminations.recv() => Ending::Terminate,
                };
                if shared.came.swap(ending as u8 + 1, Ordering::AcqRel) != 0 {
                    // Asked for twice: at once, whatever is under way.
                    std::process::exit(Exit::Interrupted as i32);
                }
                shared.told.notify_waiters();
            }
        });
        Ok(Self { state })
    }

    /// The first signal, if one came.
    pub(crate) fn came(&self) -> Option<Ending> {
        match self.state.came.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Ending::Interrupt),
            _ => Some(Ending::Terminate),
        }
    }

    /// Resolves when the command is to end.
    pub(crate) async fn wait(&self) -> Ending {
        loop {
            let told = self.state.told.notified();
            tokio::pin!(told);
            // In this order, so that a signal in between is not missed.
            told.as_mut().enable();
            if let Some(ending) = self.came() {
                return ending;
            }
            told.await;
        }
    }
}
