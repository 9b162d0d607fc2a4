//! What belongs to what: contracts, packs and facades, and the lines between them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;

use crate::bundle::{Facade, Pack, RouteTarget};
use crate::contract::{Contract, HandlerSpec};

/// What a line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RelationKind {
    /// The first takes back what the second did.
    Compensates,
    /// The first is part of the second, a pack.
    PartOf,
    /// The first is made of the second, a workflow.
    ComposedOf,
    /// The first, a facade, leads to the second.
    LeadsTo,
    /// The first needs the second, a server of tools, to be connected.
    Needs,
}

impl RelationKind {
    /// The words that drawings use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compensates => "compensates",
            Self::PartOf => "part of",
            Self::ComposedOf => "composed of",
            Self::LeadsTo => "leads to",
            Self::Needs => "needs",
        }
    }
}

/// One line. Both ends are `<kind>:<id>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Relation {
    /// From where.
    pub from: String,
    /// What it means.
    pub kind: RelationKind,
    /// To where.
    pub to: String,
}

/// Everything that is there, and the lines between.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Relations {
    /// What is there, `<kind>:<id>`; also what is only named by something else.
    pub nodes: BTreeSet<String>,
    /// The lines.
    pub relations: BTreeSet<Relation>,
}

impl Relations {
    /// Takes a contract in.
    pub fn add_contract(&mut self, contract: &Contract) {
        let node = format!("capability:{}", contract.id);
        self.nodes.insert(node.clone());
        if let Some(compensate) = &contract.undo.compensate {
            let other = format!("capability:{}", compensate.capability);
            self.add(other, RelationKind::Compensates, node.clone());
        }
        match &contract.handler {
            HandlerSpec::Workflow(workflow) => {
                self.add(node, RelationKind::ComposedOf, format!("workflow:{workflow}"));
            }
            HandlerSpec::Mcp(tool) => {
                self.add(node, RelationKind::Needs, format!("server:{}", tool.server));
            }
            HandlerSpec::Builtin(_)
            | HandlerSpec::Command(_)
            | HandlerSpec::Http(_)
            | HandlerSpec::McpServer(_) => {}
        }
    }

    /// Takes a pack in.
    pub fn add_pack(&mut self, pack: &Pack) {
        let node = format!("pack:{}", pack.id);
        self.nodes.insert(node.clone());
        for id in &pack.capabilities {
            self.add(format!("capability:{id}"), RelationKind::PartOf, node.clone());
        }
        for id in &pack.workflows {
            self.add(format!("workflow:{id}"), RelationKind::PartOf, node.clone());
        }
    }

    /// Takes a facade in.
    pub fn add_facade(&mut self, facade: &Facade) {
        let node = format!("facade:{}", facade.id);
        self.nodes.insert(node.clone());
        let routes = &facade.routes;
        for target in [Some(&routes.primary), routes.fallback.as_ref()].into_iter().flatten() {
            let target = match target {
                RouteTarget::Workflow(id) => format!("workflow:{id}"),
                RouteTarget::Pack(id) => format!("pack:{id}"),
            };
            self.add(node.clone(), RelationKind::LeadsTo, target);
        }
    }

    fn add(&mut self, from: String, kind: RelationKind, to: String) {
        self.nodes.extend([from.clone(), to.clone()]);
        self.relations.insert(Relation { from, kind, to });
    }

    /// As a Mermaid flowchart.
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        for (at, node) in self.nodes.iter().enumerate() {
            // Writing to a string does not fail. Names hold no quotes.
            _ = writeln!(text, "  n{at}[\"{node}\"]");
        }
        for line in &self.relations {
            let (from, to) = (self.place(&line.from), self.place(&line.to));
            _ = writeln!(text, "  n{from} -->|{}| n{to}", line.kind.as_str());
        }
        text
    }

    /// As a Graphviz digraph.
    #[must_use]
    pub fn to_dot(&self) -> String {
        let mut text = String::from("digraph capabilities {\n  rankdir=LR;\n  node [shape=box];\n");
        for node in &self.nodes {
            _ = writeln!(text, "  \"{node}\";");
        }
        for Relation { from, kind, to } in &self.relations {
            _ = writeln!(text, "  \"{from}\" -> \"{to}\" [label=\"{}\"];", kind.as_str());
        }
        text.push_str("}\n");
        text
    }

    fn place(&self, node: &str) -> usize {
        self.nodes.iter().position(|known| known == node).unwrap_or(0)
    }
}
