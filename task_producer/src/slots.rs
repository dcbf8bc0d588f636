//! The slots of a schedule: the seconds at which it ticks, and the ids of each tick's demands.
//!
//! The hour field decides about changes of the clocks. `*` and `*/n` make an interval: it ticks whenever the clocks
//! show a matching time. Every other hour field makes fixed times: each of them ticks once a day, at the first moment
//! at which the clocks show it or have passed it.
//!
//! `ticks` waits for slots and publishes their demands.

mod steps;
#[cfg(test)]
mod zone_tests;

use std::fmt;
use std::iter::successors;
use std::str::FromStr as _;

use chrono::{DateTime, NaiveDateTime, SecondsFormat, SubsecRound as _, TimeDelta, TimeZone as _, Utc};
use chrono_tz::{GapInfo, Tz};
use croner::parser::CronParser;
use croner::{Cron, JobType};
use pp_cli::config::ConfigError;
use pp_lib::domain::MessageId;
use uuid::Uuid;

/// The maximum length of a pattern. A longer one is a mistake.
const LONGEST_TEXT: usize = 200;

/// The namespace of the ids of scheduled demands. It may be any UUID, but must never change.
const NAMESPACE: Uuid = Uuid::from_u128(0x7c0e_4b2a_93d1_5f68_a1c7_2e9d_6b40_f853);

/// A schedule: a cron pattern by the clocks of a time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    cron: Cron,
    zone: Tz,
}

impl Schedule {
    /// A schedule from a pattern of five fields, or six with seconds first, and an IANA time zone. A
    /// pattern that never ticks is an error.
    pub fn parse(pattern: &str, zone: &str) -> Result<Self, ConfigError> {
        let wrong = |why: String| ConfigError::new("PP_SCHEDULE", why);
        if pattern.len() > LONGEST_TEXT {
            return Err(wrong(format!("longer than {LONGEST_TEXT} bytes")));
        }
        let text = pattern.split_whitespace().collect::<Vec<_>>().join(" ");
        let shown = text.escape_debug();
        let no_schedule = |why: String| wrong(format!("`{shown}` is not a schedule: {why}"));
        let cron = parser().parse(&text).map_err(|error| no_schedule(error.to_string()))?;
        steps::check(&text).map_err(no_schedule)?;
        let schedule = Self {
            cron,
            zone: parse_zone(zone)?,
            text: text.clone(),
        };
        match schedule.next_after(Utc::now()) {
            Some(_) => Ok(schedule),
            None => Err(wrong(format!("`{shown}` never ticks"))),
        }
    }

    /// True for the same pattern in the same time zone.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (&self.text, self.zone) == (&other.text, other.zone)
    }

    /// The first slot after a moment.
    pub fn next_after(&self, moment: DateTime<Utc>) -> Option<Slot> {
        let local = moment.with_timezone(&self.zone);
        if self.is_interval() {
            return self.cron.find_next_occurrence(&local, false).ok().map(Slot::regular);
        }
        // During the second pass of a repeated hour, every time of that hour is over.
        let first = self.next_time(local.naive_local().trunc_subsecs(0), true);
        successors(first, |slot| self.following(slot)).find(|slot| slot.at() > moment)
    }

    /// The slot after this one. It may be at the same moment.
    pub fn following(&self, slot: &Slot) -> Option<Slot> {
        match self.is_interval() {
            true => self.next_after(slot.at()),
            false => self.next_time(slot.time, false),
        }
    }

    /// The last `count` slots up to a moment, in order. None of them is before 1970.
    pub fn latest_until(&self, moment: DateTime<Utc>, count: u32) -> Vec<Slot> {
        // The search ignores fractions, so a fraction would skip the second that has just begun.
        let second = moment.trunc_subsecs(0).with_timezone(&self.zone);
        let mut slots: Vec<Slot> = self
            .backwards_from(second)
            .take_while(|slot| slot.at() >= DateTime::UNIX_EPOCH)
            .take(count as usize)
            .collect();
        slots.reverse();
        slots
    }

    /// The slots up to a second, latest first.
    fn backwards_from(&self, second: DateTime<Tz>) -> Box<dyn Iterator<Item = Slot> + '_> {
        if self.is_interval() {
            let before = |moment: &DateTime<Tz>, inclusive| self.cron.find_previous_occurrence(moment, inclusive).ok();
            return Box::new(successors(before(&second, true), move |slot| before(slot, false)).map(Slot::regular));
        }
        let before = |time: NaiveDateTime, inclusive| {
            let time = self.cron.find_previous_occurrence(&time.and_utc(), inclusive).ok()?;
            self.fixed(time.naive_utc())
        };
        // During the second pass of a repeated hour, the clocks have already shown later times.
        let day_before = second - TimeDelta::days(1);
        let shown = second.naive_local().max(day_before.naive_local() + TimeDelta::days(1));
        let slots = successors(before(shown, true), move |slot| before(slot.time, false));
        Box::new(slots.skip_while(move |slot| slot.at > second))
    }

    /// True if it ticks at every moment with a matching time, not once a day per time.
    fn is_interval(&self) -> bool {
        self.cron.pattern.hours.from_wildcard
    }

    /// The slot of the first matching time.
    fn next_time(&self, from: NaiveDateTime, inclusive: bool) -> Option<Slot> {
        let time = self.cron.find_next_occurrence(&from.and_utc(), inclusive).ok()?;
        self.fixed(time.naive_utc())
    }

    /// The slot of a fixed time: the first moment at which the clocks show it, or the end of the gap that contains it.
    fn fixed(&self, time: NaiveDateTime) -> Option<Slot> {
        let shown = self.zone.from_local_datetime(&time).earliest();
        let at = shown.or_else(|| GapInfo::new(&time, &self.zone)?.end)?;
        Some(Slot { at, time })
    }
}

