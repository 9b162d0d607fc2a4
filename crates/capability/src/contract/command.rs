//! The `command` section of a contract: one program, its arguments as templates over the input, and
//! what it gets to run with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use lictor_context::WorkspacePath;
use lictor_document::ByteSize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::EffectCeiling;

/// A command: an argument list that no shell reads. In a file either the list alone, or a mapping.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CommandSpec {
    /// The program and its arguments. `{name}` stands for a property of the input; braces
    /// themselves are written twice. What fills it stays within its argument. An argument that is
    /// nothing but `{name}` goes away where the input has no such property, and becomes one
    /// argument for each item where it is a list.
    pub argv: Vec<String>,
    /// What is copied into the folder that it runs in: paths of the workspace, `.` for everything
    /// in it that is not hidden by a leading dot, `{name}` for what the input says. Unless given,
    /// what the contract's `effects.fs.read` says.
    pub inputs: Option<Vec<String>>,
    /// Its environment, beside what every command gets.
    pub env: BTreeMap<String, EnvValue>,
    /// What becomes of what it prints.
    pub output: CommandOutput,
    /// What has to hold it.
    pub sandbox: Sandbox,
    /// The most memory, of all its processes together.
    pub memory: Option<ByteSize>,
    /// The most that it may print, on each of its two outputs.
    pub max_output: Option<ByteSize>,
    /// The most that one file may hold.
    pub max_file: Option<ByteSize>,
    /// The most processes and threads at a time.
    pub max_processes: Option<u32>,
    /// Places of this machine that it may read and run programs from, beside the usual ones.
    pub system: Vec<String>,
}

/// The value of an environment variable: a text, or a secret that is looked up at the moment of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EnvValue {
    /// A text.
    Text(String),
    /// A secret.
    Secret(SecretName),
}

/// Names a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretName {
    /// The secret's name.
    pub secret: String,
}

/// What becomes of what a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandOutput {
    /// It prints JSON, which is the output; another exit code than 0 is a failure.
    #[default]
    Json,
    /// The output is `{exit_code, stdout, stderr}`; another exit code than 0 is an answer too, and
    /// drops what it did to files.
    Text,
}

/// What has to hold a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// All of it; on a machine that cannot give it nothing runs.
    #[default]
    Required,
    /// As much as the machine gives.
    BestEffort,
}

/// Something that is copied for a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandInput {
    /// Everything in the workspace that is not hidden by a leading dot.
    Root,
    /// A file or a folder.
    Path(WorkspacePath),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mapping {
    argv: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inputs: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<String, EnvValue>,
    #[serde(default)]
    output: CommandOutput,
    #[serde(default)]
    sandbox: Sandbox,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory: Option<ByteSize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_output: Option<ByteSize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_file: Option<ByteSize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_processes: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    system: Vec<String>,
}

impl CommandSpec {
    /// A command of which nothing is said but its arguments.
    #[must_use]
    pub fn of(argv: Vec<String>) -> Self {
        Self { argv, ..Self::default() }
    }

    /// An argument that stands for itself, braces and all.
    #[must_use]
    pub fn literal(argument: &str) -> String {
        argument.replace('{', "{{").replace('}', "}}")
    }

