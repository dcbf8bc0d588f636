//! The kinds of faults: what each is called, where it strikes, and how long it lasts. How it is done is elsewhere:
//! [`super::distributed`] and [`super::embedded`].

use std::ops::RangeInclusive;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// One of two consumers gets `SIGKILL`.
    ConsumerKilled,
    /// Both consumers get `SIGKILL`.
    BothConsumersKilled,
    /// A consumer gets `SIGKILL` while it waits for PostgreSQL, so that it has messages in hand.
    ConsumerKilledWaiting,
    /// A consumer is stopped in its tracks (`SIGSTOP`) for longer than its leases, then goes on.
    ConsumerFrozen,
    /// A consumer gets `SIGTERM`; it must end with 0 within its grace period.
    ConsumerStopped,
    /// A worker outside, in Python, gets `SIGKILL`.
    WorkerKilled,
    /// A worker outside is stopped in its tracks for longer than its leases, then goes on.
    WorkerFrozen,
    /// The only dispatcher gets `SIGKILL`.
    DispatcherKilled,
    /// The only API gets `SIGKILL`.
    ApiKilled,
    /// The API gets `SIGKILL` while it waits for PostgreSQL, which has heard it: what is committed, nobody was told of.
    ApiKilledWaiting,
    /// RabbitMQ gets `SIGKILL`.
    RabbitMqKilled,
    /// RabbitMQ answers nobody for some seconds.
    RabbitMqFrozen,
    /// PostgreSQL gets `SIGKILL`.
    PostgresKilled,
    /// PostgreSQL is stopped "immediately" (`SIGQUIT`) and recovers at its start.
    PostgresStopped,
    /// Every session of PostgreSQL is terminated by an operator.
    SessionsTerminated,
    /// A consumer's connections to RabbitMQ are cut.
    ConsumerRabbitMqCut,
    /// A consumer's connections to PostgreSQL are cut.
    ConsumerPostgresCut,
    /// The API's connections to PostgreSQL are cut.
    ApiPostgresCut,
    /// Nothing passes between a consumer and PostgreSQL, though all connections stay open.
    ConsumerPostgresSilent,
    /// Whatever passes between the API and PostgreSQL takes a tenth of a second each way.
    ApiPostgresSlow,
    /// PostgreSQL hears the API, but its answers are dropped; then the connections are cut.
    ApiRepliesLost,
    /// The table of works is renamed by an operator, and back.
    WorksRenamed,
    /// A trigger on the events raises, in words of no language that a program knows.
    EventsRefused,
    /// New sessions of the database may only read, and there are only new ones.
    DatabaseReadOnly,
    /// The queues of demands are deleted, with messages in them, under everybody.
    QueueDeleted,
    /// The queues of demands are emptied by an operator.
    QueuePurged,
    /// The embedded program gets `SIGKILL`.
    ProgramKilled,
    /// The embedded program gets `SIGTERM`; it must end with 0.
    ProgramStopped,
    /// There is no room left where the embedded program has its data.
    DiskFull,
}

impl Fault {
    /// What can befall a system of several processes.
    pub const DISTRIBUTED: [Self; 26] = [
        Self::ConsumerKilled,
        Self::BothConsumersKilled,
        Self::ConsumerKilledWaiting,
        Self::ConsumerFrozen,
        Self::ConsumerStopped,
        Self::WorkerKilled,
        Self::WorkerFrozen,
        Self::DispatcherKilled,
        Self::ApiKilled,
        Self::ApiKilledWaiting,
        Self::RabbitMqKilled,
        Self::RabbitMqFrozen,
        Self::PostgresKilled,
        Self::PostgresStopped,
        Self::SessionsTerminated,
        Self::ConsumerRabbitMqCut,
        Self::ConsumerPostgresCut,
        Self::ApiPostgresCut,
        Self::ConsumerPostgresSilent,
        Self::ApiPostgresSlow,
        Self::ApiRepliesLost,
        Self::WorksRenamed,
        Self::EventsRefused,
        Self::DatabaseReadOnly,
        Self::QueueDeleted,
        Self::QueuePurged,
    ];
    /// What can befall the embedded program.
    pub const EMBEDDED: [Self; 5] = [
        Self::ProgramKilled,
        Self::ProgramStopped,
        Self::WorkerKilled,
        Self::WorkerFrozen,
        Self::DiskFull,
    ];

