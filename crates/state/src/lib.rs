//! The embedded state: SQLite tables behind the ports of governance, executor and workflow.
