//! Names that a policy gives and that nothing ever has: a `forbid` of one would protect nothing.

use cedar_policy::{EntityUid, Policy};
use lictor_context::{Name, WorkspacePath};

use super::roles::Roles;
use crate::policy::asked::host_and_port;

/// What is wrong with a name in a policy.
pub(super) fn problem(policy: &Policy, roles: &Roles) -> Option<String> {
    policy.entity_literals().iter().find_map(|literal| never(literal, roles))
}

fn never(literal: &EntityUid, roles: &Roles) -> Option<String> {
    let id = literal.id().unescaped();
    let accepted = match literal.type_name().basename() {
        "Path" if id == "." => None,
        "Path" => WorkspacePath::parse(id).err().map(|error| error.to_string()),
        "Host" => is_odd_host(id).then(|| {
            "accepted here: a host in lower case, without port and final dot; `context.port` is its port".to_owned()
        }),
        "Role" => (!roles.has(id)).then(|| "no such role stands in `policies/roles.yaml`".to_owned()),
        "Agent" | "User" | "Org" => Name::parse(id).err().map(|error| error.to_string()),
        "Server" => id.contains('/').then(|| "accepted here: the name of a server".to_owned()),
        _ => None,
    };
    accepted.map(|why| format!("`{literal}` never is anything: {why}"))
}

fn is_odd_host(id: &str) -> bool {
    id.is_empty() || id != host_and_port(id).0
}
