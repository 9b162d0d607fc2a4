//! Asking Cedar: each effect is a request, and what speaks about it becomes a reason.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request,
    RestrictedExpression as Expression,
};
use lictor_capability::{Effect, EffectKind, Risk};

use super::load::{RuleVoice, Rules, broken};
use super::{Spoken, schema};
use crate::decision::{Layer, Verdict};
use crate::policy::asked::{Asked, host_and_port, other_names};
use crate::policy::error::PolicyError;
use crate::policy::evaluate::Voice;
use crate::policy::hits::Hits;
use crate::policy::pattern::fold;
use crate::policy::reserved::is_ignored;

/// The names of the entity types, parsed once.
#[derive(Debug)]
pub(super) struct Types {
    action: EntityTypeName,
    agent: EntityTypeName,
    user: EntityTypeName,
    org: EntityTypeName,
    role: EntityTypeName,
    path: EntityTypeName,
    host: EntityTypeName,
    program: EntityTypeName,
    server: EntityTypeName,
    tool: EntityTypeName,
    workspace: EntityTypeName,
}

impl Types {
    pub(super) fn new() -> Result<Self, PolicyError> {
        let name =
            |text: &str| text.parse::<EntityTypeName>().map_err(|error| broken(error.to_string()));
        Ok(Self {
            action: name("Action")?,
            agent: name("Agent")?,
            user: name("User")?,
            org: name("Org")?,
            role: name("Role")?,
            path: name("Path")?,
            host: name("Host")?,
            program: name("Program")?,
            server: name("Server")?,
            tool: name("Tool")?,
            workspace: name("Workspace")?,
        })
    }
}

/// An entity by its type and id. Nothing is parsed, so no name can be taken for another.
fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

/// One thing that Cedar is asked about.
struct Subject {
    resource: EntityUid,
    /// `None`: the action as a whole.
    effect: Option<usize>,
    kind: Option<EffectKind>,
    port: Option<i64>,
    implicit: bool,
    /// Another name of the same thing: only what is forbidden about it counts.
    other_name: bool,
}

/// What Cedar cannot be asked, or cannot answer.
struct Failed(String);

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// The entities of one decision.
struct World<'a> {
    types: &'a Types,
    entities: HashMap<EntityUid, Entity>,
}

impl World<'_> {
    fn add(
        &mut self,
        uid: &EntityUid,
        attributes: &[(&str, Expression)],
        parents: HashSet<EntityUid>,
    ) -> Result<(), Failed> {
        if !self.entities.contains_key(uid) {
            let attributes =
                attributes.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
            let entity = Entity::new(uid.clone(), attributes.collect(), parents)?;
            self.entities.insert(uid.clone(), entity);
        }
        Ok(())
    }

    fn path(&mut self, path: &str) -> Result<EntityUid, Failed> {
        let own = uid(&self.types.path, path);
        let name = path.rsplit('/').next().unwrap_or(path);
        let visible: String = path.chars().filter(|c| !is_ignored(*c)).collect();
        let attributes =
            [("path", text(path)), ("name", text(name)), ("folded", text(&fold(&visible)))];
        // All folders above it are named here, so that a deep path costs its length once.
        let above = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        let mut parents: HashSet<EntityUid> =
            above.map(|folder| uid(&self.types.path, folder)).collect();
        if path != "." {
            parents.insert(uid(&self.types.path, "."));
        }
        self.add(&own, &attributes, parents)?;
        Ok(own)
    }

    fn host(&mut self, target: &str) -> Result<EntityUid, Failed> {
        let (host, _) = host_and_port(target);
        let own = uid(&self.types.host, &host);
        self.add(&own, &[("host", text(&host))], HashSet::new())?;
        Ok(own)
    }

    fn program(&mut self, target: &str) -> Result<EntityUid, Failed> {
        let own = uid(&self.types.program, target);
        let name = target.rsplit('/').next().unwrap_or(target);
        let attributes = [("program", text(target)), ("name", text(name))];
        let parents = other_names(target).map(|other| uid(&self.types.program, &other));
        let parents = parents.collect();
        self.add(&own, &attributes, parents)?;
        Ok(own)
    }

    fn tool(&mut self, target: &str) -> Result<EntityUid, Failed> {
        let own = uid(&self.types.tool, target);
        let (server, tool) = target.split_once('/').unwrap_or((target, ""));
        let parents = HashSet::from([uid(&self.types.server, server)]);
        self.add(&own, &[("tool", text(tool))], parents)?;
        Ok(own)
    }
}

fn text(text: &str) -> Expression {
    Expression::new_string(text.to_owned())
}

