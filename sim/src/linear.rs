//! Whether what callers of a store saw can have come from one store that does one thing at a time.
//!
//! A history is linearizable if every call took effect at one moment between its begin and its end.
//! The search is that of Wing and Gong with the memory of Lowe: calls are tried in every order that
//! their times allow, and an order that has done the same calls and has led to the same state as
//! one before is not followed again. Keys are independent, so each has a history of its own.
//!
//! Calls whose result was never learnt may have had their effect at any time after their begin, or
//! never. Nothing here knows of simulations: histories of real servers can be checked as well.

use std::collections::BTreeSet;
use std::fmt;

/// Orders that are looked at before the search gives up: seconds of work, or a minute without optimisation. A history that needs
/// more has too many calls at the same time.
const ORDERS_MAX: usize = 300_000;

/// What was called, with the result it had. Values are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Set.
    Put(u64),
    /// Set if absent; whether it was, as far as that is known.
    PutUnique(u64, Option<bool>),
    /// Removed.
    Erase,
    /// Added; an absent key counts as 0.
    Add(u64),
    /// Read: this was there.
    Read(Option<u64>),
}

impl Action {
    /// The value of the key behind it, if it could have had its result with that value before it;
    /// `None` if it could not.
    pub const fn apply(self, value: Option<u64>) -> Option<Option<u64>> {
        match (self, value) {
            (Self::Put(new), _) => Some(Some(new)),
            (Self::PutUnique(new, None | Some(true)), None) => Some(Some(new)),
            (Self::PutUnique(_, None | Some(false)), Some(_)) => Some(value),
            (Self::PutUnique(..), _) => None,
            (Self::Erase, _) => Some(None),
            (Self::Add(amount), None) => Some(Some(amount)),
            (Self::Add(amount), Some(old)) => Some(Some(old.wrapping_add(amount))),
            (Self::Read(None), None) => Some(None),
            (Self::Read(Some(seen)), Some(there)) if seen == there => Some(value),
            (Self::Read(_), _) => None,
        }
    }
}

/// One call of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// When it began, in any unit that orders begins and ends of all callers.
    pub begun: u64,
    /// When its result was there; never for one whose result was never learnt.
    pub ended: Option<u64>,
    /// What it was.
    pub action: Action,
}

/// Why a history does not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// No order explains it.
    NotLinearizable {
        /// An order that explains as many calls as any, by their indexes.
        longest: Vec<usize>,
        /// The value that it leads to.
        value: Option<u64>,
    },
    /// There are too many orders to look at.
    Undecided,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLinearizable { longest, value } => write!(
                f,
                "no order of the calls explains their results; the longest is {longest:?}, and leads to {value:?}"
            ),
            Self::Undecided => write!(f, "more than {ORDERS_MAX} orders of calls"),
        }
    }
}

/// Calls that took effect, one bit each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Effective(Vec<u64>);

impl Effective {
    fn has(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 == 1
    }

    fn flip(&mut self, index: usize) {
        self.0[index / 64] ^= 1 << (index % 64);
    }
}

