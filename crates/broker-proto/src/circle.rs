//! Circles through endpoints of other implementations: found, proved, and cut for one topic.
//!
//! Among endpoints of this implementation marks tell copies from news ([`crate::mark`]). Endpoints
//! of the original pass on what they get without a trace, for ever. Here an endpoint notices that
//! the same message keeps coming, finds out with a [`Probe`] whether what it sends over one link
//! comes back over others, and if so uses only one of those links for the topic. See ADR 0150.
//!
//! **Who cuts.** Of the endpoints of this implementation in a circle the one with the smallest id:
//! it drops the probes of the others and asks itself. So each endpoint learns which of its links are
//! joined through originals and endpoints with larger ids, and leaves one link of each such group
//! open. That makes a spanning tree: by induction over the ids, from the largest, what was joined
//! stays joined, and every circle is cut at its smallest endpoint.
//!
//! **Meanwhile** copies are held back as soon as there are many, so that they do not multiply. What
//! turns out not to circle is passed on after all.
//!
//! The machine is fed messages that several peers could have sent and probes; it does no I/O.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use broker_data::{Timespan, Timestamp};

use crate::circle::case::{Case, Group, Question, Renewal, Test};
use crate::circle::held::Held;
use crate::circle::passed::{News, Passed};
use crate::circle::repeats::{Repeats, Seen};
use crate::circle::topics::can_be_probed;
use crate::duplicates::Keys;
use crate::frame::receiver_of;
use crate::id::EndpointId;
use crate::mark::HOPS_MAX;
use crate::topic::Topic;

mod case;
mod held;
mod passed;
mod probe;
mod repeats;
mod topics;

pub use crate::circle::held::{HeldCopy, HeldMessage};
pub use crate::circle::probe::{Probe, ProbeError};
pub use crate::circle::topics::TOPICS_MAX;

/// Copies of a message count together that come within this time: longer than any way round.
const WINDOW: Timespan = Timespan::from_millis(2_000);

/// Copies from several peers that raise suspicion. Two ways to the same endpoint make two without
/// any circle.
///
/// From this one on copies are held back while it is found out.
const SUSPICIOUS_MIN: u32 = 4;

/// Windows with many copies in a row that raise suspicion although all come from one peer, and
/// after which a circle that cannot be proved is reported.
const STEADY_WINDOWS: u8 = 3;

/// How long copies are held back: more than a probe needs through networks that are in order.
const HELD_FOR: Timespan = Timespan::from_millis(500);

/// How long a probe may be under way and still prove a circle.
const PROOF_WITHIN: Timespan = Timespan::from_secs(5);

/// Pause until a topic that does not circle is looked at again; it doubles.
const CALM_MIN: Timespan = Timespan::from_secs(30);
/// See [`CALM_MIN`].
const CALM_MAX: Timespan = Timespan::from_secs(600);

/// Without suspicion for so long, the next one is another matter, and tested at once.
const FORGOTTEN_AFTER: Timespan = Timespan::from_secs(10);

/// Pause until it is looked again whether endpoints behind a peer form a circle: those of this
/// implementation among them have cut it by then.
const SECOND_LOOK_AFTER: Timespan = Timespan::from_secs(10);

/// So many times more copies than at the last test have it repeated at once.
const WORSE_FACTOR: u32 = 16;

/// Pause between two tests over one link that others ask for.
const ASKED_PAUSE: Timespan = Timespan::from_secs(1);

/// When a circle is asked about again for the first time; then it is reported.
const FIRST_RENEWAL_AFTER: Timespan = Timespan::from_secs(1);

/// How often it is found out whether a circle is still there. A cut that outlives its circle keeps
/// somebody from messages.
const RENEWAL_EVERY: Timespan = Timespan::from_secs(3);

/// How long the answer may take. After the second time without one a link is open again: within
/// [`RENEWAL_EVERY`] and two of these, 5 s, after the circle is gone.
const RENEWAL_WITHIN: Timespan = Timespan::from_secs(1);

