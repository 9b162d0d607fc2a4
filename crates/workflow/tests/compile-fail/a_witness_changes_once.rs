use lictor_workflow::{At, Running};

fn twice(at: At<Running>) {
    let _paused = at.pause();
    let _completed = at.complete();
}

fn main() {}
