//! Other spellings of one path, host or program.

use std::net::IpAddr;

use lictor_capability::HostNumber;
use unicode_normalization::UnicodeNormalization as _;

type Spelling = (&'static str, String);

fn differing(target: &str, all: Vec<Spelling>) -> Vec<Spelling> {
    let mut all: Vec<Spelling> = all.into_iter().filter(|(_, other)| other != target).collect();
    all.dedup();
    all
}

/// What some file system, shell or unpacker takes for the same path.
///
/// With `letters`, also by other letters: case, Unicode forms, what is not seen.
pub(super) fn paths(path: &str, letters: bool) -> Vec<Spelling> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let first = path.split('/').next().unwrap_or_default();
    let inside = |name: &str| {
        if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
    };
    let mut all = vec![
        ("traversal", format!("./{path}")),
        ("traversal", format!("lictor-fuzz/../{path}")),
        ("traversal", format!("{first}/../{path}")),
        ("traversal", inside(&format!("./{name}"))),
        ("traversal", format!("../workspace/{path}")),
        ("absolute", format!("/{path}")),
        ("absolute", format!("/proc/self/cwd/{path}")),
        ("doubled slash", path.replace('/', "//")),
        ("trailing slash", format!("{path}/")),
        ("trailing slash", format!("{path}/.")),
        ("trailing dot", format!("{path}.")),
        ("trailing space", format!("{path} ")),
        ("backslash", path.replace('/', "\\")),
        ("drive letter", format!("C:{path}")),
        ("NUL", format!("{path}\0.txt")),
    ];
    if !letters {
        return differing(path, all);
    }
    all.extend([
        ("upper case", path.to_uppercase()),
        ("lower case", path.to_lowercase()),
        ("mixed case", mixed(path)),
        ("long s", path.replace('s', "\u{17f}")),
        ("Kelvin sign", path.replace('k', "\u{212a}")),
        ("NFD", path.nfd().collect()),
        ("NFKD", path.nfkd().collect()),
        ("zero-width", zero_width(path)),
        ("byte-order mark", format!("{path}\u{feff}")),
        ("soft hyphen", path.replacen('e', "e\u{ad}", 1)),
    ]);
    differing(path, all)
}

fn mixed(text: &str) -> String {
    let turn = |(index, c): (usize, char)| match index % 2 {
        0 => c.to_uppercase().to_string(),
        _ => c.to_lowercase().to_string(),
    };
    text.chars().enumerate().map(turn).collect()
}

/// A zero-width joiner after the first letter of each name.
fn zero_width(path: &str) -> String {
    let name = |name: &str| {
        let mut chars = name.chars();
        let first = chars.next().map(|c| format!("{c}\u{200d}")).unwrap_or_default();
        format!("{first}{}", chars.as_str())
    };
    path.split('/').map(name).collect::<Vec<_>>().join("/")
}

/// What a resolver takes for the same host.
pub(super) fn hosts(host: &str) -> Vec<Spelling> {
    if let Some(number) = HostNumber::parse(host) {
        return differing(host, numbers(number));
    }
    let all = vec![
        ("upper case", host.to_uppercase()),
        ("trailing dot", format!("{host}.")),
        ("with a port", format!("{host}:443")),
        ("with a port", format!("{host}.:8080")),
    ];
    let has_port = host.rsplit_once(':').is_some();
    differing(
        host,
        all.into_iter().filter(|(_, other)| !has_port || !other.contains(":")).collect(),
    )
}

/// What else is the same address.
fn numbers(number: HostNumber) -> Vec<Spelling> {
    let port = number.port().map_or_else(String::new, |port| format!(":{port}"));
    let mut all = match number.address() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            vec![
                ("as IPv6", format!("[::ffff:{address}]{port}")),
                ("as IPv6", format!("[0:0:0:0:0:FFFF:{high:x}:{low:x}]{port}")),
            ]
        }
        IpAddr::V6(address) => {
            let written = address.segments().map(|segment| format!("{segment:04X}")).join(":");
            vec![("written out", format!("[{written}]{port}"))]
        }
    };
    if port.is_empty() {
        all.push(("with a port", format!("{number}:443")));
        all.push(("without brackets", number.address().to_string()));
    }
    all
}

/// Other ways to start the same program.
pub(super) fn programs(program: &str) -> Vec<Spelling> {
    let name = program.rsplit('/').next().unwrap_or(program);
    let all = vec![
        ("by its folder", format!("/usr/bin/{name}")),
        ("by its folder", format!("/bin/{name}")),
        ("by its folder", format!("./{program}")),
        ("traversal", format!("/usr/bin/../bin/{name}")),
        ("traversal", format!("lictor-fuzz/../{program}")),
        ("doubled slash", format!("/usr//bin/{name}")),
    ];
    // A program that a path names is another one elsewhere.
    let by_path = program.contains('/');
    let all = all.into_iter().filter(|(_, other)| !by_path || other.ends_with(program)).collect();
    differing(program, all)
}
