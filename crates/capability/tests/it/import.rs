//! Importers: what comes out is a contract, or it is said why there is none.

use lictor_capability::import::{
    Import, Imported, SkillFolder, from_anthropic, from_claude_skill, from_command, from_openai,
    from_openapi,
};
use lictor_capability::{CapabilityGraph, CommandInput, Contract, HandlerSpec, ToolFormat};
use lictor_context::WorkspacePath;
use lictor_document::Source;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

use super::graph::{catalogue, session};

/// Read as the catalogue reads it.
fn contract(imported: &Imported) -> Contract {
    let text = imported.to_text();
    Contract::from_yaml(&Source::new("c.yaml", text.as_bytes())).expect("a contract")
}

fn openapi(paths: Value, more: Value) -> Import {
    let mut document = json!({
        "openapi": "3.0.3", "servers": [{ "url": "https://api.example.com/v1/" }], "paths": paths,
    });
    if let (Value::Object(fields), Value::Object(more)) = (&mut document, more) {
        fields.extend(more);
    }
    from_openapi("pets", &document, None).expect("a document")
}

#[track_caller]
fn one(import: Import) -> (Contract, Vec<String>) {
    assert_eq!(import.left_out, vec![]);
    let [imported] = import.contracts.as_slice() else { panic!("{import:?}") };
    (contract(imported), imported.lost.clone())
}

#[test]
fn an_operation_is_a_request_to_its_host_and_no_other() {
    let (contract, lost) = one(openapi(
        json!({ "/pets/{petId}": {
            "parameters": [{ "name": "petId", "in": "path", "required": true, "schema": { "type": "integer" } }],
            "put": {
                "operationId": "putPet", "summary": "Put",
                "parameters": [
                    { "name": "force", "in": "query", "schema": { "type": "boolean" } },
                    { "name": "X-Trace", "in": "header", "schema": { "type": "string" } },
                    { "name": "session", "in": "cookie", "schema": {} },
                ],
                "requestBody": { "required": true, "content": { "application/json": { "schema": { "type": "object" } } } },
                "responses": { "200": { "description": "", "content": { "application/json": { "schema": { "type": "string" } } } },
                               "default": { "description": "an error", "content": {} } },
            },
        } }),
        json!({}),
    ));
    assert_eq!(contract.id.as_str(), "pets.put_pet");
    assert_eq!(contract.effects.net, ["api.example.com"]);
    assert_eq!(contract.risk.as_str(), "medium");
    assert!(contract.idempotent);
    let handler = contract.to_json()["handler"]["http"].clone();
    assert_eq!(
        handler,
        json!({ "method": "PUT", "url": "https://api.example.com/v1/pets/{petId}", "query": ["force"],
                "header_inputs": { "X-Trace": "X-Trace" }, "body": "body" })
    );
    let input = json!({ "petId": 1, "force": true, "X-Trace": "t", "body": {} });
    assert_eq!(contract.check_input(&input), Ok(()));
    for wrong in [
        json!({ "petId": "1", "body": {} }),
        json!({ "petId": 1 }),
        json!({ "petId": 1, "body": {}, "x": 1 }),
    ] {
        assert!(contract.check_input(&wrong).is_err(), "{wrong}");
    }
    assert_eq!(contract.check_output(&json!({ "status": 200, "body": "x" })), Ok(()));
    assert!(contract.check_output(&json!({ "status": 200, "body": 1 })).is_err());
    assert_eq!(lost, ["the parameter `session` in cookie"]);
}

#[test]
fn the_risk_follows_the_method() {
    let operation = |id: &str| json!({ "operationId": id, "responses": {} });
    let import = openapi(
        json!({ "/p": { "get": operation("a"), "head": operation("b"), "post": operation("c"),
                        "patch": operation("d"), "delete": operation("e"), "trace": {} } }),
        json!({}),
    );
    let risk = |one: &Imported| (one.id().to_owned(), contract(one).risk.to_string());
    let mut risks: Vec<_> = import.contracts.iter().map(risk).collect();
    risks.sort();
    let expected = [
        ("pets.a", "low"),
        ("pets.b", "low"),
        ("pets.c", "medium"),
        ("pets.d", "medium"),
        ("pets.e", "high"),
    ];
    assert_eq!(risks, expected.map(|(id, risk)| (id.to_owned(), risk.to_owned())));
    assert_eq!(import.left_out.len(), 1, "TRACE is not carried over");
}

