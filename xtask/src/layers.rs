//! The layers: a crate may depend on crates of a lower rank only.
//!
//! Cargo refuses cycles of normal dependencies by itself; this adds upward and sideways edges, and
//! asks every crate to say where it belongs. [`check`] is a pure function over the parsed
//! workspace.

use crate::model::{Edge, EdgeKind, Package, Workspace};
use crate::report::Finding;

const RULE: &str = "layers";

/// The one crate that any crate's tests may use, whatever its rank.
const TESTKIT: &str = "lictor-testkit";

/// Every refusal, by name.
pub(crate) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    check_ranks(workspace, &mut findings);
    for package in workspace.packages.iter().filter(|package| !package.is_outside()) {
        check_declaration(workspace, package, &mut findings);
        for edge in &package.edges {
            check_edge(workspace, package, edge, &mut findings);
        }
    }
    findings
}

/// The ranks from the bottom, with what each crate depends on.
pub(crate) fn table(workspace: &Workspace) -> String {
    let mut out = String::new();
    let width = workspace.packages.iter().map(|p| p.name.len()).max().unwrap_or(0);
    for (rank, layers) in workspace.ranks.iter().enumerate() {
        out.push_str(&format!("rank {rank}: {}\n", layers.join(", ")));
        for package in members(workspace, rank) {
            let layer = package.layer.as_deref().unwrap_or_default();
            let only = match &package.only {
                Some(only) => format!(", only {}", only.join("+")),
                None => String::new(),
            };
            out.push_str(&format!("  {:width$}  ({layer}{only})", package.name));
            describe_edges(package, &mut out);
        }
    }
    let (outside, lost): (Vec<_>, Vec<_>) = workspace
        .packages
        .iter()
        .filter(|package| rank(workspace, package).is_none())
        .partition(|package| package.is_outside());
    for (title, packages) in [("beside the layers", outside), ("without a rank", lost)] {
        if packages.is_empty() {
            continue;
        }
        out.push_str(&format!("{title}:\n"));
        for package in packages {
            out.push_str(&format!("  {:width$}", package.name));
            describe_edges(package, &mut out);
        }
    }
    out.trim_end().to_owned()
}

/// The same graph for a page that renders Mermaid; an arrow means *depends on*.
pub(crate) fn mermaid(workspace: &Workspace) -> String {
    let mut out = "graph TD\n".to_owned();
    for (rank, layers) in workspace.ranks.iter().enumerate().rev() {
        if members(workspace, rank).next().is_none() {
            continue;
        }
        out.push_str(&format!("  subgraph rank{rank}[\"rank {rank}: {}\"]\n", layers.join(", ")));
        for package in members(workspace, rank) {
            out.push_str(&format!("    {}[{}]\n", id(&package.name), package.name));
        }
        out.push_str("  end\n");
    }
    for package in workspace.packages.iter().filter(|package| !package.is_outside()) {
        for edge in package.edges.iter().filter(|edge| edge.kind != EdgeKind::Dev) {
            out.push_str(&format!("  {} --> {}\n", id(&package.name), id(&edge.to)));
        }
    }
    out.trim_end().to_owned()
}

fn check_ranks(workspace: &Workspace, findings: &mut Vec<Finding>) {
    let mut seen: Vec<&str> = Vec::new();
    for layer in workspace.ranks.iter().flatten() {
        if seen.contains(&layer.as_str()) {
            findings.push(Finding::new(
                "Cargo.toml",
                1,
                RULE,
                format!("layer `{layer}` stands in two ranks: keep it in one"),
            ));
        }
        seen.push(layer);
    }
}

