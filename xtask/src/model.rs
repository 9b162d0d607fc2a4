//! What `cargo metadata` says about the workspace, reduced to what the rules need.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::report::Failure;

/// The workspace: its layers and its packages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Workspace {
    /// Where the root manifest is.
    pub(crate) root: PathBuf,
    /// Layer names by rank, lowest first.
    pub(crate) ranks: Vec<Vec<String>>,
    /// Every member, sorted by name.
    pub(crate) packages: Vec<Package>,
}

/// One member of the workspace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Package {
    /// As in `Cargo.toml`.
    pub(crate) name: String,
    /// The manifest, relative to the root, with `/`.
    pub(crate) manifest: String,
    /// Its text, to find lines in.
    pub(crate) manifest_text: String,
    /// `package.description`.
    pub(crate) description: Option<String>,
    /// `package.rust-version`.
    pub(crate) rust_version: Option<String>,
    /// `package.metadata.lictor.layer`.
    pub(crate) layer: Option<String>,
    /// `package.metadata.lictor.only`.
    pub(crate) only: Option<Vec<String>>,
    /// Declared features and what each switches on.
    pub(crate) features: BTreeMap<String, Vec<String>>,
    /// Dependencies by path, that is on other members.
    pub(crate) edges: Vec<Edge>,
}

/// One member's dependency on another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    /// The package depended upon.
    pub(crate) to: String,
    /// In which of the three tables it stands.
    pub(crate) kind: EdgeKind,
}

/// The three tables of dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EdgeKind {
    /// `[dependencies]`
    Normal,
    /// `[build-dependencies]`
    Build,
    /// `[dev-dependencies]`
    Dev,
}

impl EdgeKind {
    /// The table's name in a manifest.
    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::Normal => "dependencies",
            Self::Build => "build-dependencies",
            Self::Dev => "dev-dependencies",
        }
    }
}

impl Package {
    /// The package's directory, relative to the root.
    pub(crate) fn dir(&self) -> &str {
        self.manifest.strip_suffix("/Cargo.toml").unwrap_or("")
    }

    /// Whether the package stands beside the layers: it may use anything, nothing may use it.
    pub(crate) fn is_outside(&self) -> bool {
        let dir = self.dir();
        matches!(dir, "xtask" | "tests" | "powercut" | "bench")
            || ["tests/", "examples/"].iter().any(|folder| dir.starts_with(folder))
    }

    /// The line that declares a dependency, or 1.
    pub(crate) fn line_of(&self, edge: &Edge) -> usize {
        let mut in_table = false;
        for (idx, line) in self.manifest_text.lines().enumerate() {
            let line = line.trim();
            if let Some(header) = line.strip_prefix('[') {
                let header = header.trim_end_matches(']');
                // `target.'cfg(unix)'.dependencies` ends the same way; `dependencies.x` names it.
                let (table, own) = match header.rsplit_once('.') {
                    Some((table, last)) if last == edge.to => (table, true),
                    _ => (header, false),
                };
                in_table = table.rsplit('.').next() == Some(edge.kind.table());
                if in_table && own {
                    return idx + 1;
                }
            } else if in_table && mentions(line, &edge.to) {
                return idx + 1;
            }
        }
        1
    }
}

/// Whether a line of a manifest declares, or renames, this package.
fn mentions(line: &str, name: &str) -> bool {
    let key = line.split(['=', '.', ' ']).next().unwrap_or("");
    key.trim_matches('"') == name || line.contains(&format!("\"{name}\""))
}

impl Workspace {
    /// Reads the answer of `cargo metadata --no-deps --format-version 1`; `read` fetches the text
    /// of a manifest by its absolute path.
    pub(crate) fn parse(metadata: &Value, read: &dyn Fn(&str) -> String) -> Result<Self, Failure> {
        let root = text(metadata, "/workspace_root")
            .ok_or_else(|| Failure::new("`cargo metadata` names no workspace root"))?;
        let ranks = metadata
            .pointer("/metadata/lictor/ranks")
            .and_then(Value::as_array)
            .ok_or_else(|| Failure::new("Cargo.toml has no `workspace.metadata.lictor.ranks`"))?
            .iter()
            .map(|rank| strings(Some(rank)))
            .collect();
        let mut packages: Vec<Package> = items(metadata, "/packages")
            .map(|package| parse_package(package, &root, read))
            .collect();
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { root: PathBuf::from(root), ranks, packages })
    }

    /// The member of that name.
    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// The rank of a layer.
    pub(crate) fn rank_of(&self, layer: &str) -> Option<usize> {
        self.ranks.iter().position(|rank| rank.iter().any(|name| name == layer))
    }

    /// The members under `crates/`.
    pub(crate) fn crates(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.dir().starts_with("crates/"))
    }
}

