//! Kinds as a user of the library writes them, tested with `pp_lib::testing`.

use std::sync::Mutex;
use std::time::Duration;

use pp_lib::diesel::{Connection as _, RunQueryDsl as _, sql_query};
use pp_lib::domain::{Progress, Status, Work};
use pp_lib::kinds::{BlockingKind, Context, Failure, Kind, Kinds, Policy};
use pp_lib::testing::Jobs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Mail {
    user: i64,
    to: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Sent {
    provider_id: String,
}

/// The keys of the mails that were handed over.
#[derive(Default)]
struct Mailer(Mutex<Vec<String>>);

impl Kind for Mail {
    const NAME: &'static str = "user.welcome.email";
    const POLICY: Policy = Policy {
        max_attempts: 3,
        timeout: Duration::from_secs(30),
        ..Policy::DEFAULT
    };
    type Output = Sent;
    type State = Mailer;

    async fn run(self, mailer: &Mailer, context: &Context) -> Result<Sent, Failure> {
        let attempt = context.run().attempt;
        match self.to.as_str() {
            "nowhere" => return Err(Failure::permanent("no address")),
            "full" => Err(std::io::Error::other("the mailbox is full"))?,
            "busy" if attempt <= 2 => Err("the server is busy")?,
            "later" if attempt <= 4 => return Err(Failure::snooze(Duration::from_secs(3600))),
            "gone" => return Err(Failure::cancel("the user is gone")),
            "broken" if attempt == 1 => panic!("a broken template"),
            _ => {}
        }
        context.progress(50, "handing over");
        mailer.0.lock().unwrap().push(context.idempotency_key());
        context.enqueue(&Thumbnail { pixels: 64 }).await?;
        Ok(Sent {
            provider_id: format!("mail-{}", self.user),
        })
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Thumbnail {
    pixels: u32,
}

impl BlockingKind for Thumbnail {
    const NAME: &'static str = "image.thumbnail";
    type Output = u32;
    type State = ();

    fn run(self, (): &(), context: &Context) -> Result<u32, Failure> {
        assert!(!context.is_cancelled());
        self.pixels
            .checked_mul(self.pixels)
            .ok_or_else(|| Failure::permanent("too large"))
    }
}

fn mail(user: i64, to: &str) -> Mail {
    let to = to.to_owned();
    Mail { user, to }
}

async fn jobs() -> Jobs {
    let kinds = Kinds::new();
    Jobs::new(kinds.with::<Mail>(Mailer::default()).with_blocking::<Thumbnail>(())).await
}

#[tokio::test]
async fn each_way_to_end_is_drained_without_waiting() {
    let jobs = jobs().await;
    for to in ["a@b", "nowhere", "full", "busy", "later", "gone", "broken"] {
        jobs.enqueue(&mail(7, to)).await;
    }
    jobs.assert_enqueued::<Mail>(|mail| mail.to == "busy").await;
    let works = jobs.drain::<Mail>().await;
    let shown = |work: &Work| (work.status, work.attempt, work.error.clone());
    let error = |text: &str| Some(text.to_owned());
    assert_eq!(
        works.iter().map(shown).collect::<Vec<_>>(),
        [
            (Status::Done, 1, None),
            (Status::Failed, 1, error("no address")),
            (Status::Failed, 3, error("the mailbox is full")),
            (Status::Done, 3, None),
            (Status::Done, 5, None),
            (Status::Cancelled, 1, error("the user is gone")),
            (Status::Done, 2, None),
        ]
    );
    let sent: Sent = works[0].result.as_ref().unwrap().read().unwrap();
    assert_eq!(sent.provider_id, "mail-7");
    assert_eq!(works[0].progress, None, "a finished work shows none");

    let thumbnails = jobs.drain::<Thumbnail>().await;
    let results = thumbnails.iter().map(|work| work.result.as_ref().unwrap().as_str());
    assert_eq!(
        results.collect::<Vec<_>>(),
        ["4096"; 4],
        "one for each mail that was sent"
    );
}

#[tokio::test]
async fn works_of_a_transaction_exist_if_it_commits() {
    let jobs = jobs().await;
    let mut connection = jobs.connection();
    sql_query("CREATE TABLE users (id INTEGER PRIMARY KEY)")
        .execute(&mut connection)
        .unwrap();
    let mut sign_up = |user: i64, fails: bool| {
        connection.transaction(|connection| {
            sql_query(format!("INSERT INTO users VALUES ({user})")).execute(connection)?;
            mail(user, "a@b").enqueue(connection)?;
            match fails {
                true => Err(pp_lib::diesel::result::Error::RollbackTransaction),
                false => Ok(()),
            }
        })
    };
    sign_up(1, false).unwrap();
    sign_up(2, true).unwrap_err();
    let works = jobs.drain::<Mail>().await;
    let args: Vec<Mail> = works.iter().map(|work| work.args.read().unwrap()).collect();
    assert_eq!(args, [mail(1, "a@b")]);
    assert_eq!(works[0].status, Status::Done);
    assert!(works[0].work_code.as_str().starts_with("app-"));
}

#[tokio::test]
async fn a_handler_is_tested_without_any_store() {
    let (mailer, context) = (Mailer::default(), Context::test());
    let sent = mail(7, "a@b").run(&mailer, &context).await.unwrap();
    assert_eq!(sent.provider_id, "mail-7");
    assert_eq!(context.take_progress(), Some(Progress::new(50, "handing over")));
    assert_eq!(context.enqueued::<Thumbnail>(), [Thumbnail { pixels: 64 }]);
    assert_eq!(*mailer.0.lock().unwrap(), [context.idempotency_key()]);
    let refused = mail(7, "nowhere").run(&mailer, &context).await.unwrap_err();
    assert!(refused.is_permanent() && refused.reason() == "no address");
}

#[tokio::test]
async fn another_attempt_enqueues_no_second_work() {
    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Twice {}

    impl Kind for Twice {
        const NAME: &'static str = "twice";
        type Output = ();
        type State = ();

        async fn run(self, (): &(), context: &Context) -> Result<(), Failure> {
            context.enqueue(&Thumbnail { pixels: 1 }).await?;
            context.enqueue(&Thumbnail { pixels: 1 }).await?;
            match context.run().attempt {
                1 => Err("once more")?,
                _ => Ok(()),
            }
        }
    }

    let jobs = Jobs::new(Kinds::new().with::<Twice>(()).with_blocking::<Thumbnail>(())).await;
    jobs.enqueue(&Twice {}).await;
    let done = jobs.drain::<Twice>().await.remove(0);
    assert_eq!((done.status, done.attempt), (Status::Done, 2));
    assert_eq!(done.result.unwrap().as_str(), "null");
    assert_eq!(jobs.works::<Thumbnail>().await.len(), 2);
}
