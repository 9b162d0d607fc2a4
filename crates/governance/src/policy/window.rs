//! Windows: the times at which something may be done.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{ToSpan as _, Zoned};
use lictor_context::Timestamp;

use super::raw::Day;

/// Days and hours in a time zone. Hours that end before they begin last over midnight, and belong
/// to the day on which they begin.
#[derive(Debug, Clone)]
pub(super) struct Window {
    days: [bool; 7],
    from: Time,
    /// `None`: to the end of the day.
    to: Option<Time>,
    zone: TimeZone,
    text: String,
}

impl Window {
    pub(super) fn new(
        days: Option<&[Day]>,
        hours: Option<&str>,
        zone: Option<&str>,
    ) -> Result<Self, WindowError> {
        let mut open = [days.is_none(); 7];
        let mut names = Vec::new();
        for day in days.unwrap_or_default() {
            if let Some(open) = open.get_mut(*day as usize) {
                *open = true;
            }
            names.push(format!("{day:?}").to_lowercase());
        }
        if !open.contains(&true) {
            return Err(WindowError::Days);
        }
        let (from, to) = match hours {
            None => (Time::midnight(), None),
            Some(text) => parse_hours(text).ok_or(WindowError::Hours)?,
        };
        let zone_name = zone.unwrap_or("UTC");
        let zone = if zone_name == "UTC" {
            TimeZone::UTC
        } else {
            TimeZone::get(zone_name).map_err(|error| WindowError::Zone(error.to_string()))?
        };
        let days = if names.is_empty() { "every day".to_owned() } else { names.join(", ") };
        let text = format!("{days} {} {zone_name}", hours.unwrap_or("all day"));
        Ok(Self { days: open, from, to, zone, text })
    }

    /// For messages.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is open. A moment that no calendar knows is outside of every window.
    pub(super) fn is_open(&self, now: Timestamp) -> bool {
        let Some(now) = self.local(now) else { return false };
        let time = now.time();
        let opens = |day: &Zoned| self.is_day(day.weekday());
        match self.to {
            None => opens(&now) && time >= self.from,
            Some(to) if self.from < to => opens(&now) && time >= self.from && time < to,
            Some(to) => {
                let yesterday = now.checked_sub(1.day());
                (opens(&now) && time >= self.from)
                    || (time < to && yesterday.is_ok_and(|day| opens(&day)))
            }
        }
    }

    /// When it opens next; `None` when that cannot be said.
    pub(super) fn opens(&self, now: Timestamp) -> Option<Timestamp> {
        let local = self.local(now)?;
        (0..=7_i64).find_map(|n_days| {
            let day = local.checked_add(n_days.days()).ok()?;
            if !self.is_day(day.weekday()) {
                return None;
            }
            let start = day.datetime().date().to_datetime(self.from);
            let start = start.to_zoned(self.zone.clone()).ok()?;
            let start = Timestamp::from_micros(start.timestamp().as_microsecond());
            (start > now).then_some(start)
        })
    }

    fn local(&self, now: Timestamp) -> Option<Zoned> {
        let now = jiff::Timestamp::from_microsecond(now.as_micros()).ok()?;
        Some(now.to_zoned(self.zone.clone()))
    }

    fn is_day(&self, day: Weekday) -> bool {
        let index = usize::try_from(day.to_monday_zero_offset()).unwrap_or(usize::MAX);
        self.days.get(index).copied().unwrap_or(false)
    }
}

/// What is wrong with a window.
#[derive(Debug)]
pub(super) enum WindowError {
    Days,
    Hours,
    Zone(String),
}

fn parse_hours(text: &str) -> Option<(Time, Option<Time>)> {
    let time = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let number = |digits: &str| {
            let fits = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
            fits.then(|| digits.parse::<i8>().ok()).flatten()
        };
        Some((number(hour)?, number(minute)?))
    };
    let (from, to) = text.split_once('-')?;
    let (from, to) = (time(from)?, time(to)?);
    let from = Time::new(from.0, from.1, 0, 0).ok()?;
    if to == (24, 0) {
        return Some((from, None));
    }
    let to = Time::new(to.0, to.1, 0, 0).ok()?;
    (from != to).then_some((from, Some(to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[track_caller]
    fn check(window: &Window, moment: &str, open: bool, opens: Option<&str>) {
        assert_eq!(window.is_open(at(moment)), open, "{moment}");
        if let Some(opens) = opens {
            assert_eq!(window.opens(at(moment)), Some(at(opens)), "{moment}");
        }
    }

    #[test]
    fn office_hours() {
        use Day::*;
        let days = [Mon, Tue, Wed, Thu, Fri];
        let window = Window::new(Some(&days), Some("09:00-17:00"), None).unwrap();
        // A Friday.
        check(&window, "2026-11-20T08:59:59Z", false, Some("2026-11-20T09:00:00Z"));
        check(&window, "2026-11-20T09:00:00Z", true, None);
        check(&window, "2026-11-20T16:59:59Z", true, None);
        check(&window, "2026-11-20T17:00:00Z", false, Some("2026-11-23T09:00:00Z"));
        check(&window, "2026-11-21T12:00:00Z", false, Some("2026-11-23T09:00:00Z"));
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let window = Window::new(Some(&[Day::Fri]), Some("22:00-06:00"), None).unwrap();
        check(&window, "2026-11-20T05:00:00Z", false, Some("2026-11-20T22:00:00Z"));
        check(&window, "2026-11-20T23:00:00Z", true, None);
        check(&window, "2026-11-21T05:59:00Z", true, None);
        check(&window, "2026-11-21T06:00:00Z", false, Some("2026-11-27T22:00:00Z"));
    }

    #[test]
    fn hours_are_two_times() {
        for text in ["9-17", "09:00", "09:00-25:00", "09:00-09:00", "-", "09:00-17:60"] {
            assert!(Window::new(None, Some(text), None).is_err(), "{text}");
        }
        assert!(Window::new(None, Some("00:00-24:00"), None).is_ok());
    }
}
