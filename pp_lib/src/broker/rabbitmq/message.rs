//! Converts the port's messages to AMQP's and back. Received messages may come from any client, with headers of any
//! type.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::protocol::basic::{gen_properties, parse_properties};
use lapin::types::{AMQPValue, FieldTable};

use super::super::{DeadLetter, Delivery, Kept, Outgoing, Properties, Queue, Resent};
use super::frames::UNREADABLE;
use crate::domain::MessageId;

const PERSISTENT: u8 = 2;
const WORK_CODE: &str = "work_code";
const NEW_WORK_CODE: &str = "new_work_code";
const UNIQUE: &str = "unique";
const RUN_AT: &str = "run_at";
const GENERATION: &str = "generation";
const ATTEMPT: &str = "attempt";
const FAILURES: &str = "failures";
const LOST_LEASES: &str = "lost_leases";
const REASON: &str = "reason";
const KIND: &str = "kind";
/// The encoded properties of a dead letter's message; empty if they were not kept.
const KEPT: &str = "kept_properties";
/// Headers that belong to the server: a message's history, its counts and its further queues.
const OF_THE_SERVER: [&str; 8] = [
    "CC",
    "BCC",
    "x-death",
    "x-first-death-exchange",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-delivery-count",
    "x-acquired-count",
];
/// The number of earlier deliveries by a quorum queue. From 4.0 on the second header counts those of lost consumers.
const DELIVERY_COUNTS: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

/// The properties and body of a demand.
pub(super) fn demand(outgoing: &Outgoing) -> (BasicProperties, Bytes) {
    let mut headers = FieldTable::default();
    if let Some(row) = &outgoing.row {
        headers.insert(WORK_CODE.into(), AMQPValue::LongString(row.work_code.as_str().into()));
        headers.insert(GENERATION.into(), AMQPValue::LongInt(row.run.generation));
        headers.insert(ATTEMPT.into(), AMQPValue::LongInt(row.run.attempt));
        headers.insert(FAILURES.into(), AMQPValue::LongInt(row.failures));
        headers.insert(LOST_LEASES.into(), AMQPValue::LongInt(row.lost_leases));
    }
    if let Some(code) = &outgoing.new_work_code {
        headers.insert(NEW_WORK_CODE.into(), AMQPValue::LongString(code.as_str().into()));
    }
    if let Some(unique) = &outgoing.unique {
        headers.insert(UNIQUE.into(), AMQPValue::LongString(unique.as_str().into()));
    }
    (of_pp(&outgoing.message_id, headers), outgoing.body.clone())
}

/// The properties and body of a message that is sent again. One that was kept without properties is sent as a demand
/// of PP without headers.
pub(super) fn resent(message: &Resent) -> (BasicProperties, Bytes) {
    let properties = match &message.properties {
        Some(kept) => {
            let came = decode(kept).unwrap_or_else(|| {
                log::warn!(
                    "{} is sent again without its properties: another broker kept them",
                    message.message_id
                );
                BasicProperties::default()
            });
            sent_again(&came, &message.message_id)
        }
        None => of_pp(&message.message_id, FieldTable::default()),
    };
    (properties, message.body.clone())
}

/// The properties and body of a dead letter.
pub(super) fn dead_letter(letter: &DeadLetter) -> (BasicProperties, Bytes) {
    let mut headers = FieldTable::default();
    headers.insert(REASON.into(), AMQPValue::LongString(letter.carried_reason().into()));
    headers.insert(KIND.into(), AMQPValue::LongString(letter.kind.as_str().into()));
    let kept = letter.properties.kept.whole().map(|kept| kept.to_vec());
    headers.insert(KEPT.into(), AMQPValue::LongString(kept.unwrap_or_default().into()));
    (of_pp(&letter.message_id, headers), letter.body.clone())
}

fn of_pp(message_id: &MessageId, headers: FieldTable) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type("application/json".into())
        .with_message_id(message_id.as_str().into())
        .with_headers(headers)
}

/// The properties of a message to send again: the original ones without those that could prevent its arrival. It is
/// persistent and does not expire. The server would refuse a foreign user id, and its own headers must come from
/// itself.
fn sent_again(came: &BasicProperties, message_id: &MessageId) -> BasicProperties {
    let mut again = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_message_id(message_id.as_str().into());
    macro_rules! copy {
        ($($property:ident by $with:ident),+) => {
            $(if let Some(value) = came.$property() {
                again = again.$with(value.clone());
            })+
        };
    }
    copy!(
        content_type by with_content_type,
        content_encoding by with_content_encoding,
        priority by with_priority,
        correlation_id by with_correlation_id,
        reply_to by with_reply_to,
        timestamp by with_timestamp,
        kind by with_type,
        app_id by with_app_id,
        cluster_id by with_cluster_id
    );
    match came.headers() {
        Some(headers) => again.with_headers(without(headers, &OF_THE_SERVER)),
        None => again,
    }
}

