//! The producer with a scripted sink, on tokio's paused time: hours pass at once.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use pp_lib::broker::{BrokerError, Published};
use pp_lib::domain::{AddUpTo, Json, KindName};
use pp_lib::enqueue::{DemandSink, NewDemand, SinkError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::outlet::Outlet;
use crate::{Mode, ProducerConfig, ProducerError, Schedule, run, run_all, ticks};

/// The sink's answer to one offer. After the last answer it confirms everything.
enum Answer {
    Unavailable,
    /// One result for each demand of the offer.
    Each(Vec<Published>),
    /// No answer for this time, then an error.
    After(Duration),
}

/// A sink that keeps every offer.
#[derive(Default)]
struct Sink {
    answers: Mutex<VecDeque<Answer>>,
    offers: Mutex<Vec<Vec<NewDemand>>>,
    confirmed: Mutex<Vec<NewDemand>>,
    /// The time it takes to confirm an offer.
    pace: Duration,
}

impl Sink {
    fn answering(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::new(answers.into_iter().collect()),
            ..Self::default()
        })
    }

    fn offers(&self) -> Vec<Vec<NewDemand>> {
        self.offers.lock().unwrap().clone()
    }

    fn confirmed(&self) -> Vec<NewDemand> {
        self.confirmed.lock().unwrap().clone()
    }
}

#[async_trait]
impl DemandSink for Sink {
    async fn offer(&self, demands: &[NewDemand]) -> Result<Vec<Published>, SinkError> {
        self.offers.lock().unwrap().push(demands.to_vec());
        let answer = self.answers.lock().unwrap().pop_front();
        let unavailable = || SinkError::from(BrokerError::Unavailable("the test says so".to_owned()));
        let answers = match answer {
            Some(Answer::Unavailable) => return Err(unavailable()),
            Some(Answer::After(delay)) => {
                tokio::time::sleep(delay).await;
                return Err(unavailable());
            }
            Some(Answer::Each(answers)) => answers,
            None => {
                tokio::time::sleep(self.pace).await;
                vec![Published::Confirmed; demands.len()]
            }
        };
        let kept = demands
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| **answer == Published::Confirmed);
        self.confirmed
            .lock()
            .unwrap()
            .extend(kept.map(|(demand, _)| demand.clone()));
        Ok(answers)
    }
}

fn config(mode: Mode, count: u32) -> ProducerConfig {
    ProducerConfig {
        mode,
        catch_up: 0,
        count,
        kind: KindName::default(),
        queue: None,
        args: None,
        identity: String::new(),
        queue_prefix: "pp.work".to_owned(),
        grace: Duration::from_secs(20),
    }
}

fn ids(demands: &[NewDemand]) -> BTreeSet<String> {
    demands.iter().map(|demand| demand.message_id.to_string()).collect()
}

/// A token that is cancelled after this much paused time.
fn stop_after(duration: Duration) -> CancellationToken {
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        tokio::time::sleep(duration).await;
        stop.cancel();
    });
    token
}

#[tokio::test(start_paused = true)]
async fn once_makes_one_tick_of_distinct_demands() {
    let sink = Sink::answering([]);
    run(config(Mode::Once, 4500), sink.clone(), CancellationToken::new())
        .await
        .unwrap();
    let demands = sink.confirmed();
    assert_eq!((demands.len(), ids(&demands).len()), (4500, 4500));
    let bounds: BTreeSet<i32> = demands
        .iter()
        .map(|demand| AddUpTo::of_args(&demand.args).unwrap().get())
        .collect();
    assert_eq!(bounds, (1..=99).collect());
    assert!(sink.offers().iter().all(|offer| offer.len() <= 2000));

    let sink = Sink::answering([]);
    let given = ProducerConfig {
        args: Some("100".parse::<AddUpTo>().unwrap().args()),
        ..config(Mode::Once, 3)
    };
    run(given, sink.clone(), CancellationToken::new()).await.unwrap();
    assert!(
        sink.confirmed()
            .iter()
            .all(|demand| AddUpTo::of_args(&demand.args).unwrap().get() == 100)
    );
}

