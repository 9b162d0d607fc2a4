//! What no policy can allow: Lictor's own state, and the inside of git's.

use lictor_capability::{Effect, EffectKind};

use super::asked::normal;
use super::pattern::fold;

/// The builtin rule that an effect offends against, and why.
pub(super) fn offence(effect: Effect<'_>) -> Option<(&'static str, &'static str)> {
    let program;
    let path = match effect.kind {
        EffectKind::FsRead | EffectKind::FsWrite | EffectKind::FsDelete => effect.target,
        // A program of the workspace is named by its path.
        EffectKind::Process => {
            program = normal(effect.target);
            &program
        }
        EffectKind::Net | EffectKind::Mcp => return None,
    };
    // At any depth: a folder with one is a workspace of its own, and whoever stands in it goes by the
    // policy there.
    if path.split('/').any(|segment| is_named(segment, ".lictor", "lictor~1")) {
        return Some(("lictor_state", "Lictor's own state and policy are out of reach"));
    }
    let writes = matches!(effect.kind, EffectKind::FsWrite | EffectKind::FsDelete);
    if writes && path.split('/').any(|segment| is_named(segment, ".git", "git~1")) {
        return Some(("git_internals", "git's own files are changed by git only"));
    }
    None
}

/// Whether a file system that folds letter case, or ignores invisible characters, or makes short
/// names, would take a segment for this name.
fn is_named(segment: &str, name: &str, short: &str) -> bool {
    if segment.is_ascii() {
        return segment.eq_ignore_ascii_case(name) || segment.eq_ignore_ascii_case(short);
    }
    let visible: String = segment.chars().filter(|c| !is_ignored(*c)).collect();
    let folded = fold(&visible);
    folded == name || folded == short
}

/// What HFS+ leaves out of account in names.
pub(super) fn is_ignored(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: EffectKind, target: &str, expect: Option<&str>) {
        assert_eq!(offence(Effect { kind, target }).map(|(rule, _)| rule), expect, "{target}");
    }

    #[test]
    fn disguises_are_seen_through() {
        use EffectKind::*;
        let (state, git) = (Some("lictor_state"), Some("git_internals"));
        check(FsRead, ".lictor/policy.yaml", state);
        check(FsDelete, ".LICTOR", state);
        check(FsWrite, ".l\u{200c}ictor/x", state);
        check(FsWrite, "LICTOR~1/x", state);
        check(Process, "./.lictor/run.sh", state);
        check(FsWrite, "a/.lictor/policy.yaml", state);
        check(FsRead, "a/b/.Lictor", state);
        check(FsWrite, ".lictors/x", None);
        check(FsWrite, "a/lictor/x", None);
        check(FsWrite, "a/.GIT/config", git);
        check(FsWrite, ".g\u{200d}it/hooks/x", git);
        check(FsWrite, "git~1/config", git);
        check(FsRead, ".git/config", None);
        check(FsWrite, ".gitignore", None);
        check(Net, ".lictor", None);
    }
}
