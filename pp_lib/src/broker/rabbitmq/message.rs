//! Between the port's messages and AMQP's properties. What comes in may be from any client, with headers of any type.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::super::{DeadLetter, Delivery, Outgoing, Properties};
use super::frames::UNREADABLE;

const PERSISTENT: u8 = 2;
const WORK_CODE: &str = "work_code";
const NEW_WORK_CODE: &str = "new_work_code";
const GENERATION: &str = "generation";
const ATTEMPT: &str = "attempt";
const FAILURES: &str = "failures";
const REASON: &str = "reason";
/// How often a quorum queue delivered the message before; from 4.0 the second counts what a lost consumer gave back.
const DELIVERY_COUNTS: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

/// A message ready to be sent.
pub(super) struct Parcel {
    pub(super) message_id: ShortString,
    pub(super) headers: FieldTable,
    pub(super) body: Bytes,
}

impl Parcel {
    pub(super) fn demand(outgoing: &Outgoing) -> Self {
        let mut headers = FieldTable::default();
        if let Some(row) = &outgoing.row {
            headers.insert(WORK_CODE.into(), AMQPValue::LongString(row.work_code.as_str().into()));
            headers.insert(GENERATION.into(), AMQPValue::LongInt(row.generation));
            headers.insert(ATTEMPT.into(), AMQPValue::LongInt(row.attempt));
            headers.insert(FAILURES.into(), AMQPValue::LongInt(row.failures));
        }
        if let Some(code) = &outgoing.new_work_code {
            headers.insert(NEW_WORK_CODE.into(), AMQPValue::LongString(code.as_str().into()));
        }
        Self {
            message_id: outgoing.message_id.as_str().into(),
            headers,
            body: outgoing.body.clone(),
        }
    }

    pub(super) fn dead_letter(letter: &DeadLetter) -> Self {
        let mut headers = FieldTable::default();
        headers.insert(REASON.into(), AMQPValue::LongString(letter.carried_reason().into()));
        Self {
            message_id: letter.message_id.as_str().into(),
            headers,
            body: letter.body.clone(),
        }
    }

    pub(super) fn properties(&self) -> BasicProperties {
        BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_message_id(self.message_id.clone())
            .with_headers(self.headers.clone())
    }
}

/// What came in, as the port has it.
pub(super) fn delivery(message: lapin::message::Delivery) -> Delivery {
    Delivery {
        tag: message.delivery_tag,
        delivery_count: delivery_count(message.redelivered, message.properties.headers().as_ref()),
        properties: properties(&message.properties),
        body: message.data.into(),
    }
}

/// The queue's count. On a first delivery it is silent, and what stands there is the sender's.
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

fn properties(properties: &BasicProperties) -> Properties {
    let headers = properties.headers().as_ref().map(FieldTable::inner);
    let header = |name| {
        headers
            .and_then(|headers| headers.get(name))
            .unwrap_or(&AMQPValue::Void)
    };
    let mut malformed = headers
        .is_some_and(|headers| headers.contains_key(UNREADABLE))
        .then_some("that cannot be read, such as text that is not UTF-8");
    let mut number = |name| header_number(header(name)).known_or_noted(name, &mut malformed);
    let (generation, attempt, failures) = (number(GENERATION), number(ATTEMPT), number(FAILURES));
    Properties {
        message_id: properties.message_id().as_ref().map(ToString::to_string),
        work_code: text(header(WORK_CODE)).known_or_noted(WORK_CODE, &mut malformed),
        new_work_code: text(header(NEW_WORK_CODE)).known_or_noted(NEW_WORK_CODE, &mut malformed),
        generation,
        attempt,
        failures,
        // A dead letter is dead already, whatever its reason looks like.
        reason: header(REASON).as_long_string().map(ToString::to_string),
        malformed,
    }
}

/// What was found in a header.
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
    fn numbers_of_every_width_are_read_and_all_else_is_malformed() {
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
    fn a_work_code_is_text() {
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
    fn the_count_of_deliveries_is_the_queues_own() {
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
