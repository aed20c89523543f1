//! Counters of the program around an endpoint, told together with those of the endpoint.

use std::fmt;

use crate::error::Error;
use crate::lock::Lock;

/// Counters that a program may add: a handful is what there is to tell.
const COUNTERS_MAX: usize = 64;

/// Bytes of a name and of what it says about itself.
const NAME_MAX: usize = 128;
const HELP_MAX: usize = 512;

/// One counter: its name, what it counts, and how it is read.
struct Counter {
    name: String,
    help: String,
    read: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// The counters of a program.
#[derive(Default)]
pub(crate) struct ProgramCounters {
    /// Bound: `COUNTERS_MAX`.
    list: Lock<Vec<Counter>>,
}

impl fmt::Debug for ProgramCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.list.lock().len();
        f.debug_struct("ProgramCounters")
            .field("count", &count)
            .finish()
    }
}

/// The name, what it counts, and how much.
pub(crate) type Reading = (String, String, u64);

impl ProgramCounters {
    /// Adds a counter; one of the same name is replaced.
    pub(crate) fn add(
        &self,
        name: &str,
        help: &str,
        read: Box<dyn Fn() -> u64 + Send + Sync>,
    ) -> Result<(), Error> {
        check(name, help)?;
        let counter = Counter {
            name: name.to_owned(),
            help: help.to_owned(),
            read,
        };
        let mut list = self.list.lock();
        let is_full = list.len() >= COUNTERS_MAX;
        match list.iter_mut().find(|it| it.name == name) {
            Some(place) => *place = counter,
            None if is_full => {
                return Err(wrong(format!("there are {COUNTERS_MAX} counters already")));
            }
            None => list.push(counter),
        }
        Ok(())
    }

    pub(crate) fn read(&self) -> Vec<Reading> {
        let list = self.list.lock();
        let readings = list
            .iter()
            .map(|it| (it.name.clone(), it.help.clone(), (it.read)()));
        readings.collect()
    }
}

fn wrong(cause: String) -> Error {
    Error::Option {
        name: "counter",
        cause,
    }
}

/// The names of the endpoint's own families begin with `broker_` and go on with what they are of; a
/// program has those below `program` and `python`, or its own.
fn check(name: &str, help: &str) -> Result<(), Error> {
    let is_word = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
    let begins = name
        .bytes()
        .next()
        .is_some_and(|it| it.is_ascii_lowercase());
    let is_name = begins && name.len() <= NAME_MAX && name.bytes().all(is_word);
    let is_ours = name.starts_with("broker_")
        && !name.starts_with("broker_python_")
        && !name.starts_with("broker_program_");
    if !is_name || is_ours || name.ends_with("_total") {
        return Err(wrong(format!(
            "`{name}` cannot name it: letters, digits and `_`, at most {NAME_MAX}, without `_total` \
             at the end and not among the endpoint's own, as in `broker_program_alerts`"
        )));
    }
    if help.is_empty() || help.len() > HELP_MAX || help.contains(char::is_control) {
        return Err(wrong(format!(
            "`{name}` needs a line of at most {HELP_MAX} bytes about what it counts"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_when_they_are_asked_for() {
        let counters = ProgramCounters::default();
        counters
            .add("broker_python_waits", "Waits.", Box::new(|| 7))
            .unwrap();
        counters.add("alerts", "Alerts.", Box::new(|| 1)).unwrap();
        counters.add("alerts", "Alerts.", Box::new(|| 2)).unwrap();
        let read = counters.read();
        let values: Vec<_> = read.iter().map(|it| (it.0.as_str(), it.2)).collect();
        assert_eq!(values, [("broker_python_waits", 7), ("alerts", 2)]);
    }

    #[test]
    fn what_would_break_the_metrics_is_refused() {
        let counters = ProgramCounters::default();
        let add = |name: &str, help: &str| counters.add(name, help, Box::new(|| 0));
        for name in [
            "",
            "a b",
            "1a",
            "broker_peer_received_messages",
            "alerts_total",
            "a\n",
        ] {
            let error = add(name, "Help.").unwrap_err().to_string();
            assert!(error.contains("cannot name"), "{error}");
        }
        for help in ["", "a\nb"] {
            assert!(add("alerts", help).is_err(), "{help:?}");
        }
        for number in 0..COUNTERS_MAX {
            add(&format!("counter_{number}"), "Help.").unwrap();
        }
        assert!(add("one_more", "Help.").is_err());
    }
}