/// Unanswered questions in a row that open a link again.
const MISSED_MAX: u8 = 2;

/// Topics that are tested at a time: more wait for their next copy.
const TESTS_MAX: usize = 256;

/// Equal commands of data stores that are passed on within [`COMMAND_WINDOW`]. Commands have
/// numbers: what is repeated honestly was lost, or is repeated twice a second at most.
const COMMANDS_MAX: u32 = 3;
const COMMAND_WINDOW: Timespan = Timespan::from_secs(1);

/// What is to be done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to whom it is for.
    Pass,
    /// Local consumers get it now. For peers it is kept here, and comes back as [`Output::Release`]
    /// unless it circles.
    Hold,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A probe is to be sent to a peer.
    Send {
        /// The peer.
        to: EndpointId,
        /// The topic.
        topic: Topic,
        /// What is sent.
        probe: Probe,
    },
    /// From now on these peers neither get messages of a topic nor are heard, as the same way leads
    /// over another link.
    Close {
        /// The topic.
        topic: Topic,
        /// All such peers, ascending; empty when there is none any more.
        peers: Vec<EndpointId>,
    },
    /// Copies that were held are to be passed on to peers.
    Release {
        /// The topic.
        topic: Topic,
        /// The message.
        message: HeldMessage,
    },
    /// Something that people should know.
    Report(Report),
}

/// What people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// There is a circle, and it is cut.
    Found {
        /// Over this link messages go on.
        open: EndpointId,
        /// Over this one no more.
        closed: EndpointId,
        /// The topic that showed it.
        topic: Topic,
    },
    /// A circle is gone.
    Gone {
        /// As it was found.
        open: EndpointId,
        /// As it was found.
        closed: EndpointId,
        /// The last topic that it was cut for.
        topic: Topic,
    },
    /// Endpoints behind a peer form a circle that no endpoint of this implementation is part of.
    Behind {
        /// The peer.
        peer: EndpointId,
        /// The topic that showed it.
        topic: Topic,
    },
    /// The same message keeps coming from several peers, but no probe comes back: a WebSocket server
    /// may be part of the circle.
    Suspected {
        /// One of the peers.
        peer: EndpointId,
        /// The topic.
        topic: Topic,
    },
    /// More topics are suspected than are looked at: from now on some are forgotten, and what was cut
    /// for them is open until it is found again.
    Crowded {
        /// The first that is forgotten.
        topic: Topic,
    },
}

/// A source of random numbers.
pub type Nonces = Box<dyn FnMut() -> u64 + Send>;

/// Looks for circles at one endpoint.
pub struct Circles {
    me: EndpointId,
    keys: Keys,
    nonces: Nonces,
    messages: Repeats,
    commands: Repeats,
    cases: BTreeMap<Topic, Case>,
    /// The topics without cuts that were quiet for longest when they were looked for, the quietest
    /// last. Bound: `QUIET_MAX`.
    quiet: Vec<(Timestamp, Topic)>,
    /// When something is to be done about a topic: as `due` of the cases.
    agenda: BTreeSet<(Timestamp, Topic)>,
    passed: Passed,
    /// For how many topics each pair of links was reported as a circle.
    told: BTreeMap<(EndpointId, EndpointId), usize>,
    /// Peers about which [`Report::Behind`] or [`Report::Suspected`] was said.
    told_of: BTreeSet<EndpointId>,
    /// When a topic was forgotten last for want of room.
    crowded: Option<Timestamp>,
    tests: usize,
    found: u64,
    commands_stopped: u64,
    /// Bound: what one call makes, which its caller takes.
    outputs: VecDeque<Output>,
}

impl fmt::Debug for Circles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Circles")
            .field("cases", &self.cases.len())
            .field("found", &self.found)
            .finish_non_exhaustive()
    }
}

