#![doc = include_str!("../README.md")]

mod skill; // what every skill is made of

mod change; // the skills
mod env;
mod fs;
mod json;
mod pattern;
mod template;
mod time;

mod bounded;
mod catalogue; // their contracts and handlers

#[cfg(test)]
mod examples;

pub use catalogue::{SkillSettings, contracts, handlers};
