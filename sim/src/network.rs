//! Links between nodes: how long a message takes, and whether it arrives.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::plan::Plan;
use crate::random::Random;

/// A message that waits for its link: from whom, what.
pub type Waiting = (usize, Arc<[u8]>);

/// What becomes of a message.
#[derive(Debug)]
pub enum Fate {
    /// It arrives after so long.
    Arrives {
        /// How long it takes.
        delay_ms: u64,
        /// What is special about it.
        mark: Option<&'static str>,
    },
    /// It never arrives.
    Lost,
    /// It waits until its link is up again.
    Stalled,
}

/// All links.
#[derive(Debug)]
pub struct Network {
    fifo: bool,
    loss: u64,
    duplication: u64,
    delay_ms_max: u64,
    slow_delay_ms_max: u64,
    stalls: bool,
    relay: bool,
    /// Links that are down, lower node first.
    down: BTreeMap<(usize, usize), Vec<(usize, Waiting)>>,
    /// When the last message of each direction arrives.
    last_ms: BTreeMap<(usize, usize), i64>,
    nodes: usize,
}

impl Network {
    /// The links of a plan, all up.
    pub fn new(plan: &Plan, nodes: usize) -> Self {
        Self {
            fifo: plan.fifo,
            loss: plan.loss,
            duplication: plan.duplication,
            delay_ms_max: plan.delay_ms_max,
            slow_delay_ms_max: plan.slow_delay_ms_max,
            stalls: plan.stalls,
            relay: plan.relay,
            down: BTreeMap::new(),
            last_ms: BTreeMap::new(),
            nodes,
        }
    }

    /// Takes a link down or up; returns whether it is up, and what waited for that.
    pub fn flip(&mut self, a: usize, b: usize) -> (bool, Vec<(usize, Waiting)>) {
        let link = (a.min(b), a.max(b));
        match self.down.remove(&link) {
            Some(waiting) => (true, waiting),
            None => {
                self.down.insert(link, Vec::new());
                (false, Vec::new())
            }
        }
    }

    /// Ends all faults; returns what waited.
    pub fn heal(&mut self) -> Vec<(usize, Waiting)> {
        self.loss = 0;
        self.duplication = 0;
        self.delay_ms_max = self.delay_ms_max.min(20);
        self.slow_delay_ms_max = self.delay_ms_max;
        std::mem::take(&mut self.down)
            .into_values()
            .flatten()
            .collect()
    }

    /// Whether two nodes are peers as far as they know: a stalled link looks fine.
    pub fn is_connected(&self, a: usize, b: usize) -> bool {
        self.stalls || !self.down.contains_key(&(a.min(b), a.max(b)))
    }

    /// Sends a message from one node to another.
    pub fn send(
        &mut self,
        random: &mut Random,
        now_ms: i64,
        (from, to): (usize, usize),
        frame: &Arc<[u8]>,
        for_all: bool,
    ) -> Vec<Fate> {
        let mut fates = Vec::new();
        if self.relay && for_all {
            let mark = Some("message through a relay");
            let delay_ms = 5 + random.below(100);
            fates.push(Fate::Arrives { delay_ms, mark });
        }
        if let Some(waiting) = self.down.get_mut(&(from.min(to), from.max(to))) {
            fates.push(if self.stalls && waiting.len() < 10_000 {
                waiting.push((to, (from, frame.clone())));
                Fate::Stalled
            } else {
                Fate::Lost
            });
            return fates;
        }
        if random.permille(self.loss) {
            fates.push(Fate::Lost);
            return fates;
        }
        // The last node is the one behind the slow links.
        let slow = from + 1 == self.nodes || to + 1 == self.nodes;
        let most = if slow {
            self.slow_delay_ms_max
        } else {
            self.delay_ms_max
        };
        let delay_ms = random.below(most + 1);
        let last = self.last_ms.entry((from, to)).or_insert(0);
        let mut at = now_ms + i64::try_from(delay_ms).unwrap_or(0);
        let overtakes = at < *last;
        if self.fifo {
            at = at.max(*last);
        }
        *last = at.max(*last);
        fates.push(Fate::Arrives {
            delay_ms: u64::try_from(at - now_ms).unwrap_or(0),
            mark: (overtakes && !self.fifo).then_some("message overtaken"),
        });
        if random.permille(self.duplication) {
            fates.push(Fate::Arrives {
                delay_ms: random.below(2 * most + 1),
                mark: Some("message doubled"),
            });
        }
        fates
    }
}