#[tokio::test(start_paused = true)]
async fn only_unconfirmed_demands_are_offered_again_under_their_ids() {
    use Published::{Confirmed, Returned, Unconfirmed};
    let sink = Sink::answering([
        Answer::Unavailable,
        Answer::Each(vec![Confirmed, Returned, Unconfirmed]),
        Answer::Each(vec![Returned, Confirmed]),
    ]);
    run(config(Mode::Once, 3), sink.clone(), CancellationToken::new())
        .await
        .unwrap();
    let offers = sink.offers();
    assert_eq!(offers.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 2, 1]);
    assert_eq!(offers[0], offers[1]);
    assert_eq!(offers[1][1..], offers[2]);
    assert_eq!(offers[2][..1], offers[3]);
    assert_eq!(ids(&sink.confirmed()), ids(&offers[0]));
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_once_reports_its_confirmed_demands() {
    let outage = || std::iter::repeat_with(|| Answer::Unavailable).take(10_000);
    let sink =
        Sink::answering(std::iter::once(Answer::Each(vec![Published::Confirmed, Published::Returned])).chain(outage()));
    let stop = stop_after(Duration::from_secs(60));
    let ended = run(config(Mode::Once, 2), sink, stop).await;
    assert_eq!(ended, Err(ProducerError::Interrupted { confirmed: 1, count: 2 }));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_never_answers_holds_a_stop_no_longer_than_the_grace_period() {
    let sink = Sink::answering([Answer::After(Duration::from_secs(3600))]);
    let started = Instant::now();
    let ended = run(config(Mode::Once, 1), sink, stop_after(Duration::from_secs(5))).await;
    assert_eq!(ended, Err(ProducerError::Interrupted { confirmed: 0, count: 1 }));
    assert_eq!(started.elapsed().as_secs(), 25);
}

/// Runs the schedule for a while of simulated time. The clock follows the paused time.
async fn scheduled(pattern: &str, count: u32, sink: Arc<Sink>, lasting: Duration) {
    started("2026-01-01T00:00:00Z", 0, pattern, count, sink, lasting).await;
}

/// Runs the schedule from this start, after catching up on this many slots.
async fn started(start: &str, catch_up: u32, pattern: &str, count: u32, sink: Arc<Sink>, lasting: Duration) {
    let start: DateTime<Utc> = start.parse().unwrap();
    let began = Instant::now();
    let clock = move || start + TimeDelta::from_std(began.elapsed()).unwrap();
    let schedule = Schedule::parse(pattern, "UTC").unwrap();
    let config = ProducerConfig {
        catch_up,
        ..config(Mode::Once, count)
    };
    let outlet = Outlet::new(sink, stop_after(lasting), config.grace);
    ticks::run(&config, &schedule, &outlet, clock).await;
}

#[tokio::test(start_paused = true)]
async fn two_producers_on_one_schedule_make_the_same_demands() {
    let (one, other) = (Sink::answering([]), Sink::answering([]));
    let lasting = Duration::from_secs(14);
    tokio::join!(
        scheduled("1/4 * * * * *", 3, one.clone(), lasting),
        scheduled("1/4 * * * * *", 3, other.clone(), lasting),
    );
    // The slots of the seconds 1, 5, 9 and 13.
    assert_eq!(one.confirmed().len(), 12);
    assert_eq!(ids(&one.confirmed()).len(), 12);
    assert_eq!(one.confirmed(), other.confirmed());
}

#[tokio::test(start_paused = true)]
async fn slots_of_an_outage_follow_late_and_in_order() {
    let expected = Sink::answering([]);
    scheduled("* * * * * *", 1, expected.clone(), Duration::from_millis(60_500)).await;
    let late = Sink::answering([Answer::After(Duration::from_secs(45))]);
    scheduled("* * * * * *", 1, late.clone(), Duration::from_millis(60_500)).await;
    assert_eq!(late.confirmed().len(), 60);
    assert_eq!(late.confirmed(), expected.confirmed());
}

#[tokio::test(start_paused = true)]
async fn slots_more_than_an_hour_late_are_skipped() {
    let sink = Sink::answering([Answer::After(Duration::from_secs(3 * 3600))]);
    let lasting = Duration::from_secs(3 * 3600 + 659);
    scheduled("0 */10 * * * *", 1, sink.clone(), lasting).await;
    // The slots are 00:10, offered at 00:10 and again at 03:10, then 02:20 to 03:10.
    assert_eq!(sink.confirmed().len(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_start_makes_past_slots_only_when_told_to_catch_up() {
    let (all, late, caught_up) = (Sink::answering([]), Sink::answering([]), Sink::answering([]));
    let daily = "0 0 12 * * *";
    let day = Duration::from_secs(24 * 3600);
    // The slots are noon of the days 1 to 7. The second start comes after the fifth.
    started("2026-01-01T00:00:00Z", 0, daily, 2, all.clone(), 7 * day).await;
    started("2026-01-05T12:00:00.5Z", 0, daily, 2, late.clone(), 2 * day).await;
    started("2026-01-05T12:00:00.5Z", 3, daily, 2, caught_up.clone(), 2 * day).await;
    assert_eq!(all.confirmed().len(), 14);
    assert_eq!(late.confirmed(), all.confirmed()[10..]);
    assert_eq!(caught_up.confirmed(), all.confirmed()[4..]);
    // Catching up does not wait for an answer after each slot.
    assert_eq!(caught_up.offers()[0].len(), 6);
}

#[tokio::test(start_paused = true)]
async fn slots_due_while_catching_up_follow_and_expire_after_an_hour() {
    let sink = Sink::answering([Answer::After(Duration::from_secs(3 * 3600))]);
    let lasting = Duration::from_secs(3 * 3600 + 659);
    started("2026-01-01T00:00:00Z", 100, "0 */10 * * * *", 1, sink.clone(), lasting).await;
    // The hundred past slots, then 02:10 to 03:10.
    assert_eq!(ids(&sink.confirmed()).len(), 100 + 7);
}

/// Runs a schedule for an hour. After half an hour the clock is set by this many seconds.
async fn with_a_clock_that_jumps(pattern: &str, by: i64) -> Arc<Sink> {
    let (start, began) = ("2026-01-01T12:00:30Z".parse::<DateTime<Utc>>().unwrap(), Instant::now());
    let clock = move || {
        let passed = TimeDelta::from_std(began.elapsed()).unwrap();
        let jumped = if passed >= TimeDelta::minutes(30) { by } else { 0 };
        start + passed + TimeDelta::seconds(jumped)
    };
    let (sink, config) = (Sink::answering([]), config(Mode::Once, 1));
    let outlet = Outlet::new(sink.clone(), stop_after(Duration::from_secs(3600)), config.grace);
    ticks::run(&config, &Schedule::parse(pattern, "UTC").unwrap(), &outlet, clock).await;
    sink
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_neither_loses_nor_repeats_slots() {
    // The minutes 12:01 to 12:30, then 11:31 to 12:00.
    let sink = with_a_clock_that_jumps("0 * * * * *", -3600).await;
    assert_eq!((sink.confirmed().len(), ids(&sink.confirmed()).len()), (60, 60));
    // The minutes 12:01 to 12:30, then 12:21 to 12:50. Ten of them come again under their ids.
    let sink = with_a_clock_that_jumps("0 * * * * *", -600).await;
    assert_eq!((sink.confirmed().len(), ids(&sink.confirmed()).len()), (60, 50));
    // A change of about a second neither repeats nor loses a slot.
    let sink = with_a_clock_that_jumps("*/2 * * * * *", -1).await;
    assert_eq!((sink.confirmed().len(), ids(&sink.confirmed()).len()), (1799, 1799));
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_forward_loses_no_slot() {
    // The minutes 12:01 to 12:30, then 13:01 to 13:30. The skipped ones follow.
    let sink = with_a_clock_that_jumps("0 * * * * *", 1800).await;
    assert_eq!((sink.confirmed().len(), ids(&sink.confirmed()).len()), (90, 90));
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_and_a_slow_sink_sets_the_pace() {
    let quick = Sink::answering([]);
    run(
        config(Mode::Rate(500), 1),
        quick.clone(),
        stop_after(Duration::from_secs(10)),
    )
    .await
    .unwrap();
    let count = quick.confirmed().len();
    assert!((4950..=5000).contains(&count), "{count}");
    assert_eq!(ids(&quick.confirmed()).len(), count);

    let slow = Arc::new(Sink {
        pace: Duration::from_secs(4),
        ..Sink::default()
    });
    run(
        config(Mode::Rate(500), 1),
        slow.clone(),
        stop_after(Duration::from_secs(20)),
    )
    .await
    .unwrap();
    assert!(slow.offers().iter().all(|offer| offer.len() <= 500));
    assert!(slow.confirmed().len() <= 2500);
}

#[tokio::test(start_paused = true)]
async fn several_schedules_run_side_by_side() {
    let sink = Sink::answering([]);
    let mode = |pattern| Mode::Scheduled(Box::new(Schedule::parse(pattern, "UTC").unwrap()));
    let mail = ProducerConfig {
        kind: "mail".parse().unwrap(),
        args: Some(Json::accepted("{\"user\":7}")),
        identity: "\nmail".to_owned(),
        ..config(mode("* * * * * *"), 2)
    };
    // Real clocks do not follow the paused time, so the first slots are caught up on.
    let caught_up = |config: ProducerConfig| ProducerConfig { catch_up: 3, ..config };
    let configs = vec![caught_up(config(mode("* * * * * *"), 1)), caught_up(mail)];
    run_all(configs, sink.clone(), stop_after(Duration::from_millis(1)))
        .await
        .unwrap();
    let made = sink.confirmed();
    let mails = made.iter().filter(|demand| demand.kind.as_str() == "mail").count();
    assert!(mails >= 6 && made.len() - mails >= 3, "{} of {}", mails, made.len());
    assert_eq!(ids(&made).len(), made.len());
}
