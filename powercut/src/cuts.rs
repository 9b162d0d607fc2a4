//! Where the power goes, and what of the writes in flight had reached the disk by then.
//!
//! Everything before the last flush is on the disk. Of what came after it, a disk may have written
//! anything: all of it up to some moment (a *prefix*), some of it (a *subset*), some blocks of
//! some of it (a *tear*).

use crate::disk::{Entry, Image, Log, Write};
use crate::random::Random;

/// In which way the power went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Prefix,
    Subset,
    Tear,
}

/// A disk after the power went.
pub(crate) struct Cut {
    pub(crate) kind: Kind,
    /// So many entries of the log had come.
    pub(crate) at: usize,
    pub(crate) image: Image,
    /// So many steps had begun and were acknowledged.
    pub(crate) begun: usize,
    pub(crate) acknowledged: usize,
    /// So many writes had not been flushed, and so many of them were lost or torn.
    pub(crate) in_flight: usize,
    pub(crate) lost: usize,
}

/// How many states to make of a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) prefixes: usize,
    pub(crate) random: usize,
}

/// The moments of a log at which a prefix ends: before the first write, and after each.
pub(crate) fn moments(log: &Log) -> usize {
    1 + log.iter().filter(|entry| matches!(entry, Entry::Write(_))).count()
}

/// Walks a log, and hands over each disk as the power leaves it. Stops when `each` says so.
pub(crate) fn cut<E>(
    base: &Image,
    log: &Log,
    wanted: Wanted,
    random: &mut Random,
    mut each: impl FnMut(Cut) -> Result<(), E>,
) -> Result<(), E> {
    let schedule = Schedule::draw(log, wanted, random);
    let mut walk = Walk::new(base);
    let mut moment = 0;
    for at in 0..=log.len() {
        let after_write = at == 0 || matches!(log.get(at - 1), Some(Entry::Write(_)));
        if after_write {
            if schedule.prefixes.get(moment).copied().unwrap_or(false) {
                each(walk.prefix(at, log))?;
            }
            moment += 1;
        }
        for _ in 0..schedule.random.get(at).copied().unwrap_or(0) {
            each(walk.random(at, random))?;
        }
        if let Some(entry) = log.get(at) {
            walk.pass(entry);
        }
    }
    Ok(())
}

/// What is made where.
struct Schedule {
    /// For each moment, whether its prefix is wanted.
    prefixes: Vec<bool>,
    /// For each position in the log, how many random states.
    random: Vec<usize>,
}

impl Schedule {
    fn draw(log: &Log, wanted: Wanted, random: &mut Random) -> Self {
        let all = moments(log);
        let mut prefixes = vec![wanted.prefixes >= all; all];
        if wanted.prefixes < all {
            // Evenly spread over the log.
            for n in 0..wanted.prefixes {
                if let Some(moment) = prefixes.get_mut(n * all / wanted.prefixes) {
                    *moment = true;
                }
            }
        }
        // Where something is in flight, and so something to be lost.
        let mut places = Vec::new();
        let mut in_flight = false;
        for (at, entry) in log.iter().enumerate() {
            in_flight = match entry {
                Entry::Write(_) => true,
                Entry::Flush => false,
                Entry::Begun | Entry::Acknowledged => in_flight,
            };
            if in_flight {
                places.push(at + 1);
            }
        }
        let mut counts = vec![0; log.len() + 1];
        for _ in 0..wanted.random {
            let place = places.get(random.below(places.len())).copied();
            if let Some(count) = place.and_then(|at| counts.get_mut(at)) {
                *count += 1;
            }
        }
        Self { prefixes, random: counts }
    }
}

/// The way along a log.
struct Walk {
    /// What is safe, and what would be if nothing of it were lost.
    durable: Image,
    all: Image,
    in_flight: Vec<Write>,
    begun: usize,
    acknowledged: usize,
}

impl Walk {
    fn new(base: &Image) -> Self {
        Self {
            durable: base.clone(),
            all: base.clone(),
            in_flight: Vec::new(),
            begun: 0,
            acknowledged: 0,
        }
    }

    fn pass(&mut self, entry: &Entry) {
        match entry {
            Entry::Write(write) => {
                self.all.write(write.offset, &write.bytes);
                self.in_flight.push(write.clone());
            }
            Entry::Flush => {
                self.durable = self.all.clone();
                self.in_flight.clear();
            }
            Entry::Begun => self.begun += 1,
            Entry::Acknowledged => self.acknowledged += 1,
        }
    }

