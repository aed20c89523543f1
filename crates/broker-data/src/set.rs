//! Sets of values.

use std::slice;
use std::vec;

use crate::Value;

/// Sorted, unique values.
///
/// ```
/// use broker_data::{Set, Value};
///
/// let mut set = Set::from_iter(["b", "a", "b"].map(Value::from));
/// assert!(set.insert("c".into()));
/// assert!(!set.insert("a".into()));
/// assert_eq!(set.iter().filter_map(Value::as_str).collect::<String>(), "abc");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set(Vec<Value>);

impl Set {
    /// Makes an empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Makes a set of values in any order; of equal values the first stays.
    pub(crate) fn from_vec(mut values: Vec<Value>) -> Self {
        if !values.is_sorted_by(|a, b| a < b) {
            values.sort();
            values.dedup();
        }
        Self(values)
    }

    /// Takes values that are in ascending order and unique.
    pub(crate) fn from_sorted(values: Vec<Value>) -> Self {
        Self(values)
    }

    /// Returns the number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether `value` is an element.
    #[must_use]
    pub fn contains(&self, value: &Value) -> bool {
        self.0.binary_search(value).is_ok()
    }

    /// Adds an element; returns whether it was new. Takes time in proportion to the size.
    pub fn insert(&mut self, value: Value) -> bool {
        match self.0.binary_search(&value) {
            Ok(_) => false,
            Err(index) => {
                self.0.insert(index, value);
                true
            }
        }
    }

    /// Takes an element out; returns whether it was there.
    pub fn remove(&mut self, value: &Value) -> bool {
        match self.0.binary_search(value) {
            Ok(index) => {
                self.0.remove(index);
                true
            }
            Err(_) => false,
        }
    }

    /// Takes all elements out.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Visits the elements in ascending order.
    pub fn iter(&self) -> slice::Iter<'_, Value> {
        self.0.iter()
    }

    /// Returns the elements in ascending order.
    #[must_use]
    pub fn as_slice(&self) -> &[Value] {
        &self.0
    }
}

/// Of equal values the first stays.
impl FromIterator<Value> for Set {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        Self::from_vec(values.into_iter().collect())
    }
}

impl Extend<Value> for Set {
    fn extend<I: IntoIterator<Item = Value>>(&mut self, values: I) {
        let mut all = std::mem::take(&mut self.0);
        all.extend(values);
        *self = Self::from_vec(all);
    }
}

impl<'a> IntoIterator for &'a Set {
    type Item = &'a Value;
    type IntoIter = slice::Iter<'a, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl IntoIterator for Set {
    type Item = Value;
    type IntoIter = vec::IntoIter<Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_sorted_and_unique() {
        let mut set = Set::from_iter([3_u64, 1, 2, 3, 1].map(Value::from));
        assert_eq!(set.as_slice(), [1_u64, 2, 3].map(Value::from));
        assert!(set.contains(&Value::Count(2)) && !set.contains(&Value::Integer(2)));
        assert!(set.remove(&Value::Count(2)) && !set.remove(&Value::Count(2)));
        set.extend([Value::Count(0), Value::Count(3)]);
        assert_eq!(set.as_slice(), [0_u64, 1, 3].map(Value::from));
        set.clear();
        assert_eq!((set.is_empty(), set.len()), (true, 0));
    }

    #[test]
    fn a_set_may_hold_nan_and_other_reals() {
        let set = Set::from_iter([f64::NAN, 1.0, f64::NAN, -0.0, 0.0].map(Value::from));
        assert_eq!(set.len(), 3);
        assert!(set.contains(&Value::Real(f64::NAN)) && set.contains(&Value::Real(0.0)));
    }
}