    /// As it stands in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConsumerKilled => "consumer killed",
            Self::BothConsumersKilled => "both consumers killed",
            Self::ConsumerKilledWaiting => "consumer killed in mid batch",
            Self::ConsumerFrozen => "consumer frozen past its leases",
            Self::ConsumerStopped => "consumer stopped (SIGTERM)",
            Self::WorkerKilled => "worker in Python killed",
            Self::WorkerFrozen => "worker in Python frozen past its leases",
            Self::DispatcherKilled => "dispatcher killed",
            Self::ApiKilled => "API killed",
            Self::ApiKilledWaiting => "API killed before its answers",
            Self::RabbitMqKilled => "RabbitMQ killed *",
            Self::RabbitMqFrozen => "RabbitMQ frozen *",
            Self::PostgresKilled => "PostgreSQL killed *",
            Self::PostgresStopped => "PostgreSQL stopped immediately *",
            Self::SessionsTerminated => "PostgreSQL sessions terminated",
            Self::ConsumerRabbitMqCut => "consumer-RabbitMQ cut",
            Self::ConsumerPostgresCut => "consumer-PostgreSQL cut",
            Self::ApiPostgresCut => "API-PostgreSQL cut",
            Self::ConsumerPostgresSilent => "consumer-PostgreSQL black hole",
            Self::ApiPostgresSlow => "API-PostgreSQL slow",
            Self::ApiRepliesLost => "API-PostgreSQL replies lost, cut",
            Self::WorksRenamed => "table of works renamed *",
            Self::EventsRefused => "a trigger refuses events *",
            Self::DatabaseReadOnly => "database read-only *",
            Self::QueueDeleted => "demand queues deleted",
            Self::QueuePurged => "demand queues emptied",
            Self::ProgramKilled => "pp_standalone killed *",
            Self::ProgramStopped => "pp_standalone stopped (SIGTERM) *",
            Self::DiskFull => "disk full *",
        }
    }

    /// Whether all stands still until it is over, so that recovery counts from there and not from when it struck.
    pub const fn is_outage(self) -> bool {
        matches!(
            self,
            Self::RabbitMqKilled
                | Self::RabbitMqFrozen
                | Self::PostgresKilled
                | Self::PostgresStopped
                | Self::WorksRenamed
                | Self::EventsRefused
                | Self::DatabaseReadOnly
                | Self::ProgramKilled
                | Self::ProgramStopped
                | Self::DiskFull
        )
    }

    /// Whether it befalls RabbitMQ or the way to it.
    pub const fn is_of_rabbitmq(self) -> bool {
        matches!(
            self,
            Self::RabbitMqKilled
                | Self::RabbitMqFrozen
                | Self::ConsumerRabbitMqCut
                | Self::QueueDeleted
                | Self::QueuePurged
        )
    }

    /// Whether it destroys confirmed messages by an operator's hand. Rows heal, at the latest with the second sweep;
    /// a message without a row is gone, so none may be in the queue.
    pub const fn destroys_messages(self) -> bool {
        matches!(self, Self::QueueDeleted | Self::QueuePurged)
    }

    /// Whether PostgreSQL's answers to the API may be lost, so that the API's store tries again by itself. It takes
    /// effect once; but a count in an answer, such as how many letters were redriven, may then be that of the last try.
    pub const fn loses_replies(self) -> bool {
        matches!(
            self,
            Self::PostgresKilled
                | Self::PostgresStopped
                | Self::SessionsTerminated
                | Self::DatabaseReadOnly
                | Self::ApiPostgresCut
                | Self::ApiRepliesLost
        )
    }

    /// How long it lasts, in milliseconds, before it is undone: until a restart begins, a thaw, an answer let through.
    pub const fn lasts_ms(self) -> RangeInclusive<u64> {
        match self {
            // The leases are 4 s and 3 s.
            Self::ConsumerFrozen | Self::WorkerFrozen => 4_800..=6_500,
            Self::RabbitMqFrozen => 2_000..=8_000,
            Self::ConsumerPostgresSilent => 2_000..=6_000,
            Self::ApiPostgresSlow => 1_000..=3_000,
            Self::ApiRepliesLost => 200..=1_500,
            Self::WorksRenamed | Self::EventsRefused | Self::DatabaseReadOnly => 2_000..=5_000,
            Self::QueueDeleted | Self::QueuePurged => 1_500..=2_500,
            Self::SessionsTerminated | Self::ConsumerRabbitMqCut | Self::ConsumerPostgresCut | Self::ApiPostgresCut => {
                0..=0
            }
            Self::DiskFull => 500..=1_500,
            _ => 200..=2_000,
        }
    }
}
