//! `demo`.
use super::Answer;
use crate::args::Demo;
use crate::failure::Failure;
use crate::output::Output;
pub(crate) fn demo(_wish: &Demo, _output: &Output) -> Answer {
    Err(Failure::failed("x"))
}
