//! Models of the queue of the data path: `loom` runs every interleaving of a few threads, up to a
//! number of preemptions.
//!
//! The sources are those of the crate, compiled a second time with locks and atomics that `loom` watches:
//! they name these through `crate::sync` and `crate::lock`, which this file defines anew. It is no
//! test to Cargo, so `cfg(test)` is off in them: `make loom` runs it. See ADR 0201.

#![expect(
    dead_code,
    unreachable_pub,
    reason = "the models use a part of what the sources offer to the crate"
)]
#![cfg_attr(
    feature = "http",
    expect(
        clippy::wrong_self_convention,
        reason = "in the crate it is the name of a public method"
    )
)]

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use loom::future::block_on;
use loom::model::Builder;
use loom::thread;

use crate::flow::joint_end::JointEnd;
use crate::flow::mailbox::{Chunk, Limits, Mailbox, Patience, Pushed, Run, Taken};
use crate::flow::target::{Target, TargetKind};
use crate::net::socket::SocketWriter;

/// What stands in the place of `src/sync.rs`.
mod sync {
    pub(crate) use loom::sync::Condvar;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64};

    /// A time of which every other is far away: a connection that is idle has been so for long.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Instant;

    impl Instant {
        pub(crate) fn now() -> Self {
            Self
        }

        pub(crate) fn elapsed(self) -> std::time::Duration {
            std::time::Duration::from_secs(1)
        }
    }
}

/// What stands in the place of `src/lock.rs`. Wakers of models run nothing, so they may be called under
/// a lock.
mod lock {
    use std::ops::{Deref, DerefMut};
    use std::task::Waker;
    use std::time::Duration;

    use loom::sync::{Condvar, Mutex, MutexGuard};

    #[derive(Debug, Default)]
    pub(crate) struct Lock<T>(Mutex<T>);

    #[derive(Debug)]
    pub(crate) struct Locked<'a, T>(MutexGuard<'a, T>);

    impl<T> Lock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> Locked<'_, T> {
            Locked(self.0.lock().expect("no thread of a model panics"))
        }
    }

    impl<T> Locked<'_, T> {
        fn wait(self, condition: &Condvar) -> Self {
            Self(condition.wait(self.0).expect("no thread of a model panics"))
        }

        /// Without the deadline, as below.
        pub(crate) fn wait_for<R>(
            mut self,
            condition: &Condvar,
            _deadline: Option<std::time::Instant>,
            mut check: impl FnMut(&mut T) -> Option<R>,
        ) -> (Self, Option<R>) {
            loop {
                let found = check(&mut self);
                if found.is_some() {
                    return (self, found);
                }
                self = self.wait(condition);
            }
        }

        /// Without the timeout: a wake-up that is lost is a deadlock, which the model reports.
        pub(crate) fn wait_timeout(self, condition: &Condvar, _timeout: Duration) -> Self {
            self.wait(condition)
        }
    }

    impl<T> Deref for Locked<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.0
        }
    }

    impl<T> DerefMut for Locked<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.0
        }
    }

    pub(crate) fn wake(task: Waker) {
        task.wake();
    }
}

mod config {
    /// As in `src/config.rs`, whose other options models have none of.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Overflow {
        Disconnect,
        DropNewest,
        DropOldest,
        Block,
    }
}

mod net {
    pub(crate) mod socket {
        use std::io;
        use std::sync::Arc;
        use std::task::Waker;

        use crate::lock::Lock;

        /// A socket that takes a few bytes at first, and then whatever comes.
        #[derive(Debug, Clone)]
        pub(crate) struct SocketWriter(pub(crate) Arc<Lock<Stream>>);

        #[derive(Debug, Default)]
        pub(crate) struct Stream {
            pub(crate) written: Vec<u8>,
            /// How much the next write takes at most.
            pub(crate) takes: Option<usize>,
        }

