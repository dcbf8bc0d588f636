//! Schedules at every clock change of every time zone, compared with a reference that steps through the minutes.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDateTime, NaiveTime, Offset as _, TimeDelta, TimeZone as _, Timelike as _, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};

use super::*;

const MINUTE: TimeDelta = TimeDelta::minutes(1);
const DAY: TimeDelta = TimeDelta::days(1);

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The offset from UTC in seconds.
fn offset(zone: Tz, moment: DateTime<Utc>) -> i32 {
    zone.offset_from_utc_datetime(&moment.naive_utc())
        .fix()
        .local_minus_utc()
}

fn shown(zone: Tz, moment: DateTime<Utc>) -> NaiveDateTime {
    moment.with_timezone(&zone).naive_local()
}

/// The first minute of each new offset between two moments. No zone changes its clocks twice within six hours.
fn changes(zone: Tz, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let steps =
        successors(Some(from), |moment| Some(*moment + TimeDelta::hours(6))).take_while(|moment| *moment < until);
    let changing = steps.filter(|moment| offset(zone, *moment) != offset(zone, *moment + TimeDelta::hours(6)));
    changing
        .map(|moment| {
            let minutes = successors(Some(moment), |minute| Some(*minute + MINUTE));
            let before = offset(zone, moment);
            minutes
                .into_iter()
                .find(|minute| offset(zone, *minute) != before)
                .unwrap()
        })
        .collect()
}

/// One zone and moment for each kind of clock change.
fn all_changes() -> Vec<(Tz, DateTime<Utc>)> {
    let ten_years = (utc("2020-01-01T00:00:00Z"), utc("2030-01-01T00:00:00Z"));
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let mut add = |zone: Tz, (from, until)| {
        for change in changes(zone, from, until) {
            if seen.insert((change, offset(zone, change - MINUTE), offset(zone, change))) {
                found.push((zone, change));
            }
        }
    };
    for zone in TZ_VARIANTS {
        add(zone, ten_years);
    }
    // These days were skipped.
    for (zone, from, until) in [
        (Tz::Pacific__Apia, "2011-12-01T00:00:00Z", "2012-02-01T00:00:00Z"),
        (Tz::Pacific__Fakaofo, "2011-12-01T00:00:00Z", "2012-02-01T00:00:00Z"),
        (Tz::Pacific__Kwajalein, "1993-08-01T00:00:00Z", "1993-10-01T00:00:00Z"),
        (Tz::Pacific__Kiritimati, "1994-12-01T00:00:00Z", "1995-02-01T00:00:00Z"),
    ] {
        add(zone, (utc(from), utc(until)));
    }
    found
}

/// The first minute of each day at which the clocks show each time or a later one.
fn reference_of_times(zone: Tz, times: &[NaiveTime], from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let furthest_ahead = offset(zone, from).max(offset(zone, until));
    let (first, last) = (shown(zone, from).date() - DAY, shown(zone, until).date() + DAY);
    let days = first.iter_days().take_while(|day| *day <= last);
    let mut slots: Vec<DateTime<Utc>> = days
        .flat_map(|day| times.iter().map(move |time| day.and_time(*time)))
        .map(|time| {
            let earliest = time.and_utc() - TimeDelta::seconds(furthest_ahead.into());
            let mut minutes = successors(Some(earliest), |minute| Some(*minute + MINUTE));
            minutes.find(|minute| shown(zone, *minute) >= time).unwrap()
        })
        .filter(|slot| *slot > from && *slot <= until)
        .collect();
    slots.sort();
    slots
}

