//! Requests of replicas on their way to the servers, what the servers do, and what comes back.

use broker_proto::store::replica::{AppendOutcome, LeaseOutcome};

use crate::replicas::{Answer, Defect, GIVEN_UP_MS, Happening, Request, Tail, World};

impl World {
    fn delay(&mut self) -> u64 {
        if self.random.permille(self.plan.slow) {
            self.random.below(1_500)
        } else {
            self.random.below(self.plan.delay_ms_max)
        }
    }

    /// A node sends the servers a request.
    pub(super) fn send(&mut self, index: usize, request: Request) {
        let life = self.nodes[index].life;
        let lost = !self.nodes[index].connected || self.random.permille(self.plan.loss);
        if lost {
            return self.give_up(index, life, &request);
        }
        let delay = self.delay();
        if let Request::Append {
            id,
            expected,
            wanted,
            entry,
            ..
        } = &request
            && self.random.permille(self.plan.duplication)
        {
            self.marks.hit("append doubled");
            let double = Request::Append {
                id: *id,
                expected: *expected,
                wanted: *wanted,
                entry: entry.clone(),
                answered: false,
            };
            let later = self.delay() + self.random.below(800);
            self.schedule(later, Happening::Request(index, life, double));
        }
        self.schedule(delay, Happening::Request(index, life, request));
    }

    /// What the client of the servers does about a request without an answer.
    fn give_up(&mut self, index: usize, life: u64, request: &Request) {
        match request {
            Request::Append {
                id,
                entry,
                wanted,
                answered,
                ..
            } => {
                if !answered {
                    return;
                }
                self.marks.hit("append lost");
                if self.defect == Some(Defect::UnknownAppendedAgain) {
                    let again = Request::Append {
                        id: *id,
                        expected: None,
                        wanted: *wanted,
                        entry: entry.clone(),
                        answered: true,
                    };
                    return self.schedule(GIVEN_UP_MS, Happening::Request(index, life, again));
                }
                let answer = Answer::Append(*id, AppendOutcome::Unknown);
                self.schedule(GIVEN_UP_MS, Happening::Answer(index, life, answer));
            }
            Request::Follow {
                subscription,
                after,
            } => {
                let answer = Answer::FollowAgain(*subscription, *after);
                self.schedule(GIVEN_UP_MS, Happening::Answer(index, life, answer));
            }
            _ => {}
        }
    }

    fn answer(&mut self, index: usize, life: u64, answer: Answer) {
        let lost = !self.nodes[index].connected || self.random.permille(self.plan.loss);
        if !lost {
            let delay = self.delay();
            self.schedule(delay, Happening::Answer(index, life, answer));
        }
    }

    /// A request reaches the servers.
    pub(super) fn serve(&mut self, index: usize, life: u64, request: Request) {
        match request {
            Request::Append {
                id,
                expected,
                wanted,
                ref entry,
                answered,
            } => {
                let stored = self.stream.append(id, expected, entry);
                self.trace(|_| {
                    format!(
                        "servers: {} of node {index} is stored: {stored:?}",
                        id.number
                    )
                });
                if stored.is_some() {
                    self.deliver();
                }
                if !answered {
                    return;
                }
                let outcome = match stored {
                    // A runtime without fences does not look where.
                    Some(_) if expected.is_none() => AppendOutcome::Stored {
                        sequence: wanted + 1,
                    },
                    Some(sequence) => AppendOutcome::Stored { sequence },
                    None => AppendOutcome::Refused,
                };
                if !self.nodes[index].connected || self.random.permille(self.plan.loss) {
                    self.marks.hit("answer to an append lost");
                    return self.give_up(index, life, &request);
                }
                self.answer(index, life, Answer::Append(id, outcome));
            }
            Request::Tail(after) => {
                let late = self.random.permille(self.plan.late_tail);
                self.marks.hit_if(late, "tail seen late");
                let tail = match self.stream.entry(after + 1) {
                    _ if after + 1 < self.stream.first() => Tail::Compacted(self.stream.first()),
                    Some(entry) if !late => Tail::Entry(entry.clone()),
                    _ => Tail::End,
                };
                self.answer(index, life, Answer::Tail(after, tail));
            }
            Request::Follow {
                subscription,
                after,
            } => {
                let node = &mut self.nodes[index];
                if node.life == life && node.subscription == subscription {
                    node.sent = Some(after);
                    self.deliver();
                }
            }
            Request::AcquireLease(lease_ms) => {
                let until = self.now_ms + lease_ms;
                let mut given = self.stream.acquire_lease(self.now_ms, life, until);
                if !given && self.random.permille(self.plan.second_lease) {
                    self.marks.hit("lease given twice");
                    given = true;
                }
                let outcome = if given {
                    LeaseOutcome::Granted
                } else {
                    LeaseOutcome::Held
                };
                self.answer(index, life, Answer::Lease(outcome));
            }
            Request::ReleaseLease => self.stream.release_lease(Some(life)),
            Request::List => {
                let sequences = self.stream.snapshots();
                self.answer(index, life, Answer::List(sequences));
            }
            Request::Read(sequence) => {
                let chunks = self.stream.snapshot(sequence).cloned();
                self.answer(index, life, Answer::Read(sequence, chunks));
            }
            Request::Write(sequence, chunks) => {
                let whole = !self.random.permille(self.plan.torn);
                self.marks.hit(if whole {
                    "snapshot written"
                } else {
                    "snapshot torn"
                });
                self.stream.write_snapshot(sequence, &chunks, whole);
                self.answer(index, life, Answer::Written(sequence));
            }
            Request::Delete(sequence) => self.stream.delete_snapshot(sequence),
            Request::Compact(through) => {
                self.trace(|_| format!("servers: compacted through {through}"));
                self.stream.compact(through);
                self.marks.hit("log compacted");
            }
        }
    }

    /// Sends entries on all subscriptions.
    fn deliver(&mut self) {
        for index in 0..self.nodes.len() {
            while let Some(sent) = self.nodes[index].sent
                && self.nodes[index].connected
            {
                let (sequence, life) = (sent + 1, self.nodes[index].life);
                if sequence < self.stream.first() {
                    self.nodes[index].sent = None;
                    let first = self.stream.first();
                    // The client finds out, whatever is lost.
                    self.schedule(20, Happening::Answer(index, life, Answer::Gap(first)));
                    break;
                }
                let Some(entry) = self.stream.entry(sequence).cloned() else {
                    break;
                };
                let at = self.now_ms + i64::try_from(self.delay()).unwrap_or(0);
                let at = at.max(self.nodes[index].delivery_ms);
                let doubled = self.random.permille(self.plan.duplication);
                let node = &mut self.nodes[index];
                node.sent = Some(sequence);
                node.delivery_ms = at;
                let subscription = node.subscription;
                let delay = u64::try_from(at - self.now_ms).unwrap_or(0);
                if doubled {
                    self.marks.hit("delivery doubled");
                    let later = delay + self.random.below(500);
                    let again = Happening::Delivery(index, subscription, sequence, entry.clone());
                    self.schedule(later, again);
                }
                self.schedule(
                    delay,
                    Happening::Delivery(index, subscription, sequence, entry),
                );
            }
        }
    }
}
