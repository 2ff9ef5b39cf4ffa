//! Lists, dictionaries, sets, namespaces, values and arrays.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mp_manager::{DictProxy, ListProxy, Manager, QueueProxy};
use mp_process::Process;
use mp_testkit::harness::Suite;

fn main() -> ExitCode {
    let trials = mp_testkit::trials![
        a_list,
        a_list_is_sorted_in_the_server,
        a_list_is_sorted_by_a_function_of_its_values,
        a_list_in_itself,
        lists_in_lists_are_references,
        a_dict_in_order,
        what_is_looked_for_is_borrowed,
        update_is_one_step,
        a_dict_of_lists,
        objects_made_by_an_update_stay,
        a_queue_in_a_list_and_a_dict,
        a_set,
        sets_are_compared_and_combined,
        a_namespace,
        a_value,
        an_array,
        a_changing_function_that_panics_changes_nothing,
        handles_are_refused,
        a_value_of_another_type_is_an_error,
    ];
    Suite::new(trials).warm_up(warm_up).run()
}

/// The threads that start processes and watch peers keep a few handles for good.
fn warm_up() {
    Manager::start().unwrap().list::<u8>().unwrap().push(&1).unwrap();
    ipc_core::pipe::<u8>().unwrap();
}

fn a_list() {
    let manager = Manager::start().unwrap();
    let list = manager.list_from(&[0, 1, 2, 3]).unwrap();
    list.push(&4).unwrap();
    list.extend(&[5, 6]).unwrap();
    assert_eq!(list.len().unwrap(), 7);
    assert_eq!(list.get(6).unwrap(), 6);
    assert!(list.get(7).unwrap_err().is_out_of_range());
    assert!(list.set(7, &0).unwrap_err().is_out_of_range());
    list.set(0, &10).unwrap();
    assert_eq!(list.slice(1..=3).unwrap(), [1, 2, 3]);
    assert_eq!(list.slice(5..99).unwrap(), [5, 6]);
    list.insert(1, &11).unwrap();
    list.insert(99, &7).unwrap();
    assert_eq!(list.pop().unwrap(), Some(7));
    assert_eq!(list.remove_at(1).unwrap(), Some(11));
    assert_eq!(list.remove_at(99).unwrap(), None);
    assert_eq!((list.position_in(&2, 2..).unwrap(), list.position_in(&2, 3..).unwrap()), (Some(2), None));
    assert_eq!((list.position_in(&2, ..2).unwrap(), list.position_in(&2, ..=2).unwrap()), (None, Some(2)));
    assert_eq!((list.position_in(&2, 9..).unwrap(), list.position_in(&2, 0..99).unwrap()), (None, Some(2)));
    assert_eq!(list.position_in_async(&2, 1..4).unwrap().get().unwrap(), Some(2));
    assert_eq!(list.remove(&3).unwrap(), Some(3));
    assert_eq!(list.remove(&3).unwrap(), None);
    assert_eq!((list.position(&5).unwrap(), list.position(&77).unwrap()), (Some(4), None));
    assert!(list.contains(&5).unwrap());
    list.reverse().unwrap();
    assert_eq!(list.to_vec().unwrap(), [6, 5, 4, 2, 1, 10]);
    assert_eq!(list.splice(1..3, &[8, 8, 8]).unwrap(), [5, 4]);
    assert_eq!(list.count(&8).unwrap(), 3);
    list.splice(2.., &[]).unwrap();
    list.repeat(2).unwrap();
    assert_eq!(list.iter().map(Result::unwrap).collect::<Vec<_>>(), [6, 8, 6, 8]);
    list.repeat(0).unwrap();
    assert!(list.is_empty().unwrap() && list.pop().unwrap().is_none());
}

fn a_list_is_sorted_in_the_server() {
    let manager = Manager::start().unwrap();
    let list = manager.list_from(&["pear".to_owned(), "fig".into(), "apple".into()]).unwrap();
    let sort = |list: ListProxy<String>| list.sort().map_err(|error| error.to_string());
    Process::spawn(sort, list.clone()).unwrap().join().unwrap().unwrap();
    assert_eq!(list.to_vec().unwrap(), ["apple", "fig", "pear"]);
}

