//! The retry rule of an outgoing peering: whether it is tried again, and after which pause.

use broker_data::Timespan;

/// What to do when an outgoing peering fails or is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Nothing.
    Never,
    /// Try again after that time, for ever. Zero and less mean [`Retry::Never`].
    After(Timespan),
    /// As [`Retry::After`], with pauses that have this length on average: each is up to a quarter
    /// shorter or longer, and a peering that is lost is not tried again at once but within a quarter
    /// of a second. Peers that lose one endpoint at the same time do not come back at the same time.
    Around(Timespan),
}

impl Retry {
    /// The pause that was asked for.
    pub(super) const fn pause(self) -> Option<Timespan> {
        match self {
            Self::Never => None,
            Self::After(pause) | Self::Around(pause) => Some(pause),
        }
    }

    /// With the pause exchanged.
    pub(super) const fn with_pause(self, pause: Timespan) -> Self {
        match self {
            Self::Never => Self::Never,
            Self::After(_) => Self::After(pause),
            Self::Around(_) => Self::Around(pause),
        }
    }
}
