//! What the machine and its servers do without PP: the limits that figures stand next to. Each is measured beside its
//! figure, round by round, so that both see the same machine.

pub(super) mod claimed;
pub(super) mod handler;
pub(super) mod pgbench;
pub(super) mod rabbitmq;
pub(super) mod redis;
pub(super) mod sql;