fn a_list_is_sorted_by_a_function_of_its_values() {
    let manager = Manager::start().unwrap();
    let list = manager.list_from(&["pear".to_owned(), "fig".into(), "kiwi".into(), "date".into()]).unwrap();
    list.sort_by_key(|word| word.len()).unwrap();
    assert_eq!(list.to_vec().unwrap(), ["fig", "pear", "kiwi", "date"]);
    let descending = |list: ListProxy<String>| list.sort_by_key(std::cmp::Reverse).unwrap();
    Process::spawn(descending, list.clone()).unwrap().join().unwrap();
    assert_eq!(list.to_vec().unwrap(), ["pear", "kiwi", "fig", "date"]);
    let fail = |word: String| assert!(word != "fig");
    assert!(list.sort_by_key(fail).unwrap_err().is_panic());
    assert_eq!(list.to_vec().unwrap(), ["pear", "kiwi", "fig", "date"]);
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Nested(ListProxy<Nested>);

fn a_list_in_itself() {
    let manager = Manager::start().unwrap();
    let list = manager.list::<Nested>().unwrap();
    list.push(&Nested(list.clone())).unwrap();
    let inner = list.get(0).unwrap().0.get(0).unwrap().0;
    assert_eq!(inner, list);
    inner.push(&Nested(inner.clone())).unwrap();
    assert_eq!(list.len().unwrap(), 2);
    list.clear().unwrap();
    drop((list, inner));
    assert_eq!(manager.object_count().unwrap(), 0);
}

fn lists_in_lists_are_references() {
    let manager = Manager::start().unwrap();
    let outer = manager.list::<ListProxy<u8>>().unwrap();
    let inner = manager.list_from(&[1]).unwrap();
    outer.extend(&[inner.clone(), inner.clone()]).unwrap();
    inner.push(&2).unwrap();
    assert_eq!(outer.get(1).unwrap().to_vec().unwrap(), [1, 2]);
    assert_eq!(outer.get(0).unwrap(), inner);
    assert_eq!(outer.position(&inner).unwrap(), Some(0));
    drop(inner);
    outer.pop().unwrap().unwrap().push(&3).unwrap();
    assert_eq!(outer.get(0).unwrap().len().unwrap(), 3);
    assert_eq!(manager.object_count().unwrap(), 2);
    outer.clear().unwrap();
    assert_eq!(manager.object_count().unwrap(), 1);
}

fn a_dict_in_order() {
    let manager = Manager::start().unwrap();
    let dict = manager.dict::<String, u32>().unwrap();
    let key = |text: &str| text.to_owned();
    assert_eq!(dict.insert(&key("b"), &1).unwrap(), None);
    assert_eq!(dict.insert(&key("a"), &2).unwrap(), None);
    assert_eq!(dict.insert(&key("b"), &3).unwrap(), Some(1));
    assert_eq!(dict.keys().unwrap(), ["b", "a"]);
    assert_eq!(dict.values().unwrap(), [3, 2]);
    assert_eq!(dict.items().unwrap(), [(key("b"), 3), (key("a"), 2)]);
    assert_eq!(dict.get(&key("a")).unwrap(), Some(2));
    assert_eq!(dict.get(&key("x")).unwrap(), None);
    assert!(dict.contains_key(&key("a")).unwrap());
    assert_eq!(dict.get_or_insert(&key("c"), &9).unwrap(), 9);
    assert_eq!(dict.get_or_insert(&key("c"), &8).unwrap(), 9);
    dict.extend(&HashMap::from([(key("d"), 4)])).unwrap();
    assert_eq!(dict.pop_last().unwrap(), Some((key("d"), 4)));
    assert_eq!(dict.remove(&key("b")).unwrap(), Some(3));
    assert_eq!(dict.remove(&key("b")).unwrap(), None);
    assert_eq!(dict.to_map().unwrap(), HashMap::from([(key("a"), 2), (key("c"), 9)]));
    dict.clear().unwrap();
    assert!(dict.is_empty().unwrap() && dict.pop_last().unwrap().is_none());
}

fn what_is_looked_for_is_borrowed() {
    let manager = Manager::start().unwrap();
    let dict = manager.dict::<(u8, String), Vec<u8>>().unwrap();
    dict.insert(&(1, "a".to_owned()), &vec![1]).unwrap();
    assert_eq!(dict.get(&(1, "a".to_owned())).unwrap(), Some(vec![1]));
    let paths = manager.dict::<PathBuf, u8>().unwrap();
    paths.insert(&PathBuf::from("/a"), &1).unwrap();
    assert_eq!(paths.get_async(Path::new("/a")).unwrap().get().unwrap(), Some(1));
    assert!(paths.contains_key(Path::new("/a")).unwrap() && !paths.contains_key(Path::new("/b")).unwrap());
    assert_eq!(paths.remove(Path::new("/a")).unwrap(), Some(1));
    let list = manager.list_from(&[vec![1u16], vec![2, 300]]).unwrap();
    assert_eq!(list.position(&[2u16, 300][..]).unwrap(), Some(1));
    assert_eq!(list.count(&[300u16][..]).unwrap(), 0);
    let set = manager.set_from(&["x".to_owned()]).unwrap();
    assert!(set.contains("x").unwrap() && !set.remove("y").unwrap() && set.remove("x").unwrap());
}

fn update_is_one_step() {
    let manager = Manager::start().unwrap();
    let dict = manager.dict::<String, u64>().unwrap();
    let value = manager.value(&0u64).unwrap();
    let work = |(dict, value): (DictProxy<String, u64>, mp_manager::ValueProxy<u64>)| {
        for _ in 0..200 {
            dict.update("hits", |hits, by| *hits.get_or_insert(0) += by, 1).unwrap();
            value.update(|value, by: u64| *value += by, 1).unwrap();
        }
    };
    let children: Vec<_> =
        (0..3).map(|_| Process::spawn(work, (dict.clone(), value.clone())).unwrap()).collect();
    children.into_iter().for_each(|child| child.join().unwrap());
    assert_eq!(dict.get("hits").unwrap(), Some(600));
    assert_eq!(value.get().unwrap(), 600);
    dict.update("hits", |hits, ()| *hits = None, ()).unwrap();
    assert!(dict.is_empty().unwrap());
    let list = manager.list_from(&[1, 2]).unwrap();
    assert_eq!(list.update(1, |value, by: i32| std::mem::replace(value, by), 7).unwrap(), 2);
    assert_eq!(list.to_vec().unwrap(), [1, 7]);
    assert!(list.update(2, |_, ()| (), ()).unwrap_err().is_out_of_range());
}

fn a_dict_of_lists() {
    let manager = Manager::start().unwrap();
    let dict = manager.dict::<String, ListProxy<u8>>().unwrap();
    let list = manager.list_from(&[1]).unwrap();
    dict.insert(&"list".to_owned(), &list).unwrap();
    drop(list);
    let push = |dict: DictProxy<String, ListProxy<u8>>| {
        dict.get("list").unwrap().unwrap().push(&2).unwrap();
    };
    Process::spawn(push, dict.clone()).unwrap().join().unwrap();
    assert_eq!(dict.get("list").unwrap().unwrap().to_vec().unwrap(), [1, 2]);
    dict.update("list", |list, ()| list.as_ref().unwrap().push(&3).unwrap(), ()).unwrap();
    assert_eq!(dict.values().unwrap()[0].len().unwrap(), 3);
    drop(dict);
    // The thread that ran the function may hold the list a moment longer than its caller waits.
    while manager.object_count().unwrap() > 0 {
        std::thread::yield_now();
    }
}

struct Cell(u8);

#[mp_manager::object]
#[allow(unreachable_pub)]
impl Cell {
    pub fn get(&self) -> u8 {
        self.0
    }
}

fn objects_made_by_an_update_stay() {
    let manager = Manager::start().unwrap();
    let dict = manager.dict::<u8, CellProxy>().unwrap();
    let put = |cell: &mut Option<CellProxy>, value: u8| {
        *cell = Some(CellProxy::host(Cell(value)).unwrap());
    };
    dict.update(&1, put, 7).unwrap();
    assert_eq!(dict.get(&1).unwrap().unwrap().get().unwrap(), 7);
    assert_eq!(manager.object_count().unwrap(), 2);
    dict.remove(&1).unwrap();
    assert_eq!(manager.object_count().unwrap(), 1);
}

fn a_queue_in_a_list_and_a_dict() {
    let manager = Manager::start().unwrap();
    let queue = manager.queue::<String>().unwrap();
    let list = manager.list_from(std::slice::from_ref(&queue)).unwrap();
    let dict = manager.dict::<u8, QueueProxy<String>>().unwrap();
    dict.insert(&0, &queue).unwrap();
    drop(queue);
    list.get(0).unwrap().put(&"through".to_owned()).unwrap();
    assert_eq!(dict.get(&0).unwrap().unwrap().get().unwrap(), "through");
}

fn a_set() {
    let manager = Manager::start().unwrap();
    let set = manager.set_from(&[1, 2, 3]).unwrap();
    assert!(set.insert(&4).unwrap() && !set.insert(&4).unwrap());
    assert!(set.remove(&1).unwrap() && !set.remove(&1).unwrap());
    assert!(set.contains(&2).unwrap() && !set.contains(&1).unwrap());
    assert_eq!(set.extend(&[4, 5, 6]).unwrap(), 2);
    assert_eq!(set.retain_all(&[2, 3, 4, 5, 99]).unwrap(), 1);
    assert_eq!(set.remove_all(&[2, 77]).unwrap(), 1);
    set.toggle_all(&[3, 8]).unwrap();
    assert_eq!(set.to_set().unwrap(), HashSet::from([4, 5, 8]));
    assert_eq!(set.len().unwrap(), 3);
    assert!(set.pop().unwrap().is_some());
    set.clear().unwrap();
    assert!(set.pop().unwrap().is_none() && set.is_empty().unwrap());
}

fn sets_are_compared_and_combined() {
    let manager = Manager::start().unwrap();
    let set = manager.set_from(&[1, 2, 3]).unwrap();
    assert!(set.is_disjoint(&[4, 5]).unwrap() && !set.is_disjoint(&[3, 4]).unwrap());
    assert!(set.is_subset(&[3, 2, 1, 1, 0]).unwrap() && !set.is_subset(&[1, 2, 2, 4]).unwrap());
    assert!(set.is_superset(&[1, 1, 3]).unwrap() && !set.is_superset(&[1, 4]).unwrap());
    assert!(set.is_superset(&[]).unwrap() && set.is_disjoint(&[]).unwrap() && !set.is_subset(&[]).unwrap());
    assert_eq!(set.union(&[3, 4]).unwrap(), HashSet::from([1, 2, 3, 4]));
    assert_eq!(set.intersection(&[3, 3, 4, 1]).unwrap(), HashSet::from([1, 3]));
    assert_eq!(set.difference(&[3, 3, 4]).unwrap(), HashSet::from([1, 2]));
    assert_eq!(set.symmetric_difference(&[3, 3, 4, 4]).unwrap(), HashSet::from([1, 2, 4]));
    let other = manager.set_from(&[1, 2, 3, 4]).unwrap();
    assert!(set.is_subset(&other.to_vec().unwrap()).unwrap());
    assert_eq!(set.len().unwrap(), 3);
}

fn a_namespace() {
    let manager = Manager::start().unwrap();
    let names = manager.namespace().unwrap();
    names.set("x", &7u32).unwrap();
    names.set("y", &"seven".to_owned()).unwrap();
    assert_eq!(names.get("x").unwrap(), Some(7u32));
    assert_eq!(names.get("y").unwrap(), Some("seven".to_owned()));
    assert_eq!(names.get::<u8>("z").unwrap(), None);
    assert_eq!(names.names().unwrap(), ["x", "y"]);
    assert!(names.get_all::<(u8, u8, u8)>().unwrap_err().is_codec());
    assert!(names.contains("y").unwrap() && !names.contains("z").unwrap());
    assert!(names.remove("x").unwrap() && !names.remove("x").unwrap());
    // A copy, in which proxies are references.
    let (lists, list) = (manager.namespace().unwrap(), manager.list_from(&[1u8]).unwrap());
    lists.set("a", &list).unwrap();
    lists.set("b", &list).unwrap();
    drop(list);
    let copy = lists.get_all::<ListProxy<u8>>().unwrap();
    lists.remove("a").unwrap();
    copy["a"].push(&2).unwrap();
    assert!(copy.len() == 2 && copy["b"].to_vec().unwrap() == [1, 2]);
    assert_eq!(names.get_all::<String>().unwrap()["y"], "seven");
    assert!(manager.namespace().unwrap().get_all::<u8>().unwrap().is_empty());
}

fn a_value() {
    let manager = Manager::start().unwrap();
    let value = manager.value(&vec![1, 2]).unwrap();
    value.set(&vec![3]).unwrap();
    assert_eq!(value.replace(&vec![4]).unwrap(), [3]);
    assert_eq!(value.get().unwrap(), [4]);
}

fn an_array() {
    let manager = Manager::start().unwrap();
    let array = manager.array(&[0.5, 1.5]).unwrap();
    array.set(1, &2.5).unwrap();
    assert!(array.set(2, &0.0).unwrap_err().is_out_of_range());
    array.update(0, |value, by: f64| *value += by, 1.0).unwrap();
    assert_eq!(array.to_vec().unwrap(), [1.5, 2.5]);
    assert_eq!((array.len().unwrap(), array.get(0).unwrap()), (2, 1.5));
    let array = manager.array(&[1, 2, 3, 4]).unwrap();
    array.set_all(1, &[7, 8]).unwrap();
    assert!(array.set_all(3, &[9, 9]).unwrap_err().is_out_of_range());
    assert!(array.set_all(usize::MAX, &[9]).unwrap_err().is_out_of_range());
    array.set_all(4, &[]).unwrap();
    let child =
        Process::spawn(|array: mp_manager::ArrayProxy<i32>| array.set_all(3, &[5]).is_ok(), array.clone());
    assert!(child.unwrap().join().unwrap());
    assert_eq!(array.to_vec().unwrap(), [1, 7, 8, 5]);
}

fn a_changing_function_that_panics_changes_nothing() {
    let manager = Manager::start().unwrap();
    let value = manager.value(&1).unwrap();
    let fail = |value: &mut i32, fails: bool| {
        *value = 2;
        assert!(!fails);
    };
    assert!(value.update(fail, true).unwrap_err().is_panic());
    assert_eq!(value.get().unwrap(), 1);
    assert_eq!(value.update(|value, ()| *value, ()).unwrap(), 1);
}

fn handles_are_refused() {
    let manager = Manager::start().unwrap();
    let list = manager.list::<ipc_core::Sender<u8>>().unwrap();
    let (tx, rx) = ipc_core::pipe().unwrap();
    let error = list.push(&tx).unwrap_err();
    assert!(error.is_codec() && error.to_string().contains("object of your own"), "{error}");
    tx.send(&1).unwrap();
    assert_eq!(rx.recv().unwrap(), 1);
}

fn a_value_of_another_type_is_an_error() {
    let manager = Manager::start().unwrap();
    let names = manager.namespace().unwrap();
    names.set("x", &300u32).unwrap();
    assert!(names.get::<u8>("x").unwrap_err().is_codec());
    assert!(names.get::<String>("x").unwrap_err().is_codec());
}
