//! What the layer check refuses, and that the real workspace passes it.

use super::{check, mermaid, table};
use crate::model::{Edge, EdgeKind, Package, Workspace};
use crate::process;

fn package(name: &str, layer: Option<&str>) -> Package {
    Package {
        name: name.to_owned(),
        manifest: format!("crates/{name}/Cargo.toml"),
        layer: layer.map(str::to_owned),
        ..Package::default()
    }
}

/// base: `low`, `beside`; capability: `mid`; audit (only base): `top`; outside: `xtask`.
fn workspace() -> Workspace {
    let ranks = [&["base"][..], &["capability", "workspace"], &["audit"]];
    let mut outside = package("xtask", None);
    outside.manifest = "xtask/Cargo.toml".to_owned();
    let mut top = package("top", Some("audit"));
    top.only = Some(vec!["base".to_owned()]);
    Workspace {
        ranks: ranks.iter().map(|rank| rank.iter().map(|&l| l.to_owned()).collect()).collect(),
        packages: vec![
            package("low", Some("base")),
            package("beside", Some("base")),
            package("mid", Some("capability")),
            top,
            outside,
        ],
        ..Workspace::default()
    }
}

fn with(edges: &[(&str, &str, EdgeKind)]) -> Workspace {
    let mut workspace = workspace();
    for (from, to, kind) in edges {
        let package = workspace.packages.iter_mut().find(|p| p.name == *from).expect("a package");
        package.edges.push(Edge { to: (*to).to_owned(), kind: *kind });
    }
    workspace
}

/// One refusal, which says all of these.
#[track_caller]
fn refused(workspace: &Workspace, says: &[&str]) {
    let findings = check(workspace);
    assert_eq!(findings.len(), 1, "{findings:?}");
    let text = findings[0].to_string();
    for part in says {
        assert!(text.contains(part), "`{part}` is not in `{text}`");
    }
}

#[track_caller]
fn accepted(workspace: &Workspace) {
    let findings = check(workspace);
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn downward_edges_pass() {
    accepted(&with(&[
        ("mid", "low", EdgeKind::Normal),
        ("mid", "beside", EdgeKind::Build),
        ("top", "low", EdgeKind::Normal),
        ("xtask", "top", EdgeKind::Normal),
    ]));
}

#[test]
fn an_upward_edge_is_refused() {
    for kind in [EdgeKind::Normal, EdgeKind::Build, EdgeKind::Dev] {
        refused(
            &with(&[("low", "mid", kind)]),
            &[
                "crates/low/Cargo.toml:1: layers:",
                "`low` (base, rank 0)",
                "`mid` (capability, rank 1)",
                "higher",
            ],
        );
    }
}

#[test]
fn a_sideways_edge_is_refused() {
    for kind in [EdgeKind::Normal, EdgeKind::Dev] {
        refused(
            &with(&[("low", "beside", kind)]),
            &["`low` (base, rank 0)", "`beside` (base, rank 0)", "neighbour"],
        );
    }
}

#[test]
fn two_layers_of_one_rank_are_neighbours() {
    let mut workspace = with(&[("mid", "files", EdgeKind::Normal)]);
    workspace.packages.push(package("files", Some("workspace")));
    refused(&workspace, &["`mid` (capability, rank 1)", "`files` (workspace, rank 1)"]);
}

#[test]
fn an_undeclared_crate_is_refused_once() {
    let mut workspace = with(&[("mid", "stray", EdgeKind::Normal)]);
    workspace.packages.push(package("stray", None));
    refused(&workspace, &["`stray` declares no layer", "base, capability, workspace, audit"]);
}

#[test]
fn an_unknown_layer_is_refused() {
    let mut workspace = workspace();
    workspace.packages.push(package("stray", Some("basement")));
    refused(&workspace, &["`stray` declares layer `basement`", "does not exist"]);
}

#[test]
fn an_unknown_layer_in_only_is_refused() {
    let mut workspace = workspace();
    let mut stray = package("stray", Some("audit"));
    stray.only = Some(vec!["basement".to_owned()]);
    workspace.packages.push(stray);
    refused(&workspace, &["`stray` lists layer `basement` in `only`"]);
}

#[test]
fn only_is_kept() {
    refused(
        &with(&[("top", "mid", EdgeKind::Normal)]),
        &["`top` (audit, rank 2)", "base only", "`mid` (capability, rank 1)"],
    );
    // `only` is a promise to users; tests may look further, downwards.
    accepted(&with(&[("top", "mid", EdgeKind::Dev)]));
}

#[test]
fn tests_may_use_the_testkit_and_nothing_else_may() {
    let mut workspace = with(&[("low", "lictor-testkit", EdgeKind::Dev)]);
    workspace.packages.push(package("lictor-testkit", Some("audit")));
    accepted(&workspace);
    let mut workspace = with(&[("low", "lictor-testkit", EdgeKind::Normal)]);
    workspace.packages.push(package("lictor-testkit", Some("audit")));
    refused(&workspace, &["`low`", "`lictor-testkit` (audit, rank 2)"]);
}

#[test]
fn what_stands_beside_is_not_depended_upon() {
    refused(&with(&[("mid", "xtask", EdgeKind::Dev)]), &["`mid`", "`xtask`", "beside the layers"]);
}

#[test]
fn test_programs_stand_beside_and_use_anything() {
    for dir in ["xtask", "tests", "powercut", "bench", "tests/parsers", "examples/gate"] {
        let mut workspace = with(&[]);
        let mut program = package("program", None);
        program.manifest = format!("{dir}/Cargo.toml");
        program.edges.push(Edge { to: "top".to_owned(), kind: EdgeKind::Normal });
        workspace.packages.push(program);
        accepted(&workspace);
    }
}

#[test]
fn a_layer_has_one_rank() {
    let mut workspace = workspace();
    workspace.ranks.push(vec!["base".to_owned()]);
    refused(&workspace, &["layer `base` stands in two ranks"]);
}

#[test]
fn the_graph_is_printed_by_rank() {
    let workspace = with(&[("mid", "low", EdgeKind::Normal), ("mid", "beside", EdgeKind::Dev)]);
    assert_eq!(
        table(&workspace),
        "rank 0: base\n  low     (base)\n  beside  (base)\n\
         rank 1: capability, workspace\n  mid     (capability) -> low (tests: beside)\n\
         rank 2: audit\n  top     (audit, only base)\n\
         beside the layers:\n  xtask"
    );
    let graph = mermaid(&workspace);
    assert!(graph.contains("subgraph rank2[\"rank 2: audit\"]"), "{graph}");
    assert!(graph.contains("  mid --> low"), "{graph}");
    assert!(!graph.contains("beside -->") && !graph.contains("--> beside"), "{graph}");
}

#[test]
fn the_real_workspace_passes() {
    let workspace = process::load_workspace().expect("cargo metadata");
    assert!(workspace.package("lictor-context").is_some());
    accepted(&workspace);
}
