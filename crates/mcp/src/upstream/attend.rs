//! Staying with servers: they are started, looked at again when they change, and started again when
//! they end, each by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lictor::Agent;
use lictor::capability::McpServer;
use lictor::context::BoxFuture;
use serde_json::json;
use tokio::task::JoinSet;

use super::govern::{Governed, StandingKind};
use super::{Listing, Upstreams};

/// How often it is looked whether a server was let in meanwhile.
const LOOK: Duration = Duration::from_secs(1);
/// The first pause after something refused to have a server started.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After so long at the earliest a server is asked again what it has.
const SOONEST: Duration = Duration::from_secs(20);
/// A list that is younger was asked for meanwhile, by a call.
const YOUNG: Duration = Duration::from_secs(5);

/// How long until a server is asked again: before calls would have to, and not all servers of a machine
/// at one moment.
fn until_asked() -> Duration {
    let mut random = [0_u8; 2];
    // Where there is none they are asked at one moment.
    if getrandom::fill(&mut random).is_err() {
        return SOONEST;
    }
    let most = super::handler::MAX_AGE.saturating_sub(SOONEST);
    SOONEST + most.mul_f64(f64::from(u16::from_le_bytes(random)) / 65_536.0)
}

impl Upstreams {
    /// Stays with servers until the future is dropped. That one of them is not let in, does not begin
    /// or ends is said in the log, and is nothing to the others.
    pub fn attend<'a>(&'a self, agent: &'a Agent, servers: &'a [McpServer]) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let mut all = JoinSet::new();
            for spec in servers {
                let (upstreams, agent, spec) = (self.clone(), agent.clone(), spec.clone());
                all.spawn(async move {
                    One { upstreams, agent, spec, said: String::new() }.stay().await
                });
            }
            while all.join_next().await.is_some() {}
            std::future::pending().await
        })
    }
}

/// One server that somebody stays with.
struct One {
    upstreams: Upstreams,
    agent: Agent,
    spec: McpServer,
    /// What was said last: the same is not said again.
    said: String,
}

impl One {
    async fn stay(mut self) {
        // As they speak it is spoken to, and told what they can be asked.
        self.upstreams.faced().await;
        let mut news = self.upstreams.news();
        let mut pause = FIRST_PAUSE;
        let mut looked_at: Option<Arc<Listing>> = None;
        loop {
            news.borrow_and_update();
            if let Some((why, pause)) = self.upstreams.down(&self.spec.server) {
                self.say(format!("{why}; it is started again"));
                tokio::time::sleep(pause).await;
            }
            if self.upstreams.listing(&self.spec.server).is_none() {
                match self.start().await {
                    Begun::Runs => pause = FIRST_PAUSE,
                    Begun::NotLetIn => {
                        tokio::time::sleep(LOOK).await;
                        continue;
                    }
                    Begun::Refused => {
                        tokio::time::sleep(pause).await;
                        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                        continue;
                    }
                }
            }
            match self.upstreams.listed_within(&self.spec.server, YOUNG).await {
                Ok(listing) => {
                    let known = looked_at.as_ref().is_some_and(|known| known.is_like(&listing));
                    if !known {
                        self.look_at(&listing).await;
                        looked_at = Some(listing);
                        self.upstreams.inner.news.send_modify(|count| *count += 1);
                        news.borrow_and_update();
                    }
                }
                Err(why) => self.say(format!("what it has is not known: {why}")),
            }
            tokio::select! {
                // It never closes while we hold it.
                _ = news.changed() => {}
                () = tokio::time::sleep(until_asked()) => {}
            }
        }
    }

    async fn start(&mut self) -> Begun {
        let agent = self.agent.refreshed();
        let Ok(id) = McpServer::id_of(&self.spec.server) else { return Begun::NotLetIn };
        if agent.graph().get(&id, None).is_none() {
            let name = &self.spec.server;
            self.say(format!(
                "nobody let it in yet: `lictor mcp wrap {name} --approve-baseline -- …` does, or `lictor capability approve {id}`"
            ));
            return Begun::NotLetIn;
        }
        match agent.call(id.as_str(), json!({})).await {
            Ok(_) => {
                self.said.clear();
                Begun::Runs
            }
            Err(error) => {
                self.say(error.to_string());
                Begun::Refused
            }
        }
    }

    async fn look_at(&mut self, listing: &Listing) {
        let (runtime, session) = (self.agent.runtime().clone(), self.agent.session().clone());
        match self.upstreams.propose_tools(&runtime, &session, &self.spec, listing).await {
            Ok(governed) => self.tell(&governed),
            Err(error) => self.say(format!("what it has cannot be proposed: {error}")),
        }
    }

    fn tell(&mut self, governed: &Governed) {
        let server = &self.spec.server;
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for tool in &governed.tools {
            *counts.entry(tool.state.as_str()).or_default() += 1;
            if let StandingKind::Changed(lines) = &tool.kind {
                tracing::warn!(
                    "`{server}` says something else of its {} `{}` than was let in; it is a proposal again:\n{}",
                    tool.part.as_str(),
                    tool.name,
                    lines.join("\n")
                );
            }
        }
        for one in &governed.left_out {
            tracing::warn!(
                "the {} `{}` of `{server}` is left out: {}",
                one.part.as_str(),
                one.name.escape_debug(),
                one.why
            );
        }
        let counts: Vec<String> = counts.iter().map(|(state, n)| format!("{n} {state}")).collect();
        tracing::info!("the MCP server `{server}` runs; what it has: {}", counts.join(", "));
    }

    fn say(&mut self, what: String) {
        if self.said != what {
            tracing::warn!("the MCP server `{}`: {what}", self.spec.server);
            self.said = what;
        }
    }
}

enum Begun {
    Runs,
    NotLetIn,
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_asked_again_before_their_lists_are_old_and_not_all_at_one_moment() {
        let waits: std::collections::BTreeSet<Duration> = (0..200).map(|_| until_asked()).collect();
        assert!(waits.iter().all(|wait| (SOONEST..super::super::handler::MAX_AGE).contains(wait)));
        // 200 draws of 65,536: one alone cannot come by chance.
        assert!(waits.len() > 1);
    }
}
