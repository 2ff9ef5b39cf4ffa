//! The tables have what the proxies have.

use super::{Does, tables};

/// The names of the public methods of the proxies in a file: those that are fetched later are the same.
fn public(source: &str) -> Vec<&str> {
    let proxies = source.split("\nimpl").filter(|block| {
        let head = block.lines().next().unwrap_or_default();
        head.contains("Proxy") && !head.contains(" for ")
    });
    // What lists and arrays, and both kinds of queues, have in common stands in a macro before.
    let common =
        source.split("\nmacro_rules!").skip(1).map(|block| block.split("\n}").next().unwrap_or_default());
    let lines =
        proxies.map(|block| block.split("\n}").next().unwrap_or_default()).chain(common).flat_map(str::lines);
    let names = lines.filter_map(|line| line.trim_start().strip_prefix("pub fn "));
    names
        .map(|line| line.split(|end: char| !end.is_alphanumeric() && end != '_').next().unwrap_or_default())
        .filter(|name| !name.ends_with("_async"))
        .collect()
}

#[test]
fn every_method_of_a_proxy_is_told() {
    let files = [
        ("list", include_str!("../list.rs")),
        ("dict", include_str!("../dict.rs")),
        ("set", include_str!("../set.rs")),
        ("namespace", include_str!("../namespace.rs")),
        ("value", include_str!("../value.rs")),
        ("queue", include_str!("../queue.rs")),
        ("lock", include_str!("../lock.rs")),
        ("rlock", include_str!("../rlock.rs")),
        ("semaphore", include_str!("../semaphore.rs")),
        ("condition", include_str!("../condition.rs")),
        ("event", include_str!("../event.rs")),
        ("barrier", include_str!("../barrier.rs")),
    ];
    for (of, source) in files {
        let mut told: Vec<_> = tables::of(of).iter().map(|known| known.method.name).collect();
        let mut public = public(source);
        told.sort_unstable();
        public.sort_unstable();
        public.dedup();
        assert_eq!(told, public, "of {of}");
    }
}

#[test]
fn signatures_are_as_they_would_be_written() {
    let signature = |of, name| {
        let known = tables::of(of).iter().find(|known| known.method.name == name).unwrap();
        (known.method.signature, matches!(known.does, Does::Call(..)))
    };
    assert_eq!(signature("list", "set"), ("fn set(&mut self, index: usize, value: T)", true));
    assert_eq!(signature("dict", "items"), ("fn items(&self) -> Vec<(K, V)>", true));
    assert_eq!(signature("lock", "try_lock"), ("fn try_lock(&mut self) -> Option<LockGuard>", false));
}
