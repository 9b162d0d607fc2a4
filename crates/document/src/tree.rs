//! What both parsers produce: values with the place where they stand.

use std::borrow::Cow;

use crate::error::{DocumentErrorKind as Kind, Fault};
use crate::text::{At, shown};

/// One value.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    pub(crate) at: At,
    pub(crate) data: Data<'a>,
}

/// The key of a mapping; keys are always text.
#[derive(Debug, Clone)]
pub(crate) struct Key<'a> {
    pub(crate) at: At,
    pub(crate) text: Cow<'a, str>,
}

/// What a value holds.
#[derive(Debug, Clone)]
pub(crate) enum Data<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    /// An unquoted YAML scalar: what it means depends on the type that asks for it.
    Plain(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Map(Vec<(Key<'a>, Node<'a>)>),
}

/// What copying a value costs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Measure {
    pub(crate) n_values: u64,
    pub(crate) n_bytes: u64,
    pub(crate) height: usize,
}

impl Node<'_> {
    /// Counts values, bytes of text and levels.
    pub(crate) fn measure(&self) -> Measure {
        let mut sum = Measure { n_values: 1, ..Measure::default() };
        match &self.data {
            Data::Null | Data::Bool(_) | Data::Int(_) | Data::Float(_) => {}
            Data::Text(text) | Data::Plain(text) => sum.n_bytes = length(text),
            Data::List(items) => {
                for item in items {
                    sum.add(item.measure());
                }
                sum.height += 1;
            }
            Data::Map(entries) => {
                for (key, value) in entries {
                    sum.n_values += 1;
                    sum.n_bytes += length(&key.text);
                    sum.add(value.measure());
                }
                sum.height += 1;
            }
        }
        sum
    }
}

impl Measure {
    fn add(&mut self, inner: Self) {
        self.n_values += inner.n_values;
        self.n_bytes += inner.n_bytes;
        self.height = self.height.max(inner.height);
    }
}

fn length(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// Refuses the first key that stands twice in a mapping.
pub(crate) fn refuse_duplicates(entries: &[(Key<'_>, Node<'_>)]) -> Result<(), Fault> {
    const FEW: usize = 8;
    let twice = if entries.len() <= FEW {
        entries.iter().enumerate().find_map(|(idx, (key, _))| {
            let mut earlier = entries.iter().take(idx);
            earlier.find(|(other, _)| other.text == key.text).map(|(first, _)| (first, key))
        })
    } else {
        let mut sorted: Vec<&Key<'_>> = entries.iter().map(|(key, _)| key).collect();
        // Stable, so that of two equal keys the earlier one comes first.
        sorted.sort_by(|a, b| a.text.cmp(&b.text));
        sorted
            .windows(2)
            .filter_map(|pair| match pair {
                [first, second] if first.text == second.text => Some((*first, *second)),
                _ => None,
            })
            .min_by_key(|(_, second)| second.at)
    };
    let Some((first, second)) = twice else {
        return Ok(());
    };
    let message = format!(
        "duplicate key {}; it stands already on line {}, column {}; accepted here: each key once",
        shown(&second.text),
        first.at.line,
        first.at.column
    );
    Err(Fault::new(second.at, Kind::DuplicateKey, message))
}