    /// The arguments for an input, the program first.
    ///
    /// # Errors
    /// When a property cannot stand where the contract puts it.
    pub fn arguments(&self, input: &Value) -> Result<Vec<String>, String> {
        let mut arguments = Vec::with_capacity(self.argv.len());
        let mut options_ended = false;
        for (at, argument) in self.argv.iter().enumerate() {
            let parts = parts(argument)?;
            if let [Part::Name(name)] = parts.as_slice() {
                let value = input.get(*name).unwrap_or(&Value::Null);
                if let Value::Array(items) = value
                    && at > 0
                {
                    for item in items {
                        arguments.push(scalar(name, item)?);
                    }
                } else if !value.is_null() {
                    let text = scalar(name, value)?;
                    if at > 0 && text.starts_with('-') && !options_ended {
                        return Err(format!(
                            "`{name}` begins with `-` and would be taken for an option"
                        ));
                    }
                    arguments.push(text);
                }
                continue;
            }
            let mut text = String::new();
            for part in &parts {
                match part {
                    Part::Text(part) => text.push_str(part),
                    Part::Name(name) => {
                        let value = input.get(*name).unwrap_or(&Value::Null);
                        text.push_str(&scalar(name, value)?);
                    }
                }
            }
            options_ended |= text == "--";
            arguments.push(text);
        }
        match arguments.first() {
            Some(program) if !program.is_empty() && !program.starts_with('-') => Ok(arguments),
            Some(_) | None => Err("the program is empty, or begins with `-`".to_owned()),
        }
    }

    /// What is copied for an input.
    ///
    /// # Errors
    /// When the input names what is no path.
    pub fn inputs(&self, input: &Value, most: &EffectCeiling) -> Result<Vec<CommandInput>, String> {
        let Some(inputs) = &self.inputs else { return derived(&most.fs.read) };
        let mut found = Vec::new();
        for entry in inputs {
            match parts(entry)?.as_slice() {
                [Part::Name(name)] => match input.get(*name) {
                    None | Some(Value::Null) => {}
                    Some(Value::Array(items)) => {
                        for item in items {
                            found.push(place(&scalar(name, item)?)?);
                        }
                    }
                    Some(one) => found.push(place(&scalar(name, one)?)?),
                },
                [Part::Text(text)] => found.push(place(text)?),
                _ => return Err(half(entry)),
            }
        }
        Ok(found)
    }

    /// Whether everything that it does stays in the copy that it runs in: all of the sandbox is
    /// there or it does not run, and no host can be reached.
    #[must_use]
    pub fn is_contained(&self, most: &EffectCeiling) -> bool {
        self.sandbox == Sandbox::Required && most.net.is_empty()
    }

    /// Holds it against the schema of the input and the effects that the contract declares.
    pub(super) fn check(&self, input: &Value, most: &EffectCeiling) -> Result<(), String> {
        let known = |name: &str| {
            input.get("properties").and_then(|properties| properties.get(name)).is_some()
        };
        let Some(program) = self.argv.first() else {
            return Err("a command is a list of arguments, the program first".to_owned());
        };
        match parts(program)?.as_slice() {
            [Part::Text(program)] if most.process.iter().any(|one| one == program) => {}
            [Part::Name(_)] => {}
            [Part::Text(program)] => {
                return Err(format!(
                    "`effects.process` does not name the program `{}`",
                    program.escape_debug()
                ));
            }
            _ => return Err("the program is a text, or one `{name}` and nothing else".to_owned()),
        }
        let mut named = BTreeSet::new();
        let inputs = self.inputs.iter().flatten();
        for text in self.argv.iter().chain(inputs.clone()) {
            named.extend(parts(text)?.into_iter().filter_map(|part| match part {
                Part::Name(name) => Some(name),
                Part::Text(_) => None,
            }));
        }
        if let Some(name) = named.into_iter().find(|name| !known(name)) {
            return Err(format!("`{name}` is no property of the input"));
        }
        match &self.inputs {
            None => drop(derived(&most.fs.read)?),
            Some(inputs) => {
                for entry in inputs {
                    match parts(entry)?.as_slice() {
                        [Part::Name(_)] => {}
                        [Part::Text(text)] => drop(place(text)?),
                        _ => return Err(half(entry)),
                    }
                }
            }
        }
        for name in self.env.keys() {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(fits) || name.starts_with(char::is_numeric) {
                return Err(format!("`{}` is no name of a variable", name.escape_debug()));
            }
            if ["PATH", "HOME", "TMPDIR"].contains(&name.as_str()) {
                return Err(format!("`{name}` is set by whoever starts the command"));
            }
        }
        if let Some(place) = self.system.iter().find(|place| !place.starts_with('/')) {
            return Err(format!("`{}` is no absolute path", place.escape_debug()));
        }
        if self.max_processes == Some(0) {
            return Err("`max_processes` is 1 or more".to_owned());
        }
        if let Some(host) = most.net.iter().find(|host| host.contains(['*', '?', '[', '{'])) {
            return Err(format!(
                "`{}` in `effects.net` is a pattern; the hosts of a command are written out",
                host.escape_debug()
            ));
        }
        Ok(())
    }
}

