//! What a policy says and probably does not mean. A policy that loads is valid; these are remarks.

use std::collections::HashMap;

use lictor_context::WorkspacePath;
use serde::Serialize;

use super::Policy;
use super::compare::{Comparison, Outcome, Scalar, Test, Wanted};
use super::load::{Saying, Statement};
use super::pattern;
use super::set::PolicySet;
use super::when::{Key, Target};
use super::witness;
use crate::decision::{Layer, Verdict};

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LintLevel {
    /// Worth knowing.
    Note,
    /// Probably not what is meant.
    Warning,
}

/// Something that a policy says and probably does not mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LintFinding {
    /// How much it weighs.
    pub level: LintLevel,
    /// What kind of thing it is.
    pub code: &'static str,
    /// Whose policy.
    pub layer: Layer,
    /// The rule.
    pub rule: String,
    /// Where it stands.
    #[serde(rename = "where")]
    pub place: String,
    /// What is remarkable, and what to do.
    pub message: String,
}

/// A pattern over paths, with whose it is.
struct Listed<'a> {
    layer: usize,
    list: &'static str,
    glob: &'a str,
    place: &'a str,
}

struct Lint<'a> {
    set: &'a PolicySet,
    files: &'a [String],
    findings: Vec<LintFinding>,
}

impl PolicySet {
    /// What these policies say and probably do not mean. With the `files` of a workspace, also
    /// which patterns match none of them.
    #[must_use]
    pub fn lint(&self, files: &[String]) -> Vec<LintFinding> {
        let mut lint = Lint { set: self, files, findings: Vec::new() };
        lint.lists();
        lint.rules();
        lint.same_conditions();
        lint.layers();
        lint.findings.extend(self.lint_cedar().iter().cloned());
        lint.findings
    }
}

