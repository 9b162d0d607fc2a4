//! The second half of what a command does: the changes that it made in its staging copy go down the
//! road by themselves, and land, or nothing of them does.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use lictor_capability::{Action, CapabilityId, ChangeDocument};
use lictor_context::{Digest, Event, ExecutionId};
use lictor_document::{Limits, Source};
use lictor_executor::{Kept, StagedChanges};
use lictor_governance::Approval;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::{Agent, Done};
use crate::error::{ActError, ActErrorKind};
use crate::outputs::whole;
use crate::runtime::Runtime;

/// The most that is kept of one command, in bytes.
const MAX_KEPT: u64 = 256 << 20;

/// The end of a kept file's name.
const SEALED: &str = ".sealed";

/// The end of the name of a file that says which requests people were asked about a landing.
const ASKED: &str = ".asked";

/// What is kept of a command's changes while people are asked about them: everything that is needed
/// to ask for the same again, sealed under the key of whoever asked, since the input may hold what no
/// record does. What it says is held against the execution's record.
#[derive(Serialize, Deserialize)]
struct KeptFile {
    capability: String,
    version: Option<String>,
    input: Value,
    salt: String,
    key: Option<Digest>,
    /// Text, so that it is read as strictly as any document.
    document: String,
}

/// The folder of what waits for people.
fn folder(runtime: &Runtime) -> PathBuf {
    runtime.parts.options.state_folder().join("staged")
}

fn file(runtime: &Runtime, id: &ExecutionId) -> PathBuf {
    folder(runtime).join(format!("{id}{SEALED}"))
}

fn asked_file(runtime: &Runtime, id: &ExecutionId) -> PathBuf {
    folder(runtime).join(format!("{id}{ASKED}"))
}

fn make_folder(runtime: &Runtime) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder(runtime))
}

/// What a kept file is sealed for.
fn purpose(id: &ExecutionId) -> String {
    format!("lictor/staged/v1 {id}")
}

impl Agent {
    /// Takes what a command changed in its staging copy down the road. Nobody has agreed to that
    /// yet: whoever agreed to the command had not seen it.
    pub(crate) async fn land(
        &self,
        action: &Action,
        staged: StagedChanges,
    ) -> Result<Done, ActError> {
        let landing = staged.landing(action, self.clock());
        let landed = self.clone().judged_anew().act(landing, None).await;
        landed.map_err(|error| {
            if !matches!(error.kind(), ActErrorKind::ApprovalRequired(_)) {
                self.runtime().parts.executor.forget(&staged);
                return error.after(staged.execution_id().clone());
            }
            let kept = self.keep(action, &staged);
            match kept {
                Ok(()) => error.after(staged.execution_id().clone()),
                // Then it cannot be waited for.
                Err(problem) => {
                    self.runtime().parts.executor.forget(&staged);
                    let why = format!("its changes cannot be kept: {problem}");
                    ActError::from(ActErrorKind::NotRecorded(why))
                        .after(staged.execution_id().clone())
                }
            }
        })
    }

