//! The workflows of runs, read once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use lictor_context::Digest;
use lictor_document::Source;

use crate::error::EngineError;
use crate::record::RunRecord;
use crate::spec::Workflow;

/// More documents than this are read again when they are needed.
const MAX_KEPT: usize = 64;

/// Workflows by the digests of their documents, those that were needed last.
#[derive(Debug, Default)]
pub(super) struct Documents {
    kept: Mutex<VecDeque<(Digest, Arc<Workflow>)>>,
}

impl Documents {
    pub(super) fn keep(&self, workflow: &Workflow) -> Arc<Workflow> {
        let digest = workflow.digest();
        self.find(digest).unwrap_or_else(|| self.insert(Arc::new(workflow.clone())))
    }

    /// The workflow that a run started with.
    pub(super) fn of(&self, run: &RunRecord) -> Result<Arc<Workflow>, EngineError> {
        let refuse = |reason: String| EngineError::Document { run_id: run.run_id.clone(), reason };
        let bytes = run.workflow.source.as_bytes();
        // Also of one that is known: a record that was changed is refused whoever asks.
        if Digest::of(bytes) != run.workflow.digest {
            return Err(refuse("its digest is another one".to_owned()));
        }
        let workflow = match self.find(run.workflow.digest) {
            Some(workflow) => workflow,
            None => {
                let source = Source::new(&run.workflow.source_name, bytes);
                let read =
                    Workflow::from_yaml(&source).map_err(|error| refuse(error.to_string()))?;
                self.insert(Arc::new(read))
            }
        };
        let planned = run.steps.iter().filter(|step| step.item.is_none()).map(|step| &step.id);
        if planned.eq(&workflow.plan().order) {
            Ok(workflow)
        } else {
            Err(refuse("its steps are other ones".to_owned()))
        }
    }

    fn find(&self, digest: Digest) -> Option<Arc<Workflow>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(known, _)| *known == digest).map(|(_, workflow)| Arc::clone(workflow))
    }

    fn insert(&self, workflow: Arc<Workflow>) -> Arc<Workflow> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.pop_front();
        }
        kept.push_back((workflow.digest(), Arc::clone(&workflow)));
        workflow
    }
}
