//! `init`: a workspace is made, and nothing in it is overwritten.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use lictor::context::{Name, SystemClock};
use lictor::governance::{ApproverError, ApproverStoreError, Approvers, Preset};
use lictor::state::SqliteApproverStore;
use serde_json::json;

use super::Answer;
use super::approvals::record_done;
use crate::args::Init;
use crate::consent;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{GREEN, Output};

/// The role of whoever made the workspace. It opens what a policy says that it opens, and nothing by
/// itself; without it, they could not approve under the first policy that speaks of roles.
const OWNER: &str = "owner";

const POLICY: &str = include_str!("policy.template.yaml");

/// Everything of Lictor's own that a version control system must not see; the policy and the
/// capabilities are committed with the project.
const IGNORE: &str = "# Lictor's own state: private, and of this machine.\n\
                      *\n\
                      !.gitignore\n!policy.yaml\n!capabilities/\n!capabilities/**\n\
                      !*.policy-test.yaml\n!policies/\n!policies/**\n!packs/\n!packs/**\n!facades/\n!facades/**\n\
                      !workflows/\n!workflows/**\n";

pub(crate) async fn init(wish: Init, context: &Context, output: &Output) -> Answer {
    let root = match &context.global.workspace {
        Some(given) => given.clone(),
        // Not the nearest workspace upwards: a new one is made right here.
        None => std::env::current_dir().map_err(Failure::failed)?,
    };
    if !root.is_dir() {
        return Err(Failure::input(format!("`{}` is not a folder", root.display())));
    }
    if !wish.dry.dry_run {
        inside(&root, context, output).await?;
    }
    let mut made = Made { root: &root, dry: wish.dry.dry_run, created: Vec::new() };
    made.folder(".lictor", 0o700)?;
    made.file(".lictor/.gitignore", IGNORE)?;
    made.file(".lictor/policy.yaml", wish.preset.map_or(POLICY, Preset::text))?;
    made.folder(".lictor/capabilities", 0o755)?;
    let created = made.created;
    let token = match wish.dry.dry_run {
        true => None,
        false if wish.rebind => rebind(&root, context, output).await?,
        false => first_approver(&root, context, context.os_user.clone())?,
    };
    let json = json!({ "workspace": root, "created": created, "approver_token": token });
    output.result(&json, || {
        let mut text = format!("{GREEN}workspace{GREEN:#} {}\n", root.display());
        for path in &created {
            text.push_str(&format!("  created {path}\n"));
        }
        if created.is_empty() {
            text.push_str("  everything was there already; nothing was changed\n");
        }
        if let Some(token) = &token {
            let user = &context.os_user;
            text.push_str(&format!(
                "\n`{user}` may approve what the policy asks approval for, as `{OWNER}`. Their token, shown only \
                 now:\n\n  {token}\n\nKeep it where no agent reads it; it goes into LICTOR_APPROVER_TOKEN.\n"
            ));
        }
        text
    });
    Ok(0)
}

struct Made<'a> {
    root: &'a Path,
    dry: bool,
    created: Vec<String>,
}

impl Made<'_> {
    fn folder(&mut self, name: &str, mode: u32) -> Result<(), Failure> {
        let path = self.root.join(name);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => return Ok(()),
            Ok(_) => {
                return Err(Failure::input(format!(
                    "`{}` is there and is not a folder",
                    path.display()
                )));
            }
            Err(_) => {}
        }
        if !self.dry {
            let made = fs::DirBuilder::new().mode(mode).create(&path);
            made.map_err(|error| cannot(&path, &error))?;
        }
        self.created.push(format!("{name}/"));
        Ok(())
    }

    fn file(&mut self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.root.join(name);
        if fs::symlink_metadata(&path).is_ok() {
            return Ok(());
        }
        if !self.dry {
            let mut options = fs::OpenOptions::new();
            let opened = options.write(true).create_new(true).mode(0o644).open(&path);
            opened
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(|error| cannot(&path, &error))?;
        }
        self.created.push(name.to_owned());
        Ok(())
    }
}

fn cannot(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("`{}` cannot be made: {error}", path.display()))
}

/// A workspace inside of another one opens what the policy of that one closes, so an approver of it
/// agrees, and its trail hears of it.
async fn inside(root: &Path, context: &Context, output: &Output) -> Result<(), Failure> {
    let root = root.canonicalize().map_err(Failure::failed)?;
    if root.join(".lictor/policy.yaml").exists() {
        return Ok(());
    }
    let is_workspace = |folder: &&Path| folder.join(".lictor/policy.yaml").is_file();
    let Some(outer) = root.ancestors().skip(1).find(is_workspace) else { return Ok(()) };
    let what = "init.inside";
    let mut options = context.options()?;
    (options.workspace, options.state_dir) = (outer.to_path_buf(), None);
    let runtime = lictor::Runtime::open(options).await?;
    let agreed = consent::approver(what, &runtime, context, output).await;
    let by = agreed.map_err(|mut failure| {
        failure.message = format!(
            "`{}` lies in the workspace `{}`, whose policy would not count there; an approver of that \
             one has to agree: {}",
            root.display(),
            outer.display(),
            failure.message
        );
        failure
    })?;
    let params = json!({ "workspace": root.strip_prefix(outer).unwrap_or(&root) });
    record_done(what, params, (&by.0, by.1), &runtime, context).await
}

/// Binds the workspace to another database. Whoever is an approver of the present one says so, and
/// is the first of the other one if that has none; both trails hear of it.
async fn rebind(
    root: &Path,
    context: &Context,
    output: &Output,
) -> Result<Option<String>, Failure> {
    let Some(folder) = &context.global.state_dir else {
        return Err(Failure::usage("`--rebind` takes `--state-dir`"));
    };
    let what = "init.rebind";
    let mut options = context.options()?;
    (options.workspace, options.state_dir) = (root.to_path_buf(), None);
    let runtime = lictor::Runtime::open(options).await?;
    let by = consent::approver(what, &runtime, context, output).await?;
    let params = json!({ "state_dir": folder });
    record_done(what, params.clone(), (&by.0, by.1), &runtime, context).await?;
    lictor::rebind_state(root, folder)?;
    let token = first_approver(root, context, by.0.name().clone())?;
    let mut options = context.options()?;
    options.workspace = root.to_path_buf();
    let bound = lictor::Runtime::open(options).await?;
    record_done(what, params, (&by.0, by.1), &bound, context).await?;
    Ok(token)
}

/// The first approver is the user of the operating system; nobody else can vouch for anybody yet.
fn first_approver(root: &Path, context: &Context, name: Name) -> Result<Option<String>, Failure> {
    let mut options = context.options()?;
    options.workspace = root.to_path_buf();
    let store = lictor::Runtime::open_store(&options)?;
    let approvers =
        Approvers::new(Arc::new(SqliteApproverStore::new(store)), Arc::new(SystemClock));
    let owner = Name::parse(OWNER).map_err(Failure::failed)?;
    match approvers.bootstrap(name, vec![owner]) {
        Ok((_, token)) => Ok(Some(token.expose().to_owned())),
        Err(ApproverError::Store(ApproverStoreError::Exists)) => Ok(None),
        Err(error) => Err(Failure::failed(error)),
    }
}
