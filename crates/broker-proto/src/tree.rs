//! An ordered map whose copies share what they have in common.
//!
//! A B+ tree of reference-counted nodes. A copy costs one count; a change copies the nodes on one
//! path, as far as another copy holds them, and changes the others where they are. So changing one
//! of many entries costs the logarithm of their number, although readers keep an older copy.
//!
//! Invariants:
//! - no node is empty; a tree without entries has no node;
//! - entries stand in ascending order of their keys, and a branch knows the first key of each child;
//! - no node holds more than [`NODE_MAX`].

use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Entries of a leaf, children of a branch: a change copies a few times that many, a search reads
/// one node per factor of it.
const NODE_MAX: usize = 32;

/// Below that a node is merged with its neighbour, if they fit into three quarters of one: a node
/// that is filled and emptied in turn is not split and merged each time.
const NODE_MIN: usize = NODE_MAX / 4;

/// Entries that a node grows by, so that few bytes are reserved in vain.
const NODE_GROWTH: usize = NODE_MAX / 4;

/// An ordered map; without values, an ordered set.
#[derive(Debug)]
pub(crate) struct Tree<K, V = ()> {
    root: Option<Arc<Node<K, V>>>,
    len: usize,
}

#[derive(Debug, Clone)]
enum Node<K, V> {
    Leaf(Vec<(K, V)>),
    /// Children, each behind its first key.
    Branch(Vec<Child<K, V>>),
}

type Child<K, V> = (K, Arc<Node<K, V>>);

/// An entry, behind the one before it if there is one.
type Neighbours<'a, K, V> = (Option<&'a (K, V)>, &'a (K, V));

impl<K, V> Tree<K, V> {
    pub(crate) const fn new() -> Self {
        Self { root: None, len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The last entry whose key is not above some bound; `above` tells, and never changes back from
    /// true to false along the keys.
    pub(crate) fn last_not(&self, above: impl Fn(&K) -> bool) -> Option<(&K, &V)> {
        let (_, (key, value)) = self.last_two_not(above)?;
        Some((key, value))
    }

    /// As [`last_not`](Self::last_not), with the entry before it, for which nothing is compared.
    pub(crate) fn last_two_not(&self, above: impl Fn(&K) -> bool) -> Option<Neighbours<'_, K, V>> {
        let mut node = self.root.as_deref()?;
        // What stands before the node.
        let mut left: Option<&Node<K, V>> = None;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let end = entries.partition_point(|(key, _)| !above(key));
                    let (last, before) = entries.get(..end)?.split_last()?;
                    let before = before.last().or_else(|| left?.last());
                    return Some((before, last));
                }
                Node::Branch(children) => {
                    let end = children.partition_point(|(first, _)| !above(first));
                    let ((_, child), before) = children.get(..end)?.split_last()?;
                    left = before.last().map(|(_, child)| &**child).or(left);
                    node = child;
                }
            }
        }
    }

    /// The entry whose key compares as equal.
    pub(crate) fn find(&self, compare: impl Fn(&K) -> Ordering) -> Option<(&K, &V)> {
        let (key, value) = self.last_not(|key| compare(key) == Ordering::Greater)?;
        (compare(key) == Ordering::Equal).then_some((key, value))
    }

    /// Shows the entries in order, beginning with the first whose key is not below some bound, until
    /// `visit` breaks.
    pub(crate) fn visit_from<'a>(
        &'a self,
        below: impl Fn(&K) -> bool,
        mut visit: impl FnMut(&'a K, &'a V) -> ControlFlow<()>,
    ) {
        if let Some(root) = &self.root {
            let _ = root.visit_from(&below, &mut visit);
        }
    }

    pub(crate) fn iter(&self) -> Iter<'_, K, V> {
        let mut iter = Iter {
            branches: Vec::new(),
            leaf: [].iter(),
            left: self.len,
        };
        if let Some(root) = &self.root {
            iter.descend(root);
        }
        iter
    }
}

