//! Doing it: the only caller of handlers, behind tower layers.