/// Checks the history of one key that was absent before.
///
/// # Errors
///
/// Says how far the calls can be explained.
pub fn check(calls: &[Call]) -> Result<(), Violation> {
    let mut by_begin: Vec<usize> = (0..calls.len()).collect();
    by_begin.sort_by_key(|index| calls[*index].begun);
    let mut done = Effective(vec![0; calls.len().div_ceil(64)]);
    let mut seen = BTreeSet::new();
    let mut longest: (Vec<usize>, Option<u64>) = (Vec::new(), None);
    // The calls of the present order, with the value before each and the position of the next one to
    // try instead of it.
    let mut order: Vec<(usize, Option<u64>, usize)> = Vec::new();
    let (mut value, mut next) = (None, 0);
    loop {
        let open = |index: &&usize| !done.has(**index);
        // The first end of those that are left: what begins later comes later.
        let ends = by_begin
            .iter()
            .filter(open)
            .filter_map(|it| calls[*it].ended);
        let Some(horizon) = ends.min() else {
            return Ok(());
        };
        let mut found = None;
        for (position, index) in by_begin.iter().enumerate().skip(next) {
            if calls[*index].begun > horizon {
                break;
            }
            if done.has(*index) {
                continue;
            }
            if let Some(after) = calls[*index].action.apply(value) {
                done.flip(*index);
                if seen.insert((done.clone(), after)) {
                    found = Some((position, *index, after));
                    break;
                }
                done.flip(*index);
            }
        }
        if let Some((position, index, after)) = found {
            if seen.len() > ORDERS_MAX {
                return Err(Violation::Undecided);
            }
            order.push((index, value, position + 1));
            (value, next) = (after, 0);
            if order.len() > longest.0.len() {
                longest = (order.iter().map(|(index, ..)| *index).collect(), value);
            }
        } else if let Some((index, before, position)) = order.pop() {
            done.flip(index);
            (value, next) = (before, position);
        } else {
            let (longest, value) = longest;
            return Err(Violation::NotLinearizable { longest, value });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn call(begun: u64, ended: u64, action: Action) -> Call {
        let ended = Some(ended);
        Call {
            begun,
            ended,
            action,
        }
    }

    fn lost(begun: u64, action: Action) -> Call {
        let ended = None;
        Call {
            begun,
            ended,
            action,
        }
    }

    #[test]
    fn two_winners_of_one_key_are_found() {
        let (first, second) = (
            Action::PutUnique(1, Some(true)),
            Action::PutUnique(2, Some(true)),
        );
        assert!(check(&[call(1, 4, first), call(2, 3, second)]).is_err());
        let erased = [
            call(1, 4, first),
            call(2, 6, Action::Erase),
            call(3, 5, second),
        ];
        assert_eq!(check(&erased), Ok(()));
    }

    #[test]
    fn a_read_of_what_was_overwritten_before_it_began_is_found() {
        let read = |begun, value| call(begun, begun + 1, Action::Read(value));
        let puts = [call(1, 2, Action::Put(1)), call(3, 6, Action::Put(2))];
        let check_with = |reads: &[Call]| check(&[&puts[..], reads].concat());
        assert_eq!(check_with(&[read(4, Some(1)), read(7, Some(2))]), Ok(()));
        assert_eq!(check_with(&[read(4, Some(2)), read(7, Some(2))]), Ok(()));
        assert!(check_with(&[read(7, Some(1))]).is_err());
        // Back in time.
        assert!(
            check_with(&[
                call(4, 5, Action::Read(Some(2))),
                call(6, 7, Action::Read(Some(1)))
            ])
            .is_err()
        );
        assert!(check_with(&[read(4, None)]).is_err());
    }

    #[test]
    fn a_call_without_a_result_happens_late_or_never_but_not_twice() {
        let sum = |value| call(8, 9, Action::Read(Some(value)));
        let calls = |value| {
            [
                call(1, 2, Action::Add(1)),
                lost(3, Action::Add(10)),
                sum(value),
            ]
        };
        assert_eq!(check(&calls(1)), Ok(()));
        assert_eq!(check(&calls(11)), Ok(()));
        let longest = match check(&calls(21)) {
            Err(Violation::NotLinearizable { longest, .. }) => longest,
            other => panic!("{other:?}"),
        };
        assert_eq!(longest, [0, 1]);
        let late = [
            lost(1, Action::Put(5)),
            call(2, 3, Action::Read(None)),
            sum(5),
        ];
        assert_eq!(check(&late), Ok(()));
    }

    /// Any run of a real store at one moment per call passes; after one result was changed to what
    /// is impossible it does not.
    #[test]
    fn runs_of_a_store_pass_and_forged_ones_do_not() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut value = None;
            let mut calls = Vec::new();
            for moment in 1..=16_u64 {
                let action = match random.below(5) {
                    0 => Action::Put(moment),
                    1 => Action::PutUnique(moment, Some(value.is_none())),
                    2 => Action::Erase,
                    3 => Action::Add(1),
                    _ => Action::Read(value),
                };
                value = action.apply(value).unwrap();
                let (early, late) = (random.below(25), random.below(25));
                let (begun, ended) = ((moment * 10).saturating_sub(early), moment * 10 + late);
                let ended =
                    (random.below(8) > 0 || matches!(action, Action::Read(_))).then_some(ended);
                calls.push(Call {
                    begun,
                    ended,
                    action,
                });
            }
            calls.push(call(2_000, 2_001, Action::Read(value)));
            assert_eq!(check(&calls), Ok(()), "{seed}");
            *calls.last_mut().unwrap() = call(2_000, 2_001, Action::Read(Some(7_777)));
            assert!(check(&calls).is_err(), "{seed}");
        }
    }
}
