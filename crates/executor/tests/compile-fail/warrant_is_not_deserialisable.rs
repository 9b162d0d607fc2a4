use lictor_governance::Warrant;

fn read_back(text: &str) -> Warrant {
    serde_json::from_str(text).unwrap()
}

fn main() {}
