//! Load: how many workflows a second, and how long each takes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use lictor::store::Durability;
use lictor::workflow::RunStatus;
use serde_json::json;
use tokio::sync::Barrier;

use crate::floor::Floor;
use crate::pending::pending;
use crate::place::{Places, expected, flow, input};
use crate::{Failure, say, system};

#[derive(Debug, Args)]
pub(crate) struct Load {
    /// How many workflows.
    #[arg(long, default_value_t = 2000)]
    total: u64,
    /// How many at a time, each in a workspace of its own.
    #[arg(long, default_value_t = 20)]
    concurrency: usize,
    /// Where the workspaces are made; a scratch folder unless given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// What an acknowledged commit survives.
    #[arg(long, value_enum, default_value = "full")]
    durability: Class,
    /// Instead: how much that many runs cost that wait to be driven.
    #[arg(long)]
    pending: Option<u64>,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Class {
    /// A power cut.
    Full,
    /// The end of the process.
    Normal,
}

pub(crate) async fn load(wish: Load) -> Result<bool, Failure> {
    let scratch = tempfile::tempdir()?;
    let folder = wish.dir.clone().unwrap_or_else(|| scratch.path().to_owned());
    if let Some(most) = wish.pending {
        let report = pending(&folder, most).await?;
        say(&report, wish.json);
        return Ok(report.get("right") == Some(&json!(true)));
    }
    let durability = match wish.durability {
        Class::Full => Durability::Full,
        Class::Normal => Durability::Normal,
    };
    let places = Arc::new(Places::open(&folder, durability)?);
    let workflow = Arc::new(flow(false)?);
    let ready = Arc::new(Barrier::new(wish.concurrency + 1));
    let next = Arc::new(AtomicU64::new(0));
    let mut workers = Vec::new();
    for n in 0..wish.concurrency {
        let place = places.place(n).await?;
        let (workflow, ready, next) =
            (Arc::clone(&workflow), Arc::clone(&ready), Arc::clone(&next));
        workers.push(tokio::spawn(async move {
            let engine = place.engine(None);
            // The first one pays for what is set up once.
            let warm = engine.run(&place.session, &workflow, input(u64::MAX, false)).await;
            ready.wait().await;
            ready.wait().await;
            warm?;
            let mut took = Vec::new();
            let mut right = true;
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= wish.total {
                    return Ok::<_, Failure>((took, right));
                }
                let begun = Instant::now();
                let run = engine.run(&place.session, &workflow, input(n, false)).await?;
                took.push(begun.elapsed());
                let whole = place.file(&run).as_deref() == expected(&run);
                right &= run.status() == RunStatus::Completed && whole;
            }
        }));
    }
    ready.wait().await;
    let (taken_before, stats_before) = (system::taken(), places.shared().store().stats());
    let barriers_before = lictor::undo_records::n_barriers();
    let begun = Instant::now();
    ready.wait().await;
    let (mut took, mut right) = (Vec::new(), true);
    for worker in workers {
        let (more, fine) = worker.await??;
        took.extend(more);
        right &= fine;
    }
    let all = begun.elapsed();
    let stats = places.shared().store().stats();
    let barriers = lictor::undo_records::n_barriers() - barriers_before;
    took.sort_unstable();
    let at = |share: f64| {
        let n = (took.len() as f64 * share).ceil() as usize;
        took.get(n.saturating_sub(1)).copied().unwrap_or_default()
    };
    let each = |n: u64| n as f64 / wish.total.max(1) as f64;
    let commits = stats.commits - stats_before.commits;
    let floor = Floor::measure(&folder)?;
    let report = json!({
        "total": wish.total, "concurrency": wish.concurrency, "right": right,
        "durability": format!("{:?}", wish.durability).to_lowercase(),
        "seconds": all.as_secs_f64(),
        "per_second": wish.total as f64 / all.as_secs_f64(),
        "p50_ms": ms(at(0.50)), "p95_ms": ms(at(0.95)), "p99_ms": ms(at(0.99)),
        "max_ms": ms(at(1.0)),
        "commits_per_workflow": each(commits),
        "jobs_per_commit": (stats.jobs - stats_before.jobs) as f64 / commits.max(1) as f64,
        "barriers_per_workflow": each(barriers),
        "fsyncs_per_workflow": each(commits + barriers),
        "fsync_awake_ms": ms(floor.awake), "fsync_idle_ms": ms(floor.idle),
        "before": taken_before, "after": system::taken(), "commit": system::commit(),
    });
    say(&report, wish.json);
    Ok(right)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
