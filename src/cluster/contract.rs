//! The contract of [`Bus`], as tests that every implementation passes: `contract::suite!(ItsBench)`.

use super::{Bus, Heard, Subscription};
use bytes::Bytes;
use core::time::Duration;
use std::sync::Arc;
use tokio::time::timeout;
use ydash_proto::id::DashboardId;

/// One bus that nobody is on.
pub(crate) trait Bench: Sized {
    /// Makes it.
    async fn new() -> Self;

    /// Brings another node onto it.
    async fn node(&self) -> Arc<dyn Bus>;
}

/// Makes a test of every clause of the contract.
macro_rules! suite {
    ($bench:ty) => {
        $crate::cluster::contract::suite!(@each $bench:
            nodes_differ,
            others_hear_what_is_published_once_and_in_its_order,
            nobody_hears_itself_or_another_dashboard,
            a_node_knows_whether_it_is_alone,
            an_ended_subscription_is_told_of_and_hears_nothing_more,
            publishing_alone_or_into_a_full_inbox_never_waits,
            a_dashboard_is_opened_again_under_the_same_node,
        );
    };
    (@each $bench:ty: $($clause:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $clause() {
                $crate::cluster::contract::$clause(<$bench as $crate::cluster::contract::Bench>::new().await).await;
            }
        )*
    };
}
pub(crate) use suite;

/// What is to be heard is heard within this.
const WITHIN: Duration = Duration::from_secs(5);
/// What is not to be heard is waited for this long.
const QUIET: Duration = Duration::from_millis(50);

fn id(name: &str) -> DashboardId {
    DashboardId::parse(name).unwrap()
}

fn envelope(text: &str) -> Heard {
    Heard::Envelope(Bytes::copy_from_slice(text.as_bytes()))
}

fn say(to: &Subscription, text: &str) {
    to.publish(Bytes::copy_from_slice(text.as_bytes()));
}

async fn hear(from: &Subscription, count: usize) -> Vec<Heard> {
    let mut heard = Vec::new();
    let hearing = async {
        while heard.len() < count {
            from.hear(&mut heard, count).await;
        }
    };
    timeout(WITHIN, hearing).await.expect("it is heard in time");
    heard
}

async fn is_quiet(at: &Subscription) -> bool {
    timeout(QUIET, at.hear(&mut Vec::new(), 1)).await.is_err()
}

async fn eventually(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(WITHIN, waiting).await.expect("the condition holds in time");
}

pub(crate) async fn nodes_differ(bench: impl Bench) {
    let (a, b) = (bench.node().await, bench.node().await);
    assert_ne!(a.node(), b.node());
}

pub(crate) async fn others_hear_what_is_published_once_and_in_its_order(bench: impl Bench) {
    let nodes = [bench.node().await, bench.node().await, bench.node().await];
    let dashboard = id("w/a");
    let (a, b, c) = (
        nodes[0].subscribe(&dashboard).await,
        nodes[1].subscribe(&dashboard).await,
        nodes[2].subscribe(&dashboard).await,
    );
    for n in 0..100 {
        say(&a, &n.to_string());
    }
    let expected: Vec<Heard> = (0..100).map(|n| envelope(&n.to_string())).collect();
    assert_eq!(hear(&b, 100).await, expected);
    assert_eq!(hear(&c, 100).await, expected);
    assert!(is_quiet(&b).await && is_quiet(&c).await);
}

pub(crate) async fn nobody_hears_itself_or_another_dashboard(bench: impl Bench) {
    let nodes = [bench.node().await, bench.node().await];
    let (a, b) = (nodes[0].subscribe(&id("w/a")).await, nodes[1].subscribe(&id("w/b")).await);
    say(&a, "to nobody");
    assert!(is_quiet(&a).await && is_quiet(&b).await);
}

pub(crate) async fn a_node_knows_whether_it_is_alone(bench: impl Bench) {
    let nodes = [bench.node().await, bench.node().await];
    let (a, elsewhere) = (nodes[0].subscribe(&id("w/a")).await, nodes[1].subscribe(&id("w/b")).await);
    let b = nodes[1].subscribe(&id("w/a")).await;
    assert!(b.has_others() && b.has_had_others());
    eventually(|| a.has_others() && a.has_had_others()).await;
    drop(b);
    eventually(|| a.has_had_others()).await;
    drop(elsewhere);
}

pub(crate) async fn an_ended_subscription_is_told_of_and_hears_nothing_more(bench: impl Bench) {
    let nodes = [bench.node().await, bench.node().await, bench.node().await];
    let dashboard = id("w/a");
    let (a, b) = (nodes[0].subscribe(&dashboard).await, nodes[1].subscribe(&dashboard).await);
    let c = nodes[2].subscribe(&dashboard).await;
    say(&b, "last words");
    drop(b);
    let expected = [envelope("last words"), Heard::Gone(nodes[1].node())];
    assert_eq!(hear(&a, 2).await, expected);
    assert_eq!(hear(&c, 2).await, expected);
    say(&a, "go on");
    assert_eq!(hear(&c, 1).await, [envelope("go on")]);
}

pub(crate) async fn publishing_alone_or_into_a_full_inbox_never_waits(bench: impl Bench) {
    let nodes = [bench.node().await, bench.node().await];
    let a = nodes[0].subscribe(&id("w/a")).await;
    say(&a, "to nobody");
    let b = nodes[1].subscribe(&id("w/a")).await;
    for n in 0..5_000 {
        say(&a, &n.to_string());
    }
    say(&a, "last");
    let mut heard = Vec::new();
    let hearing = async {
        while heard.last() != Some(&envelope("last")) {
            b.hear(&mut heard, 64).await;
        }
    };
    timeout(WITHIN, hearing).await.expect("the last one is heard");
    // What was said to nobody may be under way still when somebody comes.
    assert!(heard.contains(&Heard::Lost) || heard.len() >= 5_001, "a loss is told: {}", heard.len());
}

pub(crate) async fn a_dashboard_is_opened_again_under_the_same_node(bench: impl Bench) {
    let nodes = [bench.node().await, bench.node().await];
    let (a, b) = (nodes[0].subscribe(&id("w/a")).await, nodes[1].subscribe(&id("w/a")).await);
    drop(b);
    let b = nodes[1].subscribe(&id("w/a")).await;
    say(&b, "again");
    assert_eq!(hear(&a, 2).await, [Heard::Gone(nodes[1].node()), envelope("again")]);
    say(&a, "welcome");
    assert_eq!(hear(&b, 1).await, [envelope("welcome")]);
}
