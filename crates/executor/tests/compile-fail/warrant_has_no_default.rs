use lictor_governance::Warrant;

fn from_nothing() -> Warrant {
    Warrant::default()
}

fn main() {}