impl Circles {
    /// Takes the endpoint's id, keys with a secret of its own, and a source of random numbers that
    /// nobody can foretell: whoever knows the number of a probe can pretend that it came back.
    pub fn new(me: EndpointId, keys: Keys, nonces: Nonces) -> Self {
        Self {
            me,
            keys,
            nonces,
            messages: Repeats::new(WINDOW),
            commands: Repeats::new(COMMAND_WINDOW),
            cases: BTreeMap::new(),
            quiet: Vec::new(),
            agenda: BTreeSet::new(),
            passed: Passed::default(),
            told: BTreeMap::new(),
            told_of: BTreeSet::new(),
            crowded: None,
            tests: 0,
            found: 0,
            commands_stopped: 0,
            outputs: VecDeque::new(),
        }
    }

    /// What is to be done next; to be asked until there is nothing left after every other call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.agenda.first().map(|(at, _)| *at)
    }

    /// Whether copies are being held, so that every message counts.
    pub fn is_testing(&self) -> bool {
        self.tests > 0
    }

    /// Circles that were reported as found so far.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// Commands of data stores that came too often and were not passed on.
    pub fn commands_stopped(&self) -> u64 {
        self.commands_stopped
    }

    /// A message to everybody that is going to be passed on to peers: a complete frame.
    pub fn handle_message(
        &mut self,
        now: Timestamp,
        from: EndpointId,
        topic: &[u8],
        frame: &[u8],
    ) -> Verdict {
        let key = self.keys.content(frame);
        let seen = self.messages.note(now, key, from);
        let is_steady = seen.steady >= STEADY_WINDOWS;
        let is_repeated = seen.is_from_several && seen.count >= SUSPICIOUS_MIN;
        if !(is_repeated || is_steady) || !can_be_probed(topic) {
            return Verdict::Pass;
        }
        let topic = Topic::from(topic);
        self.suspect(now, &topic, from, seen);
        let Some(case) = self.cases.get_mut(&topic).filter(|_| is_repeated) else {
            return Verdict::Pass;
        };
        let calm = case.calm.get_mut(&from);
        let is_calm = calm.is_some_and(|calm| calm.lasts(now, seen.count));
        let is_news = !is_calm && !case.is_grouped(from);
        let Some(test) = case.running_test() else {
            return Verdict::Pass;
        };
        let copy = HeldCopy {
            from,
            receiver: receiver_of(frame),
        };
        if test.held.add(key, frame, copy) {
            if is_news && test.may_ask(from) {
                self.ask(&topic, from);
            }
            return Verdict::Hold;
        }
        // Nothing is lost for want of room.
        self.finish_test(now, &topic);
        self.schedule(&topic);
        Verdict::Pass
    }

    /// A command of a data store to everybody that is going to be passed on: a complete frame.
    /// `false`: the same came too often and goes no further.
    pub fn handle_command(&mut self, now: Timestamp, from: EndpointId, frame: &[u8]) -> bool {
        let seen = self.commands.note(now, self.keys.content(frame), from);
        let goes_on = seen.count <= COMMANDS_MAX;
        self.commands_stopped += u64::from(!goes_on);
        goes_on
    }

    /// A probe that came from a peer over a link that is open for the topic. `others` says to how
    /// many other peers a message of the topic goes. What comes back is to be passed on to them.
    pub fn handle_probe(
        &mut self,
        now: Timestamp,
        from: EndpointId,
        topic: &[u8],
        probe: Probe,
        others: usize,
    ) -> Option<Probe> {
        let probe = Probe {
            is_mixed: probe.is_mixed || !from.is_recognizable(),
            hops: probe.hops.saturating_add(1),
            ..probe
        };
        if probe.prober == self.me {
            self.handle_own_probe(now, from, topic, probe);
            return None;
        }
        if probe.prober > self.me {
            // The smallest endpoint of a circle deals with it.
            if !probe.is_renewal && can_be_probed(topic) {
                self.asked(now, &Topic::from(topic), from, others);
            }
            return None;
        }
        if others == 0 || probe.hops > HOPS_MAX {
            return None;
        }
        let news = self.passed.insert(from, &probe);
        let (News::GoesOn { joined } | News::Known { joined }) = news;
        if let Some(joined) = joined
            && let Some(test) = self.cases.get_mut(topic).and_then(Case::running_test)
        {
            test.joined.extend([joined, from]);
        }
        matches!(news, News::GoesOn { .. }).then_some(probe)
    }

    /// A peer came, or wants something else.
    pub fn handle_peer_change(&mut self) {
        // What was no circle can be one now.
        for case in self.cases.values_mut() {
            case.calm.clear();
        }
    }

    /// A peer is gone.
    pub fn handle_peer_gone(&mut self, now: Timestamp, peer: EndpointId) {
        self.told_of.remove(&peer);
        let topics: Vec<Topic> = self.cases.keys().cloned().collect();
        for topic in topics {
            let Some(case) = self.cases.get_mut(&topic) else {
                continue;
            };
            case.calm.clear();
            case.asked.remove(&peer);
            let Some(at) = case.groups.iter().position(|group| group.has(peer)) else {
                continue;
            };
            let mut group = case.groups.remove(at);
            let open = group.open;
            if open != peer {
                // The others are still joined, as far as is known.
                let proof = group.closed.remove(&peer);
                if !group.closed.is_empty() {
                    group.renewal = Renewal::Due(now);
                    case.groups.push(group);
                }
                if proof.is_some_and(|proof| proof.is_told) {
                    self.tell_gone(open, peer, &topic);
                }
            } else {
                // Everybody is served again until it is known how they are joined without it.
                case.asked.extend(group.closed.keys().next().copied());
                for (closed, proof) in group.closed {
                    if proof.is_told {
                        self.tell_gone(open, closed, &topic);
                    }
                }
            }
            self.closed_changed(&topic);
            self.test_next(now, &topic);
            self.schedule(&topic);
        }
    }

    /// To be called when the time of [`next_timeout`](Self::next_timeout) has come.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some((at, topic)) = self.agenda.first().cloned() {
            if at > now {
                return;
            }
            self.agenda.remove(&(at, topic.clone()));
            if let Some(case) = self.cases.get_mut(&topic) {
                case.due = None;
            }
            let test = self.running_test(&topic);
            if test.is_some_and(|test| test.holds_until() <= now) {
                self.finish_test(now, &topic);
            }
            self.renew(now, &topic);
            self.test_next(now, &topic);
            self.schedule(&topic);
        }
    }
}

