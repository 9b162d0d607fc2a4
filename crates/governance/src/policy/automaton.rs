//! One automaton over all globs: a path is read once, however many there are.
//!
//! It is built while it is used (a lazy DFA): a step over one byte costs the same with ten globs as
//! with ten thousand, and only what paths really lead to is ever worked out.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use globset::Glob;
use regex_automata::hybrid::dfa::{Builder, Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::pool::{Pool, PoolGuard};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

use super::error::{PolicyError, PolicyErrorKind};

/// Most bytes of the globs when compiled.
const MAX_COMPILED: usize = 64 << 20;
/// Bytes of worked out steps that a thread keeps; what is beyond is worked out again.
const KEPT: usize = 8 << 20;

type Make = Box<dyn Fn() -> Cache + Send + Sync + UnwindSafe + RefUnwindSafe>;

/// All globs of a set, by number.
pub(super) struct Automaton {
    dfa: DFA,
    caches: Pool<Cache, Make>,
}

impl fmt::Debug for Automaton {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Automaton").field("globs", &self.dfa.pattern_len()).finish_non_exhaustive()
    }
}

/// The automaton could not come to an end: nothing is known of the path.
#[derive(Debug)]
pub(super) struct Stuck;

impl Automaton {
    /// # Errors
    /// When the globs are too many or too large together.
    pub(super) fn new(globs: &[&Glob]) -> Result<Self, PolicyError> {
        let patterns: Vec<&str> = globs.iter().map(|glob| glob.regex()).collect();
        let dfa = Builder::new()
            // As globs are compiled one by one: bytes, and `.` is any of them.
            .syntax(syntax::Config::new().utf8(false).dot_matches_new_line(true))
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(MAX_COMPILED)))
            .configure(
                DFA::config()
                    .match_kind(MatchKind::All)
                    .cache_capacity(KEPT)
                    // Few very large globs need more; then that is what is kept.
                    .skip_cache_capacity_check(true),
            )
            .build_many(&patterns)
            .map_err(|error| {
                PolicyError::new(PolicyErrorKind::TooComplex { problem: error.to_string() })
            })?;
        let maker = dfa.clone();
        let caches: Make = Box::new(move || maker.create_cache());
        Ok(Self { dfa, caches: Pool::new(caches) })
    }

    /// For a number of paths.
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { dfa: &self.dfa, cache: self.caches.get() }
    }
}

/// An automaton at work.
pub(super) struct Reader<'a> {
    dfa: &'a DFA,
    cache: PoolGuard<'a, Cache, Make>,
}

impl Reader<'_> {
    /// The numbers of the globs that match a whole path, in their order.
    pub(super) fn find(&mut self, path: &str, found: &mut Vec<usize>) -> Result<(), Stuck> {
        found.clear();
        let (dfa, cache) = (self.dfa, &mut *self.cache);
        let start = Input::new(path).anchored(Anchored::Yes);
        let mut state = dfa.start_state_forward(cache, &start).map_err(|_| Stuck)?;
        for byte in path.bytes() {
            state = dfa.next_state(cache, state, byte).map_err(|_| Stuck)?;
            if state.is_dead() {
                return Ok(());
            }
            if state.is_quit() {
                return Err(Stuck);
            }
        }
        state = dfa.next_eoi_state(cache, state).map_err(|_| Stuck)?;
        if state.is_match() {
            let n = dfa.match_len(cache, state);
            found.extend((0..n).map(|index| dfa.match_pattern(cache, state, index).as_usize()));
            found.sort_unstable();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::pattern::path_globs;
    use super::*;
    use proptest::prelude::*;

    fn segment() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("**".to_owned()),
            Just("*".to_owned()),
            Just(".*".to_owned()),
            Just("*.rs".to_owned()),
            Just("[ab]*".to_owned()),
            Just("{a,b/c}".to_owned()),
            Just("?".to_owned()),
            Just("\u{e9}*".to_owned()),
            "[aAbB.]{1,3}",
        ]
    }

    fn glob() -> impl Strategy<Value = (String, bool)> {
        let text = prop::collection::vec(segment(), 1..4).prop_map(|parts| parts.join("/"));
        (text, any::<bool>())
    }

    fn path() -> impl Strategy<Value = String> {
        let name = prop_oneof!["[aAbBc.]{1,4}", "[a\u{e9}\u{c9}\n ]{1,3}", Just("x.rs".to_owned())];
        prop::collection::vec(name, 1..4).prop_map(|parts| parts.join("/"))
    }

    proptest! {
        /// The automaton finds what each glob finds by itself.
        #[test]
        fn all_at_once_is_one_by_one(
            globs in prop::collection::vec(glob(), 0..12),
            paths in prop::collection::vec(path(), 1..8),
        ) {
            let globs: Vec<Glob> = globs
                .iter()
                .filter_map(|(text, any_case)| path_globs(text, *any_case).ok())
                .flatten()
                .collect();
            let automaton = Automaton::new(&globs.iter().collect::<Vec<_>>()).unwrap();
            let mut reader = automaton.reader();
            let mut found = vec![7];
            for path in paths {
                reader.find(&path, &mut found).unwrap();
                let alone = |glob: &Glob| glob.compile_matcher().is_match(&path);
                let one_by_one: Vec<usize> =
                    (0..globs.len()).filter(|index| alone(&globs[*index])).collect();
                prop_assert_eq!(&found, &one_by_one, "{:?}", path);
            }
        }
    }
}