#[test]
fn schemas_may_refer_to_themselves_and_to_nothing_outside() {
    let body = |reference: &str| {
        json!({ "/p": { "post": { "operationId": "p", "responses": {},
            "requestBody": { "content": { "application/json": { "schema": { "$ref": reference } } } } } } })
    };
    let node = json!({ "components": { "schemas": { "Node": {
        "type": "object", "required": ["xml"], "additionalProperties": false,
        "properties": {
            // Names that are keywords of OpenAPI elsewhere.
            "xml": { "type": "integer", "minimum": 0, "exclusiveMinimum": true },
            "example": { "type": "string", "nullable": true, "example": "e" },
            "next": { "$ref": "#/components/schemas/Node" },
        },
    } } } });
    let (contract, _) = one(openapi(body("#/components/schemas/Node"), node.clone()));
    let fits = |body: Value| contract.check_input(&json!({ "body": body })).is_ok();
    assert!(fits(json!({ "xml": 1, "example": null, "next": { "xml": 2, "next": { "xml": 3 } } })));
    assert!(!fits(json!({ "xml": 0 })), "the bound is exclusive");
    assert!(!fits(json!({ "xml": 1, "next": { "xml": 1, "next": { "xml": "3" } } })));
    for (reference, why) in [
        ("other.yaml#/Node", "lies outside of the document"),
        ("https://example.com/x.json", "lies outside of the document"),
        ("#/components/schemas/None", "leads nowhere"),
    ] {
        let import = openapi(body(reference), node.clone());
        assert!(import.left_out[0].why.contains(why), "{import:?}");
    }
}

#[test]
fn a_long_chain_of_references_is_refused_and_no_stack_overflows() {
    let names: Vec<String> = (0..5000).map(|index| format!("S{index}")).collect();
    let schemas: serde_json::Map<String, Value> = names
        .windows(2)
        .map(|pair| {
            (
                pair[0].clone(),
                json!({ "items": { "$ref": format!("#/components/schemas/{}", pair[1]) } }),
            )
        })
        .collect();
    let circle = json!({ "a": { "$ref": "#/components/parameters/b" }, "b": { "$ref": "#/components/parameters/a" } });
    let import = openapi(
        json!({
            "/chain": { "get": { "parameters": [{ "name": "q", "in": "query", "schema": { "$ref": "#/components/schemas/S0" } }] } },
            "/circle": { "get": { "parameters": [{ "$ref": "#/components/parameters/a" }] } },
        }),
        json!({ "components": { "schemas": schemas, "parameters": circle } }),
    );
    assert!(import.contracts.is_empty());
    assert!(import.left_out[0].why.contains("more than 200 others"), "{import:?}");
    assert!(import.left_out[1].why.contains("in a circle"), "{import:?}");
}

#[test]
fn what_is_not_carried_over_is_said_or_the_operation_is_left_out() {
    let form = |required: bool| {
        json!({ "/p": { "post": { "operationId": "p", "responses": {},
            "requestBody": { "required": required, "content": { "multipart/form-data": {} } } } } })
    };
    let import = openapi(form(true), json!({}));
    assert!(import.left_out[0].why.contains("multipart/form-data"), "{import:?}");
    let (_, lost) = one(openapi(form(false), json!({})));
    assert!(lost[0].contains("only JSON is sent"), "{lost:?}");

    let operation = json!({ "/p": { "get": { "operationId": "p", "responses": {}, "parameters": [
        { "name": "q", "in": "query", "schema": { "type": "string", "pattern": "(?=x)" } }] } } });
    let (contract, lost) = one(openapi(operation.clone(), json!({})));
    assert!(lost[0].contains("`pattern`"), "{lost:?}");
    assert_eq!(contract.check_input(&json!({ "q": "y" })), Ok(()));

    for (servers, why) in [
        (json!([]), "no `https` server"),
        (json!([{ "url": "http://plain.example.com" }]), "no `https` server"),
        (json!([{ "url": "/relative" }]), "no `https` server"),
        (json!([{ "url": "https://user@host/" }]), "without a user"),
    ] {
        let import = openapi(operation.clone(), json!({ "servers": servers }));
        assert!(import.left_out[0].why.contains(why), "{import:?}");
    }
    let variables = json!([{ "url": "https://{region}.example.com/", "variables": { "region": { "default": "eu" } } }]);
    let (contract, lost) = one(openapi(operation, json!({ "servers": variables })));
    assert_eq!(contract.effects.net, ["eu.example.com"]);
    assert!(lost.iter().any(|lost| lost.contains("variables")), "{lost:?}");
}