impl<K: Ord + Clone, V: Clone> Tree<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.find(|known| known.cmp(key)).map(|(_, value)| value)
    }

    /// Adds an entry; returns the value it replaces.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Some(root) = &mut self.root else {
            self.root = Some(Arc::new(Node::Leaf(vec![(key, value)])));
            self.len = 1;
            return None;
        };
        match insert(root, key, value) {
            Inserted::Replaced(value) => return Some(value),
            Inserted::Fits => {}
            Inserted::Split(second) => {
                let first = (root.first_key().clone(), root.clone());
                *root = Arc::new(Node::Branch(vec![first, second]));
            }
        }
        self.len += 1;
        None
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        // Looked for first, so that nothing is copied in vain.
        self.get(key)?;
        let root = self.root.as_mut()?;
        let value = remove(root, key)?;
        self.len -= 1;
        if self.len == 0 {
            self.root = None;
            return Some(value);
        }
        while let Node::Branch(children) = &**root
            && let [(_, only)] = &children[..]
        {
            *root = only.clone();
        }
        Some(value)
    }

    /// Makes a tree of entries that are in ascending order, each key once.
    pub(crate) fn from_sorted(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut len = 0;
        let counted = entries.into_iter().inspect(|_| len += 1);
        let mut level: Vec<Child<K, V>> = in_nodes(counted, Node::Leaf);
        while level.len() > 1 {
            level = in_nodes(level, Node::Branch);
        }
        let root = level.pop().map(|(_, root)| root);
        Self { root, len }
    }
}

/// Full nodes of entries or children, each behind its first key.
fn in_nodes<K: Clone, V, T>(
    items: impl IntoIterator<Item = (K, T)>,
    node: impl Fn(Vec<(K, T)>) -> Node<K, V>,
) -> Vec<Child<K, V>> {
    let mut items = items.into_iter().fuse();
    let next = || {
        let items: Vec<(K, T)> = items.by_ref().take(NODE_MAX).collect();
        let first = items.first()?.0.clone();
        Some((first, Arc::new(node(items))))
    };
    std::iter::from_fn(next).collect()
}

enum Inserted<K, V> {
    Replaced(V),
    Fits,
    /// The node was full: this is what goes behind it.
    Split(Child<K, V>),
}

fn insert<K: Ord + Clone, V: Clone>(
    node: &mut Arc<Node<K, V>>,
    key: K,
    value: V,
) -> Inserted<K, V> {
    match Arc::make_mut(node) {
        Node::Leaf(entries) => match entries.binary_search_by(|(known, _)| known.cmp(&key)) {
            Ok(at) => Inserted::Replaced(std::mem::replace(&mut entries[at].1, value)),
            Err(at) => put(entries, at, (key, value), Node::Leaf),
        },
        Node::Branch(children) => {
            let behind = children.partition_point(|(first, _)| *first <= key);
            let at = behind.saturating_sub(1);
            let (first, child) = &mut children[at];
            if behind == 0 {
                *first = key.clone();
            }
            match insert(child, key, value) {
                Inserted::Split(second) => put(children, at + 1, second, Node::Branch),
                done => done,
            }
        }
    }
}

/// Puts an item into a node, and splits the node if it is full.
fn put<K: Clone, V, T>(
    items: &mut Vec<(K, T)>,
    at: usize,
    item: (K, T),
    node: impl Fn(Vec<(K, T)>) -> Node<K, V>,
) -> Inserted<K, V> {
    if items.len() < NODE_MAX {
        if items.len() == items.capacity() {
            items.reserve_exact(NODE_GROWTH.min(NODE_MAX - items.len()));
        }
        items.insert(at, item);
        return Inserted::Fits;
    }
    // What comes in ascending order fills one node behind the other.
    let split = if at == items.len() { at } else { NODE_MAX / 2 };
    let mut second = items.split_off(split);
    match at.checked_sub(split) {
        Some(at) => second.insert(at, item),
        None => items.insert(at, item),
    }
    items.shrink_to_fit();
    Inserted::Split((second[0].0.clone(), Arc::new(node(second))))
}

/// Takes out an entry that is there.
fn remove<K: Ord + Clone, V: Clone>(node: &mut Arc<Node<K, V>>, key: &K) -> Option<V> {
    match Arc::make_mut(node) {
        Node::Leaf(entries) => {
            let at = entries.binary_search_by(|(known, _)| known.cmp(key)).ok()?;
            Some(entries.remove(at).1)
        }
        Node::Branch(children) => {
            let behind = children.partition_point(|(first, _)| first <= key);
            let at = behind.checked_sub(1)?;
            let (first, child) = &mut children[at];
            let value = remove(child, key)?;
            match child.len() {
                0 => {
                    children.remove(at);
                }
                len => {
                    if first == key {
                        *first = child.first_key().clone();
                    }
                    if len < NODE_MIN {
                        merge_around(children, at);
                    }
                }
            }
            Some(value)
        }
    }
}

