//! Policies in Cedar beside those in YAML; a build that does not read them judges nothing.

use lictor_document::Source;
#[cfg(not(feature = "cedar"))]
use lictor_governance::PolicyErrorKind;
use lictor_governance::{CedarFiles, PolicySet};

const EVERYTHING: &str = "version: 1\ndefault: allow\n";

#[cfg(not(feature = "cedar"))]
#[test]
fn a_build_without_cedar_refuses_policies_in_it() {
    let set = || PolicySet::workspace(&Source::new("policy.yaml", EVERYTHING.as_bytes())).unwrap();
    let policies = [Source::new("policies/a.cedar", b"forbid(principal, action, resource);")];
    let files = CedarFiles { policies: &policies, roles: None };
    let error = set().with_cedar(files, []).unwrap_err();
    assert!(matches!(error.kind(), PolicyErrorKind::CedarNotBuilt { .. }), "{error}");
    assert!(error.to_string().contains("`policies/a.cedar`"), "{error}");
    let roles = Source::new("policies/roles.yaml", b"roles: {}");
    let files = CedarFiles { policies: &[], roles: Some(roles) };
    set().with_cedar(files, []).unwrap_err();
    // What was kept of a build that had it is not judged by less.
    let mut sources = set().sources();
    let cedar = serde_json::json!({
        "layer": "workspace", "language": "cedar", "name": "policies/a.cedar", "text": "",
    });
    sources.push(serde_json::from_value(cedar).unwrap());
    PolicySet::from_sources(&sources).unwrap_err();
    PolicySet::cedar_schema([]).unwrap_err();
    let nothing = CedarFiles { policies: &[], roles: None };
    assert_eq!(set().with_cedar(nothing, []).unwrap().digest(), set().digest());
}

#[cfg(feature = "cedar")]
mod with_cedar {
    use std::sync::Arc;

