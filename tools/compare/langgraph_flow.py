"""LangGraph with its SQLite checkpointer, each step saved before the next one begins."""

import os
import sqlite3
from typing import TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

import driver

args = driver.arguments()


class State(TypedDict, total=False):
    n: int
    path: str
    when: str
    text: str
    written: int
    digest: str


connection = sqlite3.connect(os.path.join(args.dir, "langgraph.sqlite"), check_same_thread=False)
connection.execute("PRAGMA journal_mode=WAL")
connection.execute("PRAGMA synchronous=FULL")
graph = StateGraph(State)
graph.add_node("now", lambda state: {"when": driver.now()})
graph.add_node("render", lambda state: {"text": driver.render(state["n"], state["when"])})
graph.add_node("write", lambda state: {"written": driver.write(state["path"], state["text"])})
graph.add_node("hash", lambda state: {"digest": driver.digest(state["path"])})
for before, after in [(START, "now"), ("now", "render"), ("render", "write"), ("write", "hash"), ("hash", END)]:
    graph.add_edge(before, after)

flow = graph.compile(checkpointer=SqliteSaver(connection))


def run(n, path):
    config = {"configurable": {"thread_id": f"run-{n}"}}
    return flow.invoke({"n": n, "path": path}, config, durability="sync")["digest"]


driver.measure("langgraph", run, args)
