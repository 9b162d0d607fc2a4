//! Schemas of OpenAPI as schemas of JSON Schema 2020-12, with what they refer to beside them.

use std::collections::BTreeMap;

use lictor_context::Quote;
use serde_json::{Map, Value, json};

/// The most schemas that one contract refers to, and the most values in all of them.
const MAX_DEFINITIONS: usize = 200;
const MAX_NODES: usize = 20_000;
/// How often one reference may lead to the next.
const MAX_HOPS: usize = 24;

/// Keywords whose value is a schema, a list of schemas, or schemas by name.
const ONE: [&str; 12] = [
    "items",
    "additionalProperties",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "additionalItems",
    "contentSchema",
];
const LIST: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
const NAMED: [&str; 3] = ["properties", "patternProperties", "dependentSchemas"];
/// Keywords whose value means the same in both.
const PLAIN: [&str; 28] = [
    "type",
    "enum",
    "const",
    "default",
    "format",
    "title",
    "description",
    "required",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minContains",
    "maxContains",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentEncoding",
];

/// What a reference within a document leads to, or the thing itself.
pub(super) fn resolved<'a>(document: &'a Value, value: &'a Value) -> Result<&'a Value, String> {
    let mut value = value;
    for _ in 0..MAX_HOPS {
        let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return Ok(value) };
        value = target(document, reference)?;
    }
    Err("a reference leads in a circle".to_owned())
}

fn target<'a>(document: &'a Value, reference: &str) -> Result<&'a Value, String> {
    let shown = || Quote::of(reference);
    let pointer = reference.strip_prefix('#').ok_or_else(|| {
        format!("{} lies outside of the document, and nothing is fetched", shown())
    })?;
    // A fragment of a URL: the pointer in it is percent-encoded where it has to be.
    let found = document.pointer(pointer).or_else(|| document.pointer(&decoded(pointer)));
    found.ok_or_else(|| format!("{} leads nowhere", shown()))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digits = (byte == b'%').then(|| rest.clone().take(2).collect::<Vec<u8>>());
        let code = digits.and_then(|two| {
            u8::from_str_radix(std::str::from_utf8(&two).unwrap_or_default(), 16).ok()
        });
        match code {
            Some(code) => {
                bytes.push(code);
                rest.nth(1);
            }
            None => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Carries schemas over, and collects what they refer to.
pub(super) struct Carrier<'a> {
    document: &'a Value,
    /// By reference: the name among the definitions, and the schema once it is carried over.
    definitions: BTreeMap<String, (String, Value)>,
    /// References whose schemas are still to be carried over. One after the other, and not one
    /// inside of the other: a chain of them would be as deep as it is long.
    pending: Vec<String>,
    nodes: usize,
    /// What had to be left behind, said once.
    pub(super) lost: Vec<String>,
}

impl<'a> Carrier<'a> {
    pub(super) fn new(document: &'a Value) -> Self {
        Self {
            document,
            definitions: BTreeMap::new(),
            pending: Vec::new(),
            nodes: 0,
            lost: Vec::new(),
        }
    }

