//! What goes wrong in one world, and how often.

use broker_data::Timespan;
use broker_proto::store::{CloneOptions, StoreConfig};

use crate::random::Random;

/// Everything about a world that its seed decides at the start.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Number of clones.
    pub clones: usize,
    /// How long users and faults go on, in milliseconds.
    pub unrest_ms: i64,
    /// Milliseconds between two operations, on average.
    pub operation_every_ms: u64,
    /// Messages of one link keep their order and none is lost while the link is up.
    pub fifo: bool,
    /// Chance of a message to be lost, in a thousand.
    pub loss: u64,
    /// Chance of a message to come twice.
    pub duplication: u64,
    /// Longest delay of a message.
    pub delay_ms_max: u64,
    /// Longest delay on the links of one clone.
    pub slow_delay_ms_max: u64,
    /// Chance of some link to go down in 100 ms.
    pub partition: u64,
    /// What is sent over a link that is down arrives when it is up again.
    pub stalls: bool,
    /// A relay forwards what is for everybody around links that are down, and twice otherwise.
    pub relay: bool,
    /// Chance of some clone to crash in 100 ms.
    pub clone_crash: u64,
    /// Chance of a master to crash in 100 ms.
    pub master_crash: u64,
    /// Chance of some node to be suspended for a while in 100 ms.
    pub suspend: u64,
    /// A master that starts again has what the one before had committed.
    pub persistent: bool,
    /// Chance of a commit to fail.
    pub commit_failure: u64,
    /// Chance of a single call of the back end to fail, and the commit behind it.
    pub call_failure: u64,
    /// A second master of the same name appears.
    pub rival: bool,
    /// The second master stays to the end.
    pub rival_stays: bool,
    /// Operations include `erase` and `clear` of everything.
    pub clears: bool,
    /// Of every store.
    pub config: StoreConfig,
    /// Of every clone.
    pub options: CloneOptions,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(random: &mut Random) -> Self {
        let calm = random.below(10) == 0;
        let fifo = calm || random.below(2) == 0;
        let chance = |random: &mut Random, often: u64, most: u64| match random.below(often) {
            0 if !calm => 1 + random.below(most),
            _ => 0,
        };
        let slow = random.below(5) == 0 && !calm;
        let delay_ms_max = random.choose(&[2, 20, 80, 300]);
        let rival = !calm && random.below(8) == 0;
        let seconds = |seconds: i64| Timespan::from_millis(1000 * seconds);
        let mut config = StoreConfig {
            connection_timeout: random.choose(&[4, 10, 100]),
            ..StoreConfig::default()
        };
        if !calm && random.below(6) == 0 {
            config.buffer_bytes_max = random.choose(&[600, 2_000, 8_000]);
        }
        Self {
            clones: random.choose(&[0, 1, 1, 2, 2, 2, 3, 3, 4, 8]),
            unrest_ms: random.choose(&[3_000, 8_000, 20_000]),
            operation_every_ms: random.choose(&[20, 60, 200]),
            fifo,
            loss: if fifo { 0 } else { chance(random, 2, 300) },
            duplication: if fifo { 0 } else { chance(random, 2, 200) },
            delay_ms_max,
            slow_delay_ms_max: if slow { 1_500 } else { delay_ms_max },
            partition: chance(random, 2, 60),
            stalls: random.below(3) == 0,
            relay: !calm && random.below(5) == 0,
            clone_crash: chance(random, 4, 20),
            master_crash: chance(random, 4, 20),
            persistent: random.below(3) > 0,
            commit_failure: chance(random, 4, 100),
            call_failure: chance(random, 6, 30),
            rival,
            rival_stays: random.below(2) == 0,
            clears: random.below(2) == 0,
            config,
            options: CloneOptions {
                resync_interval: seconds(random.choose(&[1, 3, 10])),
                stale_interval: seconds(random.choose(&[-1, 2, 300])),
                mutation_buffer_interval: seconds(random.choose(&[0, 2, 120, 120])),
            },
            suspend: chance(random, 4, 20),
        }
    }
}
