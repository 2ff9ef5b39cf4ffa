//! Lists in named memory.

use ipc_core::{Item, ListError, ShareableList, SharedMemory};
use mp_process::Process;

use crate::Outcome;

/// One of each kind, and the texts that CPython cannot give back as they were.
pub(crate) fn items() -> Vec<Item> {
    vec![
        Item::None,
        true.into(),
        false.into(),
        (-7).into(),
        i64::MAX.into(),
        2.5.into(),
        "".into(),
        "plain".into(),
        "eight by".into(),
        "äöü€ und noch mehr".into(),
        "zero at the end\0".into(),
        Item::Bytes(vec![]),
        Item::Bytes(vec![0, 1, 2, 0, 0]),
        Item::Bytes(vec![0; 24]),
    ]
}

pub(crate) fn items_come_back_as_they_were() -> Outcome {
    let list = ShareableList::create_auto(items())?;
    let same = ShareableList::open(list.name())?;
    assert_eq!(same.len(), items().len());
    assert_eq!(same.iter().collect::<Result<Vec<_>, _>>()?, items());
    assert_eq!(same.count(&true.into())?, 1);
    assert_eq!(same.index(&"plain".into())?, Some(7));
    assert_eq!(same.index(&"absent".into())?, None);
    assert_eq!((same.format(3)?.as_str(), same.format(7)?.as_str()), ("q", "8s"));
    Ok(())
}

pub(crate) fn kinds_may_change_in_place() -> Outcome {
    let list = ShareableList::create_auto([Item::from("sixteen bytes of"), 1.into()])?;
    for item in items().into_iter().filter(|item| !matches!(item, Item::Str(text) if text.len() > 24)) {
        list.set(0, item.clone())?;
        assert_eq!(list.get(0)?, item);
        assert_eq!(list.get(1)?, 1.into(), "the neighbour is as it was");
    }
    list.set(1, "8 bytes.")?;
    assert_eq!(list.get(1)?, "8 bytes.".into());
    list.set(1, Some(7))?;
    list.set(1, None::<i64>)?;
    assert_eq!(list.get(1)?, Item::None);
    Ok(())
}

pub(crate) fn what_does_not_fit_changes_nothing() -> Outcome {
    let list = ShareableList::create_auto([Item::from("short"), 1.into()])?;
    // Eight letters and sixteen bytes.
    let error = list.set(0, "öööööööö").unwrap_err();
    assert!(matches!(error, ListError::TooLong { len: 16, room: 8 }), "{error}");
    assert_eq!(list.get(0)?, "short".into());
    assert_eq!(list.get(1)?, 1.into());
    for result in [list.get(2).map(drop), list.set(2, 1), list.format(2).map(drop)] {
        assert!(matches!(result, Err(ListError::Index { index: 2, len: 2 })));
    }
    let huge = ShareableList::create_auto([Item::Bytes(vec![0; 10_000_000])]);
    assert!(matches!(huge, Err(ListError::TooLong { len: 10_000_000, .. })));
    Ok(())
}

pub(crate) fn an_empty_list() -> Outcome {
    let list = ShareableList::create_auto([])?;
    let same = ShareableList::open(list.name())?;
    assert!(same.is_empty() && same.iter().next().is_none());
    assert!(matches!(same.get(0), Err(ListError::Index { index: 0, len: 0 })));
    Ok(())
}

pub(crate) fn nonsense_is_no_list() -> Outcome {
    let words: [&[i64]; 7] =
        [&[-1], &[i64::MAX], &[1, 0, -8], &[1, 0, 4], &[2, 0, 16, 8], &[1, 0, i64::MAX], &[1, 0, 90]];
    for words in words {
        let memory = SharedMemory::create_auto(100)?;
        for (place, word) in words.iter().enumerate() {
            memory.write(8 * place, &word.to_ne_bytes());
        }
        let result = ShareableList::open(memory.name().ok_or("no name")?);
        assert!(matches!(result, Err(ListError::Layout(_))), "{words:?}: {result:?}");
    }
    // Contents may become nonsense later too.
    let list = ShareableList::create_auto([Item::from("text"), 1.into()])?;
    let mut bytes = vec![0; list.memory().size()];
    for seed in 0..2000u64 {
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(place as u32) >> 13) as u8;
        }
        list.memory().write(0, &bytes);
        let _ = list.iter().map(|item| item.is_ok()).collect::<Vec<_>>();
        let _ = ShareableList::open(list.name()).map(|list| list.iter().count());
    }
    Ok(())
}

pub(crate) fn they_travel() -> Outcome {
    let list = ShareableList::create_auto([Item::from(1), 2.into()])?;
    let (tx, rx) = ipc_core::pipe::<ShareableList>()?;
    tx.send(&list)?;
    let child = Process::spawn(
        |list: ShareableList| {
            let sum: i64 = list.iter().map(|item| if let Item::Int(n) = item.unwrap() { n } else { 0 }).sum();
            list.set(0, sum).unwrap();
        },
        rx.recv()?,
    )?;
    child.join()?;
    assert_eq!(list.get(0)?, 3.into());
    Ok(())
}
