//! The builtin skills: pure descriptions of file changes, text, JSON, time.
