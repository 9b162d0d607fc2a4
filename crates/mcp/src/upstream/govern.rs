//! What is proposed of a server, and what becomes of what has changed there.

use std::sync::{Arc, PoisonError};

use lictor::capability::import::{Import, Imported, from_mcp, from_mcp_server};
use lictor::capability::{
    CapabilityId, Contract, HandlerSpec, McpPart, McpServer, McpTool, Risk, UndoStrategy,
};
use lictor::context::{BoxFuture, Digest, Session};
use lictor::document::Source;
use lictor::governance::{CatalogueEntry, CatalogueKind, LifeState};
use lictor::{CatalogueFailure, Proposed, Runtime};
use serde_json::{Value, json};

use super::files::works_on_files;
use super::listing::Listing;
use super::{Upstreams, diff};

/// A tool that is another one each time it is looked at is proposed anew so often, and then only held
/// back.
const MAX_TIMES: u32 = 8;
/// The longest reason that a proposal is given, in bytes.
const MAX_WHY: usize = 4000;

/// Where what a server has stands: its tools, its prompts, its resources, and what it says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Governed {
    /// Those that the catalogue knows.
    pub tools: Vec<Standing>,
    /// Those that it cannot hold, and why.
    pub left_out: Vec<LeftOut>,
}

/// One tool, or the start of one server.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// What it is.
    pub part: McpPart,
    /// Its name there; of a resource its URI.
    pub name: String,
    /// The capability.
    pub id: CapabilityId,
    /// Where its contract is in its life.
    pub state: LifeState,
    /// The contract's digest: what somebody who lets it in has looked at.
    pub digest: Digest,
    /// Its version.
    pub version: String,
    /// The risk that the contract says.
    pub risk: Risk,
    /// What was found.
    pub kind: StandingKind,
    /// What a person should know of the proposal.
    pub notes: Vec<String>,
}

/// What was found when a server was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StandingKind {
    /// It is as the contract says.
    Same,
    /// Nobody had proposed it.
    New,
    /// It was another one, and is a proposal now; line by line what changed.
    Changed(Vec<String>),
}

/// A tool that cannot be held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// What it is.
    pub part: McpPart,
    /// Its name.
    pub name: String,
    /// Why.
    pub why: String,
}

