//! The end that the mailboxes of one list of targets have in common: where a sender collects small
//! messages for all of them. What is collected is a [`JointRun`]. See ADR 0091.

use std::sync::Arc;
use std::task::Waker;

use crate::flow::mailbox::Joined;
use crate::flow::mailbox::joint::{JOINT_BYTES_MAX, JointRun};
use crate::flow::target::Target;
use crate::lock::{Lock, wake};

/// From so many targets on a joint run pays for itself.
pub(crate) const JOINT_TARGETS_MIN: usize = 2;

/// A run with fewer messages costs more than it spares.
const FRAMES_WORTH_IT: usize = 3;

/// After so many of those in a row, none is begun for a while: the messages come slowly, or others
/// keep coming in between.
const SHORT_RUNS_MAX: u32 = 8;

/// How many messages that while lasts.
const PAUSE: u32 = 64;

/// Memory of the first run of a list. Later ones get what the one before them has filled.
const JOINT_BYTES_MIN: usize = 1024;

/// The joint run at the end of the mailboxes of one list of targets.
#[derive(Debug, Default)]
pub(crate) struct JointEnd {
    state: Lock<EndState>,
}

#[derive(Debug, Default)]
struct EndState {
    run: Option<Arc<JointRun>>,
    /// Runs in a row that were sealed with few messages.
    short_runs: u32,
    /// So many messages are left to the targets one by one.
    pause: u32,
}

/// What is left to do when a message was given to a list, once the list is no longer locked: those
/// who are woken or told may publish.
#[derive(Debug, Default)]
pub(crate) struct Handed<'t> {
    /// Who has to take the message by itself.
    pub(crate) apart: Vec<&'t Target>,
    wakes: Vec<Waker>,
}

impl Handed<'_> {
    pub(crate) fn wake(&mut self) {
        self.wakes.drain(..).for_each(wake);
    }
}