    use lictor_capability::{Contract, Risk};
    use lictor_context::Timestamp;
    use lictor_governance::{
        Decision, DecisionInputs, Policy, PolicyCases, PolicyLayer, Verdict, WriteGate,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::common::{Ask, NOW, clock};

    /// The catalogue of these tests.
    fn contracts() -> Vec<Arc<Contract>> {
        let mut all: Vec<Arc<Contract>> =
            ["fs.write", "fs.delete", "deep.down.call"].map(|id| Ask::new(id).contract()).into();
        let mut http = Ask::new("http.get");
        http.effects.hosts.push("api.example".to_owned());
        all.push(http.contract());
        let mut run = Ask::new("process.run");
        run.effects.programs.push("git".to_owned());
        all.push(run.contract());
        all
    }

    fn load(yaml: &str, cedar: &[(&str, &str)], roles: Option<&str>) -> Result<PolicySet, String> {
        let set = PolicySet::workspace(&Source::new("policy.yaml", yaml.as_bytes())).unwrap();
        let policies: Vec<Source<'_>> =
            cedar.iter().map(|(name, text)| Source::new(name, text.as_bytes())).collect();
        let roles = roles.map(|text| Source::new("policies/roles.yaml", text.as_bytes()));
        let files = CedarFiles { policies: &policies, roles };
        let contracts = contracts();
        let set = set.with_cedar(files, contracts.iter().map(Arc::as_ref));
        set.map_err(|error| error.to_string())
    }

    fn set(yaml: &str, cedar: &str) -> Arc<PolicySet> {
        let set = load(yaml, &[("policies/a.cedar", cedar)], None);
        Arc::new(set.unwrap_or_else(|error| panic!("{error}\n{cedar}")))
    }

    fn by(set: &Arc<PolicySet>, ask: &Ask) -> Decision {
        WriteGate::new(Arc::clone(set), clock()).decide(&ask.describe())
    }

    #[track_caller]
    fn check(cedar: &str, ask: &Ask, verdict: Verdict) -> Decision {
        let decision = by(&set(EVERYTHING, cedar), ask);
        assert_eq!(decision.verdict(), verdict, "{cedar}\n{}", decision.explain());
        decision
    }

    fn write(path: &str) -> Ask {
        Ask::new("fs.write").write(path)
    }

    fn hosts(host: &str) -> Ask {
        let mut ask = Ask::new("http.get");
        ask.effects.hosts.push(host.to_owned());
        ask
    }

    fn runs(program: &str) -> Ask {
        let mut ask = Ask::new("process.run");
        ask.effects.programs.push(program.to_owned());
        ask
    }

    #[test]
    fn a_forbid_denies_and_says_where_it_stands() {
        let cedar = "// permit(principal, action, resource);\n\npermit(principal, action, resource);\n\n  \
                     @id(\"no-secrets\")\n  @message(\"keys stay where they are\")\n  \
                     forbid(principal, action, resource in Path::\"keys\"); // in there\n";
        let decision = check(cedar, &write("keys/a/b.pem").write("src/a.rs"), Verdict::Deny);
        let forbid =
            decision.reasons().iter().find(|one| &*one.rule == "cedar:no-secrets").unwrap();
        assert_eq!(forbid.verdict, Verdict::Deny);
        assert_eq!(forbid.path.as_deref(), Some("keys/a/b.pem"));
        assert_eq!(&*forbid.message, "keys stay where they are");
        assert_eq!(forbid.place.as_deref(), Some("policies/a.cedar:5:3"));
        // About the other file the permit spoke, and is no more than a reason.
        let permit = decision.reasons().iter().find(|one| one.rule.starts_with("cedar:policies"));
        let permit = permit.unwrap();
        assert_eq!(&*permit.rule, "cedar:policies/a.cedar#1");
        assert_eq!(permit.path.as_deref(), Some("src/a.rs"));
        assert_eq!(permit.place.as_deref(), Some("policies/a.cedar:3:1"));
    }

    #[test]
    fn who_asks_is_agent_user_organisation_and_roles() {
        let (yes, no) = (Verdict::Deny, Verdict::Allow);
        for (who, verdict) in [
            ("principal == Agent::\"planner\"", yes),
            ("principal == Agent::\"ann\"", no),
            ("principal in User::\"ann\"", yes),
            ("principal in User::\"bob\"", no),
            ("principal in Org::\"acme\"", yes),
            ("principal in Role::\"dev\"", yes),
            ("principal in Role::\"bots\"", yes),
            ("principal in Role::\"ops\"", no),
        ] {
            let cedar = format!("forbid({who}, action, resource);");
            let roles = "roles: { dev: ['user:ann'], bots: ['agent:planner'], ops: ['user:bob', 'agent:ann'] }";
            let set = load(EVERYTHING, &[("policies/a.cedar", &cedar)], Some(roles)).unwrap();
            assert_eq!(by(&Arc::new(set), &write("a")).verdict(), verdict, "{who}");
        }
    }

    #[test]
    fn what_is_asked_for_is_a_capability_and_what_it_begins_with() {
        for (action, asked, verdict) in [
            ("action == Action::\"fs.write\"", "fs.write", Verdict::Deny),
            ("action == Action::\"fs.write\"", "fs.delete", Verdict::Allow),
            ("action in Action::\"fs.*\"", "fs.delete", Verdict::Deny),
            ("action in Action::\"deep.*\"", "deep.down.call", Verdict::Deny),
            ("action in Action::\"deep.down.*\"", "deep.down.call", Verdict::Deny),
            ("action in Action::\"fs.*\"", "deep.down.call", Verdict::Allow),
        ] {
            let cedar = format!("forbid(principal, {action}, resource);");
            check(&cedar, &Ask::new(asked), verdict);
        }
    }

    #[test]
    fn resources_are_paths_hosts_programs_and_the_whole() {
        let (yes, no) = (Verdict::Deny, Verdict::Allow);
        let under = "forbid(principal, action, resource in Path::\"src\");";
        check(under, &write("src/a"), yes);
        check(under, &write("srcs/a"), no);
        check(under, &write("a/src"), no);
        let root = "forbid(principal, action, resource in Path::\".\");";
        check(root, &write("a/b/c"), yes);
        check(root, &Ask::new("fs.write"), no);
        let folded =
            "forbid(principal, action, resource is Path) when { resource.folded like \"*.env\" };";
        check(folded, &write("a/.E\u{200d}NV"), yes);
        check(folded, &write("a/.env.txt"), no);
        let host = "forbid(principal, action, resource == Host::\"api.example\");";
        check(host, &hosts("API.example.:443"), yes);
        check(host, &hosts("api.example.org"), no);
        let port = "forbid(principal, action, resource is Host) \
                    when { context has port && context.port == 22 };";
        check(port, &hosts("api.example:22"), yes);
        check(port, &hosts("api.example"), no);
        let whole = "forbid(principal, action, resource is Workspace);";
        check(whole, &Ask::new("fs.write"), yes);
        check(whole, &write("a"), no);
        let risk = "forbid(principal, action, resource) when { context.riskLevel >= 3 };";
        let mut risky = write("a");
        risky.risk = Some(Risk::High);
        check(risk, &risky, yes);
        check(risk, &write("a"), no);
    }

    #[test]
    fn a_forbid_about_a_program_holds_under_every_folder() {
        for cedar in [
            "forbid(principal, action, resource == Program::\"rm\");",
            "forbid(principal, action, resource in Program::\"rm\");",
            "forbid(principal, action, resource is Program) when { resource.name == \"rm\" };",
        ] {
            for program in ["rm", "/bin/rm", "./rm", "/usr/bin/../bin/rm"] {
                check(cedar, &runs(program), Verdict::Deny);
            }
            check(cedar, &runs("rmdir"), Verdict::Allow);
        }
    }

    #[test]
    fn a_permit_opens_nothing_that_yaml_does_not_open() {
        let permit = "permit(principal, action, resource);";
        for (yaml, verdict) in [
            ("version: 1\n", Verdict::Deny),
            ("version: 1\ndefault: deny\nlimits: {max_files: 9}\n", Verdict::Deny),
            ("version: 1\npaths: {protected: ['**']}\n", Verdict::NeedApproval),
            ("version: 1\npaths: {allowed: ['**']}\n", Verdict::Allow),
        ] {
            assert_eq!(by(&set(yaml, permit), &write("a")).verdict(), verdict, "{yaml}");
        }
        let contracts = contracts();
        let policies = [Source::new("policies/a.cedar", permit.as_bytes())];
        let files = CedarFiles { policies: &policies, roles: None };
        let alone = PolicySet::empty().with_cedar(files, contracts.iter().map(Arc::as_ref));
        assert_eq!(by(&Arc::new(alone.unwrap()), &write("a")).verdict(), Verdict::Deny);
    }

    /// The validator cannot see that a sum leaves the range of numbers.
    const FAILS: &str = "@id(\"sum\") permit(principal, action, resource) \
                         when { context.lines + 9223372036854775807 > 0 };";

    #[test]
    fn what_cannot_be_evaluated_denies() {
        let mut ask = write("a");
        check(FAILS, &ask, Verdict::Allow);
        ask.effects.changes.lines = 1;
        let decision = check(FAILS, &ask, Verdict::Deny);
        let said = decision.reasons().iter().find(|one| one.verdict == Verdict::Deny).unwrap();
        assert_eq!((&*said.rule, said.path.as_deref()), ("cedar:sum", Some("a")));
        assert!(said.message.contains("cannot be evaluated, so it denies"), "{said}");
    }

    #[test]
    fn what_is_no_policy_is_refused_at_its_place() {
        let roles = "roles: { dev: ['user:ann'] }";
        for (cedar, place, says) in [
            ("forbid(principal, action", "a.cedar:1:", "this is no Cedar policy"),
            ("\n  forbid(principal, action, what);", "a.cedar:2:", "this is no Cedar policy"),
            ("permit(principal == ?principal, action, resource);", "a.cedar:1:", "template"),
            (
                "permit(principal, action, resource);\nforbid(principal, action == Action::\"fs.wirte\", resource);",
                "a.cedar:2:",
                "does not fit the catalogue",
            ),
            (
                "forbid(principal, action, resource) when { resource.path == \"a\" };",
                "a.cedar:1:",
                "does not fit the catalogue",
            ),
            (
                "forbid(principal, action, resource is Path) when { resource.path == 1 };",
                "a.cedar:1:",
                "does not fit the catalogue",
            ),
            ("forbid(principal is Robot, action, resource);", "a.cedar:1:", "Robot"),
            ("forbid(principal, action, resource in Path::\"/etc\");", "a.cedar:1:1", "never is"),
            ("forbid(principal, action, resource in Path::\"src/\");", "a.cedar:1:1", "never is"),
            ("forbid(principal, action, resource == Host::\"A.b:1\");", "a.cedar:1:1", "never is"),
            (
                "forbid(principal in Role::\"dve\", action, resource);",
                "a.cedar:1:1",
                "no such role",
            ),
            (
                "@id(\"x\") forbid(principal, action, resource);\n@id(\"x\") permit(principal, action, resource);",
                "a.cedar:2:1",
                "two policies named",
            ),
            ("@id(\"\") forbid(principal, action, resource);", "a.cedar:1:1", "@id"),
        ] {
            let error = load(EVERYTHING, &[("a.cedar", cedar)], Some(roles)).unwrap_err();
            assert!(error.starts_with(place), "{error}\n{cedar}");
            assert!(error.contains(says), "{error}\n{cedar}");
        }
        for (roles, says) in [
            ("roles: { dev: [ann] }", "`user:NAME` or `agent:NAME`"),
            ("roles: { dev: ['user:'] }", "`user:NAME` or `agent:NAME`"),
            ("role: {}", "did you mean `roles`?"),
        ] {
            let error = load(EVERYTHING, &[], Some(roles)).unwrap_err();
            assert!(error.contains("policies/roles.yaml:1:") && error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_policy_that_never_applies_is_remarked() {
        let never = "forbid(principal, action == Action::\"fs.write\", resource is Tool);";
        let findings = set(EVERYTHING, never).lint(&[]);
        let found = findings.iter().find(|one| one.code == "cedar").unwrap();
        assert_eq!(found.place, "policies/a.cedar:1:1");
    }

    #[test]
    fn a_decision_is_replayed_from_the_texts_alone() {
        let cedar = [
            ("policies/b.cedar", FAILS),
            (
                "policies/a.cedar",
                "@id(\"dev\") forbid(principal in Role::\"dev\", action, resource in Path::\"b\");",
            ),
        ];
        let set = Arc::new(load(EVERYTHING, &cedar, Some("roles: { dev: ['user:ann'] }")).unwrap());
        let kept = PolicySet::from_sources(&set.sources()).unwrap();
        assert_eq!(kept.digest(), set.digest());
        let mut ask = write("a").write("b/c").read("c");
        for lines in [0, 1] {
            ask.effects.changes.lines = lines;
            let described = ask.describe();
            let decision = WriteGate::new(Arc::clone(&set), clock()).decide(&described);
            let replayed = DecisionInputs::of(&decision, &described).replay(&kept);
            assert_eq!(replayed.differs_from(decision.record()), None);
            assert_eq!(replayed.reasons, decision.reasons());
            assert!(replayed.undecided.is_empty());
        }
    }

    #[test]
    fn every_text_is_part_of_the_digest() {
        let digest =
            |cedar: &[(&str, &str)], roles| load(EVERYTHING, cedar, roles).unwrap().digest();
        let (permit, forbid) =
            ("permit(principal, action, resource);", "forbid(principal, action, resource);");
        let mut all = vec![
            PolicySet::workspace(&Source::new("policy.yaml", EVERYTHING.as_bytes()))
                .unwrap()
                .digest(),
            digest(&[("a", permit)], None),
            digest(&[("a", forbid)], None),
            digest(&[("b", permit)], None),
            digest(&[("a", permit)], Some("roles: {}")),
            digest(&[("a", permit), ("b", forbid)], None),
            digest(&[("a", forbid), ("b", permit)], None),
        ];
        assert_eq!(
            digest(&[("b", forbid), ("a", permit)], None),
            digest(&[("a", permit), ("b", forbid)], None)
        );
        all.sort_by_key(ToString::to_string);
        all.dedup();
        assert_eq!(all.len(), 7);
    }

    #[test]
    fn cases_of_a_policy_ask_cedar_as_well() {
        let cedar =
            "@id(\"ann\") forbid(principal in User::\"ann\", action, resource in Path::\"a\");";
        let text = "cases:\n  - { ask: { user: ann, write: [a/b] }, verdict: deny, rule: 'cedar:ann' }\n  \
                    - { ask: { user: bob, write: [a/b] }, verdict: allow }\n";
        let cases = PolicyCases::from_yaml(&Source::new("c.yaml", text.as_bytes())).unwrap();
        let results = cases.run(&set(EVERYTHING, cedar), Timestamp::parse(NOW).unwrap());
        assert!(results.iter().all(|result| result.passed), "{results:#?}");
    }

    #[test]
    fn the_schema_names_every_capability_and_what_it_can_be_about() {
        let contracts = contracts();
        let schema = PolicySet::cedar_schema(contracts.iter().map(Arc::as_ref)).unwrap();
        for contract in &contracts {
            assert!(schema.contains(&format!("action \"{}\" in ", contract.id)), "{schema}");
        }
        assert!(schema.contains("action \"deep.down.*\";"), "{schema}");
    }

    fn rule() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "(principal, action, resource);",
            "(principal in User::\"ann\", action, resource);",
            "(principal in User::\"bob\", action, resource);",
            "(principal, action == Action::\"fs.write\", resource);",
            "(principal, action in Action::\"fs.*\", resource is Path);",
            "(principal, action, resource in Path::\"src\");",
            "(principal, action, resource is Path) when { resource.path like \"*.rs\" };",
            "(principal, action, resource) unless { context.effect == \"fs.read\" };",
            "(principal, action, resource) when { context.lines + 9223372036854775807 > 0 };",
        ])
    }

    fn rules() -> impl Strategy<Value = Vec<String>> {
        let one = (prop::bool::ANY, rule());
        let one = one.prop_map(|(permits, rule)| {
            format!("{}{rule}\n", if permits { "permit" } else { "forbid" })
        });
        prop::collection::vec(one, 0..5)
    }

    fn yaml() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "version: 1\ndefault: allow\n",
            "version: 1\n",
            "version: 1\npaths: {allowed: ['src/**']}\n",
            "version: 1\npaths: {allowed: ['**'], protected: ['src/**'], forbidden: ['**/b']}\n",
        ])
    }

    fn ask() -> impl Strategy<Value = Ask> {
        let targets = prop::sample::select(vec!["src/a.rs", "src/b", "docs/b", "a.txt", "c/d.rs"]);
        let effects = prop::collection::vec((0..3_u8, targets), 0..4);
        (effects, 0..2_u64, any::<bool>()).prop_map(|(effects, lines, bob)| {
            let mut ask = Ask::new("fs.write");
            for (kind, target) in effects {
                ask = match kind {
                    0 => ask.read(target),
                    1 => ask.write(target),
                    _ => ask.delete(target),
                };
            }
            ask.effects.changes.lines = lines;
            if bob {
                ask.user = "bob".to_owned();
            }
            ask
        })
    }

    fn verdict(yaml: &str, cedar: &[String], ask: &Ask) -> Verdict {
        by(&set(yaml, &cedar.concat()), ask).verdict()
    }

    fn yaml_alone(yaml: &str) -> Arc<PolicySet> {
        let source = Source::new("policy.yaml", yaml.as_bytes());
        Arc::new(
            PolicySet::new([Policy::from_yaml(PolicyLayer::Workspace, &source).unwrap()]).unwrap(),
        )
    }

    /// Whatever a file system lets somebody name, short of what a path cannot hold.
    fn hostile_path() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            "[\"\\\\':;(){}@#?*<>|&$!`~^%,=+ a-c]{1,6}",
            "[\u{e9}\u{3042}\u{1f600}a-c]{1,4}",
            Just("Path::\"a\"".to_owned()),
            Just("\\u{61}".to_owned()),
            Just("a\" || true || \"".to_owned()),
        ];
        prop::collection::vec(part, 1..4)
            .prop_map(|parts| parts.join("/"))
            .prop_filter("a path", |path| lictor_context::WorkspacePath::parse(path).is_ok())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn adding_a_forbid_never_weakens(
            yaml in yaml(), rules in rules(), extra in rule(), ask in ask()
        ) {
            let before = verdict(yaml, &rules, &ask);
            let mut more = rules;
            more.push(format!("forbid{extra}\n"));
            prop_assert!(verdict(yaml, &more, &ask) >= before);
        }

        #[test]
        fn no_policy_in_cedar_lowers_what_yaml_says(
            yaml in yaml(), rules in rules(), ask in ask()
        ) {
            let alone = by(&yaml_alone(yaml), &ask).verdict();
            prop_assert!(verdict(yaml, &rules, &ask) >= alone);
            let permits: Vec<String> =
                rules.iter().map(|rule| rule.replace("forbid", "permit")).collect();
            let permits: Vec<String> =
                permits.into_iter().filter(|rule| !rule.contains('+')).collect();
            prop_assert_eq!(verdict(yaml, &permits, &ask), alone);
        }

        #[test]
        fn cedar_order_does_not_matter(yaml in yaml(), rules in rules(), ask in ask()) {
            let mut reversed = rules.clone();
            reversed.reverse();
            prop_assert_eq!(verdict(yaml, &rules, &ask), verdict(yaml, &reversed, &ask));
        }

        /// A policy about one path, quoted as Cedar quotes it, speaks about that path and about
        /// no other.
        #[test]
        fn hostile_paths_are_never_confused(named in hostile_path(), asked in hostile_path()) {
            let quoted: String = named.chars().flat_map(char::escape_unicode).collect();
            let cedar = format!("forbid(principal, action, resource == Path::\"{quoted}\");");
            let set = set(EVERYTHING, &cedar);
            let says = |path: &str| by(&set, &write(path)).verdict();
            prop_assert_eq!(says(&named), Verdict::Deny);
            let other = if named == asked { Verdict::Deny } else { Verdict::Allow };
            prop_assert_eq!(says(&asked), other);
            let inside = format!("{named}/x");
            prop_assert_eq!(says(&inside), Verdict::Allow);
        }
    }
}
