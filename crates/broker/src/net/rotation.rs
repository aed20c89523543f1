//! Certificates that are exchanged while the endpoint runs.
//!
//! The files of a set-up are looked at before a handshake if the last look is a minute ago, or if the
//! program asked for it. When they have changed, the set-up is made anew; one that cannot be made
//! leaves the old one in place, and the log says why. Connections that exist keep theirs. See ADR 0232.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use broker_data::Timestamp;
use openssl::asn1::Asn1Time;
use openssl::ssl::SslContext;

use crate::config::TlsOptions;
use crate::error::Error;
use crate::lock::Lock;

/// How long a look at the files counts.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// How often programs asked for another look.
static ASKED: AtomicU64 = AtomicU64::new(0);

type Recipe = Box<dyn Fn() -> Result<SslContext, Error> + Send + Sync>;

/// A set-up that follows its files.
pub(super) struct Rotation {
    context: ArcSwap<SslContext>,
    recipe: Recipe,
    paths: Vec<PathBuf>,
    seen: Lock<Seen>,
}

struct Seen {
    looked: Instant,
    asked: u64,
    files: Vec<Option<Stamp>>,
}

/// What changes with a file: when it was written, how long it is, which one it is.
type Stamp = (Option<SystemTime>, u64, u64);

impl Rotation {
    /// Makes the set-up for the first time.
    pub(super) fn new(
        options: &TlsOptions,
        recipe: impl Fn() -> Result<SslContext, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let paths = [
            &options.certificate,
            &options.key,
            &options.ca_file,
            &options.ca_path,
        ];
        let paths: Vec<PathBuf> = paths.into_iter().flatten().cloned().collect();
        // Before they are read: what changes meanwhile is found at the next look.
        let files = stamps(&paths);
        Ok(Self {
            context: ArcSwap::from_pointee(recipe()?),
            recipe: Box::new(recipe),
            paths,
            seen: Lock::new(Seen {
                looked: Instant::now(),
                asked: ASKED.load(Ordering::Acquire),
                files,
            }),
        })
    }

    /// The set-up for the next handshake.
    pub(super) fn context(&self) -> Arc<SslContext> {
        self.look();
        self.context.load_full()
    }

    fn look(&self) {
        if self.paths.is_empty() {
            return;
        }
        // Nobody waits for it: while one thread looks, the others go on with what there is.
        let Some(mut seen) = self.seen.try_lock() else {
            return;
        };
        let asked = ASKED.load(Ordering::Acquire);
        if seen.asked == asked && seen.looked.elapsed() < LOOK_INTERVAL {
            return;
        }
        (seen.asked, seen.looked) = (asked, Instant::now());
        let files = stamps(&self.paths);
        if files == seen.files {
            return;
        }
        seen.files = files;
        let certificate = self.paths.first().map_or(Path::new(""), PathBuf::as_path);
        let certificate = certificate.display();
        match (self.recipe)() {
            Ok(context) => {
                self.context.store(Arc::new(context));
                tracing::info!(event = "certificate-reloaded", %certificate);
            }
            Err(error) => tracing::error!(
                event = "certificate-not-reloaded",
                %certificate,
                cause = %error,
                "the one before stays in use"
            ),
        }
    }

    /// When the certificate is over.
    pub(super) fn expiry(&self) -> Option<Timestamp> {
        let context = self.context();
        let begin = Asn1Time::from_unix(0).ok()?;
        let left = begin.diff(context.certificate()?.not_after()).ok()?;
        let seconds = i64::from(left.days) * 24 * 60 * 60 + i64::from(left.secs);
        Some(Timestamp::from_ns(seconds.saturating_mul(1_000_000_000)))
    }
}

/// Has all set-ups of the process look at their files before their next handshake.
pub(crate) fn look_again() {
    ASKED.fetch_add(1, Ordering::AcqRel);
}

fn stamps(paths: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let known = std::fs::metadata(path).ok()?;
        #[cfg(unix)]
        let number = std::os::unix::fs::MetadataExt::ino(&known);
        #[cfg(not(unix))]
        let number = 0;
        Some((known.modified().ok(), known.len(), number))
    };
    paths.iter().map(stamp).collect()
}
