//! Chaos: a system under load, one fault after the other, and the account of what was acknowledged, lost and duplicated.
//!
//! The modules in reading order: [`fault`] and [`plan`] say what happens; [`system`] is what faults happen to,
//! [`distributed`] in many processes behind [`proxy`]s, [`embedded`] in one, on a [`disk`] of its own; [`load`] asks and writes down
//! what it is [`told`]; [`rounds`] brings these together, [`check`] and [`history`] compare with the [`evidence`], [`table`] shows it.

mod changes;
pub mod check;
pub mod client;
pub mod disk;
pub mod distributed;
pub mod embedded;
pub mod evidence;
pub mod fault;
pub mod history;
mod letters;
pub mod load;
pub mod plan;
pub mod proxy;
pub mod queues;
pub mod rounds;
pub mod service;
pub mod system;
pub mod table;
pub mod tables;
pub mod told;
