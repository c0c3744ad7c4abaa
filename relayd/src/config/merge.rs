//! Putting several sources together as the Collector does: maps merge key by key, everything else is replaced by
//! the later one; a null takes the earlier map away. Must never look at what a key means.

use super::error::Origin;
use super::node::{Entry, Node, Value, find_mut};

/// `later` over `earlier`.
#[must_use]
pub fn merge(earlier: Node, later: Node) -> Node {
    let (mut entries, over) = match (earlier.value, later.value) {
        (Value::Map(entries), Value::Map(over)) => (entries, over),
        (_, value) => return Node { value, origin: later.origin, text: later.text },
    };
    for Entry { key, node } in over {
        put(&mut entries, key, node);
    }
    // What is missing in a map is looked for where it was begun; a source without lines is the worse place.
    let origin = if earlier.origin.line == 0 { later.origin } else { earlier.origin };
    Node::new(Value::Map(entries), origin)
}

/// Nests keys that contain the Collector's path separator: `a::b: c` becomes `a: {b: c}`.
#[must_use]
pub fn split_paths(node: Node) -> Node {
    let Node { value, origin, text } = node;
    let value = match value {
        Value::Map(entries) => {
            let mut split = Vec::with_capacity(entries.len());
            for Entry { key, node } in entries {
                let mut parts = key.split("::").collect::<Vec<_>>();
                let first = parts.remove(0).to_owned();
                let at = node.origin.clone();
                put(&mut split, first, nest(&parts, split_paths(node), &at));
            }
            Value::Map(split)
        }
        Value::List(items) => Value::List(items.into_iter().map(split_paths).collect()),
        scalar => scalar,
    };
    Node { value, origin, text }
}

/// A value under a path of keys, each at the same place.
#[must_use]
pub fn nest(path: &[&str], leaf: Node, at: &Origin) -> Node {
    path.iter().rev().fold(leaf, |node, key| {
        let entry = Entry { key: (*key).to_owned(), node };
        Node::new(Value::Map(vec![entry]), at.clone())
    })
}

fn put(entries: &mut Vec<Entry>, key: String, node: Node) {
    match find_mut(entries, &key) {
        Some(slot) => {
            let earlier = std::mem::replace(slot, Node::new(Value::Null, node.origin.clone()));
            *slot = merge(earlier, node);
        }
        None => entries.push(Entry { key, node }),
    }
}
