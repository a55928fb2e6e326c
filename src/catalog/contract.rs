//! The contract of [`Catalog`], as tests that every implementation passes: `contract::suite!(ItsBench)`.

use bytes::Bytes;

use super::{CONTENT_BYTES_MAX, Catalog, CatalogError, Expected, Key, Record, Version, check, list_all};

/// One empty catalog, and what a test may do to it from outside.
pub(crate) trait Bench: Sized {
    /// Makes an empty catalog.
    async fn new() -> Self;

    /// The catalog under test.
    fn catalog(&self) -> &dyn Catalog;

    /// Closes it.
    async fn close(&mut self);

    /// Closes it and opens it as the next process would.
    async fn reopen(&mut self);

    /// Flips a bit in a record.
    async fn damage(&mut self, key: &Key);
}

/// Makes a test of every clause of the contract.
macro_rules! suite {
    ($bench:ty) => {
        $crate::catalog::contract::suite!(@each $bench:
            what_is_put_is_there_and_survives_reopening,
            one_that_is_not_there_is_absent,
            of_those_who_replace_a_version_one_succeeds,
            a_conflict_says_what_is_there_and_changes_nothing,
            versions_grow_beyond_a_removal_and_reopening,
            a_removed_record_does_not_come_back,
            lists_are_paged_in_order_and_filtered,
            a_damaged_record_is_not_absent,
            contents_are_bounded,
            keys_of_any_text_do_not_collide,
            a_closed_catalog_says_so,
        );
    };
    (@each $bench:ty: $($clause:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $clause() {
                $crate::catalog::contract::$clause(<$bench as $crate::catalog::contract::Bench>::new().await).await;
            }
        )*
    };
}
pub(crate) use suite;

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn put(catalog: &dyn Catalog, at: &str, expected: Expected, content: &str) -> Version {
    catalog.put(&key(at), expected, bytes(content)).await.unwrap()
}

async fn get(catalog: &dyn Catalog, at: &str) -> Option<Record> {
    catalog.get(&key(at)).await.unwrap()
}

pub(crate) async fn what_is_put_is_there_and_survives_reopening(mut bench: impl Bench) {
    let version = put(bench.catalog(), "acl/w/a", Expected::Absent, "first").await;
    let empty = put(bench.catalog(), "acl/w", Expected::Absent, "").await;
    for _ in 0..2 {
        assert_eq!(get(bench.catalog(), "acl/w/a").await, Some(Record { version, content: bytes("first") }));
        assert_eq!(get(bench.catalog(), "acl/w").await, Some(Record { version: empty, content: bytes("") }));
        bench.reopen().await;
    }
    let next = put(bench.catalog(), "acl/w/a", Expected::Version(version), "second").await;
    assert!(next > version);
    assert_eq!(get(bench.catalog(), "acl/w/a").await, Some(Record { version: next, content: bytes("second") }));
}

pub(crate) async fn one_that_is_not_there_is_absent(bench: impl Bench) {
    let catalog = bench.catalog();
    assert_eq!(get(catalog, "acl/none").await, None);
    assert!(catalog.list("", None, 10).await.unwrap().is_empty());
    catalog.remove(&key("acl/none"), Expected::Anything).await.unwrap();
    catalog.remove(&key("acl/none"), Expected::Version(Version(7))).await.unwrap();
}

pub(crate) async fn of_those_who_replace_a_version_one_succeeds(bench: impl Bench) {
    let catalog = bench.catalog();
    let first = put(catalog, "acl/w", Expected::Absent, "first").await;
    for expected in [Expected::Version(first), Expected::Absent] {
        let at = if expected == Expected::Absent { "acl/new" } else { "acl/w" };
        let puts = (0..16).map(|n| async move { catalog.put(&key(at), expected, bytes(&n.to_string())).await });
        let results = futures_util::future::join_all(puts).await;
        let won: Vec<_> =
            results.iter().enumerate().filter_map(|(n, result)| Some((n, *result.as_ref().ok()?))).collect();
        let [(n, version)] = won[..] else { panic!("{results:?}") };
        assert_eq!(get(catalog, at).await, Some(Record { version, content: bytes(&n.to_string()) }));
        let is_conflict =
            |result: &&Result<Version, CatalogError>| matches!(result, Err(CatalogError::Conflict { .. }));
        assert_eq!(results.iter().filter(is_conflict).count(), 15);
    }
}

pub(crate) async fn a_conflict_says_what_is_there_and_changes_nothing(bench: impl Bench) {
    let catalog = bench.catalog();
    let conflict = |error| match error {
        CatalogError::Conflict { actual } => actual,
        error => panic!("{error:?}"),
    };
    let error = catalog.put(&key("a"), Expected::Version(Version(5)), bytes("x")).await.unwrap_err();
    assert_eq!(conflict(error), None);
    let first = put(catalog, "a", Expected::Absent, "first").await;
    let second = put(catalog, "a", Expected::Version(first), "second").await;
    for expected in [Expected::Version(first), Expected::Absent] {
        let error = catalog.put(&key("a"), expected, bytes("x")).await.unwrap_err();
        assert_eq!(conflict(error), Some(second));
        let error = catalog.remove(&key("a"), expected).await.unwrap_err();
        assert_eq!(conflict(error), Some(second));
    }
    assert_eq!(get(catalog, "a").await, Some(Record { version: second, content: bytes("second") }));
    let third = put(catalog, "a", Expected::Anything, "third").await;
    assert!(third > second);
}

