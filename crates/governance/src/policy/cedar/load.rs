//! Reading Cedar policies: parsed, named, held against the schema, before any of them counts.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::{
    Effect as Says, Policy, PolicyId, PolicySet as Policies, Schema, ValidationMode, Validator,
};
use lictor_capability::Contract;
use lictor_document::{DocumentError, Limits, Source};
use miette::Diagnostic;

use super::roles::Roles;
use super::{ask::Types, input::Looks, literals, schema};
use crate::decision::Layer;
use crate::policy::error::{PolicyError, PolicyErrorKind};
use crate::policy::lint::{LintFinding, LintLevel};
use crate::policy::set::{PolicyLanguage, PolicySource};

/// Most policies of a workspace: each is asked about each effect.
const MAX_POLICIES: usize = 1_000;
/// The longest `@id`, in bytes.
const MAX_ID: usize = 128;

/// The policies, compiled.
#[derive(Debug)]
pub(in crate::policy) struct Rules {
    /// Under their numbers.
    pub(super) policies: Policies,
    /// By number.
    pub(super) voices: Vec<RuleVoice>,
    /// Those that look at inputs, without their conditions, under the same numbers.
    pub(super) scopes: Policies,
    /// What all of them together look at.
    pub(super) looks: Looks,
    pub(super) roles: Roles,
    pub(super) types: Types,
    findings: Vec<LintFinding>,
}

/// How a policy speaks in reasons.
#[derive(Debug)]
pub(super) struct RuleVoice {
    /// `cedar:` and its `@id`, or its file and number.
    pub(super) rule: Arc<str>,
    /// Its `@message`.
    pub(super) message: Arc<str>,
    pub(super) place: Arc<str>,
    pub(super) forbids: bool,
    /// What it looks at of inputs.
    pub(super) looks: Looks,
}

/// A policy on its way.
struct Read<'a> {
    policy: Policy,
    source: &'a PolicySource,
    offset: usize,
}

impl Rules {
    pub(super) fn load(
        sources: &[PolicySource],
        contracts: Option<&[&Contract]>,
    ) -> Result<Self, PolicyError> {
        let mut roles = Roles::default();
        let (mut read, mut voices) = (Vec::new(), Vec::new());
        let mut names = BTreeSet::new();
        for source in sources {
            if source.language == PolicyLanguage::CedarRoles {
                roles = Roles::read(&Source::new(&source.name, source.text.as_bytes()))?;
                continue;
            }
            for (number, one) in parse(source)?.into_iter().enumerate() {
                let voice = voice(&one, number)?;
                if !names.insert(Arc::clone(&voice.rule)) {
                    let problem = format!("there are two policies named `{}`", voice.rule);
                    return Err(refusal(source, one.offset, &problem));
                }
                voices.push(voice);
                read.push(one);
            }
        }
        if read.len() > MAX_POLICIES {
            return Err(broken(format!("more than the {MAX_POLICIES} policies that are accepted")));
        }
        let (mut policies, mut scopes) = (Policies::new(), Policies::new());
        let mut looks = Looks::default();
        for (number, one) in read.iter().enumerate() {
            if let Some(problem) = literals::problem(&one.policy, &roles) {
                return Err(refusal(one.source, one.offset, &problem));
            }
            let id = PolicyId::new(number.to_string());
            let add = |set: &mut Policies, policy: Policy| {
                set.add(policy).map_err(|error| broken(error.to_string()))
            };
            if let Some(voice) = voices.get(number).filter(|voice| !voice.looks.is_nothing()) {
                looks.and(&voice.looks);
                add(&mut scopes, scope(&one.policy, id.clone())?)?;
            }
            add(&mut policies, one.policy.new_id(id))?;
        }
        let findings = match contracts {
            Some(contracts) => validate(&policies, &read, &voices, contracts)?,
            None => Vec::new(),
        };
        Ok(Self { policies, voices, scopes, looks, roles, types: Types::new()?, findings })
    }

    pub(super) fn schema(contracts: &[&Contract]) -> Result<String, PolicyError> {
        let text = schema::text(contracts);
        compiled(&text)?;
        Ok(text)
    }

    pub(super) fn findings(&self) -> Cow<'_, [LintFinding]> {
        Cow::Borrowed(&self.findings)
    }
}

/// The policy without its conditions: it says whom, what and where it is about.
fn scope(policy: &Policy, id: PolicyId) -> Result<Policy, PolicyError> {
    let mut tree = policy.to_json().map_err(|error| broken(error.to_string()))?;
    if let Some(tree) = tree.as_object_mut() {
        tree.insert("conditions".to_owned(), serde_json::json!([]));
    }
    Policy::from_json(Some(id), tree).map_err(|error| broken(error.to_string()))
}

/// A mistake without a place.
pub(super) fn broken(problem: String) -> PolicyError {
    PolicyError::new(PolicyErrorKind::Cedar { problem })
}

/// A mistake at a place.
fn refusal(source: &PolicySource, offset: usize, problem: &str) -> PolicyError {
    let (line, column) = place(&source.text, offset);
    let text = Source::new(&source.name, source.text.as_bytes());
    DocumentError::at(&source.name, line, column, problem).with_excerpt_of(&text).into()
}

/// Line and column of an offset, from 1.
fn place(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    (small(line), small(column))
}

/// Where a diagnostic points to.
fn offset_of(found: &dyn Diagnostic) -> Option<usize> {
    Some(found.labels()?.next()?.offset())
}

