//! The files in which MCP clients keep their servers, changed by us: only what has to be, and so that it
//! can be taken back.

pub(crate) mod backup; // what was there, kept where only this user looks
pub(crate) mod places; // which clients there are, and where their files lie
pub(crate) mod text; // JSON whose every byte keeps its place
pub(crate) mod wrapping; // a server behind the road, in such a file
