//! This test binary, started again as another process.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use lictor_store::{Store, StoreOptions};

use crate::{TABLES, put};

const MARK: &str = "child: ";

/// Another process and what it says.
pub(crate) struct Other {
    process: Child,
    lines: BufReader<ChildStdout>,
}

impl Other {
    pub(crate) fn start(role: &str, name: &str, file: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child::role", "--nocapture"])
            .env("LICTOR_STORE_ROLE", role)
            .env("LICTOR_STORE_NAME", name)
            .env("LICTOR_STORE_FILE", file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self { process, lines }
    }

    /// The next thing it says; `None` at its end.
    pub(crate) fn hear(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some((_, said)) = line.split_once(MARK) {
                // A line cut short by a kill is no acknowledgement.
                return said.strip_suffix('\n').map(str::to_owned);
            }
        }
    }

    /// Kills it, and hears what it had still said.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::iter::from_fn(|| self.hear()).collect()
    }

    /// Lets it go on.
    pub(crate) fn go(&mut self) {
        drop(self.process.stdin.take());
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) {
        while self.hear().is_some() {}
        assert!(self.process.wait().unwrap().success());
    }
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{MARK}{text}").unwrap();
    out.flush().unwrap();
}

/// Not a test: what the other process does. Without a role it does nothing.
#[test]
fn role() {
    let Ok(role) = std::env::var("LICTOR_STORE_ROLE") else {
        return;
    };
    let name = std::env::var("LICTOR_STORE_NAME").unwrap();
    let file = std::env::var_os("LICTOR_STORE_FILE").unwrap();
    let open = || Store::open(Path::new(&file), StoreOptions::default(), TABLES).unwrap();
    match role.as_str() {
        // Writes for ever from several threads, and says what was acknowledged.
        "write" => {
            let store = open();
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let (store, name) = (&store, &name);
                    scope.spawn(move || {
                        for i in 0.. {
                            let item = format!("{name}-{thread}-{i}");
                            put(store, &item).wait().unwrap();
                            say(&item);
                        }
                    });
                }
            });
        }
        // Opens when told to, and writes 200 rows one by one.
        "take-turns" => {
            say("ready");
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            let store = open();
            for i in 0..200 {
                put(&store, format!("{name}-{i}")).wait().unwrap();
            }
        }
        // Opens when told to, and writes 20 rows, each with the number of those that are there.
        "count-on" => {
            say("ready");
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            let store = open();
            for _ in 0..20 {
                let write = store.write(|tx| {
                    let n: i64 = tx.query_row("SELECT count(*) FROM item", (), |row| row.get(0))?;
                    tx.execute("INSERT INTO item (name) VALUES (?1)", [n.to_string()])
                });
                assert_eq!(write.wait().unwrap(), 1);
            }
        }
        other => panic!("unknown role {other}"),
    }
}