/// Pattern and time zone, for the log.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.text, self.zone)
    }
}

/// Accepts `1/4`, which means every 4 from 1 on. Existing schedules use it; croner refuses it by default.
fn parser() -> CronParser {
    CronParser::builder().sloppy_ranges(true).build()
}

fn parse_zone(name: &str) -> Result<Tz, ConfigError> {
    Tz::from_str(name).map_err(|_| {
        let shown: String = name.chars().take(60).flat_map(char::escape_debug).collect();
        ConfigError::new(
            "PP_TIME_ZONE",
            format!("`{shown}` is not an IANA time zone; expected one such as `Europe/Berlin`"),
        )
    })
}

/// One tick of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    at: DateTime<Tz>,
    /// The time it stands for. The clocks show it at this moment, unless they skipped it.
    time: NaiveDateTime,
}

impl Slot {
    /// A slot whose time the clocks show.
    fn regular(at: DateTime<Tz>) -> Self {
        Self {
            at,
            time: at.naive_local(),
        }
    }

    /// The moment of the slot.
    pub fn at(&self) -> DateTime<Utc> {
        self.at.to_utc()
    }

    /// The age of the slot; negative before its moment.
    pub fn age(&self, now: DateTime<Utc>) -> TimeDelta {
        now - self.at()
    }

    /// The id of the slot's demand with this number. Every producer with the same schedule and the same source derives
    /// the same id. A source is a prefix of queues and, except for plain sums, what is demanded.
    pub(crate) fn demand_id(&self, schedule: &Schedule, source: &str, index: u32) -> Uuid {
        let Schedule { text, zone, cron } = schedule;
        let second = self.at.timestamp();
        // Several slots may share one moment, so their times are part of the id. A schedule with one time per day keeps
        // the ids of the first release, which contain only the second.
        let is_alone = cron.determine_job_type() == JobType::FixedTime;
        let name = match self.time == self.at.naive_local() || is_alone {
            true => format!("{text}\n{zone}\n{source}\n{second}\n{index}"),
            false => format!("{text}\n{zone}\n{source}\n{second} for {}\n{index}", self.time),
        };
        Uuid::new_v5(&NAMESPACE, name.as_bytes())
    }
}

/// The moment by the clocks of the schedule's time zone.
impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.at.to_rfc3339_opts(SecondsFormat::Secs, true))
    }
}