fn number(number: u64) -> Expression {
    Expression::new_long(i64::try_from(number).unwrap_or(i64::MAX))
}

impl Rules {
    /// What every policy says that speaks, in the order of the files. What goes wrong denies.
    pub(super) fn ask(&self, asked: &Asked<'_>, effects: &[Effect<'_>], risk: Risk) -> Vec<Spoken> {
        match self.try_ask(asked, effects, risk) {
            Ok(spoken) => spoken,
            Err(Failed(problem)) => vec![Spoken {
                voice: Voice {
                    layer: Layer::Workspace,
                    rule: Arc::from("cedar"),
                    verdict: Verdict::Deny,
                    approvals: 0,
                    message: Arc::from(format!(
                        "Cedar cannot be asked, so it is denied: {problem}"
                    )),
                    place: None,
                },
                hits: None,
            }],
        }
    }

    fn try_ask(
        &self,
        asked: &Asked<'_>,
        effects: &[Effect<'_>],
        risk: Risk,
    ) -> Result<Vec<Spoken>, Failed> {
        let mut world = World { types: &self.types, entities: HashMap::new() };
        let principal = self.principal(&mut world, asked)?;
        let action = uid(&self.types.action, asked.capability);
        let groups = schema::groups(asked.capability);
        let groups = groups.map(|group| uid(&self.types.action, &group)).collect();
        world.add(&action, &[], groups)?;
        let subjects = subjects(&mut world, asked, effects)?;
        let entities = Entities::from_entities(world.entities.into_values(), None)?;
        let authorizer = Authorizer::new();
        // Told once for all effects, and only what somebody looks at.
        let input = Expression::new_record(self.looks.record(asked.input))?;
        let beyond = self.looks.beyond(asked.input).is_some();
        let mut spoken: BTreeMap<usize, Spoken> = BTreeMap::new();
        for subject in subjects {
            let context = context(asked, risk, &subject, input.clone())?;
            let (principal, action) = (principal.clone(), action.clone());
            let request = Request::new(principal, action, subject.resource, context, None)?;
            if beyond {
                let response = authorizer.is_authorized(&request, &self.scopes, &entities);
                for id in response.diagnostics().reason() {
                    if let Some((number, voice)) = self.cannot_tell(id.as_ref(), asked)? {
                        add(&mut spoken, 2 * self.voices.len() + number, voice, subject.effect);
                    }
                }
            }
            let response = authorizer.is_authorized(&request, &self.policies, &entities);
            let found = response.diagnostics();
            for id in found.reason() {
                let (number, voice) = self.voice(id.as_ref(), None)?;
                if !subject.other_name || voice.verdict == Verdict::Deny {
                    add(&mut spoken, number, voice, subject.effect);
                }
            }
            for error in found.errors() {
                let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
                let inner = error.inner().to_string();
                let (number, voice) = self.voice(error.policy_id().as_ref(), Some(&inner))?;
                // Behind all that spoke: one policy can say something of one effect and fail at another.
                add(&mut spoken, self.voices.len() + number, voice, subject.effect);
            }
        }
        Ok(spoken.into_values().collect())
    }

    /// How a policy speaks, or that it could not be evaluated, which denies.
    fn voice(&self, id: &str, problem: Option<&str>) -> Result<(usize, Voice), Failed> {
        let number = id.parse::<usize>()?;
        let Some(rule) = self.voices.get(number) else {
            return Err(Failed(format!("there is no policy {number}")));
        };
        let denies = rule.forbids || problem.is_some();
        let voice = Voice {
            layer: Layer::Workspace,
            rule: Arc::clone(&rule.rule),
            verdict: if denies { Verdict::Deny } else { Verdict::Allow },
            approvals: 0,
            message: match problem {
                None => Arc::clone(&rule.message),
                // What it says may quote the input, and reasons are shown and kept.
                Some(_) if !rule.looks.is_nothing() => {
                    Arc::from("it cannot be evaluated with this input, so it denies")
                }
                Some(problem) => {
                    Arc::from(format!("it cannot be evaluated, so it denies: {problem}"))
                }
            },
            place: Some(Arc::clone(&rule.place)),
        };
        Ok((number, voice))
    }

    /// What a policy says that is about an action and looks at what Cedar cannot be told of it.
    fn cannot_tell(&self, id: &str, asked: &Asked<'_>) -> Result<Option<(usize, Voice)>, Failed> {
        let number = id.parse::<usize>()?;
        let Some(rule) = self.voices.get(number) else {
            return Err(Failed(format!("there is no policy {number}")));
        };
        let Some(key) = rule.looks.beyond(asked.input) else { return Ok(None) };
        let voice = Voice {
            layer: Layer::Workspace,
            rule: Arc::clone(&rule.rule),
            verdict: Verdict::Deny,
            approvals: 0,
            message: Arc::from(format!(
                "it looks at `{}` of the input, for which Cedar has no value, so it denies",
                key.escape_debug()
            )),
            place: Some(Arc::clone(&rule.place)),
        };
        Ok(Some((number, voice)))
    }

    /// The policies that look at something of which a record holds the digest only.
    pub(super) fn undecided(&self, asked: &Asked<'_>) -> Vec<String> {
        let meets = self.voices.iter().filter(|voice| voice.looks.meets_sealed(asked.input));
        let say = |voice: &RuleVoice| {
            format!("{}: it looks at an input of which only the digest was kept", voice.rule)
        };
        meets.map(say).collect()
    }

    fn principal(&self, world: &mut World<'_>, asked: &Asked<'_>) -> Result<EntityUid, Failed> {
        let types = &self.types;
        let org = uid(&types.org, asked.org);
        let user = uid(&types.user, asked.user);
        let agent = uid(&types.agent, asked.agent);
        let role = |name: &str| uid(&types.role, name);
        let mut parents: HashSet<EntityUid> = self.roles.of_user(asked.user).map(role).collect();
        parents.insert(org.clone());
        world.add(&user, &[("name", text(asked.user))], parents.clone())?;
        parents.extend(self.roles.of_agent(asked.agent).map(role));
        parents.insert(user.clone());
        let attributes = [("name", text(asked.agent)), ("user", Expression::new_entity_uid(user))];
        world.add(&agent, &attributes, parents)?;
        Ok(agent)
    }
}

