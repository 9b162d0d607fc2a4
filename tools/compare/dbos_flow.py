"""DBOS Transact over SQLite, in its write-ahead log and with full synchronisation."""

import os

from dbos import DBOS, DBOSConfig, SetWorkflowID
from sqlalchemy import event
from sqlalchemy.engine import Engine

import driver

args = driver.arguments()


@event.listens_for(Engine, "connect")
def durable(connection, _):
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


DBOS(config=DBOSConfig(
    name="compare",
    system_database_url="sqlite:///" + os.path.join(args.dir, "dbos.sqlite"),
    run_admin_server=False,
    log_level="ERROR",
))
now = DBOS.step()(driver.now)
render = DBOS.step()(driver.render)
write = DBOS.step()(driver.write)
digest = DBOS.step()(driver.digest)


@DBOS.workflow()
def flow(n, path):
    write(path, render(n, now()))
    return digest(path)


DBOS.launch()


def run(n, path):
    with SetWorkflowID(f"run-{n}"):
        return flow(n, path)


driver.measure("dbos", run, args)
# Its threads would keep the process.
os._exit(0)
