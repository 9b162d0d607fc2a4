//! One caller and 64 callers, each waiting for a durable commit, beside a bare append with
//! `fdatasync` and a bare commit of SQLite: what sharing a flush is worth.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures time, prints, and stops at the first error"
)]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use lictor_store::{Migration, Store, StoreOptions};

const TABLES: &[Migration] = &[Migration {
    owner: "bench",
    version: 1,
    sql: "CREATE TABLE item (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT",
}];
const TEXT: &str = "a record of about the size of an event, say two hundred bytes: who asked for what, \
    in which session, what the gate decided and why, and what came of it in the end; then a digest of it all";
const CALLERS: u64 = 64;

fn open(dir: &Path) -> Store {
    Store::open(&dir.join("bench.db"), StoreOptions::default(), TABLES).unwrap()
}

fn commit(store: &Store) {
    store
        .write(|tx| tx.prepare_cached("INSERT INTO item (text) VALUES (?1)")?.execute([TEXT]))
        .wait()
        .unwrap();
}

/// SQLite alone, as durable: one connection, one row a transaction.
fn bare(dir: &Path) -> rusqlite::Connection {
    let bare = rusqlite::Connection::open(dir.join("bare.db")).unwrap();
    let kind: String = bare.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).unwrap();
    assert_eq!(kind, "wal");
    bare.pragma_update(None, "synchronous", "FULL").unwrap();
    bare.execute_batch(TABLES[0].sql).unwrap();
    bare
}

fn bare_commit(bare: &rusqlite::Connection) {
    bare.prepare_cached("INSERT INTO item (text) VALUES (?1)").unwrap().execute([TEXT]).unwrap();
}

/// `n` commits by so many callers at once.
fn commits(store: &Store, callers: u64, n: u64) -> Duration {
    let barrier = std::sync::Barrier::new(usize::try_from(callers).unwrap() + 1);
    std::thread::scope(|scope| {
        for caller in 0..callers {
            let share = n / callers + u64::from(caller < n % callers);
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                for _ in 0..share {
                    commit(store);
                }
                barrier.wait();
            });
        }
        barrier.wait();
        let start = Instant::now();
        barrier.wait();
        start.elapsed()
    })
}

fn appends(file: &mut File, n: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..n {
        file.write_all(TEXT.as_bytes()).unwrap();
        file.sync_data().unwrap();
    }
    start.elapsed()
}

/// Rounds in turn, so that a slow minute of the disk hits all three; prints medians and ratios.
fn compare(dir: &Path) {
    let store = open(dir);
    let mut file = File::create(dir.join("append")).unwrap();
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..9 {
        times[0].push(appends(&mut file, 100) / 100);
        times[1].push(commits(&store, 1, 100) / 100);
        times[2].push(commits(&store, CALLERS, 6400) / 6400);
    }
    let [append, one, many] = times.map(|mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    let stats = store.stats();
    println!("append + fdatasync      {append:>12.2?}");
    println!("commit, 1 caller        {one:>12.2?}  {:.2} of an append", ratio(one, append));
    println!(
        "commit, {CALLERS} callers      {many:>12.2?}  {:.3} of an append",
        ratio(many, append)
    );
    println!(
        "{} jobs in {} commits, at most {} in one",
        stats.jobs, stats.commits, stats.largest_batch
    );
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

fn main() {
    let dir = tempfile::Builder::new().prefix("lictor-store-bench").tempdir_in(".").unwrap();
    compare(dir.path());

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("durable");
    group.throughput(Throughput::Elements(1));
    let mut file = File::create(dir.path().join("append")).unwrap();
    group.bench_function("append_fdatasync", |b| {
        b.iter_custom(|n| appends(&mut file, n));
    });
    let connection = bare(dir.path());
    group.bench_function("bare_sqlite", |b| b.iter(|| bare_commit(&connection)));
    let store = open(dir.path());
    for callers in [1, CALLERS] {
        group.bench_function(format!("commit/{callers}"), |b| {
            b.iter_custom(|n| commits(&store, callers, n));
        });
    }
    group.finish();
    criterion.final_summary();
}
