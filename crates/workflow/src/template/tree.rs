//! A value with templates in it, and where each part of it stands.

use std::fmt;

use lictor_document::Located;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{Reference, Scope, Template, TemplateError};

/// A value as it was read, with places.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Scalar(Value),
    List(Vec<Located<Node>>),
    Map(Vec<(String, Located<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => Err(E::custom(format!("the integer `{value}` is out of range"))),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        match serde_json::Number::from_f64(value) {
            Some(number) => Ok(Node::Scalar(Value::Number(number))),
            None => Err(E::custom(format!("`{value}` is not a finite number"))),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Value::String(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }
}

/// A value with its templates parsed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tree {
    /// No template anywhere below.
    Constant(Value),
    Template(Template),
    List(Vec<Located<Tree>>),
    Map(Vec<(String, Located<Tree>)>),
}

/// A template that does not parse, and where it stands.
pub(crate) type Problem = Located<TemplateError>;

impl Tree {
    pub(crate) fn empty() -> Located<Self> {
        Located::unknown(Self::Constant(Value::Object(Map::new())))
    }

    /// Parses every text; keys are no templates, and `{secret: NAME}` stays as it is.
    pub(crate) fn parse(node: Located<Node>, problems: &mut Vec<Problem>) -> Located<Self> {
        let Located { value, line, column } = node;
        let tree = match value {
            Node::Scalar(Value::String(text)) => match Template::parse(&text) {
                Ok(template) => match template.constant() {
                    Some(text) => Self::Constant(Value::String(text.to_owned())),
                    None => Self::Template(template),
                },
                Err(error) => {
                    problems.push(Located { value: error, line, column });
                    Self::Constant(Value::Null)
                }
            },
            Node::Scalar(value) => Self::Constant(value),
            Node::Map(entries) if is_secret(&entries) => Self::Constant(plain(Node::Map(entries))),
            Node::List(items) => {
                let items = items.into_iter().map(|item| Self::parse(item, problems));
                Self::list(items.collect())
            }
            Node::Map(entries) => Self::map(
                entries.into_iter().map(|(key, item)| (key, Self::parse(item, problems))).collect(),
            ),
        };
        Located { value: tree, line, column }
    }

    /// Values without any template.
    pub(crate) fn verbatim(node: Located<Node>) -> Located<Self> {
        node.map(|node| Self::Constant(plain(node)))
    }

    pub(crate) fn list(items: Vec<Located<Self>>) -> Self {
        let constants: Option<Vec<Value>> = items.iter().map(|item| item.value.known()).collect();
        constants.map_or(Self::List(items), |values| Self::Constant(Value::Array(values)))
    }

    pub(crate) fn map(entries: Vec<(String, Located<Self>)>) -> Self {
        let constants: Option<Map<String, Value>> = entries
            .iter()
            .map(|(key, item)| item.value.known().map(|value| (key.clone(), value)))
            .collect();
        constants.map_or(Self::Map(entries), |map| Self::Constant(Value::Object(map)))
    }

    fn known(&self) -> Option<Value> {
        match self {
            Self::Constant(value) => Some(value.clone()),
            Self::Template(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// Every name that a template below takes, with the template's place.
    pub(crate) fn references(tree: &Located<Self>) -> Vec<(&Reference, (u32, u32))> {
        let mut found = Vec::new();
        Self::collect(tree, &mut found);
        found
    }

    fn collect<'a>(tree: &'a Located<Self>, found: &mut Vec<(&'a Reference, (u32, u32))>) {
        match &tree.value {
            Self::Constant(_) => {}
            Self::Template(template) => {
                let place = (tree.line, tree.column);
                found.extend(template.references().map(|reference| (reference, place)));
            }
            Self::List(items) => items.iter().for_each(|item| Self::collect(item, found)),
            Self::Map(entries) => entries.iter().for_each(|(_, item)| Self::collect(item, found)),
        }
    }

    /// The value, with every template evaluated. An error names the key.
    pub(crate) fn evaluate(&self, scope: &Scope) -> Result<Value, TemplateError> {
        self.evaluate_at(scope, &mut Vec::new())
    }

    fn evaluate_at(&self, scope: &Scope, path: &mut Vec<String>) -> Result<Value, TemplateError> {
        match self {
            Self::Constant(value) => Ok(value.clone()),
            Self::Template(template) => template.evaluate(scope).map_err(|error| {
                if path.is_empty() {
                    error
                } else {
                    TemplateError(format!("key `{}`: {error}", path.join(".")))
                }
            }),
            Self::List(items) => {
                let mut values = Vec::with_capacity(items.len());
                for (idx, item) in items.iter().enumerate() {
                    path.push(idx.to_string());
                    values.push(item.value.evaluate_at(scope, path)?);
                    path.pop();
                }
                Ok(Value::Array(values))
            }
            Self::Map(entries) => {
                let mut map = Map::new();
                for (key, item) in entries {
                    path.push(key.clone());
                    map.insert(key.clone(), item.value.evaluate_at(scope, path)?);
                    path.pop();
                }
                Ok(Value::Object(map))
            }
        }
    }
}

/// `{secret: NAME}`: resolved by the executor at the moment of use, and by nobody before.
fn is_secret(entries: &[(String, Located<Node>)]) -> bool {
    matches!(entries, [(key, item)]
        if key == "secret" && matches!(item.value, Node::Scalar(Value::String(_))))
}

fn plain(node: Node) -> Value {
    match node {
        Node::Scalar(value) => value,
        Node::List(items) => items.into_iter().map(|item| plain(item.value)).collect(),
        Node::Map(entries) => {
            entries.into_iter().map(|(key, item)| (key, plain(item.value))).collect()
        }
    }
}