/// An operation under security schemes: its `http` section, its input, and what was not carried over.
fn secured(schemes: Value, security: Value, parameters: Value) -> (Value, Value, Vec<String>) {
    let operation = json!({ "operationId": "p", "responses": {}, "parameters": parameters });
    let more = json!({ "components": { "securitySchemes": schemes }, "security": security });
    let (contract, lost) = one(openapi(json!({ "/p": { "get": operation } }), more));
    let json = contract.to_json();
    (json["handler"]["http"].clone(), json["input"]["properties"].clone(), lost)
}

fn key(place: &str, name: &str) -> Value {
    json!({ "type": "apiKey", "in": place, "name": name })
}

#[test]
fn security_becomes_a_secret_where_it_stands_and_is_said() {
    let with = |scheme: Value| {
        let (http, _, lost) =
            secured(json!({ "theKey": scheme }), json!([{ "theKey": [] }]), json!([]));
        assert!(lost[0].contains("the secret `PETS_THE_KEY` (`theKey`, "), "{lost:?}");
        (http, lost[0].clone())
    };
    let secret = |prefix: &str| json!({ "secret": "PETS_THE_KEY", "prefix": prefix });
    let (http, said) = with(json!({ "type": "http", "scheme": "bearer" }));
    assert_eq!(http["headers"], json!({ "authorization": secret("Bearer ") }));
    assert!(said.contains("header `authorization`"), "{said}");
    let (http, said) = with(json!({ "type": "http", "scheme": "Basic" }));
    assert_eq!(http["headers"], json!({ "authorization": secret("Basic ") }));
    assert!(said.contains("`user:password` in base64"), "{said}");
    let (http, _) = with(json!({ "type": "oauth2", "flows": {} }));
    assert_eq!(http["headers"], json!({ "authorization": secret("Bearer ") }));
    let (http, _) = with(key("header", "X-Key"));
    assert_eq!(http["headers"], json!({ "X-Key": { "secret": "PETS_THE_KEY" } }));
    let (http, said) = with(key("query", "api key"));
    assert_eq!(http["query"], json!({ "api key": { "secret": "PETS_THE_KEY" } }));
    assert_eq!(http["headers"], Value::Null);
    assert!(said.contains("`api key` in the query"), "{said}");
    let (http, said) = with(key("cookie", "SID"));
    assert_eq!(http["headers"], json!({ "cookie": secret("SID=") }));
    assert!(said.contains("cookie `SID`"), "{said}");
}

#[test]
fn a_secret_stands_where_a_parameter_would_and_beside_the_others() {
    let parameter = |place: &str, name: &str| json!({ "in": place, "name": name, "required": true, "schema": { "type": "string" } });
    let parameters = json!([
        parameter("query", "key"),
        parameter("query", "page"),
        parameter("header", "x-key"),
        parameter("cookie", "SID"),
        parameter("header", "x-more"),
    ]);
    for (place, name) in [("query", "key"), ("header", "X-Key"), ("cookie", "SID")] {
        let schemes = json!({ "a": key(place, name), "b": key("query", "key"), "c": key("header", "X-Key"),
            "d": key("cookie", "SID") });
        let wanted = json!([{ "b": [], "c": [], "d": [] }]);
        let (http, input, lost) = secured(schemes, wanted, parameters.clone());
        assert_eq!(
            http["query"],
            json!({ "key": { "secret": "PETS_B" }, "page": { "input": "page" } }),
            "{place} {name}"
        );
        assert_eq!(http["headers"]["X-Key"], json!({ "secret": "PETS_C" }));
        assert_eq!(http["headers"]["cookie"], json!({ "secret": "PETS_D", "prefix": "SID=" }));
        assert_eq!(http["header_inputs"], json!({ "x-more": "x-more" }));
        let inputs: Vec<&String> = input.as_object().expect("an object").keys().collect();
        assert_eq!(inputs, ["page", "x-more"], "no input names a secret");
        assert_eq!(lost.len(), 3, "{lost:?}");
    }
}

