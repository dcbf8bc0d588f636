//! Mails against an SMTP server inside the test.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use pp_lib::diesel::result::{DatabaseErrorKind, Error};
use pp_lib::domain::{Status, Work};
use pp_lib::kinds::Kinds;
use pp_lib::testing::Jobs;
use welcome_email::{Mailer, WelcomeEmail, create_table, sign_up};

/// The mails that a server took, as they came.
type Mails = Arc<Mutex<Vec<String>>>;

/// An SMTP server that is busy at the first mail, refuses the address `nobody@example.com` for ever, and takes all other
/// mails.
fn server() -> (u16, Mails) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, mails) = (listener.local_addr().unwrap().port(), Mails::default());
    let taken = mails.clone();
    thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let taken = taken.clone();
            thread::spawn(move || serve(&client.unwrap(), number == 0, &taken));
        }
    });
    (port, mails)
}

fn serve(client: &TcpStream, is_busy: bool, taken: &Mails) {
    let mut to = client;
    let mut say = |line: &str| to.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    say("220 test");
    let mut lines = BufReader::new(client).lines().map_while(Result::ok);
    while let Some(line) = lines.next() {
        match line.split_whitespace().next().unwrap_or_default() {
            "MAIL" if is_busy => say("451 try again later"),
            "RCPT" if line.contains("nobody@") => say("550 no such user"),
            "DATA" => {
                say("354 go on");
                let mail: Vec<String> = lines.by_ref().take_while(|line| line != ".").collect();
                taken.lock().unwrap().push(mail.join("\n"));
                say("250 taken");
            }
            "QUIT" => return say("221 bye"),
            _ => say("250 fine"),
        }
    }
}

async fn jobs(port: u16) -> Jobs {
    let jobs = Jobs::new(Kinds::new().with::<WelcomeEmail>(Mailer::new("127.0.0.1", port).unwrap())).await;
    create_table(&mut jobs.connection()).unwrap();
    jobs
}

#[tokio::test]
async fn a_user_who_signs_up_is_greeted() {
    let (port, mails) = server();
    let jobs = jobs(port).await;
    let mut connection = jobs.connection();
    for (name, address) in [
        ("Ada", "ada@example.com"),
        ("Nobody", "nobody@example.com"),
        ("Bob", "?"),
    ] {
        sign_up(&mut connection, name, address).unwrap();
    }
    jobs.assert_enqueued::<WelcomeEmail>(|mail| mail.to == "ada@example.com")
        .await;

    let works = jobs.drain::<WelcomeEmail>().await;
    let shown = |work: &Work| (work.status, work.attempt, work.error.clone());
    assert_eq!(
        shown(&works[0]),
        (Status::Done, 2, None),
        "the server was busy at first"
    );
    assert_eq!(works[0].result.as_ref().unwrap().as_str(), r#"{"answer":"taken"}"#);
    assert_eq!((works[1].status, works[1].attempt), (Status::Failed, 1));
    assert!(
        works[1].error.as_ref().unwrap().contains("no such user"),
        "{:?}",
        works[1]
    );
    assert_eq!(shown(&works[2]), (Status::Failed, 1, Some("no address".to_owned())));

    let mails = mails.lock().unwrap();
    assert_eq!(mails.len(), 1);
    assert!(
        mails[0].contains("To: Ada <ada@example.com>") && mails[0].contains("Hello Ada,"),
        "{}",
        mails[0]
    );
}

#[tokio::test]
async fn a_failed_sign_up_sends_nothing() {
    let (port, mails) = server();
    let jobs = jobs(port).await;
    let mut connection = jobs.connection();
    sign_up(&mut connection, "Ada", "ada@example.com").unwrap();
    let twice = sign_up(&mut connection, "Ada", "ada@example.com");
    assert!(matches!(
        twice,
        Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _))
    ));
    assert_eq!(jobs.drain::<WelcomeEmail>().await.len(), 1);
    assert_eq!(mails.lock().unwrap().len(), 1);
}