pub(crate) async fn versions_grow_beyond_a_removal_and_reopening(mut bench: impl Bench) {
    let mut last = Version(0);
    for _ in 0..3 {
        let version = put(bench.catalog(), "a", Expected::Absent, "x").await;
        assert!(version > last, "{version} after {last}");
        bench.catalog().remove(&key("a"), Expected::Version(version)).await.unwrap();
        last = version;
        bench.reopen().await;
    }
}

pub(crate) async fn a_removed_record_does_not_come_back(mut bench: impl Bench) {
    let version = put(bench.catalog(), "a", Expected::Absent, "x").await;
    bench.catalog().remove(&key("a"), Expected::Version(version)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(get(bench.catalog(), "a").await, None);
        assert!(bench.catalog().list("", None, 10).await.unwrap().is_empty());
        let stale = bench.catalog().put(&key("a"), Expected::Version(version), bytes("x")).await;
        assert!(matches!(stale, Err(CatalogError::Conflict { actual: None })), "{stale:?}");
        bench.reopen().await;
    }
    put(bench.catalog(), "a", Expected::Absent, "again").await;
    assert_eq!(bench.catalog().list("", None, 10).await.unwrap(), [key("a")]);
}

pub(crate) async fn lists_are_paged_in_order_and_filtered(bench: impl Bench) {
    let catalog = bench.catalog();
    for name in ["acl/b", "acl/a/2", "acl/a/1", "block/x", "acl/a", "acl/ä"] {
        put(catalog, name, Expected::Absent, name).await;
    }
    let keys = |texts: &[&str]| texts.iter().map(|text| key(text)).collect::<Vec<_>>();
    let all = keys(&["acl/a", "acl/a/1", "acl/a/2", "acl/b", "acl/ä", "block/x"]);
    assert_eq!(list_all(catalog, "").await.unwrap(), all);
    let mut paged = Vec::new();
    while let [one] = &catalog.list("", paged.last(), 1).await.unwrap()[..] {
        paged.push(one.clone());
    }
    assert_eq!(paged, all);
    assert_eq!(catalog.list("acl/a/", None, 10).await.unwrap(), keys(&["acl/a/1", "acl/a/2"]));
    assert_eq!(catalog.list("acl/", Some(&key("acl/a/1")), 2).await.unwrap(), keys(&["acl/a/2", "acl/b"]));
    assert_eq!(catalog.list("block/", Some(&key("acl/a")), 10).await.unwrap(), keys(&["block/x"]));
    assert!(catalog.list("acl/", Some(&key("block/x")), 10).await.unwrap().is_empty());
    assert!(catalog.list("", None, 0).await.unwrap().is_empty());
}

pub(crate) async fn a_damaged_record_is_not_absent(mut bench: impl Bench) {
    let version = put(bench.catalog(), "a", Expected::Absent, "content").await;
    put(bench.catalog(), "b", Expected::Absent, "content").await;
    bench.damage(&key("a")).await;
    let catalog = bench.catalog();
    assert!(matches!(catalog.get(&key("a")).await, Err(CatalogError::Damaged { .. })));
    assert!(matches!(
        catalog.put(&key("a"), Expected::Absent, bytes("x")).await,
        Err(CatalogError::Conflict { .. } | CatalogError::Damaged { .. })
    ));
    let (whole, damaged) = check(catalog).await.unwrap();
    assert_eq!((whole, damaged.len()), (1, 1), "{damaged:?}");
    // Whoever says that it may be replaced whatever it is replaces it.
    let next = put(catalog, "a", Expected::Anything, "mended").await;
    assert!(next > version);
    assert_eq!(get(catalog, "a").await.unwrap().content, bytes("mended"));
}

pub(crate) async fn contents_are_bounded(bench: impl Bench) {
    let catalog = bench.catalog();
    let largest = Bytes::from(vec![b'x'; CONTENT_BYTES_MAX]);
    catalog.put(&key("a"), Expected::Absent, largest.clone()).await.unwrap();
    assert_eq!(catalog.get(&key("a")).await.unwrap().unwrap().content, largest);
    let beyond = Bytes::from(vec![b'x'; CONTENT_BYTES_MAX + 1]);
    let refused = catalog.put(&key("b"), Expected::Absent, beyond).await;
    assert!(matches!(refused, Err(CatalogError::TooLarge { .. })), "{refused:?}");
}

pub(crate) async fn keys_of_any_text_do_not_collide(bench: impl Bench) {
    let names = ["a", "a/", "a//", "{a}", "%7Ba%7D", "a}", "{", "*", "a:catalog", "A", "ä", " a"];
    for name in names {
        put(bench.catalog(), name, Expected::Absent, name).await;
    }
    for name in names {
        assert_eq!(get(bench.catalog(), name).await.unwrap().content, bytes(name), "{name}");
    }
    assert_eq!(list_all(bench.catalog(), "").await.unwrap().len(), names.len());
}

pub(crate) async fn a_closed_catalog_says_so(mut bench: impl Bench) {
    put(bench.catalog(), "a", Expected::Absent, "x").await;
    bench.close().await;
    assert!(matches!(bench.catalog().get(&key("a")).await, Err(CatalogError::Closed)));
    let put = bench.catalog().put(&key("a"), Expected::Anything, bytes("y")).await;
    assert!(matches!(put, Err(CatalogError::Closed)), "{put:?}");
    bench.reopen().await;
    assert_eq!(get(bench.catalog(), "a").await.unwrap().content, bytes("x"));
}
