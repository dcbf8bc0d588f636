//! Welcome mails: a user signs up, and the mail is put in within the same transaction.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::Error as SmtpError;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use pp_lib::diesel::sql_types::Text;
use pp_lib::diesel::sqlite::SqliteConnection;
use pp_lib::diesel::{Connection as _, QueryResult, RunQueryDsl as _, sql_query};
use pp_lib::domain::WorkCode;
use pp_lib::kinds::{Context, Failure, Kind, Policy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A mail that greets a new user.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct WelcomeEmail {
    /// The user's name.
    pub name: String,
    /// The user's address.
    pub to: String,
}

/// The result: what the server said when it took the mail.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Sent {
    /// The last line of its answer.
    pub answer: String,
}

/// The way to the mail server.
pub struct Mailer {
    server: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mailer {
    /// Sends by the server at this host and port, without TLS.
    pub fn new(host: &str, port: u16) -> anyhow::Result<Self> {
        let server = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(port)
            .timeout(Some(Duration::from_secs(10)))
            .build();
        let from = "The Team <team@example.com>".parse()?;
        Ok(Self { server, from })
    }

    /// Sends by the server that the variables `SMTP_HOST` and `SMTP_PORT` name, or by one on this machine.
    pub fn from_env() -> anyhow::Result<Self> {
        let host = std::env::var("SMTP_HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
        let port = std::env::var("SMTP_PORT").map_or(Ok(25), |port| port.parse())?;
        Self::new(&host, port)
    }
}

impl Kind for WelcomeEmail {
    const NAME: &'static str = "user.welcome.email";
    const POLICY: Policy = Policy {
        max_attempts: 8,
        timeout: Duration::from_secs(30),
        ..Policy::DEFAULT
    };
    type Output = Sent;
    type State = Mailer;

    async fn run(self, mailer: &Mailer, context: &Context) -> Result<Sent, Failure> {
        let address = self.to.parse().map_err(|_| Failure::permanent("no address"))?;
        let mail = Message::builder()
            .from(mailer.from.clone())
            .to(Mailbox::new(Some(self.name.clone()), address))
            // Another attempt sends the same id, by which servers and readers know a copy.
            .message_id(Some(format!("<{}@example.com>", context.idempotency_key())))
            .subject("Welcome")
            .body(format!("Hello {},\n\nyour account is ready.\n", self.name))?;
        context.progress(50, "handing over");
        let response = mailer.server.send(mail).await.map_err(failure)?;
        let answer = response.message().last().unwrap_or_default().to_owned();
        Ok(Sent { answer })
    }
}

/// The server's lasting refusals are never tried again, all others are.
fn failure(error: SmtpError) -> Failure {
    match error.is_permanent() {
        true => Failure::permanent(error),
        false => error.into(),
    }
}

/// Stores a user and puts the welcome mail in: both or, if the transaction fails, neither. Returns the work's code.
pub fn sign_up(connection: &mut SqliteConnection, name: &str, to: &str) -> QueryResult<WorkCode> {
    connection.transaction(|connection| {
        sql_query("INSERT INTO users (name, address) VALUES (?, ?)")
            .bind::<Text, _>(name)
            .bind::<Text, _>(to)
            .execute(connection)?;
        let mail = WelcomeEmail {
            name: name.to_owned(),
            to: to.to_owned(),
        };
        Ok(mail.enqueue(connection)?.work_code)
    })
}

/// Creates the application's own table.
pub fn create_table(connection: &mut SqliteConnection) -> QueryResult<()> {
    sql_query(
        "CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, address TEXT NOT NULL UNIQUE)",
    )
    .execute(connection)
    .map(drop)
}