/// Merges a small child with a neighbour, if one is small enough.
fn merge_around<K: Clone, V: Clone>(children: &mut Vec<Child<K, V>>, at: usize) {
    for left in [Some(at), at.checked_sub(1)].into_iter().flatten() {
        let Some([(_, first), (_, second)]) = children.get(left..left + 2) else {
            continue;
        };
        if first.len() + second.len() > NODE_MAX / 4 * 3 {
            continue;
        }
        let (_, second) = children.remove(left + 1);
        let first = Arc::make_mut(&mut children[left].1);
        match (first, Arc::unwrap_or_clone(second)) {
            (Node::Leaf(entries), Node::Leaf(more)) => entries.extend(more),
            (Node::Branch(children), Node::Branch(more)) => children.extend(more),
            _ => unreachable!("the children of a branch are alike"),
        }
        return;
    }
}

impl<K, V> Node<K, V> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Branch(children) => children.len(),
        }
    }

    fn last(&self) -> Option<&(K, V)> {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(entries) => return entries.last(),
                Self::Branch(children) => node = &children.last()?.1,
            }
        }
    }

    fn first_key(&self) -> &K {
        match self {
            Self::Leaf(entries) => &entries[0].0,
            Self::Branch(children) => &children[0].0,
        }
    }

    fn visit_from<'a>(
        &'a self,
        below: &impl Fn(&K) -> bool,
        visit: &mut impl FnMut(&'a K, &'a V) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self {
            Self::Leaf(entries) => {
                let start = entries.partition_point(|(key, _)| below(key));
                let mut rest = entries.iter().skip(start);
                rest.try_for_each(|(key, value)| visit(key, value))
            }
            Self::Branch(children) => {
                let start = children.partition_point(|(first, _)| below(first));
                // The child before those may end with what is looked for.
                let mut rest = children.iter().skip(start.saturating_sub(1));
                rest.try_for_each(|(_, child)| child.visit_from(below, visit))
            }
        }
    }
}

/// The entries of a tree in ascending order.
#[derive(Debug)]
pub(crate) struct Iter<'a, K, V> {
    branches: Vec<std::slice::Iter<'a, Child<K, V>>>,
    leaf: std::slice::Iter<'a, (K, V)>,
    left: usize,
}

impl<K, V> Clone for Iter<'_, K, V> {
    fn clone(&self) -> Self {
        Self {
            branches: self.branches.clone(),
            leaf: self.leaf.clone(),
            left: self.left,
        }
    }
}

