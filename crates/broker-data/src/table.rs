//! Values by key.

use std::slice;
use std::vec;

use crate::Value;

/// Values by unique key, sorted by key.
///
/// ```
/// use broker_data::{Table, Value};
///
/// let mut table = Table::from_iter([("b".into(), 2_u64.into()), ("a".into(), 1_u64.into())]);
/// assert_eq!(table.insert("b".into(), 3_u64.into()), Some(Value::Count(2)));
/// assert_eq!(table.get(&"b".into()), Some(&Value::Count(3)));
/// assert_eq!(Value::Table(table).to_string(), "{a -> 1, b -> 3}");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(Vec<(Value, Value)>);

impl Table {
    /// Makes an empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Makes a table of entries in any order; of entries with equal keys the last stays.
    pub(crate) fn from_vec(mut entries: Vec<(Value, Value)>) -> Self {
        if !entries.is_sorted_by(|a, b| a.0 < b.0) {
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries.dedup_by(|later, earlier| {
                let same = later.0 == earlier.0;
                if same {
                    std::mem::swap(later, earlier);
                }
                same
            });
        }
        Self(entries)
    }

    /// Takes entries whose keys are in ascending order and unique.
    pub(crate) fn from_sorted(entries: Vec<(Value, Value)>) -> Self {
        Self(entries)
    }

    fn search(&self, key: &Value) -> Result<usize, usize> {
        self.0.binary_search_by(|entry| entry.0.cmp(key))
    }

    /// Returns the number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether there is an entry with this key.
    #[must_use]
    pub fn contains(&self, key: &Value) -> bool {
        self.search(key).is_ok()
    }

    /// Returns what is mapped to this key.
    #[must_use]
    pub fn get(&self, key: &Value) -> Option<&Value> {
        let index = self.search(key).ok()?;
        self.0.get(index).map(|entry| &entry.1)
    }

    /// Returns what is mapped to this key, to be changed in place.
    #[must_use]
    pub fn get_mut(&mut self, key: &Value) -> Option<&mut Value> {
        let index = self.search(key).ok()?;
        self.0.get_mut(index).map(|entry| &mut entry.1)
    }

    /// Maps `key` to `value`; returns what was mapped to it before.
    ///
    /// Takes time in proportion to the size when the key is new.
    pub fn insert(&mut self, key: Value, value: Value) -> Option<Value> {
        match self.search(&key) {
            Ok(index) => {
                let entry = self.0.get_mut(index)?;
                Some(std::mem::replace(entry, (key, value)).1)
            }
            Err(index) => {
                self.0.insert(index, (key, value));
                None
            }
        }
    }

    /// Takes an entry out; returns what was mapped to the key.
    pub fn remove(&mut self, key: &Value) -> Option<Value> {
        let index = self.search(key).ok()?;
        Some(self.0.remove(index).1)
    }

    /// Takes all entries out.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Visits keys and mapped values in ascending order of keys.
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.0.iter())
    }

    /// Visits the keys in ascending order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Value> + DoubleEndedIterator {
        self.0.iter().map(|entry| &entry.0)
    }

    /// Visits the mapped values in ascending order of keys.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> + DoubleEndedIterator {
        self.0.iter().map(|entry| &entry.1)
    }

    /// Returns the entries in ascending order of keys.
    #[must_use]
    pub fn as_slice(&self) -> &[(Value, Value)] {
        &self.0
    }
}

/// Visits the entries of a [`Table`] in ascending order of keys.
#[derive(Clone, Debug)]
pub struct Iter<'a>(slice::Iter<'a, (Value, Value)>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a Value, &'a Value);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(key, value)| (key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(|(key, value)| (key, value))
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// Of entries with equal keys the last stays.
impl FromIterator<(Value, Value)> for Table {
    fn from_iter<I: IntoIterator<Item = (Value, Value)>>(entries: I) -> Self {
        Self::from_vec(entries.into_iter().collect())
    }
}

impl Extend<(Value, Value)> for Table {
    fn extend<I: IntoIterator<Item = (Value, Value)>>(&mut self, entries: I) {
        let mut all = std::mem::take(&mut self.0);
        all.extend(entries);
        *self = Self::from_vec(all);
    }
}

impl<'a> IntoIterator for &'a Table {
    type Item = (&'a Value, &'a Value);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Table {
    type Item = (Value, Value);
    type IntoIter = vec::IntoIter<(Value, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_keys_stays() {
        let entries = [(1_u64, "a"), (2, "b"), (1, "c"), (0, "d"), (1, "e")];
        let mut table: Table = entries
            .map(|(key, value)| (key.into(), value.into()))
            .into_iter()
            .collect();
        assert_eq!(
            Value::Table(table.clone()).to_string(),
            "{0 -> d, 1 -> e, 2 -> b}"
        );
        assert_eq!(table.keys().len(), 3);
        assert_eq!(table.values().next_back(), Some(&"b".into()));
        assert_eq!(table.iter().next(), Some((&0_u64.into(), &"d".into())));

        assert_eq!(table.insert(1_u64.into(), "f".into()), Some("e".into()));
        assert_eq!(table.insert(3_u64.into(), "g".into()), None);
        assert_eq!(table.remove(&2_u64.into()), Some("b".into()));
        assert_eq!(table.remove(&2_u64.into()), None);
        table.extend([(0_u64.into(), Value::None)]);
        assert_eq!(
            Value::Table(table).to_string(),
            "{0 -> nil, 1 -> f, 3 -> g}"
        );
    }

    #[test]
    fn mapped_values_can_be_changed() {
        let mut table = Table::from_iter([(Value::None, Value::Count(1))]);
        *table.get_mut(&Value::None).expect("just inserted") = Value::Count(2);
        assert!(table.contains(&Value::None) && !table.is_empty());
        assert_eq!(table.get(&Value::None), Some(&Value::Count(2)));
        table.clear();
        assert_eq!(table.len(), 0);
    }
}
