//! `run`, `check run` and `workflow`.
use super::Answer;
use crate::args::{Run, RunInput, Workflow};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;
pub(crate) async fn run(_wish: Run, _context: &Context, _output: &Output) -> Answer {
    Err(Failure::failed("x"))
}
pub(crate) async fn check(_wish: &RunInput, _context: &Context, _output: &Output) -> Answer {
    Err(Failure::failed("x"))
}
pub(crate) async fn workflow(_wish: Workflow, _context: &Context, _output: &Output) -> Answer {
    Err(Failure::failed("x"))
}
