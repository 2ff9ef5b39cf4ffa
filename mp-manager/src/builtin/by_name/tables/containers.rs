//! Lists and arrays, dictionaries, sets, namespaces and values.

use super::super::given::Parameter;
use super::super::{Does, Known, Ready};
use super::{CODE, HERE, K, T, V, changes, limit, method, methods, pairs, receiver, size, told};
use crate::builtin::calls::or_unit;
use crate::builtin::{dict, list, namespace, set, value};
use crate::hosted::Method;
use crate::wire::Raw;

/// What is said of all that changes a list.
type Altered = Option<u64>;

methods!(LIST {
    looks fn len() -> usize { list::Call::Len } as Altered => |len| size(len.unwrap_or_default());
    looks fn is_empty() -> bool { list::Call::Len } as Altered => |len| len == Some(0);
    looks fn get(index: usize) -> T { list::Call::Get(index as u64) } as Option<T> => Option::unwrap_or_default;
    changes fn set(index: usize, value: T) { list::Call::Set(index as u64, value) } as Altered => drop;
    changes fn set_all(from: usize, values: Vec<T>) { list::Call::SetAll(from as u64, values) } as Altered => drop;
    looks fn slice(from: usize, to: usize) -> Vec<T> {
        list::Call::Slice(from as u64, to as u64)
    } as Vec<T> => |values| values;
    looks fn to_vec() -> Vec<T> { list::Call::Slice(0, u64::MAX) } as Vec<T> => |values| values;
    changes fn push(value: T) { list::Call::Push(vec![value]) } as Altered => drop;
    changes fn extend(values: Vec<T>) { list::Call::Push(values) } as Altered => drop;
    changes fn insert(index: usize, value: T) { list::Call::Insert(index as u64, value) } as Altered => drop;
    changes fn pop() -> Option<T> { list::Call::Pop(None) } as Option<T> => |value| value;
    changes fn remove_at(index: usize) -> Option<T> {
        list::Call::Pop(Some(index as u64))
    } as Option<T> => |value| value;
    changes fn remove(value: T) -> Option<usize> { list::Call::Remove(value) } as Altered => |place| place.map(size);
    looks fn position(value: T) -> Option<usize> { list::Call::Find(value) } as Altered => |place| place.map(size);
    looks fn position_in(value: T, from: usize, to: usize) -> Option<usize> {
        list::Call::FindIn(value, from as u64, to as u64)
    } as Altered => |place| place.map(size);
    looks fn contains(value: T) -> bool { list::Call::Find(value) } as Altered => |place| place.is_some();
    looks fn count(value: T) -> usize { list::Call::Count(value) } as Altered => |count| size(count.unwrap_or_default());
    changes fn clear() { list::Call::Splice(0, u64::MAX, Vec::new()) } as Vec<T> => drop;
    changes fn splice(from: usize, to: usize, values: Vec<T>) -> Vec<T> {
        list::Call::Splice(from as u64, to as u64, values)
    } as Vec<T> => |values| values;
    changes fn reverse() { list::Call::Reverse } as Altered => drop;
    changes fn repeat(times: usize) { list::Call::Repeat(times as u64) } as Altered => drop;
} by proxies {
    CODE {
        changes fn sort();
        changes fn sort_by_key(key: fn(T) -> K);
        changes fn update(index: usize, function: fn(&mut T, A) -> R, arg: A) -> R;
    }
    HERE {
        looks fn iter() -> impl Iterator<Item = T>;
    }
});

methods!(DICT {
    looks fn len() -> usize { dict::Call::Len } as u64 => size;
    looks fn is_empty() -> bool { dict::Call::Len } as u64 => |len| len == 0;
    looks fn get(key: K) -> Option<V> { dict::Call::Get(key.bytes) } as Option<V> => |value| value;
    looks fn contains_key(key: K) -> bool { dict::Call::Contains(key.bytes) } as bool => |is_there| is_there;
    changes fn insert(key: K, value: V) -> Option<V> { dict::Call::Insert(key, value) } as Option<V> => |old| old;
    changes fn get_or_insert(key: K, value: V) -> V {
        dict::Call::Default(key, value)
    } as Option<V> => Option::unwrap_or_default;
    changes fn extend(items: Vec<(K, V)>) { dict::Call::Extend(items) } as () => |()| ();
    changes fn remove(key: K) -> Option<V> { dict::Call::Remove(key.bytes) } as Option<V> => |value| value;
    changes fn pop_last() -> Option<(K, V)> { dict::Call::PopLast } as Vec<Raw> => |item| pairs(item).pop();
    changes fn clear() { dict::Call::Clear } as () => |()| ();
    looks fn keys() -> Vec<K> { dict::Call::Keys } as Vec<K> => |keys| keys;
    looks fn values() -> Vec<V> { dict::Call::Values } as Vec<V> => |values| values;
    looks fn items() -> Vec<(K, V)> { dict::Call::Items } as Vec<Raw> => pairs;
} by proxies {
    CODE {
        changes fn update(key: K, function: fn(&mut Option<V>, A) -> R, arg: A) -> R;
    }
    HERE {
        looks fn to_map() -> HashMap<K, V>;
    }
});