impl<'a, K, V> Iter<'a, K, V> {
    fn descend(&mut self, mut node: &'a Node<K, V>) {
        loop {
            match node {
                Node::Leaf(entries) => {
                    self.leaf = entries.iter();
                    return;
                }
                Node::Branch(children) => {
                    let mut children = children.iter();
                    let Some((_, first)) = children.next() else {
                        return;
                    };
                    self.branches.push(children);
                    node = first;
                }
            }
        }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.leaf.next() {
                self.left -= 1;
                return Some((key, value));
            }
            match self.branches.last_mut()?.next() {
                Some((_, child)) => self.descend(child),
                None => {
                    self.branches.pop();
                }
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<K, V> ExactSizeIterator for Iter<'_, K, V> {}

/// Shares all entries.
impl<K, V> Clone for Tree<K, V> {
    fn clone(&self) -> Self {
        Self {
            root: self.root.clone(),
            len: self.len,
        }
    }
}

impl<K, V> Default for Tree<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for Tree<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Eq, V: Eq> Eq for Tree<K, V> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Checks what is said of nodes at the top; returns how deep they lie.
    fn check<K: Ord + std::fmt::Debug, V>(node: &Node<K, V>) -> usize {
        assert!((1..=NODE_MAX).contains(&node.len()));
        match node {
            Node::Leaf(entries) => {
                assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
                1
            }
            Node::Branch(children) => {
                assert!(children.is_sorted_by(|a, b| a.0 < b.0));
                let depths: Vec<usize> = children
                    .iter()
                    .map(|(first, child)| {
                        assert_eq!(first, child.first_key());
                        check(child)
                    })
                    .collect();
                assert!(depths.iter().all(|depth| *depth == depths[0]));
                depths[0] + 1
            }
        }
    }

    fn nodes<K, V>(node: &Node<K, V>) -> usize {
        match node {
            Node::Leaf(_) => 1,
            Node::Branch(children) => {
                1 + children
                    .iter()
                    .map(|(_, child)| nodes(child))
                    .sum::<usize>()
            }
        }
    }

    fn assert_same(tree: &Tree<u16, u32>, model: &BTreeMap<u16, u32>) {
        assert_eq!(tree.len(), model.len());
        assert_eq!(tree.is_empty(), model.is_empty());
        assert!(tree.iter().eq(model.iter()));
        assert_eq!(tree.iter().len(), model.len());
        if let Some(root) = &tree.root {
            check(root);
        } else {
            assert!(model.is_empty());
        }
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_map_and_copies_stay_as_they_are(
            steps in proptest::collection::vec((any::<bool>(), 0..600u16, any::<u32>()), 0..1500),
            probes in proptest::collection::vec(0..610u16, 1..50),
            copied_at in 0..1500usize,
        ) {
            let (mut tree, mut model) = (Tree::new(), BTreeMap::new());
            let mut copy = None;
            for (number, (adds, key, value)) in steps.into_iter().enumerate() {
                if number == copied_at {
                    copy = Some((tree.clone(), model.clone()));
                }
                if adds { prop_assert_eq!(tree.insert(key, value), model.insert(key, value)) } else { prop_assert_eq!(tree.remove(&key), model.remove(&key)) }
            }
            assert_same(&tree, &model);
            for probe in probes {
                prop_assert_eq!(tree.get(&probe), model.get(&probe));
                let mut up_to = model.range(..=probe).rev();
                let last_two = tree.last_two_not(|key| *key > probe);
                let last = last_two.map(|(_, (key, value))| (key, value));
                prop_assert_eq!(last, up_to.next());
                let before = last_two.and_then(|(before, _)| before);
                prop_assert_eq!(before.map(|(key, value)| (key, value)), up_to.next());
                let mut from = Vec::new();
                tree.visit_from(|key| *key < probe, |key, value| {
                    from.push((key, value));
                    if from.len() < 40 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                });
                prop_assert!(model.range(probe..).take(40).eq(from));
            }
            if let Some((tree, model)) = copy {
                assert_same(&tree, &model);
            }
            assert_same(&Tree::from_sorted(model.iter().map(|(key, value)| (*key, *value))), &model);
        }
    }

    #[test]
    fn ascending_keys_fill_the_leaves_and_removed_ones_leave_few() {
        let mut tree = Tree::new();
        let count = 100 * NODE_MAX as u32;
        for key in 0..count {
            tree.insert(key, ());
        }
        let leaves = |tree: &Tree<u32>| tree.root.as_deref().map_or(0, nodes);
        assert!(leaves(&tree) < 110);
        for key in (0..count).filter(|key| key % 20 != 0) {
            tree.remove(&key);
        }
        check(tree.root.as_deref().unwrap());
        assert!(leaves(&tree) < 40, "{}", leaves(&tree));
        for key in (0..count).rev() {
            tree.remove(&key);
        }
        assert!(tree.root.is_none());
    }

    /// Counts how often it is copied.
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    struct Counting(u32, std::rc::Rc<std::cell::Cell<u32>>);

    impl Clone for Counting {
        fn clone(&self) -> Self {
            self.1.set(self.1.get() + 1);
            Self(self.0, self.1.clone())
        }
    }

    #[test]
    fn a_change_copies_a_path_of_what_is_shared_and_nothing_else() {
        let copies = std::rc::Rc::new(std::cell::Cell::new(0));
        let key = |number| Counting(number, copies.clone());
        for count in [100, 1000, 10_000] {
            let mut tree = Tree::from_sorted((0..count).map(|number| (key(2 * number), ())));
            copies.set(0);
            tree.insert(key(count + 1), ());
            let alone = copies.take();
            let reader = tree.clone();
            tree.insert(key(count + 3), ());
            let shared = copies.take();
            tree.remove(&key(count + 1));
            assert!(
                alone <= 4,
                "{alone} keys copied although the tree is not shared"
            );
            assert!(shared <= 4 * NODE_MAX as u32, "{shared} keys copied");
            assert_eq!(reader.len(), count as usize + 1);
        }
    }
}