impl Lint<'_> {
    fn find(
        &mut self,
        level: LintLevel,
        code: &'static str,
        (layer, rule, place): (usize, &str, &str),
        message: String,
    ) {
        let layer = self.set.layers.get(layer).map_or(Layer::Workspace, |one| one.layer.into());
        let (rule, place) = (rule.to_owned(), place.to_owned());
        self.findings.push(LintFinding { level, code, layer, rule, place, message });
    }

    fn listed(&self) -> Vec<Listed<'_>> {
        let mut all = Vec::new();
        for (layer, policy) in self.set.layers.iter().enumerate() {
            for (list, entries) in [
                ("paths.forbidden", &policy.forbidden),
                ("paths.protected", &policy.protected),
                ("paths.allowed", &policy.allowed),
            ] {
                for entry in entries {
                    // The first glob is what is written; the others follow from it.
                    let Some(glob) = entry.globs.first() else { continue };
                    all.push(Listed { layer, list, glob: glob.glob(), place: &entry.place });
                }
            }
        }
        all
    }

    fn lists(&mut self) {
        let mut found = Vec::new();
        let all = self.listed();
        for one in &all {
            let at = (one.layer, one.list, one.place);
            let name = one.glob.escape_debug();
            found.extend(self.glob(one.glob, one.list == "paths.allowed").map(|it| (it, at)));
            if matches_everything(one.glob) {
                let (level, message) = match one.list {
                    "paths.allowed" => (
                        LintLevel::Note,
                        "every path may be written that nothing else speaks against; name the folders that are meant",
                    ),
                    "paths.forbidden" => (LintLevel::Warning, "every path is forbidden"),
                    _ => (LintLevel::Note, "every write needs approval"),
                };
                found.push(((level, "matches_everything", format!("`{name}`: {message}")), at));
            }
            if one.list != "paths.forbidden" {
                let shadow = all
                    .iter()
                    .find(|other| other.list == "paths.forbidden" && covers(other.glob, one.glob));
                if let Some(shadow) = shadow {
                    let message = format!(
                        "`{name}` has no effect: `{}` is forbidden ({})",
                        shadow.glob.escape_debug(),
                        shadow.place
                    );
                    let code = between(one.layer, shadow.layer);
                    found.push(((LintLevel::Warning, code, message), at));
                }
            }
            let twin = all.iter().take_while(|other| !std::ptr::eq(*other, one)).find(|other| {
                other.list == one.list && other.layer == one.layer && other.glob == one.glob
            });
            if let Some(twin) = twin {
                let message = format!("`{name}` stands there already ({})", twin.place);
                found.push(((LintLevel::Note, "unreachable", message), at));
            }
        }
        let found: Vec<_> = found
            .into_iter()
            .map(|(what, (layer, list, place))| (what, layer, list, place.to_owned()))
            .collect();
        for ((level, code, message), layer, list, place) in found {
            self.find(level, code, (layer, list, &place), message);
        }
    }

    /// What is odd about one glob over paths.
    fn glob(
        &self,
        glob: &str,
        allows: bool,
    ) -> impl Iterator<Item = (LintLevel, &'static str, String)> + use<> {
        let name = glob.escape_debug().to_string();
        let mut found = Vec::new();
        let odd = |segment: &&str| segment.contains("**") && *segment != "**";
        if let Some(segment) = glob.split('/').find(odd) {
            found.push((
                LintLevel::Warning,
                "broader_than_meant",
                format!(
                    "`{name}`: in `{}` the `**` is a plain `*`; folders at any depth are `/**/`",
                    segment.escape_debug()
                ),
            ));
        }
        let first = glob.split('/').next().unwrap_or_default();
        if allows
            && first.len() > 1
            && first.ends_with('*')
            && !first.contains("**")
            && glob.contains('/')
        {
            let stem = first.trim_end_matches('*');
            found.push((
                LintLevel::Warning,
                "broader_than_meant",
                format!("`{name}` also fits `{stem}-anything`, whoever makes that folder"),
            ));
        }
        match witness::of_glob(glob) {
            Some(path) if WorkspacePath::parse(&path).is_err() => found.push((
                LintLevel::Warning,
                "matches_nothing",
                format!(
                    "`{name}` matches no path that is accepted, such as `{}`",
                    path.escape_debug()
                ),
            )),
            _ => {}
        }
        if !self.files.is_empty()
            && let Ok(glob) = pattern::glob(glob, false)
        {
            let matcher = glob.compile_matcher();
            if !self.files.iter().any(|file| matcher.is_match(file)) {
                found.push((
                    LintLevel::Note,
                    "matches_nothing",
                    format!("`{name}` matches no file of this workspace at present"),
                ));
            }
        }
        found.into_iter()
    }

    fn rules(&mut self) {
        let set = self.set;
        for index in 0..set.statements.len() {
            let Some((layer, statement)) = set.statement(index) else { continue };
            let at = (layer, &*statement.name, &*statement.place);
            let allows =
                matches!(statement.saying, Saying::Verdict { verdict: Verdict::Allow, .. });
            if let Target::Paths(globs) = &statement.when.target {
                for glob in globs {
                    for (level, code, message) in self.glob(glob.glob(), allows) {
                        self.find(level, code, at, message);
                    }
                }
                let covered = |glob: &str| {
                    let forbidden = set.layers.iter().flat_map(|policy| &policy.forbidden);
                    let mut globs = forbidden.flat_map(|entry| &entry.globs);
                    globs.any(|other| covers(other.glob(), glob))
                };
                if globs.iter().all(|glob| covered(glob.glob())) {
                    let message =
                        "every path of it is forbidden, so it changes no verdict".to_owned();
                    self.find(LintLevel::Warning, "unreachable", at, message);
                }
            }
            for (key, test) in &statement.when.action {
                if !possible(*key, test) {
                    let message = format!("no {} satisfies its condition", word(*key));
                    self.find(LintLevel::Warning, "unreachable", at, message);
                }
                if allows {
                    self.broad_allow(at, Some(*key), test);
                }
            }
            if let (true, Target::Host(test) | Target::Program(test) | Target::PathTest(test)) =
                (allows, &statement.when.target)
            {
                self.broad_allow(at, None, test);
            }
            if allows && statement.when.input.is_none() && allows_everything(statement) {
                let message = "it allows everything that nothing else speaks against".to_owned();
                self.find(LintLevel::Warning, "matches_everything", at, message);
            }
        }
    }

    fn broad_allow(&mut self, at: (usize, &str, &str), key: Option<Key>, test: &Test) {
        let mut found = Vec::new();
        match test {
            Test::Any(wanted) => {
                for wanted in wanted {
                    let Wanted::Pattern(pattern) = wanted else { continue };
                    let text = pattern.text();
                    let shown = text.escape_debug();
                    let stem = text.trim_end_matches('*');
                    let loose_id = matches!(key, Some(Key::Capability | Key::Source))
                        && text.ends_with('*')
                        && !stem.is_empty()
                        && !stem.ends_with(['.', ':']);
                    let loose_host = key.is_none()
                        && text.starts_with('*')
                        && text.len() > 1
                        && !text.starts_with("*.");
                    if loose_id {
                        found.push(format!(
                            "`{shown}` also fits `{stem}anything`; end it with `.*`"
                        ));
                    }
                    if loose_host {
                        found.push(format!(
                            "`{shown}` also fits `evil{}`; begin it with `*.`",
                            text.trim_start_matches('*')
                        ));
                    }
                }
            }
            Test::All(comparisons) => {
                for comparison in comparisons {
                    let Comparison::Matches(regex) = comparison else { continue };
                    let text = regex.as_str();
                    if !(text.starts_with('^') && text.ends_with('$')) {
                        found.push(format!(
                            "`{}` is not anchored by `^` and `$`, so it fits whatever holds it",
                            text.escape_debug()
                        ));
                    }
                }
            }
        }
        for message in found {
            self.find(LintLevel::Warning, "broader_than_meant", at, message);
        }
    }

    /// Of two rules with one condition, the milder never changes a verdict.
    fn same_conditions(&mut self) {
        let set = self.set;
        let mut seen: HashMap<String, (usize, &Statement, Verdict)> = HashMap::new();
        for index in 0..set.statements.len() {
            let Some((layer, statement)) = set.statement(index) else { continue };
            let Saying::Verdict { verdict, .. } = statement.saying else { continue };
            let key = format!("{:?}", statement.when);
            let Some(known) = seen.get(&key).copied() else {
                seen.insert(key, (layer, statement, verdict));
                continue;
            };
            let (mild, strict) = if verdict > known.2 {
                seen.insert(key, (layer, statement, verdict));
                (known, (layer, statement, verdict))
            } else {
                ((layer, statement, verdict), known)
            };
            let message = format!(
                "it changes no verdict: `{}` has the same condition and says {} ({})",
                strict.1.name, strict.2, strict.1.place
            );
            let at = (mild.0, &*mild.1.name, &*mild.1.place);
            self.find(LintLevel::Warning, between(mild.0, strict.0), at, message);
        }
    }

    /// What a lower layer says without effect, because a higher one is stricter.
    fn layers(&mut self) {
        let set = self.set;
        for (low, lower) in set.layers.iter().enumerate() {
            for upper in set.layers.iter().take(low) {
                self.looser(low, lower, upper);
            }
        }
    }

    fn looser(&mut self, low: usize, lower: &Policy, upper: &Policy) {
        let mut found: Vec<(&str, String, String)> = Vec::new();
        let place = lower.limits_place.as_deref().unwrap_or("-").to_owned();
        let (mine, theirs) = (&lower.limits, &upper.limits);
        let numbers = [
            ("limits.max_files", mine.max_files, theirs.max_files),
            ("limits.max_patch_lines", mine.max_patch_lines, theirs.max_patch_lines),
            (
                "limits.max_bytes",
                mine.max_bytes.map(|size| size.as_bytes()),
                theirs.max_bytes.map(|size| size.as_bytes()),
            ),
        ];
        for (rule, mine, theirs) in numbers {
            if let (Some(mine), Some(theirs)) = (mine, theirs)
                && mine > theirs
            {
                let message =
                    format!("{mine} has no effect: the {} policy allows {theirs}", upper.layer);
                found.push((rule, place.clone(), message));
            }
        }
        if let (Some((mine, place)), Some((theirs, other))) = (&lower.default, &upper.default)
            && mine < theirs
        {
            let message = format!(
                "`{mine}` has no effect: the {} policy says `{theirs}` ({other})",
                upper.layer
            );
            found.push(("default", place.to_string(), message));
        }
        for (mine, theirs) in lower.risk.iter().zip(&upper.risk) {
            if let (Some(mine), Some(theirs)) = (mine, theirs)
                && mine.verdict < theirs.verdict
            {
                let place = mine.place.as_deref().unwrap_or("-").to_owned();
                let message = format!(
                    "`{}` has no effect: the {} policy says `{}`",
                    mine.verdict, upper.layer, theirs.verdict
                );
                found.push(("risk", place, message));
            }
        }
        for name in lower.verification.keys().filter(|name| upper.verification.contains_key(*name))
        {
            let message =
                format!("`{}` is the {} policy's command", name.escape_debug(), upper.layer);
            found.push(("verification", "-".to_owned(), message));
        }
        for (rule, place, message) in found {
            self.find(LintLevel::Warning, "layer_conflict", (low, rule, &place), message);
        }
    }
}

