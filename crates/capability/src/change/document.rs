//! The file that holds a plan and a change set, or only the changes.

use lictor_context::{ChangeSetId, Digest, PlanId};
use lictor_document::{DocumentError, Limits, Located, Source, from_json};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::set::{Change, ChangeSet, ChangeSetError, RawChange};
use crate::plan::Plan;

/// A plan with its change set.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangeDocument {
    /// What the change is for.
    pub plan: Plan,
    /// The changes.
    pub change_set: ChangeSet,
    /// Whether the plan's id was derived from the changes because the document named none. Then
    /// the id says nothing about the author's intent: the same changes, wanted again after they
    /// were taken back, are another wish under the same id.
    pub derived_plan_id: bool,
}

/// A change document could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ChangeDocumentError {
    /// It is not JSON, or not of this shape.
    #[error(transparent)]
    Syntax(#[from] DocumentError),
    /// It is of this shape, and still wrong.
    #[error("{file}: {error}")]
    Invalid {
        /// The file's name.
        file: String,
        /// What is wrong.
        #[source]
        error: ChangeSetError,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDocument {
    plan: Option<Plan>,
    change_set: Option<RawSet>,
    id: Option<ChangeSetId>,
    plan_id: Option<PlanId>,
    changes: Option<Vec<Located<RawChange>>>,
    checksum: Option<Digest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSet {
    id: Option<ChangeSetId>,
    plan_id: Option<PlanId>,
    changes: Vec<Located<RawChange>>,
    checksum: Option<Digest>,
}

#[derive(Serialize)]
struct SetOut<'a> {
    id: &'a ChangeSetId,
    plan_id: &'a PlanId,
    changes: Vec<RawChange>,
    checksum: Digest,
}

impl ChangeDocument {
    /// Reads `{"plan": …, "change_set": …}`, or a bare `{"changes": […]}`. A checksum that is
    /// there must fit; ids and a checksum that are not there are filled in, from the content, so
    /// that the same file always means the same thing.
    ///
    /// # Errors
    /// When the text is not such a document, or its checksum does not fit.
    pub fn from_json(source: &Source<'_>, limits: &Limits) -> Result<Self, ChangeDocumentError> {
        let raw: RawDocument = from_json(source, limits)?;
        let invalid = |error| ChangeDocumentError::Invalid { file: source.name.to_owned(), error };
        raw.into_document(source).map_err(|error| match error {
            Problem::Shape(error) => ChangeDocumentError::Syntax(error),
            Problem::Set(error) => invalid(error),
        })
    }

    /// A document for changes that were made here: ids and checksum come from the content.
    ///
    /// # Errors
    /// When there are no changes.
    pub fn seal(plan: Option<Plan>, changes: Vec<Change>) -> Result<Self, ChangeSetError> {
        build(plan, None, None, changes, None)
    }

    /// The sealed document, as `lictor change seal` prints it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let out = SetOut {
            id: self.change_set.id(),
            plan_id: self.change_set.plan_id(),
            changes: self.change_set.changes().iter().map(RawChange::from).collect(),
            checksum: self.change_set.checksum(),
        };
        json!({ "plan": self.plan, "change_set": out })
    }
}

enum Problem {
    Shape(DocumentError),
    Set(ChangeSetError),
}

impl From<ChangeSetError> for Problem {
    fn from(error: ChangeSetError) -> Self {
        Self::Set(error)
    }
}

impl RawDocument {
    fn into_document(self, source: &Source<'_>) -> Result<ChangeDocument, Problem> {
        let shape = |message: &str| Problem::Shape(DocumentError::at(source.name, 1, 1, message));
        let set = match (self.change_set, self.changes) {
            (Some(set), None)
                if self.id.is_none() && self.plan_id.is_none() && self.checksum.is_none() =>
            {
                set
            }
            (None, Some(changes)) => {
                RawSet { id: self.id, plan_id: self.plan_id, changes, checksum: self.checksum }
            }
            (None, None) => {
                return Err(shape(
                    "no changes; accepted: `{\"plan\": …, \"change_set\": …}` or `{\"changes\": […]}`",
                ));
            }
            _ => {
                return Err(shape(
                    "`change_set` and the fields of a bare change set are both there; give one",
                ));
            }
        };
        let mut changes = Vec::with_capacity(set.changes.len());
        for (index, raw) in set.changes.into_iter().enumerate() {
            let place = (raw.line, raw.column);
            // Its own place, not the list's: that is where the author has to look.
            let change = raw.value.into_change(index).map_err(|error| {
                let error = DocumentError::at(source.name, place.0, place.1, error.to_string());
                Problem::Shape(error.with_excerpt_of(source))
            })?;
            changes.push(change);
        }
        Ok(build(self.plan, set.id, set.plan_id, changes, set.checksum)?)
    }
}

fn build(
    plan: Option<Plan>,
    id: Option<ChangeSetId>,
    plan_id: Option<PlanId>,
    changes: Vec<Change>,
    stated: Option<Digest>,
) -> Result<ChangeDocument, ChangeSetError> {
    let named = plan.as_ref().map(|plan| plan.id.clone());
    if let (Some(stated), Some(plan)) = (&plan_id, &named)
        && stated != plan
    {
        return Err(ChangeSetError::OtherPlan { stated: stated.clone(), plan: plan.clone() });
    }
    // Sealed once with placeholder ids to learn the checksum that the derived ids come from.
    let probe = ChangeSet::seal(
        ChangeSetId::from_digest(&Digest::of(b"")),
        PlanId::from_digest(&Digest::of(b"")),
        changes,
    )?;
    let checksum = probe.checksum();
    if let Some(stated) = stated
        && stated != checksum
    {
        return Err(ChangeSetError::Tampered { stated, actual: checksum });
    }
    let given = named.or(plan_id);
    let derived_plan_id = given.is_none();
    let plan_id = given.unwrap_or_else(|| PlanId::from_digest(&checksum));
    let id = id.unwrap_or_else(|| ChangeSetId::from_digest(&checksum));
    let plan = plan.unwrap_or_else(|| Plan::bare(plan_id.clone()));
    Ok(ChangeDocument { plan, change_set: probe.named(id, plan_id), derived_plan_id })
}
