//! Governance alone, in a web service of your own: `POST /judge` takes a unified diff and answers
//! whether your policy lets it through, and why. Nothing is written; who applies the diff, and
//! whether anybody does, is the business of whoever asked.
//!
//! Run it with `cargo run -p lictor-example-embed-gate -- FOLDER`, then
//! `curl --data-binary @fix.patch http://127.0.0.1:PORT/judge`.

use std::error::Error;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use lictor_capability::{
    Action, CapabilityGraph, CapabilityId, Contract, Effects, UnifiedDiff, WorkspaceView,
};
use lictor_context::{Clock, Name, Principal, Session, SystemClock};
use lictor_document::{Limits, Source};
use lictor_governance::{PolicySet, WriteGate};
use lictor_workspace::Workspace;
use serde_json::{Value, json};

const MAX_BODY: usize = 1 << 20;

struct Judge {
    gate: WriteGate,
    contract: Arc<Contract>,
    workspace: Workspace,
    clock: Arc<dyn Clock>,
}

impl Judge {
    fn new(folder: &str) -> Result<Self, Box<dyn Error>> {
        let policy = Source::new("policy.yaml", include_bytes!("policy.yaml"));
        let contract = Source::new("change.yaml", include_bytes!("change.yaml"));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Ok(Self {
            gate: WriteGate::new(Arc::new(PolicySet::workspace(&policy)?), Arc::clone(&clock)),
            contract: Arc::new(Contract::from_yaml(&contract)?),
            workspace: Workspace::open(folder)?,
            clock,
        })
    }

    /// What the policy says to a diff, for whoever asks: judged are the files as they would be.
    fn judge(&self, user: &str, diff: &[u8]) -> Result<Value, Box<dyn Error>> {
        let diff = UnifiedDiff::parse(&Source::new("body", diff), &Limits::default())?;
        let view: &dyn WorkspaceView = &self.workspace;
        let effects = Effects::changing(&diff.into_changes(view)?, view)?;
        let principal = Principal {
            org: Name::parse("acme")?,
            user: Name::parse(user)?,
            agent: Name::parse("service")?,
        };
        let session = Session::new(principal, self.clock.as_ref());
        let graph = CapabilityGraph::build(&session, [&self.contract]);
        let capability = CapabilityId::parse("change.apply")?;
        let action = Action::new(&session, capability, json!({}), self.clock.as_ref());
        let decision = self.gate.decide(&graph.admit(action)?.describe(effects)?);
        Ok(json!({
            "verdict": decision.verdict(),
            "risk": decision.record().risk_effective,
            "reasons": decision.record().reasons,
        }))
    }
}

async fn judge(State(judge): State<Arc<Judge>>, body: Bytes) -> (StatusCode, Json<Value>) {
    // Judging reads files, and so it does not belong on the threads that serve.
    let judged = tokio::task::spawn_blocking(move || {
        judge.judge("ann", &body).map_err(|error| error.to_string())
    });
    match judged.await {
        Ok(Ok(decision)) => (StatusCode::OK, Json(decision)),
        Ok(Err(problem)) => (StatusCode::BAD_REQUEST, Json(json!({ "error": problem }))),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "verdict": "deny" }))),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("which folder? `embed-gate FOLDER`")?;
    let service = Router::new()
        .route("/judge", post(judge))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Arc::new(Judge::new(&folder)?));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    anstream::println!("http://{}/judge", listener.local_addr()?);
    axum::serve(listener, service).await?;
    Ok(())
}