#[test]
fn the_first_choice_that_can_be_carried_over_whole_is_the_one() {
    let schemes = json!({
        "digest": { "type": "http", "scheme": "digest" }, "tls": { "type": "mutualTLS" },
        "one": key("query", "key"), "two": key("header", "X-Key"), "twin": key("header", "x-key"),
        "host": key("header", "Host"), "sid": key("cookie", "a=b"), "Two": key("header", "X-Other"),
    });
    let with = |security: Value| secured(schemes.clone(), security, json!([]));
    // What is wanted together with something else is not enough alone.
    let (http, _, lost) = with(json!([{ "digest": [], "one": [] }, { "two": [] }]));
    assert_eq!(
        (&http["query"], &http["headers"]),
        (&Value::Null, &json!({ "X-Key": { "secret": "PETS_TWO" } }))
    );
    assert_eq!(lost.len(), 1, "{lost:?}");
    let (http, _, _) = with(json!([{ "one": [], "two": [] }]));
    assert_eq!(
        (http["query"]["key"]["secret"].as_str(), http["headers"]["X-Key"]["secret"].as_str()),
        (Some("PETS_ONE"), Some("PETS_TWO"))
    );
    for (choice, why) in [
        (json!({ "digest": [] }), "`digest` is neither a key"),
        (json!({ "tls": [] }), "`tls` is neither a key"),
        (json!({ "gone": [] }), "no security scheme `gone`"),
        (json!({ "host": [] }), "the header `Host` is set by the request"),
        (json!({ "sid": [] }), "a name that no cookie has"),
        (json!({ "two": [], "twin": [] }), "two of its secrets would stand in"),
        (json!({ "Two": [], "two": [] }), "would be the secret `PETS_TWO`"),
    ] {
        let (http, _, lost) = with(json!([choice]));
        assert_eq!((&http["query"], &http["headers"]), (&Value::Null, &Value::Null));
        assert!(lost[0].starts_with("who calls: ") && lost[0].contains(why), "{why}: {lost:?}");
    }
    // Whoever may call without saying who they are needs no secret.
    for nobody in [json!([]), json!([{}]), json!([{ "two": [] }, {}])] {
        let (http, _, lost) = with(nobody);
        assert_eq!((&http["headers"], lost), (&Value::Null, vec![]));
    }
}

#[test]
fn what_is_exported_as_tools_is_imported_with_the_same_inputs() {
    let graph = CapabilityGraph::build(&session(Default::default()), &catalogue());
    for (format, from) in [
        (ToolFormat::OpenAi, from_openai as fn(&str, &Value) -> _),
        (ToolFormat::Anthropic, from_anthropic),
    ] {
        let tools = graph.tools(format).tools;
        let document: Value = tools.iter().map(|tool| tool.definition.clone()).collect();
        let import: Import = from("host", &json!({ "tools": document })).expect("tools");
        assert_eq!((import.contracts.len(), import.left_out.len()), (tools.len(), 0));
        for (imported, tool) in import.contracts.iter().zip(&tools) {
            let contract = contract(imported);
            let original = graph.get(&tool.capability, None).expect("there");
            assert_eq!(contract.input_schema(), original.input_schema());
            assert_eq!(contract.risk.as_str(), "high", "nobody said what it does");
            assert!(contract.effects.net.is_empty() && !imported.lost.is_empty());
        }
    }
}