fn without(headers: &FieldTable, names: &[&str]) -> FieldTable {
    let mut rest = headers.inner().clone();
    rest.retain(|name, _| !names.contains(&name.as_str()));
    rest.into()
}

/// Encodes properties as in a frame.
fn encode(properties: &BasicProperties) -> Vec<u8> {
    let written = gen_properties::<Vec<u8>>(properties)(Vec::new().into());
    written.map(|written| written.into_inner().0).unwrap_or_default()
}

fn decode(kept: &[u8]) -> Option<BasicProperties> {
    match parse_properties(kept) {
        Ok(([], properties)) => Some(properties),
        _ => None,
    }
}

pub(super) fn delivery(queue: &Queue, message: lapin::message::Delivery) -> Delivery {
    let kept = match queue {
        // The mark replaces the sender's properties, which are lost.
        Queue::Demand(_) if is_unreadable(&message.properties) => Kept::Nothing,
        Queue::Demand(_) => Kept::of(encode(&message.properties)),
        Queue::DeadLetter | Queue::NamedDeadLetter(_) => kept_by_letter(&message.properties),
    };
    Delivery {
        tag: message.delivery_tag,
        delivery_count: delivery_count(message.redelivered, message.properties.headers().as_ref()),
        properties: Properties {
            kept,
            ..properties(&message.properties)
        },
        body: message.data.into(),
    }
}

/// The properties of a letter's message. A message that was moved into the queue without PP, for example by a policy
/// of the server, is its own letter.
fn kept_by_letter(letter: &BasicProperties) -> Kept {
    let kept = letter.headers().as_ref().and_then(|headers| headers.inner().get(KEPT));
    if let Some(AMQPValue::LongString(kept)) = kept {
        return Kept::of(kept.as_bytes().to_vec());
    }
    match letter.headers() {
        Some(headers) => Kept::of(encode(&letter.clone().with_headers(without(headers, &[REASON, KIND])))),
        None => Kept::of(encode(letter)),
    }
}

/// The queue's count. On a first delivery the queue sends none, so the header is the sender's.
fn delivery_count(redelivered: bool, headers: Option<&FieldTable>) -> u32 {
    if !redelivered {
        return 0;
    }
    let count = |name| match headers?.inner().get(name).map(whole_number) {
        Some(Read::Value(count)) => u32::try_from(count).ok(),
        _ => None,
    };
    DELIVERY_COUNTS.into_iter().filter_map(count).max().unwrap_or(0).max(1)
}

fn is_unreadable(properties: &BasicProperties) -> bool {
    let headers = properties.headers().as_ref();
    headers.is_some_and(|headers| headers.inner().contains_key(UNREADABLE))
}

fn properties(properties: &BasicProperties) -> Properties {
    let headers = properties.headers().as_ref().map(FieldTable::inner);
    let header = |name| {
        headers
            .and_then(|headers| headers.get(name))
            .unwrap_or(&AMQPValue::Void)
    };
    let mut malformed = is_unreadable(properties).then_some("that cannot be read, such as text that is not UTF-8");
    let mut number = |name| header_number(header(name)).known_or_noted(name, &mut malformed);
    let (generation, attempt) = (number(GENERATION), number(ATTEMPT));
    let (failures, lost_leases) = (number(FAILURES), number(LOST_LEASES));
    Properties {
        message_id: properties.message_id().as_ref().map(ToString::to_string),
        work_code: text(header(WORK_CODE)).known_or_noted(WORK_CODE, &mut malformed),
        new_work_code: text(header(NEW_WORK_CODE)).known_or_noted(NEW_WORK_CODE, &mut malformed),
        unique: text(header(UNIQUE)).known_or_noted(UNIQUE, &mut malformed),
        run_at: whole_number(header(RUN_AT)).known_or_noted(RUN_AT, &mut malformed),
        generation,
        attempt,
        failures,
        lost_leases,
        // A kind or reason of any form is accepted, because a dead letter is already dead.
        kind: header(KIND).as_long_string().map(ToString::to_string),
        reason: header(REASON).as_long_string().map(ToString::to_string),
        kept: Kept::Nothing,
        malformed,
    }
}

/// The content of a header.
enum Read<T> {
    Value(T),
    Absent,
    Malformed,
}

impl<T> Read<T> {
    fn known_or_noted(self, name: &'static str, malformed: &mut Option<&'static str>) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent => None,
            Self::Malformed => {
                malformed.get_or_insert(name);
                None
            }
        }
    }
}

fn header_number(value: &AMQPValue) -> Read<i32> {
    match whole_number(value) {
        Read::Value(number) => i32::try_from(number).map_or(Read::Malformed, Read::Value),
        Read::Absent => Read::Absent,
        Read::Malformed => Read::Malformed,
    }
}