impl JointEnd {
    /// Gives one small message to all targets, which must be those of this end. `None`: nobody has
    /// it, collecting does not pay at present.
    pub(crate) fn push<'t>(&self, frame: &[u8], targets: &'t [Target]) -> Option<Handed<'t>> {
        // Held to the end: who pushes next may rely on all that are not apart having this message.
        let mut end = self.state.lock();
        let mut handed = Handed::default();
        if let Some(run) = &end.run
            && run.append(frame)
        {
            return Some(handed);
        }
        if end.pause > 0 {
            end.pause -= 1;
            return None;
        }
        let (filled, frames) = end.run.take().map_or((0, 0), |run| run.end());
        end.short_runs = if frames >= FRAMES_WORTH_IT {
            0
        } else {
            end.short_runs + 1
        };
        if end.short_runs > SHORT_RUNS_MAX {
            end.short_runs = 0;
            end.pause = PAUSE - 1;
            return None;
        }
        let capacity = filled
            .saturating_mul(2)
            .next_power_of_two()
            .clamp(JOINT_BYTES_MIN, JOINT_BYTES_MAX);
        let run = Arc::new(JointRun::new(capacity, frame, targets.len()));
        for target in targets {
            match target.mailbox.join(&run) {
                Joined::Waiting(task) => handed.wakes.extend(task),
                Joined::Apart => {
                    run.leave();
                    handed.apart.push(target);
                }
            }
        }
        // Nobody may miss what comes next.
        if !handed.apart.is_empty() {
            run.end();
        }
        // A sealed one says how much the next is likely to hold.
        end.run = Some(run);
        Some(handed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::task::{Context, Wake as TaskWake};
    use std::time::Duration;

    use broker_proto::frame::frame_size;
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::config::Overflow;
    use crate::flow::mailbox::joint::JOINT_FRAMES_MAX;
    use crate::flow::mailbox::run::Run;
    use crate::flow::mailbox::{Limits, Mailbox, Patience, Pushed, Taken};
    use crate::flow::routing::{TargetList, Targets};
    use crate::flow::target::TargetKind;

    const BYTES_MAX: usize = 2 * JOINT_BYTES_MAX;
    const MESSAGES_MAX: usize = 3 * JOINT_FRAMES_MAX;

    fn target() -> Target {
        Target {
            mailbox: Arc::new(Mailbox::new(Limits {
                bytes_max: BYTES_MAX,
                messages_max: MESSAGES_MAX,
                overflow: Overflow::DropNewest,
                stall_limit: Duration::ZERO,
                strict: false,
                translated: false,
            })),
            kind: TargetKind::Peer,
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "for options")]
    fn is_complete(handed: Handed<'_>) -> bool {
        handed.apart.is_empty()
    }

    /// A frame that says who sent it and which of theirs it is.
    fn frame(sender: u8, number: u32, size: usize) -> Vec<u8> {
        let mut frame = u32::try_from(size + 5).unwrap().to_be_bytes().to_vec();
        frame.push(sender);
        frame.extend(number.to_be_bytes());
        frame.resize(4 + 5 + size, 0);
        frame
    }

    /// Sender and number of the frames in some chunks.
    fn read(chunks: impl IntoIterator<Item = Bytes>) -> Vec<(u8, u32)> {
        let mut found = Vec::new();
        for chunk in chunks {
            let mut rest = &chunk[..];
            while let Some(size) = frame_size(rest) {
                let (frame, behind) = rest.split_at(size);
                let number = frame[5..9].try_into().unwrap();
                found.push((frame[4], u32::from_be_bytes(number)));
                rest = behind;
            }
        }
        found
    }

    fn take(target: &Target, budget: usize) -> Vec<Bytes> {
        let mut chunks = VecDeque::new();
        target.mailbox.take(budget, &mut chunks);
        chunks.into_iter().map(|chunk| chunk.bytes).collect()
    }

    fn take_all(target: &Target, budget: usize) -> Vec<Bytes> {
        let mut chunks = Vec::new();
        while target.mailbox.peek() != Taken::Empty {
            chunks.extend(take(target, budget));
        }
        chunks
    }

    #[test]
    fn all_targets_get_the_same_bytes() {
        let targets = Targets::new(vec![target(), target(), target()]);
        let joint = targets.joint().unwrap();
        for number in 0..200 {
            assert!(
                joint
                    .push(&frame(1, number, 50), &targets)
                    .is_some_and(is_complete)
            );
        }
        let taken: Vec<_> = targets
            .iter()
            .map(|target| {
                assert_eq!(target.mailbox.messages(), 200);
                take_all(target, usize::MAX)
            })
            .collect();
        let expected: Vec<_> = (0..200).map(|number| (1, number)).collect();
        // The list remembers the run, but not what was in it.
        let end = joint.state.lock();
        assert!(end.run.as_ref().unwrap().is_released());
        for chunks in &taken {
            let places = |chunks: &[Bytes]| {
                chunks
                    .iter()
                    .map(|chunk| chunk.as_ptr())
                    .collect::<Vec<_>>()
            };
            assert_eq!(places(chunks).last(), places(&taken[0]).last());
            assert_eq!(read(chunks.clone()), expected);
        }
        assert!(targets.iter().all(|target| target.mailbox.messages() == 0));
    }

    /// Publishes to the same list when it is woken, as an executor may that polls at once.
    struct Publishing {
        targets: TargetList,
        published: AtomicUsize,
    }

    impl TaskWake for Publishing {
        fn wake(self: Arc<Self>) {
            let joint = self.targets.joint().unwrap();
            for number in 1..3 {
                let handed = joint.push(&frame(2, number, 10), &self.targets);
                assert!(handed.is_some_and(is_complete));
                self.published.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    #[test]
    fn whoever_is_woken_may_publish() {
        let targets = Targets::new(vec![target(), target()]);
        let publishing = Arc::new(Publishing {
            targets: targets.clone(),
            published: AtomicUsize::new(0),
        });
        let waker = Waker::from(publishing.clone());
        targets[0]
            .mailbox
            .register(&mut Context::from_waker(&waker));
        let joint = targets.joint().unwrap();
        let mut handed = joint.push(&frame(1, 1, 10), &targets).unwrap();
        handed.wake();
        assert_eq!(publishing.published.load(Ordering::Relaxed), 2);
        for target in targets.iter() {
            assert_eq!(read(take_all(target, usize::MAX)), [(1, 1), (2, 1), (2, 2)]);
        }
    }

    #[test]
    fn who_leaves_takes_nothing_and_keeps_nothing() {
        let targets = Targets::new(vec![target(), target(), target()]);
        let joint = targets.joint().unwrap();
        let is_empty = || {
            let end = joint.state.lock();
            end.run.as_ref().unwrap().is_released()
        };
        joint.push(&frame(1, 1, 10), &targets);
        targets[1].mailbox.close();
        targets[2].mailbox.close();
        assert_eq!(read(take_all(&targets[0], usize::MAX)), [(1, 1)]);
        assert!(is_empty());
        let handed = joint.push(&frame(1, 2, 10), &targets).unwrap();
        assert_eq!(handed.apart.len(), 2);
        assert_eq!(read(take_all(&targets[0], usize::MAX)), [(1, 2)]);
        assert!(is_empty());
        targets[0].mailbox.close();
        joint.push(&frame(1, 3, 10), &targets);
        assert!(is_empty());
    }

    #[test]
    fn what_comes_in_between_keeps_its_place() {
        let targets = Targets::new(vec![target(), target()]);
        let joint = targets.joint().unwrap();
        let mut expected = Vec::new();
        for number in 0..300 {
            let frame = frame(1, number, 10);
            if number % 100 == 50 {
                let run = Run::copied(&frame, 1);
                targets[0].mailbox.push(run, Patience::Waits);
            } else if number % 100 == 80 {
                targets[0].mailbox.push_control(frame.into());
            } else {
                assert!(joint.push(&frame, &targets).is_some_and(is_complete));
                expected.push((1, number));
            }
        }
        let all: Vec<_> = (0..300).map(|number| (1, number)).collect();
        assert_eq!(read(take_all(&targets[0], 100)), all);
        assert_eq!(read(take_all(&targets[1], 100)), expected);
    }

    #[test]
    fn slow_messages_are_not_collected_for_a_while() {
        let targets = Targets::new(vec![target(), target()]);
        let joint = targets.joint().unwrap();
        let mut collected = 0;
        for number in 0..200 {
            let frame = frame(1, number, 10);
            collected += usize::from(joint.push(&frame, &targets).is_some());
            take(&targets[0], usize::MAX);
        }
        assert!(collected > 8 && collected < 50, "{collected}");
        // And again once they come quickly.
        let collected = (0..200).filter(|number| {
            let frame = frame(1, *number, 10);
            joint.push(&frame, &targets).is_some()
        });
        assert!(collected.count() >= 100);
    }

    #[test]
    fn limits_that_a_run_could_break_exclude_it() {
        let with = |bytes_max, messages_max, strict| {
            let mailbox = Arc::new(Mailbox::new(Limits {
                bytes_max,
                messages_max,
                overflow: Overflow::DropNewest,
                stall_limit: Duration::ZERO,
                strict,
                translated: false,
            }));
            let kind = TargetKind::Peer;
            let targets = Targets::new(vec![target(), Target { mailbox, kind }]);
            targets.joint().is_some()
        };
        assert!(with(JOINT_BYTES_MAX, JOINT_FRAMES_MAX, false));
        assert!(!with(JOINT_BYTES_MAX - 1, JOINT_FRAMES_MAX, false));
        assert!(!with(JOINT_BYTES_MAX, JOINT_FRAMES_MAX - 1, false));
        assert!(!with(JOINT_BYTES_MAX, JOINT_FRAMES_MAX, true));
        assert!(Targets::new(vec![target()]).joint().is_none());
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// So many messages of a size, for the first targets or the last, together or apart.
        Push(usize, usize, bool, bool),
        /// One of the mailboxes is read.
        Take(usize, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1..400_usize, 0..600_usize, any::<bool>(), any::<bool>()).prop_map(
                |(count, size, first, together)| Step::Push(count, size, first, together)
            ),
            (0..4_usize, prop_oneof![Just(usize::MAX), 1..100_000_usize])
                .prop_map(|(index, budget)| Step::Take(index, budget)),
        ]
    }

    proptest! {
        /// Whatever is pushed and taken how: each mailbox gives exactly what it accepted, in order,
        /// and never holds more than it may.
        #[test]
        fn nothing_is_lost_doubled_or_moved(steps in prop::collection::vec(step(), 1..60)) {
            let all = [target(), target(), target(), target()];
            let lists = [Targets::new(all[..3].to_vec()), Targets::new(all[1..].to_vec())];
            let mut expected: [VecDeque<(u8, u32)>; 4] = Default::default();
            let mut number = 0;
            for step in steps {
                match step {
                    Step::Push(count, size, is_first, together) => for _ in 0..count {
                        number += 1;
                        let frame = frame(1, number, size);
                        let list = &lists[usize::from(!is_first)];
                        let joint = list.joint().unwrap();
                        let handed = together.then(|| joint.push(&frame, list)).flatten();
                        let apart = match handed {
                            Some(handed) => handed.apart,
                            None => list.iter().collect(),
                        };
                        let mut lost = Vec::new();
                        for target in apart {
                            let run = Run::copied(&frame, 1);
                            match target.mailbox.push(run, Patience::Waits) {
                                Pushed::Accepted => {}
                                Pushed::Dropped { .. } => lost.push(target.clone()),
                                other => panic!("{other:?}"),
                            }
                        }
                        for (target, queue) in all.iter().zip(&mut expected) {
                            if list.contains(target) && !lost.contains(target) {
                                queue.push_back((1, number));
                            }
                            prop_assert_eq!(target.mailbox.messages(), queue.len());
                            prop_assert!(queue.len() <= MESSAGES_MAX);
                        }
                    },
                    Step::Take(index, budget) => {
                        for found in read(take(&all[index], budget)) {
                            prop_assert_eq!(Some(found), expected[index].pop_front());
                        }
                    }
                }
            }
            for (target, queue) in all.iter().zip(&expected) {
                let rest = take_all(target, usize::MAX);
                prop_assert!(rest.iter().map(Bytes::len).sum::<usize>() <= BYTES_MAX);
                prop_assert_eq!(read(rest), Vec::from(queue.clone()));
            }
        }
    }

    #[test]
    fn threads_keep_the_order_of_each_sender() {
        const MESSAGES: u32 = 20_000;
        let all = [target(), target(), target()];
        let lists = [
            Targets::new(all.to_vec()),
            Targets::new(all[1..].to_vec()),
            // As a second publisher knows the first ones.
            Targets::new(all.to_vec()),
        ];
        let over = AtomicBool::new(false);
        let send = |sender: u8| {
            let mut sent = [const { Vec::new() }; 3];
            for number in 0..MESSAGES {
                let frame = frame(sender, number, 30);
                let list = &lists[(number / 40 + u32::from(sender)) as usize % 3];
                let push_again = |target: &Target| loop {
                    let pushed = target.mailbox.push(Run::copied(&frame, 1), Patience::Waits);
                    match pushed {
                        Pushed::Accepted => break,
                        _ => std::thread::yield_now(),
                    }
                };
                let joint = list.joint().unwrap();
                let handed = (number % 40 > 0)
                    .then(|| joint.push(&frame, list))
                    .flatten();
                match handed {
                    Some(handed) => handed.apart.into_iter().for_each(push_again),
                    None => list.iter().for_each(push_again),
                }
                for (target, sent) in all.iter().zip(&mut sent) {
                    if list.contains(target) {
                        sent.push(number);
                    }
                }
            }
            sent
        };
        let receive = |target: &Target| {
            let mut found = Vec::new();
            loop {
                let is_over = over.load(Ordering::Acquire);
                let taken = take(target, 5000);
                if taken.is_empty() {
                    if is_over {
                        return found;
                    }
                    std::thread::yield_now();
                }
                found.extend(read(taken));
            }
        };
        std::thread::scope(|scope| {
            let receivers = all.each_ref().map(|target| scope.spawn(|| receive(target)));
            let senders = [0, 1, 2].map(|sender| scope.spawn(move || send(sender)));
            let sent = senders.map(|sender| sender.join().unwrap());
            over.store(true, Ordering::Release);
            for (index, receiver) in receivers.into_iter().enumerate() {
                let found = receiver.join().unwrap();
                for (sender, sent) in sent.iter().enumerate() {
                    let numbers = found
                        .iter()
                        .filter(|(from, _)| usize::from(*from) == sender)
                        .map(|(_, number)| *number);
                    assert!(
                        numbers.eq(sent[index].iter().copied()),
                        "{sender} to {index}"
                    );
                }
            }
        });
    }
}
