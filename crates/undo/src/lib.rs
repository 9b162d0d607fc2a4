//! Un-doing it: atomic change sets with journal, undo, redo and crash recovery.