        impl SocketWriter {
            pub(crate) fn try_write(&self, _task: &Waker, bytes: &[u8]) -> io::Result<usize> {
                let mut stream = self.0.lock();
                let size = stream.takes.take().unwrap_or(bytes.len()).min(bytes.len());
                stream.written.extend_from_slice(&bytes[..size]);
                Ok(size)
            }
        }
    }
}

#[cfg(feature = "http")]
#[path = "../src/message.rs"]
mod message;

#[path = "../src/flow"]
mod flow {
    pub(crate) mod counters;
    pub(crate) mod foreign;
    pub(crate) mod joint_end;
    pub(crate) mod mailbox;
    pub(crate) mod target;
    pub(crate) mod translation;

    /// Without memory that is used again, which a static lock of the crate guards.
    pub(crate) mod buffers {
        use bytes::BytesMut;

        pub(crate) fn take(size: usize) -> BytesMut {
            BytesMut::with_capacity(size)
        }

        pub(crate) fn take_for_frame(_size: usize) -> Vec<u8> {
            Vec::new()
        }
    }
}

fn limits(messages_max: usize) -> Limits {
    Limits {
        bytes_max: 1 << 20,
        messages_max,
        overflow: crate::config::Overflow::Block,
        stall_limit: Duration::from_secs(3600),
        strict: false,
        translated: false,
    }
}

fn mailbox(messages_max: usize) -> Arc<Mailbox> {
    Arc::new(Mailbox::new(limits(messages_max)))
}

/// A frame of one byte.
fn frame(name: u8) -> [u8; 5] {
    [0, 0, 0, 1, name]
}

fn push(mailbox: &Mailbox, name: u8) -> Pushed {
    mailbox.push(Run::copied(&frame(name), 1).alone_if(true), Patience::Waits)
}

/// The names of the frames in some bytes, which must be complete.
fn names(bytes: &[u8]) -> String {
    let (frames, rest) = bytes.as_chunks::<5>();
    assert!(rest.is_empty(), "a frame is torn: {bytes:?}");
    for frame in frames {
        assert_eq!(frame[..4], [0, 0, 0, 1], "frames are mixed: {bytes:?}");
    }
    frames.iter().map(|frame| char::from(frame[4])).collect()
}

fn taken(chunks: &mut VecDeque<Chunk>) -> Vec<u8> {
    chunks
        .drain(..)
        .flat_map(|chunk| chunk.bytes.to_vec())
        .collect()
}

/// Takes what comes, as a task, until so many messages are there.
fn receive(mailbox: &Mailbox, count: usize) -> String {
    let (mut chunks, mut bytes) = (VecDeque::new(), Vec::new());
    block_on(poll_fn(|cx| {
        while let Taken::Messages(_) = mailbox.poll_take(cx, usize::MAX, &mut chunks) {
            bytes.extend(taken(&mut chunks));
        }
        if bytes.len() >= count * frame(0).len() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }));
    names(&bytes)
}

/// A task gets everything that two threads push, each thread's messages in order.
fn a_task_misses_nothing() {
    let mailbox = mailbox(10);
    let first = {
        let mailbox = mailbox.clone();
        thread::spawn(move || {
            assert_eq!(push(&mailbox, b'a'), Pushed::Accepted);
            assert_eq!(push(&mailbox, b'b'), Pushed::Accepted);
        })
    };
    let second = {
        let mailbox = mailbox.clone();
        thread::spawn(move || assert_eq!(push(&mailbox, b'1'), Pushed::Accepted))
    };
    let names = receive(&mailbox, 3);
    assert!(["ab1", "a1b", "1ab"].contains(&names.as_str()), "{names}");
    first.join().expect("no thread panics");
    second.join().expect("no thread panics");
}