enum Part<'a> {
    Text(String),
    Name(&'a str),
}

/// Takes a template apart. A text without names is one part, even an empty one.
fn parts(template: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, after) = rest.split_at(at);
        text.push_str(before);
        if let Some(later) = after.strip_prefix("{{") {
            text.push('{');
            rest = later;
        } else if let Some(later) = after.strip_prefix("}}") {
            text.push('}');
            rest = later;
        } else {
            let name = after.strip_prefix('{').and_then(|after| after.split_once('}'));
            let Some((name, later)) = name.filter(|(name, _)| !name.is_empty()) else {
                return Err(format!(
                    "a brace in `{}` stands for no property; write it twice to mean itself",
                    template.escape_debug()
                ));
            };
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::Name(name));
            rest = later;
        }
    }
    text.push_str(rest);
    if !text.is_empty() || parts.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

fn scalar(name: &str, value: &Value) -> Result<String, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Null => return Err(format!("the input has no `{name}`")),
        Value::Array(_) | Value::Object(_) => {
            return Err(format!("`{name}` is no text, number or boolean"));
        }
    };
    if text.contains('\0') {
        return Err(format!("`{name}` holds a NUL, which no argument can"));
    }
    Ok(text)
}

fn half(entry: &str) -> String {
    format!("`{}` is neither a path nor one `{{name}}` and nothing else", entry.escape_debug())
}

fn place(text: &str) -> Result<CommandInput, String> {
    if text == "." {
        return Ok(CommandInput::Root);
    }
    WorkspacePath::parse(text).map(CommandInput::Path).map_err(|error| error.to_string())
}

/// The one path that a glob means, if it means one: `[*]` is how a glob says `*`.
fn plain(glob: &str) -> Option<String> {
    let mut text = String::with_capacity(glob.len());
    let mut rest = glob.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' | '?' | '{' | '}' | '\\' | ']' => return None,
            '[' => {
                text.push(rest.next()?);
                if rest.next()? != ']' {
                    return None;
                }
            }
            c => text.push(c),
        }
    }
    Some(text)
}

/// What the read globs of a contract say by themselves: paths, and folders by `folder/**`.
fn derived(globs: &[String]) -> Result<Vec<CommandInput>, String> {
    let of = |glob: &String| {
        let bare = if glob == "**" { "." } else { glob.strip_suffix("/**").unwrap_or(glob) };
        let bare = plain(bare).ok_or_else(|| {
            format!(
                "`{}` does not say what to copy for the command; `inputs` does",
                glob.escape_debug()
            )
        })?;
        place(&bare)
    };
    globs.iter().map(of).collect()
}

impl From<Mapping> for CommandSpec {
    fn from(raw: Mapping) -> Self {
        let Mapping { argv, inputs, env, output, sandbox, memory, max_output, .. } = raw;
        let Mapping { max_file, max_processes, system, .. } = raw;
        Self {
            argv,
            inputs,
            env,
            output,
            sandbox,
            memory,
            max_output,
            max_file,
            max_processes,
            system,
        }
    }
}

