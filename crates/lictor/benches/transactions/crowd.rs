//! Many at once: whoever waits on the same disk shares its barriers.

use std::path::Path;
use std::time::Instant;

use lictor::Agent;
use serde_json::json;

use crate::ours::{agent_of, open, two_threads};
use crate::tally::tell;

const WRITES: usize = 60;

/// Sixteen callers, each in a workspace of its own, against one.
pub(crate) fn sixteen(folder: &Path) {
    let tokio = two_threads();
    let mut ratios = Vec::new();
    let (mut one, mut many) = (0.0, 0.0);
    let (mut ones, mut manies) = (Vec::new(), Vec::new());
    for turn in 0..5 {
        one = tokio.block_on(at_once(&folder.join(format!("one{turn}")), 1));
        many = tokio.block_on(at_once(&folder.join(format!("many{turn}")), 16));
        ratios.push(many / one);
        ones.push(one);
        manies.push(many);
    }
    tell_median("crowd/1", &mut ones);
    tell_median("crowd/16", &mut manies);
    ratios.sort_by(f64::total_cmp);
    println!(
        "writes a second: one caller {one:.0}, 16 callers in 16 workspaces {many:.0}; median ratio of 5 turns {:.1}",
        ratios.get(ratios.len() / 2).unwrap()
    );
}

fn tell_median(name: &str, rates: &mut [f64]) {
    rates.sort_by(f64::total_cmp);
    let range = (*rates.first().unwrap(), *rates.last().unwrap());
    tell(name, *rates.get(rates.len() / 2).unwrap(), range, "/s");
}

/// Writes a second.
async fn at_once(folder: &Path, callers: usize) -> f64 {
    let mut agents = Vec::new();
    for caller in 0..callers {
        agents.push(agent_of(&open(&folder.join(format!("w{caller}"))).await));
    }
    for agent in &agents {
        write(agent, "first").await;
    }
    let began = Instant::now();
    let tasks: Vec<_> = agents
        .into_iter()
        .map(|agent| {
            tokio::spawn(async move {
                for n in 0..WRITES {
                    write(&agent, &format!("f{n}")).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    (callers * WRITES) as f64 / began.elapsed().as_secs_f64()
}

async fn write(agent: &Agent, path: &str) {
    let input = json!({ "path": path, "content": "text\n" });
    let _done = agent.call("fs.write", input).await.expect("written");
}