/// The policies of a file, in their order, with their places.
fn parse(source: &PolicySource) -> Result<Vec<Read<'_>>, PolicyError> {
    if source.text.len() as u64 > Limits::DEFAULT.max_bytes {
        return Err(refusal(source, 0, "the file is larger than the 1 MiB that is accepted"));
    }
    let parsed: Policies = source.text.parse().map_err(|errors: cedar_policy::ParseErrors| {
        let first = errors.iter().next();
        let offset = first.and_then(|error| offset_of(error)).unwrap_or(0);
        let what = first.map_or_else(|| errors.to_string(), shown);
        refusal(source, offset, &format!("this is no Cedar policy: {what}"))
    })?;
    if parsed.num_of_templates() > 0 {
        let offset = source.text.find(['?']).unwrap_or(0);
        return Err(refusal(
            source,
            offset,
            "a template says nothing until somebody links it; accepted here: policies without `?principal` and `?resource`",
        ));
    }
    let number = |policy: &Policy| {
        let id = policy.id().to_string();
        id.strip_prefix("policy").and_then(|number| number.parse::<usize>().ok())
    };
    let mut policies: Vec<Policy> = parsed.policies().cloned().collect();
    policies.sort_by_key(number);
    let code = without_comments(&source.text);
    let mut from = 0;
    let read = policies.into_iter().map(|policy| {
        let text = without_comments(&policy.to_cedar().unwrap_or_default());
        let found = code.get(from..).and_then(|rest| rest.find(&text)).unwrap_or(0);
        let offset = from + found;
        from = offset + text.len();
        Read { policy, source, offset }
    });
    Ok(read.collect())
}

/// The text with every comment blanked, so that what stands in one is not taken for a policy.
fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => {
                code.push(c);
                code.extend(chars.next());
            }
            '/' if !quoted && chars.peek() == Some(&'/') => {
                code.push(' ');
                while let Some(c) = chars.next_if(|c| *c != '\n') {
                    code.extend(std::iter::repeat_n(' ', c.len_utf8()));
                }
            }
            c => {
                quoted ^= c == '"';
                code.push(c);
            }
        }
    }
    code
}

fn voice(one: &Read<'_>, number: usize) -> Result<RuleVoice, PolicyError> {
    let refuse = |problem: &str| Err(refusal(one.source, one.offset, problem));
    let fits = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
    let rule = match one.policy.annotation("id") {
        None => format!("cedar:{}#{}", one.source.name, number + 1),
        Some(id) if fits(id) && id.len() <= MAX_ID && !id.contains('#') => format!("cedar:{id}"),
        Some(_) => return refuse("accepted as @id: 1 to 128 bytes of text without `#`"),
    };
    let forbids = one.policy.effect() == Says::Forbid;
    let message = match one.policy.annotation("message") {
        Some(message) if fits(message) => message,
        Some(_) => return refuse("accepted as @message: a text on one line"),
        None if forbids => "a Cedar policy forbids it",
        None => "a Cedar policy permits it",
    };
    let (line, column) = place(&one.source.text, one.offset);
    Ok(RuleVoice {
        rule: Arc::from(rule),
        message: Arc::from(message),
        place: Arc::from(format!("{}:{line}:{column}", one.source.name)),
        forbids,
        looks: Looks::of(&one.policy),
    })
}

fn compiled(schema: &str) -> Result<Schema, PolicyError> {
    match Schema::from_cedarschema_str(schema) {
        Ok((schema, _)) => Ok(schema),
        Err(error) => Err(broken(format!("the schema of the catalogue is none: {error}"))),
    }
}

/// Holds the policies against the schema; gives what is no mistake and still worth a look.
fn validate(
    policies: &Policies,
    read: &[Read<'_>],
    voices: &[RuleVoice],
    contracts: &[&Contract],
) -> Result<Vec<LintFinding>, PolicyError> {
    let schema = compiled(&schema::text(contracts))?;
    let result = Validator::new(schema).validate(policies, ValidationMode::Strict);
    let number = |id: &PolicyId| id.to_string().parse::<usize>().ok();
    // The validator keeps no order; the first in the files is the one to mend first.
    let mistakes = result.validation_errors().map(|error| {
        let number = number(error.policy_id());
        let one = number.and_then(|number| read.get(number));
        (number, one.map(|one| offset_of(error).unwrap_or(one.offset)), shown(error))
    });
    if let Some((number, offset, what)) = mistakes.min() {
        let problem = format!("the policy does not fit the catalogue: {what}");
        let one = number.and_then(|number| read.get(number));
        return Err(match (one, offset) {
            (Some(one), Some(offset)) => refusal(one.source, offset, &problem),
            _ => broken(problem),
        });
    }
    let mut findings: Vec<LintFinding> = Vec::new();
    for warning in result.validation_warnings() {
        let Some(voice) = number(warning.policy_id()).and_then(|number| voices.get(number)) else {
            continue;
        };
        findings.push(LintFinding {
            level: LintLevel::Warning,
            code: "cedar",
            layer: Layer::Workspace,
            rule: voice.rule.to_string(),
            place: voice.place.to_string(),
            message: shown(warning),
        });
    }
    findings.sort_by(|a, b| (&a.place, &a.message).cmp(&(&b.place, &b.message)));
    Ok(findings)
}

/// A diagnostic in one line, with what helps. Policies are known here by number and to people by
/// place, so that part of the text is left out.
fn shown<D: Diagnostic>(found: &D) -> String {
    let text = found.to_string();
    let text = match text.strip_prefix("for policy `").and_then(|rest| rest.split_once("`, ")) {
        Some((_, rest)) => rest.to_owned(),
        None => text,
    };
    match found.help() {
        Some(help) => format!("{text}; {help}"),
        None => text,
    }
}
