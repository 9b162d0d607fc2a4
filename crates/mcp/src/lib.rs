#![doc = include_str!("../README.md")]

mod door; // one session, served: begin here
mod offer; // what the session can ask for, as tools

mod audience; // who hears that the tools have changed
mod bundles; // packs and facades, as tools
mod call; // one call, from its arguments to its answer
mod elicit; // asking the person behind the client
mod going; // a call's way down the road, with or without somebody who waits
mod http; // over HTTP
mod menu; // what other servers have, as it was let in
mod relay; // calls of other servers' tools, and what goes back and forth meanwhile
mod road; // one call, with everything that has to be asked on the way
mod say; // results and refusals, as a model reads them
mod serve; // on standard input and output
mod tasks; // calls that wait for people
mod undo; // the tool that takes back
mod upstream; // other servers: started, listed, called, ended

pub use door::Door;
pub use elicit::{Elicitation, NoRandomness};
pub use http::{
    ENDPOINT, HttpError, HttpOptions, HttpServer, HttpTerms, Keeper, McpService, RegisteredClients,
    Serving, WeakToken,
};
pub use menu::Menu;
pub use serve::{ServeError, serve_stdio};
pub use upstream::{Governed, LeftOut, Listing, Standing, StandingKind, Surroundings, Upstreams};
