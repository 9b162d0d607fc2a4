//! Routing: which facade a text calls, and why. The same text and the same facades give the same
//! answer, whatever order they come in.

use lictor_context::Name;
use serde::Serialize;

use super::facade::{Facade, RouteTarget};

/// A facade that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Considered {
    /// The facade.
    pub facade: Name,
    /// The longest of its triggers that the text holds, if it holds any.
    pub trigger: Option<String>,
    /// How many words that has.
    pub words: usize,
}

/// Where a text leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Routed {
    /// The facade that it calls.
    pub facade: Name,
    /// The trigger that it holds.
    pub trigger: String,
    /// Where it leads; `None` when none of its routes may be used.
    pub route: Option<RouteTarget>,
    /// Why this and nothing else, in sentences.
    pub because: Vec<String>,
}

/// The lower-case words of a text: runs of letters and digits.
pub(super) fn words(text: &str) -> Vec<String> {
    let split = text.split(|c: char| !c.is_alphanumeric());
    split.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// Finds the facade that a text calls: the one with the trigger of the most words that stands in
/// the text, word for word and in one piece; of several, the one whose id comes first. `usable`
/// says whether a target may be used, or why not.
#[must_use]
pub fn route<'a>(
    text: &str,
    facades: impl IntoIterator<Item = &'a Facade>,
    usable: impl Fn(&RouteTarget) -> Result<(), String>,
) -> (Option<Routed>, Vec<Considered>) {
    let said = words(text);
    let mut facades: Vec<&Facade> = facades.into_iter().collect();
    facades.sort_by(|a, b| (&a.id, &b.version).cmp(&(&b.id, &a.version)));
    facades.dedup_by(|later, first| later.id == first.id);
    let considered: Vec<Considered> = facades.iter().map(|one| consider(one, &said)).collect();
    let best = facades
        .iter()
        .zip(&considered)
        .filter(|(_, look)| look.trigger.is_some())
        .reduce(|best, next| if next.1.words > best.1.words { next } else { best });
    let routed = best.map(|(facade, look)| {
        let trigger = look.trigger.clone().unwrap_or_default();
        let mut because = vec![format!(
            "the text holds the trigger `{trigger}` of `{}`, and no longer one of another facade",
            facade.id
        )];
        let targets = [Some(&facade.routes.primary), facade.routes.fallback.as_ref()];
        let mut route = None;
        for target in targets.into_iter().flatten() {
            match usable(target) {
                Ok(()) => {
                    because.push(format!("the {target} may be used"));
                    route = Some(target.clone());
                    break;
                }
                Err(why) => because.push(format!("the {target} may not be used: {why}")),
            }
        }
        Routed { facade: facade.id.clone(), trigger, route, because }
    });
    (routed, considered)
}

fn consider(facade: &Facade, said: &[String]) -> Considered {
    let held = facade.triggers.iter().filter_map(|trigger| {
        let wanted = words(trigger);
        let found = said.windows(wanted.len().max(1)).any(|window| window == wanted.as_slice());
        found.then(|| (wanted.len(), trigger.clone()))
    });
    // Of triggers of one length the first in the file.
    let best = held.reduce(|best, next| if next.0 > best.0 { next } else { best });
    let (words, trigger) = best.map_or((0, None), |(words, trigger)| (words, Some(trigger)));
    Considered { facade: facade.id.clone(), trigger, words }
}