fn check_declaration(workspace: &Workspace, package: &Package, findings: &mut Vec<Finding>) {
    let name = &package.name;
    let mut refuse = |advice: String| {
        findings.push(Finding::new(&package.manifest, 1, RULE, advice));
    };
    match &package.layer {
        None => refuse(format!(
            "`{name}` declares no layer: add `[package.metadata.lictor]` with `layer = \"…\"`, one of {}",
            layer_names(workspace)
        )),
        Some(layer) if workspace.rank_of(layer).is_none() => refuse(format!(
            "`{name}` declares layer `{layer}`, which does not exist: use one of {}, or add it to \
             `workspace.metadata.lictor.ranks`",
            layer_names(workspace)
        )),
        Some(_) => {}
    }
    for layer in package.only.iter().flatten() {
        if workspace.rank_of(layer).is_none() {
            refuse(format!(
                "`{name}` lists layer `{layer}` in `only`, which does not exist: use some of {}",
                layer_names(workspace)
            ));
        }
    }
}

fn check_edge(workspace: &Workspace, from: &Package, edge: &Edge, findings: &mut Vec<Finding>) {
    let for_tests = edge.kind == EdgeKind::Dev;
    if for_tests && edge.to == TESTKIT {
        return;
    }
    let Some(to) = workspace.package(&edge.to) else {
        return; // a path outside the workspace; cargo-deny's `sources` judges those
    };
    let mut refuse = |advice: String| {
        findings.push(Finding::new(&from.manifest, from.line_of(edge), RULE, advice));
    };
    if to.is_outside() {
        refuse(format!(
            "`{}` may not depend on `{}`, which stands beside the layers: move what it needs into \
             a crate",
            from.name, to.name
        ));
        return;
    }
    // A missing or unknown layer has been refused by `check_declaration`.
    let (Some(from_rank), Some(to_rank)) = (rank(workspace, from), rank(workspace, to)) else {
        return;
    };
    let (from_place, to_place) = (place(from, from_rank), place(to, to_rank));
    let clause = if for_tests {
        format!("; tests may also use `{TESTKIT}`, or move the test up to `{}`", to.name)
    } else {
        String::new()
    };
    if to_rank > from_rank {
        refuse(format!(
            "{from_place} may not depend on {to_place}, which is higher: put the trait it needs at \
             rank {from_rank} or lower and let `{}` implement it, or move the code up{clause}",
            to.name
        ));
    } else if to_rank == from_rank {
        refuse(format!(
            "{from_place} may not depend on {to_place}, its neighbour: move what both need below \
             rank {from_rank}, or give one of them a rank of its own{clause}"
        ));
    }
    if let Some(only) = &from.only
        && !for_tests
        && !to.layer.iter().any(|layer| only.contains(layer))
    {
        refuse(format!(
            "{from_place} may depend on {} only, and {to_place} is not of it: bring the data in \
             through a type or trait of {}, or drop `only` with a reason",
            only.join(", "),
            only.join(", ")
        ));
    }
}

/// `lictor-lock` (base, rank 0)
fn place(package: &Package, rank: usize) -> String {
    let layer = package.layer.as_deref().unwrap_or_default();
    format!("`{}` ({layer}, rank {rank})", package.name)
}

fn rank(workspace: &Workspace, package: &Package) -> Option<usize> {
    package.layer.as_deref().and_then(|layer| workspace.rank_of(layer))
}

fn members(workspace: &Workspace, wanted: usize) -> impl Iterator<Item = &Package> {
    workspace.packages.iter().filter(move |package| rank(workspace, package) == Some(wanted))
}

fn layer_names(workspace: &Workspace) -> String {
    let names: Vec<&str> = workspace.ranks.iter().flatten().map(String::as_str).collect();
    names.join(", ")
}

fn describe_edges(package: &Package, out: &mut String) {
    let list = |wanted: &dyn Fn(EdgeKind) -> bool| {
        let names: Vec<&str> = package
            .edges
            .iter()
            .filter(|edge| wanted(edge.kind))
            .map(|edge| edge.to.as_str())
            .collect();
        names.join(", ")
    };
    let uses = list(&|kind| kind != EdgeKind::Dev);
    let tests = list(&|kind| kind == EdgeKind::Dev);
    if !uses.is_empty() {
        out.push_str(&format!(" -> {uses}"));
    }
    if !tests.is_empty() {
        out.push_str(&format!(" (tests: {tests})"));
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
}

fn id(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests;