impl Upstreams {
    /// Proposes to start a server so, unless that was done; a start that was proposed otherwise is
    /// superseded, and has to be let in again.
    ///
    /// # Errors
    /// When it cannot be proposed.
    pub fn propose_server<'a>(
        &'a self,
        runtime: &'a Runtime,
        session: &'a Session,
        spec: &'a McpServer,
    ) -> BoxFuture<'a, Result<Standing, CatalogueFailure>> {
        Box::pin(async move {
            let import = from_mcp_server(spec).map_err(|error| unusable(&error.to_string()))?;
            let imported = only(import).map_err(|why| unusable(&why))?;
            let same = |contract: &Contract| match &contract.handler {
                HandlerSpec::McpServer(known) => **known == *spec,
                _ => false,
            };
            let before = |contract: &Contract| match &contract.handler {
                HandlerSpec::McpServer(known) => json!(known),
                _ => Value::Null,
            };
            let part = McpPart::About;
            let wish = Wish { runtime, session, part, name: &spec.server, imported: &imported };
            self.put(&wish, same, before, &json!(spec)).await
        })
    }

    /// Proposes what a server lists and nobody had proposed, and what it says otherwise now than when it
    /// was proposed. What is as it was stays what it is, whatever became of the others.
    ///
    /// # Errors
    /// When it cannot be proposed.
    pub fn propose_tools<'a>(
        &'a self,
        runtime: &'a Runtime,
        session: &'a Session,
        spec: &'a McpServer,
        listing: &'a Listing,
    ) -> BoxFuture<'a, Result<Governed, CatalogueFailure>> {
        Box::pin(async move {
            let mut governed = Governed::default();
            for part in McpPart::ALL {
                let wish = (runtime, session, spec);
                self.propose_part(wish, part, listing, &mut governed).await?;
            }
            Ok(governed)
        })
    }

    async fn propose_part(
        &self,
        (runtime, session, spec): (&Runtime, &Session, &McpServer),
        part: McpPart,
        listing: &Listing,
        governed: &mut Governed,
    ) -> Result<(), CatalogueFailure> {
        let Import { contracts, left_out } = from_mcp(spec, part, listing.of(part));
        let left_out =
            left_out.into_iter().map(|one| LeftOut { part, name: one.origin, why: one.why });
        governed.left_out.extend(left_out);
        for imported in &contracts {
            let name = imported.origin.as_str();
            let now = listing.one(part, name).cloned().unwrap_or_default();
            let same = |contract: &Contract| match &contract.handler {
                HandlerSpec::Mcp(McpTool { pin: Some(pin), .. }) => {
                    let files = match part {
                        McpPart::Tool => works_on_files(contract),
                        _ => !contract.effects.fs.read.is_empty(),
                    };
                    *pin.definition.as_value() == now && files == spec.workspace
                }
                _ => false,
            };
            let before = |contract: &Contract| match &contract.handler {
                HandlerSpec::Mcp(McpTool { pin: Some(pin), .. }) => {
                    pin.definition.as_value().clone()
                }
                _ => Value::Null,
            };
            let wish = Wish { runtime, session, part, name, imported };
            match self.put(&wish, same, before, &now).await {
                Ok(standing) => governed.tools.push(standing),
                // About this one only: it stays uncalled, since its pin does not hold.
                Err(CatalogueFailure::Unreadable(error)) => {
                    let why = error.to_string().lines().next().unwrap_or_default().to_owned();
                    governed.left_out.push(LeftOut { part, name: name.to_owned(), why });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn put(
        &self,
        wish: &Wish<'_>,
        same: impl Fn(&Contract) -> bool,
        before: impl Fn(&Contract) -> Value,
        now: &Value,
    ) -> Result<Standing, CatalogueFailure> {
        wish.runtime.refresh_catalogue();
        let id = wish.imported.id();
        let known = wish.runtime.catalogue().versions(CatalogueKind::Capability, id);
        let known = known.into_iter().next();
        let contract = known.as_ref().and_then(|entry| entry.document.contract().cloned());
        let (Some(entry), Some(contract)) = (known, contract) else {
            let why = format!("listed by the MCP server: {}", wish.name);
            let made = wish.propose(&wish.imported.to_text(), &why).await?;
            return wish.standing(&made.entry, StandingKind::New);
        };
        if same(&contract) {
            if entry.is_proposed_by_somebody() {
                return wish.standing(&entry, StandingKind::Same);
            }
            // The file came from somewhere else, a clone for example.
            let text = text_of(&contract.to_json());
            let made = wish.supersede(&text, "found in the catalogue's folder").await?;
            return wish.standing(&made.entry, StandingKind::New);
        }
        let mut lines = diff::lines(&before(&contract), now);
        if lines.is_empty() {
            lines.push("whether its server works on the files of the workspace".to_owned());
        }
        if !self.once_more(id) {
            tracing::warn!(
                "`{id}` is another one each time; it is held back and not proposed again"
            );
            return wish.standing(&entry, StandingKind::Changed(lines));
        }
        let text = text_of(&merged(&contract, &wish.imported.contract));
        let made = wish.supersede(&text, &shortened(&lines)).await?;
        wish.standing(&made.entry, StandingKind::Changed(lines))
    }

    fn once_more(&self, id: &str) -> bool {
        let mut times = self.inner.superseded.lock().unwrap_or_else(PoisonError::into_inner);
        let times = times.entry(id.to_owned()).or_default();
        *times += 1;
        *times <= MAX_TIMES
    }
}

/// Something to be proposed.
struct Wish<'a> {
    runtime: &'a Runtime,
    session: &'a Session,
    part: McpPart,
    name: &'a str,
    imported: &'a Imported,
}

impl Wish<'_> {
    async fn propose(&self, text: &str, why: &str) -> Result<Proposed, CatalogueFailure> {
        let source = Source::new(self.imported.id(), text.as_bytes());
        self.runtime.propose(self.session, CatalogueKind::Capability, &source, why).await
    }

    async fn supersede(&self, text: &str, why: &str) -> Result<Proposed, CatalogueFailure> {
        let source = Source::new(self.imported.id(), text.as_bytes());
        self.runtime.supersede(self.session, &source, why).await
    }

    fn standing(
        &self,
        entry: &CatalogueEntry,
        kind: StandingKind,
    ) -> Result<Standing, CatalogueFailure> {
        let contract: Option<&Arc<Contract>> = entry.document.contract();
        let contract = contract.ok_or_else(|| unusable("no contract"))?;
        Ok(Standing {
            part: self.part,
            name: self.name.to_owned(),
            id: contract.id.clone(),
            state: entry.state,
            digest: contract.digest(),
            version: contract.version.to_string(),
            risk: contract.risk,
            kind,
            notes: self.imported.lost.clone(),
        })
    }
}

/// The contract of what is found now, with what people had made of the one before: nothing that they
/// tightened is loosened by a change elsewhere.
fn merged(before: &Contract, now: &Value) -> Value {
    let mut contract = before.to_json();
    let Some(fields) = contract.as_object_mut() else { return now.clone() };
    let mut take = |key: &str| {
        if let Some(value) = now.get(key) {
            fields.insert(key.to_owned(), value.clone());
        }
    };
    for key in ["title", "description", "input", "output", "handler", "source", "kind"] {
        take(key);
    }
    let proposed = now.get("risk").and_then(Value::as_str).and_then(|risk| risk.parse().ok());
    if proposed.is_some_and(|risk: Risk| risk > before.risk) {
        take("risk");
    }
    let says = |which: &str| {
        let files = now.pointer(which).and_then(Value::as_array);
        files.is_some_and(|files| !files.is_empty())
    };
    let fs = &before.effects.fs;
    // Another program, or another host, is what a start is about.
    let start = matches!(before.handler, HandlerSpec::McpServer(_));
    if start
        || fs.write.is_empty() == says("/effects/fs/write")
        || (fs.write.is_empty() && fs.read.is_empty() == says("/effects/fs/read"))
    {
        take("effects");
    }
    if before.undo.strategy != UndoStrategy::Compensate {
        take("undo");
    }
    contract
}

fn only(import: Import) -> Result<Imported, String> {
    let Import { mut contracts, left_out } = import;
    let why = left_out.into_iter().next().map(|one| one.why);
    contracts.pop().ok_or_else(|| why.unwrap_or_else(|| "it gives no contract".to_owned()))
}

fn unusable(why: &str) -> CatalogueFailure {
    CatalogueFailure::Unavailable(why.to_owned())
}

/// JSON, which is YAML as well.
fn text_of(contract: &Value) -> String {
    let mut text = serde_json::to_string_pretty(contract).unwrap_or_default();
    text.push('\n');
    text
}

fn shortened(lines: &[String]) -> String {
    let mut why = String::from("the definition changed:");
    for line in lines {
        if why.len() + line.len() > MAX_WHY {
            why.push_str("\n…");
            break;
        }
        why.push('\n');
        why.push_str(line);
    }
    why
}
