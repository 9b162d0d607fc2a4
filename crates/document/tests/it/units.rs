//! Durations and sizes as people write them.

use lictor_document::{ByteSize, HumanDuration, Limits, Source, from_json, from_yaml};
use proptest::prelude::*;

#[test]
fn durations_are_a_whole_number_and_a_unit() {
    for (text, n_ms, canonical) in [
        ("500ms", 500, "500ms"),
        ("30s", 30_000, "30s"),
        ("10m", 600_000, "10m"),
        ("60m", 3_600_000, "1h"),
        ("1h", 3_600_000, "1h"),
        ("7d", 604_800_000, "7d"),
        ("90s", 90_000, "90s"),
        ("0ms", 0, "0s"),
    ] {
        let duration: HumanDuration = text.parse().unwrap();
        assert_eq!(duration.as_millis(), n_ms);
        assert_eq!(duration.to_string(), canonical);
        assert_eq!(serde_json::to_value(duration).unwrap(), canonical);
    }
    for text in [
        "",
        "5",
        "1.5h",
        "-1s",
        "+1s",
        "1 s",
        " 1s",
        "1s ",
        "1h30m",
        "1w",
        "s",
        "1S",
        "1_0s",
        "1e3s",
        "99999999999999999999ms",
        "999999999999999d",
        "٣s",
    ] {
        assert!(text.parse::<HumanDuration>().is_err(), "{text}");
    }
}

#[test]
fn sizes_are_bytes_or_binary_units() {
    for (text, n_bytes, canonical) in [
        ("12B", 12, "12B"),
        ("500KiB", 512_000, "500KiB"),
        ("64MiB", 67_108_864, "64MiB"),
        ("1GiB", 1_073_741_824, "1GiB"),
        ("1024", 1024, "1KiB"),
        ("0", 0, "0B"),
    ] {
        let source = Source::new("f", text.as_bytes());
        let size: ByteSize = from_yaml(&source, &Limits::default()).unwrap();
        assert_eq!(size.as_bytes(), n_bytes);
        assert_eq!(text.parse(), Ok(size));
        assert_eq!(size.to_string(), canonical);
    }
    assert_eq!(
        from_json(&Source::new("f", b"10"), &Limits::default()),
        Ok(ByteSize::from_bytes(10))
    );
    for text in
        ["", "1.5MiB", "-1", "1 MiB", "64MB", "64M", "1TiB", "MiB", "17179869184GiB", "1mib"]
    {
        assert!(text.parse::<ByteSize>().is_err(), "{text}");
    }
    for text in ["-1", "1.5", "64MB", "true", "[1]"] {
        let source = Source::new("f", text.as_bytes());
        assert!(from_yaml::<ByteSize>(&source, &Limits::default()).is_err(), "{text}");
    }
}

#[test]
fn a_duration_without_unit_says_so() {
    let error =
        from_yaml::<HumanDuration>(&Source::new("f", b"30"), &Limits::default()).unwrap_err();
    assert!(error.message().ends_with("; the unit is missing"), "{error}");
    let error =
        from_json::<HumanDuration>(&Source::new("f", b"30"), &Limits::default()).unwrap_err();
    assert_eq!(
        error.message(),
        "found the number `30`; accepted here: a duration such as 500ms, 30s, 10m, 1h, 7d"
    );
}

proptest! {
    #[test]
    fn what_is_displayed_reads_back(number: u64) {
        let duration = HumanDuration::from_millis(number);
        prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        let size = ByteSize::from_bytes(number);
        prop_assert_eq!(size.to_string().parse(), Ok(size));
    }
}