    fn keep(&self, action: &Action, staged: &StagedChanges) -> std::io::Result<()> {
        let document = ChangeDocument {
            change_set: staged.changes().clone(),
            ..ChangeDocument::seal(Some(staged.plan().clone()), staged.changes().changes().to_vec())
                .map_err(std::io::Error::other)?
        };
        let kept = KeptFile {
            capability: action.capability().to_string(),
            version: action.version().map(ToString::to_string),
            input: action.input().clone(),
            salt: staged.salt().to_owned(),
            key: action.idempotency_key(),
            document: document.to_json().to_string(),
        };
        let (id, principal) = (staged.execution_id(), self.session().principal());
        let person = (&principal.org, &principal.user);
        let audit = self.runtime().audit();
        let sealed = audit.seal_content(person, &purpose(id), &serde_json::to_vec(&kept)?);
        let sealed = sealed.map_err(std::io::Error::other)?;
        make_folder(self.runtime())?;
        let path = file(self.runtime(), id);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&sealed)
    }

    /// The action that lands what an execution of this session's principal changed in its staging
    /// copy, once people have agreed to it.
    ///
    /// # Errors
    /// When nothing of it is kept, or what is kept is not what its record says.
    pub fn landing_action(&self, id: &ExecutionId) -> Result<Action, ActError> {
        let missing =
            || ActErrorKind::NotFound(format!("nothing waits for being landed of `{id}`"));
        let broken = |problem: &dyn std::fmt::Display| {
            ActError::from(ActErrorKind::ApprovalBroken(format!(
                "what is kept of `{id}`: {problem}"
            )))
        };
        let opened = File::open(file(self.runtime(), id)).map_err(|_| missing())?;
        let mut sealed = Vec::new();
        opened.take(MAX_KEPT).read_to_end(&mut sealed).map_err(|error| broken(&error))?;
        let stored = self.runtime().executions().get(id).map_err(|error| broken(&error))?;
        let record = stored.ok_or_else(missing)?.record;
        let person = (&record.principal.org, &record.principal.user);
        let opened = self.runtime().audit().open_content(person, &purpose(id), &sealed);
        let opened = opened.map_err(|error| broken(&error))?;
        let kept: KeptFile = serde_json::from_slice(&opened).map_err(|error| broken(&error))?;
        // The landing answers with what the command gave, secrets included.
        let record = whole(self.runtime().audit(), self.runtime().executions(), record);
        let record = record.map_err(|error| broken(&error))?;
        let source = Source::new("staged", kept.document.as_bytes());
        let limits = Limits::default().with_max_bytes(MAX_KEPT);
        let document = ChangeDocument::from_json(&source, &limits);
        let document = document.map_err(|error| broken(&error))?;
        let capability = CapabilityId::parse(&kept.capability).map_err(|error| broken(&error))?;
        let mut action = self.action(capability, kept.input);
        if let Some(version) = &kept.version {
            action = action.with_version(version.parse().map_err(|error| broken(&error))?);
        }
        if let Some(key) = kept.key {
            action = action.with_idempotency_key(key);
        }
        let admitted = self.graph().admit(action.clone());
        let admitted =
            admitted.map_err(|error| ActError::from(ActErrorKind::NotAdmitted(error)))?;
        let kept = Kept { admitted: &admitted, record: &record, salt: kept.salt, document };
        let staged = self.runtime().parts.executor.recall(kept).map_err(|error| broken(&error))?;
        Ok(staged.landing(&action, self.clock()))
    }

    /// The landing that waits under the key of an action: its command has run, and does not run
    /// again for the same intent.
    pub(crate) fn waiting_landing(&self, action: &Action) -> Option<Action> {
        let key = action.idempotency_key().filter(|_| action.origin().lands.is_none())?;
        let entries = std::fs::read_dir(folder(self.runtime())).ok()?;
        entries.flatten().find_map(|entry| {
            let name = entry.file_name();
            let id = ExecutionId::parse(name.to_str()?.strip_suffix(SEALED)?).ok()?;
            // Reading it is cheap beside what it saves, and there are few.
            let landing = self.landing_action(&id).ok()?;
            (landing.idempotency_key() == Some(key)).then(|| landing.with_origin_of(action))
        })
    }

    /// Notes what people are asked about a landing: their agreement ends with it.
    pub(crate) fn asked_about(&self, action: &Action, kind: &ActErrorKind) {
        let (Some(id), ActErrorKind::ApprovalRequired(approval)) = (&action.origin().lands, kind)
        else {
            return;
        };
        let note = || {
            make_folder(self.runtime())?;
            let path = asked_file(self.runtime(), id);
            let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
            file.write_all(format!("{}\n", approval.id()).as_bytes())
        };
        if let Err(error) = note() {
            tracing::warn!(%error, "what people are asked about a landing could not be noted");
        }
    }

    /// Withdraws what people were asked about a landing that is let through now: what is open of it was
    /// about something else than what is to be done by now, and would answer for another landing.
    pub(crate) fn asked_in_vain(
        &self,
        action: &Action,
        before: &mut Vec<Event>,
    ) -> Result<(), ActError> {
        let Some(id) = &action.origin().lands else { return Ok(()) };
        let Ok(asked) = std::fs::read_to_string(asked_file(self.runtime(), id)) else {
            return Ok(());
        };
        let asked: Vec<&str> = asked.lines().collect();
        let why = format!("what `{id}` changed lands without it");
        let fits = |one: &Approval| asked.contains(&one.id().as_str());
        let (_, events) = self.runtime().withdrawn(&why, self.session(), fits)?;
        before.extend(events);
        Ok(())
    }

    /// Landed: nothing waits any more.
    #[expect(clippy::disallowed_methods, reason = "what waits is not part of a workspace")]
    pub(crate) fn landed(&self, id: &ExecutionId) {
        for path in [file(self.runtime(), id), asked_file(self.runtime(), id)] {
            if let Err(error) = std::fs::remove_file(path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(%error, "what was landed could not be taken away");
            }
        }
    }
}