fn text(value: &AMQPValue) -> Read<String> {
    match value {
        AMQPValue::LongString(text) => {
            std::str::from_utf8(text.as_bytes()).map_or(Read::Malformed, |text| Read::Value(text.to_owned()))
        }
        AMQPValue::ShortString(text) => Read::Value(text.to_string()),
        AMQPValue::Void => Read::Absent,
        _ => Read::Malformed,
    }
}

fn whole_number(value: &AMQPValue) -> Read<i64> {
    Read::Value(match value {
        AMQPValue::ShortShortInt(number) => (*number).into(),
        AMQPValue::ShortShortUInt(number) => (*number).into(),
        AMQPValue::ShortInt(number) => (*number).into(),
        AMQPValue::ShortUInt(number) => (*number).into(),
        AMQPValue::LongInt(number) => (*number).into(),
        AMQPValue::LongUInt(number) => (*number).into(),
        AMQPValue::LongLongInt(number) => *number,
        AMQPValue::Void => return Read::Absent,
        _ => return Read::Malformed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(headers: &[(&str, AMQPValue)]) -> (FieldTable, Properties) {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert((*name).into(), value.clone());
        }
        let read = properties(&BasicProperties::default().with_headers(table.clone()));
        (table, read)
    }

    #[test]
    fn integers_of_every_width_are_read_and_other_types_are_malformed() {
        for seven in [
            AMQPValue::ShortShortInt(7),
            AMQPValue::ShortShortUInt(7),
            AMQPValue::ShortInt(7),
            AMQPValue::ShortUInt(7),
            AMQPValue::LongInt(7),
            AMQPValue::LongUInt(7),
            AMQPValue::LongLongInt(7),
        ] {
            let (_, read) = came(&[(GENERATION, seven.clone()), (ATTEMPT, seven)]);
            assert_eq!(
                (read.generation, read.attempt, read.malformed),
                (Some(7), Some(7), None)
            );
        }
        for bad in [
            AMQPValue::LongString("7".into()),
            AMQPValue::Boolean(true),
            AMQPValue::Double(7.0),
            AMQPValue::LongLongInt(i64::from(i32::MAX) + 1),
            AMQPValue::LongUInt(u32::MAX),
            AMQPValue::FieldTable(FieldTable::default()),
        ] {
            let (_, read) = came(&[(ATTEMPT, bad.clone())]);
            assert_eq!((read.attempt, read.malformed), (None, Some(ATTEMPT)), "{bad:?}");
        }
        let (_, read) = came(&[(GENERATION, AMQPValue::Void)]);
        assert_eq!(read, Properties::default());
    }

    #[test]
    fn a_work_code_must_be_text() {
        let (_, read) = came(&[(WORK_CODE, AMQPValue::LongString("api-0123456789".into()))]);
        assert_eq!(
            (read.work_code.as_deref(), read.malformed),
            (Some("api-0123456789"), None)
        );
        for bad in [AMQPValue::LongString(vec![0xff].into()), AMQPValue::LongInt(7)] {
            for name in [WORK_CODE, NEW_WORK_CODE] {
                let (_, read) = came(&[(name, bad.clone())]);
                assert_eq!(
                    (read.work_code, read.new_work_code, read.malformed),
                    (None, None, Some(name))
                );
            }
        }
    }

    #[test]
    fn a_unique_must_be_text_and_a_run_at_a_number() {
        let (text, number) = (AMQPValue::LongString("7".into()), AMQPValue::LongLongInt(7));
        let (_, read) = came(&[(UNIQUE, text.clone()), (RUN_AT, number.clone())]);
        assert_eq!(
            (read.unique.as_deref(), read.run_at, read.malformed),
            (Some("7"), Some(7), None)
        );
        for (name, bad) in [(UNIQUE, number), (RUN_AT, text)] {
            let (_, read) = came(&[(name, bad)]);
            assert_eq!((read.unique, read.run_at, read.malformed), (None, None, Some(name)));
        }
    }

    #[test]
    fn the_delivery_count_comes_from_the_queue() {
        let (forged, _) = came(&[("x-delivery-count", AMQPValue::LongLongInt(99))]);
        assert_eq!(delivery_count(false, Some(&forged)), 0);
        assert_eq!(delivery_count(true, Some(&forged)), 99);
        assert_eq!(delivery_count(true, None), 1);
        let (lost, _) = came(&[
            ("x-delivery-count", AMQPValue::LongInt(0)),
            ("x-acquired-count", AMQPValue::LongInt(3)),
        ]);
        assert_eq!(delivery_count(true, Some(&lost)), 3);
        let (odd, _) = came(&[("x-delivery-count", AMQPValue::LongString("many".into()))]);
        assert_eq!(delivery_count(true, Some(&odd)), 1);
    }
}