/// A UUID as a message id.
pub(crate) fn message_id(id: Uuid) -> MessageId {
    MessageId::try_from(id.to_string()).unwrap_or_else(|_| unreachable!("a UUID is printable and short"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(pattern: &str, zone: &str) -> Schedule {
        Schedule::parse(pattern, zone).unwrap()
    }

    /// The texts of the slots after a moment.
    fn slots(pattern: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = schedule(pattern, zone);
        let mut moment = after.parse::<DateTime<Utc>>().unwrap();
        std::iter::repeat_with(|| {
            let slot = schedule.next_after(moment).unwrap();
            moment = slot.at();
            slot.to_string()
        })
        .take(count)
        .collect()
    }

    #[test]
    fn the_default_ticks_every_four_seconds_from_the_first_second() {
        let found = slots("1/4 * * * * *", "UTC", "2026-01-01T00:00:52.5Z", 4);
        assert_eq!(
            found,
            [
                "2026-01-01T00:00:53Z",
                "2026-01-01T00:00:57Z",
                "2026-01-01T00:01:01Z",
                "2026-01-01T00:01:05Z"
            ]
        );
    }

    #[test]
    fn a_pattern_without_seconds_ticks_at_the_full_minute() {
        assert_eq!(
            slots("30 * * * *", "UTC", "2026-01-01T00:00:00Z", 1),
            ["2026-01-01T00:30:00Z"]
        );
    }

    #[test]
    fn a_skipped_time_ticks_right_after_the_gap() {
        // Berlin, 29 March 2026: 02:00 is followed by 03:00.
        assert_eq!(
            slots("0 30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
            [
                "2026-03-28T02:30:00+01:00",
                "2026-03-29T03:00:00+02:00",
                "2026-03-30T02:30:00+02:00"
            ]
        );
        assert_eq!(
            slots("0 */30 * * * *", "Europe/Berlin", "2026-03-29T00:29:00Z", 3),
            [
                "2026-03-29T01:30:00+01:00",
                "2026-03-29T03:00:00+02:00",
                "2026-03-29T03:30:00+02:00"
            ]
        );
    }

    #[test]
    fn a_repeated_time_ticks_once_but_an_interval_continues() {
        // Berlin, 25 October 2026: 03:00 is followed by 02:00.
        assert_eq!(
            slots("0 30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
        );
        assert_eq!(
            slots("0 */30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 4),
            [
                "2026-10-25T02:30:00+02:00",
                "2026-10-25T02:00:00+01:00",
                "2026-10-25T02:30:00+01:00",
                "2026-10-25T03:00:00+01:00"
            ]
        );
    }

    /// The texts of the slots up to a moment.
    fn latest(pattern: &str, zone: &str, until: &str, count: u32) -> Vec<String> {
        let slots = schedule(pattern, zone).latest_until(until.parse().unwrap(), count);
        slots.iter().map(Slot::to_string).collect()
    }

    #[test]
    fn the_latest_slots_include_the_current_second() {
        for (until, last) in [("00.0", "00"), ("00.9", "00"), ("01.1", "01"), ("59", "59")] {
            let found = latest("* * * * * *", "UTC", &format!("2026-01-01T00:01:{until}Z"), 2);
            assert_eq!(found[1], format!("2026-01-01T00:01:{last}Z"), "until {until}");
        }
        assert_eq!(
            latest("1/4 * * * * *", "UTC", "2026-01-01T00:01:02.5Z", 3),
            ["2026-01-01T00:00:53Z", "2026-01-01T00:00:57Z", "2026-01-01T00:01:01Z"]
        );
        assert!(latest("* * * * * *", "UTC", "2026-01-01T00:01:02Z", 0).is_empty());
    }

    #[test]
    fn the_latest_slots_around_clock_changes_are_those_that_ticked() {
        assert_eq!(
            latest("0 30 2 * * *", "Europe/Berlin", "2026-03-30T00:00:00Z", 2),
            ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00"]
        );
        assert_eq!(
            latest("0 30 2 * * *", "Europe/Berlin", "2026-10-26T00:00:00Z", 2),
            ["2026-10-24T02:30:00+02:00", "2026-10-25T02:30:00+02:00"]
        );
        assert_eq!(
            latest("0 */30 * * * *", "Europe/Berlin", "2026-10-25T01:40:00Z", 4),
            [
                "2026-10-25T02:00:00+02:00",
                "2026-10-25T02:30:00+02:00",
                "2026-10-25T02:00:00+01:00",
                "2026-10-25T02:30:00+01:00"
            ]
        );
    }

    #[test]
    fn a_search_backwards_finds_the_same_slots_as_waiting() {
        let patterns = [
            "0 30 2 * * *",
            "0 0,15,30,59 2,3 * * *",
            "0 */20 * * * *",
            "0 0 0 * * *",
            "0 10-50/20 1-3 * * SUN",
            "30 59 23 L * *",
        ];
        // The zones change at two in the night, at midnight, and by half an hour.
        for zone in [
            "Europe/Berlin",
            "America/New_York",
            "Africa/Cairo",
            "Australia/Lord_Howe",
            "UTC",
        ] {
            for pattern in patterns {
                let schedule = schedule(pattern, zone);
                let from = "2025-12-31T12:00:00Z".parse::<DateTime<Utc>>().unwrap();
                let until = from + TimeDelta::days(366);
                let forward: Vec<Slot> = successors(schedule.next_after(from), |slot| schedule.following(slot))
                    .take_while(|slot| slot.at() <= until)
                    .collect();
                let found = schedule.latest_until(until, forward.len() as u32);
                assert_eq!(found, forward, "{pattern} {zone}");
            }
        }
    }

    #[test]
    fn the_search_finds_rare_slots_and_ends() {
        assert_eq!(
            latest("0 0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", 2),
            ["2020-02-29T00:00:00Z", "2024-02-29T00:00:00Z"]
        );
        assert_eq!(latest("0 0 0 1 1 *", "UTC", "2026-01-01T00:00:00Z", 100_000).len(), 57);
        assert!(latest("0 0 0 1 1 * 2999", "UTC", "2026-01-01T00:00:00Z", 100_000).is_empty());
        assert_eq!(
            latest("* * * * * *", "Europe/Berlin", "2026-03-29T12:00:00Z", 100_000).len(),
            100_000
        );
    }

    #[test]
    fn an_interval_has_each_slot_once_over_a_year_of_clock_changes() {
        let schedule = schedule("0 */15 * * * *", "America/New_York");
        let mut moment = "2026-01-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap();
        for _ in 0..(365 * 24 * 4) {
            let next = schedule.next_after(moment).unwrap().at();
            assert_eq!(next - moment, TimeDelta::minutes(15), "after {moment}");
            moment = next;
        }
    }

    #[test]
    fn the_repeated_hour_has_different_ids() {
        let schedule = schedule("0 30 * * * *", "Europe/Berlin");
        let first = schedule.next_after("2026-10-25T00:00:00Z".parse().unwrap()).unwrap();
        let again = schedule.next_after(first.at()).unwrap();
        assert_eq!(
            (first.to_string(), again.to_string()),
            (
                "2026-10-25T02:30:00+02:00".to_owned(),
                "2026-10-25T02:30:00+01:00".to_owned()
            )
        );
        assert_ne!(
            first.demand_id(&schedule, "pp.work", 0),
            again.demand_id(&schedule, "pp.work", 0)
        );
    }

    #[test]
    fn an_id_depends_on_its_inputs_only() {
        let moment = "2026-01-01T00:00:00Z".parse().unwrap();
        let id = |pattern: &str, zone: &str, prefix: &str, index: u32| {
            let schedule = schedule(pattern, zone);
            schedule.next_after(moment).unwrap().demand_id(&schedule, prefix, index)
        };
        let one = id("1/4 * * * * *", "UTC", "pp.work", 0);
        // The id is fixed here. If a release changed it, slots would be made twice during the roll-out.
        assert_eq!(one.to_string(), "fbdfed8e-5f56-55ed-b836-8db4064f61e4");
        assert_eq!(id("  1/4 *  * * * * ", "UTC", "pp.work", 0), one);
        for other in [
            id("1/5 * * * * *", "UTC", "pp.work", 0),
            id("1/4 * * * * *", "Europe/Berlin", "pp.work", 0),
            id("1/4 * * * * *", "UTC", "other", 0),
            id("1/4 * * * * *", "UTC", "pp.work", 1),
        ] {
            assert_ne!(other, one);
        }
    }

    #[test]
    fn an_invalid_schedule_is_one_line_with_the_variable() {
        let long = "*".repeat(LONGEST_TEXT + 1);
        let bad = [
            "",
            "x",
            "* * *",
            "61 * * * * *",
            "0 0 0 31 2 *",
            "1\n2",
            &long,
            "* * * * * * 1999",
            "1/0 * * * * *",
            "*/99 * * * * *",
            "0 5/61 * * * *",
            "0 0 */25 * * *",
            "0 1,2-30/99 * * *",
        ];
        for pattern in bad {
            let line = Schedule::parse(pattern, "UTC").unwrap_err().to_string();
            assert!(line.starts_with("PP_SCHEDULE: ") && line.lines().count() == 1, "{line}");
        }
        for zone in ["", "Mars/Base", "UTC\n", "utc+1"] {
            let line = Schedule::parse("* * * * * *", zone).unwrap_err().to_string();
            assert!(
                line.starts_with("PP_TIME_ZONE: ") && line.lines().count() == 1,
                "{line}"
            );
        }
    }
}