methods!(SET {
    looks fn len() -> usize { set::Call::Len } as u64 => size;
    looks fn is_empty() -> bool { set::Call::Len } as u64 => |len| len == 0;
    looks fn contains(value: T) -> bool { set::Call::Contains(value.bytes) } as u64 => |count| count == 1;
    changes fn insert(value: T) -> bool { set::Call::Insert(vec![value]) } as u64 => |count| count == 1;
    changes fn remove(value: T) -> bool { set::Call::Remove(vec![value.bytes]) } as u64 => |count| count == 1;
    changes fn extend(values: Vec<T>) -> usize { set::Call::Insert(values) } as u64 => size;
    changes fn remove_all(values: Vec<T>) -> usize { set::Call::Remove(bytes(values)) } as u64 => size;
    changes fn retain_all(values: Vec<T>) -> usize { set::Call::Retain(bytes(values)) } as u64 => size;
    changes fn toggle_all(values: Vec<T>) { set::Call::Toggle(values) } as u64 => drop_count;
    changes fn pop() -> Option<T> { set::Call::Pop } as Option<T> => |value| value;
    changes fn clear() { set::Call::Clear } as u64 => drop_count;
    looks fn to_vec() -> Vec<T> { set::Call::All } as Vec<T> => |values| values;
    looks fn is_disjoint(values: Vec<T>) -> bool {
        set::Call::Compare(bytes(values))
    } as Compared => |(common, _, _)| common == 0;
    looks fn is_subset(values: Vec<T>) -> bool {
        set::Call::Compare(bytes(values))
    } as Compared => |(common, _, here)| common == here;
    looks fn is_superset(values: Vec<T>) -> bool {
        set::Call::Compare(bytes(values))
    } as Compared => |(common, others, _)| common == others;
} by proxies {
    HERE {
        looks fn to_set() -> HashSet<T>;
        looks fn union(values: Vec<T>) -> HashSet<T>;
        looks fn intersection(values: Vec<T>) -> HashSet<T>;
        looks fn difference(values: Vec<T>) -> HashSet<T>;
        looks fn symmetric_difference(values: Vec<T>) -> HashSet<T>;
    }
});

type Compared = (u64, u64, u64);

fn bytes(values: Vec<Raw>) -> Vec<crate::wire::Bytes> {
    values.into_iter().map(|raw| raw.bytes).collect()
}

fn drop_count(_: u64) {}

methods!(NAMESPACE {
    looks fn get(name: String) -> Option<T> { namespace::Call::Get(name) } as Option<T> => |value| value;
    changes fn set(name: String, value: T) { namespace::Call::Set(name, value) } as () => |()| ();
    changes fn remove(name: String) -> bool { namespace::Call::Remove(name) } as bool => |was_there| was_there;
    looks fn contains(name: String) -> bool { namespace::Call::Has(name) } as bool => |is_there| is_there;
    looks fn get_all() -> Vec<(String, T)> { namespace::Call::All } as Vec<(String, T)> => |all| all;
    looks fn names() -> Vec<String> { namespace::Call::Names } as Vec<String> => |names| names;
} by proxies {});

methods!(VALUE {
    looks fn get() -> T { value::Call::Get } as Option<T> => Option::unwrap_or_default;
    changes fn set(value: T) { value::Call::Set(value) } as Option<T> => drop;
    changes fn replace(value: T) -> T { value::Call::Replace(value) } as Option<T> => Option::unwrap_or_default;
} by proxies {
    CODE {
        changes fn update(function: fn(&mut T, A) -> R, arg: A) -> R;
    }
});
