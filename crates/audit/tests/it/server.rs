//! A PostgreSQL server of the tests' own, from the system's packages.
#![cfg(feature = "postgres")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lictor_audit::postgres::{Client, Config, NoTls};
use tempfile::TempDir;

/// A running server; it is stopped, and its data goes, with this.
pub(crate) struct Server {
    folder: TempDir,
    child: Child,
    user: String,
}

/// Where distributions put the server's programs, which are in nobody's search path.
fn program(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let of_versions = versions.map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(of_versions);
    folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Root may not run a server; then it is the user `postgres`, whom the packages make.
fn own_user(folder: &Path) -> Option<(u32, u32)> {
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(folder).unwrap());
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.starts_with("postgres:"));
    let mut parts = line?.split(':').skip(2).map(|part| part.parse().unwrap());
    (owner == 0).then(|| (parts.next().unwrap(), parts.next().unwrap()))
}

impl Server {
    /// Starts one; `None`, and a word about it, when the programs are not here. In CI they have to
    /// be.
    pub(crate) fn start() -> Option<Self> {
        let (Some(initdb), Some(postgres)) = (program("initdb"), program("postgres")) else {
            assert!(std::env::var_os("CI").is_none(), "CI needs the programs of PostgreSQL");
            eprintln!("skipped: initdb and postgres are not here");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let user = own_user(folder.path());
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        let as_user = |program: &Path| {
            let mut command = Command::new(program);
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let made = as_user(&initdb)
            .args(["--username=lictor", "--auth=trust", "--no-sync", "--encoding=UTF8", "-D"])
            .arg(&data)
            .status();
        assert!(made.unwrap().success(), "initdb failed");
        let child = as_user(&postgres)
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200"])
            .spawn()
            .unwrap();
        let server = Self { folder, child, user: "lictor".to_owned() };
        Some(server.ready())
    }

    /// Waits until it answers: each attempt to connect waits for it by itself.
    fn ready(mut self) -> Self {
        loop {
            assert!(self.child.try_wait().unwrap().is_none(), "the server ended");
            if self.config("postgres").connect(NoTls).is_ok() {
                return self;
            }
            std::thread::yield_now();
        }
    }

    /// How to reach a database.
    pub(crate) fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        config.host_path(self.folder.path()).user(&self.user).dbname(database);
        config
    }

    /// A new database.
    pub(crate) fn database(&self, name: &str) -> Config {
        let mut client: Client = self.config("postgres").connect(NoTls).unwrap();
        client.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        self.config(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // At once, and its children with it; the data goes with the folder.
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-QUIT", &pid]).status();
        if !told.is_ok_and(|status| status.success()) {
            self.child.kill().unwrap_or_default();
        }
        self.child.wait().unwrap();
    }
}