impl Serialize for CommandSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if *self == Self::of(self.argv.clone()) {
            return self.argv.serialize(serializer);
        }
        let this = self.clone();
        Mapping {
            argv: this.argv,
            inputs: this.inputs,
            env: this.env,
            output: this.output,
            sandbox: this.sandbox,
            memory: this.memory,
            max_output: this.max_output,
            max_file: this.max_file,
            max_processes: this.max_processes,
            system: this.system,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CommandSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = CommandSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of arguments, or a mapping with `argv`")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<CommandSpec, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(CommandSpec::of)
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<CommandSpec, A::Error> {
                Mapping::deserialize(MapAccessDeserializer::new(entries)).map(CommandSpec::from)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arguments(argv: &[&str], input: Value) -> Result<Vec<String>, String> {
        let argv = argv.iter().map(|one| (*one).to_owned()).collect();
        CommandSpec::of(argv).arguments(&input)
    }

    #[test]
    fn a_property_fills_one_argument_and_is_never_taken_apart() {
        let hostile = "a b; $(c) \"'\n*";
        let got = arguments(&["p", "--x={x}", "{x}", "{{x}}"], json!({ "x": hostile })).unwrap();
        assert_eq!(got, ["p", &format!("--x={hostile}"), hostile, "{x}"]);
        let got = arguments(&["p", "{x}", "{n}"], json!({ "x": [hostile, "-o", 7] })).unwrap();
        assert_eq!(got, ["p", hostile, "-o", "7"], "a list is a list of arguments");
    }

    #[test]
    fn what_would_be_taken_for_an_option_is_refused() {
        for (argv, fits) in [
            (["p", "a", "{x}"].as_slice(), false),
            (&["p", "--", "{x}"], true),
            (&["p", "{x}", "--"], false),
            (&["{x}"], false),
        ] {
            assert_eq!(arguments(argv, json!({ "x": "-rf" })).is_ok(), fits, "{argv:?}");
        }
        for bad in [json!({ "x": "a\0b" }), json!({ "x": {} })] {
            assert!(arguments(&["p", "{x}"], bad).is_err());
        }
        assert!(arguments(&["p", "a{x}"], json!({})).is_err(), "half an argument");
        assert!(arguments(&["{x}"], json!({ "x": "" })).is_err(), "no program");
    }

    #[test]
    fn what_is_copied_follows_from_what_the_contract_reads() {
        let of = |globs: &[&str]| {
            let mut most = EffectCeiling::default();
            most.fs.read = globs.iter().map(|glob| (*glob).to_owned()).collect();
            CommandSpec::default().inputs(&json!({}), &most)
        };
        let path = |text| CommandInput::Path(WorkspacePath::parse(text).unwrap());
        assert_eq!(of(&["src/**", "a.txt"]).unwrap(), [path("src"), path("a.txt")]);
        assert_eq!(of(&["**"]).unwrap(), [CommandInput::Root]);
        assert_eq!(of(&[]).unwrap(), []);
        assert_eq!(of(&["a[*]b[[]/**"]).unwrap(), [path("a*b[")], "escaped");
        assert!(of(&["src/*.rs"]).unwrap_err().contains("inputs"));
    }

    #[test]
    fn a_list_and_a_mapping_are_read_and_a_bare_list_is_written_as_one() {
        let list = json!(["p", "{x}"]);
        let spec: CommandSpec = serde_json::from_value(list.clone()).unwrap();
        assert_eq!(serde_json::to_value(&spec).unwrap(), list);
        let full = json!({ "argv": ["p"], "env": { "A": "b", "C": { "secret": "D" } },
            "output": "text", "sandbox": "best_effort", "memory": "1MiB", "max_processes": 3 });
        let spec: CommandSpec = serde_json::from_value(full).unwrap();
        let again = serde_json::to_value(&spec).unwrap();
        assert_eq!(serde_json::from_value::<CommandSpec>(again).unwrap(), spec);
        assert!(
            serde_json::from_value::<CommandSpec>(json!({ "argv": ["p"], "shell": true })).is_err()
        );
        assert!(serde_json::from_value::<CommandSpec>(json!("rm -rf /")).is_err(), "no shell");
    }
}