    /// Nothing was lost. The image is the same until the next write, so what was acknowledged until
    /// then counts.
    fn prefix(&self, at: usize, log: &Log) -> Cut {
        let until_next_write = log.iter().skip(at).take_while(|e| !matches!(e, Entry::Write(_)));
        let acknowledged = until_next_write.filter(|e| matches!(e, Entry::Acknowledged)).count();
        Cut {
            kind: Kind::Prefix,
            at,
            image: self.all.clone(),
            begun: self.begun,
            acknowledged: self.acknowledged + acknowledged,
            in_flight: self.in_flight.len(),
            lost: 0,
        }
    }

    fn random(&self, at: usize, random: &mut Random) -> Cut {
        let n = self.in_flight.len();
        let tears = random.percent(50);
        let (percent, except) = match random.below(7) {
            0 => (100, Some(random.below(n))), // all but one
            1 => (0, Some(random.below(n))),   // only one
            2 => (10, None),
            3 => (30, None),
            4 => (50, None),
            5 => (70, None),
            _ => (90, None),
        };
        let mut cut = Cut {
            kind: Kind::Subset,
            at,
            image: self.durable.clone(),
            begun: self.begun,
            acknowledged: self.acknowledged,
            in_flight: n,
            lost: 0,
        };
        for (idx, write) in self.in_flight.iter().enumerate() {
            let blocks = if tears { write.blocks() } else { Vec::new() };
            if blocks.len() > 1 && random.percent(50) {
                cut.kind = Kind::Tear;
                cut.lost += 1;
                for block in blocks.iter().filter(|_| random.percent(50)) {
                    cut.image.write(block.offset, &block.bytes);
                }
            } else if random.percent(percent) != (except == Some(idx)) {
                cut.image.write(write.offset, &write.bytes);
            } else {
                cut.lost += 1;
            }
        }
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::{Cut, Kind, Wanted, cut, moments};
    use crate::disk::{BLOCK, Entry, Image, Log, Write};
    use crate::random::Random;

    fn write(block: u64, n_blocks: usize, byte: u8) -> Entry {
        let bytes = vec![byte; BLOCK * n_blocks].into();
        Entry::Write(Write { offset: block * BLOCK as u64, bytes })
    }

    fn log() -> Log {
        vec![
            Entry::Begun,
            write(0, 1, 1),
            write(1, 4, 2),
            Entry::Flush,
            Entry::Acknowledged,
            Entry::Begun,
            write(0, 1, 3),
            write(8, 8, 4),
        ]
    }

    fn cuts(wanted: Wanted) -> Vec<Cut> {
        let mut cuts = Vec::new();
        let base = Image::new(64 * BLOCK as u64);
        let made = cut(&base, &log(), wanted, &mut Random::new(7), |cut| {
            cuts.push(cut);
            Ok::<_, std::convert::Infallible>(())
        });
        made.unwrap();
        cuts
    }

    #[test]
    fn every_prefix_is_made_once() {
        let cuts = cuts(Wanted { prefixes: moments(&log()), random: 0 });
        let places: Vec<_> = cuts.iter().map(|c| (c.at, c.begun, c.acknowledged)).collect();
        // What was acknowledged before the next write counts; what had begun does not.
        assert_eq!(places, [(0, 0, 0), (2, 1, 0), (3, 1, 1), (7, 2, 1), (8, 2, 1)]);
        assert_eq!(cuts[2].image.read(0, 1), [1]);
        assert_eq!(cuts[3].image.read(0, 1), [3]);
    }

    #[test]
    fn what_was_flushed_is_never_lost() {
        for made in cuts(Wanted { prefixes: 0, random: 300 }) {
            assert_ne!(made.kind, Kind::Prefix);
            let byte = |block: u64| made.image.read(block * BLOCK as u64, 1)[0];
            if made.at > 3 {
                assert!(matches!(byte(0), 1 | 3) && byte(1) == 2 && byte(4) == 2);
            } else {
                assert!(matches!(byte(0), 0 | 1));
            }
            assert!(made.lost <= made.in_flight && made.in_flight > 0);
        }
    }

    #[test]
    fn what_is_in_flight_is_lost_in_every_way() {
        let cuts = cuts(Wanted { prefixes: 0, random: 1000 });
        let made = |kind| cuts.iter().filter(|c| c.kind == kind).count();
        assert!(made(Kind::Subset) > 50 && made(Kind::Tear) > 50);
        let torn = |c: &&Cut| {
            let blocks: Vec<u8> = (8..16).map(|b| c.image.read(b * BLOCK as u64, 1)[0]).collect();
            blocks.contains(&0) && blocks.contains(&4)
        };
        assert!(cuts.iter().filter(torn).count() > 20);
    }
}
