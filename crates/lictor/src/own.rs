//! Skills of the program that embeds this crate.

use std::fmt;
use std::sync::Arc;

use lictor_capability::{CapabilityId, Contract, ContractError, HandlerSpec};
use lictor_document::Source;
use lictor_executor::{Handler, Handlers};

use crate::options::OpenError;

/// What the contract of a part of the program says of where it comes from.
const BUILTIN: &str = "builtin";

/// A capability that is part of your program: its contract, and the code that does it.
///
/// It is trusted as far as the program is, and so nobody has to approve it; what it *does* is
/// judged, approved, recorded and undone like anything else. The contract says `source: builtin`
/// and `handler: { builtin: NAME }`, where the name is its id.
#[derive(Clone)]
pub struct OwnSkill {
    contract: Arc<Contract>,
    handler: Arc<dyn Handler>,
}

/// A skill of the program's own cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum OwnSkillError {
    /// Its contract is none.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// Its contract is that of something else than a part of the program.
    #[error(
        "the contract of `{0}` has to say `source: builtin` and `handler: {{ builtin: {0} }}`: \
         anything else is proposed and approved in a catalogue"
    )]
    NotOwn(CapabilityId),
    /// Something of that id is part of Lictor, or stands twice.
    #[error("`{0}` is taken; a skill of your own needs an id of its own")]
    Taken(CapabilityId),
}

impl OwnSkill {
    /// A skill from the text of its contract and the code behind it.
    ///
    /// # Errors
    /// When the text is no contract, or not that of a part of the program.
    pub fn new(
        contract: &Source<'_>,
        handler: impl Handler + 'static,
    ) -> Result<Self, OwnSkillError> {
        let contract = Contract::from_yaml(contract)?;
        let named = match &contract.handler {
            HandlerSpec::Builtin(name) => name == contract.id.as_str(),
            HandlerSpec::Command(_)
            | HandlerSpec::Http(_)
            | HandlerSpec::Mcp(_)
            | HandlerSpec::McpServer(_)
            | HandlerSpec::Workflow(_) => false,
        };
        if !named || contract.source != BUILTIN {
            return Err(OwnSkillError::NotOwn(contract.id));
        }
        Ok(Self { contract: Arc::new(contract), handler: Arc::new(handler) })
    }

    /// What can be asked of it.
    #[must_use]
    pub fn contract(&self) -> &Arc<Contract> {
        &self.contract
    }
}

impl fmt::Debug for OwnSkill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnSkill").field("id", &self.contract.id).finish_non_exhaustive()
    }
}

/// The contracts that are part of the program, with those of its own skills.
pub(crate) fn with_own(
    mut builtins: Vec<Arc<Contract>>,
    own: &[OwnSkill],
) -> Result<Vec<Arc<Contract>>, OpenError> {
    for skill in own {
        if builtins.iter().any(|known| known.id == skill.contract.id) {
            return Err(OwnSkillError::Taken(skill.contract.id.clone()).into());
        }
        builtins.push(Arc::clone(&skill.contract));
    }
    Ok(builtins)
}

/// The handlers of the program's own skills beside those that are there.
pub(crate) fn handling(handlers: Handlers, own: &[OwnSkill]) -> Handlers {
    own.iter().fold(handlers, |handlers, skill| {
        handlers.with(skill.contract.id.as_str(), Arc::clone(&skill.handler))
    })
}