fn add(spoken: &mut BTreeMap<usize, Spoken>, number: usize, voice: Voice, effect: Option<usize>) {
    let spoken = spoken.entry(number).or_insert_with(|| Spoken { voice, hits: None });
    if let Some(effect) = effect {
        spoken.hits.get_or_insert_with(Hits::default).add(effect);
    }
}

/// What there is to be asked about: every effect, by every name that it has, or the whole.
fn subjects(
    world: &mut World<'_>,
    asked: &Asked<'_>,
    effects: &[Effect<'_>],
) -> Result<Vec<Subject>, Failed> {
    let mut all = Vec::with_capacity(effects.len());
    for (index, effect) in effects.iter().enumerate() {
        let target = effect.target;
        let (resource, port) = match effect.kind {
            EffectKind::FsRead | EffectKind::FsWrite | EffectKind::FsDelete => {
                (world.path(target)?, None)
            }
            EffectKind::Net => {
                // What is no port of any host is beyond all of them.
                let port = host_and_port(target).1.map(|port| port.parse().unwrap_or(i64::MAX));
                (world.host(target)?, port)
            }
            EffectKind::Process => (world.program(target)?, None),
            EffectKind::Mcp => (world.tool(target)?, None),
        };
        let implicit = effect.kind == EffectKind::FsWrite && asked.implicit.contains(target);
        let (effect, kind) = (Some(index), Some(effect.kind));
        all.push(Subject { resource, effect, kind, port, implicit, other_name: false });
        if kind == Some(EffectKind::Process) {
            for other in asked.also_called(target) {
                let resource = world.program(&other)?;
                all.push(Subject { resource, effect, kind, port, implicit, other_name: true });
            }
        }
    }
    if all.is_empty() {
        let resource = uid(&world.types.workspace, "workspace");
        let (effect, kind, port) = (None, None, None);
        all.push(Subject { resource, effect, kind, port, implicit: false, other_name: false });
    }
    Ok(all)
}

fn context(
    asked: &Asked<'_>,
    risk: Risk,
    subject: &Subject,
    input: Expression,
) -> Result<Context, Failed> {
    let effect = subject.kind.map_or("none", EffectKind::as_str);
    let mut pairs = vec![
        ("effect", text(effect)),
        ("implicit", Expression::new_bool(subject.implicit)),
        ("kind", text(asked.kind.as_str())),
        ("source", text(asked.source)),
        ("session", text(asked.session)),
        ("risk", text(&risk.to_string())),
        ("riskLevel", number(risk as u64 + 1)),
        ("files", number(asked.files)),
        ("lines", number(asked.lines)),
        ("bytes", number(asked.bytes)),
        ("rollsBack", Expression::new_bool(asked.rolls_back)),
        ("input", input),
    ];
    pairs.extend(subject.port.map(|port| ("port", Expression::new_long(port))));
    Ok(Context::from_pairs(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)))?)
}
