//! The contracts that are shipped.

use lictor_capability::{CapabilityKind, Contract, HandlerSpec, Risk, UndoStrategy};
use lictor_document::Source;
use lictor_skills::{SkillSettings, contracts, handlers};
use serde_json::Value;

#[test]
fn every_contract_compiles_with_its_schemas() {
    for contract in contracts().unwrap() {
        let file = format!("{}/contracts/{}.yaml", env!("CARGO_MANIFEST_DIR"), contract.id);
        let text = std::fs::read(&file).unwrap();
        let strict = Contract::from_yaml(&Source::new(&file, &text)).unwrap();
        assert_eq!(strict.digest(), contract.digest());
    }
}

#[test]
fn every_contract_file_is_shipped() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts");
    let mut files: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let ids: Vec<String> =
        contracts().unwrap().iter().map(|contract| format!("{}.yaml", contract.id)).collect();
    assert_eq!(ids, files);
}

#[test]
fn every_contract_has_its_handler() {
    let handlers = handlers(SkillSettings::default());
    for contract in contracts().unwrap() {
        assert_eq!(contract.handler, HandlerSpec::Builtin(contract.id.to_string()));
        assert!(handlers.of(&contract).is_some(), "{}", contract.id);
    }
}

#[test]
fn every_contract_is_honest_and_closed() {
    for contract in contracts().unwrap() {
        let id = &contract.id;
        assert_eq!(contract.kind, CapabilityKind::Skill, "{id}");
        assert_eq!(contract.source, "builtin", "{id}");
        assert_eq!(contract.undo.strategy, UndoStrategy::Automatic, "{id}");
        assert!(contract.risk <= Risk::Medium, "{id}");
        assert!(contract.description.len() > 60, "{id}: a model has to choose by it");
        assert!(contract.effects.net.is_empty() && contract.effects.process.is_empty(), "{id}");
        let writes =
            !(contract.effects.fs.write.is_empty() && contract.effects.fs.delete.is_empty());
        let changes = [
            "fs.write",
            "fs.delete",
            "fs.move",
            "fs.copy",
            "change.apply",
            "fs.mkdir",
            "fs.patch",
            "archive.zip",
            "archive.unzip",
        ];
        assert_eq!(writes, changes.contains(&id.as_str()), "{id}");
        closed(id.as_str(), contract.input_schema());
        closed(id.as_str(), contract.output_schema());
        let input = contract.input_schema();
        for keyword in ["oneOf", "anyOf", "allOf", "not", "$ref"] {
            assert!(input.get(keyword).is_none(), "{id}: model APIs refuse `{keyword}` on top");
        }
    }
}

/// Every object that names properties takes no others; but a plan has its own reader.
fn closed(id: &str, schema: &Value) {
    if schema.get("properties").is_some()
        && schema.get("required") != Some(&Value::from(vec!["id"]))
    {
        assert_eq!(schema.get("additionalProperties"), Some(&Value::Bool(false)), "{id}: {schema}");
    }
    match schema {
        Value::Object(fields) => fields.values().for_each(|inner| closed(id, inner)),
        Value::Array(items) => items.iter().for_each(|inner| closed(id, inner)),
        _ => {}
    }
}

#[test]
fn paths_are_left_to_the_parser() {
    for contract in contracts().unwrap() {
        for key in ["path", "from", "to"] {
            let Some(schema) = contract.input_schema()["properties"].get(key) else { continue };
            assert_eq!((&schema["type"], &schema["minLength"]), (&"string".into(), &1.into()));
            assert!(schema.get("pattern").is_none());
        }
    }
}
