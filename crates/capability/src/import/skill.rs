//! A Claude skill: a folder with a `SKILL.md` for a model to read, and perhaps scripts.

use lictor_context::WorkspacePath;
use lictor_document::{Limits, Source, StrictValue, from_yaml};
use serde_json::{Value, json};

use super::{Draft, Import, ImportError, id_of, literal, word_of};

/// A skill's folder, as somebody has listed it.
#[derive(Debug, Clone)]
pub struct SkillFolder {
    /// Where it lies in the workspace.
    pub path: WorkspacePath,
    /// What `SKILL.md` holds.
    pub skill: String,
    /// Every file in it, relative to the workspace root.
    pub files: Vec<WorkspacePath>,
}

/// How a script is run, by the end of its name.
const INTERPRETERS: [(&str, &str); 5] =
    [("py", "python3"), ("sh", "sh"), ("bash", "bash"), ("js", "node"), ("rb", "ruby")];

/// From a skill's folder: one capability that reads its files, and one for each script.
///
/// # Errors
/// When `SKILL.md` does not begin with a name and a description.
pub fn from_claude_skill(namespace: &str, folder: &SkillFolder) -> Result<Import, ImportError> {
    let front = front_matter(&folder.skill)?;
    let text = |key: &str| front.get(key).and_then(Value::as_str).map(str::trim);
    let (Some(name), Some(description)) = (text("name"), text("description")) else {
        return Err(ImportError(
            "`SKILL.md` begins with `---`, `name: …`, `description: …`, `---`; both are needed"
                .to_owned(),
        ));
    };
    let mut import = Import::default();
    let reading = reading(namespace, name, description, &front, folder);
    import.take(format!("{}/SKILL.md", folder.path), reading);
    for script in &folder.files {
        let inside = script.as_str().strip_prefix(folder.path.as_str()).unwrap_or_default();
        if inside.starts_with("/scripts/") {
            import.take(script.to_string(), running(namespace, name, script, folder));
        }
    }
    Ok(import)
}

/// The instructions and what they refer to, for a model to read. The handler is `fs.read`, held to
/// this folder by the contract's ceiling.
fn reading(
    namespace: &str,
    name: &str,
    description: &str,
    front: &Value,
    folder: &SkillFolder,
) -> Result<Draft, String> {
    let id = id_of(namespace, name)?;
    let skill = format!("{}/SKILL.md", folder.path);
    let what = format!(
        "{description}\nAnswers the instructions of this skill: begin with `{skill}`, and read its \
         other files as the instructions name them."
    );
    let mut draft = Draft::new(&id, name, &what, "claude_skill");
    draft.set(json!({
        "kind": "skill",
        "input": {
            "type": "object", "additionalProperties": false, "required": ["path"],
            "properties": { "path": { "enum": folder.files, "description": "The file to read." } },
        },
        "output": { "type": "object" },
        "risk": "low", "idempotent": true,
        "effects": { "fs": { "read": [format!("{}/**", globbed(folder.path.as_str()))] } },
        "handler": { "builtin": "fs.read" },
    }));
    let known = ["name", "description"];
    let others = front.as_object().into_iter().flatten().map(|(key, _)| key);
    draft.lost.extend(others.filter(|key| !known.contains(&key.as_str())).map(|key| {
        if key == "allowed-tools" {
            "`allowed-tools`: what a session may use is what its agent and the policy say"
                .to_owned()
        } else {
            format!("`{key}` has no place in a contract")
        }
    }));
    draft.lost.push(
        "the instructions themselves: they are read, and nothing here holds a model to them"
            .to_owned(),
    );
    Ok(draft)
}

fn running(
    namespace: &str,
    name: &str,
    script: &WorkspacePath,
    folder: &SkillFolder,
) -> Result<Draft, String> {
    let (stem, end) = script.name().rsplit_once('.').unwrap_or((script.name(), ""));
    let id = id_of(&format!("{namespace}.{}", word_of(name)), stem)?;
    let interpreter = INTERPRETERS.iter().find(|(known, _)| *known == end).map(|(_, by)| *by);
    let argv: Vec<String> = match interpreter {
        Some(interpreter) => vec![interpreter.to_owned(), script.to_string()],
        None => vec![format!("./{script}")],
    };
    let what = format!(
        "Run the script `{script}` of the skill {name}, with the input as JSON on its standard input."
    );
    let mut draft = Draft::new(&id, &format!("{name}: {stem}"), &what, "claude_skill");
    draft.set(json!({
        "input": { "type": "object" }, "output": {}, "risk": "high",
        "effects": {
            "fs": { "read": [format!("{}/**", globbed(folder.path.as_str()))] },
            "process": [argv.first()],
        },
        "undo": { "strategy": "none" },
        "handler": { "command": {
            "argv": argv.iter().map(|one| literal(one)).collect::<Vec<_>>(),
            "inputs": [literal(folder.path.as_str())],
        } },
    }));
    draft.lost = vec![
        "how it is called: scripts of skills mostly take arguments, and here they get JSON"
            .to_owned(),
        "which other files it reads and changes: it gets those of its folder".to_owned(),
    ];
    Ok(draft)
}

/// A path as a glob that means nothing but it.
fn globbed(path: &str) -> String {
    globset::escape(path)
}

fn front_matter(skill: &str) -> Result<Value, ImportError> {
    let mut lines = skill.lines();
    let front: Vec<&str> = if lines.next().is_some_and(|line| line.trim_end() == "---") {
        lines.by_ref().take_while(|line| line.trim_end() != "---").collect()
    } else {
        Vec::new()
    };
    let text = front.join("\n");
    let front =
        from_yaml::<StrictValue>(&Source::new("SKILL.md", text.as_bytes()), &Limits::default());
    let front =
        front.map_err(|error| ImportError(format!("what `SKILL.md` begins with: {error}")))?;
    Ok(front.into_inner())
}
