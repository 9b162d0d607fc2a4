use std::marker::PhantomData;

use lictor_workflow::{At, Completed};

fn made() -> At<Completed> {
    At(PhantomData)
}

fn main() {}
