//! What goes wrong among replicas, and how often.

use broker_data::Timespan;
use broker_proto::store::StoreConfig;
use broker_proto::store::replica::{Candidacy, ReplicaConfig, StaleReads};

use crate::random::Random;

/// Something that a runtime could do wrong. Worlds must notice each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Appends do not expect a sequence.
    Unfenced,
    /// Appends are taken for stored when they are sent.
    AnswerBeforeAck,
    /// An append without an answer is made again, whatever the sequence is by then.
    UnknownAppendedAgain,
    /// An append without an answer, or refused, is taken for not stored without a look.
    TailIgnored,
    /// The log is removed when a snapshot is sent, not when it was checked.
    CompactionUnchecked,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Unfenced,
        Self::AnswerBeforeAck,
        Self::UnknownAppendedAgain,
        Self::TailIgnored,
        Self::CompactionUnchecked,
    ];
}

/// Chances are in a thousand: per request, or per 100 ms.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Replicas, the copy included.
    pub replicas: usize,
    /// Whether the last of them never leads.
    pub copy: bool,
    /// Native clones.
    pub clones: usize,
    /// For how long things go wrong.
    pub unrest_ms: i64,
    /// About how often users do something.
    pub operation_every_ms: u64,
    /// Users do nothing but in bursts of several.
    pub bursts: bool,
    /// The longest usual delay, one way.
    pub delay_ms_max: u64,
    /// A request or an answer takes long.
    pub slow: u64,
    /// A request or an answer is lost.
    pub loss: u64,
    /// An append or a delivery comes twice.
    pub duplication: u64,
    /// A look at the tail does not see its last entry.
    pub late_tail: u64,
    /// A node crashes.
    pub crash: u64,
    /// A node stands still.
    pub suspend: u64,
    /// The link between a node and the servers goes down or up.
    pub cut: u64,
    /// Deliveries to a node end.
    pub delivery_end: u64,
    /// The lease ends before its time.
    pub lease_end: u64,
    /// The lease is given although another one has it.
    pub second_lease: u64,
    /// Only the first half of a snapshot is written.
    pub torn: u64,
    /// The newest snapshot is damaged or lost.
    pub damage: u64,
    /// Clocks are wrong.
    pub skewed: bool,
    /// That of the replicas.
    pub replica: ReplicaConfig,
}

impl Plan {
    /// Chooses one.
    pub fn new(random: &mut Random) -> Self {
        let mut chance = |often: u64, most: u64| {
            if random.below(often) == 0 {
                1 + random.below(most)
            } else {
                0
            }
        };
        let (slow, loss, duplication) = (chance(3, 60), chance(2, 150), chance(2, 200));
        let (late_tail, crash, suspend) = (chance(2, 400), chance(2, 40), chance(3, 30));
        let (cut, delivery_end, lease_end) = (chance(2, 60), chance(3, 40), chance(3, 60));
        let (second_lease, torn, damage) = (chance(3, 300), chance(2, 500), chance(2, 60));
        let replicas = random.choose(&[2, 2, 3, 3, 4]);
        let store = StoreConfig {
            heartbeat_interval: 2,
            connection_timeout: 10,
            ..StoreConfig::default()
        };
        Self {
            replicas,
            copy: replicas > 2 && random.below(3) == 0,
            clones: random.choose(&[0, 0, 1, 2]),
            unrest_ms: random.choose(&[2_000, 4_000, 8_000]),
            operation_every_ms: random.choose(&[20, 60, 150]),
            bursts: random.below(2) == 0,
            delay_ms_max: random.choose(&[2, 10, 60]),
            slow,
            loss,
            duplication,
            late_tail,
            crash,
            suspend,
            cut,
            delivery_end,
            lease_end,
            second_lease,
            torn,
            damage,
            skewed: random.below(3) == 0,
            replica: ReplicaConfig {
                store,
                entry_bytes_max: random.choose(&[700, 1 << 20]),
                snapshot_entries: random.choose(&[4, 12, 50]),
                chunk_bytes_max: random.choose(&[80, 4_096]),
                lease: Timespan::from_millis(random.choose(&[600, 1_500])),
                stale_reads: StaleReads::Refuse,
                candidacy: Candidacy::Standby,
            },
        }
    }

    /// From now on everything works.
    pub fn end_faults(&mut self) {
        self.slow = 0;
        self.loss = 0;
        self.duplication = 0;
        self.late_tail = 0;
        self.second_lease = 0;
        self.torn = 0;
    }
}
