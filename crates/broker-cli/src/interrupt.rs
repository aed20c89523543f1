//! Ctrl-C and SIGTERM: the first asks the command to end, the second ends the process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::outcome::Exit;

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