fn between(one: usize, other: usize) -> &'static str {
    if one == other { "unreachable" } else { "layer_conflict" }
}

fn word(key: Key) -> &'static str {
    match key {
        Key::Lines => "number of lines",
        Key::Files => "number of files",
        Key::Risk => "risk",
        _ => "value",
    }
}

/// Whether anything could satisfy a test of a number that is at least 0.
fn possible(key: Key, test: &Test) -> bool {
    let holds = |n: u64| {
        let number = serde_json::Value::from(n);
        test.outcome(Scalar::from(&number)) == Outcome::Yes
    };
    match key {
        Key::Risk => (0..4).any(holds),
        Key::Lines | Key::Files => {
            let near = witness::numbers(test);
            near.is_empty() || near.into_iter().any(holds) || holds(0) || holds(u64::from(u32::MAX))
        }
        _ => true,
    }
}

fn allows_everything(statement: &Statement) -> bool {
    let when = &statement.when;
    let any_id = |(key, test): &(Key, Test)| {
        let Test::Any(wanted) = test else { return false };
        let star = |wanted: &Wanted| match wanted {
            Wanted::Pattern(pattern) => matches!(pattern.text().as_str(), "*" | "**"),
            Wanted::Literal(_) => false,
        };
        matches!(key, Key::Capability) && wanted.iter().any(star)
    };
    !when.is_about_effects() && !when.action.is_empty() && when.action.iter().all(any_id)
}

