//! The report as people read it.

use super::figures::{Goal, Row, SECTIONS};
use super::{Measured, Run};

/// What is said of a goal that nobody has found missed before.
const NEW: &str = "It was met in every report before this one, so what is to be looked at is what has changed between the commit of the last \
    one and this; run it alone first, for a neighbour on the machine looks the same.";

/// The whole page.
pub(super) fn page(run: &Run) -> String {
    let mut page = String::from(
        "# What was measured\n\n\
         Written by `cargo xtask bench`, all of it in one run; no figure is edited by hand. The same figures for programs are in\n\
         [benchmarks.json](benchmarks.json). What is too long for it, and was run by hand, is in [trials.md](trials.md). Read ratios:\n\
         what a figure stands beside was measured in the same run, on the same disk.\n\n",
    );
    for (key, value) in &run.machine {
        page.push_str(&format!("- {key}: {value}\n"));
    }
    page.push_str(&table(run));
    page
}

/// The sections.
pub(super) fn table(run: &Run) -> String {
    let mut text = String::new();
    let mut missed: Vec<&Row> = Vec::new();
    for (title, rows) in SECTIONS {
        let rows: Vec<(&Row, &Measured)> = rows
            .iter()
            .filter_map(|row| run.figures.get(row.figure).map(|figure| (row, figure)))
            .collect();
        if rows.is_empty() {
            continue;
        }
        text.push_str(&format!("\n## {title}\n\n| what | seen (from, to) | beside | ratio | goal |\n| --- | --- | --- | --- | --- |\n"));
        for (row, figure) in rows {
            let beside = row.beside.and_then(|(name, id)| Some((name, run.figures.get(id)?)));
            let ratio = beside.map(|(_, other)| figure.value / other.value);
            let met = met(row.goal, figure.value, ratio);
            if met == Some(false) {
                missed.push(row);
            }
            text.push_str(&format!(
                "| {} | {} | {} | {} | {} |\n",
                row.what,
                range(figure),
                beside.map_or(String::new(), |(name, other)| format!(
                    "{}: {name}",
                    amount(other, other.value)
                )),
                ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
                goal(row.goal, figure, met),
            ));
        }
    }
    if !missed.is_empty() {
        text.push_str("\n## What is missed, and why\n\n");
        for row in missed {
            let why = if row.why.is_empty() { NEW } else { row.why };
            text.push_str(&format!("- **{}.** {why}\n", row.what));
        }
    }
    text
}

/// Whether a goal is met; nothing where there is none, or nothing to compare.
fn met(goal: Goal, value: f64, ratio: Option<f64>) -> Option<bool> {
    match goal {
        Goal::AtMost(most) => Some(value <= most),
        Goal::AtLeast(least) => Some(value >= least),
        Goal::RatioAtMost(most) => ratio.map(|ratio| ratio <= most),
        Goal::RatioAtLeast(least) => ratio.map(|ratio| ratio >= least),
        Goal::None => None,
    }
}

fn goal(goal: Goal, figure: &Measured, met: Option<bool>) -> String {
    let aim = match goal {
        Goal::AtMost(most) => format!("at most {}", amount(figure, most)),
        Goal::AtLeast(least) => format!("at least {}", amount(figure, least)),
        Goal::RatioAtMost(most) => format!("ratio at most {most}"),
        Goal::RatioAtLeast(least) => format!("ratio at least {least}"),
        Goal::None => return "-".to_owned(),
    };
    match met {
        Some(true) => format!("{aim}: met"),
        Some(false) => format!("{aim}: **not met**"),
        None => aim,
    }
}

fn range(figure: &Measured) -> String {
    let value = amount(figure, figure.value);
    if figure.low >= figure.high {
        return value;
    }
    format!("{value} ({}, {})", amount(figure, figure.low), amount(figure, figure.high))
}

/// With three figures that count, in a unit that people read.
fn amount(figure: &Measured, value: f64) -> String {
    let (value, unit) = match figure.unit.as_str() {
        "ns" if value >= 1e6 => (value / 1e6, " ms"),
        "ns" if value >= 1e3 => (value / 1e3, " µs"),
        "ns" => (value, " ns"),
        "ms" if value >= 1e3 => (value / 1e3, " s"),
        "ms" => (value, " ms"),
        unit => (value, unit),
    };
    let digits = if value >= 100.0 || value.fract() == 0.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(figures: &[(&str, f64, &str)]) -> Run {
        let figures = figures.iter().map(|(id, value, unit)| {
            let figure =
                Measured { value: *value, low: *value, high: *value, unit: (*unit).to_owned() };
            ((*id).to_owned(), figure)
        });
        Run { machine: vec![("commit", "abc".to_owned())], figures: figures.collect() }
    }

    #[test]
    fn a_goal_that_is_missed_has_its_reason() {
        let page = page(&run(&[("write/ours", 1.5, "ms"), ("write/bare", 0.25, "ms")]));
        let row = "| 1.50 ms | 0.25 ms: a bare file with one fsync | 6.00 | at most 0.60 ms: **not met** |";
        assert!(page.contains(row), "{page}");
        assert!(
            page.contains("## What is missed, and why") && page.contains("Three flushes in a row"),
            "{page}"
        );
    }

    #[test]
    fn a_goal_that_is_met_needs_none() {
        let page = page(&run(&[("road/whole", 7600.0, "ns")]));
        assert!(page.contains("| 7.60 µs |  |  | at most 10 µs: met |"), "{page}");
        assert!(!page.contains("What is missed"), "{page}");
    }

    #[test]
    fn a_goal_that_is_missed_for_the_first_time_has_its_paragraph_as_well() {
        let page = page(&run(&[("road/whole", 17_600.0, "ns")]));
        let (_, missed) = page.split_once("## What is missed, and why").unwrap();
        assert!(missed.contains(NEW), "{page}");
    }

    #[test]
    fn a_goal_in_proportion_is_compared_with_something() {
        for (_, rows) in SECTIONS {
            for row in *rows {
                let compared = matches!(row.goal, Goal::RatioAtMost(_) | Goal::RatioAtLeast(_));
                assert!(!compared || row.beside.is_some(), "{} is compared with nothing", row.what);
            }
        }
    }
}