fn parse_package(package: &Value, root: &str, read: &dyn Fn(&str) -> String) -> Package {
    let manifest = text(package, "/manifest_path").unwrap_or_default();
    let relative = manifest.strip_prefix(root).unwrap_or(&manifest).replace('\\', "/");
    let mut edges: Vec<Edge> = items(package, "/dependencies")
        .filter(|dependency| dependency.get("path").is_some_and(Value::is_string))
        .filter_map(|dependency| {
            let kind = match text(dependency, "/kind").as_deref() {
                Some("dev") => EdgeKind::Dev,
                Some("build") => EdgeKind::Build,
                _ => EdgeKind::Normal,
            };
            text(dependency, "/name").map(|to| Edge { to, kind })
        })
        .collect();
    edges.sort();
    edges.dedup();
    let features = package.get("features").and_then(Value::as_object);
    Package {
        name: text(package, "/name").unwrap_or_default(),
        manifest_text: read(&manifest),
        manifest: relative.trim_start_matches('/').to_owned(),
        description: text(package, "/description"),
        rust_version: text(package, "/rust_version"),
        layer: text(package, "/metadata/lictor/layer"),
        only: package.pointer("/metadata/lictor/only").map(|only| strings(Some(only))),
        features: features
            .into_iter()
            .flatten()
            .map(|(name, enables)| (name.clone(), strings(Some(enables))))
            .collect(),
        edges,
    }
}

fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn strings(value: Option<&Value>) -> Vec<String> {
    value
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Edge, EdgeKind, Package, Workspace};

    #[test]
    fn metadata_becomes_a_model() {
        let metadata = json!({
            "workspace_root": "/r",
            "metadata": { "lictor": { "ranks": [["base"], ["audit", "state"]] } },
            "packages": [
                {
                    "name": "lictor-b", "manifest_path": "/r/crates/b/Cargo.toml",
                    "metadata": { "lictor": { "layer": "audit", "only": ["base"] } },
                    "features": { "default": [], "serde": ["dep:serde"] },
                    "rust_version": "1.95", "description": "B.",
                    "dependencies": [
                        { "name": "lictor-a", "path": "/r/crates/a", "kind": null },
                        { "name": "lictor-a", "path": "/r/crates/a", "kind": "dev" },
                        { "name": "serde", "source": "registry", "kind": null }
                    ]
                },
                { "name": "lictor-a", "manifest_path": "/r/crates/a/Cargo.toml",
                  "metadata": null, "features": {}, "dependencies": [] }
            ]
        });
        let workspace = Workspace::parse(&metadata, &|path| path.to_owned()).expect("a model");
        assert_eq!(workspace.rank_of("state"), Some(1));
        let names: Vec<&str> = workspace.packages.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["lictor-a", "lictor-b"]);
        let b = workspace.package("lictor-b").expect("b");
        assert_eq!(b.dir(), "crates/b");
        assert_eq!(b.layer.as_deref(), Some("audit"));
        assert_eq!(b.only.as_deref(), Some(&["base".to_owned()][..]));
        assert_eq!(b.features.len(), 2);
        let edge = |kind| Edge { to: "lictor-a".to_owned(), kind };
        assert_eq!(b.edges, [edge(EdgeKind::Normal), edge(EdgeKind::Dev)]);
        assert_eq!(workspace.package("lictor-a").and_then(|a| a.layer.clone()), None);
    }

    #[test]
    fn a_workspace_without_ranks_is_an_error() {
        let metadata = json!({ "workspace_root": "/r", "metadata": null, "packages": [] });
        assert!(Workspace::parse(&metadata, &|_| String::new()).is_err());
    }

    #[test]
    fn an_edge_is_found_in_its_table() {
        let manifest_text = "[package]\nname = \"x\"\n\n[dev-dependencies]\nlictor-a.workspace = true\n\
                             [dependencies]\nlictor-ab = \"1\"\nlictor-a = { workspace = true }\n\
                             [target.'cfg(unix)'.build-dependencies]\nold = { package = \"lictor-a\" }\n\
                             [dependencies.lictor-c]\nworkspace = true\n";
        let package = Package { manifest_text: manifest_text.to_owned(), ..Package::default() };
        let line = |to: &str, kind| package.line_of(&Edge { to: to.to_owned(), kind });
        assert_eq!(line("lictor-a", EdgeKind::Dev), 5);
        assert_eq!(line("lictor-a", EdgeKind::Normal), 8);
        assert_eq!(line("lictor-a", EdgeKind::Build), 10);
        assert_eq!(line("lictor-c", EdgeKind::Normal), 11);
        assert_eq!(line("lictor-d", EdgeKind::Normal), 1);
    }
}
