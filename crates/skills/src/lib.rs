#![doc = include_str!("../README.md")]

mod skill; // what every skill is made of

mod archive; // the skills
mod change;
mod diff;
mod encode;
mod env;
mod fs;
mod json;
mod pattern;
mod table;
mod template;
mod time;
mod yaml;

mod bounded;
mod catalogue; // their contracts and handlers

#[cfg(test)]
mod examples;
#[cfg(test)]
mod properties;

pub use catalogue::{SkillSettings, contracts, handlers};