/// Suspicion and tests.
impl Circles {
    fn running_test(&mut self, topic: &Topic) -> Option<&mut Test> {
        self.cases.get_mut(topic)?.running_test()
    }

    fn suspect(&mut self, now: Timestamp, topic: &Topic, from: EndpointId, seen: Seen) {
        let is_new = !self.told_of.contains(&from);
        let case = self.case(now, topic);
        if case.is_closed(from) {
            return;
        }
        if let Some(test) = case.running_test() {
            test.count = test.count.max(seen.count);
            return;
        }
        if let Some(calm) = case.calm.get_mut(&from)
            && calm.lasts(now, seen.count)
        {
            let is_strange = seen.is_from_several && seen.steady >= STEADY_WINDOWS;
            if is_strange && is_new && !case.is_reported {
                case.is_reported = true;
                self.told_of.insert(from);
                let topic = topic.clone();
                let report = Report::Suspected { peer: from, topic };
                self.outputs.push_back(Output::Report(report));
            }
            return;
        }
        self.begin_test(now, topic, from, seen.count);
        self.schedule(topic);
    }

    /// An endpoint with a larger id asks about the topic, over that link.
    fn asked(&mut self, now: Timestamp, topic: &Topic, from: EndpointId, others: usize) {
        if let Some(case) = self.cases.get_mut(topic)
            && let Some(group) = case.groups.iter_mut().find(|group| group.has(from))
        {
            // There is a circle that was not there when the group was asked about.
            if let Renewal::Due(at) = &mut group.renewal {
                *at = now.min(*at);
            }
            self.schedule(topic);
            return;
        }
        if others == 0 {
            return;
        }
        let case = self.case(now, topic);
        if case
            .calm
            .get(&from)
            .is_some_and(|calm| now < calm.asked_until)
        {
            return;
        }
        case.asked.insert(from);
        self.test_next(now, topic);
        self.schedule(topic);
    }

