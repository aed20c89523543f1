//! Publishing: into a frame, to whoever has room, and the rest of a message that met a full mailbox.

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use broker_proto::frame::{Tag, frame_size, patch_receiver, write_envelope};
use broker_proto::{EndpointId, Origin, Topic};
use bytes::Bytes;

use crate::config::deadline;
use crate::error::Error;
use crate::flow::data_plane::DataPlane;
use crate::flow::mailbox::run::PUBLISHED_TRANSLATION_MIN;
use crate::flow::mailbox::{Patience, Pushed, Run, SHARED_RUN_MIN};
use crate::flow::routing::{SharedMemo, TableStamp, TargetList, Targets, audience};
use crate::flow::target::{Target, json_readers};
use crate::flow::translation::Slot;

/// The longest nap of a waiting publisher. It is woken when there is room; the nap only bounds how
/// late it notices that a consumer stalled.
const NAP_MAX: Duration = Duration::from_secs(1);

thread_local! {
    /// Boxed, so that taking it is taking a pointer.
    static DESK: Cell<Option<Box<Desk>>> = const { Cell::new(None) };
}

/// What a thread keeps from one message to the next: a small message needs no allocation, and one
/// with the same audience as the previous one neither a lock nor a reference count to find it.
#[derive(Default)]
struct Desk {
    frame: Vec<u8>,
    last: Option<Addressed>,
}

/// Who gets a topic, as one routing table has it.
struct Addressed {
    table: TableStamp,
    origin: Origin,
    topic: Topic,
    targets: TargetList,
}

/// Drops what this thread remembers of the last audience: a mailbox lives as long as somebody does.
pub(crate) fn forget_audience() {
    // A thread that ends may have dropped its desk before its endpoints.
    let _ = DESK.try_with(|place| {
        if let Some(mut desk) = place.take() {
            desk.last = None;
            place.set(Some(desk));
        }
    });
}

/// Encodes a message and hands it to everybody who has room; what remains is returned. Never waits.
pub(crate) fn offer<E: From<Error>>(
    data: &Arc<DataPlane>,
    memo: &SharedMemo,
    receiver: Option<EndpointId>,
    topic: &[u8],
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<Option<BlockedPublish>, E> {
    if data.is_shut_down() {
        return Err(Error::ShutDown.into());
    }
    // Taken, not borrowed: `write` may be code of the application, and may publish itself.
    let mut desk = DESK.take().unwrap_or_default();
    desk.frame.clear();
    let outcome = offer_from(data, memo, receiver, topic, write, &mut desk);
    DESK.set(Some(desk));
    outcome
}

/// Either kind of failure while a frame is written.
enum Failure<E> {
    Envelope(Error),
    Value(E),
}

impl<E> From<broker_proto::EnvelopeError> for Failure<E> {
    fn from(error: broker_proto::EnvelopeError) -> Self {
        Self::Envelope(error.into())
    }
}

fn offer_from<E: From<Error>>(
    data: &Arc<DataPlane>,
    memo: &SharedMemo,
    receiver: Option<EndpointId>,
    topic: &[u8],
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    Desk { frame, last }: &mut Desk,
) -> Result<Option<BlockedPublish>, E> {
    let to = receiver.unwrap_or(EndpointId::NIL);
    write_envelope(frame, data.id, to, Tag::Data, topic, |out| {
        write(out).map_err(Failure::Value)
    })
    .map_err(|failure| match failure {
        Failure::Envelope(error) => E::from(error),
        Failure::Value(error) => error,
    })?;
    data.totals.published.fetch_add(1, Ordering::Relaxed);
    let direct: TargetList;
    let (targets, is_repeated) = match receiver {
        None => audience_of(last, data, memo, topic),
        Some(receiver) => {
            let table = data.routes.load();
            direct = Targets::new(audience(&table, memo.origin(), receiver, topic, true));
            (&*direct, false)
        }
    };
    if targets.is_empty() {
        return Ok(None);
    }
    if targets.is_marked() {
        patch_receiver(frame, data.marking.next().to_receiver());
    }
    let shared_frame;
    let run = if frame.len() < SHARED_RUN_MIN {
        Run::copied(frame, 1)
    } else {
        shared_frame = Bytes::from(std::mem::take(frame));
        Run::shared(&shared_frame, 1)
    };
    let joint = targets
        .joint()
        .filter(|_| is_repeated && run.len() < SHARED_RUN_MIN);
    let is_alone = targets.len() == 1;
    let mut unsent = match joint.and_then(|joint| joint.push(run.as_slice(), targets)) {
        None => push_to(data, run.alone_if(is_alone), targets.iter()),
        Some(mut handed) => {
            handed.wake();
            push_to(data, run, handed.apart.iter().copied())
        }
    };
    if !targets.unmarked().is_empty() {
        let bytes = unmarked(run.as_slice());
        let run = Run::shared(&bytes, 1);
        unsent.extend(push_to(data, run, targets.unmarked().iter()));
    }
    Ok(BlockedPublish::unless_empty(data, unsent))
}

/// A copy of complete frames for peers that know no marks.
pub(crate) fn unmarked(frames: &[u8]) -> Bytes {
    let mut bytes = frames.to_vec();
    let mut rest = bytes.as_mut_slice();
    while let Some(size) = frame_size(rest).filter(|size| *size <= rest.len()) {
        let (frame, behind) = rest.split_at_mut(size);
        patch_receiver(frame, EndpointId::NIL);
        rest = behind;
    }
    bytes.into()
}

/// Who gets a topic, as the thread remembers it or as the memo says, and whether the message before
/// went to the same.
fn audience_of<'a>(
    last: &'a mut Option<Addressed>,
    data: &DataPlane,
    memo: &SharedMemo,
    topic: &[u8],
) -> (&'a Targets, bool) {
    let (table, origin) = (data.routes.stamp(), memo.origin());
    let mut is_repeated = last.as_ref().is_some_and(|last| {
        last.table == table && last.origin == origin && last.topic.as_bytes() == topic
    });
    let before = if is_repeated { None } else { last.take() };
    let look_up = || {
        let (topic, targets) = memo.entry(&data.routes, topic);
        is_repeated = before.is_some_and(|before| Arc::ptr_eq(&before.targets, &targets));
        Addressed {
            table,
            origin,
            topic,
            targets,
        }
    };
    let targets = &last.get_or_insert_with(look_up).targets;
    (targets, is_repeated)
}

