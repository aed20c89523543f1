//! What is wrong with topics, events and their flow.

use std::time::Duration;

use super::super::arguments::Misfit;
use super::super::report::Finding;
use super::super::topics::NearMiss;
use super::{listed, some_of};
use crate::outcome::Exit;

pub(in super::super) fn subscribes_to_nothing() -> Finding {
    Finding::new(
        "no-subscriptions",
        Exit::Done,
        "the peer subscribes to nothing",
        "Whatever is published here stays here; only what the peer publishes gets through. \
         Subscriptions are not passed on: a peer behind it that wants something does not count.",
        &["have the peer subscribe, in Zeek with `Broker::subscribe` before it peers"],
    )
}

pub(in super::super) fn no_match(topic: &str, filter: &[String], misses: &[NearMiss]) -> Finding {
    let what =
        format!("what is published on `{topic}` does not reach the peer: it does not want it");
    let means = "A topic is compared byte by byte from its beginning with each subscription, and \
                 none of them is how it begins. Slashes in front, dots and capital letters count.";
    let mut finding = Finding::new(
        if misses.is_empty() {
            "no-match"
        } else {
            "near-miss"
        },
        Exit::Failed,
        what,
        means,
        &[],
    );
    for miss in misses {
        let differences: Vec<_> = miss.differences.iter().map(|it| it.text()).collect();
        finding = finding.detail(format!(
            "nearly: `{}` (differs in {})",
            miss.entry,
            differences.join(" and ")
        ));
    }
    match misses.first() {
        Some(miss) => finding
            .remedy(format!(
                "publish on a topic that begins with `{}`",
                miss.entry
            ))
            .remedy(format!("have the peer subscribe to `{topic}`")),
        None => finding
            .detail(format!("it subscribes to {}", some_of(filter)))
            .remedy(format!(
                "have the peer subscribe to `{topic}`, or to how it begins"
            )),
    }
}

pub(in super::super) fn nothing_came(topic: &str, limit: Duration, suspects: &[String]) -> Finding {
    let mut finding = Finding::new(
        "silence",
        Exit::NothingCame,
        format!("nothing came on `{topic}` within {} s", limit.as_secs_f64()),
        "The peer published nothing there in that time, or publishes on another topic.",
        &[
            "wait longer with --wait",
            "see what there is at all: broker sub ''",
        ],
    );
    finding.details.extend_from_slice(suspects);
    finding
}

pub(in super::super) fn came_elsewhere(topic: &str, elsewhere: &str) -> Finding {
    Finding::new(
        "other-topic",
        Exit::Failed,
        format!("nothing came on `{topic}`, and something did on `{elsewhere}`"),
        "Topics are compared byte by byte from their beginning. Slashes in front, dots and capital \
         letters count.",
        &[],
    )
    .remedy(format!("subscribe to `{elsewhere}`"))
}

pub(in super::super) fn other_event(name: &str, seen: &[String], near: Option<&str>) -> Finding {
    let finding = Finding::new(
        "other-event",
        Exit::NothingCame,
        format!("no event `{name}` came, but {}", listed(seen)),
        "Names of events are compared letter by letter, with the module in front. Zeek drops events \
         whose name it does not know without a word.",
        &[],
    );
    match near {
        Some(near) => finding.remedy(format!("did you mean `{near}`?")),
        None => finding.remedy("check the name, or wait longer with --wait"),
    }
}

pub(in super::super) fn other_count(name: &str, ours: usize, theirs: usize) -> Finding {
    let arguments = |count| match count {
        1 => "one argument".to_owned(),
        count => format!("{count} arguments"),
    };
    Finding::new(
        "argument-count",
        Exit::Failed,
        format!(
            "`{name}` passes by with {}, and was given {}",
            arguments(theirs),
            arguments(ours)
        ),
        "Zeek drops an event with another number of arguments than its handlers declare, with a \
         warning in its own log only.",
        &["give as many arguments as the event has; those that may be left out are `none`"],
    )
}

pub(in super::super) fn other_types(name: &str, misfits: &[Misfit]) -> Finding {
    let first = misfits.first().map(Misfit::text);
    let mut finding = Finding::new(
        "argument-type",
        Exit::Failed,
        format!("`{name}`: {}", first.unwrap_or_default()),
        "Zeek converts nothing: it drops an event whose argument has another type than declared, \
         with a warning in its own log only.",
        &[],
    );
    for misfit in misfits.iter().skip(1) {
        finding = finding.detail(misfit.text());
    }
    for misfit in misfits {
        if let Some(remedy) = misfit.remedy() {
            finding = finding.remedy(format!("{remedy} as argument {}", misfit.place));
        }
    }
    finding
}

