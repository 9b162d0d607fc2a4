//! The schema, made of the catalogue: who asks, which capability, about what.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use lictor_capability::{Contract, HandlerSpec};

use super::types::Type;

/// What is the same for every catalogue.
const TYPES: &str = r#"// Who asks: an agent, of a user, of an organisation. Roles are given in `policies/roles.yaml`.
entity Org;
entity Role;
entity User in [Org, Role] = { name: String };
entity Agent in [User, Org, Role] = { name: String, user: User };

// About what. A path is in every folder above it and in Path::"."; `folded` is the path without
// letter case and invisible characters, as file systems that ignore them have it. A program is in
// its own name. Hosts are in lower case; their port is `context.port`.
entity Path in [Path] = { path: String, name: String, folded: String };
entity Host = { host: String };
entity Program in [Program] = { program: String, name: String };
entity Server;
entity Tool in [Server] = { tool: String };
// An action without effects.
entity Workspace;

// The context of every action. `effect` is fs.read, fs.write, fs.delete, net, process, mcp or none;
// `implicit` is a folder that is only made because something goes into it, or that an undo removes
// with what was in it; `riskLevel` is 1 for low to 4 for critical. `input` is what the contract says of the input, as far as Cedar has types for it.
"#;

/// The context of every action, but for its input.
const CALL: &str = "effect: String, port?: Long, implicit: Bool, kind: String, source: String, \
                    session: String, risk: String, riskLevel: Long, files: Long, lines: Long, \
                    bytes: Long, rollsBack: Bool";

/// The groups that an action is in, the widest first: `fs.*`, for `a.b.c` also `a.b.*`.
pub(super) fn groups(id: &str) -> impl Iterator<Item = String> {
    id.match_indices('.').filter_map(|(dot, _)| Some(format!("{}.*", id.get(..dot)?)))
}

/// What the effects of a capability can be about.
fn resources(contract: &Contract) -> Vec<&'static str> {
    let ceiling = &contract.effects;
    let fs = &ceiling.fs;
    let mut all = Vec::new();
    if !(fs.read.is_empty() && fs.write.is_empty() && fs.delete.is_empty()) {
        all.push("Path");
    }
    if !ceiling.net.is_empty() {
        all.push("Host");
    }
    if !ceiling.process.is_empty() {
        all.push("Program");
    }
    if matches!(contract.handler, HandlerSpec::Mcp(_)) {
        all.push("Tool");
    }
    all.push("Workspace");
    all
}

/// The schema in Cedar's own language.
pub(super) fn text(contracts: &[&Contract]) -> String {
    // Of two contracts of one capability, what either allows, and the input as the stricter has it.
    let mut actions: BTreeMap<&str, (BTreeSet<&str>, Option<Type>)> = BTreeMap::new();
    for contract in contracts {
        let input = Type::of_input(contract.input_schema());
        let (all, known) = actions.entry(contract.id.as_str()).or_default();
        all.extend(resources(contract));
        *known = Some(match known.take() {
            None => input,
            Some(known) => known.both(input),
        });
    }
    let all_groups: BTreeSet<String> = actions.keys().flat_map(|id| groups(id)).collect();
    let mut text = TYPES.to_owned();
    // Writing to a string cannot fail.
    let mut say = |line: std::fmt::Arguments<'_>| text.write_fmt(line).unwrap_or_default();
    say(format_args!("\n// Capabilities by what their names begin with.\n"));
    for group in &all_groups {
        say(format_args!("action \"{group}\";\n"));
    }
    say(format_args!("\n"));
    for (id, (resources, input)) in &actions {
        let groups: Vec<String> = groups(id).map(|group| format!("\"{group}\"")).collect();
        let resources: Vec<&str> = resources.iter().copied().collect();
        say(format_args!(
            "action \"{id}\" in [{}] appliesTo {{ principal: [Agent], resource: [{}], context: {{ {CALL}, input: {} }} }};\n",
            groups.join(", "),
            resources.join(", "),
            input.as_ref().map_or_else(|| "{}".to_owned(), ToString::to_string),
        ));
    }
    text
}