/// A parked thread is woken by a message, and by the end.
fn a_parked_thread_misses_nothing() {
    let mailbox = mailbox(10);
    let producer = {
        let mailbox = mailbox.clone();
        thread::spawn(move || {
            push(&mailbox, b'a');
            mailbox.finish();
        })
    };
    let mut chunks = VecDeque::new();
    let mut bytes = Vec::new();
    loop {
        match mailbox.wait(None) {
            Taken::Messages(_) => {
                mailbox.take(usize::MAX, &mut chunks);
                bytes.extend(taken(&mut chunks));
                mailbox.lower_ready();
            }
            Taken::Closed => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(names(&bytes), "a");
    producer.join().expect("no thread panics");
}

/// An event loop that watches the mailbox is woken by a message, and so is the task that consumes.
fn a_watcher_misses_nothing() {
    let mailbox = mailbox(10);
    let producer = {
        let mailbox = mailbox.clone();
        thread::spawn(move || assert_eq!(push(&mailbox, b'a'), Pushed::Accepted))
    };
    let watcher = {
        let mailbox = mailbox.clone();
        thread::spawn(move || block_on(poll_fn(|cx| mailbox.poll_readable(cx))))
    };
    producer.join().expect("no thread panics");
    watcher.join().expect("no thread panics");
    assert_eq!(receive(&mailbox, 1), "a");
}

/// A producer that waits for room is released by what the consumer takes.
fn a_producer_that_waits_is_released() {
    let mailbox = mailbox(1);
    let producer = {
        let mailbox = mailbox.clone();
        thread::spawn(move || {
            for name in [b'a', b'b'] {
                while let Pushed::Full { stalls_in } = push(&mailbox, name) {
                    mailbox.wait_room(5, 1, stalls_in);
                }
            }
        })
    };
    assert_eq!(receive(&mailbox, 2), "ab");
    producer.join().expect("no thread panics");
}

/// A message that a sender writes to the socket itself, which takes a part of it, is not torn by what
/// another sender leaves to the task meanwhile.
fn direct_writes_are_not_torn() {
    let mailbox = mailbox(10);
    let socket = SocketWriter(Arc::default());
    socket.0.lock().takes = Some(3);
    mailbox.allow_direct_write(socket.clone());
    // The task was idle before: the first message is written directly in every interleaving.
    let mut context = Context::from_waker(Waker::noop());
    let taken_before = mailbox.poll_take(&mut context, usize::MAX, &mut VecDeque::new());
    assert_eq!(taken_before, Taken::Empty);
    let task = {
        let (mailbox, socket) = (mailbox.clone(), socket.clone());
        thread::spawn(move || write_all(&mailbox, &socket))
    };
    let other = {
        let mailbox = mailbox.clone();
        thread::spawn(move || assert_eq!(push(&mailbox, b'1'), Pushed::Accepted))
    };
    push(&mailbox, b'a');
    push(&mailbox, b'b');
    other.join().expect("no thread panics");
    mailbox.finish();
    task.join().expect("no thread panics");
    let written = std::mem::take(&mut socket.0.lock().written);
    let names = names(&written);
    assert!(["ab1", "a1b", "1ab"].contains(&names.as_str()), "{names}");
}

/// What the task of a connection does: it writes what it takes, until the end.
fn write_all(mailbox: &Mailbox, socket: &SocketWriter) {
    let mut chunks = VecDeque::new();
    block_on(poll_fn(|cx| {
        loop {
            match mailbox.poll_take(cx, usize::MAX, &mut chunks) {
                Taken::Messages(_) => {
                    let bytes = taken(&mut chunks);
                    socket.0.lock().written.extend(bytes);
                }
                Taken::Empty => return Poll::Pending,
                Taken::Closed | Taken::Overflowed => return Poll::Ready(()),
            }
        }
    }));
}

/// What is collected for two mailboxes comes to both, once and in order, also with what one of them
/// gets in between, whoever looks into it meanwhile.
fn joint_runs_miss_nothing() {
    let (mailboxes, targets) = two_targets();
    let collector = {
        let alone = mailboxes[0].clone();
        thread::spawn(move || {
            let end = JointEnd::default();
            collect(&end, b'a', &targets);
            assert_eq!(push(&alone, b'1'), Pushed::Accepted);
            collect(&end, b'b', &targets);
        })
    };
    let second = {
        let mailbox = mailboxes[1].clone();
        thread::spawn(move || assert_eq!(receive(&mailbox, 2), "ab"))
    };
    assert_eq!(receive(&mailboxes[0], 3), "a1b");
    collector.join().expect("no thread panics");
    second.join().expect("no thread panics");
}

fn two_targets() -> ([Arc<Mailbox>; 2], Vec<Target>) {
    let mailboxes = [mailbox(1 << 12), mailbox(1 << 12)];
    let target = |mailbox: &Arc<Mailbox>| Target {
        mailbox: mailbox.clone(),
        kind: TargetKind::Local,
    };
    let targets = mailboxes.iter().map(target).collect();
    (mailboxes, targets)
}

/// Gives a message to all targets together, and to those who want it so by itself.
fn collect(end: &JointEnd, name: u8, targets: &[Target]) {
    let frame = frame(name);
    let mut handed = end.push(&frame, targets).expect("collecting begins");
    for target in &handed.apart {
        push(&target.mailbox, name);
    }
    handed.wake();
}

/// What a sender collects while the consumer closes is neither kept nor a reason to wait.
fn a_mailbox_may_close_under_a_joint_run() {
    let (mailboxes, targets) = two_targets();
    let closing = {
        let mailbox = mailboxes[0].clone();
        thread::spawn(move || mailbox.close())
    };
    let end = JointEnd::default();
    collect(&end, b'a', &targets);
    collect(&end, b'b', &targets);
    closing.join().expect("no thread panics");
    assert_eq!(receive(&mailboxes[1], 2), "ab");
    let mut chunks = VecDeque::new();
    assert_eq!(mailboxes[0].take(usize::MAX, &mut chunks), Taken::Closed);
}

/// A model, and how many preemptions it is run with: interleavings that need more are not looked at, as
/// they are rare and there are many of them.
struct Model {
    name: &'static str,
    run: fn(),
    preemptions_max: usize,
}

const MODELS: &[Model] = &[
    Model {
        name: "a_task_misses_nothing",
        run: a_task_misses_nothing,
        preemptions_max: 3,
    },
    Model {
        name: "a_parked_thread_misses_nothing",
        run: a_parked_thread_misses_nothing,
        preemptions_max: 4,
    },
    Model {
        name: "a_watcher_misses_nothing",
        run: a_watcher_misses_nothing,
        preemptions_max: 4,
    },
    Model {
        name: "a_producer_that_waits_is_released",
        run: a_producer_that_waits_is_released,
        preemptions_max: 4,
    },
    Model {
        name: "direct_writes_are_not_torn",
        run: direct_writes_are_not_torn,
        preemptions_max: 3,
    },
    Model {
        name: "joint_runs_miss_nothing",
        run: joint_runs_miss_nothing,
        preemptions_max: 2,
    },
    Model {
        name: "a_mailbox_may_close_under_a_joint_run",
        run: a_mailbox_may_close_under_a_joint_run,
        preemptions_max: 4,
    },
];

/// A model that takes longer has grown too large: it stops here, and says so.
const DURATION_MAX: Duration = Duration::from_secs(60);

/// Runs the models whose names hold one of the arguments, or all.
fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted =
        |name: &str| wanted.is_empty() || wanted.iter().any(|it| name.contains(it.as_str()));
    for model in MODELS.iter().filter(|model| is_wanted(model.name)) {
        let mut builder = Builder::new();
        builder.preemption_bound = Some(model.preemptions_max);
        builder.max_duration = Some(DURATION_MAX);
        let begun = std::time::Instant::now();
        builder.check(model.run);
        let took = begun.elapsed();
        let cut = if took > DURATION_MAX { ", cut off" } else { "" };
        #[expect(clippy::print_stdout, reason = "what a test says")]
        {
            let seconds = took.as_secs_f64();
            println!("model {} ... ok ({seconds:.1} s{cut})", model.name);
        }
    }
}
