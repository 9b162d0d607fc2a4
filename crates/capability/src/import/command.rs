//! A bare command.

use serde_json::json;

use super::{Draft, Import, ImportError, NotImported, id_of, literal};

/// From a command line: the program and its arguments, as they will be given to it. Nothing is
/// known of it, so it is proposed as what it could be at worst.
///
/// # Errors
/// When there is no program.
pub fn from_command(namespace: &str, argv: &[String]) -> Result<Import, ImportError> {
    let Some(program) = argv.first().filter(|program| !program.is_empty()) else {
        return Err(ImportError(
            "the command is empty; a program and its arguments are accepted".to_owned(),
        ));
    };
    let mut import = Import::default();
    let name = program.rsplit('/').next().unwrap_or(program);
    let origin = argv.join(" ");
    match id_of(namespace, name) {
        Ok(id) => {
            let title = format!("Run {name}");
            let what = format!("Run `{origin}` with the input as JSON on its standard input.");
            let mut draft = Draft::new(&id, &title, &what, "local");
            draft.set(json!({
                "input": { "type": "object" }, "output": {}, "risk": "high",
                "effects": { "process": [program] }, "undo": { "strategy": "none" },
                "handler": { "command": argv.iter().map(|one| literal(one)).collect::<Vec<_>>() },
            }));
            draft.lost = vec![
                "what it takes and gives: write both schemas".to_owned(),
                "which files it reads and changes: none are declared, and it gets none".to_owned(),
            ];
            import.take(origin, Ok(draft));
        }
        Err(why) => import.left_out.push(NotImported { origin, why }),
    }
    Ok(import)
}
