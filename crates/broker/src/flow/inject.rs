//! Encoded messages of any origin on their way into the mailboxes of their targets.

use std::sync::Arc;

use broker_proto::EndpointId;
use broker_proto::frame::{frame_size, patch_receiver};
use broker_proto::mark::Mark;
use bytes::Bytes;

use crate::flow::blocked::BlockedPublish;
use crate::flow::data_plane::DataPlane;
use crate::flow::mailbox::run::PUBLISHED_TRANSLATION_MIN;
use crate::flow::mailbox::{Patience, Pushed, Run};
#[cfg(any(feature = "http", feature = "zeromq", feature = "nats", test))]
use crate::flow::retry::Retry;
use crate::flow::retry::Unsent;
use crate::flow::routing::Targets;
use crate::flow::target::{Target, json_readers};
use crate::flow::translation::Slot;

/// Hands one frame without a mark to all targets of a list; what remains is returned. Never waits. A
/// large frame is taken out of its buffer, so that the targets can share it.
pub(crate) fn inject(
    data: &Arc<DataPlane>,
    frame: &mut Vec<u8>,
    targets: &Targets,
) -> Option<BlockedPublish> {
    let mut shared = Bytes::new();
    let run = Run::of_buffer(frame, &mut shared);
    inject_run(data, run, None, targets, |_| true)
}

/// As [`inject`], for a frame that is a run already, to those targets of a list that `wants` picks. A
/// mark that the message came with goes on with it.
pub(crate) fn inject_run(
    data: &Arc<DataPlane>,
    run: Run<'_>,
    mark: Option<Mark>,
    targets: &Targets,
    wants: impl Fn(&&Target) -> bool + Copy,
) -> Option<BlockedPublish> {
    let unsent = push_to_list(data, run, mark, targets, wants);
    BlockedPublish::unless_empty(data, unsent)
}

/// As [`inject_run`] for a producer that must not wait: a target that has no room loses the message.
/// Returns how many did.
#[cfg(any(feature = "http", feature = "zeromq", feature = "nats", test))]
pub(crate) fn inject_or_drop(
    data: &Arc<DataPlane>,
    run: Run<'_>,
    mark: Option<Mark>,
    targets: &Targets,
    wants: impl Fn(&&Target) -> bool + Copy,
) -> u64 {
    let unsent = push_to_list(data, run, mark, targets, wants);
    let mut rest = Retry::new(run.frames, unsent);
    rest.offer(data, Patience::Exhausted).dropped
}

/// Hands a run to those beside a list, without its marks.
#[inline]
pub(crate) fn push_unmarked(
    data: &Arc<DataPlane>,
    run: Run<'_>,
    targets: &Targets,
    unsent: &mut Vec<Unsent>,
) {
    if !targets.unmarked().is_empty() {
        let bytes = unmarked(run.as_slice());
        let run = Run::shared(&bytes, run.frames);
        let others = targets.unmarked().iter();
        unsent.extend(push_to(data, run, others, PUBLISHED_TRANSLATION_MIN));
    }
}

/// Hands a run to some targets; returns what has no room. It is translated once for readers of JSON where
/// that spares them so many bytes.
#[inline]
pub(crate) fn push_to<'a>(
    data: &Arc<DataPlane>,
    run: Run<'_>,
    targets: impl Iterator<Item = &'a Target> + Clone,
    spared_min: usize,
) -> Vec<Unsent> {
    let mut unsent: Vec<Unsent> = Vec::new();
    let slot = Slot::default();
    let run = match sharing_readers(run, targets.clone(), spared_min) {
        0 => run,
        readers => run.translated_in(&slot, readers, spared_min),
    };
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

/// How many of the targets read JSON; none where the run is so small that sharing its text spares fewer
/// than so many bytes even if all do, so that a small message looks at no target for it.
#[inline]
fn sharing_readers<'a>(
    run: Run<'_>,
    targets: impl Iterator<Item = &'a Target>,
    spared_min: usize,
) -> usize {
    let most = targets.size_hint().1.unwrap_or(usize::MAX);
    if most.saturating_sub(1).saturating_mul(run.len()) < spared_min {
        return 0;
    }
    json_readers(targets)
}

/// As [`push_to`], for one message without a mark, to those targets of a list that `wants` picks:
/// it gets its mark on the way, the one that it came with or a new one.
pub(crate) fn push_to_list(
    data: &Arc<DataPlane>,
    run: Run<'_>,
    mark: Option<Mark>,
    targets: &Targets,
    wants: impl Fn(&&Target) -> bool + Copy,
) -> Vec<Unsent> {
    if !targets.is_marked() {
        let wanted = targets.iter().filter(wants);
        return push_to(data, run, wanted, PUBLISHED_TRANSLATION_MIN);
    }
    let mut marked = run.as_slice().to_vec();
    let mark = mark.map_or_else(|| data.marking.next(), Mark::after_hop);
    patch_receiver(&mut marked, mark.to_receiver());
    let marked = Bytes::from(marked);
    let (siblings, others) = (targets.iter(), targets.unmarked().iter());
    let (siblings, others) = (siblings.filter(wants), others.filter(wants));
    let run_of_siblings = Run::shared(&marked, 1);
    let mut unsent = push_to(data, run_of_siblings, siblings, PUBLISHED_TRANSLATION_MIN);
    unsent.extend(push_to(data, run, others, PUBLISHED_TRANSLATION_MIN));
    unsent
}

