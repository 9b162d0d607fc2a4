//! Many runs that wait to be driven: what submitting one, opening and taking them up costs.

use std::path::Path;
use std::time::{Duration, Instant};

use lictor::store::Durability;
use serde_json::{Value, json};

use crate::Failure;
use crate::place::{Places, flow, input};

/// How many of the last submissions are looked at.
const SAMPLE: usize = 200;

/// Fills a store step by step up to `most` pending runs, and measures at each step; in the end all
/// of them are taken up.
pub(crate) async fn pending(folder: &Path, most: u64) -> Result<Value, Failure> {
    let workflow = flow(false)?;
    let mut steps = Vec::new();
    let mut n_runs = 0;
    for share in [4, 2, 1] {
        let wanted = most / share;
        let mut took = Vec::new();
        {
            let places = Places::open(folder, Durability::Full)?;
            let place = places.place(0).await?;
            let engine = place.engine(None);
            while n_runs < wanted {
                let begun = Instant::now();
                engine.submit(&place.session, &workflow, input(n_runs, false)).await?;
                took.push(begun.elapsed());
                n_runs += 1;
            }
        }
        let begun = Instant::now();
        let places = Places::open(folder, Durability::Full)?;
        let place = places.place(0).await?;
        let opened = begun.elapsed();
        let begun = Instant::now();
        let now = place.runtime.clock().now();
        let n_found = place.runtime.run_store().orphans(now, usize::MAX).await?.len();
        let listed = begun.elapsed();
        let mut last: Vec<Duration> = took.iter().rev().take(SAMPLE).copied().collect();
        last.sort_unstable();
        let submit = last.get(last.len() / 2).copied().unwrap_or_default();
        steps.push(json!({
            "pending": n_found, "submit_p50_ms": ms(submit), "open_ms": ms(opened),
            "list_ms": ms(listed),
        }));
    }
    let places = Places::open(folder, Durability::Full)?;
    let place = places.place(0).await?;
    let begun = Instant::now();
    let recovered = place.engine(None).recover(20).await?;
    let took = begun.elapsed();
    let right = recovered.len() as u64 == most && recovered.iter().all(|(_, it)| it.is_ok());
    Ok(json!({
        "steps": steps, "recovered": recovered.len(), "right": right,
        "recover_seconds": took.as_secs_f64(),
        "recover_ms_each": ms(took) / most.max(1) as f64,
    }))
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