    /// Begins the next test that somebody asked for, if none is under way.
    fn test_next(&mut self, now: Timestamp, topic: &Topic) {
        while self.running_test(topic).is_none()
            && let Some(case) = self.cases.get_mut(topic)
            && let Some(link) = case.asked.pop_first()
        {
            if !case.is_grouped(link) {
                self.begin_test(now, topic, link, 0);
            }
        }
    }

    fn begin_test(&mut self, now: Timestamp, topic: &Topic, link: EndpointId, count: u32) {
        if self.tests >= TESTS_MAX {
            return;
        }
        let Some(case) = self.cases.get_mut(topic) else {
            return;
        };
        self.tests += 1;
        case.test = Some(Test {
            questions: Vec::new(),
            began: now,
            count,
            is_over: false,
            joined: BTreeSet::new(),
            held: Held::default(),
        });
        self.ask(topic, link);
    }

    /// Has the test of a topic find out about one more link.
    fn ask(&mut self, topic: &Topic, link: EndpointId) {
        let nonce = (self.nonces)();
        if let Some(test) = self.cases.get_mut(topic).and_then(Case::running_test) {
            test.questions.push(Question {
                link,
                nonce,
                is_proved: false,
                came_back: false,
            });
            self.send_probe(link, topic, nonce, false);
        }
    }

    fn send_probe(&mut self, to: EndpointId, topic: &Topic, nonce: u64, is_renewal: bool) {
        let probe = Probe {
            prober: self.me,
            nonce,
            is_mixed: false,
            is_renewal,
            hops: 0,
        };
        let topic = topic.clone();
        self.outputs.push_back(Output::Send { to, topic, probe });
    }

    /// Ends the time in which copies are held.
    fn finish_test(&mut self, now: Timestamp, topic: &Topic) {
        let Some(case) = self.cases.get_mut(topic) else {
            return;
        };
        let Some(test) = case.test.as_mut().filter(|test| !test.is_over) else {
            return;
        };
        test.is_over = true;
        self.tests = self.tests.saturating_sub(1);
        let (groups, joined) = (&case.groups, &test.joined);
        let circles = |from| joined.contains(&from) || groups.iter().any(|it| it.has(from));
        for message in std::mem::take(&mut test.held).release(|from| !circles(from)) {
            let topic = topic.clone();
            self.outputs.push_back(Output::Release { topic, message });
        }
        for question in &test.questions {
            let calm = case.calm.entry(question.link).or_default();
            calm.asked_until = now.saturating_add(ASKED_PAUSE);
            if question.is_proved || test.count == 0 {
                continue;
            }
            calm.rest(now, test.count);
            // Endpoints of this implementation behind a peer have their own ways.
            if !question.came_back || question.link.is_recognizable() {
                continue;
            }
            calm.came_back = calm.came_back.saturating_add(1);
            if calm.came_back == 1 {
                calm.until = now.saturating_add(SECOND_LOOK_AFTER);
            } else if self.told_of.insert(question.link) {
                let (peer, topic) = (question.link, topic.clone());
                let report = Report::Behind { peer, topic };
                self.outputs.push_back(Output::Report(report));
            }
        }
    }

