use lictor_governance::Warrant;

fn twice(warrant: Warrant) -> (Warrant, Warrant) {
    (warrant.clone(), warrant)
}

fn main() {}
