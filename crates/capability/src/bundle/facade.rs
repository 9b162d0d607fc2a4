//! Facades: from what somebody says to a workflow or a pack, never to a bare capability.

use std::fmt;

use lictor_context::{Digest, Name};
use lictor_document::{Limits, Located, Source, from_yaml};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::BundleError;
use super::route::words;

/// A facade, as `.lictor/facades/<id>.yaml` says it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Facade {
    /// Its id.
    pub id: Name,
    /// Its version.
    pub version: semver::Version,
    /// A title for people.
    pub title: String,
    /// The phrases that call it.
    pub triggers: Vec<String>,
    /// What somebody might say.
    pub examples: Vec<String>,
    /// Where it leads.
    pub routes: Routes,
}

/// Where a facade leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routes {
    /// First of all.
    pub primary: RouteTarget,
    /// When that may not be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<RouteTarget>,
}

/// A workflow or a pack. There is no variant for a capability, and so no facade leads to one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RouteTarget {
    /// A workflow.
    Workflow(Name),
    /// A pack.
    Pack(Name),
}

impl fmt::Display for RouteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workflow(id) => write!(f, "workflow `{id}`"),
            Self::Pack(id) => write!(f, "pack `{id}`"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    id: Name,
    version: semver::Version,
    title: String,
    triggers: Located<Vec<Located<String>>>,
    #[serde(default)]
    examples: Vec<String>,
    routes: Routes,
}

impl Facade {
    /// Reads a facade.
    ///
    /// # Errors
    /// When the text is no facade, with the place and what is accepted there.
    pub fn from_yaml(source: &Source<'_>) -> Result<Self, BundleError> {
        let raw: Raw = from_yaml(source, &Limits::default())?;
        if raw.triggers.value.is_empty() {
            let problem =
                "a facade without a trigger is never called; one phrase at least is accepted";
            return Err(raw.triggers.error(source.name, problem).with_excerpt_of(source).into());
        }
        for trigger in &raw.triggers.value {
            if words(&trigger.value).is_empty() {
                let problem = "a trigger holds one word at least";
                return Err(trigger.error(source.name, problem).with_excerpt_of(source).into());
            }
        }
        Ok(Self {
            id: raw.id,
            version: raw.version,
            title: raw.title,
            triggers: raw.triggers.value.into_iter().map(|trigger| trigger.value).collect(),
            examples: raw.examples,
            routes: raw.routes,
        })
    }

    /// The facade as JSON: what its digest is taken of.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!(self)
    }

    /// The digest of its canonical JSON. Approvals bind to it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Texts and lists of texts: canonical JSON cannot fail on them.
        Digest::of_json(self).unwrap_or_else(|_| Digest::of(b""))
    }
}