fn matches_everything(glob: &str) -> bool {
    matches!(glob, "**" | "**/*" | "**/**")
}

/// Whether whatever `inner` matches, `outer` matches too. It may say no where it is so, and never
/// yes where it is not.
fn covers(outer: &str, inner: &str) -> bool {
    let plain = |text: &str| !text.contains(['*', '?', '[', '{', '\\']);
    if outer == inner || matches_everything(outer) {
        return true;
    }
    if let Some(folder) = outer.strip_suffix("/**")
        && plain(folder)
    {
        return inner.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    }
    let Some(rest) = outer.strip_prefix("**/") else { return false };
    let last = inner.rsplit('/').next().unwrap_or(inner);
    if let Some(folder) = rest.strip_suffix("/**") {
        let inside = inner.rsplit_once('/').map_or("", |(folders, _)| folders);
        return plain(folder)
            && !folder.contains('/')
            && inside.split('/').any(|one| one == folder);
    }
    if rest.contains('/') {
        return false;
    }
    let fits = |glob: &str| {
        pattern::glob(glob, false).is_ok_and(|glob| glob.compile_matcher().is_match(last))
    };
    last == rest || (plain(last) && fits(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_covers_what() {
        for (outer, inner, expect) in [
            ("**", "a/b", true),
            ("src/**", "src/a/*.rs", true),
            ("src/**", "srcs/a", false),
            ("**/.env", "deploy/.env", true),
            ("**/*.pem", "keys/a.pem", true),
            ("**/*.pem", "keys/*", false),
            ("**/secrets/**", "a/secrets/b", true),
            ("**/secrets/**", "a/b/secrets", false),
            ("a/*", "a/b", false),
        ] {
            assert_eq!(covers(outer, inner), expect, "{outer} {inner}");
        }
    }
}
