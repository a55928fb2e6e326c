//! What keeping edits costs: CPU per append, memory and disk of the embedded store.
//!
//! `cargo run --release --example store_cost [COMMIT_INTERVAL_MS]`. Figures are for the whole path: encoding, group commit, the
//! engine with its background threads, fsync. Linux only, because it reads /proc.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::task::TaskTracker;
use ydash::store::embedded::EmbeddedStore;
use ydash::store::past::begin_at;
use ydash::store::writer::{Commit, Writer, WriterConfig, WriterHandle};
use ydash::store::{Append, LogEntry, LogPosition, Source, Store};
use ydash_proto::id::DashboardId;
use ydash_proto::life::Life;
use ydash_proto::time::Timestamp;

const ROOMS: usize = 200;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    // Beside the build, because /tmp is often in memory, where syncing costs nothing.
    let scratch = tempfile::tempdir_in(concat!(env!("CARGO_MANIFEST_DIR"), "/target"))?;
    let directory = scratch.path().join("store");
    let mut config = WriterConfig::default();
    if let Some(millis) = std::env::args().nth(1) {
        config.commit_interval = Duration::from_millis(millis.parse()?);
    }
    println!("before opening          RSS {:6.1} MiB", rss_mib()?);
    let store = Arc::new(EmbeddedStore::open(&directory)?);
    println!("opened                  RSS {:6.1} MiB", rss_mib()?);
    let tracker = TaskTracker::new();
    let commits = Arc::new(std::sync::Mutex::new(Vec::<Commit>::new()));
    let observe = {
        let commits = Arc::clone(&commits);
        move |commit: &Commit| commits.lock().expect("nobody panics here").push(*commit)
    };
    let writer = Writer::spawn(Arc::clone(&store) as Arc<dyn Store>, config, observe, &tracker);

    // 200 rooms, 10 appends a second each; the same tasks without appending are the baseline.
    let seconds = 10;
    let idle = paced(None, seconds).await?;
    // Threads of the store have done nothing yet, so what they show later is what the appends cost them.
    commits.lock().expect("nobody panics here").clear();
    let busy = paced(Some(&writer), seconds).await?;
    let appends = ROOMS * 10 * seconds as usize;
    println!(
        "2,000 appends/s          {:.2} µs CPU per append (baseline of the tasks {:.2})  RSS {:.1} MiB",
        (busy - idle) * 1e6 / appends as f64,
        idle * 1e6 / appends as f64,
        rss_mib()?
    );
    print_threads(appends)?;
    print_commits(&commits.lock().expect("nobody panics here"));

    // As fast as 200 rooms can with one append in flight each.
    let (cpu, started) = (cpu_seconds()?, Instant::now());
    let rounds = 250;
    flat_out(&writer, rounds).await?;
    let appends = ROOMS * rounds;
    println!(
        "{appends} appends flat out   {:.2} µs CPU per append, {:.0}/s, RSS {:.1} MiB, disk {:.1} MiB",
        (cpu_seconds()? - cpu) * 1e6 / appends as f64,
        appends as f64 / started.elapsed().as_secs_f64(),
        rss_mib()?,
        disk_mib(&directory)?
    );

    // 1,000 appends to each room, a snapshot and trim after each hundred: four times.
    for round in 1..=4 {
        let cpu = cpu_seconds()?;
        for _ in 0..10 {
            flat_out(&writer, 100).await?;
            for room in 0..ROOMS {
                let dashboard = dashboard(room);
                let covers = store.load(&dashboard).await?.position;
                let state = Bytes::from(vec![7; 20_000]);
                store.snapshot(&dashboard, covers, state.clone()).await?;
                begin_at(&*store, &dashboard, covers, state).await?;
            }
        }
        println!(
            "{} appends trimmed      {:.2} µs CPU per append, RSS {:.1} MiB, disk {:.1} MiB",
            round * 200_000,
            (cpu_seconds()? - cpu) * 1e6 / 200_000.0,
            rss_mib()?,
            disk_mib(&directory)?
        );
    }

    let (cpu, started) = (cpu_seconds()?, Instant::now());
    for n in 0..20_000 {
        store.load(&DashboardId::new("default", &format!("unknown-{n}"))?).await?;
    }
    println!(
        "loads of unknown        {:.1} µs CPU each, {:.0}/s",
        (cpu_seconds()? - cpu) * 1e6 / 20_000.0,
        20_000.0 / started.elapsed().as_secs_f64()
    );
    drop(writer);
    tracker.close();
    tracker.wait().await;
    store.close().await?;
    drop(store);
    let started = Instant::now();
    let store = EmbeddedStore::open(&directory)?;
    println!("reopened in {:?}, RSS {:.1} MiB, disk {:.1} MiB", started.elapsed(), rss_mib()?, disk_mib(&directory)?);
    let report = store.check().await?;
    println!("check: {} dashboards, {} entries, {} damaged", report.dashboards, report.entries, report.damaged_total);
    Ok(())
}