    fn handle_own_probe(&mut self, now: Timestamp, from: EndpointId, topic: &[u8], probe: Probe) {
        let Some((topic, case)) = self.cases.get_key_value(topic) else {
            return;
        };
        let topic = topic.clone();
        let of_renewal = |group: &&Group| group.renewal.nonce() == Some(probe.nonce);
        let group = case.groups.iter().find(of_renewal).map(|group| group.open);
        let Some(case) = self.cases.get_mut(&topic) else {
            return;
        };
        let test = case.test.as_mut();
        let test = test.filter(|test| now.since(test.began) <= PROOF_WITHIN);
        let mut questions = test.into_iter().flat_map(|test| &mut test.questions);
        let mut question = questions.find(|it| it.nonce == probe.nonce);
        let Some(sent_over) = question.as_ref().map(|it| it.link).or(group) else {
            return;
        };
        if from == sent_over {
            if let Some(question) = &mut question {
                question.came_back = true;
            }
            return;
        }
        // Endpoints of this implementation among themselves have marks, and need all their links.
        if !probe.is_mixed && sent_over.is_recognizable() {
            return;
        }
        if let Some(question) = &mut question {
            question.is_proved = true;
        }
        case.calm.remove(&sent_over);
        case.calm.remove(&from);
        let is_news = case.join(now, sent_over, from);
        let Some(told) = is_news else {
            return;
        };
        for (open, closed) in told {
            self.tell_gone(open, closed, &topic);
        }
        self.closed_changed(&topic);
        self.schedule(&topic);
    }
}

/// Cuts.
impl Circles {
    /// Asks whether circles are still there, and draws the conclusions of the answers.
    fn renew(&mut self, now: Timestamp, topic: &Topic) {
        let Some(case) = self.cases.get_mut(topic) else {
            return;
        };
        let (mut questions, mut found, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for group in &mut case.groups {
            if group.renewal.due() > now {
                continue;
            }
            let mut asks = matches!(group.renewal, Renewal::Due(_));
            if !asks {
                let open = group.open;
                group.closed.retain(|closed, proof| {
                    if proof.is_back {
                        proof.missed = 0;
                        if !proof.is_told {
                            proof.is_told = true;
                            found.push((open, *closed));
                        }
                        return true;
                    }
                    proof.missed += 1;
                    let stays = proof.missed < MISSED_MAX;
                    asks |= stays;
                    if !stays {
                        gone.push((open, *closed, proof.is_told));
                    }
                    stays
                });
            }
            if asks {
                let nonce = (self.nonces)();
                let until = now.saturating_add(RENEWAL_WITHIN);
                group.renewal = Renewal::Asked { nonce, until };
                group.closed.values_mut().for_each(|it| it.is_back = false);
                questions.push((group.open, nonce));
            } else {
                group.renewal = Renewal::Due(now.saturating_add(RENEWAL_EVERY));
            }
        }
        case.groups.retain(|group| !group.closed.is_empty());
        for (open, nonce) in questions {
            self.send_probe(open, topic, nonce, true);
        }
        for (open, closed) in found {
            self.tell_found(open, closed, topic);
        }
        if !gone.is_empty() {
            self.closed_changed(topic);
        }
        for (open, closed, is_told) in gone {
            if is_told {
                self.tell_gone(open, closed, topic);
            }
        }
    }

    fn closed_changed(&mut self, topic: &Topic) {
        let Some(case) = self.cases.get(topic) else {
            return;
        };
        let groups = case.groups.iter();
        let mut peers: Vec<EndpointId> = groups
            .flat_map(|group| group.closed.keys().copied())
            .collect();
        peers.sort_unstable();
        let topic = topic.clone();
        self.outputs.push_back(Output::Close { topic, peers });
    }

    /// A pair of links is reported once, however many topics show that they are joined.
    fn tell_found(&mut self, open: EndpointId, closed: EndpointId, topic: &Topic) {
        let topics = self.told.entry((open, closed)).or_default();
        *topics += 1;
        if *topics == 1 {
            self.found += 1;
            let topic = topic.clone();
            let report = Report::Found {
                open,
                closed,
                topic,
            };
            self.outputs.push_back(Output::Report(report));
        }
    }

    fn tell_gone(&mut self, open: EndpointId, closed: EndpointId, topic: &Topic) {
        let Some(topics) = self.told.get_mut(&(open, closed)) else {
            return;
        };
        *topics -= 1;
        if *topics == 0 {
            self.told.remove(&(open, closed));
            let topic = topic.clone();
            let report = Report::Gone {
                open,
                closed,
                topic,
            };
            self.outputs.push_back(Output::Report(report));
        }
    }
}

#[cfg(test)]
mod tests;