    /// A schema; what it refers to is added by [`Carrier::finish`].
    pub(super) fn schema(&mut self, schema: &Value) -> Result<Value, String> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(format!("its schemas hold more than {MAX_NODES} values"));
        }
        let fields = match schema {
            Value::Bool(_) => return Ok(schema.clone()),
            Value::Object(fields) => fields,
            _ => return Err("a schema in it is neither an object nor a boolean".to_owned()),
        };
        let mut out = Map::new();
        for (key, value) in fields {
            let carried = match key.as_str() {
                "$ref" => continue,
                key if ONE.contains(&key) => self.schema(value)?,
                key if LIST.contains(&key) => self.list(key, value)?,
                key if NAMED.contains(&key) => self.named(key, value)?,
                key if PLAIN.contains(&key) => value.clone(),
                "$dynamicRef" | "$recursiveRef" => {
                    return Err(format!("`{key}` in a schema is not carried over"));
                }
                "discriminator" => {
                    self.lose("`discriminator`: what `oneOf` and `anyOf` say holds alone");
                    continue;
                }
                // Words for readers of the document, and `nullable`, which is seen to below.
                _ => continue,
            };
            out.insert(key.clone(), carried);
        }
        exclusive(&mut out);
        if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
            let name = self.refer(reference)?;
            out.insert("$ref".to_owned(), json!(format!("#/$defs/{name}")));
        }
        let schema = Value::Object(out);
        let nullable = fields.get("nullable") == Some(&json!(true));
        Ok(if nullable { json!({ "anyOf": [schema, { "type": "null" }] }) } else { schema })
    }

    fn list(&mut self, key: &str, value: &Value) -> Result<Value, String> {
        let items = value.as_array().ok_or_else(|| format!("`{key}` in a schema is no list"))?;
        items.iter().map(|item| self.schema(item)).collect()
    }

    fn named(&mut self, key: &str, value: &Value) -> Result<Value, String> {
        let fields =
            value.as_object().ok_or_else(|| format!("`{key}` in a schema is no object"))?;
        let carried = fields.iter().map(|(name, inner)| Ok((name.clone(), self.schema(inner)?)));
        Ok(Value::Object(carried.collect::<Result<_, String>>()?))
    }

    /// The name of what a reference leads to, among the definitions. Schemas may refer to
    /// themselves, so the name is there before the schema is.
    fn refer(&mut self, reference: &str) -> Result<String, String> {
        if let Some((name, _)) = self.definitions.get(reference) {
            return Ok(name.clone());
        }
        if self.definitions.len() == MAX_DEFINITIONS {
            return Err(format!("its schemas refer to more than {MAX_DEFINITIONS} others"));
        }
        let last = reference.rsplit('/').next().unwrap_or_default();
        let fits = |c: &char| c.is_ascii_alphanumeric() || *c == '_' || *c == '-';
        let mut name: String = last.chars().filter(fits).take(64).collect();
        if name.is_empty() || self.definitions.values().any(|(taken, _)| *taken == name) {
            name.push_str(&format!("_{}", self.definitions.len()));
        }
        self.definitions.insert(reference.to_owned(), (name.clone(), Value::Bool(true)));
        self.pending.push(reference.to_owned());
        Ok(name)
    }

    fn lose(&mut self, what: &str) {
        if !self.lost.iter().any(|known| known == what) {
            self.lost.push(what.to_owned());
        }
    }

    /// Puts what was referred to beside a schema.
    pub(super) fn finish(mut self, mut schema: Value) -> Result<(Value, Vec<String>), String> {
        while let Some(reference) = self.pending.pop() {
            let carried = self.schema(target(self.document, &reference)?)?;
            if let Some((_, definition)) = self.definitions.get_mut(&reference) {
                *definition = carried;
            }
        }
        if let (Some(fields), false) = (schema.as_object_mut(), self.definitions.is_empty()) {
            let definitions: Map<String, Value> = self.definitions.into_values().collect();
            fields.insert("$defs".to_owned(), Value::Object(definitions));
        }
        Ok((schema, self.lost))
    }
}

/// The bounds that OpenAPI 3.0 marks as exclusive by a boolean.
fn exclusive(schema: &mut Map<String, Value>) {
    for (exclusive, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        let Some(Value::Bool(set)) = schema.get(exclusive) else { continue };
        let set = *set;
        schema.remove(exclusive);
        if set && let Some(value) = schema.remove(bound) {
            schema.insert(exclusive.to_owned(), value);
        }
    }
}

/// Takes every `pattern` out of a schema that was carried over; how many there were.
pub(super) fn without_patterns(schema: &mut Value) -> usize {
    let Some(fields) = schema.as_object_mut() else { return 0 };
    let mut dropped = 0;
    for key in ["pattern", "patternProperties"] {
        dropped += usize::from(fields.remove(key).is_some());
    }
    for (key, value) in fields {
        match (key.as_str(), value) {
            (key, value) if ONE.contains(&key) => dropped += without_patterns(value),
            (key, Value::Array(items)) if LIST.contains(&key) => {
                dropped += items.iter_mut().map(without_patterns).sum::<usize>();
            }
            (key, Value::Object(named)) if NAMED.contains(&key) || key == "$defs" => {
                dropped += named.values_mut().map(without_patterns).sum::<usize>();
            }
            _ => {}
        }
    }
    dropped
}