fn dashboard(room: usize) -> DashboardId {
    DashboardId::new("default", &format!("room-{room}")).expect("in the grammar")
}

fn append(dashboard: &DashboardId, n: usize) -> Append {
    let mut update = vec![0; 50];
    update[..8].copy_from_slice(&n.to_le_bytes());
    let entry = LogEntry {
        at: Timestamp(1_700_000_000_000 + n as u64),
        author: Some("alice".into()),
        session: 42,
        source: Source::Socket,
        update: update.into(),
    };
    Append { dashboard: dashboard.clone(), life: Life::FIRST, after: None, entries: vec![entry] }
}

/// Runs the rooms at ten appends a second each; returns the CPU seconds of the process.
async fn paced(writer: Option<&WriterHandle>, seconds: u64) -> anyhow::Result<f64> {
    let before = cpu_seconds()?;
    let rooms: Vec<_> = (0..ROOMS)
        .map(|room| {
            let writer = writer.cloned();
            tokio::spawn(async move {
                let dashboard = dashboard(room);
                // Spread over the interval, as rooms are.
                let start = tokio::time::Instant::now() + Duration::from_micros(room as u64 * 500);
                for n in 0..(seconds as usize * 10) {
                    tokio::time::sleep_until(start + Duration::from_millis(100) * n as u32).await;
                    let append = append(&dashboard, n);
                    if let Some(writer) = &writer {
                        writer.submit(append).await.expect("the store works");
                    }
                }
            })
        })
        .collect();
    for room in rooms {
        room.await?;
    }
    Ok(cpu_seconds()? - before)
}

async fn flat_out(writer: &WriterHandle, rounds: usize) -> anyhow::Result<()> {
    let rooms: Vec<_> = (0..ROOMS)
        .map(|room| {
            let writer = writer.clone();
            tokio::spawn(async move {
                let dashboard = dashboard(room);
                let mut last = LogPosition::START;
                for n in 0..rounds {
                    last = writer.submit(append(&dashboard, n)).await.expect("the store works").position;
                }
                last
            })
        })
        .collect();
    for room in rooms {
        room.await?;
    }
    Ok(())
}

fn print_commits(commits: &[Commit]) {
    let mut took: Vec<_> = commits.iter().map(|commit| commit.took).collect();
    took.sort_unstable();
    let appends: usize = commits.iter().map(|commit| commit.appends).sum();
    println!(
        "                         {} commits of {:.0} appends, each {:?} (p50) {:?} (p99)",
        commits.len(),
        appends as f64 / commits.len() as f64,
        took[took.len() / 2],
        took[took.len() * 99 / 100]
    );
}

/// CPU of the store's own threads since they were started.
fn print_threads(appends: usize) -> anyhow::Result<()> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        let name = std::fs::read_to_string(path.join("comm"))?;
        if !name.starts_with("tokio") {
            let schedstat = std::fs::read_to_string(path.join("schedstat"))?;
            let nanos: f64 = schedstat.split_whitespace().next().unwrap_or("0").parse()?;
            println!("                         {:16} {:.2} µs per append", name.trim(), nanos / 1e3 / appends as f64);
        }
    }
    Ok(())
}

fn cpu_seconds() -> anyhow::Result<f64> {
    // Nanoseconds of every thread, which /proc/self/stat has only in ticks.
    let mut nanos = 0u64;
    for task in std::fs::read_dir("/proc/self/task")? {
        let schedstat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanos += schedstat.split_whitespace().next().unwrap_or("0").parse::<u64>()?;
    }
    Ok(nanos as f64 / 1e9)
}

fn rss_mib() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    Ok(line.split_whitespace().nth(1).unwrap_or("0").parse::<f64>()? / 1024.0)
}

fn disk_mib(directory: &Path) -> anyhow::Result<f64> {
    use std::os::unix::fs::MetadataExt;
    let mut blocks = 0;
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for item in std::fs::read_dir(directory)? {
            // Compaction removes files while they are counted.
            let Ok(metadata) = item.as_ref().map_err(|_| ()).and_then(|item| item.metadata().map_err(|_| ())) else {
                continue;
            };
            if metadata.is_dir() {
                waiting.push(item?.path());
            } else {
                blocks += metadata.blocks();
            }
        }
    }
    Ok(blocks as f64 * 512.0 / f64::from(1 << 20))
}