/// What a target had no room for, although it still moves.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) target: Target,
    pub(crate) bytes: Bytes,
}

/// Hands a run to everybody who has room; returns what remains.
pub(crate) fn push_to<'a>(
    data: &Arc<DataPlane>,
    run: Run<'_>,
    targets: impl Iterator<Item = &'a Target> + Clone,
) -> Vec<Unsent> {
    let mut unsent: Vec<Unsent> = Vec::new();
    let slot = Slot::default();
    let run = run.translated_in(
        &slot,
        json_readers(targets.clone()),
        PUBLISHED_TRANSLATION_MIN,
    );
    for target in targets {
        match target.mailbox.push(run, Patience::Waits) {
            Pushed::Full { .. } => unsent.push(Unsent {
                target: target.clone(),
                bytes: match unsent.first() {
                    Some(first) => first.bytes.clone(),
                    None => run.to_bytes(),
                },
            }),
            pushed => data.report_drops(pushed, target),
        }
    }
    unsent
}

/// As [`push_to`], for one message without a mark, to those targets of a list that `wants` picks:
/// it gets its mark on the way.
pub(crate) fn push_to_list(
    data: &Arc<DataPlane>,
    run: Run<'_>,
    targets: &Targets,
    wants: impl Fn(&&Target) -> bool + Copy,
) -> Vec<Unsent> {
    if !targets.is_marked() {
        return push_to(data, run, targets.iter().filter(wants));
    }
    let mut marked = run.as_slice().to_vec();
    patch_receiver(&mut marked, data.marking.next().to_receiver());
    let marked = Bytes::from(marked);
    let mut unsent = push_to(data, Run::shared(&marked, 1), targets.iter().filter(wants));
    unsent.extend(push_to(data, run, targets.unmarked().iter().filter(wants)));
    unsent
}

/// The rest of a published message: some of those who want it had no room.
///
/// Dropping it gives the rest up.
#[must_use = "some consumers have not got the message yet"]
pub struct BlockedPublish {
    data: Arc<DataPlane>,
    unsent: Vec<Unsent>,
}

impl BlockedPublish {
    pub(crate) fn unless_empty(data: &Arc<DataPlane>, unsent: Vec<Unsent>) -> Option<Self> {
        (!unsent.is_empty()).then(|| Self {
            data: data.clone(),
            unsent,
        })
    }

    /// Blocks the calling thread for at most `timeout`; `true` says that it is done: everybody has
    /// the message or lost it to their overflow policy.
    pub fn wait_timeout(&mut self, timeout: Duration) -> bool {
        let deadline = deadline(timeout);
        loop {
            let nap = self.push();
            let Some(Unsent { target, bytes }) = self.unsent.first() else {
                return true;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            target.mailbox.wait_room(bytes.len(), 1, nap.min(left));
        }
    }

    pub(crate) fn wait(mut self) {
        while !self.wait_timeout(NAP_MAX) {}
    }

    /// As [`wait_timeout`](Self::wait_timeout) without a limit, for async code.
    pub async fn finished(mut self) {
        loop {
            let nap = self.push();
            if self.unsent.is_empty() {
                return;
            }
            let room = poll_fn(|cx| self.poll_room(cx));
            let _ = tokio::time::timeout(nap, room).await;
        }
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.unsent.first() {
            Some(Unsent { target, bytes }) => target.mailbox.poll_room(cx, bytes.len(), 1),
            None => Poll::Ready(()),
        }
    }

    /// Tries again; returns how long to wait before the next try at the latest.
    fn push(&mut self) -> Duration {
        let mut nap = NAP_MAX;
        self.unsent.retain(|Unsent { target, bytes }| {
            let run = Run::shared(bytes, 1);
            match target.mailbox.push(run, Patience::Waits) {
                Pushed::Full { stalls_in } => {
                    nap = nap.min(stalls_in);
                    true
                }
                pushed => {
                    self.data.report_drops(pushed, target);
                    false
                }
            }
        });
        nap
    }
}

impl std::fmt::Debug for BlockedPublish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockedPublish")
            .field("targets", &self.unsent.len())
            .finish_non_exhaustive()
    }
}