/// Every minute at which the clocks show a matching time.
fn reference_of_interval(
    zone: Tz,
    matches: impl Fn(NaiveTime) -> bool,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Vec<DateTime<Utc>> {
    let minutes =
        successors(Some(from + MINUTE), |minute| Some(*minute + MINUTE)).take_while(|minute| *minute <= until);
    minutes.filter(|minute| matches(shown(zone, *minute).time())).collect()
}

/// Compares the slots, forwards and backwards, with the reference.
fn compare(pattern: &str, zone: Tz, from: DateTime<Utc>, until: DateTime<Utc>, expected: &[DateTime<Utc>]) {
    let schedule = Schedule::parse(pattern, zone.name()).unwrap();
    let slots: Vec<Slot> = successors(schedule.next_after(from), |slot| schedule.following(slot))
        .take_while(|slot| slot.at() <= until)
        .collect();
    let moments: Vec<DateTime<Utc>> = slots.iter().map(Slot::at).collect();
    assert_eq!(moments, expected, "`{pattern}` {zone} from {from}");
    let backwards = schedule.latest_until(until, expected.len() as u32);
    assert_eq!(backwards, slots, "`{pattern}` {zone} until {until}");
    let ids: BTreeSet<Uuid> = slots
        .iter()
        .map(|slot| slot.demand_id(&schedule, "pp.work", 0))
        .collect();
    assert_eq!(ids.len(), slots.len(), "`{pattern}` {zone}: an id twice");
    // A start between two slots finds the next one.
    for (slot, next) in slots
        .iter()
        .zip(&slots[1..])
        .filter(|(slot, next)| slot.at() < next.at())
    {
        assert_eq!(schedule.next_after(slot.at()), Some(*next), "`{pattern}` {zone}");
        assert_eq!(
            schedule.next_after(next.at() - TimeDelta::seconds(1)),
            Some(*next),
            "`{pattern}` {zone}"
        );
    }
}

#[test]
fn a_fixed_time_ticks_once_a_day_at_every_clock_change() {
    let changes = all_changes();
    assert!(changes.len() > 200, "{}", changes.len());
    let at = |times: &[(u32, u32)]| -> Vec<NaiveTime> {
        let time = |(hour, minute): &(u32, u32)| NaiveTime::from_hms_opt(*hour, *minute, 0).unwrap();
        times.iter().map(time).collect()
    };
    let fixed = [
        ("0 30 2 * * *", at(&[(2, 30)])),
        ("0 0 2,14 * * *", at(&[(2, 0), (14, 0)])),
        ("0 15,45 2 * * *", at(&[(2, 15), (2, 45)])),
        ("15 1-3 * * *", at(&[(1, 15), (2, 15), (3, 15)])),
        ("0 0 0/6 * * *", at(&[(0, 0), (6, 0), (12, 0), (18, 0)])),
        ("0 10 0-4/2 * * *", at(&[(0, 10), (2, 10), (4, 10)])),
        ("0 */20 2 * * *", at(&[(2, 0), (2, 20), (2, 40)])),
        ("0 59 23 * * *", at(&[(23, 59)])),
    ];
    for (zone, change) in &changes {
        let (from, until) = (*change - DAY, *change + DAY);
        for (pattern, times) in &fixed {
            compare(
                pattern,
                *zone,
                from,
                until,
                &reference_of_times(*zone, times, from, until),
            );
        }
    }
}

#[test]
fn an_interval_ticks_at_every_match_at_every_clock_change() {
    type Matches = fn(NaiveTime) -> bool;
    let intervals: [(&str, Matches); 3] = [
        ("0 */30 * * * *", |time| time.minute() % 30 == 0),
        ("15 * * * *", |time| time.minute() == 15),
        ("0 0 */2 * * *", |time| time.minute() == 0 && time.hour() % 2 == 0),
    ];
    for (zone, change) in all_changes() {
        let (from, until) = (change - DAY, change + DAY);
        for (pattern, matches) in intervals {
            compare(
                pattern,
                zone,
                from,
                until,
                &reference_of_interval(zone, matches, from, until),
            );
        }
    }
}

#[test]
fn all_times_in_a_gap_tick_with_different_ids() {
    let schedule = Schedule::parse("0 15,45 2,3 * * *", "Europe/Berlin").unwrap();
    let day: Vec<String> = successors(schedule.next_after(utc("2027-03-28T00:00:00Z")), |slot| {
        schedule.following(slot)
    })
    .take(4)
    .map(|slot| slot.to_string())
    .collect();
    assert_eq!(
        day,
        [
            "2027-03-28T03:00:00+02:00",
            "2027-03-28T03:00:00+02:00",
            "2027-03-28T03:15:00+02:00",
            "2027-03-28T03:45:00+02:00"
        ]
    );
}

#[test]
fn slots_keep_the_ids_of_earlier_releases() {
    let id = |pattern: &str, zone: &str, after: &str| {
        let schedule = Schedule::parse(pattern, zone).unwrap();
        let slot = schedule.next_after(utc(after)).unwrap();
        let name = format!("{pattern}\n{zone}\npp.work\n{}\n0", slot.at().timestamp());
        let before = Uuid::new_v5(&NAMESPACE, name.as_bytes());
        (slot.demand_id(&schedule, "pp.work", 0) == before, slot.to_string())
    };
    // One time per day, also after a gap; lists on any other day; intervals.
    for (pattern, after, at) in [
        ("0 30 2 * * *", "2027-03-28T00:00:00Z", "2027-03-28T03:00:00+02:00"),
        ("0 0 2,14 * * *", "2027-03-27T00:00:00Z", "2027-03-27T02:00:00+01:00"),
        ("0 */30 * * * *", "2026-10-25T00:45:00Z", "2026-10-25T02:00:00+01:00"),
    ] {
        assert_eq!(id(pattern, "Europe/Berlin", after), (true, at.to_owned()), "{pattern}");
    }
}