#[test]
fn a_command_is_an_argument_list_at_its_worst() {
    let argv = ["./tools/run me".to_owned(), "--flag".to_owned(), "{ $(id) }".to_owned()];
    let (contract, lost) = one(from_command("ops", &argv).expect("a command"));
    assert_eq!(contract.id.as_str(), "ops.run_me");
    let HandlerSpec::Command(command) = &contract.handler else { panic!("{contract:?}") };
    assert_eq!(command.arguments(&json!({})).as_deref(), Ok(&argv[..]), "braces are no templates");
    assert_eq!(
        (contract.risk.as_str(), contract.effects.process.clone()),
        ("high", vec![argv[0].clone()])
    );
    assert!(contract.effects.fs.read.is_empty() && contract.effects.fs.write.is_empty());
    assert_eq!(lost.len(), 2);
    assert!(from_command("ops", &[]).is_err());
    assert_eq!(from_command("Not A Word", &argv).expect("read").left_out.len(), 1);
}

#[test]
fn a_skill_reads_its_folder_and_nothing_beside_it() {
    let path = |text: &str| WorkspacePath::parse(text).expect("a path");
    let folder = |skill: &str| SkillFolder {
        path: path("skills/a[b]"),
        skill: skill.to_owned(),
        files: vec![path("skills/a[b]/SKILL.md"), path("skills/a[b]/scripts/go.sh")],
    };
    let import =
        from_claude_skill("s", &folder("---\nname: n\ndescription: d\n---\n")).expect("a skill");
    assert_eq!(import.left_out, vec![]);
    let [reading, running] = import.contracts.as_slice() else { panic!("{import:?}") };
    let reading = Arc::new(contract(reading));
    assert_eq!(reading.effects.fs.read, ["skills/a[[]b[]]/**"], "a name is no pattern");
    assert!(reading.check_input(&json!({ "path": "skills/other" })).is_err());
    let running = contract(running);
    let HandlerSpec::Command(command) = &running.handler else { panic!("{running:?}") };
    assert_eq!(command.argv, ["sh", "skills/a[b]/scripts/go.sh"]);
    let inputs = command.inputs(&json!({}), &running.effects);
    assert_eq!(inputs, Ok(vec![CommandInput::Path(path("skills/a[b]"))]));
    for bad in [
        "",
        "# no front",
        "---\nname: n\n---\n",
        "---\nname: [\n---\n",
        "---\nname: 1\ndescription: d\n---\n",
    ] {
        assert!(from_claude_skill("s", &folder(bad)).is_err(), "{bad}");
    }
}

fn anything() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "$ref",
        "type",
        "properties",
        "items",
        "anyOf",
        "parameters",
        "name",
        "in",
        "schema",
        "path",
        "query",
        "body",
        "get",
        "post",
        "/p/{q}",
        "q",
        "requestBody",
        "content",
        "application/json",
        "responses",
        "200",
        "security",
        "servers",
        "url",
        "https://h/",
        "#/paths",
        "#/components/schemas/A",
        "nullable",
        "required",
        "operationId",
        "string",
        "object",
        "tools",
        "function",
        "input_schema",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        words.clone().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((words.clone(), inner), 0..6).prop_map(|fields| Value::Object(
                fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            )),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_in_only_contracts_come_out(
        paths in anything(), operation in anything(), schema in anything(), parameters in anything(),
    ) {
        let document = json!({
            "openapi": "3.1.0", "servers": [{ "url": "https://h/" }],
            "paths": { "/a": paths, "/b/{q}": { "get": operation, "post": {
                "parameters": parameters,
                "requestBody": { "content": { "application/json": { "schema": { "$ref": "#/components/schemas/A" } } } } } } },
            "components": { "schemas": { "A": schema } },
        });
        let imports = [
            from_openapi("n", &document, None), from_openai("n", &schema), from_anthropic("n", &schema),
        ];
        for import in imports.into_iter().flatten() {
            for imported in &import.contracts {
                let contract = contract(imported);
                // It was read as a contract and holds nothing that would be read another way.
                prop_assert_eq!(contract.id.as_str(), imported.id());
                prop_assert!(contract.effects.net.iter().all(|host| host == "h"));
                prop_assert!(contract.effects.process.is_empty() && contract.effects.fs.write.is_empty());
            }
        }
    }
}