/// A copy of complete frames for peers that know no marks.
fn unmarked(frames: &[u8]) -> Bytes {
    let mut bytes = frames.to_vec();
    let mut rest = bytes.as_mut_slice();
    while let Some(size) = frame_size(rest).filter(|size| *size <= rest.len()) {
        let (frame, behind) = rest.split_at_mut(size);
        patch_receiver(frame, EndpointId::NIL);
        rest = behind;
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use broker_proto::frame::{Envelope, FRAME_LEN_SIZE, Tag, write_envelope};

    use super::*;
    use crate::config::Options;
    use crate::flow::mailbox::{Limits, Mailbox, SHARED_RUN_MIN};
    use crate::flow::target::TargetKind;

    const ID: EndpointId = EndpointId::recognizable([1; 16]);

    /// A data plane, without sockets and without the control plane.
    fn data_plane() -> (tokio::runtime::Runtime, Arc<DataPlane>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.unwrap();
        let handle = runtime.handle().clone();
        let data = DataPlane::new(ID, [7; 24], &Options::default(), handle);
        (runtime, data)
    }

    fn target(data: &DataPlane, kind: TargetKind, messages_max: usize) -> Target {
        let limits = Limits {
            messages_max,
            ..data.local_limits.clone()
        };
        Target {
            mailbox: Arc::new(Mailbox::new(limits)),
            kind,
        }
    }

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        write_envelope(&mut frame, ID, EndpointId::NIL, Tag::Data, b"/t", |out| {
            out.extend_from_slice(payload);
            Ok::<(), broker_proto::EnvelopeError>(())
        })
        .unwrap();
        frame
    }

    fn taken(target: &Target) -> Vec<u8> {
        let mut chunks = VecDeque::new();
        target.mailbox.take(usize::MAX, &mut chunks);
        let chunks = chunks.iter();
        chunks.flat_map(|chunk| chunk.bytes.to_vec()).collect()
    }

    fn receiver(frame: &[u8]) -> EndpointId {
        Envelope::parse(&frame[FRAME_LEN_SIZE..]).unwrap().receiver
    }

    #[test]
    fn all_targets_get_a_frame_whatever_its_size() {
        let (_runtime, data) = data_plane();
        let list = vec![
            target(&data, TargetKind::Local, 10),
            target(&data, TargetKind::Peer, 10),
        ];
        let targets = Targets::of_all(list, false);
        for size in [1, SHARED_RUN_MIN, 4 * SHARED_RUN_MIN] {
            let mut buffer = frame(&vec![7; size]);
            let expected = buffer.clone();
            assert!(inject(&data, &mut buffer, &targets).is_none());
            for target in targets.iter() {
                assert_eq!(taken(target), expected);
            }
        }
    }

    #[test]
    fn only_siblings_get_the_mark() {
        let (_runtime, data) = data_plane();
        let list = vec![
            target(&data, TargetKind::Sibling, 10),
            target(&data, TargetKind::Peer, 10),
        ];
        let (sibling, peer) = (list[0].clone(), list[1].clone());
        let targets = Targets::of_all(list, true);
        assert!(inject(&data, &mut frame(b"x"), &targets).is_none());
        assert!(Mark::from_receiver(receiver(&taken(&sibling))).is_some());
        assert_eq!(receiver(&taken(&peer)), EndpointId::NIL);
    }

    #[test]
    fn a_producer_that_must_not_wait_has_the_target_lose_what_it_has_no_room_for() {
        let (_runtime, data) = data_plane();
        let list = vec![
            target(&data, TargetKind::Local, 1),
            target(&data, TargetKind::Local, 10),
        ];
        let targets = Targets::of_all(list, false);
        let drop_it = |payload: &[u8]| {
            let bytes = Bytes::from(frame(payload));
            inject_or_drop(&data, Run::shared(&bytes, 1), None, &targets, |_| true)
        };
        assert_eq!(drop_it(b"1"), 0);
        assert_eq!(drop_it(b"2"), 1);
        assert_eq!(targets[0].mailbox.dropped(), 1);
        assert_eq!(taken(&targets[0]), frame(b"1"));
        assert_eq!(taken(&targets[1]), [frame(b"1"), frame(b"2")].concat());
        assert_eq!(drop_it(b"3"), 0);
        assert_eq!(taken(&targets[0]), frame(b"3"));
    }

    #[test]
    fn what_has_no_room_comes_back_and_goes_on_once_there_is() {
        let (_runtime, data) = data_plane();
        let list = vec![
            target(&data, TargetKind::Local, 1),
            target(&data, TargetKind::Local, 10),
        ];
        let targets = Targets::of_all(list, false);
        assert!(inject(&data, &mut frame(b"1"), &targets).is_none());
        let mut blocked = inject(&data, &mut frame(b"2"), &targets).unwrap();
        assert!(!blocked.wait_timeout(Duration::ZERO));
        assert_eq!(taken(&targets[0]), frame(b"1"));
        assert!(blocked.wait_timeout(Duration::ZERO));
        assert_eq!(taken(&targets[0]), frame(b"2"));
        assert_eq!(taken(&targets[1]), [frame(b"1"), frame(b"2")].concat());
    }
}