pub(in super::super) fn no_reply(name: &str, limit: Duration, suspects: &[Misfit]) -> Finding {
    let finding = Finding::new(
        "no-reply",
        Exit::NothingCame,
        format!(
            "`{name}` was sent, and no event answered it within {} s",
            limit.as_secs_f64()
        ),
        "Zeek drops events that it has no handler for, and those with other arguments than \
         declared, without an answer.",
        &[],
    );
    let finding = suspects.iter().fold(finding, |finding, suspect| {
        finding.remedy(format!(
            "argument {} is an int (`{}`): where Zeek expects a count it has to be `{}c`",
            suspect.place, suspect.text, suspect.text
        ))
    });
    finding
        .remedy("look for warnings about the event in reporter.log of the Zeek process")
        .remedy("name the topic of the answer with --reply-topic")
}

pub(in super::super) fn clock_differs(seconds: f64) -> Finding {
    let (size, direction) = (
        seconds.abs(),
        if seconds < 0.0 { "behind" } else { "ahead of" },
    );
    let size = match size {
        size if size >= 7200.0 => format!("{:.1} hours", size / 3600.0),
        size if size >= 120.0 => format!("{:.1} minutes", size / 60.0),
        size => format!("{size:.1} seconds"),
    };
    Finding::new(
        "clock",
        Exit::Done,
        format!("the time in the peer's events is {size} {direction} the clock of this machine"),
        "The clocks differ, or the peer works on what it has queued or on a recording: a Zeek that \
         reads a file has the time of the file.",
        &["compare `date -u` on both machines; let both follow a time server"],
    )
}

pub(in super::super) fn no_pong(limit: Duration) -> Finding {
    Finding::new(
        "stalled",
        Exit::NothingCame,
        format!(
            "the peer does not answer a ping within {} s",
            limit.as_secs_f64()
        ),
        "The connection stands, and nothing comes through it: the process is stopped, or busy with \
         what it got before, since it answers in turn.",
        &[
            "look at the state and load of the peer",
            "publish less to it, or have it subscribe to less",
        ],
    )
}

pub(in super::super) fn lost_meanwhile(text: &str) -> Finding {
    Finding::new(
        "lost",
        Exit::Unreachable,
        format!("the peer closed the connection again: {text}"),
        "The peering came about and did not last: the peer ended, or threw this side out.",
        &["look into the log of the peer", "try again"],
    )
}

pub(in super::super) fn drops(who: &str, dropped: u64) -> Finding {
    Finding::new(
        "drops",
        Exit::Done,
        format!("{dropped} messages for {who} were dropped by the peer so far"),
        "It is a slow reader: messages for it came faster than it took them, so the peer dropped \
         what did not fit into its queue.",
        &["have it subscribe to less, or do less per message"],
    )
}

pub(in super::super) fn denied(place: &str, denied: u64) -> Finding {
    Finding::new(
        "denied",
        Exit::Done,
        format!("{denied} messages were denied by the policy {place} so far"),
        "Their senders may not publish them, or nobody who wants them may have them: they went no \
         further.",
        &[
            "look at the last denials on the page of the peer, or at /v1/denials: each names the \
             principal and the rule",
        ],
    )
}

pub(in super::super) fn queue_full(who: &str, waiting: u64, stalled: bool) -> Finding {
    let state = if stalled {
        ", and it takes nothing"
    } else {
        ""
    };
    Finding::new(
        if stalled { "queue-stalled" } else { "queue" },
        Exit::Done,
        format!("{waiting} messages wait in the peer for {who}{state}"),
        "A slow reader: what the peer has for it waits, and is dropped once the queue is full.",
        &["look at the state and load of that reader"],
    )
}

pub(in super::super) fn no_status(place: &str, reason: &str) -> Finding {
    Finding::new(
        "no-status",
        Exit::Done,
        format!("the status page at {place} cannot be read: {reason}"),
        "Queues and drops inside of the peer stay unknown.",
        &["check the address given with --status, such as localhost:9911"],
    )
}

/// A ZeroMQ proxy that takes connections and passes nothing on. Spec: zeromq 6.1.
pub(in super::super) fn proxy_stands_still(place: &str) -> Finding {
    Finding::new(
        "zeromq-stands-still",
        Exit::NothingCame,
        format!("the proxy at {place} is connected and never ready: it passes nothing on"),
        "A proxy passes on one message after the other. A member of the cluster that is subscribed and \
         does not read, such as a stopped process or a program that is busy with something else, stops \
         it for all members once some thousand messages wait. Two ports that are not of one proxy look \
         the same.",
        &[
            "find the member that does not read (`kill -CONT`, or end it): everything goes on at once",
            "on the manager `redef Cluster::Backend::ZeroMQ::listen_xpub_nodrop = F;`, which lets only the \
             slow member lose messages",
            "name the other port with `?xsub=PORT` if it is not the next one",
        ],
    )
}
