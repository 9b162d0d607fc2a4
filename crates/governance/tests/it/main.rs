//! Through the public API.
