//! The `command` section of a contract: one program, its arguments as templates over the input, and
//! what it gets to run with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use globset::GlobBuilder;
use lictor_context::WorkspacePath;
use lictor_document::ByteSize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::ceiling::EffectCeiling;
use super::fill::{Part, parts, scalar};
use crate::host::is_host_pattern;

/// A command: an argument list that no shell reads. In a file either the list alone, or a mapping.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CommandSpec {
    /// The program and its arguments. `{name}` stands for a property of the input; braces
    /// themselves are written twice. What fills it stays within its argument. An argument that is
    /// nothing but `{name}` goes away where the input has no such property, and becomes one
    /// argument for each item where it is a list. Where that is all there is, the list brings the
    /// program as well.
    pub argv: Vec<String>,
    /// What is copied into the folder that it runs in: paths of the workspace, `.` for everything
    /// in it that is not hidden by a leading dot, `{name}` for what the input says. Unless given,
    /// what the contract's `effects.fs.read` says.
    pub inputs: Option<Vec<String>>,
    /// What else is copied: globs over the workspace, as policies write them, and `{name}` for those
    /// that the input brings. `folder/**` is a folder, `**` everything; any other glob means the
    /// files that fit, and those hidden by a leading dot only where it writes the dot.
    pub globs: Vec<String>,
    /// The folder of the copy that it begins in; its top unless given.
    pub cwd: Option<String>,
    /// What it reads on its standard input: a text with `{name}`, nothing where the input has no
    /// such property. Unless given, the whole input as JSON.
    pub stdin: Option<String>,
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
    /// The files that fit a glob.
    Glob(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mapping {
    argv: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inputs: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    globs: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cwd: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stdin: Option<String>,
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
                    && (at > 0 || self.argv.len() == 1)
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
    /// When the input names what is no path, or no glob.
    pub fn inputs(&self, input: &Value, most: &EffectCeiling) -> Result<Vec<CommandInput>, String> {
        if self.inputs.is_none() && self.globs.is_empty() {
            return most.fs.read.iter().map(|glob| derived(glob)).collect();
        }
        let mut found = Vec::new();
        for entry in self.inputs.iter().flatten() {
            for text in several(entry, input)? {
                found.push(place(&text)?);
            }
        }
        for entry in &self.globs {
            for glob in several(entry, input)? {
                found.push(matching(&glob)?);
            }
        }
        Ok(found)
    }

    /// The folder of the copy that it begins in; `None` for its top.
    ///
    /// # Errors
    /// When the input names what is no path.
    pub fn cwd(&self, input: &Value) -> Result<Option<WorkspacePath>, String> {
        let Some(text) = filled(self.cwd.as_deref(), input)? else { return Ok(None) };
        match place(&text)? {
            CommandInput::Path(path) => Ok(Some(path)),
            CommandInput::Root | CommandInput::Glob(_) => Ok(None),
        }
    }

    /// What it reads on its standard input.
    ///
    /// # Errors
    /// When a property cannot stand where the contract puts it.
    pub fn stdin(&self, input: &Value) -> Result<String, String> {
        match &self.stdin {
            None => Ok(input.to_string()),
            Some(template) => Ok(filled(Some(template), input)?.unwrap_or_default()),
        }
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
        let inputs = self.inputs.iter().flatten().chain(&self.globs);
        let texts = self.argv.iter().chain(inputs).chain(&self.cwd).chain(&self.stdin);
        for text in texts {
            named.extend(parts(text)?.into_iter().filter_map(|part| match part {
                Part::Name(name) => Some(name),
                Part::Text(_) => None,
            }));
        }
        if let Some(name) = named.into_iter().find(|name| !known(name)) {
            return Err(format!("`{name}` is no property of the input"));
        }
        self.check_inputs(most)?;
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
        if let Some(host) = most.net.iter().find(|host| is_host_pattern(host)) {
            return Err(format!(
                "`{}` in `effects.net` is a pattern; the hosts of a command are written out",
                host.escape_debug()
            ));
        }
        Ok(())
    }

    /// What is said of the copy, as far as no input is needed to hold it against anything.
    fn check_inputs(&self, most: &EffectCeiling) -> Result<(), String> {
        let written = |entry: &String| -> Result<Option<String>, String> {
            match parts(entry)?.as_slice() {
                [Part::Name(_)] => Ok(None),
                [Part::Text(text)] => Ok(Some(text.clone())),
                _ => Err(half(entry)),
            }
        };
        if self.inputs.is_none() && self.globs.is_empty() {
            for glob in &most.fs.read {
                derived(glob)?;
            }
        }
        for entry in self.inputs.iter().flatten() {
            if let Some(text) = written(entry)? {
                place(&text)?;
            }
        }
        for entry in &self.globs {
            if let Some(glob) = written(entry)? {
                matching(&glob)?;
            }
        }
        if let Some(cwd) = &self.cwd
            && let Some(text) = written(cwd)?
        {
            place(&text)?;
        }
        Ok(())
    }
}

/// The texts that an entry stands for: one, or those of a list in the input.
fn several(entry: &str, input: &Value) -> Result<Vec<String>, String> {
    match parts(entry)?.as_slice() {
        [Part::Name(name)] => match input.get(*name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(|item| scalar(name, item)).collect(),
            Some(one) => Ok(vec![scalar(name, one)?]),
        },
        [Part::Text(text)] => Ok(vec![text.clone()]),
        _ => Err(half(entry)),
    }
}

/// A text with its properties filled in; nothing where it is one property, and the input has none.
fn filled(template: Option<&str>, input: &Value) -> Result<Option<String>, String> {
    let Some(template) = template else { return Ok(None) };
    let parts = parts(template)?;
    if let [Part::Name(name)] = parts.as_slice()
        && input.get(*name).is_none_or(Value::is_null)
    {
        return Ok(None);
    }
    let mut text = String::new();
    for part in &parts {
        match part {
            Part::Text(part) => text.push_str(part),
            Part::Name(name) => match input.get(*name).unwrap_or(&Value::Null) {
                // No argument, so a NUL is a character like any other.
                Value::String(value) => text.push_str(value),
                value => text.push_str(&scalar(name, value)?),
            },
        }
    }
    Ok(Some(text))
}

/// A glob as everywhere in Lictor: a path, a folder, or the files that fit it.
fn matching(glob: &str) -> Result<CommandInput, String> {
    if let Some(bare) = plain(bare(glob)) {
        return place(&bare);
    }
    let built = GlobBuilder::new(glob).literal_separator(true).build();
    built.map_err(|error| format!("`{}` is not a glob: {}", glob.escape_debug(), error.kind()))?;
    Ok(CommandInput::Glob(glob.to_owned()))
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

/// What a read glob of a contract says by itself: a path, or a folder by `folder/**`.
fn derived(glob: &str) -> Result<CommandInput, String> {
    let bare = plain(bare(glob)).ok_or_else(|| {
        format!(
            "`{}` does not say what to copy for the command; `inputs` does",
            glob.escape_debug()
        )
    })?;
    place(&bare)
}

/// A glob for all that a folder holds is one for the folder.
fn bare(glob: &str) -> &str {
    if glob == "**" { "." } else { glob.strip_suffix("/**").unwrap_or(glob) }
}

impl From<Mapping> for CommandSpec {
    fn from(raw: Mapping) -> Self {
        let Mapping { argv, inputs, globs, cwd, stdin, env, output, sandbox, .. } = raw;
        let Mapping { memory, max_output, max_file, max_processes, system, .. } = raw;
        Self {
            argv,
            inputs,
            globs,
            cwd,
            stdin,
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
            globs: this.globs,
            cwd: this.cwd,
            stdin: this.stdin,
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
