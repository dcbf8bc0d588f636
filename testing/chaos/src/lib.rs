//! Chaos: a system under load, one fault after the other, and the account of what was acknowledged, lost and duplicated.
//!
//! The modules in reading order: [`fault`] and [`plan`] say what happens; [`system`] is what faults happen to,
//! [`distributed`] in many processes behind proxies, [`embedded`] in one, on a [`disk`] of its own; [`load`] asks and writes down
//! what it is [`told`]; [`rounds`] brings these together, [`check`] and [`history`] compare with the [`evidence`], [`table`] shows it.
//!
//! A run has four kinds of works: [`asks`] says what they ask for, [`handlers`] is the code of two of them, `outside` has the
//! workers in Python of another one, and [`calls`] is what that code told of itself.
//!
//! [`staleness`] is another proof, about reads. [`demands`], [`queues`] and [`ledger`] are for whoever puts a system under load
//! and looks at what came of it.

pub mod asks;
pub mod calls;
mod changes;
pub mod check;
pub mod demands;
pub mod disk;
pub mod distributed;
pub mod embedded;
pub mod evidence;
pub mod fault;
pub mod handlers;
pub mod history;
pub mod ledger;
mod letters;
pub mod load;
mod outcome;
mod outside;
pub mod plan;
pub mod queues;
pub mod rounds;
pub mod staleness;
pub mod system;
pub mod table;
pub mod tables;
pub mod told;
